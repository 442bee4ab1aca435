//! What clients were refused, or made to wait for, by their own quotas.
//!
//! The `tier` label is the name of a tier in the configuration: the operator's, and few.

use prometheus::{IntCounter, IntCounterVec, Registry};

use super::counters;

/// The metrics of clients' quotas.
#[derive(Debug)]
pub struct Quotas {
    refused: IntCounterVec,
    waits: IntCounterVec,
}

/// Counts how often the bodies of one tier waited.
#[derive(Clone, Debug)]
pub struct Waits(IntCounter);

impl Waits {
    /// A body waited once.
    pub fn waited(&self) {
        self.0.inc();
    }
}

impl Quotas {
    pub(super) fn new(registry: &Registry) -> Self {
        let counters = |name: &str, help: &str, labels: &[&str]| counters(registry, name, help, labels);
        Self {
            refused: counters(
                "seawall_quota_refusals_total",
                "Requests refused because their client had used up its quota.",
                &["tier", "reason"],
            ),
            waits: counters(
                "seawall_paced_waits_total",
                "Times a response waited for its client's bandwidth, or for its turn on the link.",
                &["tier"],
            ),
        }
    }

    /// A request was refused.
    pub fn refused(&self, tier: &str, reason: &'static str) {
        self.refused.with_label_values(&[tier, reason]).inc();
    }

    /// The counter of one tier's waits.
    pub fn waits(&self, tier: &str) -> Waits {
        Waits(self.waits.with_label_values(&[tier]))
    }
}
