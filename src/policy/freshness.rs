//! May a tag be served as it is remembered? And what follows from the upstream's answer?
//!
//! The two halves of RFC 9111: a question before the upstream is asked ([`before`]) and one after
//! ([`after`]). Content by digest is always fresh and never comes here.
//!
//! ```text
//! age:  0 ─────── ttl ─────── + stale_while_revalidate ─────── stale_if_error ──────>
//!         serve        serve, and ask behind its back    ask; if that fails, serve   ask
//! ```

mod rules;

use crate::clock::Time;
use crate::oci::{Descriptor, Tag};

pub use self::rules::{Exception, Patterns, Policy, Rules};

/// What a tag pointed at, and when the upstream last said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagRecord {
    /// The manifest it pointed at.
    pub descriptor: Descriptor,
    /// When the upstream last confirmed it.
    pub validated: Time,
}

/// What to do before asking the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// The record is fresh: serve it.
    Serve,
    /// The record is stale, but not by much: serve it, and ask the upstream without letting anybody wait.
    Refresh,
    /// There is no record, or it is stale: ask the upstream.
    Ask,
    /// The upstream is not to be asked: serve what is held, however old.
    Offline,
}

/// What the upstream said about a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The tag points here.
    Found(Descriptor),
    /// The tag does not exist: a definite 404 or 410.
    Gone,
    /// No definite answer: refused, limited, failing or out of reach.
    None,
}

/// What follows from the upstream's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// Remember this and serve it.
    Remember(TagRecord),
    /// Forget the tag: it is gone.
    Forget,
    /// Serve the record, and say that it is stale.
    ServeStale(TagRecord),
    /// There is nothing to serve.
    Fail,
}

/// Decides whether the upstream must be asked about a tag. A record from the future was written under a
/// faster clock: nobody knows how old it is, so it is not fresh.
pub fn before(tag: &Tag, record: Option<&TagRecord>, rules: &Rules, now: Time) -> Before {
    let age = match record {
        _ if rules.offline => return Before::Offline,
        None => return Before::Ask,
        Some(record) if record.validated > now => None,
        Some(record) => Some(now.since(record.validated)),
    };
    let within = |window| age.is_some_and(|age| age < window);
    if within(rules.ttl) || rules.immutable.matches(tag.as_str()) {
        Before::Serve
    } else if within(rules.ttl.saturating_add(rules.stale_while_revalidate)) {
        Before::Refresh
    } else {
        Before::Ask
    }
}

/// Decides what follows from the upstream's answer about a tag.
pub fn after(record: Option<TagRecord>, answer: Answer, rules: &Rules, now: Time) -> After {
    match (answer, record) {
        (Answer::Found(descriptor), _) => After::Remember(TagRecord {
            descriptor,
            validated: now,
        }),
        (Answer::Gone, _) => After::Forget,
        (Answer::None, Some(record)) if may_be_stale(&record, rules, now) => After::ServeStale(record),
        (Answer::None, _) => After::Fail,
    }
}

/// True if a record may be served although the upstream does not answer.
pub fn may_be_stale(record: &TagRecord, rules: &Rules, now: Time) -> bool {
    rules.offline || now.since(record.validated) <= rules.stale_if_error
}

#[cfg(test)]
mod tests;
