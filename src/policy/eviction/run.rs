//! One choice of what goes. It only looks: what it chose and moved is carried out afterwards, or, for a
//! preview, not at all.

use std::collections::{HashSet, VecDeque};

use super::SMALL_QUEUE;
use super::entries::{Entries, Entry, NONE, Slot};
use super::index::Share;
use super::shares::{Kind, PerKind};

/// A run that passed so many of main queues takes the next, hits or none: where everything is used, it would
/// go round a million entries, some 50 ms, while nobody gets an answer.
const MOST_PASSED: usize = 10_000;

/// What is to be carried out.
#[derive(Debug)]
pub(super) struct Chosen {
    /// What goes, in order.
    pub(super) victims: Vec<Slot>,
    /// By kind, what joins the end of the main queue, in order, and the hits it has left. May name victims.
    pub(super) again: [VecDeque<(Slot, u8)>; 3],
}

/// A walk through the queues of all shares.
#[derive(Debug)]
pub(super) struct Run<'a> {
    entries: &'a Entries,
    /// Its number: what is marked with it was used since the last run.
    number: u32,
    walks: PerKind<Walk>,
    victims: Vec<Slot>,
    won: u64,
    /// Those of main queues that it passed.
    passed: usize,
    /// Those chosen out of turn, which the walk still has ahead.
    out_of_turn: HashSet<Slot>,
    limits: Limits,
}

/// When enough is chosen.
#[derive(Debug)]
struct Limits {
    bytes: u64,
    count: usize,
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
    /// What was passed and stays: the end of the main queue.
    again: VecDeque<(Slot, u8)>,
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
        number: u32,
        over: PerKind<i128>,
        fill: Option<(Kind, u64)>,
    ) -> Self {
        let walks = Kind::ALL.map(|kind| Walk {
            small: shares[kind].small.first(),
            small_bytes: shares[kind].small.bytes,
            main: shares[kind].main.first(),
            main_bytes: shares[kind].main.bytes,
            main_count: shares[kind].main.count,
            incoming: fill.map_or(0, |(of, bytes)| if of == kind { bytes } else { 0 }),
            over: over[kind],
            ..Walk::default()
        });
        Self {
            entries,
            number,
            walks: PerKind(walks),
            victims: Vec::new(),
            won: 0,
            passed: 0,
            out_of_turn: HashSet::new(),
            limits: Limits {
                bytes: 0,
                count: usize::MAX,
                guarantee: true,
            },
        }
    }

    /// Chooses until so many bytes are won, or nothing is left that may go.
    pub(super) fn choose(mut self, bytes: u64) -> Chosen {
        self.limits.bytes = bytes;
        self.go();
        let again = self.walks.0.map(|walk| walk.again);
        Chosen {
            victims: self.victims,
            again,
        }
    }

    /// What would be chosen if ever more room were needed: what may be chosen now, then the rest as though
    /// nobody had a share.
    pub(super) fn preview(mut self, count: usize) -> Vec<Slot> {
        self.limits = Limits {
            bytes: u64::MAX,
            count,
            guarantee: true,
        };
        if self.walks.0.iter().any(|walk| walk.over > 0) {
            self.go();
        }
        self.limits.guarantee = false;
        self.go();
        self.victims
    }

    fn go(&mut self) {
        self.in_turn(true);
        if !self.enough() {
            self.unused_blobs();
            self.in_turn(false);
        }
    }

    fn enough(&self) -> bool {
        self.won >= self.limits.bytes || self.victims.len() >= self.limits.count
    }

    /// Takes from the kind that is furthest above its share, until none is.
    fn in_turn(&mut self, spare_marked: bool) {
        for walk in &mut self.walks.0 {
            (walk.spent, walk.barren) = (false, 0);
        }
        while !self.enough() {
            let guarantee = self.limits.guarantee;
            let able = Kind::ALL.into_iter().filter(|kind| {
                let walk = &self.walks[*kind];
                !walk.spent && (walk.over > 0 || !guarantee)
            });
            let Some(kind) = able.max_by_key(|kind| self.walks[*kind].over) else {
                break;
            };
            match self.next(kind, spare_marked) {
                Some(slot) => self.take(kind, slot),
                None => self.walks[kind].spent = true,
            }
        }
    }

    /// Only what was used since the last run is left above the shares. Blobs that never were go before it,
    /// those within their share too: evicting a layer in use would have it fetched again at once.
    fn unused_blobs(&mut self) {
        for kind in [Kind::Large, Kind::Small] {
            let walk = &self.walks[kind];
            let mut ahead = Vec::new();
            for first in [walk.small, walk.main] {
                let mut slot = first;
                while slot != NONE {
                    ahead.push(slot);
                    slot = self.entries.at(slot).after;
                }
            }
            ahead.extend(walk.again.iter().map(|(slot, _)| *slot));
            for slot in ahead {
                if self.enough() {
                    return;
                }
                let entry = self.entries.at(slot);
                if entry.facts.used.is_none() && !entry.busy() && self.out_of_turn.insert(slot) {
                    self.take(kind, slot);
                }
            }
        }
    }

    fn take(&mut self, kind: Kind, slot: Slot) {
        let bytes = self.entries.at(slot).on_disk();
        self.walks[kind].over -= i128::from(bytes);
        self.won += bytes;
        self.victims.push(slot);
    }

    /// The next of a kind that goes, by S3-FIFO.
    fn next(&mut self, kind: Kind, spare_marked: bool) -> Option<Slot> {
        loop {
            let walk = &mut self.walks[kind];
            let main_is_barren = walk.barren >= walk.main_count;
            if walk.small != NONE && (main_is_barren || walk.small_is_full()) {
                let slot = walk.small;
                let entry = self.entries.at(slot);
                walk.pass_small(entry);
                if self.out_of_turn.contains(&slot) {
                    continue;
                }
                if !entry.busy() && entry.hits == 0 {
                    return Some(slot);
                }
                walk.promote(
                    slot,
                    entry,
                    entry.busy() || spare_marked && entry.marked == self.number,
                );
            } else if main_is_barren {
                return None;
            } else {
                let (slot, hits) = walk.pass_main(self.entries)?;
                if self.out_of_turn.contains(&slot) {
                    continue;
                }
                let entry = self.entries.at(slot);
                let spared = entry.busy() || spare_marked && entry.marked == self.number;
                if !spared && (hits == 0 || self.passed >= MOST_PASSED) {
                    return Some(slot);
                }
                self.passed += 1;
                walk.keep(slot, hits, entry);
            }
        }
    }
}

