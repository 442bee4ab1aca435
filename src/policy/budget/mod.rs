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

mod accounts;
mod bucket;
mod changed;
mod gate;
mod machine;
mod places;
#[cfg(test)]
mod properties;
pub(in crate::policy) mod queue;
mod ranks;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod simulation;
mod spends;
mod usage;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::machine::{Budget, Ledger};
use crate::clock::Time;

/// The tier of what nobody waits for. It has only what would expire unused: it leaves as much as everybody
/// else is expected to want until the allowance is whole again, and never waits for a turn.
pub const PREFETCH: usize = usize::MAX;

/// Figures beyond these are nobody's: what a hostile upstream names must not overflow what is reckoned with it.
const MOST_LIMIT: u64 = 1_000_000_000_000;
const MOST_WINDOW: Duration = Duration::from_secs(31 * 24 * 3600);

/// Who wants something that may cost budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// Index into [`Rules::reserves`], or [`PREFETCH`].
    pub tier: usize,
    /// Which client: turns go round between clients of one tier.
    pub client: u64,
    /// When the answer is of no use any more.
    pub deadline: Time,
}

/// What one response said of the allowance it was counted against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Requests that the window allows.
    pub limit: u64,
    /// How many of them are left; never below zero.
    pub remaining: u64,
    /// The window, if the response named it.
    pub window: Option<Duration>,
}

impl Reading {
    /// Figures that can be reckoned with. A window of no length is none.
    fn plausible(self) -> Self {
        let limit = self.limit.min(MOST_LIMIT);
        let window = self.window.filter(|window| !window.is_zero());
        Self {
            limit,
            remaining: self.remaining.min(limit),
            window: window.map(|window| window.min(MOST_WINDOW)),
        }
    }
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
#[derive(Clone, Debug, Default, PartialEq)]
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
    /// The upstream asked to be left alone (abuse limit).
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

/// What follows from asking to spend.
#[derive(Debug)]
pub enum Verdict {
    /// Send it, and settle the charge when it is over.
    Go(Charge),
    /// Read the budget first, by a free HEAD with this account; learn what it tells, and ask again.
    Read(usize),
    /// Wait: [`Budget::turn`] will tell.
    Wait,
    /// Do not send it.
    Refuse(Withheld),
}

/// One counted request that may be sent.
#[must_use = "a charge that is not settled is counted for ever"]
#[derive(Debug)]
pub struct Charge {
    /// The account to send it with.
    pub account: usize,
    /// The allowance it is taken from, by its id.
    bucket: u64,
    /// When it was charged.
    at: Time,
}

/// How an upstream refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The allowance is used up.
    Pull {
        /// When it is not any more, if it said.
        retry_after: Option<Duration>,
    },
    /// It wants to be left alone, by every account.
    Abuse {
        /// For how long, if it said.
        retry_after: Option<Duration>,
    },
}

/// How an allowance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No response has told yet.
    Unknown,
    /// The upstream does not limit.
    Unlimited,
    /// The figures are known.
    Known,
    /// Nothing is left until then, as far as is known.
    Exhausted(Time),
    /// The upstream is left alone, or the account not used, until then.
    Parked(Time),
}

/// One allowance, for people and metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct BucketStatus {
    /// Whom the upstream counts against, if it said.
    pub source: Option<String>,
    /// The accounts that spend from it.
    pub accounts: Vec<usize>,
    /// How it stands.
    pub standing: Standing,
    /// Requests that the window allows.
    pub limit: u64,
    /// How many of them are left, as far as can be told.
    pub remaining: u64,
    /// How many of those spent were ours.
    pub own: u64,
    /// How many were our neighbours'.
    pub foreign: u64,
    /// The window, if the upstream named it.
    pub window: Option<Duration>,
    /// When the oldest of our spends leaves the window.
    pub next_slot: Option<Time>,
}
