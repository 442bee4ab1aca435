//! The accounts of one upstream, the allowances they spend from, and what is known of repositories.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use super::bucket::Bucket;
use super::gate::part_left;
use super::{Ledger, Observed};
use crate::clock::Time;
use crate::policy::identity::Prefix;

/// Most allowances of one upstream; of more, the one that nobody spends from goes.
const MAX_BUCKETS: usize = 16;
/// Most repositories remembered as not limited, or as bound to an account.
const MAX_REPOSITORIES: usize = 4096;
/// How long a repository whose answers name no figures, beside others that do, counts as not limited.
const UNLIMITED: Duration = Duration::from_secs(600);
/// How long a repository stays with an account: the life of most tokens.
const STICKY: Duration = Duration::from_secs(300);
/// The accounts.
#[derive(Debug)]
pub(super) struct Accounts {
    accounts: Vec<Account>,
    buckets: Vec<Bucket>,
    next_id: u64,
    /// Repositories that cost nothing with an account, until then.
    unlimited: HashMap<(usize, String), Time>,
    /// Repositories that stay with an account, until then.
    sticky: HashMap<String, (usize, Time)>,
}

/// One credential, or nobody's.
#[derive(Clone, Debug)]
struct Account {
    bucket: u64,
    parked: Option<Time>,
    /// The repositories it is for.
    prefix: Prefix,
}

impl Accounts {
    /// This many accounts, at least one (nobody's), as they stood when `ledger` was written.
    pub(super) fn new(count: usize, ledger: Ledger, now: Time) -> Self {
        let mut buckets = ledger.buckets;
        buckets.truncate(MAX_BUCKETS);
        // Ids that were written down may be anything: each becomes the place it stands for.
        let place = |id: &u64| buckets.iter().position(|bucket| bucket.id == *id);
        let place = |id| place(id).map(|place| place as u64);
        let known: Vec<Option<u64>> = ledger.accounts.iter().take(count).map(place).collect();
        for (id, bucket) in (0..).zip(&mut buckets) {
            bucket.id = id;
            bucket.restore(now);
        }
        let mut accounts = Self {
            accounts: Vec::new(),
            next_id: buckets.len() as u64,
            buckets,
            unlimited: HashMap::new(),
            sticky: HashMap::new(),
        };
        for index in 0..count.max(1) {
            let known = known.get(index).copied().flatten();
            let bucket = known.unwrap_or_else(|| accounts.add_bucket(None));
            accounts.accounts.push(Account {
                bucket,
                parked: None,
                prefix: Prefix::ALL,
            });
        }
        accounts
    }

    /// The accounts are for these repositories only. One at least must be for all.
    pub(super) fn limit_to(&mut self, prefixes: &[Prefix]) {
        for (account, prefix) in self.accounts.iter_mut().zip(prefixes) {
            account.prefix.clone_from(prefix);
        }
    }

    /// The accounts that a repository is asked for with: those whose path names the most of its own.
    pub(super) fn of(&self, repository: &str) -> impl DoubleEndedIterator<Item = usize> {
        let reach = |account: &Account| account.prefix.reach(repository);
        let most = self.accounts.iter().filter_map(reach).max();
        let all = self.accounts.iter().enumerate();
        all.filter(move |(_, account)| most.is_some() && account.prefix.reach(repository) == most)
            .map(|(index, _)| index)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.accounts.len()
    }

