//! The index of everything held: what it counts, and how it is asked.

use std::collections::VecDeque;

use super::entries::{Entries, Entry, Place, Slot};
use super::names::Names;
use super::orphans::Orphans;
use super::run::Bounds;
#[cfg(test)]
use super::shares::Kind;
use super::shares::{PerKind, Share};
use super::{Content, Facts, MOST_HITS, Rules, on_disk};
use crate::clock::Time;

/// The index of everything held.
#[derive(Debug)]
pub struct Index {
    pub(super) rules: Rules,
    pub(super) bounds: Bounds,
    pub(super) entries: Entries,
    pub(super) names: Names,
    pub(super) shares: PerKind<Share>,
    /// Bytes on disk: of everything; of what is leaving, which is part of it; set aside.
    pub(super) held: u64,
    pub(super) leaving: u64,
    pub(super) reserved: u64,
    orphans: Orphans,
    /// The number of the next run.
    pub(super) run: u32,
    /// Of the last choice: entries it looked at, and whether it came to its bound before it had enough.
    pub(super) looks: usize,
    pub(super) cut: bool,
    /// The generation of the next entry. Nobody reads while four billion are stored.
    generation: u32,
    /// The number of the trust that what is hashed now has; it begins at 1.
    trust: u32,
    changed: VecDeque<Slot>,
}

/// What somebody who begins to read is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entered {
    /// What is known of it.
    pub facts: Facts,
    /// Which file of that name it is, to be given back at [`Index::leave`].
    pub generation: u32,
    /// Whether this file was hashed, and is still trusted to be that one.
    pub hashed: bool,
}

