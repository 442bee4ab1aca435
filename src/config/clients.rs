//! The tiers, and the clients that have them.

use super::file::Node;
use super::problem::{Problems, did_you_mean};
use super::section::{Section, Wrong, text};
use super::{tiers, values};
use crate::policy::clients::{Clients, Rule, Tier};

/// Reads `[tier.*]`, `[[client]]` and `server.default_tier`.
pub(super) fn read(top: &Section<'_>, problems: &mut Problems) -> Clients {
    let tiers = tiers::read(top, problems);
    // Its other keys are judged elsewhere.
    let server = top.section("server", &[], &mut Problems::default());
    let default = server.read("default_tier", 0, |node| tier(node, &tiers), problems);
    let mut rules = Vec::new();
    for node in top.list("client", problems) {
        rules.extend(rule(node, &tiers, problems));
    }
    Clients {
        tiers,
        rules,
        default,
    }
}

fn rule(node: &Node, tiers: &[Tier], problems: &mut Problems) -> Option<Rule> {
    let mut client = Section::open(
        "client: ".into(),
        Some(node),
        &["name", "tier", "match"],
        problems,
    );
    let name = client.read("name", None, |node| text(node).map(Some), problems);
    if let Some(name) = &name {
        client.name = format!("client \"{name}\": ");
    }
    let index = client.read("tier", None, |node| tier(node, tiers).map(Some), problems);
    let matches = client.section("match", &["cidr"], problems);
    let networks = matches.read_list("cidr", values::network, problems);
    for (key, hint) in [
        ("name", "write what logs and metrics call it: name = \"ci\""),
        ("tier", "write which tier it has: tier = \"basic\""),
        (
            "match",
            "write where it comes from: match = { cidr = [\"10.20.0.0/16\"] }",
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
        networks,
    })
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