    /// The allowances that accounts spend from, each with its accounts.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (&Bucket, Vec<usize>)> {
        let accounts = |bucket: &Bucket| {
            let accounts = self.accounts.iter().enumerate();
            accounts
                .filter(|(_, account)| account.bucket == bucket.id)
                .map(|(index, _)| index)
                .collect()
        };
        let each = self.buckets.iter().map(move |bucket| (bucket, accounts(bucket)));
        each.filter(|(_, accounts): &(&Bucket, Vec<usize>)| !accounts.is_empty())
    }

    /// The allowance with that id.
    pub(super) fn with_id(&mut self, id: u64) -> Option<&mut Bucket> {
        self.buckets.iter_mut().find(|bucket| bucket.id == id)
    }

    /// An account is not to be used until then.
    pub(super) fn park(&mut self, account: usize, until: Time) {
        if let Some(account) = self.accounts.get_mut(account) {
            account.parked = Some(until);
        }
    }

    /// The account a repository stays with.
    pub(super) fn sticky(&self, repository: &str, now: Time) -> Option<usize> {
        let sticky = self.sticky.get(repository).filter(|(_, until)| *until > now);
        sticky.map(|(account, _)| *account)
    }

    /// What must survive a restart: the allowances, and which account spends from which.
    pub(super) fn written(&self) -> (Vec<Bucket>, Vec<u64>) {
        let accounts = self.accounts.iter().map(|account| account.bucket);
        (self.buckets.clone(), accounts.collect())
    }

    /// A response to a request for a manifest of `repository` told this.
    pub(super) fn learn(&mut self, repository: &str, observed: &Observed, now: Time) {
        if observed.account >= self.accounts.len() {
            return;
        }
        let key = (observed.account, repository.to_owned());
        let Some(reading) = observed.reading else {
            self.bucket_of(observed.account).say_nothing(now);
            if self.bucket_of(observed.account).is_known() {
                make_room(&mut self.unlimited, |until| *until <= now);
                self.unlimited.insert(key, now + UNLIMITED);
            }
            return;
        };
        self.unlimited.remove(&key);
        let before = self.bucket(observed.account);
        let (id, in_flight) = (before.id, before.in_flight());
        if let Some(source) = &observed.source {
            self.rebind(observed.account, source);
        }
        let bucket = self.bucket_of(observed.account);
        bucket.read(reading, now);
        if bucket.id != id {
            // The answers to these are still to come; this reading is one of them.
            bucket.hold(in_flight.saturating_sub(1));
        }
    }

    /// An account that this repository does not cost anything with.
    pub(super) fn not_limited(&self, repository: &str, now: Time) -> Option<usize> {
        let free = |index: &usize| {
            let until = self.unlimited.get(&(*index, repository.to_owned()));
            until.is_some_and(|until| *until > now)
        };
        self.spendable(repository, now).into_iter().find(free)
    }

    /// The accounts that may spend for a repository: those that are not parked. Where all are, whoever logs in
    /// refuses; and what needs no login, because a token is held, still goes.
    pub(super) fn spendable(&self, repository: &str, now: Time) -> Vec<usize> {
        let own = self.of(repository);
        let free: Vec<usize> = own
            .filter(|index| self.parked_account(*index, now).is_none())
            .collect();
        match free.is_empty() {
            true => self.of(repository).collect(),
            false => free,
        }
    }

    pub(super) fn bucket(&self, account: usize) -> &Bucket {
        let id = self.accounts[account].bucket;
        self.buckets
            .iter()
            .find(|bucket| bucket.id == id)
            .expect("every account has a bucket")
    }

    pub(super) fn bucket_of(&mut self, account: usize) -> &mut Bucket {
        let id = self.accounts[account].bucket;
        self.buckets
            .iter_mut()
            .find(|bucket| bucket.id == id)
            .expect("every account has a bucket")
    }

    /// The account spends from the allowance of this source.
    fn rebind(&mut self, account: usize, source: &str) {
        if self.bucket(account).source.as_deref() == Some(source) {
            return;
        }
        let known = self
            .buckets
            .iter()
            .find(|bucket| bucket.source.as_deref() == Some(source));
        let known = known.map(|bucket| bucket.id);
        let own = self.accounts[account].bucket;
        let shared = self.accounts.iter().filter(|other| other.bucket == own).count() > 1;
        let bucket = match known {
            Some(id) => id,
            // What was spent before the source had a name was spent from it.
            None if self.bucket(account).source.is_none() && !shared => {
                self.bucket_of(account).source = Some(source.to_owned());
                return;
            }
            None => self.add_bucket(Some(source.to_owned())),
        };
        self.accounts[account].bucket = bucket;
    }

    fn add_bucket(&mut self, source: Option<String>) -> u64 {
        if self.buckets.len() >= MAX_BUCKETS {
            let used = |bucket: &Bucket| self.accounts.iter().any(|account| account.bucket == bucket.id);
            if let Some(idle) = self.buckets.iter().position(|bucket| !used(bucket)) {
                self.buckets.remove(idle);
            }
        }
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        self.buckets.push(Bucket::new(id, source));
        id
    }

    /// Keeps a repository with the account it was pulled with.
    pub(super) fn stick(&mut self, repository: &str, account: usize, now: Time) {
        make_room(&mut self.sticky, |(_, until)| *until <= now);
        self.sticky.insert(repository.to_owned(), (account, now + STICKY));
    }

    /// The account to send a free request with: the one its repository stays with, else one that is not
    /// parked, the one with the largest part left first.
    pub(super) fn account(&self, repository: &str, now: Time) -> usize {
        let free = |index: &usize| self.parked_account(*index, now).is_none();
        let sticky = self.sticky(repository, now).filter(free);
        // The last of equals is the largest: seen from behind, the first.
        let most = self.of(repository).rev().filter(free).max_by(|one, other| {
            let part = |index: &usize| part_left(self.bucket(*index), now);
            part(one).total_cmp(&part(other))
        });
        sticky
            .or(most)
            .or_else(|| self.of(repository).next())
            .unwrap_or(0)
    }

    /// Until when an account is not used.
    pub(super) fn parked_account(&self, account: usize, now: Time) -> Option<Time> {
        self.accounts.get(account)?.parked.filter(|until| *until > now)
    }
}

/// Makes room in a bounded map: first what is over, then anything.
fn make_room<Q: Clone + Eq + Hash, V>(map: &mut HashMap<Q, V>, over: impl Fn(&V) -> bool) {
    if map.len() < MAX_REPOSITORIES {
        return;
    }
    map.retain(|_, value| !over(value));
    if map.len() >= MAX_REPOSITORIES {
        map.clear();
    }
}
