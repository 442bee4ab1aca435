//! When the keys of an issuer are fetched, and how long they are believed while they cannot be.

use std::time::Duration;

use crate::clock::Time;
use crate::policy::backoff;

/// How long keys are taken for fresh, unless their issuer says otherwise; at least; at most. GitHub says an hour and
/// less, Kubernetes an hour, Azure a day.
const LIFE: Duration = Duration::from_secs(3600);
const LEAST_LIFE: Duration = Duration::from_secs(5 * 60);
const MOST_LIFE: Duration = Duration::from_secs(24 * 3600);
/// How long they are believed while their issuer cannot be asked: a night, and not a week, because a key that was
/// withdrawn meanwhile is believed as long.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// The pause after one failure, and the longest.
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(5 * 60);
/// How often strangers can make us look for a key that is not known.
const LOOK: Duration = Duration::from_secs(60);

/// When what was read, and what was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refresh {
    read: Option<(Time, Duration)>,
    tried: Option<Time>,
    failures: u32,
}

impl Refresh {
    /// The keys were read; their issuer said that they are good so long.
    pub fn read(&mut self, life: Option<Duration>, now: Time) {
        let life = life.unwrap_or(LIFE).clamp(LEAST_LIFE, MOST_LIFE);
        *self = Self {
            read: Some((now, life)),
            tried: Some(now),
            failures: 0,
        };
    }

    /// They could not be.
    pub fn failed(&mut self, now: Time) {
        self.tried = Some(now);
        self.failures = self.failures.saturating_add(1);
    }

    /// When they are fetched the next time, by itself: at half of their life, and after a failure soon.
    pub fn due(&self) -> Time {
        let half = self.read.map_or(Time::from_millis(0), |(at, life)| at + life / 2);
        match (self.tried, self.failures) {
            (Some(tried), 1..) => half.max(tried + backoff::doubled(FIRST, LONGEST, self.failures - 1)),
            (_, _) => half,
        }
    }

    /// True if what was read may be believed.
    pub fn is_usable(&self, now: Time) -> bool {
        self.read.is_some_and(|(at, _)| now < at + KEPT)
    }

    /// True if somebody who needs a key that is not there may have it looked for.
    pub fn may_look(&self, now: Time) -> bool {
        let pause = match self.is_usable(now) {
            true => LOOK,
            // Nobody is served until there are keys.
            false => FIRST,
        };
        self.tried.is_none_or(|tried| now >= tried + pause)
    }

    /// When they were read the last time.
    pub fn at(&self) -> Option<Time> {
        self.read.map(|(at, _)| at)
    }
}
