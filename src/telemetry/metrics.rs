//! The numbers an operator watches, in an instance registry.
//!
//! Labels come from our own enums and the names in the configuration only: no repository, tag, digest or client ever becomes a label, so the
//! number of series does not depend on what strangers ask for.

mod book;
pub mod certificate;
pub mod config;
pub mod disk;
pub mod fills;
pub mod lanes;
pub mod quotas;
pub mod requests;
pub mod runtime;
pub mod scrub;
pub mod shared;
pub mod space;
pub mod spending;
pub mod traces;
pub mod trust;
pub mod upstreams;

use std::sync::{Mutex, PoisonError};

use prometheus::{IntCounterVec, IntGauge, TextEncoder};
use tokio::runtime::Handle;

use self::book::{Book, Entered, words};
pub use self::book::{Entry, Kind, Label, Open, Values};
// What a part of the house counts with by itself.
pub use prometheus::IntCounter;

book::label! {
    /// Where bytes turned out not to be what their digest says.
    Place {
        /// In a blob an upstream sent.
        Upstream = "upstream",
        /// In a file of the cache.
        Disk = "disk",
        /// In a manifest an upstream sent.
        Manifest = "manifest",
        /// In what the shared shelf gave.
        Shared = "shared",
    }
}

/// All metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    /// Held by who brings figures up to date and tells them: two would tell each other's halves.
    telling: Mutex<()>,
    integrity: IntCounterVec,
    connections: IntGauge,
    panics: IntCounter,
    log_dropped: IntCounter,
    /// Of the certificate that clients are shown.
    pub certificate: certificate::Certificate,
    /// The configuration: read again, applied or refused.
    pub config: config::Config,
    /// The disk: what failed, how it does.
    pub disk: disk::Disk,
    /// Downloads: under way, followed, ended.
    pub fills: fills::Fills,
    /// Lanes: open, opened and refused.
    pub lanes: lanes::Lanes,
    /// Clients' quotas: refusals and waits.
    pub quotas: quotas::Quotas,
    /// Requests of clients: answered, and how fast.
    pub requests: requests::Requests,
    /// The process's runtime.
    pub runtime: runtime::Runtime,
    /// The scrub: hashed again and put aside.
    pub scrub: scrub::Scrub,
    /// The shared shelf: what it gave and took.
    pub shared: shared::Shared,
    /// Disk and memory: held, evicted and not kept.
    pub space: space::Space,
    /// Budgets: spent and not spent.
    pub spending: spending::Spending,
    /// Traces: spans handed over or not.
    pub traces: traces::Traces,
    /// Content that has to be signed: what was found.
    pub trust: trust::Trust,
    /// Upstreams: asked and answered.
    pub upstreams: upstreams::Upstreams,
    /// All of these, by name.
    entered: Entered,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics that have counted nothing.
    pub fn new() -> Self {
        const VERSION: &[Label] = &[Label {
            name: "version",
            values: Values::Version,
        }];
        let book = Book::default();
        let build = book.gauges("seawall_build_info", "The version that runs.", VERSION);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let integrity = book.counters(
            "seawall_integrity_failures_total",
            "Times bytes did not hash to their digest.",
            &[words("where", Place::WORDS)],
        );
        for place in Place::WORDS {
            integrity.with_label_values(&[place]);
        }
        Self {
            telling: Mutex::default(),
            integrity,
            connections: book.gauge(
                "seawall_connections",
                "Connections of clients and of the operator.",
            ),
            panics: book.counter("seawall_panics_total", "Requests that ended in a panic."),
            log_dropped: book.counter(
                "seawall_log_lines_dropped_total",
                "Lines of the log that were dropped because they came faster than they were read.",
            ),
            certificate: certificate::Certificate::new(&book),
            config: config::Config::new(&book),
            disk: disk::Disk::new(&book),
            fills: fills::Fills::new(&book),
            lanes: lanes::Lanes::new(&book),
            quotas: quotas::Quotas::new(&book),
            requests: requests::Requests::new(&book),
            runtime: runtime::Runtime::new(&book),
            scrub: scrub::Scrub::new(&book),
            shared: shared::Shared::new(&book),
            space: space::Space::new(&book),
            spending: spending::Spending::new(&book),
            traces: traces::Traces::new(&book),
            trust: trust::Trust::new(&book),
            upstreams: upstreams::Upstreams::new(&book),
            // The last: everything is in the book now.
            entered: book.close(),
        }
    }

    /// Bytes were not what their digest says.
    pub fn integrity_failure(&self, place: Place) {
        self.integrity.with_label_values(&[place.word()]).inc();
    }

    /// A client connected. The connection counts until the answer is dropped.
    pub fn connected(&self) -> Open {
        Open::new(&self.connections)
    }

    /// A request ended in a panic.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// So many lines of the log were dropped since the start.
    pub fn log_dropped(&self, lines: u64) {
        self.log_dropped
            .inc_by(lines.saturating_sub(self.log_dropped.get()));
    }

    /// Everything that may be told, by name.
    pub fn catalogue(&self) -> &[Entry] {
        &self.entered.entries
    }

    /// Everything in the text format of Prometheus, after `publish` has brought it up to date.
    pub fn told(&self, publish: impl FnOnce()) -> String {
        let _alone = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        publish();
        self.exposition()
    }

    /// Everything as it was last brought up to date, in the text format of Prometheus.
    pub fn exposition(&self) -> String {
        if let Ok(runtime) = Handle::try_current() {
            self.runtime.stands(&runtime.metrics());
        }
        TextEncoder::new()
            .encode_to_string(&self.entered.registry.gather())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_told_in_the_text_format() {
        let metrics = Metrics::new();
        metrics.integrity_failure(Place::Disk);
        metrics.log_dropped(3);
        metrics.log_dropped(5);
        let text = metrics.told(|| metrics.panicked());
        for line in [
            r#"seawall_integrity_failures_total{where="disk"} 1"#,
            "seawall_log_lines_dropped_total 5",
            "seawall_panics_total 1",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
    }

    #[test]
    fn a_connection_counts_while_it_is_open() {
        let metrics = Metrics::new();
        let open = metrics.connected();
        assert!(metrics.exposition().contains("seawall_connections 1"));
        drop(open);
        assert!(metrics.exposition().contains("seawall_connections 0"));
    }
}
