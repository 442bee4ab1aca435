//! The machine: accounts, their allowances, the pace of tiers, and the queue, for one upstream.

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::accounts::Accounts;
use super::bucket::Bucket;
use super::gate::{Held, Way};
use super::queue::{Ahead, Queue};
use super::ranks::Ranks;
use super::{Asker, Because, BucketStatus, Charge, Limit, Observed, Rules, Standing, Verdict, Withheld};
use crate::clock::Time;
use crate::policy::identity::Prefix;
use crate::policy::{backoff, login};

/// How long an upstream that called it abuse is left alone first, and at most.
const ABUSE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15 * 60));
/// The same where no response names figures.
const RATE: Duration = Duration::from_secs(2);
/// When those who can be served now have been.
const NEXT_TURN: Duration = Duration::from_secs(1);

/// The budget of one upstream. `K` names what many may wait for together.
#[derive(Debug)]
pub struct Budget<K> {
    pub(super) accounts: Accounts,
    pub(super) ranks: Ranks,
    parked: Option<Time>,
    strikes: u32,
    pub(super) queue: Queue<K>,
    /// Those who lost their place to others, and what they have to be told.
    pub(super) displaced: Vec<(K, Withheld)>,
}

/// What survives a restart.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    pub(super) buckets: Vec<Bucket>,
    /// The allowance of each account.
    pub(super) accounts: Vec<u64>,
    parked: Option<u64>,
    /// The records of refused credentials. Whoever logs in keeps them.
    #[serde(default)]
    pub logins: login::Written,
}

impl<K: Clone + Eq + Hash + Debug> Budget<K> {
    /// The budget of an upstream with this many accounts (at least one: nobody's), as it stood when `ledger`
    /// was written.
    pub fn new(rules: Rules, accounts: usize, ledger: Option<Ledger>, now: Time) -> Self {
        let ledger = ledger.unwrap_or_default();
        let parked = ledger.parked.map(Time::from_millis);
        Self {
            queue: Queue::new(&rules.reserves),
            ranks: Ranks::new(rules.reserves, now),
            parked: parked.filter(|until| *until <= now + ABUSE.1),
            accounts: Accounts::new(accounts, ledger, now),
            strikes: 0,
            displaced: Vec::new(),
        }
    }

    /// The same, with accounts that are for these repositories only, in their order. One at least must be for all.
    #[must_use]
    pub fn limited_to(mut self, prefixes: &[Prefix]) -> Self {
        self.accounts.limit_to(prefixes);
        self
    }

    /// The accounts that a repository is asked for with: those whose path names the most of its own.
    pub fn accounts_of(&self, repository: &str) -> Vec<usize> {
        self.accounts.of(repository).collect()
    }

    /// A response to a request for a manifest of `repository` told this.
    pub fn learn(&mut self, repository: &str, observed: &Observed, now: Time) {
        self.accounts.learn(repository, observed, now);
    }

    /// A response to a request with this account told no figures, and nothing of whether there is a limit.
    pub fn learn_nothing(&mut self, account: usize) {
        let account = account.min(self.accounts.count() - 1);
        self.accounts.bucket_of(account).untold();
    }

    /// True if responses to this account have told figures.
    pub fn is_known(&self, account: usize) -> bool {
        let account = account.min(self.accounts.count() - 1);
        self.accounts.bucket(account).is_known()
    }

    /// Any request was answered, and not that it was too much.
    pub fn answered(&mut self) {
        self.strikes = 0;
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
        if self.queue.contains(key) {
            self.queue.raise(key, asker);
            return Verdict::Wait;
        }
        self.displaced.retain(|(other, _)| other != key);
        let ahead = self.queue.ahead(&asker);
        let (because, until) = match self.way(repository, asker.tier, ahead, now) {
            Ok(Way::Free(account)) => return Verdict::Go(unlimited(account, now)),
            Ok(Way::Paid(account)) if ahead.all == 0 => {
                return Verdict::Go(self.charge(account, repository, asker.tier, now));
            }
            // Enough for all ahead as well, who have theirs at the next turn.
            Ok(Way::Paid(_)) => (Because::Queued, now + NEXT_TURN),
            Err(Held::Stale(account)) => return self.reading_of(account, now),
            Err(Held::Until(because, until)) => (because, until),
        };
        if until > asker.deadline || !self.queue.push(key, repository.to_owned(), asker) {
            let until = self.until_all_went(repository, asker.tier, until, now);
            return Verdict::Refuse(self.withheld(because, until, now));
        }
        self.displace(asker.tier, now);
        Verdict::Wait
    }

