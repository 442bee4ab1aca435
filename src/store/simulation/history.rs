//! What was asked of the records and the operator's holds, and what of it may be found after a crash.

use std::collections::BTreeMap;

use crate::policy::eviction::Content;
use crate::policy::holds::Holds;

/// What is kept beside content. Everything has a number that grows with each change.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Told {
    pub(super) tags: BTreeMap<String, u64>,
    pub(super) rows: BTreeMap<Content, u64>,
    pub(super) spent: u64,
    pub(super) holds: Holds,
}

/// A change of the records.
#[derive(Clone)]
pub(super) enum Put {
    Tag(u64, u64),
    NoTag(u64),
    Rows(Vec<(Content, u64)>),
}

impl Told {
    pub(super) fn change(&mut self, put: &Put) {
        match put {
            Put::Tag(tag, number) => drop(self.tags.insert(format!("t{tag}"), *number)),
            Put::NoTag(tag) => drop(self.tags.remove(&format!("t{tag}"))),
            Put::Rows(rows) => self.rows.extend(rows.iter().copied()),
        }
    }
}

/// What was asked for in a life, and what was reported to be on disk, each with the steps recorded by then.
#[derive(Default)]
pub(super) struct History {
    /// What was there at its beginning.
    pub(super) first: Told,
    pub(super) puts: Vec<(usize, Put)>,
    /// How many of the changes are on disk, and what was spent.
    pub(super) flushed: Vec<(usize, usize, u64)>,
    pub(super) spent: Vec<(usize, u64)>,
    /// When it began, and when it was on disk.
    pub(super) saved: Vec<(usize, usize, Holds)>,
}

impl History {
    /// Whether `found` may be there when power goes after `cut` steps.
    pub(super) fn expect(&self, cut: usize, found: &Told) -> Result<(), String> {
        let flushed = self.flushed.iter().rfind(|(at, ..)| *at <= cut);
        let (sure, spent) = flushed.map_or((0, self.first.spent), |(_, puts, spent)| (*puts, *spent));
        let asked = self.spent.iter().rfind(|(at, _)| *at <= cut);
        let asked = asked.map_or(self.first.spent, |(_, spent)| *spent);
        if !(spent..=asked).contains(&found.spent) {
            return Err(format!("spent {}, not {spent} to {asked}", found.spent));
        }
        let saved = self.saved.iter().filter(|(begun, ..)| *begun <= cut);
        let saved: Vec<_> = saved.collect();
        let last = saved.iter().rposition(|(_, ended, _)| *ended <= cut);
        let mut holds = saved[last.unwrap_or(0)..].iter().map(|(.., holds)| holds);
        let at_first = last.is_none() && found.holds == self.first.holds;
        if !at_first && !holds.any(|holds| *holds == found.holds) {
            return Err(format!("holds of no moment: {:?}", found.holds));
        }
        let mut told = self.first.clone();
        let puts = self.puts.iter().take_while(|(at, _)| *at <= cut);
        for (number, put) in std::iter::once(None)
            .chain(puts.map(|(_, put)| Some(put)))
            .enumerate()
        {
            if let Some(put) = put {
                told.change(put);
            }
            if number >= sure && (&told.tags, &told.rows) == (&found.tags, &found.rows) {
                return Ok(());
            }
        }
        Err(format!(
            "records of no moment after change {sure}: {:?}",
            found.tags
        ))
    }
}
