//! The tiers, and the clients that have them.

use std::collections::BTreeSet;

use super::file::{Node, Value};
use super::problem::{Problems, did_you_mean};
use super::section::{Section, Wrong, text, word};
use super::{issuers, tiers, values};
use crate::policy::access::{Access, Grant, Role, Scope};
use crate::policy::clients::{Clients, Matches, Rule, Tier};
use crate::policy::issuers::Claim;

/// What a client can be known by.
const KEYS: [&str; 5] = ["cidr", "user", "certificate", "issuer", "claims"];

/// Reads `[tier.*]`, `[[client]]` and `server.default_tier`.
pub(super) fn read(top: &Section<'_>, access: Access, problems: &mut Problems) -> Clients {
    let tiers = tiers::read(top, problems);
    // Its other keys are judged elsewhere.
    let server = top.section("server", &[], &mut Problems::default());
    let default = server.read("default_tier", 0, |node| tier(node, &tiers), problems);
    let mut rules = Vec::new();
    for node in top.list("client", problems) {
        rules.extend(rule(node, &tiers, &access, problems));
    }
    let mut access = access;
    for issuer in &mut access.issuers {
        issuer.claims = claims(&rules, &issuer.name);
    }
    Clients {
        tiers,
        rules,
        default,
        access,
    }
}

fn rule(node: &Node, tiers: &[Tier], access: &Access, problems: &mut Problems) -> Option<Rule> {
    let mut client = Section::open(
        "client: ".into(),
        Some(node),
        &["name", "tier", "match", "role", "allow", "deny"],
        problems,
    );
    let name = client.read("name", None, |node| text(node).map(Some), problems);
    if let Some(name) = &name {
        client.name = format!("client \"{name}\": ");
    }
    let index = client.read("tier", None, |node| tier(node, tiers).map(Some), problems);
    let matches = matches(&client, access, problems);
    let grant = Grant {
        role: client.read("role", Role::Pull, role, problems),
        allow: client.read_list("allow", scope, problems),
        deny: client.read_list("deny", scope, problems),
    };
    for (key, hint) in [
        ("name", "write what logs and metrics call it: name = \"ci\""),
        ("tier", "write which tier it has: tier = \"basic\""),
        (
            "match",
            "write how it is known: match = { cidr = [\"10.20.0.0/16\"] }",
        ),
    ] {
        if client.node(key).is_none() {
            let what = format!("{}`{key}` is missing", client.name);
            problems.add(&node.place, what, Some(hint.into()));
        }
    }
    Some(Rule {
        name: name?,
        tier: index?,
        matches,
        grant,
    })
}

fn matches(client: &Section<'_>, access: &Access, problems: &mut Problems) -> Matches {
    let user = |node: &Node| {
        let name = text(node)?;
        let known: Vec<&str> = access.users.iter().map(|user| user.name.as_str()).collect();
        if known.contains(&name.as_str()) {
            return Ok(name);
        }
        let hint = did_you_mean(&name, &known)
            .unwrap_or_else(|| "name the file that it stands in: htpasswd in [access]".to_owned());
        Err(Wrong::expected("a user of the htpasswd file").hint(hint))
    };
    let known: Vec<&str> = access.issuers.iter().map(|issuer| issuer.name.as_str()).collect();
    let issuer = |node: &Node| {
        let name = text(node)?;
        if known.contains(&name.as_str()) {
            return Ok(name);
        }
        let hint = did_you_mean(&name, &known)
            .unwrap_or_else(|| "write an [[issuer]] of that name, which says whom to believe".to_owned());
        Err(Wrong::expected("the name of an [[issuer]]").hint(hint))
    };
    let section = client.section("match", &KEYS, problems);
    let matches = Matches {
        networks: section.read_list("cidr", values::network, problems),
        users: section.read_list("user", user, problems),
        certificates: section.read_list("certificate", certificate, problems),
        issuers: issuers::one_or_more(&section, "issuer", issuer, problems),
        claims: wanted(&section, problems),
    };
    if let (Some(node), None) = (section.node("claims"), section.node("issuer")) {
        let what = format!("{}claims: expected issuer beside it", section.name);
        let hint = "whose word that is has to be said: issuer = \"github\"".into();
        problems.add(&node.place, what, Some(hint));
    }
    // A list that is there and of which nothing could be read has been reported.
    let named = |key: &&str| matches!(section.node(key), Some(node) if !is_empty_list(node));
    if client.node("match").is_some() && !KEYS.iter().any(named) {
        let what = format!("{}match is met by nobody", client.name);
        problems.add(
            &section.place,
            what,
            Some("name networks, users or certificates in it, or an issuer".into()),
        );
    }
    matches
}

