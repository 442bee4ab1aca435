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

label! {
    /// What is served of a tag that points at what is too young.
    Instead {
        /// What it was served as before.
        Older = "older",
        /// Nothing: it was served as nothing else.
        Refused = "refused",
        /// What it points at: it was too young, and is old enough now.
        Released = "released",
    }
}

/// The metrics of trust.
#[derive(Debug)]
pub struct Trust {
    verdicts: IntCounterVec,
    young: IntCounterVec,
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
        let young = book.counters(
            "seawall_young_tags_total",
            "Answers about tags that point at what is too young to be served, by what was served of them.",
            &[words("served", Instead::WORDS)],
        );
        for served in Instead::WORDS {
            young.with_label_values(&[served]);
        }
        Self { verdicts, young }
    }

    /// A tag pointed at what is too young, or does no longer.
    pub fn waited(&self, served: Instead) {
        self.young.with_label_values(&[served.word()]).inc();
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
