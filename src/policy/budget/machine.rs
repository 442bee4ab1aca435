//! The machine: accounts, their allowances, the pace of tiers, and the queue, for one upstream.

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::accounts::Accounts;
use super::bucket::Bucket;
use super::queue::Queue;
use super::ranks::Ranks;
use super::{Asker, Because, BucketStatus, Charge, Limit, Observed, Rules, Standing, Verdict, Withheld};
use crate::clock::Time;

/// How long an upstream that called it abuse is left alone first, and at most.
const ABUSE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15 * 60));
/// The same where no response names figures.
const RATE: Duration = Duration::from_secs(2);
/// How long an account that the upstream locked is left alone.
const LOCKED: Duration = Duration::from_secs(15 * 60);
/// How far ahead a refusal names a time where nothing is known.
const UNKNOWN_WAIT: Duration = Duration::from_secs(30);

/// The budget of one upstream. `K` names what many may wait for together.
#[derive(Debug)]
pub struct Budget<K> {
    accounts: Accounts,
    ranks: Ranks,
    parked: Option<Time>,
    strikes: u32,
    queue: Queue<K>,
}

/// What survives a restart.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    pub(super) buckets: Vec<Bucket>,
    /// The allowance of each account.
    pub(super) accounts: Vec<u64>,
    parked: Option<u64>,
}

/// Why a request cannot go now.
#[derive(Clone, Copy, Debug)]
enum Held {
    /// The figures are too old to spend on.
    Stale(usize),
    /// Until then.
    Until(Because, Time),
}

impl<K: Clone + Eq + Hash + Debug> Budget<K> {
    /// The budget of an upstream with this many accounts (at least one: nobody's), as it stood when `ledger`
    /// was written.
    pub fn new(rules: Rules, accounts: usize, ledger: Option<Ledger>, now: Time) -> Self {
        let ledger = ledger.unwrap_or_default();
        let parked = ledger.parked.map(Time::from_millis);
        Self {
            queue: Queue::new(&rules.reserves),
            ranks: Ranks::new(rules.reserves),
            parked: parked.filter(|until| *until <= now + ABUSE.1),
            accounts: Accounts::new(accounts, ledger, now),
            strikes: 0,
        }
    }

    /// A response to a request for a manifest of `repository` told this.
    pub fn learn(&mut self, repository: &str, observed: &Observed, now: Time) {
        self.strikes = 0;
        self.accounts.learn(repository, observed, now);
    }

    /// The account to send a free request with.
    pub fn account(&self, repository: &str, now: Time) -> usize {
        self.accounts.account(repository, now)
    }

    /// Until when an account is not used.
    pub fn parked_account(&self, account: usize, now: Time) -> Option<Time> {
        self.accounts.parked_account(account, now)
    }

    /// May this be fetched? Asking again for a key that waits joins those who wait.
    pub fn ask(&mut self, key: &K, repository: &str, asker: Asker, now: Time) -> Verdict {
        if self.queue.asker(key).is_some() {
            self.queue.raise(key, asker);
            return Verdict::Wait;
        }
        if self.parked(now).is_none()
            && let Some(account) = self.accounts.not_limited(repository, now)
        {
            // Its repository is not limited: it is no part of any allowance.
            return Verdict::Go(Charge {
                account,
                bucket: u64::MAX,
                at: now,
            });
        }
        let ahead = self.queue.ahead(asker.tier);
        let held = match self.may_spend(repository, asker.tier, now) {
            Ok(account) if ahead == 0 => {
                self.accounts.stick(repository, account, now);
                return Verdict::Go(self.charge(account, asker.tier, now));
            }
            Ok(_) => Held::Until(Because::Queued, now),
            Err(held) => held,
        };
        let (because, until) = match held {
            Held::Stale(account) => {
                self.accounts.bucket_of(account).asked_for_reading(now);
                return Verdict::Read(account);
            }
            Held::Until(because, until) => (because, until),
        };
        let start = until
            + self
                .spacing(asker.tier, now)
                .saturating_mul(u32::try_from(ahead).unwrap_or(u32::MAX));
        if start > asker.deadline || !self.queue.push(key, asker) {
            return Verdict::Refuse(self.withheld(because, start.max(now + Duration::from_millis(1)), now));
        }
        Verdict::Wait
    }

    /// Somebody else wants what waits: the better tier and the later deadline hold.
    pub fn raise(&mut self, key: &K, asker: Asker) {
        self.queue.raise(key, asker);
    }

    /// Nobody wants this any more.
    pub fn withdraw(&mut self, key: &K) {
        self.queue.remove(key);
    }

