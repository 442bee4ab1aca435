//! What the shelf knows of its files without asking the file system.
//!
//! One mutex, held for moments and never while a file is touched. The name of a file is given and taken under
//! another one ([`Books::naming`]), so that what the books say and what the tree holds cannot drift apart.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Space;
use super::aside::Aside;
use super::damage::Watch;
use super::noted::{Noted, PAGE};
use crate::clock::Time;
use crate::oci::{Digest, Repository};
use crate::policy::eviction::{Content, Facts, Index, Rules, Shelf};

/// Most damaged files remembered that cannot be moved away; past it they are found out anew.
const MAX_HIDDEN: usize = 4096;
/// Names that may change at the same time: many more than a purge works on, so that few of those have to wait.
const NAMINGS: usize = 256;

/// What stands on one shelf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Why something is passed on and not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotKept {
    /// It takes more than half the capacity.
    #[error("it is longer than half the capacity of the cache")]
    TooLong,
    /// Everything that could make room for it is being read, filled or pinned.
    #[error("everything else in the cache is in use")]
    InUse,
    /// What the directory holds is not known yet.
    #[error("the cache is still finding out what it holds")]
    Rebuilding,
    /// So many small files would have to go that it takes longer than a client waits.
    #[error("so many small files have to make room for it that this takes a while")]
    Making,
}

impl NotKept {
    /// One word, for metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::InUse => "in_use",
            Self::Rebuilding => "rebuilding",
            Self::Making => "making_room",
        }
    }

    /// The reason behind an error of the disk shelf; `None` if the disk itself refused.
    pub fn of(error: &std::io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl From<NotKept> for std::io::Error {
    fn from(why: NotKept) -> Self {
        Self::new(std::io::ErrorKind::StorageFull, why)
    }
}

/// What the books say of a name.
pub(super) enum Known {
    /// It is held; somebody has entered.
    Held {
        size: u64,
        verified: bool,
        /// What the lease gives back.
        generation: u32,
    },
    /// It is not held.
    Missing,
    /// The tree has not been walked yet: it may be held.
    Unsure,
}

/// What a request for room comes to.
pub(super) enum Answer {
    Granted,
    /// These have to go first.
    Evict(Vec<Content>),
    /// These files that no index knows have to go first.
    Drop(Vec<String>),
    Never(NotKept),
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) index: Index,
    /// What came or went since it was last written down. What was used, the index knows.
    noted: Noted,
    /// True if something was used since.
    used: bool,
    /// What is wrong and could not be put out of the way: as good as not held.
    hidden: HashSet<Content>,
    /// What must not be evicted, whether it is held or not.
    kept: HashSet<Content>,
    /// What somebody wants to stay for now, and how many do. It is pinned, whichever file has the name.
    wanted: HashMap<Content, usize>,
    /// Manifests that were pulled since somebody asked.
    pulled: HashSet<Digest>,
    /// What comes for repositories that not everybody may see, and for which.
    pub(super) closing: HashMap<Digest, Vec<Option<Repository>>>,
    /// Files that are in no index and take room: unfinished and quarantined, by their names.
    pub(super) asides: HashMap<String, Aside>,
    /// Bytes set aside for unfinished files that have no name any more and are still open.
    pub(super) unlinked: u64,
    pub(super) tallies: [Tally; 2],
    /// Objects that were evicted since somebody asked, by shelf.
    pub(super) evicted: [u64; 2],
    /// True once the index says what the tree holds.
    pub(super) walked: bool,
    /// How often the tree became doubtful.
    pub(super) doubts: u64,
    /// True if the index may be trusted to know nearly everything.
    pub(super) complete: bool,
    /// Most bytes at the moment.
    pub(super) capacity: u64,
    /// Bytes free on the file system when last measured.
    pub(super) free: u64,
    stirred: Arc<Notify>,
    doubted: Arc<Notify>,
}

/// The books of one shelf.
#[derive(Debug)]
pub(super) struct Books {
    state: Mutex<State>,
    names: [Mutex<()>; NAMINGS],
    room: Mutex<()>,
    stirred: Arc<Notify>,
    doubted: Arc<Notify>,
    pub(super) watch: Watch,
}

