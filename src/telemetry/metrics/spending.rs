//! What upstreams' budgets were spent on, and what did not need to be spent.
//!
//! The `upstream` label is the name of an entry of the configuration, `account` an index into its
//! credentials: both are the operator's, and few.

use std::collections::BTreeMap;

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::counters;

/// Why a counted request was not needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Avoided {
    /// Its digest is held.
    Held,
    /// Its tag is fresh, and what it points at is held.
    Fresh,
    /// A free HEAD said that its tag points at something that is held.
    Unchanged,
    /// Another request was fetching the same.
    Collapsed,
    /// It was served stale.
    Stale,
    /// Another registry had its digest.
    Alternate,
}

impl Avoided {
    const ALL: [Self; 6] = [
        Self::Held,
        Self::Fresh,
        Self::Unchanged,
        Self::Collapsed,
        Self::Stale,
        Self::Alternate,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Fresh => "fresh",
            Self::Unchanged => "unchanged",
            Self::Collapsed => "collapsed",
            Self::Stale => "stale",
            Self::Alternate => "alternate",
        }
    }
}

/// One allowance, as numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowance {
    /// Requests that its window allows.
    pub limit: u64,
    /// How many are left.
    pub remaining: u64,
    /// How many were spent here.
    pub own: u64,
    /// How many were spent by neighbours.
    pub foreign: u64,
}

/// The metrics of spending.
#[derive(Debug)]
pub struct Spending {
    avoided: IntCounterVec,
    spent: IntCounterVec,
    budget: IntGaugeVec,
    waiting: IntGaugeVec,
    failing: IntGaugeVec,
}

impl Spending {
    pub(super) fn new(registry: &Registry) -> Self {
        let counters = |name: &str, help: &str, labels: &[&str]| counters(registry, name, help, labels);
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntGaugeVec::new(Opts::new(name, help), labels).expect("the name is well formed");
            registry
                .register(Box::new(metric.clone()))
                .expect("the name is used once");
            metric
        };
        Self {
            avoided: counters(
                "seawall_spends_avoided_total",
                "Counted upstream requests that were not needed.",
                &["upstream", "reason"],
            ),
            spent: counters(
                "seawall_spends_total",
                "Counted upstream requests that were sent.",
                &["upstream"],
            ),
            budget: gauges(
                "seawall_budget_requests",
                "What an upstream allows: limit, remaining, own and foreign spends, in requests.",
                &["upstream", "account", "what"],
            ),
            waiting: gauges(
                "seawall_budget_waiting",
                "Requests that wait for their turn to spend.",
                &["upstream", "tier"],
            ),
            failing: gauges(
                "seawall_upstream_failing",
                "1 while an upstream keeps failing and is left alone for a moment.",
                &["upstream"],
            ),
        }
    }

    /// A counted request was not needed.
    pub fn avoided(&self, upstream: &str, why: Avoided) {
        self.avoided.with_label_values(&[upstream, why.name()]).inc();
    }

    /// A counted request was sent.
    pub fn spent(&self, upstream: &str) {
        self.spent.with_label_values(&[upstream]).inc();
    }

    /// How an allowance stands.
    pub fn allowance(&self, upstream: &str, account: usize, allowance: Allowance) {
        let account = account.to_string();
        let figures = [
            ("limit", allowance.limit),
            ("remaining", allowance.remaining),
            ("own", allowance.own),
            ("foreign", allowance.foreign),
        ];
        for (what, figure) in figures {
            let figure = i64::try_from(figure).unwrap_or(i64::MAX);
            self.budget
                .with_label_values(&[upstream, &account, what])
                .set(figure);
        }
    }

    /// How many wait, by tier.
    pub fn waiting(&self, upstream: &str, tier: &str, count: u64) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.waiting.with_label_values(&[upstream, tier]).set(count);
    }

    /// Whether it keeps failing.
    pub fn failing(&self, upstream: &str, failing: bool) {
        self.failing
            .with_label_values(&[upstream])
            .set(i64::from(failing));
    }

    /// Counted requests sent to an upstream so far, and those not needed, by reason.
    pub fn of(&self, upstream: &str) -> (u64, BTreeMap<String, u64>) {
        let avoided = Avoided::ALL.map(|why| {
            let count = self.avoided.with_label_values(&[upstream, why.name()]).get();
            (why.name().to_owned(), count)
        });
        let spent = self.spent.with_label_values(&[upstream]).get();
        (
            spent,
            avoided.into_iter().filter(|(_, count)| *count > 0).collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_spent_is_told_by_reason() {
        let spending = Spending::new(&Registry::new());
        spending.avoided("docker.io", Avoided::Held);
        spending.avoided("docker.io", Avoided::Held);
        spending.avoided("quay.io", Avoided::Stale);
        spending.spent("docker.io");
        let held = BTreeMap::from([("held".to_owned(), 2)]);
        assert_eq!(spending.of("docker.io"), (1, held));
    }
}