    /// Whose turn it is.
    pub fn turn(&mut self, now: Time) -> Vec<(K, Verdict)> {
        let mut told = Vec::new();
        for key in self.queue.late(now) {
            let asker = self.queue.remove(&key);
            let held = asker.and_then(|asker| self.may_spend("", asker.tier, now).err());
            let (because, until) = match held {
                Some(Held::Until(because, until)) => (because, until),
                Some(Held::Stale(_)) | None => (Because::Queued, now + UNKNOWN_WAIT),
            };
            told.push((key, Verdict::Refuse(self.withheld(because, until, now))));
        }
        for rank in 0..self.queue.ranks() {
            while let Some((_, asker)) = self.queue.head(rank) {
                let verdict = match self.may_spend("", asker.tier, now) {
                    Ok(account) => Verdict::Go(self.charge(account, asker.tier, now)),
                    Err(Held::Stale(account)) => {
                        self.accounts.bucket_of(account).asked_for_reading(now);
                        Verdict::Read(account)
                    }
                    Err(Held::Until(because, until)) if until > asker.deadline => {
                        Verdict::Refuse(self.withheld(because, until, now))
                    }
                    // Lower ranks may touch no more than this one.
                    Err(Held::Until(..)) => return told,
                };
                let Some(key) = self.queue.pop(rank) else { break };
                told.push((key, verdict));
            }
        }
        told
    }

    /// When [`Self::turn`] or [`Self::due_reading`] next has something to say by the passing of time alone.
    pub fn wake(&self, now: Time) -> Option<Time> {
        let mut wake = self.queue.deadline()?;
        for rank in 0..self.queue.ranks() {
            let Some((_, asker)) = self.queue.head(rank) else {
                continue;
            };
            match self.may_spend("", asker.tier, now) {
                Ok(_) | Err(Held::Stale(_)) => return Some(now),
                Err(Held::Until(_, until)) => wake = wake.min(until),
            }
        }
        let buckets = self.accounts.buckets().map(|(bucket, _)| bucket);
        let reading = buckets
            .filter(|bucket| bucket.is_known())
            .map(Bucket::reading_due)
            .min();
        Some(reading.map_or(wake, |reading| wake.min(reading)).max(now))
    }

    /// The account to read the budget with, if somebody waits and a reading is due. True for one who asks;
    /// the others wait for what it tells.
    pub fn due_reading(&mut self, now: Time) -> Option<usize> {
        if self.queue.is_empty() || self.parked(now).is_some() {
            return None;
        }
        let due = |bucket: &Bucket| bucket.is_known() && bucket.reading_due() <= now;
        let account = (0..self.accounts.count()).find(|index| due(self.accounts.bucket(*index)))?;
        self.accounts.bucket_of(account).asked_for_reading(now);
        Some(account)
    }

    /// A charged request is over. One that was never sent costs nothing.
    pub fn settle(&mut self, charge: &Charge, sent: bool) {
        if let Some(bucket) = self.accounts.with_id(charge.bucket) {
            bucket.settle(charge.at, sent);
        }
    }

    /// The upstream refused a request of `account`.
    pub fn refused(&mut self, account: usize, limit: Limit, now: Time) {
        let account = account.min(self.accounts.count() - 1);
        match limit {
            Limit::Pull => self.accounts.bucket_of(account).empty(now),
            Limit::Login => self.accounts.park(account, now + LOCKED),
            Limit::Abuse { retry_after } => {
                // Those who count requests by the second take figures for granted nowhere: seconds do there.
                let known = self.accounts.buckets().any(|(bucket, _)| bucket.is_known());
                let first = if known { ABUSE.0 } else { RATE };
                let doubled = first.saturating_mul(1 << self.strikes.min(10));
                let pause = retry_after.unwrap_or(doubled).min(ABUSE.1);
                self.strikes = self.strikes.saturating_add(1);
                self.parked = Some(now + pause);
            }
        }
    }

    /// How every allowance stands.
    pub fn status(&self, now: Time) -> Vec<BucketStatus> {
        let each = self.accounts.buckets();
        each.map(|(bucket, accounts)| self.status_of(bucket, accounts, now))
            .collect()
    }

    /// By tier: the part of every allowance that it may not touch.
    pub fn reserves(&self) -> &[f64] {
        &self.ranks.reserves
    }

    /// How many wait, by tier.
    pub fn waiting(&self) -> Vec<u64> {
        self.queue.waiting()
    }

