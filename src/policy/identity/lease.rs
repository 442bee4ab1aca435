//! When a source is asked for a credential again: at half of its life, and not at once again after a failure.
//!
//! What is held is used to its end while its source fails. One that does not say when it ends is used until
//! the registry refuses it.

use std::time::Duration;

use crate::clock::Time;
use crate::policy::backoff;

/// The pause after a source has failed; doubled with each failure, up to the longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// The shortest life that is believed: a source that says less would be asked all the time.
const LEAST: Duration = Duration::from_secs(20);

/// How long a credential is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    renew: Duration,
    end: Option<Duration>,
}

impl Life {
    /// Of one that says how long: it is renewed at half of it.
    pub fn of(good_for: Duration) -> Self {
        let good_for = good_for.max(LEAST);
        Self {
            renew: good_for / 2,
            end: Some(good_for),
        }
    }

    /// Of one that does not say how long: its source is asked again after this time.
    pub fn untold(renew: Duration) -> Self {
        Self {
            renew: renew.max(LEAST),
            end: None,
        }
    }
}

/// What is known of one source's credential: never the credential itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    held: Option<Held>,
    failures: u32,
    /// When the source may be asked again after it failed.
    again: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    since: Time,
    renew: Time,
    end: Option<Time>,
}

/// What to do for somebody who needs the credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Use what is held.
    Use,
    /// Use what is held, and have it renewed meanwhile.
    Renew,
    /// Ask the source, and wait for it.
    Fetch,
    /// The source failed a moment ago: it is not asked again before then.
    Refuse(Time),
}

impl Lease {
    /// What to do at `now`.
    pub fn step(&self, now: Time) -> Step {
        let held = self.held.filter(|held| held.end.is_none_or(|end| now < end));
        let rests = self.again.filter(|again| *again > now);
        match (held, rests) {
            (Some(held), None) if held.renew <= now => Step::Renew,
            (Some(_), _) => Step::Use,
            (None, None) => Step::Fetch,
            (None, Some(again)) => Step::Refuse(again),
        }
    }

    /// When what is held ends, if that is known.
    pub fn end(&self) -> Option<Time> {
        self.held?.end
    }

    /// The source gave a credential.
    pub fn got(&mut self, life: Life, now: Time) {
        *self = Self {
            held: Some(Held {
                since: now,
                renew: now + life.renew,
                end: life.end.map(|end| now + end),
            }),
            ..Self::default()
        };
    }

    /// The source failed.
    pub fn failed(&mut self, now: Time) {
        self.again = Some(now + backoff::doubled(PAUSE.0, PAUSE.1, self.failures));
        self.failures = self.failures.saturating_add(1);
    }

    /// True if the source may be asked for another, because the registry refused what is held. What it gave a
    /// moment ago is all it has.
    pub fn may_be_replaced(&self, now: Time) -> bool {
        let rests = self.again.is_some_and(|again| again > now);
        let young = self.held.is_some_and(|held| now.since(held.since) < PAUSE.0);
        !rests && !young
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn a_credential_is_renewed_at_half_of_its_life_and_used_to_its_end_while_its_source_fails() {
        let mut lease = Lease::default();
        assert_eq!(lease.step(at(0)), Step::Fetch);
        lease.got(Life::of(Duration::from_secs(3600)), at(0));
        assert_eq!(lease.step(at(1799)), Step::Use);
        assert_eq!(lease.step(at(1800)), Step::Renew);
        lease.failed(at(1800));
        let steps = [1804, 1805, 3599].map(|seconds| lease.step(at(seconds)));
        assert_eq!(steps, [Step::Use, Step::Renew, Step::Renew]);
        lease.failed(at(3599));
        assert_eq!(lease.step(at(3600)), Step::Refuse(at(3609)));
        assert_eq!(lease.step(at(3609)), Step::Fetch);
        lease.got(Life::of(Duration::from_secs(100)), at(3609));
        assert_eq!(lease.step(at(3658)), Step::Use);
        let replaceable = [3609, 3613, 3614].map(|seconds| lease.may_be_replaced(at(seconds)));
        assert_eq!(replaceable, [false, false, true]);
        lease.failed(at(3614));
        assert!(!lease.may_be_replaced(at(3615)) && lease.may_be_replaced(at(3619)));
    }

    #[test]
    fn one_that_says_nothing_of_its_end_has_none() {
        let mut lease = Lease::default();
        lease.got(Life::untold(Duration::from_secs(900)), at(0));
        assert_eq!(lease.step(at(899)), Step::Use);
        for day in 1..100 {
            assert_eq!(lease.step(at(day * 86_400)), Step::Renew);
            lease.failed(at(day * 86_400));
            assert_eq!(lease.step(at(day * 86_400)), Step::Use);
        }
    }

    proptest! {
        /// Whatever the source does: it is asked four times a minute at most, and never while what is held is young.
        #[test]
        fn a_source_is_not_hammered(life in 0_u64..5000, works in prop::collection::vec(any::<bool>(), 300)) {
            let (mut lease, mut asked) = (Lease::default(), Vec::new());
            let mut works = works.into_iter().cycle();
            for second in 0..600 {
                if matches!(lease.step(at(second)), Step::Fetch | Step::Renew) {
                    asked.push(second);
                    match works.next() {
                        Some(true) => lease.got(Life::of(Duration::from_secs(life)), at(second)),
                        _ => lease.failed(at(second)),
                    }
                }
            }
            for pair in asked.windows(2) {
                prop_assert!(pair[1] - pair[0] >= 5, "{asked:?}");
            }
        }
    }
}
