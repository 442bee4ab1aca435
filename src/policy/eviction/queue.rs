//! Queues through the entries themselves: what is in one knows its neighbours, so leaving costs nothing more.

use super::entries::{Entries, NONE, Slot};

/// A queue, first in first out; anything in it may leave at any time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    first: Slot,
    last: Slot,
    /// Entries in it.
    pub(super) count: usize,
    /// Bytes on disk of the entries in it.
    pub(super) bytes: u64,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            first: NONE,
            last: NONE,
            count: 0,
            bytes: 0,
        }
    }
}

impl Queue {
    /// The one that has waited longest; [`NONE`] in an empty queue.
    pub(super) fn first(&self) -> Slot {
        self.first
    }

    /// Joins at the end. The entry must be in no queue.
    pub(super) fn push(&mut self, entries: &mut Entries, slot: Slot) {
        let entry = entries.at_mut(slot);
        (entry.before, entry.after) = (self.last, NONE);
        self.bytes += entry.on_disk();
        self.count += 1;
        match self.last {
            NONE => self.first = slot,
            last => entries.at_mut(last).after = slot,
        }
        self.last = slot;
    }

    /// Leaves. The entry must be in this queue.
    pub(super) fn leave(&mut self, entries: &mut Entries, slot: Slot) {
        let entry = entries.at(slot);
        let (before, after) = (entry.before, entry.after);
        self.bytes -= entry.on_disk();
        self.count -= 1;
        match before {
            NONE => self.first = after,
            before => entries.at_mut(before).after = after,
        }
        match after {
            NONE => self.last = before,
            after => entries.at_mut(after).before = before,
        }
    }
}
