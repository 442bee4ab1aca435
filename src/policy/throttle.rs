//! How many requests in a second an upstream takes that says "too many" without figures: learnt, by halving
//! the rate at each refusal and raising it slowly with each answer (AIMD).
//!
//! Nobody is throttled before the first refusal, and nobody any more once the rate is as high as any client
//! would ask. What it holds back are free requests as well: those limits count everything.

use std::time::Duration;

use crate::clock::Time;

/// Requests a second: the slowest rate there is, and the one from which on nobody is held back. The fastest
/// is what upstreams.md advises for any registry (30 a second); one a second is what ECR Public grants.
const RATES: (f64, f64) = (0.5, 30.0);
/// What a second of answers adds to the rate.
const STEP: f64 = 0.2;
/// Refusals that come together are one: those requests left at the same rate.
const TOGETHER: Duration = Duration::from_secs(1);
/// Who would have to wait longer than this is refused.
const LONGEST: Duration = Duration::from_secs(10);

/// When a request may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// After this wait; its place is taken.
    After(Duration),
    /// There are too many ahead: not before this time.
    Refuse(Time),
}

/// The rate of one upstream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Throttle {
    /// Requests a second; `None`: as they come.
    rate: Option<f64>,
    /// When the next request may be sent.
    next: Option<Time>,
    /// When it was refused last.
    refused: Option<Time>,
    seconds: Seconds,
}

/// Requests of this second and of the one before.
#[derive(Clone, Copy, Debug, Default)]
struct Seconds {
    second: u64,
    count: f64,
    before: f64,
}

impl Throttle {
    /// Takes a place for a request.
    pub fn ask(&mut self, now: Time) -> Verdict {
        let at = match self.rate {
            None => now,
            Some(rate) => {
                let at = self.next.map_or(now, |next| next.max(now));
                if at.since(now) > LONGEST {
                    return Verdict::Refuse(at);
                }
                self.next = Some(at + Duration::from_secs_f64(1.0 / rate));
                at
            }
        };
        self.seconds.count(now);
        Verdict::After(at.since(now))
    }

    /// The upstream answered, and not that it was too much.
    pub fn answered(&mut self) {
        if let Some(rate) = self.rate {
            let rate = rate + STEP / rate;
            self.rate = (rate < RATES.1).then_some(rate);
        }
    }

    /// The upstream said that it was too much, and is left alone until then.
    pub fn refused(&mut self, until: Time, now: Time) {
        let alone = self.next.map_or(until, |next| next.max(until));
        self.next = Some(alone);
        if self.refused.is_some_and(|last| now.since(last) < TOGETHER) {
            return;
        }
        self.refused = Some(now);
        let rate = self.rate.unwrap_or_else(|| self.seconds.rate(now));
        let rate = (rate / 2.0).clamp(RATES.0, RATES.1);
        self.rate = Some(rate);
        self.next = Some(alone.max(now + Duration::from_secs_f64(1.0 / rate)));
    }

    /// Requests a second that it is held to now.
    pub fn rate(&self) -> Option<f64> {
        self.rate
    }
}

impl Seconds {
    fn count(&mut self, now: Time) {
        self.turn(now);
        self.count += 1.0;
    }

    /// The higher of both: a burst that has just begun counts as much as one that has just ended.
    fn rate(mut self, now: Time) -> f64 {
        self.turn(now);
        self.count.max(self.before)
    }

    fn turn(&mut self, now: Time) {
        let second = now.as_millis() / 1000;
        if second != self.second {
            self.before = if second == self.second + 1 {
                self.count
            } else {
                0.0
            };
            (self.second, self.count) = (second, 0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn nobody_is_held_back_before_the_first_refusal() {
        let mut throttle = Throttle::default();
        for _ in 0..10_000 {
            assert_eq!(throttle.ask(at(5)), Verdict::After(Duration::ZERO));
        }
    }

    #[test]
    fn a_refusal_halves_the_rate_and_those_that_come_with_it_do_not() {
        let mut throttle = Throttle::default();
        for _ in 0..20 {
            throttle.ask(at(0));
        }
        for _ in 0..20 {
            throttle.refused(at(100), at(100));
        }
        assert_eq!(throttle.rate(), Some(10.0));
        assert_eq!(throttle.ask(at(100)), Verdict::After(Duration::from_millis(100)));
        assert_eq!(throttle.ask(at(100)), Verdict::After(Duration::from_millis(200)));
    }

    #[test]
    fn with_answers_the_rate_rises_until_nobody_is_held_back() {
        let mut throttle = Throttle::default();
        throttle.refused(at(0), at(0));
        let mut answers = 0;
        while throttle.rate().is_some() {
            throttle.answered();
            answers += 1;
        }
        assert!((1_000..5_000).contains(&answers), "{answers}");
    }

    #[test]
    fn who_would_wait_too_long_is_refused_and_takes_no_place() {
        let mut throttle = Throttle::default();
        throttle.refused(at(0), at(0));
        let waits = (0..100).map(|_| throttle.ask(at(0)));
        let places = waits
            .filter(|verdict| matches!(verdict, Verdict::After(_)))
            .count();
        assert_eq!(places, 5, "one in two seconds, for ten");
        assert_eq!(throttle.ask(at(0)), Verdict::Refuse(at(12_000)));
    }

    /// An upstream that takes one request a second, and a hundred clients that want something at once.
    #[test]
    fn an_upstream_of_one_a_second_is_found_out() {
        let (mut throttle, mut allowed, mut refused) = (Throttle::default(), 0.0_f64, 0);
        let (mut now, mut last) = (0, 0);
        for _ in 0..300 {
            let wait = match throttle.ask(at(now)) {
                Verdict::After(wait) => wait,
                Verdict::Refuse(until) => until.since(at(now)),
            };
            now += u64::try_from(wait.as_millis()).unwrap();
            allowed = (allowed + (now - last) as f64 / 1000.0).min(1.0);
            last = now;
            if allowed >= 1.0 {
                allowed -= 1.0;
                throttle.answered();
            } else {
                refused += 1;
                throttle.refused(at(now), at(now));
            }
        }
        assert!(refused < 90, "{refused} of 300 refused");
        assert!(now < 600_000, "{now} ms for 300 requests at one a second");
    }

    proptest! {
        /// Nobody waits longer than promised, whatever comes.
        #[test]
        fn no_place_lies_further_ahead_than_the_longest_wait(
            steps in proptest::collection::vec((0..3u8, 0..5_000u64), 0..200)
        ) {
            let (mut throttle, mut now) = (Throttle::default(), 0);
            for (step, pause) in steps {
                now += pause;
                match step {
                    0 => match throttle.ask(at(now)) {
                        Verdict::After(wait) => prop_assert!(wait <= LONGEST),
                        Verdict::Refuse(until) => prop_assert!(until > at(now) + LONGEST),
                    },
                    1 => throttle.answered(),
                    _ => throttle.refused(at(now + 1000), at(now)),
                }
                prop_assert!(throttle.rate().is_none_or(|rate| (RATES.0..RATES.1 + 1.0).contains(&rate)));
            }
        }
    }
}
