//! One choice of what goes. It only looks: what it chose and moved is carried out afterwards, or, for a
//! preview, not at all.
//!
//! Everybody who pulls waits for it, so it ends after so many looks ([`Bounds`]), whatever there is to see. What it
//! passed until then has moved on, and the next choice begins behind it.

use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasherDefault;

use super::SMALL_QUEUE;
use super::entries::{Entries, Entry, NONE, Slot};
use super::names::Same;
use super::shares::{Kind, PerKind, Share};

/// How much one choice may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Most entries that it passes in turn and leaves, and again as many once nothing is spared but what is busy.
    /// Where half of them are passed, the uses that an entry was passed for so often no longer count.
    pub(super) passed: usize,
    /// Most that it chooses.
    pub(super) victims: usize,
}

impl Bounds {
    /// A look is a miss of the processor's caches, some 100 ns.
    pub(super) const USUAL: Self = Self {
        passed: 4096,
        victims: 1000,
    };

    /// Most entries that a choice looks at: those it passes, those it chooses, and, both in their turn and among
    /// the unused, those it has chosen already.
    #[cfg(test)]
    pub(super) fn looks(self) -> usize {
        2 * self.passed + 3 * self.victims
    }
}

/// What is to be carried out.
#[derive(Debug)]
pub(super) struct Chosen {
    /// What goes, in order.
    pub(super) victims: Vec<Slot>,
    /// By kind, what stays and was passed.
    pub(super) passed: PerKind<Passed>,
    /// A bound was reached before enough was chosen: the next choice goes on.
    pub(super) cut: bool,
    /// Entries that were looked at.
    pub(super) looks: usize,
}

/// What a walk passed.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// What joins the end of the main queue, in order, and the hits it has left. May name victims.
    pub(super) again: VecDeque<(Slot, u8)>,
    /// What is busy, and stands in no queue until it is idle again: nobody passes it twice.
    pub(super) apart: Vec<Slot>,
}

/// A walk through the queues of all shares.
#[derive(Debug)]
pub(super) struct Run<'a> {
    entries: &'a Entries,
    /// Its number: what is marked with it was used since the last run.
    number: u32,
    bounds: Bounds,
    walks: PerKind<Walk>,
    victims: Vec<Slot>,
    /// The victims once more: who stands in two queues is met twice.
    chosen: HashSet<Slot, BuildHasherDefault<Same>>,
    won: u64,
    looks: usize,
    /// Those that were passed in this turn.
    passed: usize,
    /// A turn ended at its bound.
    cut: bool,
    /// Bytes that are enough.
    wanted: u64,
    /// Whether kinds keep what they are guaranteed.
    guarantee: bool,
}

/// Where the walk through one share stands.
#[derive(Debug, Default)]
struct Walk {
    /// The next of each queue, and the bytes that are still in it.
    small: Slot,
    small_bytes: u64,
    main: Slot,
    main_bytes: u64,
    unused: Slot,
    /// What was passed and stays.
    passed: Passed,
    /// Entries of the main queue, those passed included; and how many were passed in a row to no effect.
    main_count: usize,
    barren: usize,
    /// Bytes of the fill that room is made for, which will stand in the small queue.
    incoming: u64,
    /// Bytes above the guarantee.
    over: i128,
    /// Nothing more is to be had.
    spent: bool,
}

impl<'a> Run<'a> {
    /// A run in which each kind has so many bytes more than it is guaranteed, for a fill or none.
    pub(super) fn new(
        entries: &'a Entries,
        shares: &PerKind<Share>,
        (number, bounds): (u32, Bounds),
        over: PerKind<i128>,
        fill: Option<(Kind, u64)>,
    ) -> Self {
        let walks = Kind::ALL.map(|kind| {
            let share = &shares[kind];
            Walk {
                small: share.small.first(),
                small_bytes: share.small.bytes,
                main: share.main.first(),
                main_bytes: share.main.bytes + share.apart,
                unused: share.unused.first(),
                main_count: share.main.count,
                incoming: fill.map_or(0, |(of, bytes)| if of == kind { bytes } else { 0 }),
                over: over[kind],
                ..Walk::default()
            }
        });
        Self {
            entries,
            number,
            bounds,
            walks: PerKind(walks),
            victims: Vec::new(),
            chosen: HashSet::default(),
            won: 0,
            looks: 0,
            passed: 0,
            cut: false,
            wanted: 0,
            guarantee: true,
        }
    }

    /// Chooses until so many bytes are won, nothing is left that may go, or a bound is reached.
    pub(super) fn choose(mut self, bytes: u64) -> Chosen {
        self.wanted = bytes;
        self.go();
        self.end()
    }

    /// What would be chosen if ever more room were needed: what may be chosen now, then the rest as though
    /// nobody had a share. At most `count`, and no more than one choice takes.
    pub(super) fn preview(mut self, count: usize) -> Chosen {
        self.wanted = u64::MAX;
        self.bounds.victims = self.bounds.victims.min(count);
        if self.walks.0.iter().any(|walk| walk.over > 0) {
            self.go();
        }
        self.guarantee = false;
        self.go();
        self.end()
    }

