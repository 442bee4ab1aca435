//! The disk in numbers: what failed, and how it does now.

use prometheus::{IntCounterVec, IntGaugeVec};

use super::book::{Book, words};

/// The state of a disk that nothing is wrong with.
const OK: &str = "ok";
/// What is tried with the disk.
const OPERATIONS: &[&str] = &[
    "begin",
    "commit",
    "evict",
    "hold",
    "look",
    "note",
    "open",
    "probe",
    "put",
    "quarantine",
    "read",
    "remove",
    "reserve",
    "write",
];
/// How a disk does.
const STATES: &[&str] = &[
    OK,
    "full",
    "failing",
    "read-only",
    "missing",
    "denied",
    "descriptors",
    "slow",
    "taken",
    "other",
];
/// What can be wrong with a disk.
const TROUBLES: &[&str] = STATES.split_at(1).1;

/// Metrics of the disk.
#[derive(Debug)]
pub struct Disk {
    errors: IntCounterVec,
    state: IntGaugeVec,
}

impl Disk {
    pub(super) fn new(book: &Book) -> Self {
        Self {
            errors: book.counters(
                "seawall_disk_errors_total",
                "Disk operations that failed.",
                &[words("operation", OPERATIONS), words("kind", TROUBLES)],
            ),
            state: book.gauges(
                "seawall_disk_state",
                "1 for the state that the disk is in: ok, or why nothing is kept.",
                &[words("state", STATES)],
            ),
        }
    }

    /// An operation failed, in this way.
    pub fn error(&self, operation: &'static str, kind: &'static str) {
        self.errors.with_label_values(&[operation, kind]).inc();
    }

    /// The disk is in this state now; `None` if nothing is wrong.
    pub fn state(&self, now: Option<&'static str>) {
        for state in STATES {
            let holds = now.unwrap_or(OK) == *state;
            self.state.with_label_values(&[state]).set(i64::from(holds));
        }
    }
}