    /// Whether what this asker wants could be sent in time, as things stand; nothing is taken.
    ///
    /// # Errors
    /// Why not.
    pub fn would_go(&self, repository: &str, asker: Asker, now: Time) -> Result<(), Withheld> {
        let ahead = self.queue.ahead(&asker);
        match self.way(repository, asker.tier, ahead, now) {
            Err(Held::Until(because, until)) if until > asker.deadline => {
                let until = self.until_all_went(repository, asker.tier, until, now);
                Err(self.withheld(because, until, now))
            }
            Ok(_) | Err(Held::Until(..) | Held::Stale(_)) => Ok(()),
        }
    }

    /// Somebody else wants what waits: the better tier and the later deadline hold.
    pub fn raise(&mut self, key: &K, asker: Asker) {
        self.queue.raise(key, asker);
    }

    /// Nobody wants this any more.
    pub fn withdraw(&mut self, key: &K) {
        self.queue.remove(key);
        self.displaced.retain(|(other, _)| other != key);
    }

    /// Whose turn it is.
    pub fn turn(&mut self, now: Time) -> Vec<(K, Verdict)> {
        let displaced = self.displaced.drain(..);
        let mut told: Vec<_> = displaced
            .map(|(key, withheld)| (key, Verdict::Refuse(withheld)))
            .collect();
        while let Some((key, entry)) = self.queue.pop_late(now) {
            // Whoever asks again does so behind those who still wait.
            let (tier, ahead) = (entry.asker.tier, self.queue.line(entry.asker.tier));
            let (because, until) = match self.way(&entry.repository, tier, ahead, now) {
                Err(Held::Until(because, until)) => (because, until),
                Err(Held::Stale(account)) => (Because::Queued, self.place_opens(account, tier, ahead, now)),
                Ok(_) => (Because::Queued, now + NEXT_TURN),
            };
            told.push((key, Verdict::Refuse(self.withheld(because, until, now))));
        }
        let mut rank = 0;
        while let Some((at, head)) = self.first_to_tell(rank, now) {
            rank = at;
            let Some((key, entry)) = self.queue.pop(rank) else {
                break;
            };
            let verdict = match head {
                Ok(Way::Free(account)) => Verdict::Go(unlimited(account, now)),
                Ok(Way::Paid(account)) => {
                    Verdict::Go(self.charge(account, &entry.repository, entry.asker.tier, now))
                }
                Err(Held::Stale(account)) => self.reading_of(account, now),
                Err(Held::Until(because, until)) => Verdict::Refuse(self.withheld(because, until, now)),
            };
            told.push((key, verdict));
        }
        told
    }

    /// The first rank from this one on whose head has to be told something, and what.
    fn first_to_tell(&self, from: usize, now: Time) -> Option<(usize, Result<Way, Held>)> {
        for rank in from..self.queue.ranks() {
            match self.head(rank, now) {
                None => {}
                // Each rank has its own pace; of everything else, lower ranks may touch no more.
                Some((Err(Held::Until(Because::Paced, until)), deadline)) if until <= deadline => {}
                Some((Err(Held::Until(_, until)), deadline)) if until <= deadline => return None,
                Some((head, _)) => return Some((rank, head)),
            }
        }
        None
    }

    /// How the head of a rank stands, and its deadline.
    fn head(&self, rank: usize, now: Time) -> Option<(Result<Way, Held>, Time)> {
        let (_, entry) = self.queue.head(rank)?;
        let way = self.way(&entry.repository, entry.asker.tier, Ahead::default(), now);
        Some((way, entry.asker.deadline))
    }

    /// When [`Self::turn`] or [`Self::due_reading`] next has something to say by the passing of time alone.
    pub fn wake(&self, now: Time) -> Option<Time> {
        if !self.displaced.is_empty() {
            return Some(now);
        }
        let mut wake = self.queue.deadline()?;
        for rank in 0..self.queue.ranks() {
            match self.head(rank, now) {
                None => {}
                Some((Err(Held::Until(because, until)), deadline)) if until <= deadline => {
                    wake = wake.min(until);
                    if because != Because::Paced {
                        break;
                    }
                }
                Some(_) => return Some(now),
            }
        }
        let reading = self.next_reading(now).map(|(due, _)| due);
        Some(reading.map_or(wake, |due| wake.min(due)).max(now))
    }