    fn end(self) -> Chosen {
        let is_full = self.victims.len() >= self.bounds.victims;
        Chosen {
            cut: self.won < self.wanted && (self.cut || is_full),
            victims: self.victims,
            passed: PerKind(self.walks.0.map(|walk| walk.passed)),
            looks: self.looks,
        }
    }

    fn go(&mut self) {
        self.in_turn(true);
        if !self.enough() {
            self.unused();
            self.in_turn(false);
        }
    }

    fn enough(&self) -> bool {
        self.won >= self.wanted || self.victims.len() >= self.bounds.victims
    }

    /// Takes from the kind that is furthest above its share, until none is.
    fn in_turn(&mut self, spare_marked: bool) {
        for walk in &mut self.walks.0 {
            (walk.spent, walk.barren) = (false, 0);
        }
        (self.passed, self.cut) = (0, false);
        while !self.enough() {
            let guarantee = self.guarantee;
            let able = Kind::ALL.into_iter().filter(|kind| {
                let walk = &self.walks[*kind];
                !walk.spent && (walk.over > 0 || !guarantee)
            });
            let Some(kind) = able.max_by_key(|kind| self.walks[*kind].over) else {
                return;
            };
            if self.passed >= self.bounds.passed {
                self.cut = true;
                return;
            }
            match self.next(kind, spare_marked) {
                Some(slot) => self.take(kind, slot),
                None => self.walks[kind].spent = true,
            }
        }
    }

    /// What was used since the last run is left above the shares, and perhaps more than could be looked at. What
    /// never was goes before it, blobs within their share too: evicting a layer in use would have it fetched again
    /// at once.
    fn unused(&mut self) {
        for kind in [Kind::Large, Kind::Small, Kind::Manifest] {
            while self.walks[kind].over > 0 && self.unused_of(kind) {}
        }
        for kind in [Kind::Large, Kind::Small] {
            while self.unused_of(kind) {}
        }
    }

    /// Takes the next of a kind that was never used; false if there is none, or enough was taken.
    fn unused_of(&mut self, kind: Kind) -> bool {
        let slot = self.walks[kind].unused;
        if slot == NONE || self.enough() {
            return false;
        }
        self.looks += 1;
        self.walks[kind].unused = self.entries.at(slot).after_unused();
        if !self.chosen.contains(&slot) {
            self.take(kind, slot);
        }
        true
    }

    fn take(&mut self, kind: Kind, slot: Slot) {
        let bytes = self.entries.at(slot).on_disk();
        self.walks[kind].over -= i128::from(bytes);
        self.won += bytes;
        self.victims.push(slot);
        self.chosen.insert(slot);
    }

    /// The next of a kind that goes, by S3-FIFO; `None` if there is none, or so many were passed as may be.
    fn next(&mut self, kind: Kind, spare_marked: bool) -> Option<Slot> {
        while self.passed < self.bounds.passed {
            let walk = &mut self.walks[kind];
            let (slot, hits, is_new) = walk.pass(self.entries)?;
            self.looks += 1;
            if self.chosen.contains(&slot) {
                continue;
            }
            let entry = self.entries.at(slot);
            let spared = spare_marked && entry.marked == self.number;
            let counts = hits > 0 && self.passed < self.bounds.passed / 2;
            if !entry.busy() && !spared && !counts {
                return Some(slot);
            }
            self.passed += 1;
            walk.keep(entry, (slot, hits), is_new, spared);
        }
        None
    }
}

impl Walk {
    /// The next of the queue whose turn it is leaves it: with its hits, and whether it was new.
    fn pass(&mut self, entries: &Entries) -> Option<(Slot, u8, bool)> {
        let main_is_barren = self.barren >= self.main_count;
        if self.small != NONE && (main_is_barren || self.small_is_full()) {
            let slot = self.small;
            let entry = entries.at(slot);
            self.small = entry.after();
            self.small_bytes -= entry.on_disk();
            return Some((slot, entry.hits, true));
        }
        if main_is_barren {
            return None;
        }
        let (slot, hits) = match self.main {
            NONE => self.passed.again.pop_front()?,
            slot => (slot, entries.at(slot).hits),
        };
        let entry = entries.at(slot);
        if slot == self.main {
            self.main = entry.after();
        }
        self.main_bytes -= entry.on_disk();
        self.main_count -= 1;
        Some((slot, hits, false))
    }

    /// Whether what is new takes more than its part of the share.
    fn small_is_full(&self) -> bool {
        let all = self.small_bytes + self.main_bytes + self.incoming;
        (self.small_bytes + self.incoming) as f64 > all as f64 * SMALL_QUEUE
    }

    /// What was passed stays: in the main queue if it is idle, for one hit less. From the small queue it has yet to
    /// earn a round there: the uses so far brought it here.
    fn keep(&mut self, entry: &Entry, (slot, hits): (Slot, u8), is_new: bool, spared: bool) {
        self.main_bytes += entry.on_disk();
        if entry.busy() {
            self.passed.apart.push(slot);
            return;
        }
        let left = if is_new { 0 } else { hits.saturating_sub(1) };
        // One that is spared joins those passed to no effect: a round for each would cost the square of all.
        let effect = if is_new { !spared } else { hits > 0 };
        self.barren = if effect { 0 } else { self.barren + 1 };
        self.passed.again.push_back((slot, left));
        self.main_count += 1;
    }
}
