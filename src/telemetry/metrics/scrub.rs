//! What was hashed again, and how far the pass is.

use prometheus::{Gauge, IntCounter, IntGauge};

use super::book::{Book, figure};

/// The metrics of the scrub and of what it found.
#[derive(Debug)]
pub struct Scrub {
    objects: IntCounter,
    bytes: IntCounter,
    progress: Gauge,
    quarantined: IntGauge,
}

impl Scrub {
    pub(super) fn new(book: &Book) -> Self {
        Self {
            objects: book.counter(
                "seawall_scrub_objects_total",
                "Objects that the scrub has hashed again.",
            ),
            bytes: book.counter(
                "seawall_scrub_bytes_total",
                "Bytes that the scrub has hashed again.",
            ),
            progress: book.part(
                "seawall_scrub_pass_progress_ratio",
                "The part of everything held (0 to 1) that this pass of the scrub has been through.",
            ),
            quarantined: book.gauge(
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
        self.quarantined.set(figure(quarantined));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_hashed_adds_up_and_progress_is_told() {
        let book = Book::default();
        let scrub = Scrub::new(&book);
        scrub.hashed(7);
        scrub.hashed(4);
        scrub.stands(0.25, 3);
        for line in [
            "seawall_scrub_objects_total 2",
            "seawall_scrub_bytes_total 11",
            "seawall_scrub_pass_progress_ratio 0.25",
            "seawall_quarantine_objects 3",
        ] {
            book.expect(line);
        }
    }
}