    /// The account to read the budget with, if somebody waits and a reading is due. True for one who asks;
    /// the others wait for what it tells.
    pub fn due_reading(&mut self, now: Time) -> Option<usize> {
        if self.queue.is_empty() {
            return None;
        }
        let (_, account) = self.next_reading(now).filter(|(due, _)| *due <= now)?;
        self.accounts.bucket_of(account).asked_for_reading(now);
        Some(account)
    }

    /// The next reading that is worth a request, and by which account.
    fn next_reading(&self, now: Time) -> Option<(Time, usize)> {
        if self.parked(now).is_some() {
            return None;
        }
        let usable = (0..self.accounts.count()).filter(|index| {
            self.accounts.bucket(*index).is_known() && self.accounts.parked_account(*index, now).is_none()
        });
        let due = usable.map(|index| (self.accounts.bucket(index).reading_due(), index));
        due.min()
    }

    /// A charged request is over. One that was never sent costs nothing.
    pub fn settle(&mut self, charge: &Charge, sent: bool, now: Time) {
        if let Some(bucket) = self.accounts.with_id(charge.bucket) {
            bucket.settle(charge.at, sent, now);
        }
    }

    /// The upstream refused a request of `account`.
    pub fn refused(&mut self, account: usize, limit: Limit, now: Time) {
        let account = account.min(self.accounts.count() - 1);
        match limit {
            Limit::Pull { retry_after } => self.accounts.bucket_of(account).empty(retry_after, now),
            Limit::Abuse { retry_after } => {
                let rests = self.parked(now);
                let told = retry_after.map(|told| now + told.min(ABUSE.1));
                // One that was under way when it was parked is the same refusal once more.
                let until = told.or(rests).unwrap_or(now + self.doubled());
                if rests.is_none() {
                    self.strikes = self.strikes.saturating_add(1);
                }
                self.parked = Some(rests.map_or(until, |rests| rests.max(until)));
            }
        }
    }

    /// How long an upstream that does not say it is left alone after so many refusals.
    fn doubled(&self) -> Duration {
        // Those who count requests by the second take figures for granted nowhere: seconds do there.
        let known = self.accounts.buckets().any(|(bucket, _)| bucket.is_known());
        let first = if known { ABUSE.0 } else { RATE };
        backoff::doubled(first, ABUSE.1, self.strikes)
    }

    /// An account is not to be used until then: its credential was refused.
    pub fn park(&mut self, account: usize, until: Time) {
        self.accounts.park(account, until);
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

    /// True for a tier that something is reserved against, and for what is prefetched.
    pub fn is_low(&self, tier: usize) -> bool {
        self.ranks.reserve(tier) > 0.0
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
            logins: login::Written::default(),
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

    fn reading_of(&mut self, account: usize, now: Time) -> Verdict {
        self.accounts.bucket_of(account).asked_for_reading(now);
        Verdict::Read(account)
    }

    fn charge(&mut self, account: usize, repository: &str, tier: usize, now: Time) -> Charge {
        self.accounts.stick(repository, account, now);
        self.ranks.spend(tier, self.accounts.bucket(account), now);
        let bucket = self.accounts.bucket_of(account);
        bucket.charge(now);
        Charge {
            account,
            bucket: bucket.id,
            at: now,
        }
    }

    pub(super) fn withheld(&self, because: Because, until: Time, now: Time) -> Withheld {
        let figures = self
            .accounts
            .buckets()
            .filter_map(|(bucket, _)| bucket.figures(now));
        let reading = figures.max_by_key(|reading| reading.remaining);
        Withheld {
            because,
            // Never the present: who is refused would ask again at once.
            until: until.max(now + Duration::from_millis(1)),
            reading,
        }
    }

    /// Until when the upstream is left alone, because it called us abusive.
    pub fn parked(&self, now: Time) -> Option<Time> {
        self.parked.filter(|until| *until > now)
    }
}

/// A request that costs no allowance anything.
fn unlimited(account: usize, now: Time) -> Charge {
    Charge {
        account,
        bucket: u64::MAX,
        at: now,
    }
}
