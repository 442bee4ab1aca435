//! The tiers: what each may not touch of a budget, and what each grants its clients.

use std::num::NonZeroU32;

use super::file::{Node, Value};
use super::problem::Problems;
use super::section::{Section, Wrong, count, rate, text};
use super::units;
use crate::policy::clients::Tier;
use crate::policy::quota::Quota;

/// The keys of a tier.
const KEYS: [&str; 6] = [
    "reserve",
    "read_ops_per_minute",
    "write_ops_per_minute",
    "bandwidth",
    "concurrent_fills",
    "weight",
];
/// The word that lifts a figure.
const UNLIMITED: &str = "unlimited";
/// Most operations a minute: as many in a microsecond as any machine can answer.
const MOST_OPERATIONS: usize = 1_000_000_000;
/// Most fetches at once of one client; all clients together have no more connections to fetch by.
const MOST_FILLS: usize = 1_000_000;
/// Most of a weight: beyond, the others do not notice the link they have.
const MOST_WEIGHT: usize = 1000;
/// Least bandwidth, in bytes per second: below 1 Mbit/s clients take a layer for a broken one.
const LEAST_BANDWIDTH: u64 = 125_000;

/// A tier that exists without being written.
struct BuiltIn {
    name: &'static str,
    /// In percent.
    reserve: f64,
    /// Reads a minute, writes a minute, Mbit/s.
    figures: Option<(u32, u32, u64)>,
}

/// `basic`, `standard` and `premium` have the figures that Azure publishes for the tiers of its registries.
const BUILT_IN: [BuiltIn; 4] = [
    BuiltIn {
        name: "unlimited",
        reserve: 0.0,
        figures: None,
    },
    BuiltIn {
        name: "premium",
        reserve: 0.0,
        figures: Some((10_000, 2_000, 100)),
    },
    BuiltIn {
        name: "standard",
        reserve: 20.0,
        figures: Some((3_000, 500, 60)),
    },
    BuiltIn {
        name: "basic",
        reserve: 40.0,
        figures: Some((1_000, 100, 30)),
    },
];

impl BuiltIn {
    fn tier(&self) -> Tier {
        let quota = self
            .figures
            .map_or(Quota::UNLIMITED, |(reads, writes, megabits)| Quota {
                reads: NonZeroU32::new(reads),
                writes: NonZeroU32::new(writes),
                bandwidth: Some(megabits * 125_000),
                ..Quota::UNLIMITED
            });
        Tier {
            name: self.name.to_owned(),
            reserve: self.reserve / 100.0,
            quota,
        }
    }
}

/// Reads `[tier.*]`; the built-in tiers come first.
pub(super) fn read(top: &Section<'_>, problems: &mut Problems) -> Vec<Tier> {
    let mut tiers: Vec<Tier> = BUILT_IN.iter().map(BuiltIn::tier).collect();
    let Some(node) = top.node("tier") else {
        return tiers;
    };
    let Value::Table(table) = &node.value else {
        let hint = "write [tier.NAME] and below it its keys".into();
        problems.add(&node.place, "tier: expected a table for each tier", Some(hint));
        return tiers;
    };
    for (name, entry) in &table.0 {
        let section = Section::open(format!("tier.{name}."), Some(&entry.node), &KEYS, problems);
        let known = tiers.iter().position(|tier| tier.name == *name);
        let usual = known.map(|index| tiers[index].clone());
        let (reserve, usual) = usual.map_or((0.0, Quota::UNLIMITED), |tier| (tier.reserve, tier.quota));
        let tier = Tier {
            name: name.clone(),
            reserve: section.read("reserve", reserve, percent, problems),
            quota: quota(&section, usual, problems),
        };
        match known {
            Some(index) => tiers[index] = tier,
            None => tiers.push(tier),
        }
    }
    tiers
}

fn quota(section: &Section<'_>, usual: Quota, problems: &mut Problems) -> Quota {
    let operations = |node: &Node| or_unlimited(node, operations);
    let fills = |node: &Node| or_unlimited(node, |node| count(node, MOST_FILLS));
    let weight = |node: &Node| {
        let weight = count(node, MOST_WEIGHT)?;
        u32::try_from(weight).map_err(|_| Wrong::expected("a small number"))
    };
    Quota {
        reads: section.read("read_ops_per_minute", usual.reads, operations, problems),
        writes: section.read("write_ops_per_minute", usual.writes, operations, problems),
        bandwidth: section.read("bandwidth", usual.bandwidth, bandwidth, problems),
        fills: section.read("concurrent_fills", usual.fills, fills, problems),
        weight: section.read("weight", usual.weight, weight, problems),
    }
}

/// A rate that clients can live with, or `"unlimited"`.
pub(super) fn bandwidth(node: &Node) -> Result<Option<u64>, Wrong> {
    or_unlimited(node, |node| {
        let bytes = rate(node)?;
        if bytes >= LEAST_BANDWIDTH {
            return Ok(bytes);
        }
        let least = units::show_rate(LEAST_BANDWIDTH);
        Err(Wrong::expected(format!("at least \"{least}\""))
            .hint("a slower client takes a layer for a broken one"))
    })
}

