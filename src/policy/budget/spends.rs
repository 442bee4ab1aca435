//! Our own spends of late, in slots of time: exact enough for a slot's length, and bounded.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Time;

/// A window has this many slots.
const SLOTS: u64 = 120;
/// Most spends believed of one slot; no upstream allows as many in a window.
const MOST: u64 = 1_000_000_000;

/// Spends: start of their slot in ms, and how many; the oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Spends(VecDeque<(u64, u64)>);

impl Spends {
    /// Brings what was written down to the present: spends that lie ahead happened now.
    pub(super) fn restore(&mut self, now: Time) {
        for (at, count) in &mut self.0 {
            (*at, *count) = ((*at).min(now.as_millis()), (*count).min(MOST));
        }
        self.0.make_contiguous().sort_unstable();
        self.merge();
    }

    /// Adds one.
    pub(super) fn add(&mut self, window: Duration, now: Time) {
        self.forget(window, now);
        let slot = slot(window, now);
        match self.0.back_mut() {
            Some((at, count)) if *at >= slot => *count = count.saturating_add(1),
            _ => self.0.push_back((slot, 1)),
        }
        self.merge();
    }

    /// Gives back one that was added then.
    pub(super) fn take_back(&mut self, window: Duration, at: Time) {
        let slot = slot(window, at);
        let mut before = self.0.iter_mut().rev();
        if let Some((_, count)) = before.find(|(start, count)| *start <= slot && *count > 0) {
            *count -= 1;
        }
    }

    /// How many are within the window, or may be: those of a slot leave it together with its last.
    pub(super) fn within(&self, window: Duration, now: Time) -> u64 {
        let start = now.as_millis().saturating_sub(millis(window));
        let last = |slot: u64| slot.saturating_add(slot_length(window));
        let inside = self.0.iter().filter(|(at, _)| last(*at) > start);
        inside.map(|(_, count)| *count).sum()
    }

    /// When this many of them have left the window; `None` if there are not as many in it.
    pub(super) fn leave(&self, need: u64, window: Duration, now: Time) -> Option<Time> {
        let length = millis(window).saturating_add(slot_length(window));
        let mut left = 0;
        for (at, count) in self.0.iter().filter(|(_, count)| *count > 0) {
            let leaves = Time::from_millis(at.saturating_add(length));
            if leaves > now {
                left += count;
                if left >= need {
                    return Some(leaves);
                }
            }
        }
        None
    }

    fn forget(&mut self, window: Duration, now: Time) {
        // The window before this one explains a reading that was taken in it.
        let keep = millis(window).saturating_mul(2);
        let old = |at: u64| at.saturating_add(keep) < now.as_millis();
        while self.0.front().is_some_and(|(at, _)| old(*at)) {
            self.0.pop_front();
        }
    }

    /// Too many slots, after a window became shorter or a clock jumped: the oldest count as younger ones, so
    /// that none is forgotten too early.
    fn merge(&mut self) {
        while self.0.len() as u64 > 2 * SLOTS {
            if let (Some((_, count)), Some(next)) = (self.0.pop_front(), self.0.front_mut()) {
                next.1 = next.1.saturating_add(count).min(MOST);
            }
        }
    }
}

/// The length of a slot in ms.
pub(super) fn slot_length(window: Duration) -> u64 {
    (millis(window) / SLOTS).max(1)
}

fn slot(window: Duration, at: Time) -> u64 {
    at.as_millis() / slot_length(window) * slot_length(window)
}

/// In ms.
pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
