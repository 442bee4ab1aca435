//! What of an upstream outlives a change of its configuration.

use std::sync::Arc;
use std::time::Duration;

use super::exchange::Exchange;
use super::registry::Known;
use super::shield::{Keeper, Logbook, Shield};
use super::{Account, Options, Upstream};
use crate::clock::Clock;
use crate::oci::Registry;
use crate::policy::access::visibility::Sharing;
use crate::policy::budget::Rules;
use crate::policy::identity::Prefix;
use crate::policy::login::{Login, Mark};

impl Options {
    /// True if the upstream is reached in the same way, whoever asks: connections, breakers and what was learnt
    /// of its rate stay.
    fn is_reached_as(&self, other: &Self) -> bool {
        let way = |options: &Self| Self {
            credentials: Vec::new(),
            alternates: Vec::new(),
            sharing: Sharing::default(),
            access_ttl: Duration::ZERO,
            ..options.clone()
        };
        way(self) == way(other)
    }

    /// True if what stands beside the upstream stays.
    pub(super) fn has_alternates_of(&self, other: &Self) -> bool {
        self.alternates == other.alternates
            && self.has_witness() == other.has_witness()
            && self.is_reached_as(other)
    }
}

impl Upstream {
    /// How to talk to it, if that is the way of these options.
    pub(super) fn way_to(&self, options: &Options) -> Option<&Exchange> {
        let exchange = self.exchange().ok()?;
        self.options.is_reached_as(options).then_some(exchange)
    }

    /// What asks for it today: itself, or what took its place. Whatever began before goes on with that, by the
    /// credentials that are good now.
    pub(super) fn present(&self) -> &Self {
        let mut present = self;
        while let Some(next) = present.successor.get() {
            present = next;
        }
        present
    }

    /// Other parts of its budget are reserved from now on.
    pub(super) fn set_rules(&self, rules: &Rules) {
        if let Ok(exchange) = self.exchange() {
            exchange.shield.set_rules(rules);
        }
    }
}

/// The accounts of an upstream: what each may spend, and how its credential stands.
pub(super) struct Purse {
    pub(super) shield: Arc<Shield>,
    pub(super) marks: Vec<Option<Mark>>,
    pub(super) logins: Vec<Login>,
}

/// The purse of these credentials. Accounts of the same names spend from the budget that is spent from already,
/// whatever their passwords are now; where the names are others, those that stay keep what is known of them.
pub(super) fn purse(
    accounts: &[Option<Account>],
    registry: &Registry,
    known: &Known,
    clock: Clock,
    before: Option<&Upstream>,
) -> Purse {
    let names: Vec<String> = accounts.iter().map(name).collect();
    let prefixes: Vec<Prefix> = accounts.iter().map(prefix).collect();
    let old = before.and_then(|before| before.exchange().ok());
    let old = old.map(|exchange| &exchange.shield);
    let ledger = match old {
        Some(old) => Some(old.ledger().of_accounts(&old.names, &names)),
        None => known.budgets.ledgers.get(registry.as_str()).cloned(),
    };
    let written = match old {
        Some(old) => old.logins(),
        None => ledger
            .as_ref()
            .map(|ledger| ledger.logins.clone())
            .unwrap_or_default(),
    };
    let passwords: Vec<_> = accounts
        .iter()
        .map(|account| account.as_ref()?.password())
        .collect();
    let book = Logbook::new(written, &passwords);
    let (marks, logins) = (book.marks().to_vec(), book.logins(clock));
    let shield = match old {
        Some(old) if old.names == names => {
            old.renew(book);
            Arc::clone(old)
        }
        _ => {
            let shield = Shield::new(known.budgets.rules.clone(), (names, &prefixes), ledger, clock);
            let shield = Arc::new(shield.keeping(book, Keeper::new(registry, &known.keep)));
            if let Some(old) = old {
                old.retire(&shield);
            }
            shield
        }
    };
    Purse {
        shield,
        marks,
        logins,
    }
}

/// What people call an account.
fn name(account: &Option<Account>) -> String {
    account
        .as_ref()
        .map_or_else(|| "anonymous".to_owned(), Account::name)
}

fn prefix(account: &Option<Account>) -> Prefix {
    account
        .as_ref()
        .map_or(Prefix::ALL, |account| account.prefix.clone())
}
