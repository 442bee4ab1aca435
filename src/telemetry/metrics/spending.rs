//! What upstreams' budgets were spent on, what did not need to be spent, and how they stand.
//!
//! The `upstream` label is the name of an entry of the configuration, which may stand for many registries: their
//! figures are added up.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus::core::Collector as _;
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

use super::book::{Book, TIER, UPSTREAM, figure, label, words};

label! {
    /// Why a counted request was not needed.
    Avoided {
        /// Its digest is held.
        Held = "held",
        /// Its tag is fresh, and what it points at is held.
        Fresh = "fresh",
        /// A free HEAD said that its tag points at something that is held.
        Unchanged = "unchanged",
        /// Another request was fetching the same.
        Collapsed = "collapsed",
        /// It was served stale.
        Stale = "stale",
        /// The shared shelf had its digest.
        Shared = "shared",
        /// Another registry had its digest.
        Alternate = "alternate",
    }
}

label! {
    /// How an allowance stands.
    State {
        /// Nothing was told of it yet.
        Unknown = "unknown",
        /// The upstream does not limit.
        Unlimited = "unlimited",
        /// Its figures are known, and something is left.
        Known = "known",
        /// Nothing is left.
        Exhausted = "exhausted",
        /// The upstream is left alone, or the account not used.
        Parked = "parked",
    }
}

/// Allowances, as numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowances {
    /// Requests that their windows allow.
    pub limit: u64,
    /// How many are left.
    pub remaining: u64,
    /// How many were spent here.
    pub own: u64,
    /// How many were spent by neighbours.
    pub foreign: u64,
    /// When the next of ours leaves its window, in milliseconds since the Unix epoch; `None` if none is in one.
    pub next_slot: Option<u64>,
    /// How many there are in each state.
    pub states: [u64; State::ALL.len()],
}

/// Bounds of waits for a turn, in seconds: nobody waits longer than a client does.
const WAIT: &[f64] = &[0.01, 0.05, 0.25, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 25.0];

/// The metrics of spending.
#[derive(Debug)]
pub struct Spending {
    avoided: IntCounterVec,
    spent: IntCounterVec,
    limit: IntGaugeVec,
    remaining: IntGaugeVec,
    own: IntGaugeVec,
    foreign: IntGaugeVec,
    next_slot: IntGaugeVec,
    states: IntGaugeVec,
    reserved: IntGaugeVec,
    waiting: IntGaugeVec,
    waits: HistogramVec,
}

impl Spending {
    pub(super) fn new(book: &Book) -> Self {
        let by_upstream = |name, help| book.gauges(name, help, &[UPSTREAM]);
        Self {
            avoided: book.counters(
                "seawall_spends_avoided_total",
                "Counted upstream requests that were not needed.",
                &[UPSTREAM, words("reason", Avoided::WORDS)],
            ),
            spent: book.counters(
                "seawall_spends_total",
                "Counted upstream requests that were sent.",
                &[UPSTREAM],
            ),
            limit: by_upstream(
                "seawall_budget_limit_requests",
                "Counted requests that an upstream allows in a window, of all accounts together.",
            ),
            remaining: by_upstream(
                "seawall_budget_remaining_requests",
                "Counted requests that are left in the window, as far as can be told.",
            ),
            own: by_upstream(
                "seawall_budget_own_requests",
                "Counted requests of the window that were sent from here.",
            ),
            foreign: by_upstream(
                "seawall_budget_foreign_requests",
                "Counted requests of the window that neighbours sent, behind the same address or account.",
            ),
            next_slot: by_upstream(
                "seawall_budget_next_slot_timestamp_seconds",
                "When the next request that was sent from here leaves the window, as a Unix time; 0 if none is in it.",
            ),
            states: book.gauges(
                "seawall_budget_allowances",
                "Allowances that an upstream grants (one for each account or address), by state.",
                &[UPSTREAM, words("state", State::WORDS)],
            ),
            reserved: book.gauges(
                "seawall_budget_reserved_requests",
                "Counted requests of the window that a tier may not touch.",
                &[UPSTREAM, TIER],
            ),
            waiting: book.gauges(
                "seawall_budget_waiting",
                "Requests that wait for their turn to spend.",
                &[UPSTREAM, TIER],
            ),
            waits: book.histograms(
                "seawall_budget_wait_seconds",
                "How long a counted request waited for its turn to spend before it was sent.",
                &[UPSTREAM, TIER],
                WAIT,
            ),
        }
    }

    /// A counted request was not needed.
    pub fn avoided(&self, upstream: &str, why: Avoided) {
        self.avoided.with_label_values(&[upstream, why.word()]).inc();
    }

