//! What was served over the last day, minute by minute, for whoever looks at it without a Prometheus.

use std::collections::VecDeque;
use std::ops::{AddAssign, Sub};

use crate::clock::Time;

/// Minutes that are remembered: a day.
pub const MINUTES: u64 = 24 * 60;
/// Milliseconds of a minute.
const MINUTE: u64 = 60_000;

/// What was served, since the start or within some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Requests for manifests and blobs that were answered with content.
    pub answers: u64,
    /// Of those, how many were held, or came once for several.
    pub hits: u64,
    /// Bytes of bodies sent to clients.
    pub sent: u64,
    /// Of those, bytes that did not have to come from an upstream.
    pub saved: u64,
}

impl Served {
    /// The part (0 to 1) that was held; `None` if nothing was asked for.
    pub fn hit_ratio(&self) -> Option<f64> {
        (self.answers > 0).then(|| self.hits as f64 / self.answers as f64)
    }
}

impl Sub for Served {
    type Output = Self;

    /// What was served since `earlier`; nothing where a count went back.
    fn sub(self, earlier: Self) -> Self {
        Self {
            answers: self.answers.saturating_sub(earlier.answers),
            hits: self.hits.saturating_sub(earlier.hits),
            sent: self.sent.saturating_sub(earlier.sent),
            saved: self.saved.saturating_sub(earlier.saved),
        }
    }
}

impl AddAssign for Served {
    fn add_assign(&mut self, more: Self) {
        self.answers += more.answers;
        self.hits += more.hits;
        self.sent += more.sent;
        self.saved += more.saved;
    }
}

/// The last day. At most [`MINUTES`] + 1 entries of 40 bytes each; minutes in which nothing was served have none.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// By number of the minute since the Unix epoch, the oldest first.
    minutes: VecDeque<(u64, Served)>,
    /// What had been served since the start when it was noted last.
    noted: Served,
}

impl History {
    /// Notes what has been served since the start. What came since the last note counts for the minute of `now`:
    /// it is to be called every minute.
    pub fn note(&mut self, since_start: Served, now: Time) {
        let more = since_start - self.noted;
        self.noted = since_start;
        let minute = now.as_millis() / MINUTE;
        match self.minutes.back_mut() {
            _ if more == Served::default() => {}
            Some((last, served)) if *last >= minute => *served += more,
            _ => self.minutes.push_back((minute, more)),
        }
        let oldest = minute.saturating_sub(MINUTES);
        while self.minutes.front().is_some_and(|(minute, _)| *minute < oldest) {
            self.minutes.pop_front();
        }
    }

    /// `count` spans of `minutes` each, the oldest first; the last one ends with the minute of `now`.
    pub fn spans(&self, count: usize, minutes: u64, now: Time) -> Vec<Served> {
        let mut spans = vec![Served::default(); count];
        let end = now.as_millis() / MINUTE;
        for (minute, served) in &self.minutes {
            let ago = usize::try_from(end.saturating_sub(*minute) / minutes.max(1)).unwrap_or(usize::MAX);
            if ago < count {
                spans[count - 1 - ago] += *served;
            }
        }
        spans
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn served(count: u64) -> Served {
        Served {
            answers: count,
            hits: count / 2,
            sent: count * 100,
            saved: count * 50,
        }
    }

    fn at(minute: u64) -> Time {
        Time::from_millis(minute * MINUTE + 59_000)
    }

    #[test]
    fn each_span_holds_what_came_within_it_and_a_quiet_one_nothing() {
        let mut history = History::default();
        for (minute, total) in [(100, 4), (101, 10), (101, 12), (105, 12), (107, 20)] {
            history.note(served(total), at(minute));
        }
        let answers = |count, minutes| -> Vec<u64> {
            let spans = history.spans(count, minutes, at(107));
            spans.iter().map(|span| span.answers).collect()
        };
        assert_eq!(answers(8, 1), [4, 8, 0, 0, 0, 0, 0, 8]);
        assert_eq!(answers(4, 2), [12, 0, 0, 8]);
        assert_eq!(answers(2, 1), [0, 8]);
        assert_eq!(history.spans(1, 1, at(106))[0].hit_ratio(), Some(0.5));
        assert_eq!(Served::default().hit_ratio(), None);
    }

    proptest! {
        #[test]
        fn a_day_is_remembered_and_no_more_whatever_happens(
            steps in prop::collection::vec((0_u64..400, 0_u64..9), 1..300),
        ) {
            let (mut history, mut minute, mut total) = (History::default(), 1_000_000, 0);
            let mut all = Vec::new();
            for (wait, more) in steps {
                minute += wait;
                total += more;
                history.note(served(total), at(minute));
                all.push((minute, more));
                prop_assert!(history.minutes.len() as u64 <= MINUTES + 1);
            }
            let count = usize::try_from(MINUTES).unwrap();
            let spans = history.spans(count, 1, at(minute));
            let told: u64 = spans.iter().map(|span| span.answers).sum();
            let within = all.iter().filter(|(at, _)| minute - at < MINUTES);
            prop_assert_eq!(told, within.map(|(_, more)| more).sum::<u64>());
        }
    }
}
