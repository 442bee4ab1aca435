//! Whose room it is: three kinds of content, and the part of the capacity that each has for itself.

use super::entries::{Entries, Place, Slot};
use super::ghost::Ghost;
use super::queue::{Queue, TURN, UNUSED};
use super::{Content, Rules, SMALL, Shelf};

/// The kinds of content that have a share of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Manifests and indexes.
    Manifest,
    /// Blobs shorter than [`SMALL`].
    Small,
    /// All other blobs.
    Large,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Manifest, Self::Small, Self::Large];

    /// The kind of `content` that is `size` bytes long.
    pub fn of(content: &Content, size: u64) -> Self {
        match content.shelf {
            Shelf::Manifests => Self::Manifest,
            Shelf::Blobs => Self::of_fill(size),
        }
    }

    /// The kind whose share a fill of `size` bytes is counted to. A fill does not say on which shelf it ends,
    /// and for as long as it runs a manifest's few bytes may as well be a small blob's.
    pub(super) fn of_fill(size: u64) -> Self {
        if size < SMALL { Self::Small } else { Self::Large }
    }
}

/// A value for each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PerKind<T>(pub(super) [T; 3]);

impl<T> std::ops::Index<Kind> for PerKind<T> {
    type Output = T;

    fn index(&self, kind: Kind) -> &T {
        &self.0[kind as usize]
    }
}

impl<T> std::ops::IndexMut<Kind> for PerKind<T> {
    fn index_mut(&mut self, kind: Kind) -> &mut T {
        &mut self.0[kind as usize]
    }
}

/// The bytes that each kind is guaranteed: parts of the low watermark, since above it somebody has to give, and
/// then there is always one kind that holds more than its own.
pub(super) fn guaranteed(rules: &Rules) -> PerKind<u64> {
    let whole = low(rules);
    let part = |fraction: f64| (whole as f64 * fraction.clamp(0.0, 1.0)) as u64;
    let manifests = part(rules.manifests);
    let small = part(rules.small).min(whole.saturating_sub(manifests));
    PerKind([manifests, small, whole.saturating_sub(manifests + small)])
}

/// The bytes at which enough room was made.
pub(super) fn low(rules: &Rules) -> u64 {
    (rules.capacity as f64 * rules.low.clamp(0.0, 1.0)) as u64
}

/// The content of one kind that stays.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// What is new, and what was used.
    pub(super) small: Queue<TURN>,
    pub(super) main: Queue<TURN>,
    /// What nobody used and nobody keeps busy, in whichever of the two it stands.
    pub(super) unused: Queue<UNUSED>,
    pub(super) ghost: Ghost,
    /// Bytes on disk of what stands apart from both.
    pub(super) apart: u64,
    /// Bytes on disk of what is read or pinned.
    pub(super) busy: u64,
}

impl Share {
    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.small.bytes + self.main.bytes + self.apart
    }

    /// Something that stays is counted from now on, and waits in the queues that it belongs to.
    pub(super) fn join(&mut self, entries: &mut Entries, slot: Slot) {
        let entry = entries.at(slot);
        self.busy += if entry.busy() { entry.on_disk() } else { 0 };
        if entry.unused() {
            self.unused.push(entries, slot);
        }
        self.line_up(entries, slot);
    }

    /// Something that stays is counted no longer.
    pub(super) fn leave(&mut self, entries: &mut Entries, slot: Slot) {
        let entry = entries.at(slot);
        self.busy -= if entry.busy() { entry.on_disk() } else { 0 };
        if entry.unused() {
            self.unused.leave(entries, slot);
        }
        self.step_out(entries, slot);
    }

    /// Something stands at the end of another place from now on.
    pub(super) fn transfer(&mut self, entries: &mut Entries, slot: Slot, to: Place) {
        self.step_out(entries, slot);
        entries.at_mut(slot).place = to;
        self.line_up(entries, slot);
    }

    fn line_up(&mut self, entries: &mut Entries, slot: Slot) {
        let entry = entries.at(slot);
        match entry.place {
            Place::Small => self.small.push(entries, slot),
            Place::Main => self.main.push(entries, slot),
            Place::Apart => self.apart += entry.on_disk(),
            Place::Vacant | Place::Leaving => {}
        }
    }

    fn step_out(&mut self, entries: &mut Entries, slot: Slot) {
        let entry = entries.at(slot);
        match entry.place {
            Place::Small => self.small.leave(entries, slot),
            Place::Main => self.main.leave(entries, slot),
            Place::Apart => self.apart -= entry.on_disk(),
            Place::Vacant | Place::Leaving => {}
        }
    }
}
