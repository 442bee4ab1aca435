//! Further connections for one blob: how many are open, and how they fared.

use prometheus::{IntCounter, IntGauge, Registry};

use super::{counter, gauge};

/// The metrics of lanes. Clones share everything.
#[derive(Clone, Debug)]
pub struct Lanes {
    open: IntGauge,
    opened: IntCounter,
    refused: IntCounter,
}

/// One lane that is open.
#[derive(Debug)]
#[must_use = "the lane counts as long as this lives"]
pub struct Open(IntGauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Lanes {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            open: gauge(
                registry,
                "seawall_lanes",
                "Connections that fetch chunks of large blobs ahead of their first connection.",
            ),
            opened: counter(
                registry,
                "seawall_lanes_opened_total",
                "Chunks of large blobs asked for.",
            ),
            refused: counter(
                registry,
                "seawall_lanes_refused_total",
                "Chunks of large blobs that an upstream did not give.",
            ),
        }
    }

    /// A chunk is asked for. It counts as open until the answer is dropped.
    pub fn opened(&self) -> Open {
        self.opened.inc();
        self.open.inc();
        Open(self.open.clone())
    }

    /// A chunk was refused.
    pub fn refused(&self) {
        self.refused.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_open_as_long_as_it_lives_and_counted_for_ever() {
        let registry = Registry::new();
        let lanes = Lanes::new(&registry);
        let open = lanes.opened();
        drop(lanes.opened());
        lanes.refused();
        let told = |line: &str| {
            let text = prometheus::TextEncoder::new()
                .encode_to_string(&registry.gather())
                .unwrap();
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        };
        told("seawall_lanes 1");
        drop(open);
        told("seawall_lanes 0");
        told("seawall_lanes_opened_total 2");
        told("seawall_lanes_refused_total 1");
    }
}
