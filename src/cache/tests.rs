//! A cache for the tests of this folder: nothing is in it, and there is nobody to ask.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use super::{Cache, Options};
use crate::clock::Clock;
use crate::net::dial::Dialer;
use crate::policy::clients::Clients;
use crate::policy::flight;
use crate::store::{Disk, Records, Space};
use crate::telemetry::metrics::Metrics;
use crate::upstream::{Budgets, Upstreams};

fn options(folder: &TempDir) -> Options {
    Options {
        directory: folder.path().to_owned(),
        space: Space::UNBOUNDED,
        memory: 1 << 20,
        freshness: Vec::new(),
        on_exhausted: Vec::new(),
        clients: Clients::default(),
        bandwidth: None,
        flights: flight::Rules {
            cooling: Duration::ZERO,
            finish_below: 0,
        },
        trust: Default::default(),
        verify_first_serve: false,
        scrub: None,
    }
}

pub(super) fn empty(folder: &TempDir) -> Cache {
    let disk = Disk::open(folder.path()).unwrap();
    let records = Records::open(&disk.records_path());
    let clock = Clock::start();
    let upstreams = Upstreams::new(Vec::new(), Budgets::default(), &Dialer::system(), clock);
    Cache::new(
        options(folder),
        disk,
        records,
        Arc::new(upstreams),
        Arc::new(Metrics::new()),
        TaskTracker::new(),
        clock,
    )
}
