//! When a certificate is asked for anew, and how long an authority is left alone that gave none.
//!
//! Two thirds of a certificate's life are what authorities advise: the last third is time to notice and to mend what
//! keeps it from being renewed. Authorities count failures, and lock out who fails often: five an hour is what Let's
//! Encrypt allows.

use std::time::Duration;

use super::backoff;
use crate::clock::Time;

/// The first pause after a failure.
const FIRST: Duration = Duration::from_secs(5 * 60);
/// The longest pause while clients are shown nothing good.
const LONGEST_WITHOUT: Duration = Duration::from_secs(3600);
/// The longest pause while the present certificate is good.
const LONGEST_WITH: Duration = Duration::from_secs(6 * 3600);
/// What part of a life those are apart that began together.
const SPREAD: f64 = 0.05;

/// How long a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Since when.
    pub from: Time,
    /// Until when.
    pub until: Time,
}

impl Life {
    /// True if it is good at a moment. One that is not good yet counts: the clocks of authorities differ from ours.
    pub fn is_good(&self, now: Time) -> bool {
        now < self.until
    }

    /// When it is to be asked for anew: after two thirds, and a little earlier by `spread` (0 to 1).
    fn due(&self, spread: f64) -> Time {
        let length = self.until.since(self.from);
        self.from + length.mul_f64(2.0 / 3.0 - SPREAD * spread.clamp(0.0, 1.0))
    }
}

/// What came of asking since it last worked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// How often it failed.
    pub failed: u32,
    /// When it was last begun.
    pub last: Option<Time>,
}

impl Attempts {
    /// One more was begun: it has failed until it has worked.
    pub fn begun(self, now: Time) -> Self {
        Self {
            failed: self.failed.saturating_add(1),
            last: Some(now),
        }
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask for a certificate.
    Ask,
    /// Nothing, until then.
    Wait(Time),
}

/// What to do now about a certificate of this life; `None`: there is none that is for what it should be.
///
/// `spread`, from 0 to 1, keeps many from asking at the same moment.
pub fn next(life: Option<Life>, attempts: Attempts, now: Time, spread: f64) -> Step {
    let due = life.map_or(now, |life| life.due(spread));
    let again = attempts.last.map_or(now, |last| {
        // A clock that was ahead is no reason to wait for it.
        last.min(now) + pause(life, attempts.failed, now)
    });
    match due.max(again) {
        moment if moment <= now => Step::Ask,
        moment => Step::Wait(moment),
    }
}

fn pause(life: Option<Life>, failed: u32, now: Time) -> Duration {
    let longest = match life.is_some_and(|life| life.is_good(now)) {
        true => LONGEST_WITH,
        false => LONGEST_WITHOUT,
    };
    match failed {
        0 => Duration::ZERO,
        failed => backoff::doubled(FIRST, longest, failed - 1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const NOW: Time = Time::from_millis(1_000_000_000_000);

    fn minutes(count: u64) -> Duration {
        Duration::from_secs(count * 60)
    }

    fn life(days: u32) -> Life {
        Life {
            from: NOW,
            until: NOW + DAY * days,
        }
    }

    #[test]
    fn a_certificate_of_ninety_days_is_renewed_after_sixty_and_not_before_fifty_five() {
        let at = |spread| next(Some(life(90)), Attempts::default(), NOW, spread);
        assert_eq!(at(0.0), Step::Wait(NOW + DAY * 60));
        let Step::Wait(earliest) = at(1.0) else {
            panic!("asked at once")
        };
        assert!(
            earliest > NOW + DAY * 55 && earliest < NOW + DAY * 56,
            "{earliest}"
        );
        assert_eq!(
            next(Some(life(90)), Attempts::default(), NOW + DAY * 60, 0.0),
            Step::Ask
        );
    }

    #[test]
    fn without_a_certificate_one_is_asked_for_at_once() {
        assert_eq!(next(None, Attempts::default(), NOW, 0.0), Step::Ask);
        assert_eq!(next(Some(life(0)), Attempts::default(), NOW, 0.0), Step::Ask);
    }

    #[test]
    fn an_authority_that_gives_none_is_asked_four_times_in_the_first_hour_then_each_hour() {
        let mut attempts = Attempts::default();
        let (mut now, mut asked) = (NOW, Vec::new());
        while asked.len() < 7 {
            match next(None, attempts, now, 0.5) {
                Step::Ask => {
                    asked.push(now.since(NOW).as_secs() / 60);
                    attempts = attempts.begun(now);
                }
                Step::Wait(until) => now = until,
            }
        }
        assert_eq!(asked, [0, 5, 15, 35, 75, 135, 195]);
    }

    #[test]
    fn while_the_present_one_is_good_pauses_grow_up_to_six_hours() {
        let many = Attempts {
            failed: 30,
            last: Some(NOW + DAY * 61),
        };
        let asked = next(Some(life(90)), many, NOW + DAY * 61, 0.0);
        assert_eq!(asked, Step::Wait(NOW + DAY * 61 + minutes(360)));
        let over = many.begun(NOW + DAY * 91);
        let asked = next(Some(life(90)), over, NOW + DAY * 91, 0.0);
        assert_eq!(asked, Step::Wait(NOW + DAY * 91 + minutes(60)));
    }

    #[test]
    fn one_that_is_good_from_soon_on_is_good() {
        let early = Time::from_millis(NOW.as_millis() - 600_000);
        assert!(life(90).is_good(early) && !life(90).is_good(NOW + DAY * 90));
        let many = Attempts {
            failed: 30,
            last: Some(early),
        };
        assert_eq!(next(Some(life(90)), many, early, 0.0), Step::Wait(NOW + DAY * 60));
    }

    #[test]
    fn an_attempt_in_the_future_is_not_waited_for() {
        let ahead = Attempts {
            failed: 1,
            last: Some(NOW + DAY * 400),
        };
        assert_eq!(next(None, ahead, NOW, 0.0), Step::Wait(NOW + minutes(5)));
    }

    proptest! {
        #[test]
        fn a_wait_ends_in_the_future_and_an_asking_follows_it(
            days in 0_u32..400, failed in 0_u32..100, since in 0_u64..1000, at in 0_u64..600, spread in 0.0..=1.0,
        ) {
            let now = NOW + Duration::from_secs(at * 3600);
            let attempts = Attempts { failed, last: (failed > 0).then(|| NOW + Duration::from_secs(since * 1800)) };
            if let Step::Wait(until) = next(Some(life(days)), attempts, now, spread) {
                prop_assert!(until > now);
                prop_assert!(until <= (now + LONGEST_WITH).max(life(days).due(spread)));
            }
        }
    }
}
