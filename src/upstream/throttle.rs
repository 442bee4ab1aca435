//! Waits for a place among the requests that an upstream takes in a second.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::sleep;

use super::shield::Shield;
use super::{LimitKind, Refusal, lock};
use crate::clock::{Clock, Time};
use crate::policy::budget::Asker;
use crate::policy::throttle::{self, Patience, Told, Verdict};

/// Whom places go to that nobody in particular asks for: what is done for all.
const NOBODY: u64 = u64::MAX;

/// An upstream that wants to be left alone for no longer than this is waited for. Clients that are refused
/// instead come back together.
const SOON: Duration = Duration::from_secs(5);

/// The rate of one upstream, learnt from what it refuses.
pub(super) struct Throttle {
    state: Mutex<State>,
    /// How long an upstream that wants to be left alone is waited for, and how long a place.
    patience: (Duration, Duration),
}

#[derive(Default)]
struct State {
    throttle: throttle::Throttle,
    waiting: HashMap<u64, oneshot::Sender<Told>>,
}

impl State {
    /// Tells everybody who has to be told something.
    fn turn(&mut self, now: Time) {
        for (ticket, told) in self.throttle.turn(now) {
            if let Some(tell) = self.waiting.remove(&ticket) {
                // Whoever left meanwhile took a place that goes by unused.
                let _ = tell.send(told);
            }
        }
    }
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
            client: asker.map_or(NOBODY, |asker| asker.client),
            longest: asker.map_or(self.patience.1, |asker| {
                self.patience.1.min(asker.deadline.since(now))
            }),
            low: asker.is_some_and(|asker| shield.is_low(asker.tier)),
        };
        let mut waiter = {
            let mut state = self.lock();
            let ticket = match state.throttle.ask(patience, now) {
                Verdict::Go => return Ok(()),
                Verdict::Refuse(until) => return Err(limited(until.since(now).max(alone))),
                Verdict::Wait(ticket) => ticket,
            };
            let (tell, told) = oneshot::channel();
            state.waiting.insert(ticket, tell);
            // Somebody may have to leave for this one.
            state.turn(now);
            Waiter {
                throttle: self,
                ticket,
                told,
            }
        };
        loop {
            let pause = self.until_wake(clock.now());
            tokio::select! {
                told = &mut waiter.told => {
                    return match told {
                        Ok(Err(until)) => Err(limited(until.since(clock.now()))),
                        Ok(Ok(())) | Err(_) => Ok(()),
                    };
                }
                () = sleep(pause) => self.lock().turn(clock.now()),
            }
        }
    }

    /// How long until somebody has to be told something by the passing of time alone.
    fn until_wake(&self, now: Time) -> Duration {
        let wake = self.lock().throttle.wake(now);
        let pause = wake.map_or(Duration::from_secs(1), |wake| wake.since(now));
        // Never a busy loop, whatever the machine says.
        pause.max(Duration::from_millis(1))
    }

    /// True if it is worth waiting until the upstream takes requests again.
    pub(super) fn is_soon(&self, shield: &Shield) -> bool {
        shield.parked().is_none_or(|alone| alone <= self.patience.0)
    }

    /// True while the upstream is asked less than it could be, since it refused.
    pub(super) fn is_limited(&self) -> bool {
        self.lock().throttle.is_limited()
    }

    pub(super) fn answered(&self) {
        self.lock().throttle.answered();
    }

    pub(super) fn refused(&self, shield: &Shield, now: Time) {
        let until = now + shield.parked().unwrap_or_default();
        let mut state = self.lock();
        state.throttle.refused(until, now);
        state.turn(now);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Somebody who waits; gone with his request.
struct Waiter<'a> {
    throttle: &'a Throttle,
    ticket: u64,
    told: oneshot::Receiver<Told>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut state = self.throttle.lock();
        if state.waiting.remove(&self.ticket).is_some() {
            state.throttle.leave(self.ticket);
        }
    }
}

fn limited(wait: Duration) -> Refusal {
    Refusal::Limited {
        kind: LimitKind::Abuse,
        retry_after: Some(wait),
    }
}
