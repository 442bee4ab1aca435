//! Those who wait for their turn to spend: by rank, and round robin between the clients of one rank.
//!
//! Every turn is one pull, so deficit round robin needs no deficits: each client in its turn gets one.
//! What is done for one of them costs at most the logarithm of those who wait; who has how many ahead, which is asked
//! once for each, as much as there are clients.

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
pub(in crate::policy) struct Queue<K> {
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
pub(in crate::policy) struct Entry {
    /// Who asked for it.
    pub(in crate::policy) asker: Asker,
    /// Its repository.
    pub(in crate::policy) repository: String,
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
pub(in crate::policy) struct Ahead {
    /// Of all ranks.
    pub(in crate::policy) all: u64,
    /// Of its own rank.
    pub(in crate::policy) peers: u64,
}

impl<K: Clone + Eq + Hash + Debug> Queue<K> {
    /// An empty queue for tiers with these reserves: those with less of one go first.
    pub(in crate::policy) fn new(reserves: &[f64]) -> Self {
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
    pub(in crate::policy) fn ranks(&self) -> usize {
        self.levels.len()
    }

    /// True if the key waits.
    pub(in crate::policy) fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    /// True if nobody waits.
    pub(in crate::policy) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many would have their turn before one more like this: all of better ranks, and of its own as many as
    /// turns go round before it comes to this client's.
    pub(in crate::policy) fn ahead(&self, asker: &Asker) -> Ahead {
        let rank = self.rank(asker.tier);
        let lines = &self.levels[rank].lines;
        let own = lines.get(&asker.client).map_or(0, |line| line.keys.len());
        let others = lines.iter().filter(|(client, _)| **client != asker.client);
        let others = others.map(|(_, line)| line.keys.len().min(own + 1));
        self.behind_better(rank, own + others.sum::<usize>())
    }

    /// How many wait who might have their turn before one more of this tier, whoever asks.
    pub(in crate::policy) fn line(&self, tier: usize) -> Ahead {
        let rank = self.rank(tier);
        self.behind_better(rank, self.levels[rank].count)
    }

    /// Whose turn is last within a rank, and how many come before.
    pub(in crate::policy) fn last(&self, rank: usize) -> Option<(&K, &Entry, Ahead)> {
        let level = self.levels.get(rank)?;
        // The youngest of the longest line.
        let lines = level.lines.values();
        let longest = lines.max_by_key(|line| (line.keys.len(), line.turn))?;
        let (_, key) = longest.keys.last_key_value()?;
        let ahead = self.behind_better(rank, level.count.saturating_sub(1));
        Some((key, self.entries.get(key)?, ahead))
    }

    fn behind_better(&self, rank: usize, peers: usize) -> Ahead {
        let better = self.levels.iter().take(rank).map(|level| level.count);
        Ahead {
            all: (better.sum::<usize>() + peers) as u64,
            peers: peers as u64,
        }
    }

    /// Everybody, in the order of their turns, and until when each waits.
    pub(in crate::policy) fn in_order(&self) -> Vec<(K, Time)> {
        let mut order = Vec::with_capacity(self.entries.len());
        for level in &self.levels {
            let lines = level.turns.values().filter_map(|client| level.lines.get(client));
            let mut lines: Vec<_> = lines.map(|line| line.keys.values()).collect();
            let mut round: Vec<&K> = lines.iter_mut().filter_map(Iterator::next).collect();
            while !round.is_empty() {
                let known = round.iter().filter_map(|key| self.entries.get_key_value(*key));
                order.extend(known.map(|(key, entry)| (key.clone(), entry.asker.deadline)));
                round = lines.iter_mut().filter_map(Iterator::next).collect();
            }
        }
        order
    }

    /// How many wait, by tier.
    pub(in crate::policy) fn waiting(&self) -> Vec<u64> {
        let mut counts = vec![0; self.ranks.len()];
        for entry in self.entries.values() {
            if let Some(count) = counts.get_mut(entry.asker.tier) {
                *count += 1;
            }
        }
        counts
    }

    /// Puts a key at the end of its client's line. False if the queue, or that line, is full.
    pub(in crate::policy) fn push(&mut self, key: &K, repository: String, asker: Asker) -> bool {
        let rank = self.rank(asker.tier);
        let line = self.levels[rank].lines.get(&asker.client);
        if self.entries.len() >= MOST || line.is_some_and(|line| line.keys.len() >= MOST_OF_ONE) {
            return false;
        }
        self.enter(key, repository, asker);
        true
    }

    /// Lines up everybody anew, by tiers with these reserves; whoever waits keeps the place among equals.
    pub(in crate::policy) fn line_up(&mut self, reserves: &[f64]) {
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
    pub(in crate::policy) fn raise(&mut self, key: &K, asker: Asker) {
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
    pub(in crate::policy) fn remove(&mut self, key: &K) -> Option<Entry> {
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
    pub(in crate::policy) fn head(&self, rank: usize) -> Option<(&K, &Entry)> {
        let level = self.levels.get(rank)?;
        let (_, client) = level.turns.first_key_value()?;
        let (_, key) = level.lines.get(client)?.keys.first_key_value()?;
        Some((key, self.entries.get(key)?))
    }

    /// Takes the head of a rank out; the next turn is the next client's.
    pub(in crate::policy) fn pop(&mut self, rank: usize) -> Option<(K, Entry)> {
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
    pub(in crate::policy) fn pop_late(&mut self, now: Time) -> Option<(K, Entry)> {
        let ((deadline, _), key) = self.deadlines.first_key_value()?;
        if *deadline > now {
            return None;
        }
        let key = key.clone();
        let entry = self.remove(&key)?;
        Some((key, entry))
    }

    /// The first deadline.
    pub(in crate::policy) fn deadline(&self) -> Option<Time> {
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

    /// The rank of a tier.
    pub(in crate::policy) fn rank(&self, tier: usize) -> usize {
        // A tier nobody knows has the lowest.
        let lowest = self.levels.len().saturating_sub(1);
        self.ranks.get(tier).copied().unwrap_or(lowest)
    }
}
