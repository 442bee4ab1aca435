//! The shared shelf: what it gave, what it took, whether it is left alone.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use super::book::{Book, label, words};

label! {
    /// What came of asking the shared shelf for something.
    Read {
        /// It began to give it.
        Gave = "gave",
        /// It has it not.
        Lacks = "lacks",
        /// It gave other bytes than their digest says.
        Wrong = "wrong",
        /// It was not reached, failed, took too long, or broke off.
        Failed = "failed",
        /// It wants to be asked less.
        Limited = "limited",
    }
}

label! {
    /// What became of something that was to be put on the shared shelf.
    Written {
        /// It stands there now.
        Stored = "stored",
        /// It stood there already.
        Present = "present",
        /// The shelf did not take it.
        Failed = "failed",
        /// Too much waited, or the shelf takes nothing for now.
        Dropped = "dropped",
    }
}

/// The metrics of the shared shelf. Clones share everything.
#[derive(Clone, Debug)]
pub struct Shared {
    reads: IntCounterVec,
    writes: IntCounterVec,
    came: IntCounter,
    rests: IntGauge,
}

impl Shared {
    pub(super) fn new(book: &Book) -> Self {
        Self {
            reads: book.counters(
                "seawall_shared_reads_total",
                "Times the shared shelf was asked for something, by what came of it.",
                &[words("outcome", Read::WORDS)],
            ),
            writes: book.counters(
                "seawall_shared_writes_total",
                "What was to be put on the shared shelf, by what became of it.",
                &[words("outcome", Written::WORDS)],
            ),
            came: book.counter(
                "seawall_shared_received_bytes_total",
                "Body bytes of manifests and blobs received from the shared shelf.",
            ),
            rests: book.gauge(
                "seawall_shared_left_alone",
                "1 while the shared shelf is left alone because it failed, until it has answered again.",
            ),
        }
    }

    /// It was asked.
    pub fn read(&self, outcome: Read) {
        self.reads.with_label_values(&[outcome.word()]).inc();
    }

    /// Something was to be put there.
    pub fn written(&self, outcome: Written) {
        self.writes.with_label_values(&[outcome.word()]).inc();
    }

    /// So many bytes came from it.
    pub fn came(&self, bytes: u64) {
        self.came.inc_by(bytes);
    }

    /// Whether it is left alone.
    pub fn rests(&self, rests: bool) {
        self.rests.set(i64::from(rests));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_shared_shelf_gave_and_took_is_told() {
        let book = Book::default();
        let shared = Shared::new(&book);
        shared.read(Read::Gave);
        shared.written(Written::Dropped);
        shared.came(7);
        shared.rests(true);
        for line in [
            r#"seawall_shared_reads_total{outcome="gave"} 1"#,
            r#"seawall_shared_writes_total{outcome="dropped"} 1"#,
            "seawall_shared_received_bytes_total 7",
            "seawall_shared_left_alone 1",
        ] {
            book.expect(line);
        }
    }
}
