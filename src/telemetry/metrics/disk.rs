//! The disk in numbers: what failed, and how it does now.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::counters;

/// Metrics of the disk.
#[derive(Debug)]
pub struct Disk {
    errors: IntCounterVec,
    state: IntGaugeVec,
}

impl Disk {
    pub(super) fn new(registry: &Registry) -> Self {
        let state = IntGaugeVec::new(
            Opts::new(
                "seawall_disk_state",
                "1 for the state that the disk is in: ok, or why nothing is kept.",
            ),
            &["state"],
        )
        .expect("the name is well formed");
        registry
            .register(Box::new(state.clone()))
            .expect("the name is used once");
        Self {
            errors: counters(
                registry,
                "seawall_disk_errors_total",
                "Disk operations that failed.",
                &["operation", "kind"],
            ),
            state,
        }
    }

    /// An operation failed, in this way.
    pub fn error(&self, operation: &'static str, kind: &'static str) {
        self.errors.with_label_values(&[operation, kind]).inc();
    }

    /// The disk is in this state now, of all that there are; `None` if nothing is wrong.
    pub fn state(&self, now: Option<&'static str>, all: impl Iterator<Item = &'static str>) {
        for state in all.chain(["ok"]) {
            let holds = now.unwrap_or("ok") == state;
            self.state.with_label_values(&[state]).set(i64::from(holds));
        }
    }
}
