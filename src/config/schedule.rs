//! `schedule` and `timezone`, of every entry that something is done by.

use super::file::Node;
use super::problem::Problems;
use super::section::{Section, Wrong, text};
use crate::policy::schedule::{Schedule, Zone};

/// The keys, to be among those an entry knows.
pub(super) const KEYS: [&str; 2] = ["schedule", "timezone"];

/// Reads both of an entry; `None` if it has no `schedule`, or one that is wrong.
pub(super) fn read(entry: &Section<'_>, problems: &mut Problems) -> Option<Schedule> {
    let zone = entry.read("timezone", Zone::utc(), zone, problems);
    if let (Some(node), None) = (entry.node("timezone"), entry.node("schedule")) {
        let what = format!("{}timezone: expected `schedule` beside it", entry.name);
        let hint = "write when it is done: schedule = \"30 3 * * *\"".into();
        problems.add(&node.place, what, Some(hint));
    }
    let read = |node: &Node| schedule(node, &zone).map(Some);
    entry.read("schedule", None, read, problems)
}

/// Both, as the configuration says them.
pub(super) fn show(schedule: &Schedule) -> [(&'static str, String); 2] {
    [
        ("schedule", schedule.expression().to_owned()),
        ("timezone", schedule.zone().name().to_owned()),
    ]
}

fn zone(node: &Node) -> Result<Zone, Wrong> {
    let name = text(node)?;
    Zone::named(&name).ok_or_else(|| {
        let wrong = Wrong::expected("a time zone of the IANA database, such as \"Europe/Berlin\" or \"UTC\"");
        wrong.hint("abbreviations such as CEST are no zones: write a city, so that summer time is known")
    })
}

fn schedule(node: &Node, zone: &Zone) -> Result<Schedule, Wrong> {
    let wrong =
        || Wrong::expected("a cron expression of five fields, such as \"30 3 * * *\" for every day at 03:30");
    let expression = text(node).map_err(|_| wrong())?;
    Schedule::parse(&expression, zone.clone()).map_err(|error| wrong().hint(error.to_string()))
}
