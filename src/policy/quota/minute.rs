//! No minute has more than a tenth over the figure, however a client spreads its bursts.
//!
//! A bucket that holds a whole minute's worth lets all of it through at once, and what flows in during that
//! minute on top: up to twice the figure. This counts what was taken, second by second, and stands in front of
//! the bucket. What was taken within one second leaves together, a minute after the last of it: never too early,
//! and less than a second late.

use std::time::Duration;

/// How long what was taken counts.
const MINUTE: Duration = Duration::from_secs(60);
/// Seconds of which something can count at one moment.
const SECONDS: usize = 61;

/// What was taken of late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Minute {
    most: u32,
    /// What was taken in each second; second `n` of time stands at `n % SECONDS`.
    seconds: [Second; SECONDS],
    /// The sum of them.
    taken: u64,
    /// The newest second of time.
    newest: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Second {
    taken: u32,
    /// Milliseconds into the second at which the last was taken, rounded up.
    last: u16,
}

impl Minute {
    /// Nothing was taken yet; in any minute at most a tenth more than `figure` may be, rounded up.
    pub const fn new(figure: u32) -> Self {
        Self {
            most: figure.saturating_add(figure.div_ceil(10)),
            seconds: [Second { taken: 0, last: 0 }; SECONDS],
            taken: 0,
            newest: 0,
        }
    }

    /// How many may be taken now. `now` is the time since any fixed moment, and never goes back.
    pub fn left(&mut self, now: Duration) -> u32 {
        self.move_to(now);
        self.most
            .saturating_sub(u32::try_from(self.taken).unwrap_or(u32::MAX))
    }

    /// How long until one may be taken; zero if now.
    pub fn wait(&mut self, now: Duration) -> Duration {
        if self.left(now) > 0 {
            return Duration::ZERO;
        }
        let first = self.newest.saturating_sub(SECONDS as u64 - 1);
        let oldest = (first..=self.newest).find(|second| self.seconds[place(*second)].taken > 0);
        oldest.map_or(MINUTE, |second| self.leaves(second).saturating_sub(now))
    }

    /// Counts one.
    pub fn take(&mut self, now: Duration) {
        self.move_to(now);
        let second = &mut self.seconds[place(self.newest)];
        if let Some(taken) = second.taken.checked_add(1) {
            (second.taken, self.taken) = (taken, self.taken + 1);
        }
        let into = now.subsec_micros().div_ceil(1000);
        second.last = u16::try_from(into).unwrap_or(1000);
    }

    /// Forgets what has left.
    fn move_to(&mut self, now: Duration) {
        let passed = now.as_secs().saturating_sub(self.newest).min(SECONDS as u64);
        for gone in 1..=passed {
            self.forget(self.newest + gone);
        }
        self.newest = self.newest.max(now.as_secs());
        if let Some(oldest) = self.newest.checked_sub(SECONDS as u64 - 1)
            && self.leaves(oldest) <= now
        {
            self.forget(oldest);
        }
    }

    fn forget(&mut self, second: u64) {
        let gone = std::mem::take(&mut self.seconds[place(second)].taken);
        self.taken -= u64::from(gone);
    }

    /// When what was taken in a second stops counting.
    fn leaves(&self, second: u64) -> Duration {
        let last = Duration::from_millis(self.seconds[place(second)].last.into());
        Duration::from_secs(second) + last + MINUTE
    }
}

fn place(second: u64) -> usize {
    usize::try_from(second % SECONDS as u64).unwrap_or_default()
}
