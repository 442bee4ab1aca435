//! What clients were refused lately, for the operator's eyes: a few of each kind.
//!
//! Strangers can have refusals by the million. So a kind that is frequent (what does not exist) never takes the place
//! of one that is rare (an upstream that fails), and the same again only counts.

use std::collections::{BTreeMap, VecDeque};

use crate::clock::Time;

/// Incidents remembered of one kind.
pub const MOST_OF_A_KIND: usize = 8;
/// Longest text of an incident, in bytes.
pub const MAX_TEXT: usize = 400;

/// A refusal or an error, and how often it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// Its kind, in a word of our own.
    pub kind: &'static str,
    /// What was asked for. Strangers choose it.
    pub name: String,
    /// Why it was refused, as the client was told the last time.
    pub words: String,
    /// How often.
    pub count: u64,
    /// When it came last.
    pub last: Time,
}

/// The latest of each kind.
#[derive(Clone, Debug, Default)]
pub struct Incidents {
    /// By kind, the latest last.
    kinds: BTreeMap<&'static str, VecDeque<Incident>>,
}

impl Incidents {
    /// Something was refused. Texts are cut to [`MAX_TEXT`] bytes.
    pub fn note(&mut self, kind: &'static str, name: &str, words: &str, now: Time) {
        let cut = |text: &str| text[..text.floor_char_boundary(MAX_TEXT)].to_owned();
        let of_kind = self.kinds.entry(kind).or_default();
        let name = cut(name);
        let known = of_kind.iter().position(|incident| incident.name == name);
        let count = known
            .and_then(|place| of_kind.remove(place))
            .map_or(0, |known| known.count);
        if of_kind.len() == MOST_OF_A_KIND {
            of_kind.pop_front();
        }
        of_kind.push_back(Incident {
            kind,
            name,
            words: cut(words),
            count: count + 1,
            last: now,
        });
    }

    /// The latest of all kinds, at most `most`, the latest first.
    pub fn latest(&self, most: usize) -> Vec<Incident> {
        let mut all: Vec<&Incident> = self.kinds.values().flatten().collect();
        all.sort_by(|one, two| (two.last, &one.name).cmp(&(one.last, &two.name)));
        all.into_iter().take(most).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Time {
        Time::from_millis(second * 1000)
    }

    #[test]
    fn the_same_again_counts_and_comes_first() {
        let mut incidents = Incidents::default();
        incidents.note("not_found", "app:1", "no", at(1));
        incidents.note("not_found", "app:2", "no", at(2));
        incidents.note("not_found", "app:1", "still no", at(3));
        let latest = incidents.latest(9);
        let told: Vec<(&str, &str, u64)> = latest
            .iter()
            .map(|incident| (incident.name.as_str(), incident.words.as_str(), incident.count))
            .collect();
        assert_eq!(told, [("app:1", "still no", 2), ("app:2", "no", 1)]);
        assert_eq!(incidents.latest(1).len(), 1);
    }

    #[test]
    fn a_flood_of_one_kind_takes_no_place_of_another_and_no_text_is_long() {
        let mut incidents = Incidents::default();
        incidents.note("unavailable", "app:1", "quay.io fails", at(1));
        for number in 0..10_000 {
            let name = format!("{}{number}", "é".repeat(1000));
            incidents.note("not_found", &name, &name, at(2 + number));
        }
        for number in 0..10_000 {
            incidents.note("denied", &format!("x{number}"), "no", at(number));
        }
        let latest = incidents.latest(usize::MAX);
        assert_eq!(latest.len(), 1 + 1 + MOST_OF_A_KIND);
        assert!(latest.iter().any(|incident| incident.kind == "unavailable"));
        assert!(
            latest
                .iter()
                .all(|incident| incident.name.len() <= MAX_TEXT && incident.words.len() <= MAX_TEXT)
        );
    }
}