/// What is shown of a figure that may be lifted.
pub(super) fn show<T: ToString>(figure: Option<T>) -> String {
    figure.map_or_else(|| format!("\"{UNLIMITED}\""), |figure| figure.to_string())
}

/// What is shown of a rate that may be lifted.
pub(super) fn show_rate(rate: Option<u64>) -> String {
    show(rate.map(|rate| format!("\"{}\"", units::show_rate(rate))))
}

fn operations(node: &Node) -> Result<NonZeroU32, Wrong> {
    let figure = count(node, MOST_OPERATIONS)?;
    let figure = u32::try_from(figure).ok().and_then(NonZeroU32::new);
    figure.ok_or_else(|| Wrong::expected("a smaller number"))
}

/// `None` for the word that lifts a figure, else the figure.
fn or_unlimited<T>(node: &Node, figure: impl Fn(&Node) -> Result<T, Wrong>) -> Result<Option<T>, Wrong> {
    match text(node) {
        Ok(word) if word == UNLIMITED => Ok(None),
        _ => figure(node).map(Some).map_err(|wrong| wrong.or(UNLIMITED)),
    }
}

/// `40%` as 0.4.
pub(super) fn percent(node: &Node) -> Result<f64, Wrong> {
    let wrong = || Wrong::expected("a part from \"0%\" to \"100%\"");
    let written = text(node).map_err(|_| wrong())?;
    let figure = written.strip_suffix('%').map(str::trim_end);
    let figure: f64 = figure.and_then(|figure| figure.parse().ok()).ok_or_else(wrong)?;
    (0.0..=100.0)
        .contains(&figure)
        .then_some(figure / 100.0)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{refused, settings};
    use super::*;

    fn tier(text: &str, name: &str) -> Tier {
        let tiers = settings(text).server.clients.tiers;
        tiers.into_iter().find(|tier| tier.name == name).unwrap()
    }

    #[test]
    fn out_of_the_box_nobody_is_limited_and_three_tiers_have_published_figures() {
        let settings = settings("");
        let clients = &settings.server.clients;
        assert!(clients.tiers[clients.default].quota.is_unlimited());
        assert_eq!(settings.cache.bandwidth, None);
        let figures = |name| {
            let quota = tier("", name).quota;
            let (reads, writes) = (quota.reads.unwrap().get(), quota.writes.unwrap().get());
            (reads, writes, quota.bandwidth.unwrap(), quota.fills, quota.weight)
        };
        assert_eq!(figures("basic"), (1000, 100, 3_750_000, None, 1));
        assert_eq!(figures("standard"), (3000, 500, 7_500_000, None, 1));
        assert_eq!(figures("premium"), (10_000, 2000, 12_500_000, None, 1));
    }

    #[test]
    fn every_figure_can_be_written_and_lifted() {
        let text = "[tier.basic]\nread_ops_per_minute = 7\nwrite_ops_per_minute = \"unlimited\"\n\
            bandwidth = \"60MB/s\"\nconcurrent_fills = 3\nweight = 5\n[tier.mine]\nbandwidth = \"7.5MiB/s\"\n\
            [server]\nbandwidth = \"1Gbit/s\"\n";
        let basic = tier(text, "basic").quota;
        assert_eq!((basic.reads, basic.writes), (NonZeroU32::new(7), None));
        assert_eq!(
            (basic.bandwidth, basic.fills, basic.weight),
            (Some(60_000_000), Some(3), 5)
        );
        let mine = tier(text, "mine").quota;
        assert_eq!(
            mine,
            Quota {
                bandwidth: Some(7_864_320),
                ..Quota::UNLIMITED
            }
        );
        let settings = settings(text);
        assert_eq!(settings.cache.bandwidth, Some(125_000_000));
        let again = self::settings(&super::super::effective(&settings));
        assert_eq!(format!("{again:?}"), format!("{settings:?}"));
    }

    #[test]
    fn a_figure_that_means_nothing_is_refused_with_what_was_expected() {
        let expected = "\"7.5MiB/s\", or \"unlimited\"";
        for (line, words) in [
            ("bandwidth = 60", expected),
            ("bandwidth = \"60\"", expected),
            ("bandwidth = \"60Mbit\"", expected),
            (
                "bandwidth = \"1Kbit/s\"",
                "at least \"1Mbit/s\", or \"unlimited\"",
            ),
            (
                "read_ops_per_minute = 0",
                "from 1 to 1000000000, or \"unlimited\"",
            ),
            (
                "concurrent_fills = \"many\"",
                "from 1 to 1000000, or \"unlimited\"",
            ),
            ("weight = \"unlimited\"", "from 1 to 1000"),
            ("bandwith = \"1MB/s\"", "did you mean \"bandwidth\"?"),
        ] {
            let report = refused(&format!("[tier.basic]\n{line}\n"));
            assert!(report.contains("2:") && report.contains(words), "{report}");
        }
    }
}
