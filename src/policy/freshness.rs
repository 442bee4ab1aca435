//! May a tag be served as it is remembered? And what follows from the upstream's answer?
//!
//! The two halves of RFC 9111: a question before the upstream is asked ([`before`]) and one after
//! ([`after`]). Content by digest is always fresh and never comes here.

use std::time::Duration;

use crate::clock::Time;
use crate::oci::Descriptor;

/// What a tag pointed at, and when the upstream last said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagRecord {
    /// The manifest it pointed at.
    pub descriptor: Descriptor,
    /// When the upstream last confirmed it.
    pub validated: Time,
}

/// What may be chosen about freshness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long a tag is served without asking.
    pub ttl: Duration,
    /// How long after its validation a tag may be served when the upstream cannot answer.
    pub stale_if_error: Duration,
}

/// What to do before asking the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// The record is fresh: serve it.
    Serve,
    /// There is no record, or it is stale: ask the upstream.
    Ask,
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
pub fn before(record: Option<&TagRecord>, rules: &Rules, now: Time) -> Before {
    match record {
        Some(record) if record.validated <= now && now.since(record.validated) < rules.ttl => Before::Serve,
        Some(_) | None => Before::Ask,
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
        (Answer::None, Some(record)) if now.since(record.validated) <= rules.stale_if_error => {
            After::ServeStale(record)
        }
        (Answer::None, _) => After::Fail,
    }
}

#[cfg(test)]
mod tests;
