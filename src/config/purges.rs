//! `[[purge]]`: what is purged by the calendar.

use super::file::{Node, Value};
use super::problem::Problems;
use super::schedule;
use super::section::{Section, Wrong, boolean, duration, text};
use super::units::show_duration;
use crate::cache::ScheduledPurge;
use crate::policy::retention::{Filter, Rules};

/// Most tags kept of a repository: no registry has more.
const MOST_KEPT: i64 = 1_000_000;

/// Reads every entry.
pub(super) fn read(top: &Section<'_>, problems: &mut Problems) -> Vec<ScheduledPurge> {
    let mut purges = Vec::new();
    for node in top.list("purge", problems) {
        purges.extend(purge(node, problems));
    }
    purges
}

fn purge(node: &Node, problems: &mut Problems) -> Option<ScheduledPurge> {
    let known = [&["filter", "ago", "untagged", "keep"][..], &schedule::KEYS].concat();
    let entry = Section::open("purge: ".into(), Some(node), &known, problems);
    let filters = entry.read_list("filter", filter, problems);
    let ago = |node: &Node| duration(node).map(Some);
    let rules = Rules {
        filters,
        ago: entry.read("ago", None, ago, problems),
        untagged: entry.read("untagged", false, boolean, problems),
        keep: entry.read("keep", 0, keep, problems),
    };
    let schedule = schedule::read(&entry, problems);
    for (key, hint) in [
        (
            "filter",
            "write which tags go: filter = [\"ghcr.io/team/.*:dev-.*\"]",
        ),
        ("schedule", "write when they go: schedule = \"30 3 * * *\""),
    ] {
        let empty =
            matches!(entry.node(key).map(|node| &node.value), Some(Value::List(list)) if list.is_empty());
        if entry.node(key).is_none() || empty {
            let what = format!("{}`{key}` is missing", entry.name);
            problems.add(&node.place, what, Some(hint.into()));
        }
    }
    Some(ScheduledPurge {
        rules,
        schedule: schedule?,
    })
}

fn filter(node: &Node) -> Result<Filter, Wrong> {
    let written = text(node)?;
    Filter::parse(&written).map_err(|error| {
        let wrong = Wrong::expected("REPOSITORY:TAG, such as \"ghcr.io/team/.*:dev-.*\"");
        wrong.hint(error.to_string())
    })
}

fn keep(node: &Node) -> Result<usize, Wrong> {
    let number = match &node.value {
        Value::Integer(number) => Some(*number),
        Value::Raw(text) => text.parse().ok(),
        Value::Text(_) | Value::Boolean(_) | Value::List(_) | Value::Table(_) | Value::Other(_) => None,
    };
    let number = number.filter(|number| (0..=MOST_KEPT).contains(number));
    let number = number.and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| Wrong::expected(format!("a whole number from 0 to {MOST_KEPT}")))
}

/// An entry as the configuration says it: its keys and their values.
pub(super) fn show(purge: &ScheduledPurge) -> Vec<(&'static str, String)> {
    let quoted = |text: String| toml::Value::String(text).to_string();
    let filters: Vec<String> = purge
        .rules
        .filters
        .iter()
        .map(|each| quoted(each.to_string()))
        .collect();
    let ago = purge.rules.ago.map(|ago| ("ago", quoted(show_duration(ago))));
    let mut keys = vec![("filter", format!("[{}]", filters.join(", ")))];
    keys.extend(ago);
    keys.push(("untagged", purge.rules.untagged.to_string()));
    keys.push(("keep", purge.rules.keep.to_string()));
    keys.extend(schedule::show(&purge.schedule).map(|(key, value)| (key, quoted(value))));
    keys
}

#[cfg(test)]
mod tests {
    use crate::config::effective;
    use crate::config::tests::{refused, settings};

    const WHOLE: &str = "[[purge]]\nfilter = ['ghcr.io/team/.*:dev-\\d+', \"quay.io/.*:.*\"]\nago = \"30d\"\n\
        untagged = true\nkeep = 3\nschedule = \"30 3 * * *\"\ntimezone = \"Europe/Berlin\"\n";

    #[test]
    fn a_purge_is_read_and_shown() {
        let settings = settings(WHOLE);
        let [purge] = settings.purges.as_slice() else {
            panic!("{:?}", settings.purges)
        };
        assert_eq!(purge.rules.filters.len(), 2);
        assert_eq!((purge.rules.keep, purge.rules.untagged), (3, true));
        assert_eq!(purge.schedule.to_string(), "30 3 * * * Europe/Berlin");
        let shown = effective(&settings);
        let again = self::settings(&shown);
        assert_eq!(again.purges, settings.purges, "{shown}");
        let least = self::settings("[[purge]]\nfilter = [\".*:.*\"]\nschedule = \"@daily\"\n");
        assert_eq!(least.purges[0].schedule.zone().name(), "UTC");
        assert_eq!(least.purges[0].rules.ago, None);
        assert_eq!(self::settings(&effective(&least)).purges, least.purges);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_hint() {
        for (from, to, what, hint) in [
            (
                "30 3 * * *",
                "30 3 * *",
                "purge: schedule = \"30 3 * *\"",
                "4 fields instead of five",
            ),
            (
                "30 3 * * *",
                "0 0 31 4 *",
                "expected a cron expression",
                "never run",
            ),
            (
                "Europe/Berlin",
                "CEST",
                "purge: timezone = \"CEST\"",
                "write a city",
            ),
            (
                "quay.io/.*:.*",
                "quay.io",
                "purge: filter = \"quay.io\": expected REPOSITORY:TAG",
                "for all tags",
            ),
            (
                "quay.io/.*:.*",
                "quay.io/(:x",
                "expected REPOSITORY:TAG",
                "no regular expression",
            ),
            (
                "keep = 3",
                "keep = -1",
                "purge: keep = -1: expected a whole number from 0",
                "",
            ),
            (
                "keep = 3",
                "kep = 3",
                "purge: kep: unknown key",
                "did you mean \"keep\"?",
            ),
            (
                "ago = \"30d\"",
                "ago = 30",
                "purge: ago = 30: expected a duration",
                "",
            ),
            (
                "schedule = \"30 3 * * *\"\n",
                "",
                "purge: `schedule` is missing",
                "write when they go",
            ),
        ] {
            let report = refused(&WHOLE.replace(from, to));
            assert!(report.contains(what) && report.contains(hint), "{to}: {report}");
        }
        let report = refused("[[purge]]\nfilter = []\nschedule = \"@daily\"\n");
        assert!(report.contains("purge: `filter` is missing"), "{report}");
    }
}