    /// What must survive a restart.
    pub fn ledger(&self) -> Ledger {
        let (buckets, accounts) = self.accounts.written();
        Ledger {
            buckets,
            accounts,
            parked: self.parked.map(Time::as_millis),
        }
    }

    fn status_of(&self, bucket: &Bucket, accounts: Vec<usize>, now: Time) -> BucketStatus {
        let figures = bucket.figures(now);
        let empty_until = || {
            bucket
                .exhausted(now)
                .or_else(|| bucket.next_slot(now))
                .unwrap_or(bucket.reading_due())
        };
        let standing = match (self.parked(now), &figures) {
            (Some(until), _) => Standing::Parked(until),
            (None, None) if bucket.is_silent() => Standing::Unlimited,
            (None, None) => Standing::Unknown,
            (None, Some(figures)) if figures.remaining == 0 => Standing::Exhausted(empty_until()),
            (None, Some(_)) => Standing::Known,
        };
        BucketStatus {
            source: bucket.source.clone(),
            accounts,
            standing,
            limit: bucket.limit(),
            remaining: figures.map_or(0, |figures| figures.remaining),
            own: bucket.own(now),
            foreign: bucket.foreign(now),
            window: bucket.named_window(),
            next_slot: bucket.next_slot(now),
        }
    }

    /// The account that a request of this tier may spend with now: the one its repository stays with, else
    /// the one with most left. Or why there is none.
    fn may_spend(&self, repository: &str, tier: usize, now: Time) -> Result<usize, Held> {
        if let Some(until) = self.parked(now) {
            return Err(Held::Until(Because::Parked, until));
        }
        let mut best: Option<(f64, usize)> = None;
        let mut nearest: Option<(Because, Time)> = None;
        let sticky = self.accounts.sticky(repository, now);
        for index in 0..self.accounts.count() {
            match self.may_spend_of(index, tier, now) {
                Ok(_) if sticky == Some(index) => return Ok(index),
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
            (Some((_, index)), _) => Ok(index),
            (None, Some((because, until))) => Err(Held::Until(because, until)),
            (None, None) => Err(Held::Until(Because::Parked, now + UNKNOWN_WAIT)),
        }
    }

    /// The part of the allowance that is left, if this tier may spend from it.
    fn may_spend_of(&self, account: usize, tier: usize, now: Time) -> Result<f64, Held> {
        if let Some(until) = self.accounts.parked_account(account, now) {
            return Err(Held::Until(Because::Parked, until));
        }
        let bucket = self.accounts.bucket(account);
        if !bucket.is_known() {
            let blind = Held::Until(Because::Queued, now + UNKNOWN_WAIT.min(Duration::from_secs(1)));
            return if bucket.may_go_blind() {
                Ok(1.0)
            } else {
                Err(blind)
            };
        }
        if bucket.is_stale(now) {
            return Err(Held::Stale(account));
        }
        let (left, floor) = (bucket.estimate(now), self.ranks.floor(bucket, tier, now));
        if left <= floor {
            let because = if left == 0 {
                Because::Exhausted
            } else {
                Because::Reserved
            };
            return Err(Held::Until(because, bucket.frees(floor - left + 1, now)));
        }
        match self.ranks.paced_until(bucket, tier, now) {
            Some(until) => Err(Held::Until(Because::Paced, until)),
            None => Ok(left as f64 / bucket.limit().max(1) as f64),
        }
    }

    fn spacing(&self, tier: usize, now: Time) -> Duration {
        let bucket = self.accounts.bucket(0);
        let interval = self
            .ranks
            .interval(bucket, tier, now)
            .filter(|_| bucket.is_known());
        interval.map_or(Duration::ZERO, |millis| {
            Duration::from_millis(millis.min(1e12) as u64)
        })
    }

    fn charge(&mut self, account: usize, tier: usize, now: Time) -> Charge {
        self.ranks.spend(tier, self.accounts.bucket(account), now);
        let bucket = self.accounts.bucket_of(account);
        bucket.charge(now);
        Charge {
            account,
            bucket: bucket.id,
            at: now,
        }
    }

    fn withheld(&self, because: Because, until: Time, now: Time) -> Withheld {
        let figures = self
            .accounts
            .buckets()
            .filter_map(|(bucket, _)| bucket.figures(now));
        let reading = figures.max_by_key(|reading| reading.remaining);
        Withheld {
            because,
            until,
            reading,
        }
    }

    /// Until when the upstream is left alone, because it called us abusive.
    pub fn parked(&self, now: Time) -> Option<Time> {
        self.parked.filter(|until| *until > now)
    }
}
