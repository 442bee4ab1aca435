//! What clients were refused, or made to wait for, by their own quotas.
//!
//! The `tier` label is the name of a tier in the configuration: the operator's, and few.

use std::time::Duration;

use prometheus::{Counter, CounterVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::book::{Book, Open, TIER, words};

/// The quotas that there are.
const QUOTAS: &[&str] = &["reads", "writes", "fills"];

/// The metrics of clients' quotas.
#[derive(Debug)]
pub struct Quotas {
    refused: IntCounterVec,
    waits: IntCounterVec,
    waited: CounterVec,
    waiting: IntGaugeVec,
}

/// Counts the waits of one tier.
#[derive(Clone, Debug)]
pub struct Waits {
    paced: IntCounter,
    seconds: Counter,
    waiting: IntGauge,
}

impl Waits {
    /// A body has to wait.
    pub fn paced(&self) {
        self.paced.inc();
    }

    /// A body has waited for so long.
    pub fn waited(&self, time: Duration) {
        self.seconds.inc_by(time.as_secs_f64());
    }

    /// A fetch waits. It counts until the answer is dropped.
    pub fn waiting(&self) -> Open {
        Open::new(&self.waiting)
    }
}

impl Quotas {
    pub(super) fn new(book: &Book) -> Self {
        Self {
            refused: book.counters(
                "seawall_quota_refusals_total",
                "Requests refused because their client had used up its quota.",
                &[TIER, words("reason", QUOTAS)],
            ),
            waits: book.counters(
                "seawall_paced_waits_total",
                "Times a response waited for its client's bandwidth, or for its turn on the link.",
                &[TIER],
            ),
            waited: book.sums(
                "seawall_paced_wait_seconds_total",
                "How long responses waited for their client's bandwidth, or for their turn on the link.",
                &[TIER],
            ),
            waiting: book.gauges(
                "seawall_quota_waiting",
                "Requests that wait until their client's quota allows the fetch they need.",
                &[TIER],
            ),
        }
    }

    /// A request was refused.
    pub fn refused(&self, tier: &str, reason: &'static str) {
        self.refused.with_label_values(&[tier, reason]).inc();
    }

    /// Has the series of a tier begin at zero: a rate knows nothing of a series before its second value.
    pub fn begin(&self, tier: &str) {
        self.waits(tier);
        for quota in QUOTAS {
            self.refused.with_label_values(&[tier, quota]);
        }
    }

    /// What counts one tier's waits.
    pub fn waits(&self, tier: &str) -> Waits {
        Waits {
            paced: self.waits.with_label_values(&[tier]),
            seconds: self.waited.with_label_values(&[tier]),
            waiting: self.waiting.with_label_values(&[tier]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_counted_and_their_time_adds_up() {
        let book = Book::default();
        let quotas = Quotas::new(&book);
        let waits = quotas.waits("basic");
        for _ in 0..2 {
            waits.paced();
            waits.waited(Duration::from_millis(750));
        }
        let waiting = waits.waiting();
        book.expect(r#"seawall_paced_waits_total{tier="basic"} 2"#);
        book.expect(r#"seawall_paced_wait_seconds_total{tier="basic"} 1.5"#);
        book.expect(r#"seawall_quota_waiting{tier="basic"} 1"#);
        drop(waiting);
        book.expect(r#"seawall_quota_waiting{tier="basic"} 0"#);
    }
}
