//! What tiers must leave to each other: reserves, and the pace of those that have one.

use super::bucket::Bucket;
use super::usage::Usage;
use crate::clock::Time;

/// What a pace leaves over, as part of the limit: headers are best effort.
const MARGIN: f64 = 0.05;
/// What a paced tier may spend at once, as part of the limit.
const BURST: f64 = 0.1;
/// The slowest pace, as part of the limit per window.
const SLOWEST: f64 = 0.01;
/// The tiers of one upstream's budget.
#[derive(Debug)]
pub(super) struct Ranks {
    /// By tier: the part of every allowance that it may not touch.
    pub(super) reserves: Vec<f64>,
    /// By tier: when its next spend is due, in ms, ahead of which it may run by a burst.
    paces: Vec<f64>,
    /// By tier: what it spends.
    usage: Vec<Usage>,
}

impl Ranks {
    pub(super) fn new(reserves: Vec<f64>) -> Self {
        Self {
            paces: vec![0.0; reserves.len()],
            usage: vec![Usage::default(); reserves.len()],
            reserves,
        }
    }

    /// A tier spends one request from this allowance.
    pub(super) fn spend(&mut self, tier: usize, bucket: &Bucket, now: Time) {
        let interval = self.interval(bucket, tier, now).filter(|_| bucket.is_known());
        if let (Some(interval), Some(pace)) = (interval, self.paces.get_mut(tier)) {
            *pace = pace.max(now.as_millis() as f64) + interval;
        }
        if let Some(usage) = self.usage.get_mut(tier) {
            usage.add(1.0, bucket.window(), now);
        }
    }

    /// What a tier must leave: its reserve; and where that is more, what higher tiers and neighbours will
    /// want until something comes back.
    pub(super) fn floor(&self, bucket: &Bucket, tier: usize, now: Time) -> u64 {
        let reserved = (self.reserve(tier) * bucket.limit() as f64).ceil();
        if reserved <= 0.0 {
            return 0;
        }
        let until = bucket.refill(now).since(now);
        let windows = until.as_secs_f64() / bucket.window().as_secs_f64();
        let wanted = (self.used_above(tier, bucket, now) + bucket.foreign(now) as f64) * windows;
        // Independent requests come in a number whose spread is its root: two of them are rarely exceeded.
        (wanted + 2.0 * wanted.sqrt()).ceil().max(reserved) as u64
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

    /// Until when the tier's pace allows nothing, if so.
    pub(super) fn paced_until(&self, bucket: &Bucket, tier: usize, now: Time) -> Option<Time> {
        let interval = self.interval(bucket, tier, now)?;
        let burst = (BURST * bucket.limit() as f64).max(1.0) * interval;
        let until = self.paces.get(tier).copied().unwrap_or(0.0) - burst + interval;
        (until > now.as_millis() as f64).then(|| Time::from_millis(until.ceil() as u64))
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