impl Walk {
    /// Whether what is new takes more than its part of the share.
    fn small_is_full(&self) -> bool {
        let all = self.small_bytes + self.main_bytes + self.incoming;
        (self.small_bytes + self.incoming) as f64 > all as f64 * SMALL_QUEUE
    }

    fn pass_small(&mut self, entry: &Entry) {
        self.small = entry.after;
        self.small_bytes -= entry.on_disk();
    }

    /// From the small queue to the main one, where it has yet to earn a round: the uses so far brought it here.
    /// One that is spared joins those passed to no effect: a round for each would cost the square of all.
    fn promote(&mut self, slot: Slot, entry: &Entry, spared: bool) {
        self.again.push_back((slot, 0));
        self.main_bytes += entry.on_disk();
        self.main_count += 1;
        self.barren = if spared { self.barren + 1 } else { 0 };
    }

    /// The next of the main queue leaves it.
    fn pass_main(&mut self, entries: &Entries) -> Option<(Slot, u8)> {
        let (slot, hits) = match self.main {
            NONE => self.again.pop_front()?,
            slot => (slot, entries.at(slot).hits),
        };
        if slot == self.main {
            self.main = entries.at(slot).after;
        }
        self.main_bytes -= entries.at(slot).on_disk();
        self.main_count -= 1;
        Some((slot, hits))
    }

    /// What left the main queue joins it again, for one hit less.
    fn keep(&mut self, slot: Slot, hits: u8, entry: &Entry) {
        let cost = u8::from(hits > 0 && !entry.busy());
        self.barren = if cost > 0 { 0 } else { self.barren + 1 };
        self.again.push_back((slot, hits - cost));
        self.main_bytes += entry.on_disk();
        self.main_count += 1;
    }
}
