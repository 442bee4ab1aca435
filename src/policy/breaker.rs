//! When a host that keeps failing is left alone, and when it is tried again: a circuit breaker.
//!
//! ```text
//! closed ── five failures in a row ──> open ── pause over ──> half-open ── one probe ──> closed
//!                                       ^                         │
//!                                       └── pause doubled ── the probe failed
//! ```
//! While it is open nobody waits for a host that does not answer, and the host gets room to recover.

use std::time::Duration;

use crate::clock::Time;

/// Failures in a row that open it: one request with its retries is not enough, two are.
const FAILURES: u32 = 5;
/// The first pause, and the longest: a host that is back is noticed as soon as a negative answer is
/// forgotten (ten seconds).
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// A probe that has not come back for this long was lost with its task.
const PROBE: Duration = Duration::from_secs(30);
/// Who asks while a probe is out is told to come again after this long.
const SOON: Duration = Duration::from_secs(1);

/// May a request be sent to the host?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Go,
    /// Yes, as the one that finds out whether the host is back; its outcome must be told.
    Probe,
    /// No, not before this time.
    Refuse(Time),
}

/// One host's breaker.
#[derive(Clone, Copy, Debug, Default)]
pub struct Breaker {
    failures: u32,
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    pause: Duration,
    until: Time,
    /// When the probe left that has not come back.
    probe: Option<Time>,
}

impl Breaker {
    /// Decides about a request that is about to be sent.
    pub fn ask(&mut self, now: Time) -> Verdict {
        let Some(open) = &mut self.open else {
            return Verdict::Go;
        };
        if now < open.until {
            return Verdict::Refuse(open.until);
        }
        if open.probe.is_some_and(|left| now.since(left) < PROBE) {
            return Verdict::Refuse(now + SOON);
        }
        open.probe = Some(now);
        Verdict::Probe
    }

    /// The host answered with anything but a failure of its own.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// The host did not answer, or with a server error. True if this opened the breaker.
    pub fn failed(&mut self, now: Time) -> bool {
        self.failures = self.failures.saturating_add(1);
        let pause = match self.open {
            // It was sent before the breaker opened: its failure is no news.
            Some(Open { probe: None, .. }) => return false,
            Some(open) => (open.pause * 2).min(PAUSE.1),
            None if self.failures < FAILURES => return false,
            None => PAUSE.0,
        };
        self.open = Some(Open {
            pause,
            until: now + pause,
            probe: None,
        });
        true
    }

    /// The probe was given up before it had an outcome: the next request is one.
    pub fn abandoned(&mut self) {
        if let Some(open) = &mut self.open {
            open.probe = None;
        }
    }

    /// Until when the host is left alone; `None` while the breaker is closed. A time that has come means
    /// that the next request is a probe.
    pub fn opened_until(&self) -> Option<Time> {
        self.open.map(|open| open.until)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        let opened = (0..FAILURES).map(|_| breaker.failed(at(0)));
        assert_eq!(opened.filter(|opened| *opened).count(), 1);
        breaker
    }

    #[test]
    fn f032_it_opens_after_failures_in_a_row_only() {
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            for _ in 1..FAILURES {
                assert!(!breaker.failed(at(0)));
            }
            breaker.succeeded();
        }
        assert_eq!(breaker.ask(at(0)), Verdict::Go);
        assert_eq!(opened().ask(at(999)), Verdict::Refuse(at(1000)));
    }

    #[test]
    fn one_probe_finds_out_and_its_success_closes() {
        let mut breaker = opened();
        assert_eq!(breaker.ask(at(1000)), Verdict::Probe);
        assert_eq!(breaker.ask(at(1000)), Verdict::Refuse(at(2000)));
        breaker.succeeded();
        assert_eq!(breaker.ask(at(1001)), Verdict::Go);
        assert_eq!(breaker.opened_until(), None);
    }

    #[test]
    fn a_failed_probe_doubles_the_pause_up_to_the_longest() {
        let mut breaker = opened();
        let mut now = at(1000);
        for pause in [2, 4, 8, 10, 10] {
            assert_eq!(breaker.ask(now), Verdict::Probe);
            assert!(breaker.failed(now));
            assert_eq!(breaker.opened_until(), Some(now + Duration::from_secs(pause)));
            now = now + Duration::from_secs(pause);
        }
    }

    #[test]
    fn a_lost_or_abandoned_probe_keeps_nobody_out_for_long() {
        let mut breaker = opened();
        assert_eq!(breaker.ask(at(1000)), Verdict::Probe);
        assert_eq!(breaker.ask(at(31_000)), Verdict::Probe);
        breaker.abandoned();
        assert_eq!(breaker.ask(at(31_001)), Verdict::Probe);
    }

    #[test]
    fn what_was_under_way_when_it_opened_does_not_prolong_the_pause() {
        let mut breaker = opened();
        assert!(!breaker.failed(at(500)));
        assert_eq!(breaker.ask(at(1000)), Verdict::Probe);
    }

    proptest! {
        /// Whatever happens, a request is let through at the latest when the longest pause and a probe's
        /// life are over.
        #[test]
        fn nobody_is_kept_out_for_ever(steps in proptest::collection::vec((0..4u8, 0..20_000u64), 0..60)) {
            let (mut breaker, mut now) = (Breaker::default(), 0);
            for (step, wait) in steps {
                now += wait;
                match step {
                    0 => drop(breaker.ask(at(now))),
                    1 => breaker.succeeded(),
                    2 => drop(breaker.failed(at(now))),
                    _ => breaker.abandoned(),
                }
            }
            let later = at(now) + PAUSE.1 + PROBE;
            prop_assert!(!matches!(breaker.ask(later), Verdict::Refuse(_)));
        }

        /// While it is open, at most one request for each pause gets through.
        #[test]
        fn f032_a_dead_host_sees_one_request_a_pause(gaps in proptest::collection::vec(0..3000u64, 1..200)) {
            let (mut breaker, mut now, mut sent) = (opened(), 0, 0);
            for gap in gaps {
                now += gap;
                if !matches!(breaker.ask(at(now)), Verdict::Refuse(_)) {
                    sent += 1;
                    breaker.failed(at(now));
                }
            }
            // Pauses of 2, 4 and 8 seconds come before those of ten.
            prop_assert!(sent <= 4 + now / 10_000, "{sent} in {now} ms");
        }
    }
}
