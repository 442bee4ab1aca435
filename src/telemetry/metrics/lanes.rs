//! Further connections for one blob: how many are open, and how they fared.

use prometheus::{IntCounter, IntGauge};

use super::book::{Book, Open};

/// The metrics of lanes. Clones share everything.
#[derive(Clone, Debug)]
pub struct Lanes {
    open: IntGauge,
    opened: IntCounter,
    refused: IntCounter,
}

impl Lanes {
    pub(super) fn new(book: &Book) -> Self {
        Self {
            open: book.gauge(
                "seawall_lanes",
                "Connections that fetch chunks of large blobs ahead of their first connection.",
            ),
            opened: book.counter("seawall_lanes_opened_total", "Chunks of large blobs asked for."),
            refused: book.counter(
                "seawall_lanes_refused_total",
                "Chunks of large blobs that an upstream did not give.",
            ),
        }
    }

    /// A chunk is asked for. It counts as open until the answer is dropped.
    pub fn opened(&self) -> Open {
        self.opened.inc();
        Open::new(&self.open)
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
        let book = Book::default();
        let lanes = Lanes::new(&book);
        let open = lanes.opened();
        drop(lanes.opened());
        lanes.refused();
        book.expect("seawall_lanes 1");
        drop(open);
        book.expect("seawall_lanes 0");
        book.expect("seawall_lanes_opened_total 2");
        book.expect("seawall_lanes_refused_total 1");
    }
}
