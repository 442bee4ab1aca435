//! What was hashed again, and how far the pass is.

use prometheus::{Gauge, IntCounter, IntGauge, Registry};

use super::{counter, gauge};

/// The metrics of the scrub and of what it found.
#[derive(Debug)]
pub struct Scrub {
    objects: IntCounter,
    bytes: IntCounter,
    progress: Gauge,
    quarantined: IntGauge,
}

impl Scrub {
    pub(super) fn new(registry: &Registry) -> Self {
        let progress = Gauge::new(
            "seawall_scrub_pass_progress",
            "The part of everything held (0 to 1) that this pass of the scrub has been through.",
        )
        .expect("the name is well formed");
        registry
            .register(Box::new(progress.clone()))
            .expect("the name is used once");
        Self {
            objects: counter(
                registry,
                "seawall_scrub_objects_total",
                "Objects that the scrub has hashed again.",
            ),
            bytes: counter(
                registry,
                "seawall_scrub_bytes_total",
                "Bytes that the scrub has hashed again.",
            ),
            progress,
            quarantined: gauge(
                registry,
                "seawall_quarantine_objects",
                "Damaged files that were put aside and are kept.",
            ),
        }
    }

    /// An object was looked at, and so many bytes of it.
    pub fn hashed(&self, bytes: u64) {
        self.objects.inc();
        self.bytes.inc_by(bytes);
    }

    /// How far the pass is, from 0 to 1, and how many damaged files are kept.
    pub fn stands(&self, progress: f64, quarantined: u64) {
        self.progress.set(progress);
        self.quarantined
            .set(i64::try_from(quarantined).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_hashed_adds_up_and_progress_is_told() {
        let registry = Registry::new();
        let scrub = Scrub::new(&registry);
        scrub.hashed(7);
        scrub.hashed(4);
        scrub.stands(0.25, 3);
        let text = prometheus::TextEncoder::new()
            .encode_to_string(&registry.gather())
            .unwrap();
        for line in [
            "seawall_scrub_objects_total 2",
            "seawall_scrub_bytes_total 11",
            "seawall_scrub_pass_progress 0.25",
            "seawall_quarantine_objects 3",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
    }
}
