//! How much of disk and memory is taken, and what was let go.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec};

use super::book::{Book, figure, label, words};

label! {
    /// What stands apart on the disk.
    Shelf {
        /// Blobs.
        Blobs = "blobs",
        /// Manifests.
        Manifests = "manifests",
    }
}

/// Why something is passed on without being kept.
const NOT_KEPT: &[&str] = &["too_long", "in_use", "rebuilding", "making_room"];

/// What stands on one shelf.
#[derive(Clone, Copy, Debug)]
pub struct OnShelf {
    /// The shelf.
    pub shelf: Shelf,
    /// Its bytes.
    pub bytes: u64,
    /// Its objects.
    pub objects: u64,
    /// Objects evicted from it since this was last told.
    pub evicted: u64,
}

/// How the room stands, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    /// Set aside on the disk.
    pub reserved: u64,
    /// Most that may be taken of the disk now.
    pub capacity: u64,
    /// Free on the file system.
    pub free: u64,
    /// Whether it is not known yet what the directory holds.
    pub rebuilding: bool,
    /// Taken in memory.
    pub memory: u64,
    /// Objects in memory.
    pub in_memory: u64,
}

/// The metrics of the room that the cache takes.
#[derive(Debug)]
pub struct Space {
    bytes: IntGaugeVec,
    objects: IntGaugeVec,
    reserved: IntGauge,
    capacity: IntGauge,
    free: IntGauge,
    rebuilding: IntGauge,
    memory: IntGauge,
    in_memory: IntGauge,
    foreign: IntGauge,
    evictions: IntCounterVec,
    not_kept: IntCounterVec,
}

impl Space {
    pub(super) fn new(book: &Book) -> Self {
        let not_kept = book.counters(
            "seawall_not_kept_total",
            "Objects passed on without being kept, because there was no room to be made.",
            &[words("reason", NOT_KEPT)],
        );
        for reason in NOT_KEPT {
            not_kept.with_label_values(&[reason]);
        }
        Self {
            bytes: book.gauges(
                "seawall_cache_bytes",
                "Bytes held on disk.",
                &[words("shelf", Shelf::WORDS)],
            ),
            objects: book.gauges(
                "seawall_cache_objects",
                "Objects held on disk.",
                &[words("shelf", Shelf::WORDS)],
            ),
            reserved: book.gauge(
                "seawall_cache_reserved_bytes",
                "Bytes on disk set aside for downloads under way, unfinished and damaged ones.",
            ),
            capacity: book.gauge(
                "seawall_cache_capacity_bytes",
                "Most bytes on disk at the moment: the configured capacity, or less if the file system is short.",
            ),
            free: book.gauge(
                "seawall_cache_free_bytes",
                "Bytes free on the file system of the cache directory.",
            ),
            rebuilding: book.gauge(
                "seawall_cache_rebuilding",
                "1 while it is not known yet what the directory holds: nothing new is kept.",
            ),
            memory: book.gauge(
                "seawall_memory_bytes",
                "Bytes of manifests and small blobs in memory, with what keeping them costs.",
            ),
            in_memory: book.gauge("seawall_memory_objects", "Manifests and small blobs in memory."),
            foreign: book.gauge(
                "seawall_cache_foreign_files",
                "Things in the cache directory that are not the cache's, found when it was walked.",
            ),
            evictions: book.counters(
                "seawall_evictions_total",
                "Objects that had to make room.",
                &[words("shelf", Shelf::WORDS)],
            ),
            not_kept,
        }
    }

    /// How the room stands.
    pub fn stands(&self, shelves: [OnShelf; 2], standing: Standing) {
        for each in shelves {
            let labels = [each.shelf.word()];
            self.bytes.with_label_values(&labels).set(figure(each.bytes));
            self.objects.with_label_values(&labels).set(figure(each.objects));
            self.evictions.with_label_values(&labels).inc_by(each.evicted);
        }
        for (gauge, count) in [
            (&self.reserved, standing.reserved),
            (&self.capacity, standing.capacity),
            (&self.free, standing.free),
            (&self.rebuilding, standing.rebuilding.into()),
            (&self.memory, standing.memory),
            (&self.in_memory, standing.in_memory),
        ] {
            gauge.set(figure(count));
        }
    }

    /// What is not ours, as the walk found it.
    pub fn foreign(&self, found: u64) {
        self.foreign.set(figure(found));
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
        let book = Book::default();
        let space = Space::new(&book);
        let blobs = OnShelf {
            shelf: Shelf::Blobs,
            bytes: 7,
            objects: 2,
            evicted: 3,
        };
        let manifests = OnShelf {
            shelf: Shelf::Manifests,
            objects: 0,
            ..blobs
        };
        let standing = |capacity| Standing {
            reserved: 5,
            capacity,
            ..Standing::default()
        };
        space.stands([blobs, manifests], standing(100));
        space.stands([blobs, manifests], standing(90));
        for line in [
            r#"seawall_cache_bytes{shelf="blobs"} 7"#,
            r#"seawall_cache_objects{shelf="manifests"} 0"#,
            r#"seawall_evictions_total{shelf="blobs"} 6"#,
            "seawall_cache_capacity_bytes 90",
            "seawall_cache_reserved_bytes 5",
        ] {
            book.expect(line);
        }
    }
}
