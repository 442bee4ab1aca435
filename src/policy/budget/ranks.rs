//! What tiers must leave to each other: reserves, and the pace of those that have one.

use std::time::Duration;

use super::PREFETCH;
use super::bucket::Bucket;
use super::usage::Usage;
use crate::clock::Time;

/// What a pace leaves over, as part of the limit: headers are best effort.
const MARGIN: f64 = 0.05;
/// What a paced tier may spend at once, as part of the limit.
const BURST: f64 = 0.1;
/// The slowest pace, as part of the limit per window.
const SLOWEST: f64 = 0.01;
/// What prefetching leaves of an untouched allowance, as part of the limit, whatever is wanted.
const KEPT: f64 = 0.5;
/// And of one that is nearly over: where little is wanted, its spread says little.
const FEW: u64 = 5;
/// A reserve of 29 % of 100 is 29, and a spend is whole, whatever floating point makes of them.
const ROUNDING: f64 = 1e-6;

/// The tiers of one upstream's budget.
#[derive(Debug)]
pub(super) struct Ranks {
    /// By tier: the part of every allowance that it may not touch.
    pub(super) reserves: Vec<f64>,
    /// By tier: how far it is ahead of its pace.
    leads: Vec<Lead>,
    /// By tier: what it spends.
    usage: Vec<Usage>,
    /// Since when spends are watched.
    since: Time,
}

/// Spends that the pace has not yet caught up with, at that time in ms.
#[derive(Clone, Copy, Debug, Default)]
struct Lead {
    spends: f64,
    at: u64,
}

impl Lead {
    /// What is left of it, if the pace is one spend in `interval` milliseconds.
    fn now(self, interval: f64, now: Time) -> f64 {
        let caught_up = now.as_millis().saturating_sub(self.at) as f64 / interval;
        (self.spends - caught_up).max(0.0)
    }
}

impl Ranks {
    pub(super) fn new(reserves: Vec<f64>, now: Time) -> Self {
        Self {
            leads: vec![Lead::default(); reserves.len()],
            usage: vec![Usage::default(); reserves.len()],
            reserves,
            since: now,
        }
    }

    /// A tier spends one request from this allowance.
    pub(super) fn spend(&mut self, tier: usize, bucket: &Bucket, now: Time) {
        let interval = self.interval(bucket, tier, now).filter(|_| bucket.is_known());
        if let (Some(interval), Some(lead)) = (interval, self.leads.get_mut(tier)) {
            *lead = Lead {
                spends: lead.now(interval, now) + 1.0,
                at: now.as_millis(),
            };
        }
        if let Some(usage) = self.usage.get_mut(tier) {
            usage.add(1.0, bucket.window(), now);
        }
    }

    /// What a tier must leave: its reserve; and where that is more, what higher tiers and neighbours will
    /// want until something comes back.
    pub(super) fn floor(&self, bucket: &Bucket, tier: usize, now: Time) -> u64 {
        self.leave(bucket, tier, bucket.refill(now).since(now), now)
    }

    /// The same, if something comes back in `refill`.
    fn leave(&self, bucket: &Bucket, tier: usize, refill: Duration, now: Time) -> u64 {
        if tier == PREFETCH {
            return self.unlikely_to_expire(bucket, now);
        }
        let reserve = self.reserve(tier);
        if reserve <= 0.0 {
            return 0;
        }
        // More than the reserve must be left, so what it is beyond a whole number does not matter.
        let reserved = (reserve * bucket.limit() as f64 + ROUNDING).floor();
        let wanted = self.wanted_above(tier, bucket, refill, now);
        // Of an untouched allowance one may always be had, or a small one would never be.
        wanted.min(bucket.limit().saturating_sub(1)).max(reserved as u64)
    }

    /// What the tiers above this one and neighbours will hardly exceed in that time.
    fn wanted_above(&self, tier: usize, bucket: &Bucket, time: Duration, now: Time) -> u64 {
        let windows = time.as_secs_f64() / bucket.window().as_secs_f64();
        let wanted = (self.used_above(tier, bucket, now) + bucket.foreign(now) as f64) * windows;
        // Independent requests come in a number whose spread is its root: three of them are exceeded once in a thousand windows.
        (wanted + 3.0 * wanted.sqrt()).ceil() as u64
    }

    /// What prefetching must leave: all that anybody may still want before it would expire.
    fn unlikely_to_expire(&self, bucket: &Bucket, now: Time) -> u64 {
        if now.since(self.since) < bucket.window() {
            // Nobody knows yet what is used.
            return bucket.limit();
        }
        let left = bucket.renewal(now).since(now);
        let wanted = self.wanted_above(PREFETCH, bucket, left, now) + FEW;
        // What was used of late does not bind anybody, so a part is left whatever it was.
        let windows = (left.as_secs_f64() / bucket.window().as_secs_f64()).min(1.0);
        let kept = (KEPT * bucket.limit() as f64 * windows).ceil() as u64;
        wanted.max(kept)
    }

    /// True if what a tier must leave is left when `behind` have gone, even if nothing comes back for a whole window.
    pub(super) fn leaves(&self, bucket: &Bucket, tier: usize, behind: u64, now: Time) -> bool {
        let leave = self.leave(bucket, tier, bucket.window(), now);
        bucket.estimate(now) >= leave.saturating_add(behind)
    }

    /// When a tier may spend again, if `behind` go in this allowance up to then and nobody else spends. By
    /// then it may have to leave more than now: as much as if nothing came back for a whole window.
    pub(super) fn opens(&self, bucket: &Bucket, tier: usize, behind: u64, now: Time) -> Time {
        let leave = self.leave(bucket, tier, bucket.window(), now);
        bucket.frees(leave.saturating_add(behind), now)
    }

    /// What the tiers above this one spend in a window.
    pub(super) fn used_above(&self, tier: usize, bucket: &Bucket, now: Time) -> f64 {
        let higher = (0..self.usage.len()).filter(|other| self.reserve(*other) < self.reserve(tier));
        higher
            .map(|other| self.usage[other].per_window(bucket.window(), now))
            .sum()
    }

    /// The part of every allowance that a tier may not touch.
    pub(super) fn reserve(&self, tier: usize) -> f64 {
        self.reserves.get(tier).copied().unwrap_or(1.0).clamp(0.0, 1.0)
    }

    /// Until when the tier's pace allows no more after `peers` of it, if not now.
    pub(super) fn paced_until(&self, bucket: &Bucket, tier: usize, peers: u64, now: Time) -> Option<Time> {
        let interval = self.interval(bucket, tier, now)?;
        let burst = (BURST * bucket.limit() as f64).max(1.0);
        let lead = self.leads.get(tier).copied().unwrap_or_default();
        let over = lead.now(interval, now) + peers as f64 + 1.0 - burst;
        (over > ROUNDING).then(|| now + Duration::from_millis((over * interval).ceil().min(1e15) as u64))
    }

    /// Milliseconds between two spends of a paced tier; `None` if it is not paced.
    pub(super) fn interval(&self, bucket: &Bucket, tier: usize, now: Time) -> Option<f64> {
        let reserve = self.reserve(tier);
        if reserve <= 0.0 {
            return None;
        }
        // What is left over by neighbours, and by the higher tiers: their reserve, or what they really use.
        let limit = bucket.limit().max(1) as f64;
        let used = self.used_above(tier, bucket, now);
        let taken = (used / limit).max(reserve) + bucket.foreign(now) as f64 / limit;
        let share = (1.0 - MARGIN - taken).max(SLOWEST);
        Some(1.0 / (bucket.rate() * share).max(1e-12))
    }
}
