//! Whether an alternate source is asked for a digest.
//!
//! It is left alone while it is limited, and after three failures in a row, for pauses that double up to a
//! quarter of an hour; then one request finds out. A digest that it did not have, or sent wrongly, is not
//! asked of it again for a while.

use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;

use super::backoff;
use crate::clock::Time;
use crate::oci::Digest;

/// Failures in a row after which it is left alone.
const FAILURES: u32 = 3;
/// How long it is left alone first: long enough that what asks every second or so goes without it.
const FIRST_REST: Duration = Duration::from_secs(15);
/// The same where it limits us without saying for how long: those that do count by the second.
const FIRST_LIMIT: Duration = Duration::from_secs(2);
/// How long it is left alone at most.
const LONGEST_REST: Duration = Duration::from_secs(15 * 60);
/// How long one request has to find out whether it is well again, before another may try.
const TRIAL: Duration = Duration::from_secs(10);
/// How long it is believed that it does not have a digest: mirrors fill within minutes.
const MISSING: Duration = Duration::from_secs(120);
/// How long a digest is not asked for whose bytes came wrongly.
const POISONED: Duration = Duration::from_secs(3600);
/// Most digests remembered.
const MAX_DIGESTS: NonZeroUsize = NonZeroUsize::new(4096).expect("is not zero");

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It gave what was asked for.
    Gave,
    /// It does not have it, or not for us.
    Lacks,
    /// It gave other bytes than were asked for.
    Wrong,
    /// It could not be reached, or failed, or took too long.
    Failed,
    /// It wants to be asked less (429).
    Limited {
        /// When to ask again, if it said.
        retry_after: Option<Duration>,
    },
}

/// One alternate's record.
#[derive(Debug)]
pub struct Alternate {
    /// In a row.
    failures: u32,
    /// Rests in a row.
    rests: u32,
    /// 429s in a row.
    limits: u32,
    resting: Option<Time>,
    /// True while one request finds out.
    trial: bool,
    /// Until when digests are not asked for.
    unfit: LruCache<Digest, Time>,
}

impl Default for Alternate {
    fn default() -> Self {
        Self {
            failures: 0,
            rests: 0,
            limits: 0,
            resting: None,
            trial: false,
            unfit: LruCache::new(MAX_DIGESTS),
        }
    }
}

impl Alternate {
    /// True if it may be asked for this digest now; what comes of it is then to be told. After a rest that is
    /// true for one who asks at a time.
    pub fn may_ask(&mut self, digest: &Digest, now: Time) -> bool {
        if self.rests_until(now).is_some() || self.unfit.peek(digest).is_some_and(|until| *until > now) {
            return false;
        }
        if self.failures >= FAILURES {
            self.trial = true;
            self.resting = Some(now + TRIAL);
        }
        true
    }

    /// What came of asking for a digest.
    pub fn tell(&mut self, digest: &Digest, outcome: Outcome, now: Time) {
        match outcome {
            Outcome::Gave => self.recover(),
            Outcome::Lacks => {
                self.unfit.put(*digest, now + MISSING);
                self.recover();
            }
            Outcome::Wrong => {
                self.unfit.put(*digest, now + POISONED);
                self.fail(now);
            }
            Outcome::Failed => self.fail(now),
            Outcome::Limited { retry_after } => {
                // One that was under way when it began to rest is the same refusal once more.
                let again = self.rests_until(now).is_some() && !self.trial;
                let doubled = backoff::doubled(FIRST_LIMIT, LONGEST_REST, self.limits);
                let rest = retry_after.or((!again).then_some(doubled));
                self.limits = self.limits.saturating_add(u32::from(!again));
                self.trial = false;
                let rest = rest.map(|rest| now + rest.min(LONGEST_REST));
                self.resting = self.resting.max(rest);
            }
        }
    }

    /// Until when it is left alone.
    pub fn rests_until(&self, now: Time) -> Option<Time> {
        self.resting.filter(|until| *until > now)
    }

    fn recover(&mut self) {
        (self.failures, self.rests, self.limits) = (0, 0, 0);
        // What was asked before it wanted to be left alone says nothing of now.
        if std::mem::take(&mut self.trial) {
            self.resting = None;
        }
    }