impl Books {
    pub(super) fn new(space: &Space) -> Self {
        let (stirred, doubted) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let state = State {
            index: Index::new(rules(space)),
            noted: Noted::default(),
            used: false,
            hidden: HashSet::new(),
            kept: HashSet::new(),
            wanted: HashMap::new(),
            pulled: HashSet::new(),
            closing: HashMap::new(),
            asides: HashMap::new(),
            unlinked: 0,
            tallies: [Tally::default(); 2],
            evicted: [0; 2],
            walked: false,
            doubts: 0,
            complete: false,
            capacity: space.capacity,
            free: 0,
            stirred: stirred.clone(),
            doubted: doubted.clone(),
        };
        Self {
            state: Mutex::new(state),
            names: std::array::from_fn(|_| Mutex::default()),
            room: Mutex::default(),
            stirred,
            doubted,
            watch: Watch::default(),
        }
    }

    /// Waits until there is something to write down.
    pub(super) async fn stirred(&self) {
        self.stirred.notified().await;
    }

    /// Waits until the tree has become doubtful.
    pub(super) async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// Held for moments, and while no file is touched.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while a name of the tree and what the books say of it change together. Nobody holds two.
    pub(super) fn naming(&self, content: &Content) -> MutexGuard<'_, ()> {
        // Not the first: those next to each other in the order of names have that in common.
        let last = content.digest.as_bytes().last().copied().unwrap_or_default();
        let names = &self.names[usize::from(last) % NAMINGS];
        names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while files go to make room: who also needs some waits for it instead of chasing out more.
    pub(super) fn making_room(&self) -> MutexGuard<'_, ()> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Has other rules from now on. At the start, while the index knows little.
    pub(super) fn govern(&mut self, space: &Space) {
        let mut index = Index::new(rules(space));
        // What is there is there: it counts before there is a bound.
        index.set_capacity(Space::UNBOUNDED.capacity);
        for (content, facts) in self.index.iter() {
            index.insert(*content, *facts);
        }
        index.reserve(self.index.taken().1 - self.index.orphaned());
        index.set_capacity(space.capacity);
        (self.index, self.capacity) = (index, space.capacity);
    }

    /// Has other rules from now on, at any time; the capacity is measured anew.
    pub(super) fn change_space(&mut self, space: &Space) {
        self.index.set_watermarks(space.high, space.low);
        self.stirred.notify_one();
    }

    /// Begins to read something, and counts a pull of it if there is one.
    pub(super) fn enter(&mut self, content: &Content, pull: Option<Time>) -> Known {
        match self.index.enter(content) {
            Some(entered) => {
                if let Some(now) = pull {
                    self.pull(content, now);
                }
                Known::Held {
                    size: entered.facts.size,
                    verified: entered.hashed,
                    generation: entered.generation,
                }
            }
            None if self.walked => Known::Missing,
            None => Known::Unsure,
        }
    }

    /// Counts a pull; nothing if it is not held.
    pub(super) fn pull(&mut self, content: &Content, now: Time) {
        if self.index.facts(content).is_some() {
            self.index.pull(content, now);
            self.used = true;
            self.stirred.notify_one();
            if content.shelf == Shelf::Manifests {
                self.pulled.insert(content.digest);
            }
        }
    }

    /// A manifest that names this was pulled.
    pub(super) fn used(&mut self, content: &Content, now: Time) {
        self.index.used(content, now);
        self.used = true;
    }

    /// Something is held from now on, as a name of the tree says. Whoever reads what had the name reads another
    /// file than this.
    pub(super) fn insert(&mut self, content: Content, facts: Facts) {
        let facts = self.marked(&content, facts);
        self.strike(&content);
        self.enlist(content, facts);
        self.note(content);
    }

    /// As [`Self::insert`], for what is written down already.
    pub(super) fn enlist(&mut self, content: Content, facts: Facts) {
        // What is on its way out lost its pin, or never had one.
        let is_new = self.index.facts(&content).is_none();
        let tally = &mut self.tallies[content.shelf as usize];
        tally.objects += 1;
        tally.bytes += facts.size;
        self.index.insert(content, facts);
        if is_new {
            self.pin_again(&content);
        }
    }

    /// Something has gone from the tree.
    pub(super) fn remove(&mut self, content: &Content) -> Option<Facts> {
        self.strike(content);
        let facts = self.index.remove(content)?;
        self.note(*content);
        Some(facts)
    }

    /// A file is damaged and stays under its name: it is taken for one that is not there.
    pub(super) fn hide(&mut self, content: Content) {
        if self.hidden.len() >= MAX_HIDDEN {
            self.hidden.clear();
        }
        self.hidden.insert(content);
    }

    pub(super) fn is_hidden(&self, content: &Content) -> bool {
        self.hidden.contains(content)
    }

