//! How the budget of an upstream stands, for people and metrics.

use super::Shield;
use crate::clock::Time;
use crate::oci::{Registry, RepositoryPath};
use crate::policy::budget::BucketStatus;
use crate::policy::naming::Pattern;
use crate::upstream::{Upstream, Upstreams};

impl Shield {
    /// The accounts that a repository is asked for with.
    pub(in crate::upstream) fn accounts_of(&self, path: &RepositoryPath) -> Vec<usize> {
        self.lock().budget.accounts_of(path.as_str())
    }
}

impl Upstream {
    /// What is known of this upstream's budget, and how many wait for it, by tier.
    pub fn budget(&self) -> (Vec<BucketStatus>, Vec<u64>) {
        let Ok(exchange) = self.exchange() else {
            return (Vec::new(), Vec::new());
        };
        let shield = &exchange.shield;
        let state = shield.lock();
        (state.budget.status(shield.clock.now()), state.budget.waiting())
    }

    /// By tier: the part of every allowance that it may not touch.
    pub fn reserves(&self) -> Vec<f64> {
        let shield = self.exchange().map(|exchange| &exchange.shield);
        shield.map_or_else(|_| Vec::new(), |shield| shield.lock().budget.reserves().to_vec())
    }

    /// How many tokens are held and valid.
    pub fn tokens(&self) -> u64 {
        let accounts = self.exchange().map(|exchange| exchange.accounts.iter());
        accounts.map_or(0, |accounts| accounts.map(|account| account.tokens()).sum())
    }

    /// The accounts, by name.
    pub fn accounts(&self) -> Vec<AccountStatus> {
        let Ok(exchange) = self.exchange() else {
            return Vec::new();
        };
        let shield = &exchange.shield;
        let (now, state) = (shield.clock.now(), shield.lock());
        let accounts = shield.names.iter().zip(&exchange.accounts).enumerate();
        let accounts = accounts.map(|(index, (name, account))| AccountStatus {
            name: name.clone(),
            parked: state.budget.parked_account(index, now),
            failing: account.source_failure(),
            ends: account.credential_end(),
        });
        accounts.collect()
    }
}

impl Upstreams {
    /// The registries that are configured by name and were not asked for, with their entry in the configuration.
    pub fn unused(&self) -> Vec<(usize, Registry)> {
        let used = self.used();
        let entries = self.entries.iter().enumerate();
        let named = entries.filter_map(|(index, entry)| match &entry.options.registry {
            Pattern::Exact(registry) => Some((index, registry.clone())),
            Pattern::Suffix(_) | Pattern::Any => None,
        });
        named
            .filter(|(_, registry)| used.iter().all(|known| known.registry != *registry))
            .collect()
    }
}

/// One account, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountStatus {
    /// The user name, or `anonymous`.
    pub name: String,
    /// Until when it is not used, because the upstream refused it.
    pub parked: Option<Time>,
    /// Why the source of its credential fails, while it does.
    pub failing: Option<String>,
    /// When what its source gave ends, if it said so.
    pub ends: Option<Time>,
}
