//! Lists of what is held, as the operator asks for them: filtered, sorted, a page at a time.
//!
//! Every list is made of one [`Catalog`]. Names go up and figures go down unless reversed: the largest, the newest,
//! the most pulled come first. A page ends with a cursor that says where the next begins by what its last row
//! was, not by how many came before, so nothing is lost or told twice where rows come and go in between.

mod files;
mod manifests;
mod near;
mod reach;
mod repositories;
mod tags;
mod usage;

use std::cmp::Ordering;

use regex::Regex;
use serde::{Deserialize, Serialize};

pub use manifests::{ManifestRow, manifest, manifests};
pub use near::near;
pub use repositories::{RepositoryRow, repositories};
pub use tags::{TagRow, tags};
pub use usage::{AgeRow, NextRow, Portion, UpstreamRow, Usage, usage};

use super::catalog::{Catalog, HeldManifest, HeldTag};
use crate::oci::Repository;

/// Rows of a page, unless another number is asked for.
pub const USUAL_LIMIT: usize = 100;
/// Most rows of a page: a few megabytes of JSON.
pub const MAX_LIMIT: usize = 10_000;

/// What is wanted of a list.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// By what it is sorted; each list has its own words.
    pub sort: Option<String>,
    /// The other way round.
    pub reverse: bool,
    /// A regular expression that must be found somewhere in what names a row.
    pub filter: Option<Regex>,
    /// Most rows, at most [`MAX_LIMIT`]; [`USUAL_LIMIT`] if not said.
    pub limit: Option<usize>,
    /// The cursor of the page before.
    pub after: Option<Cursor>,
}

/// Why a list cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It is not sorted by that.
    #[error("`{0}` is nothing to sort by; there is {1}")]
    Sort(String, &'static str),
}

/// A page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The moment it was made, in milliseconds since the Unix epoch, as all times in it are.
    pub now: u64,
    /// Its rows.
    pub rows: Vec<T>,
    /// How many rows all pages have together.
    pub total: usize,
    /// Where the next page begins; none after the last.
    pub next: Option<String>,
}

/// What a row is sorted by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Key {
    Number(Option<u64>),
    Text(String),
}

/// Where a page ended: what its last row was sorted by, and its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor(Key, String);

impl Cursor {
    /// Reads the `next` of a page; `None` if it is no such text.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    fn write(&self) -> String {
        serde_json::to_string(self).expect("names and numbers always serialise")
    }

    fn compare(&self, other: &Self) -> Ordering {
        let keys = match (&self.0, &other.0) {
            (Key::Number(one), Key::Number(two)) => two.cmp(one),
            (Key::Text(one), Key::Text(two)) => one.cmp(two),
            (Key::Number(_), Key::Text(_)) => Ordering::Less,
            (Key::Text(_), Key::Number(_)) => Ordering::Greater,
        };
        keys.then_with(|| self.1.cmp(&other.1))
    }
}

impl Query {
    /// True if the filter finds itself in `text`, or there is none.
    fn finds(&self, text: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.is_match(text))
    }

    /// What the list is sorted by: the word asked for if it is one of `words`, else the first of them.
    fn sort_of(&self, words: &'static [&'static str], told: &'static str) -> Result<&'static str, Wrong> {
        let Some(asked) = &self.sort else {
            return Ok(words[0]);
        };
        let word = words.iter().find(|word| *word == asked);
        word.copied().ok_or_else(|| Wrong::Sort(asked.clone(), told))
    }

    /// Cuts a page out of items that were filtered. Only its rows are drawn up.
    fn page<T, R>(
        &self,
        items: Vec<T>,
        now: u64,
        place: impl Fn(&T) -> (Key, String),
        row: impl Fn(T) -> R,
    ) -> Page<R> {
        let total = items.len();
        let mut placed: Vec<(Cursor, T)> = Vec::with_capacity(total);
        for item in items {
            let (key, name) = place(&item);
            placed.push((Cursor(key, name), item));
        }
        let order = |one: &Cursor, two: &Cursor| match self.reverse {
            false => one.compare(two),
            true => two.compare(one),
        };
        if let Some(after) = &self.after {
            placed.retain(|(cursor, _)| order(cursor, after) == Ordering::Greater);
        }
        let limit = self.limit.unwrap_or(USUAL_LIMIT).clamp(1, MAX_LIMIT);
        let more = placed.len() > limit;
        if more {
            // What comes on later pages is in no order yet.
            placed.select_nth_unstable_by(limit, |one, two| order(&one.0, &two.0));
            placed.truncate(limit);
        }
        placed.sort_by(|one, two| order(&one.0, &two.0));
        let next = placed.last().filter(|_| more).map(|(cursor, _)| cursor.write());
        let rows = placed.into_iter().map(|(_, item)| row(item)).collect();
        Page {
            now,
            rows,
            total,
            next,
        }
    }
}

/// The manifests of a repository.
pub fn manifests_of<'a>(catalog: &'a Catalog, repository: &Repository) -> &'a [HeldManifest] {
    let all = &catalog.manifests;
    let begin = all.partition_point(|held| held.repository < *repository);
    let end = all.partition_point(|held| held.repository <= *repository);
    &all[begin..end]
}

/// The tags of a repository.
pub fn tags_of<'a>(catalog: &'a Catalog, repository: &Repository) -> &'a [HeldTag] {
    let all = &catalog.tags;
    let begin = all.partition_point(|held| held.repository < *repository);
    let end = all.partition_point(|held| held.repository <= *repository);
    &all[begin..end]
}

#[cfg(test)]
mod tests;
