//! Downloads: under way, followed, resumed, and how they ended.

use prometheus::{IntCounter, IntGauge};

use super::book::{Book, Open, label, words};

label! {
    /// How a download ended.
    End {
        /// The content is held now, or was passed on whole.
        Arrived = "arrived",
        /// It failed.
        Failed = "failed",
        /// It was stopped because nobody read it any more.
        Cancelled = "cancelled",
    }
}

label! {
    /// Why a download failed.
    Cause {
        /// The upstream does not have it.
        NotFound = "not_found",
        /// The upstream denies it.
        Denied = "denied",
        /// The upstream limits us.
        Limited = "limited",
        /// The upstream could not be reached.
        Unreachable = "unreachable",
        /// The upstream answered with errors.
        Failing = "failing",
        /// The upstream keeps failing and was not asked.
        LeftAlone = "left_alone",
        /// The upstream is not to be asked.
        Offline = "offline",
        /// The upstream's answer could not be used.
        Unusable = "unusable",
        /// The bytes do not hash to their digest.
        Wrong = "wrong",
    }
}

/// The metrics of downloads.
#[derive(Debug)]
pub struct Fills {
    active: IntGauge,
    readers: IntGauge,
    resumed: IntCounter,
    ended: Vec<IntCounter>,
    failed: Vec<IntCounter>,
}

impl Fills {
    pub(super) fn new(book: &Book) -> Self {
        let ended = book.counters(
            "seawall_fills_ended_total",
            "Downloads that have ended, by how.",
            &[words("outcome", End::WORDS)],
        );
        let failed = book.counters(
            "seawall_fills_failed_total",
            "Downloads that failed, by cause.",
            &[words("cause", Cause::WORDS)],
        );
        let each = |family: &prometheus::IntCounterVec, words: &[&str]| {
            let words = words.iter();
            words.map(|word| family.with_label_values(&[word])).collect()
        };
        Self {
            active: book.gauge("seawall_fills", "Downloads under way."),
            readers: book.gauge(
                "seawall_fill_readers",
                "Requests that are answered from downloads under way.",
            ),
            resumed: book.counter(
                "seawall_fills_resumed_total",
                "Times a download went on after it had broken off.",
            ),
            ended: each(&ended, End::WORDS),
            failed: each(&failed, Cause::WORDS),
        }
    }

    /// A download began. It counts until the answer is dropped.
    pub fn started(&self) -> Open {
        Open::new(&self.active)
    }

    /// A request follows a download. It counts until the answer is dropped.
    pub fn followed(&self) -> Open {
        Open::new(&self.readers)
    }

    /// A download goes on after it had broken off.
    pub fn resumed(&self) {
        self.resumed.inc();
    }

    /// A download ended.
    pub fn ended(&self, end: End) {
        self.ended[end as usize].inc();
    }

    /// A download failed.
    pub fn failed(&self, cause: Cause) {
        self.failed[cause as usize].inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downloads_and_readers_count_as_long_as_they_live() {
        let book = Book::default();
        let fills = Fills::new(&book);
        let (fill, reader) = (fills.started(), fills.followed());
        drop(fills.followed());
        book.expect("seawall_fills 1");
        book.expect("seawall_fill_readers 1");
        drop((fill, reader));
        book.expect("seawall_fills 0");
        book.expect("seawall_fill_readers 0");
    }

    #[test]
    fn what_failed_is_told_by_cause() {
        let book = Book::default();
        let fills = Fills::new(&book);
        fills.ended(End::Failed);
        fills.failed(Cause::Wrong);
        fills.resumed();
        book.expect(r#"seawall_fills_ended_total{outcome="failed"} 1"#);
        book.expect(r#"seawall_fills_failed_total{cause="wrong"} 1"#);
        book.expect("seawall_fills_resumed_total 1");
    }
}
