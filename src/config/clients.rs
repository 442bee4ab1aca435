//! The tiers, and the clients that have them.

use super::file::{Node, Value};
use super::problem::{Problems, did_you_mean};
use super::section::{Section, Wrong, text};
use super::values;
use crate::policy::clients::{Clients, Rule, Tier};

/// The tiers that exist without being written, with their reserves in percent.
const BUILT_IN: [(&str, f64); 4] = [
    ("unlimited", 0.0),
    ("premium", 0.0),
    ("standard", 20.0),
    ("basic", 40.0),
];

/// Reads `[tier.*]`, `[[client]]` and `server.default_tier`.
pub(super) fn read(top: &Section<'_>, problems: &mut Problems) -> Clients {
    let tiers = tiers(top, problems);
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

fn tiers(top: &Section<'_>, problems: &mut Problems) -> Vec<Tier> {
    let mut tiers: Vec<Tier> = BUILT_IN
        .iter()
        .map(|(name, percent)| Tier {
            name: (*name).to_owned(),
            reserve: percent / 100.0,
        })
        .collect();
    let Some(node) = top.node("tier") else {
        return tiers;
    };
    let Value::Table(table) = &node.value else {
        let hint = "write [tier.NAME] and below it its keys".into();
        problems.add(&node.place, "tier: expected a table for each tier", Some(hint));
        return tiers;
    };
    for (name, entry) in &table.0 {
        let section = Section::open(format!("tier.{name}."), Some(&entry.node), &["reserve"], problems);
        let known = tiers.iter().position(|tier| tier.name == *name);
        let usual = known.map_or(0.0, |index| tiers[index].reserve);
        let tier = Tier {
            name: name.clone(),
            reserve: section.read("reserve", usual, percent, problems),
        };
        match known {
            Some(index) => tiers[index] = tier,
            None => tiers.push(tier),
        }
    }
    tiers
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

/// `40%` as 0.4.
fn percent(node: &Node) -> Result<f64, Wrong> {
    let wrong = || Wrong::expected("a part from \"0%\" to \"100%\"");
    let written = text(node).map_err(|_| wrong())?;
    let figure = written.strip_suffix('%').map(str::trim_end);
    let figure: f64 = figure.and_then(|figure| figure.parse().ok()).ok_or_else(wrong)?;
    (0.0..=100.0)
        .contains(&figure)
        .then_some(figure / 100.0)
        .ok_or_else(wrong)
}
