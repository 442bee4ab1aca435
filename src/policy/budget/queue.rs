//! Those who wait for their turn to spend: by rank, and round robin between the clients of one rank.
//!
//! Every turn is one pull, so deficit round robin needs no deficits: each client in its turn gets one.
//! Everything but a count for people costs at most the logarithm of those who wait.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::hash::Hash;

use super::Asker;
use crate::clock::Time;

/// Most that wait at one upstream.
const MOST: usize = 10_000;
/// Most that wait for one client in one rank: nobody fills the queue alone.
const MOST_OF_ONE: usize = 2_000;

/// The queue. The lower a rank, the sooner its turn.
#[derive(Debug)]
pub(super) struct Queue<K> {
    levels: Vec<Level<K>>,
    entries: HashMap<K, Entry>,
    deadlines: BTreeMap<(Time, u64), K>,
    /// Rank by tier.
    ranks: Vec<usize>,
    /// Numbers places and turns, in the order they were given.
    next: u64,
}

/// One that waits.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Who asked for it.
    pub(super) asker: Asker,
    /// Its repository.
    pub(super) repository: String,
    place: u64,
}

/// Those of one rank.
#[derive(Debug)]
struct Level<K> {
    /// Clients with something in the queue, by turn.
    turns: BTreeMap<u64, u64>,
    lines: HashMap<u64, Line<K>>,
    count: usize,
}

/// Those of one client.
#[derive(Debug)]
struct Line<K> {
    turn: u64,
    keys: BTreeMap<u64, K>,
}

/// How many would have their turn before one more.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ahead {
    /// Of all ranks.
    pub(super) all: u64,
    /// Of its own rank.
    pub(super) peers: u64,
}

impl<K: Clone + Eq + Hash + Debug> Queue<K> {
    /// An empty queue for tiers with these reserves: those with less of one go first.
    pub(super) fn new(reserves: &[f64]) -> Self {
        let mut distinct: Vec<f64> = reserves.to_vec();
        distinct.sort_by(f64::total_cmp);
        distinct.dedup();
        if distinct.is_empty() {
            distinct.push(0.0);
        }
        let rank = |reserve: &f64| distinct.iter().position(|other| other == reserve).unwrap_or(0);
        let empty = |_: &f64| Level {
            turns: BTreeMap::new(),
            lines: HashMap::new(),
            count: 0,
        };
        Self {
            ranks: reserves.iter().map(rank).collect(),
            levels: distinct.iter().map(empty).collect(),
            entries: HashMap::new(),
            deadlines: BTreeMap::new(),
            next: 0,
        }
    }

    /// How many ranks there are.
    pub(super) fn ranks(&self) -> usize {
        self.levels.len()
    }

    /// True if the key waits.
    pub(super) fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    /// True if nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many would have their turn before one more of this tier.
    pub(super) fn ahead(&self, tier: usize) -> Ahead {
        let rank = self.rank(tier);
        let better = self.levels.iter().take(rank + 1);
        Ahead {
            all: better.map(|level| level.count as u64).sum(),
            peers: self.levels.get(rank).map_or(0, |level| level.count as u64),
        }
    }

    /// How many wait, by tier.
    pub(super) fn waiting(&self) -> Vec<u64> {
        let mut counts = vec![0; self.ranks.len()];
        for entry in self.entries.values() {
            if let Some(count) = counts.get_mut(entry.asker.tier) {
                *count += 1;
            }
        }
        counts
    }

    /// Puts a key at the end of its client's line. False if the queue, or that line, is full.
    pub(super) fn push(&mut self, key: &K, repository: String, asker: Asker) -> bool {
        let rank = self.rank(asker.tier);
        let line = self.levels[rank].lines.get(&asker.client);
        if self.entries.len() >= MOST || line.is_some_and(|line| line.keys.len() >= MOST_OF_ONE) {
            return false;
        }
        self.enter(key, repository, asker);
        true
    }

