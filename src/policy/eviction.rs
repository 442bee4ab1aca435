//! What is held on disk, how much of it there may be, and which of it goes when room is needed.
//!
//! The index decides and counts; whoever drives it removes the files. What was chosen to go stays counted
//! until [`Index::remove`] says that it is gone, and is neither chosen again nor served in between.

use std::collections::{HashMap, VecDeque};

use crate::clock::Time;
use crate::oci::Digest;

/// Which part of the tree content stands in. A manifest's digest asked as a blob is not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Shelf {
    /// Layers, configs and other blobs.
    Blobs,
    /// Manifests and indexes.
    Manifests,
}

/// The name of something that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Content {
    /// Where it stands.
    pub shelf: Shelf,
    /// Its digest.
    pub digest: Digest,
}

/// How much there may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Most bytes, fills under way included.
    pub capacity: u64,
    /// Part of the capacity above which room is made before it is needed.
    pub high: f64,
    /// Part of the capacity at which enough room was made.
    pub low: f64,
}

/// What is known of something held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its length in bytes.
    pub size: u64,
    /// When it was stored.
    pub stored: Time,
    /// When it was last pulled; `None` if never since it was stored.
    pub used: Option<Time>,
    /// How often it was pulled.
    pub pulls: u32,
}

/// What a request for room comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Room {
    /// The bytes are set aside.
    Granted,
    /// Nothing is set aside: these have to go first. Ask again when they are gone.
    Evict(Vec<Content>),
    /// There is no room, and none can be made: too long, or everything is in use or pinned.
    Never,
}

/// The index of everything held.
#[derive(Debug)]
pub struct Index {
    rules: Rules,
    entries: HashMap<Content, Entry>,
    order: VecDeque<Content>,
    held: u64,
    reserved: u64,
}

#[derive(Debug)]
struct Entry {
    facts: Facts,
    readers: u32,
    pins: u32,
    leaving: bool,
}

impl Index {
    /// An index of nothing.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            entries: HashMap::new(),
            order: VecDeque::new(),
            held: 0,
            reserved: 0,
        }
    }

    /// Changes how much there may be; what is too much then goes by [`Self::excess`].
    pub fn set_capacity(&mut self, capacity: u64) {
        self.rules.capacity = capacity;
    }

    /// Something is held from now on. Replaces what was known of it.
    pub fn insert(&mut self, content: Content, facts: Facts) {
        self.remove(&content);
        self.held += facts.size;
        let entry = Entry {
            facts,
            readers: 0,
            pins: 0,
            leaving: false,
        };
        self.entries.insert(content, entry);
        self.order.push_back(content);
    }

    /// Something is gone.
    pub fn remove(&mut self, content: &Content) -> Option<Facts> {
        let entry = self.entries.remove(content)?;
        self.order.retain(|other| other != content);
        self.held -= entry.facts.size;
        Some(entry.facts)
    }

    /// What is known of something held; `None` also for what was chosen to go.
    pub fn facts(&self, content: &Content) -> Option<Facts> {
        let entry = self.entries.get(content).filter(|entry| !entry.leaving);
        entry.map(|entry| entry.facts)
    }

    /// Counts a pull.
    pub fn pull(&mut self, content: &Content, now: Time) {
        if let Some(entry) = self.entries.get_mut(content) {
            entry.facts.used = Some(now);
            entry.facts.pulls = entry.facts.pulls.saturating_add(1);
        }
    }

    /// Somebody begins to read: it is not evicted before everybody has left. False if it is not held.
    pub fn enter(&mut self, content: &Content) -> bool {
        let entry = self.entries.get_mut(content).filter(|entry| !entry.leaving);
        entry.map(|entry| entry.readers += 1).is_some()
    }

    /// Somebody who entered has read enough.
    pub fn leave(&mut self, content: &Content) {
        if let Some(entry) = self.entries.get_mut(content) {
            entry.readers = entry.readers.saturating_sub(1);
        }
    }

    /// Keeps something until it was unpinned as often. False if it is not held.
    pub fn pin(&mut self, content: &Content) -> bool {
        let entry = self.entries.get_mut(content);
        entry.map(|entry| entry.pins += 1).is_some()
    }

    /// Takes a pin back.
    pub fn unpin(&mut self, content: &Content) {
        if let Some(entry) = self.entries.get_mut(content) {
            entry.pins = entry.pins.saturating_sub(1);
        }
    }

    /// Sets bytes aside for a fill.
    pub fn reserve(&mut self, bytes: u64) -> Room {
        let (capacity, taken) = (self.rules.capacity, self.held + self.reserved);
        if taken + bytes <= capacity {
            self.reserved += bytes;
            return Room::Granted;
        }
        if bytes > capacity {
            return Room::Never;
        }
        let victims = self.choose(taken + bytes - capacity);
        if victims.is_empty() {
            Room::Never
        } else {
            Room::Evict(victims)
        }
    }

    /// Gives back bytes that were set aside.
    pub fn release(&mut self, bytes: u64) {
        self.reserved = self.reserved.saturating_sub(bytes);
    }

    /// What has to go to come back to the low watermark; nothing below the high one.
    pub fn excess(&mut self) -> Vec<Content> {
        let (taken, capacity) = (self.held + self.reserved, self.rules.capacity as f64);
        if taken as f64 <= capacity * self.rules.high {
            return Vec::new();
        }
        self.choose(taken.saturating_sub((capacity * self.rules.low) as u64))
    }

    /// Bytes held, and bytes set aside.
    pub fn taken(&self) -> (u64, u64) {
        (self.held, self.reserved)
    }

    /// Everything held, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Content, &Facts)> {
        let held = self.entries.iter().filter(|(_, entry)| !entry.leaving);
        held.map(|(content, entry)| (content, &entry.facts))
    }

    fn choose(&mut self, need: u64) -> Vec<Content> {
        let (mut victims, mut won) = (Vec::new(), 0);
        for content in &self.order {
            if won >= need {
                break;
            }
            let Some(entry) = self.entries.get_mut(content) else {
                continue;
            };
            if !entry.leaving && entry.readers == 0 && entry.pins == 0 {
                entry.leaving = true;
                won += entry.facts.size;
                victims.push(*content);
            }
        }
        victims
    }
}
