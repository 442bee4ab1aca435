//! The numbers an operator watches, in an instance registry.
//!
//! Labels come from our own enums and the names in the configuration only: no repository, tag, digest or client ever becomes a label, so the
//! number of series does not depend on what strangers ask for.

pub mod config;
pub mod disk;
pub mod lanes;
pub mod quotas;
pub mod scrub;
pub mod space;
pub mod spending;

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

/// Where bytes turned out not to be what their digest says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a blob an upstream sent.
    Upstream,
    /// In a file of the cache.
    Disk,
    /// In a manifest an upstream sent.
    Manifest,
}

impl Place {
    const fn name(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Disk => "disk",
            Self::Manifest => "manifest",
        }
    }
}

/// A counter of this name.
fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    let metric = IntCounter::new(name, help).expect("the name is well formed");
    registry
        .register(Box::new(metric.clone()))
        .expect("the name is used once");
    metric
}

/// A gauge of this name.
fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    let metric = IntGauge::new(name, help).expect("the name is well formed");
    registry
        .register(Box::new(metric.clone()))
        .expect("the name is used once");
    metric
}

/// Counters with labels, in this registry.
fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    let metric = IntCounterVec::new(Opts::new(name, help), labels).expect("the name is well formed");
    registry
        .register(Box::new(metric.clone()))
        .expect("the name is used once");
    metric
}

/// One open connection.
#[derive(Debug)]
#[must_use = "the connection counts as long as this lives"]
pub struct Connected(IntGauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// All metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    sent: IntCounter,
    received: IntCounter,
    integrity: IntCounterVec,
    fills: IntGauge,
    connections: IntGauge,
    panics: IntCounter,
    /// The configuration: read again, applied or refused.
    pub config: config::Config,
    /// The disk: what failed, how it does.
    pub disk: disk::Disk,
    /// Lanes: open, opened and refused.
    pub lanes: lanes::Lanes,
    /// Clients' quotas: refusals and waits.
    pub quotas: quotas::Quotas,
    /// The scrub: hashed again and put aside.
    pub scrub: scrub::Scrub,
    /// The disk: held, evicted and not kept.
    pub space: space::Space,
    /// Budgets: spent and not spent.
    pub spending: spending::Spending,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics that have counted nothing.
    pub fn new() -> Self {
        let registry = Registry::new();
        let vec = |name: &str, help: &str, labels: &[&str]| counters(&registry, name, help, labels);
        let counter = |name: &str, help: &str| counter(&registry, name, help);
        let gauge = |name: &str, help: &str| gauge(&registry, name, help);
        let build = vec("seawall_build_info", "The version that runs.", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).inc();
        Self {
            requests: vec(
                "seawall_requests_total",
                "Requests answered.",
                &["route", "class", "from", "outcome"],
            ),
            sent: counter("seawall_sent_bytes_total", "Body bytes sent to clients."),
            received: counter(
                "seawall_received_bytes_total",
                "Body bytes received from upstreams.",
            ),
            integrity: vec(
                "seawall_integrity_failures_total",
                "Times bytes did not hash to their digest.",
                &["where"],
            ),
            fills: gauge("seawall_fills", "Downloads under way."),
            connections: gauge("seawall_connections", "Connections of clients."),
            panics: counter("seawall_panics_total", "Requests that ended in a panic."),
            config: config::Config::new(&registry),
            disk: disk::Disk::new(&registry),
            lanes: lanes::Lanes::new(&registry),
            quotas: quotas::Quotas::new(&registry),
            scrub: scrub::Scrub::new(&registry),
            space: space::Space::new(&registry),
            spending: spending::Spending::new(&registry),
            registry,
        }
    }

    /// One request was answered: its route, its status, where the bytes come from and how the cache came to
    /// its answer.
    pub fn request(&self, route: &'static str, status: u16, from: &'static str, outcome: &'static str) {
        let class = match status {
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        self.requests
            .with_label_values(&[route, class, from, outcome])
            .inc();
    }

    /// Body bytes went to a client.
    pub fn sent(&self, bytes: u64) {
        self.sent.inc_by(bytes);
    }

    /// Body bytes came from an upstream.
    pub fn received(&self, bytes: u64) {
        self.received.inc_by(bytes);
    }

    /// Bytes were not what their digest says.
    pub fn integrity_failure(&self, place: Place) {
        self.integrity.with_label_values(&[place.name()]).inc();
    }

    /// A download began.
    pub fn fill_started(&self) {
        self.fills.inc();
    }

    /// A download ended, whatever way.
    pub fn fill_ended(&self) {
        self.fills.dec();
    }

    /// A client connected. The connection counts until the answer is dropped.
    pub fn connected(&self) -> Connected {
        self.connections.inc();
        Connected(self.connections.clone())
    }

    /// A request ended in a panic.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// Everything, in the text format of Prometheus.
    pub fn exposition(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_told_in_the_text_format() {
        let metrics = Metrics::new();
        metrics.request("blob", 206, "disk", "hit");
        metrics.sent(7);
        metrics.received(11);
        metrics.integrity_failure(Place::Disk);
        let text = metrics.exposition();
        for line in [
            r#"seawall_requests_total{class="2xx",from="disk",outcome="hit",route="blob"} 1"#,
            "seawall_sent_bytes_total 7",
            "seawall_received_bytes_total 11",
            r#"seawall_integrity_failures_total{where="disk"} 1"#,
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
