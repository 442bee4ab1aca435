//! How much somebody spends in a window, going by what was spent of late.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Time;

/// The least part of a window after which a count says something of a whole one.
const YOUNG: f64 = 0.05;

/// Most spends believed of a window.
const MOST: f64 = 1e12;

/// A count that fades.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Usage {
    count: f64,
    /// When it was brought up to date, in ms.
    at: u64,
    /// When it began, in ms; 0: not yet.
    began: u64,
}

impl Usage {
    /// Adds what was spent.
    pub(super) fn add(&mut self, spent: f64, window: Duration, now: Time) {
        if self.began == 0 {
            (self.began, self.at) = (now.as_millis(), now.as_millis());
        }
        self.count = self.faded(window, now) + spent;
        self.at = now.as_millis();
    }

    /// Brings what was written down to the present, and within bounds.
    pub(super) fn restore(&mut self, now: Time) {
        (self.at, self.began) = (self.at.min(now.as_millis()), self.began.min(now.as_millis()));
        self.count = if self.count.is_finite() {
            self.count.clamp(0.0, MOST)
        } else {
            0.0
        };
    }

    /// What is spent in a window, if it goes on like this. Young counts are of a part of a window.
    pub(super) fn per_window(&self, window: Duration, now: Time) -> f64 {
        let age = windows(self.began, window, now).max(YOUNG);
        self.faded(window, now) / (1.0 - (-age).exp())
    }

    fn faded(&self, window: Duration, now: Time) -> f64 {
        self.count * (-windows(self.at, window, now)).exp()
    }
}

/// The time since `at`, in windows.
fn windows(at: u64, window: Duration, now: Time) -> f64 {
    now.since(Time::from_millis(at)).as_secs_f64() / window.as_secs_f64().max(1.0)
}
