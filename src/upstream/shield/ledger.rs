//! The ledger of one upstream: what of its budget and its logins has to survive a restart, and who writes it down.

use std::sync::{Arc, OnceLock};

use super::{Shield, State};
use crate::clock::Clock;
use crate::oci::Registry;
use crate::policy::budget::{Ledger, Rules};
use crate::policy::login::{Login, Mark, Written};
use crate::upstream::Credential;

/// Writes a ledger down. It must not wait.
pub(in crate::upstream) type Keep = Box<dyn Fn(&Registry, &Ledger) + Send + Sync>;

/// Writes the ledger of one upstream down, once somebody does that.
#[derive(Default)]
pub(in crate::upstream) struct Keeper {
    of: Option<(Registry, Arc<OnceLock<Keep>>)>,
}

impl Keeper {
    pub(in crate::upstream) fn new(registry: &Registry, keep: &Arc<OnceLock<Keep>>) -> Self {
        Self {
            of: Some((registry.clone(), Arc::clone(keep))),
        }
    }
}

/// The records of an upstream's credentials.
pub(in crate::upstream) struct Logbook {
    written: Written,
    marks: Vec<Option<Mark>>,
}

impl Logbook {
    /// Of these credentials, as they stood when `written` was written.
    pub(in crate::upstream) fn new(written: Written, credentials: &[Option<&Credential>]) -> Self {
        let mut written = written.or_salted(rand::random());
        let mark = |credential: &Credential| written.mark(&credential.username, credential.password.expose());
        let marks: Vec<_> = credentials
            .iter()
            .map(|credential| credential.map(mark))
            .collect();
        let known: Vec<Mark> = marks.iter().flatten().copied().collect();
        written.retain(&known);
        Self { written, marks }
    }

    /// What tells each from others.
    pub(in crate::upstream) fn marks(&self) -> &[Option<Mark>] {
        &self.marks
    }

    /// The record of each.
    pub(in crate::upstream) fn logins(&self, clock: Clock) -> Vec<Login> {
        let login = |mark: &Option<Mark>| {
            let mark = mark.map(|mark| self.written.login(mark, clock.now()));
            mark.unwrap_or_default()
        };
        self.marks.iter().map(login).collect()
    }
}

impl Shield {
    /// With the records of its credentials, and with somebody who writes its ledger down when it must be.
    pub(in crate::upstream) fn keeping(mut self, book: Logbook, keeper: Keeper) -> Self {
        self.keeper = keeper;
        self.renew(book);
        self
    }

    /// The accounts have these credentials from now on. One that is new to its account is not parked for what
    /// another was refused.
    pub(in crate::upstream) fn renew(&self, book: Logbook) {
        let now = self.clock.now();
        let logins = book.logins(self.clock);
        let mut state = self.lock();
        for (account, login) in logins.iter().enumerate() {
            let until = login.parked(now).map_or(now, |(until, _)| until);
            state.budget.park(account, until);
        }
        (state.logins, state.marks) = (book.written, book.marks);
        state.turn(now);
    }

    /// The records of its credentials, as they stand.
    pub(in crate::upstream) fn logins(&self) -> Written {
        self.lock().logins.clone()
    }

    /// Another one is asked from now on, at once by those who wait. What this one still settles is written down by
    /// that one.
    pub(in crate::upstream) fn retire(&self, successor: &Arc<Self>) {
        // Whoever is second was made of the same ledger.
        let _ = self.successor.set(Arc::clone(successor));
        self.lock().waiting.clear();
    }

    /// Other parts are reserved from now on.
    pub(in crate::upstream) fn set_rules(&self, rules: &Rules) {
        let now = self.clock.now();
        let mut state = self.lock();
        if state.budget.set_rules(rules, now) {
            state.turn(now);
        }
    }

    /// What must survive a restart.
    pub(in crate::upstream) fn ledger(&self) -> Ledger {
        match self.successor.get() {
            Some(successor) => successor.ledger(),
            None => self.lock().ledger(),
        }
    }

    /// How the credential of an account stands. What is new is written down. False if the account has another
    /// one by now, of which this says nothing.
    pub(in crate::upstream) fn note_login(&self, account: usize, mark: Option<Mark>, login: &Login) -> bool {
        let mut state = self.lock();
        if state.marks.get(account).copied().flatten() != mark {
            return false;
        }
        if mark.is_some_and(|mark| state.logins.note(mark, login)) {
            self.write_down(&state);
        }
        true
    }

    /// Writes the ledger down: what was learnt of a refusal may be all there is to learn before a restart.
    pub(super) fn write_down(&self, state: &State) {
        if self.successor.get().is_none()
            && let Some((registry, keep)) = &self.keeper.of
            && let Some(keep) = keep.get()
        {
            keep(registry, &state.ledger());
        }
    }
}

impl State {
    fn ledger(&self) -> Ledger {
        let mut ledger = self.budget.ledger();
        ledger.logins = self.logins.clone();
        ledger
    }
}