    /// Lines up everybody anew, by tiers with these reserves; whoever waits keeps the place among equals.
    pub(super) fn line_up(&mut self, reserves: &[f64]) {
        let mut waiting: Vec<(K, Entry)> = self.entries.drain().collect();
        waiting.sort_by_key(|(_, entry)| entry.place);
        *self = Self {
            next: self.next,
            ..Self::new(reserves)
        };
        for (key, entry) in waiting {
            self.enter(&key, entry.repository, entry.asker);
        }
    }

    fn enter(&mut self, key: &K, repository: String, asker: Asker) {
        let (place, rank) = (self.number(), self.rank(asker.tier));
        let level = &mut self.levels[rank];
        let line = level.lines.entry(asker.client).or_insert_with(|| {
            level.turns.insert(place, asker.client);
            Line {
                turn: place,
                keys: BTreeMap::new(),
            }
        });
        line.keys.insert(place, key.clone());
        level.count += 1;
        self.deadlines.insert((asker.deadline, place), key.clone());
        let entry = Entry {
            asker,
            repository,
            place,
        };
        self.entries.insert(key.clone(), entry);
    }

    /// Takes the better rank and the later deadline of two who want the same.
    pub(super) fn raise(&mut self, key: &K, asker: Asker) {
        let Some(old) = self.entries.get(key).cloned() else {
            return;
        };
        let deadline = old.asker.deadline.max(asker.deadline);
        if self.rank(asker.tier) < self.rank(old.asker.tier) {
            let (better, kept) = (
                Asker { deadline, ..asker },
                Asker {
                    deadline,
                    ..old.asker
                },
            );
            self.remove(key);
            // If the better line is full, it keeps the one it had, at the end.
            if !self.push(key, old.repository.clone(), better) {
                self.push(key, old.repository, kept);
            }
            return;
        }
        self.postpone(key, deadline);
    }

    /// Takes a key out.
    pub(super) fn remove(&mut self, key: &K) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.deadlines.remove(&(entry.asker.deadline, entry.place));
        let rank = self.rank(entry.asker.tier);
        let level = &mut self.levels[rank];
        level.count -= 1;
        if let Some(line) = level.lines.get_mut(&entry.asker.client) {
            line.keys.remove(&entry.place);
            if line.keys.is_empty() {
                level.turns.remove(&line.turn);
                level.lines.remove(&entry.asker.client);
            }
        }
        Some(entry)
    }

    /// Whose turn is next within a rank.
    pub(super) fn head(&self, rank: usize) -> Option<(&K, &Entry)> {
        let level = self.levels.get(rank)?;
        let (_, client) = level.turns.first_key_value()?;
        let (_, key) = level.lines.get(client)?.keys.first_key_value()?;
        Some((key, self.entries.get(key)?))
    }

    /// Takes the head of a rank out; the next turn is the next client's.
    pub(super) fn pop(&mut self, rank: usize) -> Option<(K, Entry)> {
        let key = self.head(rank)?.0.clone();
        let turn = self.number();
        let level = &mut self.levels[rank];
        let (_, client) = level.turns.pop_first()?;
        level.turns.insert(turn, client);
        level.lines.get_mut(&client)?.turn = turn;
        let entry = self.remove(&key)?;
        Some((key, entry))
    }

    /// Takes out one whose deadline has come.
    pub(super) fn pop_late(&mut self, now: Time) -> Option<(K, Entry)> {
        let ((deadline, _), key) = self.deadlines.first_key_value()?;
        if *deadline > now {
            return None;
        }
        let key = key.clone();
        let entry = self.remove(&key)?;
        Some((key, entry))
    }

    /// The first deadline.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.deadlines
            .first_key_value()
            .map(|((deadline, _), _)| *deadline)
    }

    fn postpone(&mut self, key: &K, deadline: Time) {
        if let Some(entry) = self.entries.get_mut(key) {
            self.deadlines.remove(&(entry.asker.deadline, entry.place));
            entry.asker.deadline = deadline;
            self.deadlines.insert((deadline, entry.place), key.clone());
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn rank(&self, tier: usize) -> usize {
        // A tier nobody knows has the lowest.
        let lowest = self.levels.len().saturating_sub(1);
        self.ranks.get(tier).copied().unwrap_or(lowest)
    }
}
