//! Until when a registry wants to be left alone by all of ours who ask it, whoever was told: it counts the address that
//! they come from.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Time;

/// The word of one registry, for what asks it by any account, and for clients.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// In ms.
    until: AtomicU64,
}

impl Rest {
    /// It said so.
    pub(super) fn say(&self, until: Time) {
        self.until.fetch_max(until.as_millis(), Ordering::Relaxed);
    }

    /// How long it is still to be left alone.
    pub(super) fn left(&self, now: Time) -> Duration {
        Time::from_millis(self.until.load(Ordering::Relaxed)).since(now)
    }
}
