//! How many requests in a second an upstream takes that says "too many" without figures: learnt, by halving
//! the rate at each refusal and raising it slowly with each answer (AIMD), and with time that goes by in quiet.
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
/// After so long without a refusal the rate doubles, and again.
const QUIET: Duration = Duration::from_secs(60);
/// After so many times the refusal is forgotten.
const FORGOTTEN: u32 = 10;
/// Who would have to wait longer than this is refused.
const LONGEST: Duration = Duration::from_secs(10);
/// And those of low rank, who have something reserved against them, longer than this: the places behind are
/// kept for the others, whom a crowd of jobs must not shut out.
const LONGEST_OF_LOW: Duration = Duration::from_secs(5);

/// How long somebody waits for a place, and with what right.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// No longer than this.
    pub longest: Duration,
    /// True for whom a part of the places is not open.
    pub low: bool,
}

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
    /// Since when it may be asked again without having refused.
    quiet: Option<Time>,
    /// How often the rate was doubled since.
    doubled: u32,
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
    /// Takes a place for a request that waits no longer than this; refused, it takes none.
    pub fn ask_within(&mut self, patience: Patience, now: Time) -> Verdict {
        let most = if patience.low { LONGEST_OF_LOW } else { LONGEST };
        self.recover(now);
        let at = match self.rate {
            None => now,
            Some(rate) => {
                let at = self.next.map_or(now, |next| next.max(now));
                if at.since(now) > patience.longest.min(most) {
                    return Verdict::Refuse(at);
                }
                self.next = Some(at + Duration::from_secs_f64(1.0 / rate));
                at
            }
        };
        self.seconds.count(now);
        Verdict::After(at.since(now))
    }

    /// True while there is a rate to keep to.
    pub const fn is_limited(&self) -> bool {
        self.rate.is_some()
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
        self.recover(now);
        let quiet = until.max(now);
        self.quiet = Some(self.quiet.map_or(quiet, |before| before.max(quiet)));
        self.doubled = 0;
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

    /// What a limit was, it need not be any more: time without a refusal heals.
    fn recover(&mut self, now: Time) {
        let (Some(rate), Some(quiet)) = (self.rate, self.quiet) else {
            return;
        };
        let times = now.since(quiet).as_secs() / QUIET.as_secs();
        let times = u32::try_from(times).unwrap_or(FORGOTTEN).min(FORGOTTEN);
        if times > self.doubled {
            let grown = rate * f64::from(1 << (times - self.doubled));
            self.doubled = times;
            self.rate = (grown < RATES.1 && times < FORGOTTEN).then_some(grown);
        }
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

    impl Throttle {
        /// For one that waits as long as any.
        fn ask(&mut self, now: Time) -> Verdict {
            self.ask_for(10, false, now)
        }

        fn ask_for(&mut self, seconds: u64, low: bool, now: Time) -> Verdict {
            let longest = Duration::from_secs(seconds);
            self.ask_within(Patience { longest, low }, now)
        }
    }

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
        assert_eq!(throttle.rate, Some(10.0));
        assert_eq!(throttle.ask(at(100)), Verdict::After(Duration::from_millis(100)));
        assert_eq!(throttle.ask(at(100)), Verdict::After(Duration::from_millis(200)));
    }

    #[test]
    fn with_answers_the_rate_rises_until_nobody_is_held_back() {
        let mut throttle = Throttle::default();
        throttle.refused(at(0), at(0));
        let mut answers = 0;
        while throttle.rate.is_some() {
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

    #[test]
    fn low_ranks_leave_places_to_the_others_and_nobody_waits_past_a_deadline() {
        let mut throttle = Throttle::default();
        throttle.refused(at(0), at(0));
        for seconds in [2, 4] {
            let wait = Duration::from_secs(seconds);
            assert_eq!(throttle.ask_for(60, true, at(0)), Verdict::After(wait));
        }
        for _ in 0..20 {
            assert_eq!(throttle.ask_for(60, true, at(0)), Verdict::Refuse(at(6000)));
            assert_eq!(throttle.ask_for(5, false, at(0)), Verdict::Refuse(at(6000)));
        }
        let wait = Duration::from_secs(6);
        assert_eq!(throttle.ask_for(6, false, at(0)), Verdict::After(wait));
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

    /// How long the second of two requests is held back.
    fn pause(throttle: Throttle, now: Time) -> Duration {
        let mut throttle = throttle;
        throttle.ask(now);
        match throttle.ask(now) {
            Verdict::After(wait) => wait,
            Verdict::Refuse(until) => until.since(now),
        }
    }

    #[test]
    fn each_quiet_minute_doubles_the_rate_until_the_refusal_is_forgotten() {
        let mut throttle = Throttle::default();
        throttle.refused(at(0), at(0));
        for (seconds, millis) in [
            (59, 2000),
            (60, 1000),
            (119, 1000),
            (120, 500),
            (180, 250),
            (240, 125),
            (599, 0),
            (600, 0),
        ] {
            assert_eq!(
                pause(throttle, at(seconds * 1000)).as_millis(),
                millis,
                "{seconds} s"
            );
        }
        // The highest rate there is holds for its minute as well.
        let mut fast = Throttle::default();
        for _ in 0..100 {
            fast.ask(at(0));
        }
        fast.refused(at(0), at(0));
        for (seconds, millis) in [(1, 33), (59, 33), (60, 0)] {
            assert_eq!(pause(fast, at(seconds * 1000)).as_millis(), millis, "{seconds} s");
        }
        // A second refusal begins anew.
        throttle.ask(at(130_000));
        throttle.refused(at(130_000), at(130_000));
        assert_eq!(pause(throttle, at(189_000)).as_millis(), 1000);
        assert_eq!(pause(throttle, at(190_000)).as_millis(), 500);
    }

    #[test]
    fn while_an_upstream_is_left_alone_nothing_is_learnt_of_its_rate() {
        let mut throttle = Throttle::default();
        throttle.refused(at(900_000), at(0));
        assert_eq!(pause(throttle, at(900_000)).as_millis(), 2000);
        assert_eq!(pause(throttle, at(960_000)).as_millis(), 1000);
    }

    proptest! {
        /// The longer it is quiet, the less is held back; and after ten minutes nothing.
        #[test]
        fn quiet_hours_heal(
            burst in 1..200_u64, refusals in prop::collection::vec(0..30_000_u64, 1..20),
            mut quiet in prop::collection::vec(0..700_000_u64, 1..10),
        ) {
            let (mut throttle, mut now) = (Throttle::default(), 0);
            for pause in refusals {
                for _ in 0..burst {
                    throttle.ask(at(now));
                }
                throttle.refused(at(now + pause / 2), at(now));
                now += pause;
            }
            quiet.sort_unstable();
            let (now, mut before) = (now + 10_000, Duration::MAX);
            for since in quiet {
                let pause = pause(throttle, at(now + since));
                prop_assert!(pause <= before, "{pause:?} after {since} ms, {before:?} before");
                prop_assert!(since < 600_000 || pause.is_zero());
                // It may as well be asked on the way.
                if since % 2 == 0 {
                    throttle.answered();
                }
                before = pause;
            }
        }

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
                prop_assert!(throttle.rate.is_none_or(|rate| (RATES.0..RATES.1 + 1.0).contains(&rate)));
            }
        }
    }
}