impl Index {
    /// An index of nothing.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            bounds: Bounds::USUAL,
            entries: Entries::default(),
            names: Names::default(),
            shares: PerKind::default(),
            held: 0,
            leaving: 0,
            reserved: 0,
            orphans: Orphans::default(),
            run: 1,
            looks: 0,
            cut: false,
            generation: 0,
            trust: 1,
            changed: VecDeque::new(),
        }
    }

    /// Changes how much there may be; what is too much then goes by [`Self::excess`].
    pub fn set_capacity(&mut self, capacity: u64) {
        self.rules.capacity = capacity;
    }

    /// Changes when room is made, and how much of it.
    pub fn set_watermarks(&mut self, high: f64, low: f64) {
        (self.rules.high, self.rules.low) = (high, low);
    }

    /// Something is held from now on, in a file of its own. Replaces what was known of it; its pins stay. Who
    /// reads the file before it is none of its readers.
    ///
    /// At a start, insert in the order of last use: that is the order in which things go.
    pub fn insert(&mut self, content: Content, facts: Facts) {
        let before = self.take(&content);
        let mut entry = Entry::new(content, facts, self.generation);
        self.generation = self.generation.wrapping_add(1);
        if let Some((_, pins)) = before {
            entry.pins = pins;
        }
        let kind = entry.kind();
        let hash = self.names.hash(&content);
        if self.shares[kind].ghost.take(hash) || facts.used.is_some() {
            entry.place = Place::Main;
        }
        self.held += entry.on_disk();
        let slot = self.entries.add(entry);
        self.names.add(content, slot);
        self.shares[kind].join(&mut self.entries, slot);
    }

    /// Something is gone. What is read of it counts until nobody reads it any more.
    pub fn remove(&mut self, content: &Content) -> Option<Facts> {
        self.take(content).map(|(facts, ..)| facts)
    }

    /// What is known of something held; `None` also for what was chosen to go.
    pub fn facts(&self, content: &Content) -> Option<Facts> {
        let slot = self.names.find(&self.entries, content)?;
        let entry = self.entries.at(slot);
        entry.stays().then_some(entry.facts)
    }

    /// As [`Self::facts`], also for what was chosen to go and has not gone yet.
    pub fn counted(&self, content: &Content) -> Option<Facts> {
        let slot = self.names.find(&self.entries, content)?;
        Some(self.entries.at(slot).facts)
    }

    /// Counts a pull.
    pub fn pull(&mut self, content: &Content, now: Time) {
        if let Some(slot) = self.staying(content) {
            let pulls = &mut self.entries.at_mut(slot).facts.pulls;
            *pulls = pulls.saturating_add(1);
            self.mark(slot, now);
        }
    }

    /// A manifest that names this was pulled: as good as a pull, but not counted as one. A client that has the
    /// layers asks for the manifest only.
    pub fn used(&mut self, content: &Content, now: Time) {
        if let Some(slot) = self.staying(content) {
            self.mark(slot, now);
        }
    }

    /// Somebody begins to read: it is not evicted before everybody has left. `None` if it is not held.
    pub fn enter(&mut self, content: &Content) -> Option<Entered> {
        let slot = self.staying(content)?;
        self.occupy(slot, |entry| entry.readers = entry.readers.saturating_add(1));
        let entry = self.entries.at(slot);
        Some(Entered {
            facts: entry.facts,
            generation: entry.generation,
            hashed: entry.hashed == self.trust,
        })
    }

    /// The file that is held was hashed, and is what its name says.
    pub fn set_hashed(&mut self, content: &Content) {
        if let Some(slot) = self.staying(content) {
            self.entries.at_mut(slot).hashed = self.trust;
        }
    }

    /// Whether the file that is held was hashed, and is still trusted to be that one.
    pub fn is_hashed(&self, content: &Content) -> bool {
        let slot = self.staying(content);
        slot.is_some_and(|slot| self.entries.at(slot).hashed == self.trust)
    }

    /// Everybody may see a repository that has this.
    pub fn set_open(&mut self, content: &Content) {
        if let Some(slot) = self.staying(content) {
            self.entries.at_mut(slot).facts.closed = false;
        }
    }

    /// The files may be others than they were: what was hashed is to be hashed again. Takes no longer for many.
    pub fn trust_none(&mut self) {
        self.trust = self.trust.wrapping_add(1).max(1);
    }

    /// Somebody who entered a generation has read enough. It may have gone, and another be held by now.
    pub fn leave(&mut self, content: &Content, generation: u32) {
        let slot = self.staying(content);
        match slot.filter(|slot| self.entries.at(*slot).generation == generation) {
            Some(slot) => self.occupy(slot, |entry| entry.readers = entry.readers.saturating_sub(1)),
            None => self.orphans.leave(generation),
        }
    }

    /// The generation of something held, or chosen to go.
    pub fn generation(&self, content: &Content) -> Option<u32> {
        let slot = self.names.find(&self.entries, content)?;
        Some(self.entries.at(slot).generation)
    }

    /// A generation that has gone has another name now, and room set aside for it; or has lost both.
    pub fn set_named(&mut self, generation: u32, named: bool) {
        self.orphans.name(generation, named);
    }

    /// Keeps something until it was unpinned as often. False if it is not held, or leaving.
    pub fn pin(&mut self, content: &Content) -> bool {
        let slot = self.staying(content);
        if let Some(slot) = slot {
            self.occupy(slot, |entry| entry.pins = entry.pins.saturating_add(1));
        }
        slot.is_some()
    }

    /// Takes a pin back.
    pub fn unpin(&mut self, content: &Content) {
        if let Some(slot) = self.staying(content) {
            self.occupy(slot, |entry| entry.pins = entry.pins.saturating_sub(1));
        }
    }

    /// Gives back bytes that were set aside.
    pub fn release(&mut self, bytes: u64) {
        self.reserved = self.reserved.saturating_sub(on_disk(bytes));
    }

    /// Bytes on disk that are held, and those that are set aside, [`Self::orphaned`] among them.
    pub fn taken(&self) -> (u64, u64) {
        (self.held, self.set_aside())
    }

    /// Bytes on disk of what has gone and is still read.
    pub fn orphaned(&self) -> u64 {
        self.orphans.bytes
    }

    pub(super) fn set_aside(&self) -> u64 {
        self.reserved + self.orphans.bytes
    }

    /// How many entries the last choice looked at, while everybody who pulls waited.
    pub fn looks(&self) -> usize {
        self.looks
    }

    /// Whether the last choice came to its bound before it had enough.
    pub fn was_cut(&self) -> bool {
        self.cut
    }

    /// Everything held, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Content, &Facts)> {
        let held = self.entries.staying();
        held.map(|entry| (&entry.content, &entry.facts))
    }

    /// Some of what is held: all of it, if asked for 0, 1, 2 … until `None`, which no one call takes long for. What
    /// comes and goes between two calls may be told, and told twice.
    pub fn page(&self, number: usize) -> Option<impl Iterator<Item = (&Content, &Facts)>> {
        let held = self.entries.page(number)?;
        Some(held.map(|entry| (&entry.content, &entry.facts)))
    }

    /// The facts that pulls and uses changed since they were last taken, the longest changed first; at most
    /// so many, and each once. What is on its way out is left out.
    pub fn take_changed(&mut self, most: usize) -> Vec<(Content, Facts)> {
        let mut taken = Vec::new();
        while taken.len() < most {
            let Some(slot) = self.changed.pop_front() else {
                break;
            };
            let entry = self.entries.at_mut(slot);
            entry.listed = false;
            if std::mem::take(&mut entry.changed) && entry.stays() {
                taken.push((entry.content, entry.facts));
            }
        }
        taken
    }

    fn staying(&self, content: &Content) -> Option<Slot> {
        let slot = self.names.find(&self.entries, content)?;
        self.entries.at(slot).stays().then_some(slot)
    }

    fn mark(&mut self, slot: Slot, now: Time) {
        let entry = self.entries.at_mut(slot);
        if entry.unused() {
            let kind = entry.kind();
            self.shares[kind].unused.leave(&mut self.entries, slot);
        }
        let entry = self.entries.at_mut(slot);
        entry.facts.used = Some(now);
        entry.hits = (entry.hits + 1).min(MOST_HITS);
        entry.marked = self.run;
        entry.changed = true;
        if !std::mem::replace(&mut entry.listed, true) {
            self.changed.push_back(slot);
        }
    }

    /// Changes the readers or pins of something that stays.
    fn occupy(&mut self, slot: Slot, change: impl FnOnce(&mut Entry)) {
        let entry = self.entries.at_mut(slot);
        let (before, was_unused) = (entry.busy(), entry.unused());
        change(entry);
        let (after, is_unused) = (entry.busy(), entry.unused());
        if before == after {
            return;
        }
        let (bytes, share) = (entry.on_disk(), &mut self.shares[entry.kind()]);
        if after {
            share.busy += bytes;
            if was_unused {
                share.unused.leave(&mut self.entries, slot);
            }
            return;
        }
        share.busy -= bytes;
        if entry.place == Place::Apart {
            share.transfer(&mut self.entries, slot, Place::Main);
        }
        if is_unused {
            share.unused.push(&mut self.entries, slot);
        }
    }

    /// Takes an entry out; answers its facts and pins.
    fn take(&mut self, content: &Content) -> Option<(Facts, u32)> {
        let slot = self.names.remove(&self.entries, content)?;
        let entry = self.entries.at(slot);
        let (bytes, kind) = (entry.on_disk(), entry.kind());
        let known = (entry.facts, entry.pins);
        self.held -= bytes;
        if entry.readers > 0 {
            self.orphans.add(entry.generation, bytes, entry.readers);
        }
        if entry.place == Place::Leaving {
            self.leaving -= bytes;
        } else {
            self.shares[kind].leave(&mut self.entries, slot);
        }
        self.entries.vacate(slot);
        Some(known)
    }

    /// What is counted is what there is.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let (mut counts, mut busy, mut unused) = ([[(0, 0); 3]; 3], [0; 3], [(0, 0); 3]);
        for entry in self.entries.staying() {
            let (kind, bytes) = (entry.kind() as usize, entry.on_disk());
            let place = match entry.place {
                Place::Small => 0,
                Place::Main => 1,
                _ => 2,
            };
            let add = |(count, sum): &mut (usize, u64)| (*count, *sum) = (*count + 1, *sum + bytes);
            add(&mut counts[kind][place]);
            busy[kind] += if entry.busy() { bytes } else { 0 };
            if entry.facts.used.is_none() && !entry.busy() {
                add(&mut unused[kind]);
            }
            assert!(entry.place != Place::Apart || entry.busy());
        }
        for kind in Kind::ALL {
            let (share, counts) = (&self.shares[kind], counts[kind as usize]);
            assert_eq!((share.small.count, share.small.bytes), counts[0]);
            assert_eq!((share.main.count, share.main.bytes), counts[1]);
            assert_eq!(share.apart, counts[2].1);
            assert_eq!((share.unused.count, share.unused.bytes), unused[kind as usize]);
            assert_eq!(share.busy, busy[kind as usize]);
        }
        let staying: u64 = Kind::ALL.iter().map(|kind| self.shares[*kind].bytes()).sum();
        assert_eq!(staying + self.leaving, self.held);
    }
}
