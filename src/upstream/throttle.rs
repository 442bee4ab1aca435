//! Waits for a place among the requests that an upstream takes in a second.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use super::shield::Shield;
use super::{LimitKind, Refusal};
use crate::clock::{Clock, Time};
use crate::policy::budget::Asker;
use crate::policy::throttle::{self, Patience, Verdict};

/// An upstream that wants to be left alone for no longer than this is waited for. Clients that are refused
/// instead come back together.
const SOON: Duration = Duration::from_secs(5);

/// The rate of one upstream, learnt from what it refuses.
pub(super) struct Throttle {
    state: Mutex<throttle::Throttle>,
    /// How long an upstream that wants to be left alone is waited for, and how long a place.
    patience: (Duration, Duration),
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            patience: (SOON, Duration::MAX),
        }
    }
}

impl Throttle {
    /// For an upstream that others can stand in for: nobody waits for it.
    pub(super) fn impatient() -> Self {
        Self {
            state: Mutex::default(),
            patience: (Duration::ZERO, Duration::from_secs(1)),
        }
    }

    /// Waits until a request may be sent, by nobody in particular or for an asker: not past its deadline, and
    /// not in places that are kept for higher ranks. Cancel-safe: a place that was taken goes by unused.
    pub(super) async fn place(
        &self,
        asker: Option<&Asker>,
        shield: &Shield,
        clock: Clock,
    ) -> Result<(), Refusal> {
        let alone = shield.parked().unwrap_or_default();
        if alone > self.patience.0 {
            return Err(limited(alone));
        }
        let now = clock.now();
        let patience = Patience {
            longest: asker.map_or(self.patience.1, |asker| {
                self.patience.1.min(asker.deadline.since(now))
            }),
            low: asker.is_some_and(|asker| shield.is_low(asker.tier)),
        };
        let wait = match self.lock().ask_within(patience, now) {
            Verdict::After(wait) => wait,
            Verdict::Refuse(until) => return Err(limited(until.since(now).max(alone))),
        };
        if !wait.is_zero() {
            sleep(wait).await;
        }
        Ok(())
    }

    /// True if it is worth waiting until the upstream takes requests again.
    pub(super) fn is_soon(&self, shield: &Shield) -> bool {
        shield.parked().is_none_or(|alone| alone <= self.patience.0)
    }

    /// True while the upstream is asked less than it could be, since it refused.
    pub(super) fn is_limited(&self) -> bool {
        self.lock().is_limited()
    }

    pub(super) fn answered(&self) {
        self.lock().answered();
    }

    pub(super) fn refused(&self, shield: &Shield, now: Time) {
        let until = now + shield.parked().unwrap_or_default();
        self.lock().refused(until, now);
    }

    fn lock(&self) -> MutexGuard<'_, throttle::Throttle> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn limited(wait: Duration) -> Refusal {
    Refusal::Limited {
        kind: LimitKind::Abuse,
        retry_after: Some(wait),
    }
}