/// What the claims of a token have to say, each a regular expression for the whole of a value.
fn wanted(section: &Section<'_>, problems: &mut Problems) -> Vec<Claim> {
    let Some(node) = section.node("claims") else {
        return Vec::new();
    };
    let Value::Table(table) = &node.value else {
        let what = format!(
            "{}claims is {}: expected a table",
            section.name,
            node.value.kind()
        );
        let hint = "write which claim has to say what: claims = { repository_owner = \"acme\" }";
        problems.add(&node.place, what, Some(hint.into()));
        return Vec::new();
    };
    let read = |(name, entry): (&String, &super::file::Entry)| {
        let claim = |node: &Node| {
            let wrong = |why| Wrong::expected("a regular expression for the whole of the claim").hint(why);
            Claim::new(name, &text(node)?).map_err(wrong)
        };
        section.take(&format!("claims.{name}"), &entry.node, claim, problems)
    };
    table.0.iter().filter_map(read).collect()
}

/// The claims that rules name of this issuer.
fn claims(rules: &[Rule], issuer: &str) -> Vec<String> {
    let of_it = |rule: &&Rule| rule.matches.issuers.iter().any(|name| name == issuer);
    let named = rules.iter().filter(of_it).flat_map(|rule| &rule.matches.claims);
    let names: BTreeSet<String> = named.map(|claim| claim.name.clone()).collect();
    names.into_iter().collect()
}

/// A name as certificates have it.
fn certificate(node: &Node) -> Result<String, Wrong> {
    let name = text(node)?;
    let wrong =
        || Wrong::expected("a name in a certificate, such as \"node-1\" or \"spiffe://cluster/ns/ci\"");
    (!name.is_empty() && !name.contains('*'))
        .then_some(name)
        .ok_or_else(wrong)
}

fn is_empty_list(node: &Node) -> bool {
    matches!(&node.value, Value::List(list) if list.is_empty())
}

fn role(node: &Node) -> Result<Role, Wrong> {
    let found = word(node, &Role::ALL.map(Role::name))?;
    let role = Role::ALL.into_iter().find(|role| role.name() == found);
    role.ok_or_else(|| Wrong::expected("a role"))
}

pub(super) fn scope(node: &Node) -> Result<Scope, Wrong> {
    let hint = "a registry, and what follows is a path: * is any part of a name, ** any number of names";
    let wrong = || Wrong::expected("repositories, such as \"ghcr.io/team/**\" or \"docker.io\"").hint(hint);
    Scope::parse(&text(node)?).ok_or_else(wrong)
}

/// The index of the tier with that name.
fn tier(node: &Node, tiers: &[Tier]) -> Result<usize, Wrong> {
    let name = text(node)?;
    let names: Vec<&str> = tiers.iter().map(|tier| tier.name.as_str()).collect();
    let found = names.iter().position(|known| *known == name);
    found.ok_or_else(|| {
        let wrong = Wrong::expected(format!("a tier: {}", names.join(", ")));
        match did_you_mean(&name, &names) {
            Some(meant) => wrong.hint(meant),
            None => wrong.hint(format!("write [tier.{name}] to make it one")),
        }
    })
}
