//! Operations per minute, counted by governor on our own clock.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock as GovernorsClock;
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::clock::Clock;
use crate::policy::quota::Left;

/// Our clock, as governor reads it.
#[derive(Clone, Copy, Debug)]
struct Ours(Clock);

impl GovernorsClock for Ours {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// So many operations a minute, of which a whole minute's may come at once.
pub(super) struct Operations {
    limiter: RateLimiter<NotKeyed, InMemoryState, Ours, StateInformationMiddleware>,
    per_minute: NonZeroU32,
}

impl Operations {
    pub(super) fn new(per_minute: NonZeroU32, clock: Clock) -> Self {
        let quota = Quota::per_minute(per_minute);
        let limiter = RateLimiter::direct_with_clock(quota, Ours(clock));
        Self {
            limiter: limiter.with_middleware(),
            per_minute,
        }
    }

    /// Takes one; what is left after it.
    ///
    /// # Errors
    /// The time after which there is one again. Nothing was taken.
    pub(super) fn spend(&self) -> Result<Left, Duration> {
        match self.limiter.check() {
            Ok(state) => Ok(self.left(state.remaining_burst_capacity())),
            Err(until) => Err(until.wait_time_from(GovernorsClock::now(self.limiter.clock()))),
        }
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
