//! Operations per minute, counted by governor on our own clock.
//!
//! governor grants a whole minute's worth at once, so that `remaining` means what it means at Docker Hub; what
//! flows in during the same minute is bounded by [`Minute`]. A refusal names the later of the two times, so
//! governor is asked what it would say before anything is taken.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::Clock as GovernorsClock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};

use crate::policy::quota::{Left, Minute};

/// The time that governor reads, in nanoseconds: that of our clock which it was told last. Whoever consults it
/// holds the lock of [`Operations`].
#[derive(Clone, Debug, Default)]
struct Told(Arc<AtomicU64>);

impl Told {
    /// Tells the time; the latest that was told, since requests come here in another order than they came in.
    fn tell(&self, now: Duration) -> Duration {
        let now = now.max(self.now());
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.0.store(nanos, Ordering::Relaxed);
        now
    }
}

impl GovernorsClock for Told {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// What governor is consulted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Intent {
    /// Its verdict changes nothing.
    Ask,
    Take,
}

/// What governor remembers: one figure, zero before the first operation. Whoever consults it holds the lock of
/// [`Operations`].
#[derive(Default)]
struct Level(AtomicU64);

impl StateStore for Level {
    type Key = Intent;

    fn measure_and_replace<T, F, E>(&self, intent: &Intent, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let level = self.0.load(Ordering::Relaxed);
        let (verdict, next) = measure((level > 0).then(|| Nanos::new(level)))?;
        if *intent == Intent::Take {
            self.0.store(next.as_u64(), Ordering::Relaxed);
        }
        Ok(verdict)
    }
}

/// So many operations a minute, of which a whole minute's may come at once.
pub(super) struct Operations {
    limiter: RateLimiter<Intent, Level, Told, StateInformationMiddleware>,
    minute: Mutex<Minute>,
    per_minute: NonZeroU32,
}

impl Operations {
    pub(super) fn new(per_minute: NonZeroU32) -> Self {
        let quota = Quota::per_minute(per_minute);
        Self {
            limiter: RateLimiter::new(quota, Level::default(), Told::default()),
            minute: Mutex::new(Minute::new(per_minute.get())),
            per_minute,
        }
    }

    /// Takes one; what is left after it. `now` is the time since the clock began.
    ///
    /// # Errors
    /// The time after which there is one again. Nothing was taken.
    pub(super) fn spend(&self, now: Duration) -> Result<Left, Duration> {
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.limiter.clock().tell(now);
        let full = minute.wait(now);
        let intent = if full.is_zero() { Intent::Take } else { Intent::Ask };
        match self.limiter.check_key(&intent) {
            Err(until) => Err(full.max(until.wait_time_from(now))),
            Ok(_) if intent == Intent::Ask => Err(full),
            Ok(granted) => {
                minute.take(now);
                Ok(self.left(granted.remaining_burst_capacity().min(minute.left(now))))
            }
        }
    }

    /// The time after which there is one again; `None` if there is one now. Takes nothing.
    pub(super) fn wait(&self, now: Duration) -> Option<Duration> {
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.limiter.clock().tell(now);
        let full = minute.wait(now);
        let asked = self.limiter.check_key(&Intent::Ask);
        let wait = asked.map_or_else(|until| full.max(until.wait_time_from(now)), |_| full);
        (!wait.is_zero()).then_some(wait)
    }

    /// For a refusal.
    pub(super) fn nothing_left(&self) -> Left {
        self.left(0)
    }

    fn left(&self, remaining: u32) -> Left {
        Left {
            limit: self.per_minute.get(),
            remaining,
        }
    }
}
