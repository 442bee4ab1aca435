//! What is known of one asker and one repository, and the turn to ask: of those who want to know the same, one asks at
//! a time.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Shown, Wants};
use crate::clock::{Clock, Time};
use crate::policy::access::visibility::{Known, Lives, MISSING, Record, Said};
use crate::upstream::{Refusal, lock};

/// The longest that an answer is waited for where an older one will do.
const SHORT: Duration = Duration::from_secs(2);

/// What is known, and the turn to ask.
pub(super) struct Slot {
    turn: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) record: Record,
    /// What came of asking last, if that was no answer, and when.
    failed: Option<(Time, Refusal)>,
    /// What was not there of late, and until when that is believed.
    missing: Option<(Wants, Time)>,
}

impl State {
    /// True if this was not there a moment ago.
    pub(super) fn is_missing(&self, wants: &Wants, now: Time) -> bool {
        let missing = self.missing.as_ref();
        missing.is_some_and(|(missing, until)| missing == wants && now < *until)
    }
}

impl Slot {
    /// Nothing is known yet.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            turn: Semaphore::new(1),
            state: Mutex::default(),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// What is known without asking.
    pub(super) fn known(&self, lives: &Lives, now: Time) -> Known {
        self.lock().record.known(lives, now)
    }

    /// What is known, else what comes of asking, and what was said then: of those who want to know the same, one asks at
    /// a time.
    pub(super) async fn judge(
        &self,
        lives: &Lives,
        wants: &Wants,
        clock: Clock,
        within: Duration,
        asking: impl AsyncFnOnce(Duration) -> Result<(), Refusal>,
    ) -> (Shown, Option<Said>) {
        let no = Shown::No {
            login: false,
            tried: false,
        };
        let asked = clock.now();
        let _turn = match self.known(lives, asked) {
            Known::Shown => return (Shown::Yes, None),
            Known::Hidden => return (no, None),
            Known::Ask => match timeout(within, self.turn.acquire()).await {
                Ok(turn) => turn.expect("the semaphore is never closed"),
                Err(_) => return (Shown::Unknown(silent()), None),
            },
        };
        let now = clock.now();
        let within = within.saturating_sub(now.since(asked));
        // What came of it for whom this one waited is its own answer too.
        let failed = self.lock().failed.clone();
        if let Some((_, refusal)) = failed.filter(|(at, _)| *at > asked) {
            return (Shown::Unknown(refusal), None);
        }
        let (known, grace, missing) = {
            let state = self.lock();
            (
                state.record.known(lives, now),
                state.record.has_grace(lives, now),
                state.is_missing(wants, now),
            )
        };
        match known {
            Known::Shown => return (Shown::Yes, None),
            Known::Hidden => return (no, None),
            Known::Ask if missing => return (no, None),
            Known::Ask => {}
        }
        let said = asking(if grace { within.min(SHORT) } else { within }).await;
        let now = clock.now();
        let mut state = self.lock();
        state.failed = None;
        let (word, shown) = match said {
            Ok(()) => (Said::Shown, Shown::Yes),
            Err(Refusal::Denied(_)) => (Said::Hidden, no),
            Err(Refusal::NotFound) => {
                state.missing = Some((wants.clone(), now + MISSING));
                (Said::Missing, no)
            }
            Err(_) if state.record.has_grace(lives, now) => (Said::Nothing, Shown::Yes),
            Err(refusal) => {
                state.failed = Some((now, refusal.clone()));
                (Said::Nothing, Shown::Unknown(refusal))
            }
        };
        state.record.hear(word, now);
        (shown, Some(word))
    }
}

/// There was no answer in time.
pub(super) fn silent() -> Refusal {
    Refusal::Unreachable("no answer in time".to_owned())
}