    /// A counted request was sent.
    pub fn spent(&self, upstream: &str) {
        self.spent.with_label_values(&[upstream]).inc();
    }

    /// A counted request of a tier has waited for its turn.
    pub fn waited(&self, upstream: &str, tier: &str, time: Duration) {
        self.waits
            .with_label_values(&[upstream, tier])
            .observe(time.as_secs_f64());
    }

    /// How the allowances of an upstream stand.
    pub fn allow(&self, upstream: &str, allowances: &Allowances) {
        for (gauge, count) in [
            (&self.limit, allowances.limit),
            (&self.remaining, allowances.remaining),
            (&self.own, allowances.own),
            (&self.foreign, allowances.foreign),
            (&self.next_slot, allowances.next_slot.unwrap_or(0) / 1000),
        ] {
            gauge.with_label_values(&[upstream]).set(figure(count));
        }
        for (word, count) in State::WORDS.iter().zip(allowances.states) {
            self.states
                .with_label_values(&[upstream, word])
                .set(figure(count));
        }
        // They begin at zero: a rate knows nothing of a series before its second value.
        self.spent.with_label_values(&[upstream]);
        for why in Avoided::WORDS {
            self.avoided.with_label_values(&[upstream, why]);
        }
    }

    /// What a tier may not touch of an upstream's allowances, and how many of its requests wait for a turn.
    pub fn of_tier(&self, upstream: &str, tier: &str, reserved: u64, waiting: u64) {
        let labels = [upstream, tier];
        self.reserved.with_label_values(&labels).set(figure(reserved));
        self.waiting.with_label_values(&labels).set(figure(waiting));
    }

    /// Counted requests sent to an upstream so far, and those not needed, by reason.
    pub fn of(&self, upstream: &str) -> (u64, BTreeMap<String, u64>) {
        let avoided = Avoided::WORDS.iter().map(|why| {
            let count = self.avoided.with_label_values(&[upstream, why]).get();
            ((*why).to_owned(), count)
        });
        let spent = self.spent.with_label_values(&[upstream]).get();
        (spent, avoided.filter(|(_, count)| *count > 0).collect())
    }
}

impl Spending {
    /// Counted requests sent to all upstreams since the start, and those not needed.
    pub fn totals(&self) -> (u64, u64) {
        let sum = |counters: &IntCounterVec| -> u64 {
            let families = counters.collect();
            let metrics = families.iter().flat_map(|family| family.get_metric());
            // Counts are whole numbers: a float has them exactly up to 2^53.
            metrics
                .map(|metric| metric.get_counter().get_value() as u64)
                .sum()
        };
        (sum(&self.spent), sum(&self.avoided))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_spent_is_told_by_reason() {
        let spending = Spending::new(&Book::default());
        spending.avoided("docker.io", Avoided::Held);
        spending.avoided("docker.io", Avoided::Held);
        spending.avoided("quay.io", Avoided::Stale);
        spending.spent("docker.io");
        let held = BTreeMap::from([("held".to_owned(), 2)]);
        assert_eq!(spending.of("docker.io"), (1, held));
        assert_eq!(spending.totals(), (1, 3));
    }

    #[test]
    fn an_allowance_is_told_in_requests_and_its_next_slot_as_a_time() {
        let book = Book::default();
        let spending = Spending::new(&book);
        let mut allowances = Allowances {
            limit: 200,
            remaining: 150,
            own: 40,
            foreign: 10,
            next_slot: Some(1_700_000_000_999),
            ..Allowances::default()
        };
        allowances.states[State::Known as usize] = 2;
        spending.allow("docker.io", &allowances);
        spending.of_tier("docker.io", "basic", 80, 3);
        spending.waited("docker.io", "basic", Duration::from_secs(2));
        for line in [
            r#"seawall_budget_remaining_requests{upstream="docker.io"} 150"#,
            r#"seawall_budget_foreign_requests{upstream="docker.io"} 10"#,
            r#"seawall_budget_next_slot_timestamp_seconds{upstream="docker.io"} 1700000000"#,
            r#"seawall_budget_allowances{state="known",upstream="docker.io"} 2"#,
            r#"seawall_budget_allowances{state="parked",upstream="docker.io"} 0"#,
            r#"seawall_budget_reserved_requests{tier="basic",upstream="docker.io"} 80"#,
            r#"seawall_budget_waiting{tier="basic",upstream="docker.io"} 3"#,
            r#"seawall_budget_wait_seconds_bucket{tier="basic",upstream="docker.io",le="2.5"} 1"#,
        ] {
            book.expect(line);
        }
        spending.allow("docker.io", &Allowances::default());
        book.expect(r#"seawall_budget_next_slot_timestamp_seconds{upstream="docker.io"} 0"#);
    }
}