    fn fail(&mut self, now: Time) {
        self.failures = self.failures.saturating_add(1);
        let under_way_before = self.rests_until(now).is_some() && !self.trial;
        if self.failures < FAILURES || under_way_before {
            return;
        }
        let rest = backoff::doubled(FIRST_REST, LONGEST_REST, self.rests);
        self.rests = self.rests.saturating_add(1);
        self.trial = false;
        self.resting = Some(now + rest);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    fn digest(number: u64) -> Digest {
        Digest::sha256(&number.to_le_bytes())
    }

    /// Asks if it may, tells the outcome; true if it asked.
    fn ask(alternate: &mut Alternate, number: u64, outcome: Outcome, now: Time) -> bool {
        let may = alternate.may_ask(&digest(number), now);
        if may {
            alternate.tell(&digest(number), outcome, now);
        }
        may
    }

    #[test]
    fn three_failures_in_a_row_rest_it_for_pauses_that_double_up_to_a_quarter_of_an_hour() {
        let (mut alternate, mut now) = (Alternate::default(), at(1));
        for outcome in [
            Outcome::Failed,
            Outcome::Failed,
            Outcome::Lacks,
            Outcome::Failed,
            Outcome::Wrong,
        ] {
            assert!(ask(&mut alternate, now.as_millis(), outcome, now));
            now = now + Duration::from_secs(1);
        }
        let mut rests = Vec::new();
        for _ in 0..8 {
            assert!(ask(&mut alternate, now.as_millis(), Outcome::Failed, now));
            let until = alternate.rests_until(now).unwrap();
            rests.push(until.since(now).as_secs());
            assert!(!alternate.may_ask(&digest(0), now));
            now = until;
        }
        assert_eq!(rests, [15, 30, 60, 120, 240, 480, 900, 900]);
        assert!(ask(&mut alternate, 1, Outcome::Gave, now));
        assert!(ask(&mut alternate, 2, Outcome::Failed, now));
        assert!(alternate.may_ask(&digest(3), now), "it was well in between");
    }

    #[test]
    fn after_a_rest_one_request_at_a_time_finds_out() {
        let mut alternate = Alternate::default();
        for number in 0..3 {
            assert!(ask(&mut alternate, number, Outcome::Failed, at(1)));
        }
        assert!(alternate.may_ask(&digest(9), at(16)));
        assert!(!alternate.may_ask(&digest(8), at(16)));
        // Who found out never told: another may.
        assert!(alternate.may_ask(&digest(8), at(26)));
        alternate.tell(&digest(8), Outcome::Gave, at(27));
        assert!(alternate.may_ask(&digest(7), at(27)) && alternate.may_ask(&digest(6), at(27)));
    }

    #[test]
    fn a_digest_that_is_missing_or_wrong_there_is_not_asked_for_again_for_a_while() {
        for (outcome, seconds) in [(Outcome::Lacks, 120), (Outcome::Wrong, 3600)] {
            let mut alternate = Alternate::default();
            assert!(ask(&mut alternate, 1, outcome, at(1)));
            assert!(!alternate.may_ask(&digest(1), at(seconds)));
            assert!(alternate.may_ask(&digest(2), at(seconds)));
            assert!(alternate.may_ask(&digest(1), at(1 + seconds)));
        }
    }

    #[test]
    fn a_limit_rests_it_as_long_as_it_says_and_an_earlier_answer_does_not_end_that() {
        let mut alternate = Alternate::default();
        let retry_after = Some(Duration::from_secs(7));
        alternate.tell(&digest(1), Outcome::Limited { retry_after }, at(1));
        alternate.tell(&digest(2), Outcome::Gave, at(1));
        assert_eq!(alternate.rests_until(at(1)), Some(at(8)));
        let mut rests = Vec::new();
        let mut now = at(100);
        for _ in 0..10 {
            alternate.tell(&digest(1), Outcome::Limited { retry_after: None }, now);
            let until = alternate.rests_until(now).unwrap();
            rests.push(until.since(now).as_secs());
            now = until;
        }
        assert_eq!(rests, [2, 4, 8, 16, 32, 64, 128, 256, 512, 900]);
    }

    #[test]
    fn limits_that_come_together_count_once() {
        let (mut alternate, mut now) = (Alternate::default(), at(1));
        for rest in [2, 4, 8] {
            for number in 0..20 {
                alternate.tell(&digest(number), Outcome::Limited { retry_after: None }, now);
            }
            let until = alternate.rests_until(now).unwrap();
            assert_eq!(until.since(now).as_secs(), rest);
            now = until;
        }
    }

    fn outcomes() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            Just(Outcome::Gave),
            Just(Outcome::Lacks),
            Just(Outcome::Wrong),
            Just(Outcome::Failed),
            (0_u64..5000).prop_map(|seconds| Outcome::Limited {
                retry_after: Some(Duration::from_secs(seconds))
            }),
            Just(Outcome::Limited { retry_after: None }),
        ]
    }

    proptest! {
        /// Whatever happens, it is asked again within a quarter of an hour, and what is remembered is bounded.
        #[test]
        fn no_rest_is_for_ever(events in prop::collection::vec((outcomes(), 0_u64..100, 0_u64..50), 0..200)) {
            let (mut alternate, mut now) = (Alternate::default(), at(1));
            for (outcome, number, pause) in events {
                ask(&mut alternate, number, outcome, now);
                if let Some(until) = alternate.rests_until(now) {
                    prop_assert!(until.since(now) <= LONGEST_REST);
                }
                now = now + Duration::from_secs(pause);
            }
            prop_assert!(alternate.may_ask(&digest(1000), now + LONGEST_REST));
            prop_assert!(alternate.unfit.len() <= MAX_DIGESTS.get());
        }
    }
}
