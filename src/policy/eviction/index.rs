//! The index of everything held: what it counts, and how it is asked.

use std::collections::VecDeque;

use super::entries::{Entries, Entry, Place, Slot};
use super::ghost::Ghost;
use super::names::Names;
use super::orphans::Orphans;
use super::queue::Queue;
use super::run::{Chosen, Run};
use super::shares::{Kind, PerKind, guaranteed, low};
use super::{Content, Facts, LARGEST_PART, MOST_HITS, Room, Rules, on_disk};
use crate::clock::Time;

/// The index of everything held.
#[derive(Debug)]
pub struct Index {
    rules: Rules,
    entries: Entries,
    names: Names,
    shares: PerKind<Share>,
    /// Bytes on disk: of everything; of what is leaving, which is part of it; set aside.
    held: u64,
    leaving: u64,
    reserved: u64,
    orphans: Orphans,
    /// The number of the next run.
    run: u32,
    /// The generation of the next entry. Nobody reads while four billion are stored.
    generation: u32,
    changed: VecDeque<Slot>,
}

/// The content of one kind that stays.
#[derive(Debug, Default)]
pub(super) struct Share {
    pub(super) small: Queue,
    pub(super) main: Queue,
    pub(super) ghost: Ghost,
    /// Bytes on disk of what is read or pinned.
    busy: u64,
}

impl Share {
    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.small.bytes + self.main.bytes
    }

    fn queue(&mut self, place: Place) -> &mut Queue {
        if place == Place::Small {
            &mut self.small
        } else {
            &mut self.main
        }
    }
}

impl Index {
    /// An index of nothing.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            entries: Entries::default(),
            names: Names::default(),
            shares: PerKind::default(),
            held: 0,
            leaving: 0,
            reserved: 0,
            orphans: Orphans::default(),
            run: 1,
            generation: 0,
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
        let (bytes, busy, place) = (entry.on_disk(), entry.busy(), entry.place);
        let slot = self.entries.add(entry);
        self.names.add(content, slot);
        self.held += bytes;
        let share = &mut self.shares[kind];
        share.busy += if busy { bytes } else { 0 };
        share.queue(place).push(&mut self.entries, slot);
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

