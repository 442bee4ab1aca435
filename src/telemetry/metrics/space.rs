//! How much of the disk is taken, and what was let go.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::{counters, gauge};

/// What stands on one shelf.
#[derive(Clone, Copy, Debug, Default)]
pub struct OnShelf {
    /// The shelf: `blobs` or `manifests`.
    pub shelf: &'static str,
    /// Its bytes.
    pub bytes: u64,
    /// Its objects.
    pub objects: u64,
    /// Objects evicted from it since this was last told.
    pub evicted: u64,
}

/// The metrics of the disk's room.
#[derive(Debug)]
pub struct Space {
    bytes: IntGaugeVec,
    objects: IntGaugeVec,
    reserved: IntGauge,
    capacity: IntGauge,
    foreign: IntGauge,
    evictions: IntCounterVec,
    not_kept: IntCounterVec,
}

impl Space {
    pub(super) fn new(registry: &Registry) -> Self {
        let gauges = |name: &str, help: &str| {
            let metric =
                IntGaugeVec::new(Opts::new(name, help), &["shelf"]).expect("the name is well formed");
            registry
                .register(Box::new(metric.clone()))
                .expect("the name is used once");
            metric
        };
        let gauge = |name: &str, help: &str| gauge(registry, name, help);
        Self {
            bytes: gauges("seawall_cache_bytes", "Bytes held on disk."),
            objects: gauges("seawall_cache_objects", "Objects held on disk."),
            reserved: gauge(
                "seawall_cache_reserved_bytes",
                "Bytes on disk set aside for downloads under way, unfinished and damaged ones.",
            ),
            capacity: gauge(
                "seawall_cache_capacity_bytes",
                "Most bytes on disk at the moment: the configured capacity, or less if the file system is short.",
            ),
            foreign: gauge(
                "seawall_cache_foreign_files",
                "Things in the cache directory that are not the cache's, found when it was walked.",
            ),
            evictions: counters(
                registry,
                "seawall_evictions_total",
                "Objects that had to make room.",
                &["shelf"],
            ),
            not_kept: counters(
                registry,
                "seawall_not_kept_total",
                "Objects passed on without being kept, because there was no room to be made.",
                &["reason"],
            ),
        }
    }

    /// How the disk stands.
    pub fn stands(&self, shelves: [OnShelf; 2], reserved: u64, capacity: u64) {
        let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        for each in shelves {
            let labels = [each.shelf];
            self.bytes.with_label_values(&labels).set(gauge(each.bytes));
            self.objects.with_label_values(&labels).set(gauge(each.objects));
            self.evictions.with_label_values(&labels).inc_by(each.evicted);
        }
        self.reserved.set(gauge(reserved));
        self.capacity.set(gauge(capacity));
    }

    /// What is not ours, as the walk found it.
    pub fn foreign(&self, found: u64) {
        self.foreign.set(i64::try_from(found).unwrap_or(i64::MAX));
    }

    /// Something was passed on and not kept.
    pub fn not_kept(&self, reason: &'static str) {
        self.not_kept.with_label_values(&[reason]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_is_told_and_evictions_add_up() {
        let registry = Registry::new();
        let space = Space::new(&registry);
        let blobs = OnShelf {
            shelf: "blobs",
            bytes: 7,
            objects: 2,
            evicted: 3,
        };
        let manifests = OnShelf {
            shelf: "manifests",
            ..OnShelf::default()
        };
        space.stands([blobs, manifests], 5, 100);
        space.stands([blobs, manifests], 5, 90);
        let text = prometheus::TextEncoder::new()
            .encode_to_string(&registry.gather())
            .unwrap();
        for line in [
            r#"seawall_cache_bytes{shelf="blobs"} 7"#,
            r#"seawall_cache_objects{shelf="manifests"} 0"#,
            r#"seawall_evictions_total{shelf="blobs"} 6"#,
            "seawall_cache_capacity_bytes 90",
            "seawall_cache_reserved_bytes 5",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
    }
}
