//! What an upstream still allows us, and who may spend it now.
//!
//! One [`Budget`] is the whole machine for one upstream. It reads what responses say of an allowance, keeps
//! the ledger of our own spends, and decides about every request that would cost something: go, ask for a
//! reading first, wait for a turn, or be refused with the time at which asking again will succeed.
//!
//! ```text
//! response headers ── learn ──┐
//!                             ├── bucket: limit, remaining, own spends, neighbours' spends
//! ask ── held by reserve? ────┤
//!        paced? in flight? ───┴── Go · Read · Wait (queue: by rank, round robin, deadlines) · Refuse
//! ```

use std::time::Duration;

use crate::clock::Time;

/// Who wants something that may cost budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// Index into [`Rules::reserves`].
    pub tier: usize,
    /// Which client: turns go round between clients of one tier.
    pub client: u64,
    /// When the answer is of no use any more.
    pub deadline: Time,
}

/// What one response said of the allowance it was counted against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Requests that the window allows.
    pub limit: u64,
    /// How many of them are left; never below zero.
    pub remaining: u64,
    /// The window, if the response named it.
    pub window: Option<Duration>,
}

/// What one response told about allowances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Index of the account (credential) that the request was sent with.
    pub account: usize,
    /// Whom the upstream counts against (`docker-ratelimit-source`), if it said.
    pub source: Option<String>,
    /// The figures; `None` if the response had none, which means that this repository is not limited.
    pub reading: Option<Reading>,
}

/// What may be chosen about spending.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// By tier: the part of every allowance (0 to 1) that the tier may not touch. A tier with a reserve is
    /// also paced, and those with less of one go first.
    pub reserves: Vec<f64>,
}

/// Why a request is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// Nothing is left of any allowance.
    Exhausted,
    /// What is left is reserved for higher tiers.
    Reserved,
    /// The tier's pace allows no more yet.
    Paced,
    /// The upstream asked to be left alone (abuse limit), or refused every credential.
    Parked,
    /// There are too many in the queue ahead.
    Queued,
}

/// A request that is not sent, and what its client should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withheld {
    /// Why.
    pub because: Because,
    /// When asking again succeeds, as far as is known now.
    pub until: Time,
    /// The figures of the allowance that was nearest, if any is known.
    pub reading: Option<Reading>,
}