    /// What could not be put out of the way so far.
    pub(super) fn hidden(&self) -> Vec<Content> {
        self.hidden.iter().copied().collect()
    }

    /// The tree may be another one than it was: nothing of it counts as hashed, and it has to be walked.
    pub(super) fn doubt(&mut self) {
        self.index.trust_none();
        self.walked = false;
        self.doubts += 1;
        self.doubted.notify_one();
    }

    /// What was counted and known of something holds no longer.
    fn strike(&mut self, content: &Content) {
        self.hidden.remove(content);
        if let Some(facts) = self.index.counted(content) {
            let tally = &mut self.tallies[content.shelf as usize];
            tally.objects -= 1;
            tally.bytes -= facts.size;
        }
    }

    /// Keeps these from being evicted, and no others any more.
    pub(super) fn keep(&mut self, contents: HashSet<Content>) {
        for content in contents.difference(&self.kept) {
            self.index.pin(content);
        }
        for content in self.kept.difference(&contents) {
            self.index.unpin(content);
        }
        self.kept = contents;
    }

    /// Somebody wants something to stay; false if it is not held.
    pub(super) fn want(&mut self, content: &Content) -> bool {
        if self.index.facts(content).is_none() {
            return false;
        }
        let wanted = self.wanted.entry(*content).or_default();
        *wanted += 1;
        if *wanted == 1 {
            self.index.pin(content);
        }
        true
    }

    /// Somebody who wanted it to stay does no longer.
    pub(super) fn let_go(&mut self, content: &Content) {
        if let Some(wanted) = self.wanted.get_mut(content) {
            *wanted -= 1;
            if *wanted == 0 {
                self.wanted.remove(content);
                self.index.unpin(content);
            }
        }
    }

    /// Pins what is new to the index as often as it is to be kept.
    fn pin_again(&mut self, content: &Content) {
        if self.kept.contains(content) {
            self.index.pin(content);
        }
        if self.wanted.contains_key(content) {
            self.index.pin(content);
        }
    }

    /// What must not be evicted, in no order.
    pub(super) fn kept(&self) -> impl Iterator<Item = &Content> {
        self.kept.iter()
    }

    pub(super) fn keeps(&self, content: &Content) -> bool {
        self.kept.contains(content)
    }

    /// What was chosen to go could not be removed: it stays.
    pub(super) fn reinstate(&mut self, content: &Content) {
        if self.index.facts(content).is_none()
            && let Some(facts) = self.index.counted(content)
        {
            self.index.insert(*content, facts);
            self.pin_again(content);
        }
    }

    /// What is held has this length and was hashed since the start. Blobs only: a manifest is hashed whenever it is
    /// read.
    pub(super) fn mark_verified(&mut self, content: &Content, size: u64) {
        let known = self.index.facts(content).map(|facts| facts.size);
        if content.shelf == Shelf::Blobs && known == Some(size) {
            self.index.set_hashed(content);
        }
    }

    /// Some of what changed since this was last asked, each with what holds now; `None` for what has gone. What was
    /// only used is among it if it is wanted. Nothing is left if it is nothing.
    pub(super) fn take_changes(&mut self, with_uses: bool) -> Vec<(Content, Option<Facts>)> {
        let noted = self.noted.take(&self.index);
        if !noted.is_empty() || !with_uses || !self.used {
            return noted;
        }
        let used = self.index.take_changed(PAGE);
        self.used = used.len() == PAGE;
        used.into_iter()
            .map(|(content, facts)| (content, Some(facts)))
            .collect()
    }

    /// What was written down of it is out of date.
    pub(super) fn note(&mut self, content: Content) {
        self.noted.push(content);
        self.stirred.notify_one();
    }

    /// As [`Self::note`], for everything.
    pub(super) fn note_all(&mut self) {
        self.noted.all();
        self.stir();
    }

    /// There is something to look after.
    pub(super) fn stir(&self) {
        self.stirred.notify_one();
    }

    /// True if something has to be written down or handed on.
    pub(super) fn has_changes(&self) -> bool {
        self.used || !self.noted.is_empty() || !self.pulled.is_empty()
    }

    /// Manifests that were pulled since this was last asked for, at most so many; the rest is told the next time.
    pub(super) fn take_pulled(&mut self, most: usize) -> Vec<Digest> {
        self.pulled.extract_if(|_| true).take(most).collect()
    }
}

pub(super) fn rules(space: &Space) -> Rules {
    Rules::new(space.capacity, space.high, space.low)
}
