//! Metrics that are not counted as they change, brought up to date when somebody asks for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Cache;
use super::status::reserved;
use crate::policy::budget::{BucketStatus, Standing};
use crate::telemetry::metrics::Place;
use crate::telemetry::metrics::space::{self, OnShelf, Shelf};
use crate::telemetry::metrics::spending::{Allowances, State};
use crate::telemetry::metrics::upstreams;
use crate::upstream::Upstream;

/// What stands under one name of an upstream, which may be a pattern.
#[derive(Default)]
struct Sum {
    standing: upstreams::Standing,
    allowances: Allowances,
    /// By tier: what it may not touch, and how many wait.
    tiers: Vec<(u64, u64)>,
}

impl Cache {
    /// Brings the metrics of disk and memory up to date.
    pub fn publish_space(&self) {
        let disk = &self.shelves.disk;
        let (standing, evicted) = (disk.standing(), disk.take_evicted());
        let on_shelf = |index: usize, shelf| OnShelf {
            shelf,
            bytes: standing.shelves[index].bytes,
            objects: standing.shelves[index].objects,
            evicted: evicted[index],
        };
        let shelves = [on_shelf(0, Shelf::Blobs), on_shelf(1, Shelf::Manifests)];
        let (memory, in_memory) = self.shelves.memory.size();
        let room = space::Standing {
            reserved: standing.reserved,
            capacity: standing.capacity,
            free: standing.free,
            rebuilding: standing.rebuilding,
            memory,
            in_memory,
        };
        let metrics = &self.shelves.metrics;
        metrics.space.stands(shelves, room);
        for _ in 0..disk.take_damaged() {
            metrics.integrity_failure(Place::Disk);
        }
        let progress = self.shelves.scrub_progress();
        metrics.scrub.stands(progress, disk.quarantined().objects);
    }

    /// Brings the metrics of upstreams and their budgets up to date.
    pub fn publish_upstreams(&self) {
        let tiers = &self.options.clients.tiers;
        let mut sums: BTreeMap<Arc<str>, Sum> = BTreeMap::new();
        for used in self.upstreams.used() {
            let sum = sums.entry(self.upstreams.label_of(used.entry)).or_default();
            sum.tiers.resize(tiers.len(), (0, 0));
            sum.add(&used.upstream);
        }
        let metrics = &self.shelves.metrics;
        for (name, sum) in &sums {
            metrics.upstreams.stands(name, sum.standing);
            metrics.spending.allow(name, &sum.allowances);
            for (tier, (reserved, waiting)) in tiers.iter().zip(&sum.tiers) {
                metrics.spending.of_tier(name, &tier.name, *reserved, *waiting);
            }
        }
    }
}

impl Sum {
    fn add(&mut self, upstream: &Upstream) {
        self.standing.failing |= upstream.left_alone().is_some();
        self.standing.tokens += upstream.tokens();
        for account in upstream.accounts() {
            match (account.parked, account.failing) {
                (Some(_), _) => self.standing.parked += 1,
                (None, Some(_)) => self.standing.sourceless += 1,
                (None, None) => self.standing.ok += 1,
            }
        }
        let (buckets, waiting) = upstream.budget();
        let reserves = upstream.reserves();
        for bucket in &buckets {
            self.allowances.add(bucket);
            for ((of_tier, _), part) in self.tiers.iter_mut().zip(&reserves) {
                *of_tier += reserved(*part, bucket.limit);
            }
        }
        for ((_, of_tier), count) in self.tiers.iter_mut().zip(waiting) {
            *of_tier += count;
        }
    }
}

impl Allowances {
    fn add(&mut self, bucket: &BucketStatus) {
        self.limit += bucket.limit;
        self.remaining += bucket.remaining;
        self.own += bucket.own;
        self.foreign += bucket.foreign;
        let slots = [self.next_slot, bucket.next_slot.map(|at| at.as_millis())];
        self.next_slot = slots.into_iter().flatten().min();
        let state = match bucket.standing {
            Standing::Unknown => State::Unknown,
            Standing::Unlimited => State::Unlimited,
            Standing::Known => State::Known,
            Standing::Exhausted(_) => State::Exhausted,
            Standing::Parked(_) => State::Parked,
        };
        self.states[state as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Time;

    fn bucket(limit: u64, standing: Standing, next_slot: Option<u64>) -> BucketStatus {
        BucketStatus {
            source: None,
            accounts: vec![0],
            standing,
            limit,
            remaining: limit / 2,
            own: limit / 4,
            foreign: 1,
            window: None,
            next_slot: next_slot.map(Time::from_millis),
        }
    }

    #[test]
    fn the_allowances_of_one_name_are_added_up_and_the_first_slot_counts() {
        let mut sum = Allowances::default();
        sum.add(&bucket(100, Standing::Known, Some(9_000)));
        sum.add(&bucket(0, Standing::Unlimited, None));
        sum.add(&bucket(200, Standing::Known, Some(5_000)));
        let mut states = [0; State::ALL.len()];
        states[State::Known as usize] = 2;
        states[State::Unlimited as usize] = 1;
        let expected = Allowances {
            limit: 300,
            remaining: 150,
            own: 75,
            foreign: 3,
            next_slot: Some(5_000),
            states,
        };
        assert_eq!(sum, expected);
    }
}
