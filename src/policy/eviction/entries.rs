//! Where entries stand in memory: in pages that are never moved, named by a number of four bytes.
//!
//! A vector that doubles would hold up to twice what a million entries need, and copy all of it under the lock.

use super::queue::{TURN, UNUSED};
use super::shares::Kind;
use super::{Content, Facts, on_disk};

/// The place of an entry.
pub(super) type Slot = u32;

/// No place: the end of a queue.
pub(super) const NONE: Slot = Slot::MAX;

/// Entries of a page.
const PAGE: usize = 1024;

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// There is none in this slot.
    Vacant,
    /// In the queue of what is new.
    Small,
    /// In the queue of what was used.
    Main,
    /// In neither: a choice met it while it was busy. It joins the queue of what was used when it is idle again.
    Apart,
    /// Chosen to go.
    Leaving,
}

/// The neighbours of an entry in a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) before: Slot,
    pub(super) after: Slot,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            before: NONE,
            after: NONE,
        }
    }
}

/// Something held.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) content: Content,
    pub(super) place: Place,
    /// Rounds of the main queue that it has earned.
    pub(super) hits: u8,
    /// Its facts changed since they were last taken.
    pub(super) changed: bool,
    /// The slot is in the list of those that changed. Outlives the entry, so that the list has it once.
    pub(super) listed: bool,
    /// Its neighbours in the queue of its place, and in that of what nobody used.
    pub(super) links: [Link; 2],
    pub(super) readers: u32,
    /// Which file of this name it is: readers of one before it are none of its own.
    pub(super) generation: u32,
    pub(super) pins: u32,
    /// The number of the run that would have seen it as used last.
    pub(super) marked: u32,
    /// The number of the trust in which the file was hashed; 0 if it was not.
    pub(super) hashed: u32,
    pub(super) facts: Facts,
}

impl Entry {
    /// What is new: in no queue yet.
    pub(super) fn new(content: Content, facts: Facts, generation: u32) -> Self {
        Self {
            content,
            place: Place::Small,
            hits: 0,
            changed: false,
            listed: false,
            links: [Link::default(); 2],
            readers: 0,
            generation,
            pins: 0,
            marked: 0,
            hashed: 0,
            facts,
        }
    }

    /// What it takes on disk.
    pub(super) fn on_disk(&self) -> u64 {
        on_disk(self.facts.size)
    }

    /// Whose share it takes from.
    pub(super) fn kind(&self) -> Kind {
        Kind::of(&self.content, self.facts.size)
    }

    /// The one behind it in the queue of its place.
    pub(super) fn after(&self) -> Slot {
        self.links[TURN].after
    }

    /// The one behind it among those that nobody used.
    pub(super) fn after_unused(&self) -> Slot {
        self.links[UNUSED].after
    }

    /// Whether it is read or pinned.
    pub(super) fn busy(&self) -> bool {
        self.readers > 0 || self.pins > 0
    }

    /// Whether it is held, and not on its way out.
    pub(super) fn stays(&self) -> bool {
        matches!(self.place, Place::Small | Place::Main | Place::Apart)
    }

    /// Whether it stays, and nobody uses it or ever did since it was stored.
    pub(super) fn unused(&self) -> bool {
        self.stays() && self.facts.used.is_none() && !self.busy()
    }
}

/// All entries, and the slots that are free.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pages: Vec<Vec<Entry>>,
    free: Vec<Slot>,
}

impl Entries {
    /// The entry of a slot that was given out.
    pub(super) fn at(&self, slot: Slot) -> &Entry {
        &self.pages[slot as usize / PAGE][slot as usize % PAGE]
    }

    /// The entry of a slot that was given out.
    pub(super) fn at_mut(&mut self, slot: Slot) -> &mut Entry {
        &mut self.pages[slot as usize / PAGE][slot as usize % PAGE]
    }

    /// Puts an entry into a free slot.
    pub(super) fn add(&mut self, mut entry: Entry) -> Slot {
        if let Some(slot) = self.free.pop() {
            entry.listed = self.at(slot).listed;
            *self.at_mut(slot) = entry;
            return slot;
        }
        if self.pages.last().is_none_or(|page| page.len() == PAGE) {
            self.pages.push(Vec::with_capacity(PAGE));
        }
        let pages = self.pages.len();
        let page = &mut self.pages[pages - 1];
        page.push(entry);
        Slot::try_from((pages - 1) * PAGE + page.len() - 1).expect("disks hold fewer than 2^32 files")
    }

    /// Frees a slot.
    pub(super) fn vacate(&mut self, slot: Slot) {
        let entry = self.at_mut(slot);
        (entry.place, entry.changed) = (Place::Vacant, false);
        self.free.push(slot);
    }

    /// Every entry that stays, in no order.
    pub(super) fn staying(&self) -> impl Iterator<Item = &Entry> {
        self.pages.iter().flatten().filter(|entry| entry.stays())
    }

    /// Those of one page; `None` behind the last.
    pub(super) fn page(&self, number: usize) -> Option<impl Iterator<Item = &Entry>> {
        let page = self.pages.get(number)?;
        Some(page.iter().filter(|entry| entry.stays()))
    }
}
