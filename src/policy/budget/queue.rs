//! Those who wait for their turn to spend: by rank, and round robin between the clients of one rank.
//!
//! Every turn is one pull, so deficit round robin needs no deficits: each client in its turn gets one.

use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;

use super::Asker;
use crate::clock::Time;

/// Most that wait at one upstream.
const MOST: usize = 10_000;

/// The queue. The lower a rank, the sooner its turn.
#[derive(Debug)]
pub(super) struct Queue<K> {
    levels: Vec<Level<K>>,
    entries: HashMap<K, Asker>,
    /// Rank by tier.
    ranks: Vec<usize>,
}

/// Those of one rank.
#[derive(Debug)]
struct Level<K> {
    /// Clients with something in the queue, the next one first.
    turns: VecDeque<u64>,
    waiting: HashMap<u64, VecDeque<K>>,
}

impl<K: Clone + Eq + Hash + Debug> Queue<K> {
    /// An empty queue for tiers with these reserves: those with less of one go first.
    pub(super) fn new(reserves: &[f64]) -> Self {
        let mut distinct: Vec<f64> = reserves.to_vec();
        distinct.sort_by(f64::total_cmp);
        distinct.dedup();
        let rank = |reserve: &f64| distinct.iter().position(|other| other == reserve).unwrap_or(0);
        let empty = |_: &f64| Level {
            turns: VecDeque::new(),
            waiting: HashMap::new(),
        };
        Self {
            ranks: reserves.iter().map(rank).collect(),
            levels: distinct.iter().map(empty).collect(),
            entries: HashMap::new(),
        }
    }

    /// How many ranks there are.
    pub(super) fn ranks(&self) -> usize {
        self.levels.len()
    }

    /// Who asked for a waiting key.
    pub(super) fn asker(&self, key: &K) -> Option<Asker> {
        self.entries.get(key).copied()
    }

    /// True if nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many would have their turn before one more of this tier.
    pub(super) fn ahead(&self, tier: usize) -> usize {
        let levels = self.levels.iter().take(self.rank(tier) + 1);
        let waiting = levels.flat_map(|level| level.waiting.values());
        waiting.map(VecDeque::len).sum()
    }

    /// How many wait, by tier.
    pub(super) fn waiting(&self) -> Vec<u64> {
        let mut counts = vec![0; self.ranks.len()];
        for asker in self.entries.values() {
            if let Some(count) = counts.get_mut(asker.tier) {
                *count += 1;
            }
        }
        counts
    }

    /// Puts a key at the end of its client's line. False if the queue is full.
    pub(super) fn push(&mut self, key: &K, asker: Asker) -> bool {
        if self.entries.len() >= MOST {
            return false;
        }
        let rank = self.rank(asker.tier);
        let level = &mut self.levels[rank];
        let line = level.waiting.entry(asker.client).or_default();
        if line.is_empty() {
            level.turns.push_back(asker.client);
        }
        line.push_back(key.clone());
        self.entries.insert(key.clone(), asker);
        true
    }

    /// Takes the better rank and the later deadline of two who want the same.
    pub(super) fn raise(&mut self, key: &K, asker: Asker) {
        let Some(old) = self.entries.get_mut(key) else {
            return;
        };
        old.deadline = old.deadline.max(asker.deadline);
        let better = Asker {
            deadline: old.deadline,
            ..asker
        };
        if self.rank(asker.tier) < self.rank(self.entries[key].tier) {
            self.remove(key);
            self.push(key, better);
        }
    }

    /// Takes a key out.
    pub(super) fn remove(&mut self, key: &K) -> Option<Asker> {
        let asker = self.entries.remove(key)?;
        let rank = self.rank(asker.tier);
        let level = &mut self.levels[rank];
        let line = level.waiting.get_mut(&asker.client)?;
        line.retain(|other| other != key);
        if line.is_empty() {
            level.waiting.remove(&asker.client);
            level.turns.retain(|client| *client != asker.client);
        }
        Some(asker)
    }

    /// Whose turn is next within a rank.
    pub(super) fn head(&self, rank: usize) -> Option<(&K, Asker)> {
        let level = self.levels.get(rank)?;
        let key = level.waiting.get(level.turns.front()?)?.front()?;
        Some((key, *self.entries.get(key)?))
    }

    /// Takes the head of a rank out; the next turn is the next client's.
    pub(super) fn pop(&mut self, rank: usize) -> Option<K> {
        let key = self.head(rank)?.0.clone();
        let level = &mut self.levels[rank];
        if let Some(client) = level.turns.pop_front() {
            level.turns.push_back(client);
        }
        self.remove(&key);
        Some(key)
    }

    /// Those whose deadline has come.
    pub(super) fn late(&self, now: Time) -> Vec<K> {
        let late = self.entries.iter().filter(|(_, asker)| asker.deadline <= now);
        late.map(|(key, _)| key.clone()).collect()
    }

    /// The first deadline.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.entries.values().map(|asker| asker.deadline).min()
    }

    fn rank(&self, tier: usize) -> usize {
        // A tier nobody knows has the lowest.
        let lowest = self.levels.len().saturating_sub(1);
        self.ranks.get(tier).copied().unwrap_or(lowest)
    }
}
