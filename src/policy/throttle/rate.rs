//! The rate itself: halved at each refusal, raised slowly with each answer (AIMD), and with time that goes by in
//! quiet.

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

/// Requests a second, as they are learnt.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    /// `None`: as they come.
    rate: Option<f64>,
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

impl Rate {
    /// From one request to the next; `None` if nobody is held back.
    pub(super) fn interval(&self) -> Option<Duration> {
        self.rate.map(|rate| Duration::from_secs_f64(1.0 / rate))
    }

    /// True if somebody may be held back.
    pub(super) const fn is_limited(&self) -> bool {
        self.rate.is_some()
    }

    /// A request is sent.
    pub(super) fn sent(&mut self, now: Time) {
        self.seconds.count(now);
    }

    /// The upstream answered, and not that it was too much.
    pub(super) fn answered(&mut self) {
        if let Some(rate) = self.rate {
            let rate = rate + STEP / rate;
            self.rate = (rate < RATES.1).then_some(rate);
        }
    }

    /// The upstream said that it was too much, and is left alone until then. False if it says so once more.
    pub(super) fn refused(&mut self, until: Time, now: Time) -> bool {
        self.recover(now);
        let quiet = until.max(now);
        self.quiet = Some(self.quiet.map_or(quiet, |before| before.max(quiet)));
        self.doubled = 0;
        if self.refused.is_some_and(|last| now.since(last) < TOGETHER) {
            return false;
        }
        self.refused = Some(now);
        let rate = self.rate.unwrap_or_else(|| self.seconds.rate(now));
        self.rate = Some((rate / 2.0).clamp(RATES.0, RATES.1));
        true
    }

    /// What a limit was, it need not be any more: time without a refusal heals.
    pub(super) fn recover(&mut self, now: Time) {
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

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    /// Refused at this moment, of so many requests in a second.
    fn refused(burst: u64, until: u64, now: u64) -> Rate {
        let mut rate = Rate::default();
        for _ in 0..burst {
            rate.sent(at(now));
        }
        rate.refused(at(until), at(now));
        rate
    }

    /// Milliseconds from one request to the next, by then.
    fn pause(mut rate: Rate, now: u64) -> u128 {
        rate.recover(at(now));
        rate.interval().unwrap_or_default().as_millis()
    }

    #[test]
    fn a_refusal_halves_the_rate_and_those_that_come_with_it_do_not() {
        let mut rate = refused(20, 0, 0);
        for _ in 0..20 {
            assert!(!rate.refused(at(100), at(100)));
        }
        assert_eq!(rate.rate, Some(10.0));
        assert!(rate.refused(at(1000), at(1000)));
        assert_eq!(rate.rate, Some(5.0));
    }

    #[test]
    fn with_answers_the_rate_rises_until_nobody_is_held_back() {
        let mut rate = refused(0, 0, 0);
        let mut answers = 0;
        while rate.interval().is_some() {
            rate.answered();
            answers += 1;
        }
        assert!((1_000..5_000).contains(&answers), "{answers}");
    }

    #[test]
    fn each_quiet_minute_doubles_the_rate_until_the_refusal_is_forgotten() {
        let mut slow = refused(0, 0, 0);
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
            assert_eq!(pause(slow, seconds * 1000), millis, "{seconds} s");
        }
        // The highest rate there is holds for its minute as well.
        let fast = refused(100, 0, 0);
        for (seconds, millis) in [(1, 33), (59, 33), (60, 0)] {
            assert_eq!(pause(fast, seconds * 1000), millis, "{seconds} s");
        }
        // A second refusal begins anew.
        slow.refused(at(130_000), at(130_000));
        assert_eq!(pause(slow, 189_000), 1000);
        assert_eq!(pause(slow, 190_000), 500);
    }

    #[test]
    fn while_an_upstream_is_left_alone_nothing_is_learnt_of_its_rate() {
        let rate = refused(0, 900_000, 0);
        assert_eq!(pause(rate, 900_000), 2000);
        assert_eq!(pause(rate, 960_000), 1000);
    }

    proptest! {
        /// The longer it is quiet, the less is held back; and after ten minutes nothing.
        #[test]
        fn quiet_hours_heal(
            burst in 1..200_u64, refusals in prop::collection::vec(0..30_000_u64, 1..20),
            mut quiet in prop::collection::vec(0..700_000_u64, 1..10),
        ) {
            let (mut rate, mut now) = (Rate::default(), 0);
            for pause in refusals {
                for _ in 0..burst {
                    rate.sent(at(now));
                }
                rate.refused(at(now + pause / 2), at(now));
                prop_assert!(rate.rate.is_some_and(|rate| (RATES.0..=RATES.1).contains(&rate)));
                now += pause;
            }
            quiet.sort_unstable();
            let (now, mut before) = (now + 30_000, u128::MAX);
            for since in quiet {
                let pause = pause(rate, now + since);
                prop_assert!(pause <= before, "{pause} after {since} ms, {before} before");
                prop_assert!(since < 600_000 || pause == 0);
                // It may as well be asked on the way.
                if since % 2 == 0 {
                    rate.recover(at(now + since));
                    rate.answered();
                }
                before = pause;
            }
        }
    }
}
