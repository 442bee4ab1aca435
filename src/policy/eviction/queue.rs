//! Queues through the entries themselves: what is in one knows its neighbours, so leaving costs nothing more.

use super::entries::{Entries, Link, NONE, Slot};

/// The queue of a place.
pub(super) const TURN: usize = 0;
/// The queue of what nobody used, beside that of the place.
pub(super) const UNUSED: usize = 1;

/// A queue through one pair of links, first in first out; anything in it may leave at any time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue<const LINKS: usize> {
    first: Slot,
    last: Slot,
    /// Entries in it.
    pub(super) count: usize,
    /// Bytes on disk of the entries in it.
    pub(super) bytes: u64,
}

impl<const LINKS: usize> Default for Queue<LINKS> {
    fn default() -> Self {
        Self {
            first: NONE,
            last: NONE,
            count: 0,
            bytes: 0,
        }
    }
}

impl<const LINKS: usize> Queue<LINKS> {
    /// The one that has waited longest; [`NONE`] in an empty queue.
    pub(super) fn first(&self) -> Slot {
        self.first
    }

    /// Joins at the end. The entry must be in no queue.
    pub(super) fn push(&mut self, entries: &mut Entries, slot: Slot) {
        let entry = entries.at_mut(slot);
        entry.links[LINKS] = Link {
            before: self.last,
            after: NONE,
        };
        self.bytes += entry.on_disk();
        self.count += 1;
        match self.last {
            NONE => self.first = slot,
            last => entries.at_mut(last).links[LINKS].after = slot,
        }
        self.last = slot;
    }

    /// Leaves. The entry must be in this queue.
    pub(super) fn leave(&mut self, entries: &mut Entries, slot: Slot) {
        let entry = entries.at(slot);
        let Link { before, after } = entry.links[LINKS];
        self.bytes -= entry.on_disk();
        self.count -= 1;
        match before {
            NONE => self.first = after,
            before => entries.at_mut(before).links[LINKS].after = after,
        }
        match after {
            NONE => self.last = before,
            after => entries.at_mut(after).links[LINKS].before = before,
        }
    }
}
