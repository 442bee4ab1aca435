//! Spans for the collector of traces: what became of them.

use prometheus::IntCounter;

use super::book::{Book, label, words};

label! {
    /// What became of a span.
    Exported {
        /// The collector took it.
        Taken = "exported",
        /// Too much waited for the collector.
        Dropped = "dropped",
        /// The collector was not reached, or did not take it.
        Failed = "failed",
    }
}

/// The metrics of traces. Clones share everything.
#[derive(Clone, Debug)]
pub struct Traces {
    taken: IntCounter,
    /// Counts those for which there was no room.
    pub dropped: IntCounter,
    failed: IntCounter,
}

impl Traces {
    pub(super) fn new(book: &Book) -> Self {
        let spans = book.counters(
            "seawall_trace_spans_total",
            "Spans for the collector of traces, by what became of them: exported, dropped because too many waited, or \
             failed to be taken.",
            &[words("outcome", Exported::WORDS)],
        );
        let spans = |what: Exported| spans.with_label_values(&[what.word()]);
        Self {
            taken: spans(Exported::Taken),
            dropped: spans(Exported::Dropped),
            failed: spans(Exported::Failed),
        }
    }

    /// The collector took so many.
    pub fn exported(&self, spans: u64) {
        self.taken.inc_by(spans);
    }

    /// So many could not be handed over.
    pub fn failed(&self, spans: u64) {
        self.failed.inc_by(spans);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_span_is_counted_by_what_became_of_it() {
        let book = Book::default();
        let traces = Traces::new(&book);
        traces.exported(3);
        traces.failed(2);
        traces.dropped.inc();
        book.expect(r#"seawall_trace_spans_total{outcome="exported"} 3"#);
        book.expect(r#"seawall_trace_spans_total{outcome="failed"} 2"#);
        book.expect(r#"seawall_trace_spans_total{outcome="dropped"} 1"#);
    }
}
