//! What a changed configuration does to a budget: what is known of the upstream stays.

use std::fmt::Debug;
use std::hash::Hash;

use super::Rules;
use super::machine::{Budget, Ledger};
use super::ranks::Ranks;
use crate::clock::Time;

impl<K: Clone + Eq + Hash + Debug> Budget<K> {
    /// Other rules hold from now on: those who wait line up by them. True if they are others indeed.
    ///
    /// What each tier spent is forgotten, but not what was spent; so a paced tier may begin anew.
    pub fn set_rules(&mut self, rules: &Rules, now: Time) -> bool {
        if self.ranks.reserves == rules.reserves {
            return false;
        }
        self.ranks = Ranks::new(rules.reserves.clone(), now);
        self.queue.line_up(&rules.reserves);
        true
    }
}

impl Ledger {
    /// The ledger of other accounts: those that were known before spend from what they spent from.
    #[must_use]
    pub fn of_accounts(mut self, before: &[String], after: &[String]) -> Self {
        let known = |name: &String| before.iter().position(|other| other == name);
        let bucket = |name| self.accounts.get(known(name)?).copied();
        // Nothing has this id: the account begins with an allowance of its own.
        self.accounts = after
            .iter()
            .map(|name| bucket(name).unwrap_or(u64::MAX))
            .collect();
        self
    }
}
