//! What became of content that has to be signed, or to be of some age.

use prometheus::IntCounterVec;

use super::book::{Book, label, words};

label! {
    /// What was found of the signatures of a manifest.
    Judged {
        /// One holds.
        Trusted = "trusted",
        /// None does.
        Refused = "refused",
        /// Nobody could tell.
        Unknown = "unknown",
    }
}

/// The metrics of trust.
#[derive(Debug)]
pub struct Trust {
    verdicts: IntCounterVec,
}

impl Trust {
    pub(super) fn new(book: &Book) -> Self {
        let verdicts = book.counters(
            "seawall_trust_verdicts_total",
            "Manifests whose signatures were looked for, by what was found.",
            &[words("verdict", Judged::WORDS)],
        );
        for verdict in Judged::WORDS {
            verdicts.with_label_values(&[verdict]);
        }
        Self { verdicts }
    }

    /// The signatures of a manifest were looked for.
    pub fn judged(&self, found: Judged) {
        self.verdicts.with_label_values(&[found.word()]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_counted_by_what_was_found() {
        let book = Book::default();
        let trust = Trust::new(&book);
        trust.judged(Judged::Refused);
        for line in [
            "seawall_trust_verdicts_total{verdict=\"refused\"} 1",
            "seawall_trust_verdicts_total{verdict=\"trusted\"} 0",
        ] {
            book.expect(line);
        }
    }
}