    /// Somebody begins to read: it is not evicted before everybody has left. Answers the generation that is
    /// read, to be given back at [`Self::leave`]; `None` if it is not held.
    pub fn enter(&mut self, content: &Content) -> Option<u32> {
        let slot = self.staying(content)?;
        self.occupy(slot, |entry| entry.readers = entry.readers.saturating_add(1));
        Some(self.entries.at(slot).generation)
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

    /// Sets bytes aside for a fill, in whole blocks. One that asks bit by bit must ask for whole blocks, or
    /// release in the same bits.
    pub fn reserve(&mut self, bytes: u64) -> Room {
        let (capacity, bytes) = (self.rules.capacity, on_disk(bytes));
        if bytes > capacity / LARGEST_PART {
            return Room::Never;
        }
        let wanted = self.held + self.set_aside() + bytes;
        if wanted <= capacity {
            self.reserved += bytes;
            return Room::Granted;
        }
        let fill = Some((Kind::of_fill(bytes), bytes));
        // What is leaving is not deducted: whoever made it leave wants the room.
        let need = wanted - capacity;
        if self.winnable(fill) < need {
            return Room::Never;
        }
        Room::Evict(self.choose(need, fill))
    }

    /// Gives back bytes that were set aside.
    pub fn release(&mut self, bytes: u64) {
        self.reserved = self.reserved.saturating_sub(on_disk(bytes));
    }

    /// What has to go to come back to the low watermark; nothing below the high one.
    pub fn excess(&mut self) -> Vec<Content> {
        if !self.is_over_the_mark() {
            return Vec::new();
        }
        let need = self.taken_for_good().saturating_sub(low(&self.rules));
        self.choose(need.min(self.winnable(None)), None)
    }

    /// Bytes that are held or set aside, but for those that are leaving.
    fn taken_for_good(&self) -> u64 {
        self.held - self.leaving + self.set_aside()
    }

    fn is_over_the_mark(&self) -> bool {
        self.taken_for_good() as f64 > self.rules.capacity as f64 * self.rules.high
    }

    /// Bytes on disk that are held, and those that are set aside, [`Self::orphaned`] among them.
    pub fn taken(&self) -> (u64, u64) {
        (self.held, self.set_aside())
    }

    /// Bytes on disk of what has gone and is still read.
    pub fn orphaned(&self) -> u64 {
        self.orphans.bytes
    }

    fn set_aside(&self) -> u64 {
        self.reserved + self.orphans.bytes
    }

    /// Everything held, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Content, &Facts)> {
        let held = self.entries.staying();
        held.map(|entry| (&entry.content, &entry.facts))
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

    /// What would go next, if room were needed and nothing pulled or stored until then. While there is room it
    /// says what would go if there were none: if no more might be held than is. Marks nothing.
    pub fn next_to_go(&self, count: usize) -> Vec<(Content, Facts)> {
        let full = match self.is_over_the_mark() {
            true => self.rules.capacity,
            false => (self.held as f64 / self.rules.low.clamp(0.01, 1.0)) as u64,
        };
        let rules = Rules {
            capacity: self.rules.capacity.min(full),
            ..self.rules
        };
        let over = self.over(&rules, None);
        let run = Run::new(&self.entries, &self.shares, self.run, over, None);
        let victims = run.preview(count);
        let entries = victims.iter().map(|slot| self.entries.at(*slot));
        entries.map(|entry| (entry.content, entry.facts)).collect()
    }

    fn staying(&self, content: &Content) -> Option<Slot> {
        let slot = self.names.find(&self.entries, content)?;
        self.entries.at(slot).stays().then_some(slot)
    }

    fn mark(&mut self, slot: Slot, now: Time) {
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
        let before = entry.busy();
        change(entry);
        let (after, bytes, kind) = (entry.busy(), entry.on_disk(), entry.kind());
        match (before, after) {
            (false, true) => self.shares[kind].busy += bytes,
            (true, false) => self.shares[kind].busy -= bytes,
            _ => {}
        }
    }

    /// Takes an entry out; answers its facts and pins.
    fn take(&mut self, content: &Content) -> Option<(Facts, u32)> {
        let slot = self.names.remove(&self.entries, content)?;
        let entry = self.entries.at(slot);
        let (bytes, kind, place) = (entry.on_disk(), entry.kind(), entry.place);
        let known = (entry.facts, entry.pins);
        let (busy, readers, generation) = (entry.busy(), entry.readers, entry.generation);
        self.held -= bytes;
        if readers > 0 {
            self.orphans.add(generation, bytes, readers);
        }
        if place == Place::Leaving {
            self.leaving -= bytes;
        } else {
            let share = &mut self.shares[kind];
            share.busy -= if busy { bytes } else { 0 };
            share.queue(place).leave(&mut self.entries, slot);
        }
        self.entries.vacate(slot);
        Some(known)
    }

    /// By how many bytes each kind has more than it is guaranteed. A fill counts to its own kind; fills that
    /// run, those that wait for what is leaving, and orphans count to the large ones, as nearly all their bytes do.
    fn over(&self, rules: &Rules, fill: Option<(Kind, u64)>) -> PerKind<i128> {
        let guaranteed = guaranteed(rules);
        let mut over = PerKind::default();
        for kind in Kind::ALL {
            over[kind] = i128::from(self.shares[kind].bytes()) - i128::from(guaranteed[kind]);
        }
        over[Kind::Large] += i128::from(self.set_aside());
        if let Some((kind, bytes)) = fill {
            over[kind] += i128::from(bytes);
            over[Kind::Large] += i128::from(self.leaving);
        }
        over
    }

    /// The bytes that can be won without taking any kind below what it is guaranteed.
    fn winnable(&self, fill: Option<(Kind, u64)>) -> u64 {
        let over = self.over(&self.rules, fill);
        let shares = Kind::ALL.map(|kind| {
            let idle = self.shares[kind].bytes() - self.shares[kind].busy;
            over[kind].clamp(0, i128::from(idle)) as u64
        });
        shares.iter().sum()
    }

    fn choose(&mut self, need: u64, fill: Option<(Kind, u64)>) -> Vec<Content> {
        if need == 0 {
            return Vec::new();
        }
        let run = Run::new(
            &self.entries,
            &self.shares,
            self.run,
            self.over(&self.rules, fill),
            fill,
        );
        let Chosen { victims, again } = run.choose(need);
        let names = victims.iter().map(|slot| self.entries.at(*slot).content);
        let names = names.collect();
        for slot in victims {
            self.dismiss(slot);
        }
        for (kind, again) in Kind::ALL.into_iter().zip(again) {
            for (slot, hits) in again {
                self.requeue(kind, slot, hits);
            }
        }
        self.run = self.run.wrapping_add(1).max(1);
        names
    }

    fn dismiss(&mut self, slot: Slot) {
        let entry = self.entries.at_mut(slot);
        let (bytes, kind, content) = (entry.on_disk(), entry.kind(), entry.content);
        let place = std::mem::replace(&mut entry.place, Place::Leaving);
        self.leaving += bytes;
        let share = &mut self.shares[kind];
        share.queue(place).leave(&mut self.entries, slot);
        if place == Place::Small {
            let most = share.small.count + share.main.count;
            share.ghost.add(self.names.hash(&content), most);
        }
    }

    fn requeue(&mut self, kind: Kind, slot: Slot, hits: u8) {
        let entry = self.entries.at_mut(slot);
        if !entry.stays() {
            return;
        }
        entry.hits = hits;
        let place = std::mem::replace(&mut entry.place, Place::Main);
        let share = &mut self.shares[kind];
        share.queue(place).leave(&mut self.entries, slot);
        share.main.push(&mut self.entries, slot);
    }

    /// What is counted is what there is.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let (mut counts, mut busy) = ([[(0, 0); 2]; 3], [0; 3]);
        for entry in self.entries.staying() {
            let kind = entry.kind() as usize;
            let (count, bytes) = &mut counts[kind][usize::from(entry.place == Place::Main)];
            (*count, *bytes) = (*count + 1, *bytes + entry.on_disk());
            busy[kind] += if entry.busy() { entry.on_disk() } else { 0 };
        }
        for kind in Kind::ALL {
            let (share, counts) = (&self.shares[kind], counts[kind as usize]);
            assert_eq!((share.small.count, share.small.bytes), counts[0]);
            assert_eq!((share.main.count, share.main.bytes), counts[1]);
            assert_eq!(share.busy, busy[kind as usize]);
        }
        let staying: u64 = Kind::ALL.iter().map(|kind| self.shares[*kind].bytes()).sum();
        assert_eq!(staying + self.leaving, self.held);
    }
}
