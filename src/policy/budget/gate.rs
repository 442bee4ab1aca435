//! Whether a request may go now, with which account; or why not, and until when.

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use super::Because;
use super::bucket::Bucket;
use super::machine::Budget;
use super::queue::Ahead;
use crate::clock::Time;

/// How far ahead a refusal names a time where nothing is known.
const UNKNOWN_WAIT: Duration = Duration::from_secs(30);
/// When to look again while the first responses are awaited.
const BLIND_WAIT: Duration = Duration::from_secs(1);
/// The part of an allowance that is left where nothing is limited: more than any part of a limit.
const UNLIMITED: f64 = 2.0;

/// How a request may go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// Its repository is not limited with this account: it is no part of any allowance.
    Free(usize),
    /// Taken from the allowance of this account.
    Paid(usize),
}

/// Why a request cannot go now.
#[derive(Clone, Copy, Debug)]
pub(super) enum Held {
    /// The figures are too old to spend on.
    Stale(usize),
    /// Until then.
    Until(Because, Time),
}

impl<K: Clone + Eq + Hash + Debug> Budget<K> {
    /// How a request of this tier may go now, if its turn comes after `ahead`: with the account its repository
    /// stays with, else the one with the largest part left. Or why not.
    pub(super) fn way(&self, repository: &str, tier: usize, ahead: Ahead, now: Time) -> Result<Way, Held> {
        if let Some(until) = self.parked(now) {
            return Err(Held::Until(Because::Parked, until));
        }
        if let Some(account) = self.accounts.not_limited(repository, now) {
            return Ok(Way::Free(account));
        }
        let mut best: Option<(f64, usize)> = None;
        let mut nearest: Option<(Because, Time)> = None;
        let sticky = self.accounts.sticky(repository, now);
        for index in self.accounts.spendable(repository, now) {
            match self.share(index, tier, ahead, now) {
                Ok(_) if sticky == Some(index) => return Ok(Way::Paid(index)),
                Ok(share) if best.is_none_or(|(most, _)| share > most) => best = Some((share, index)),
                Ok(_) => {}
                Err(Held::Stale(account)) => return Err(Held::Stale(account)),
                Err(Held::Until(because, until)) => {
                    if nearest.is_none_or(|(_, soonest)| until < soonest) {
                        nearest = Some((because, until));
                    }
                }
            }
        }
        match (best, nearest) {
            (Some((_, index)), _) => Ok(Way::Paid(index)),
            (None, Some((because, until))) => Err(Held::Until(because, until)),
            (None, None) => Err(Held::Until(Because::Parked, now + UNKNOWN_WAIT)),
        }
    }

    /// The part of an account's allowance that is left, if this tier may spend from it.
    fn share(&self, account: usize, tier: usize, ahead: Ahead, now: Time) -> Result<f64, Held> {
        let bucket = self.accounts.bucket(account);
        if bucket.is_stale(now) {
            return Err(Held::Stale(account));
        }
        if !bucket.is_known() {
            let low = self.is_low(tier);
            return blind_share(bucket, account, low, now);
        }
        let (left, floor) = (bucket.estimate(now), self.ranks.floor(bucket, tier, now));
        let paced = self.ranks.paced_until(bucket, tier, ahead.peers, now);
        let behind = ahead.all.saturating_add(1);
        let because = match left {
            left if left >= floor.saturating_add(behind) => match paced {
                None => return Ok(part_left(bucket, now)),
                Some(_) => Because::Paced,
            },
            _ if bucket.may_have_risen(now) => return Err(Held::Stale(account)),
            0 => Because::Exhausted,
            left if left <= floor => Because::Reserved,
            _ => Because::Queued,
        };
        let until = match paced {
            // The pace alone holds it back.
            Some(paced) if self.ranks.leaves(bucket, tier, behind, now) => paced,
            paced => self
                .place_opens(account, tier, ahead, now)
                .max(paced.unwrap_or(now)),
        };
        Err(Held::Until(because, until))
    }

    /// When the place behind `ahead` opens, by the last figures.
    pub(super) fn place_opens(&self, account: usize, tier: usize, ahead: Ahead, now: Time) -> Time {
        let (bucket, behind) = (self.accounts.bucket(account), ahead.all.saturating_add(1));
        match bucket.is_known() {
            true => self.ranks.opens(bucket, tier, behind, now),
            false => now + BLIND_WAIT,
        }
    }
}

/// The part that is left where nothing is known. For those who must leave something to others it is read first;
/// and where that tells nothing, they go one at a time: the answer to one may.
fn blind_share(bucket: &Bucket, account: usize, low: bool, now: Time) -> Result<f64, Held> {
    if let Some(until) = bucket.exhausted(now) {
        return Err(Held::Until(Because::Exhausted, until));
    }
    if low && !bucket.is_silent() {
        return match bucket.may_be_read_blind(now) {
            true => Err(Held::Stale(account)),
            false if bucket.in_flight() == 0 => Ok(1.0),
            false => Err(Held::Until(Because::Queued, now + BLIND_WAIT)),
        };
    }
    match bucket.may_go_blind() {
        true => Ok(part_left(bucket, now)),
        false => Err(Held::Until(Because::Queued, now + BLIND_WAIT)),
    }
}

/// The part of an allowance that is left, by which one of several is chosen: all, while nothing is known of it,
/// and more than that where nothing is limited.
pub(super) fn part_left(bucket: &Bucket, now: Time) -> f64 {
    match bucket.exhausted(now) {
        _ if bucket.is_known() => bucket.estimate(now) as f64 / bucket.limit().max(1) as f64,
        Some(_) => 0.0,
        None if bucket.is_silent() => UNLIMITED,
        None => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Asker, PREFETCH, Rules, Verdict};
    use super::*;

    #[test]
    fn while_nothing_is_known_low_tiers_read_first_and_then_go_one_at_a_time() {
        for low in [1, PREFETCH] {
            let now = Time::from_millis(1_000_000);
            let rules = Rules {
                reserves: vec![0.0, 0.3],
            };
            let mut budget = Budget::<u32>::new(rules, 1, None, now);
            let asker = |tier| Asker {
                tier,
                client: 1,
                deadline: now + Duration::from_secs(20),
            };
            assert!(matches!(budget.ask(&0, "a", asker(low), now), Verdict::Read(0)));
            // The HEAD told nothing.
            budget.learn_nothing(0);
            let Verdict::Go(charge) = budget.ask(&0, "a", asker(low), now) else {
                panic!("the first does not go");
            };
            assert!(!matches!(budget.ask(&1, "a", asker(low), now), Verdict::Go(_)));
            assert!(matches!(budget.ask(&2, "a", asker(0), now), Verdict::Go(_)));
            drop(charge);
        }
    }
}
