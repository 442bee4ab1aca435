//! The numbers an operator watches, in an instance registry.
//!
//! Labels come from our own enums only: no repository, tag, digest or client ever becomes a label, so the
//! number of series does not depend on what strangers ask for.

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

/// All metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    received: IntCounter,
    integrity: IntCounterVec,
    disk_errors: IntCounterVec,
    fills: IntGauge,
    connections: IntGauge,
    panics: IntCounter,
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
        let vec = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntCounterVec::new(Opts::new(name, help), labels).expect("the name is well formed");
            registry
                .register(Box::new(metric.clone()))
                .expect("the name is used once");
            metric
        };
        let counter = |name: &str, help: &str| {
            let metric = IntCounter::new(name, help).expect("the name is well formed");
            registry
                .register(Box::new(metric.clone()))
                .expect("the name is used once");
            metric
        };
        let gauge = |name: &str, help: &str| {
            let metric = IntGauge::new(name, help).expect("the name is well formed");
            registry
                .register(Box::new(metric.clone()))
                .expect("the name is used once");
            metric
        };
        let build = vec("seawall_build_info", "The version that runs.", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).inc();
        Self {
            requests: vec(
                "seawall_requests_total",
                "Requests answered.",
                &["route", "class", "from"],
            ),
            received: counter(
                "seawall_received_bytes_total",
                "Body bytes received from upstreams.",
            ),
            integrity: vec(
                "seawall_integrity_failures_total",
                "Times bytes did not hash to their digest.",
                &["where"],
            ),
            disk_errors: vec(
                "seawall_disk_errors_total",
                "Disk operations that failed.",
                &["operation"],
            ),
            fills: gauge("seawall_fills", "Downloads under way."),
            connections: gauge("seawall_connections", "Connections of clients."),
            panics: counter("seawall_panics_total", "Requests that ended in a panic."),
            registry,
        }
    }

    /// One request was answered: its route, its status and where the bytes came from.
    pub fn request(&self, route: &'static str, status: u16, from: &'static str) {
        let class = match status {
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        self.requests.with_label_values(&[route, class, from]).inc();
    }

    /// Body bytes came from an upstream.
    pub fn received(&self, bytes: u64) {
        self.received.inc_by(bytes);
    }

    /// Bytes were not what their digest says.
    pub fn integrity_failure(&self, place: Place) {
        self.integrity.with_label_values(&[place.name()]).inc();
    }

    /// A disk operation failed.
    pub fn disk_error(&self, operation: &'static str) {
        self.disk_errors.with_label_values(&[operation]).inc();
    }

    /// A download began.
    pub fn fill_started(&self) {
        self.fills.inc();
    }

    /// A download ended, whatever way.
    pub fn fill_ended(&self) {
        self.fills.dec();
    }

    /// A client connected.
    pub fn connected(&self) {
        self.connections.inc();
    }

    /// A client's connection ended.
    pub fn disconnected(&self) {
        self.connections.dec();
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
