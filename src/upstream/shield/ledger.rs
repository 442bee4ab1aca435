//! The ledger of one upstream: what of its budget and its logins has to survive a restart, and who writes it down.

use std::sync::{Arc, OnceLock};

use super::{Shield, State};
use crate::clock::Clock;
use crate::oci::Registry;
use crate::policy::budget::Ledger;
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
    pub(in crate::upstream) fn new(written: Written, credentials: &[Option<Credential>]) -> Self {
        let mut written = written.or_salted(rand::random());
        let mark = |credential: &Credential| written.mark(&credential.username, credential.password.expose());
        let marks: Vec<_> = credentials
            .iter()
            .map(|credential| credential.as_ref().map(mark))
            .collect();
        let known: Vec<Mark> = marks.iter().flatten().copied().collect();
        written.retain(&known);
        Self { written, marks }
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
        for (account, login) in book.logins(self.clock).iter().enumerate() {
            self.park(account, login);
        }
        self.lock().logins = book.written;
        (self.marks, self.keeper) = (book.marks, keeper);
        self
    }

    /// What must survive a restart.
    pub(super) fn ledger(&self) -> Ledger {
        self.lock().ledger()
    }

    /// How the credential of an account stands. What is new is written down.
    pub(in crate::upstream) fn note_login(&self, account: usize, login: &Login) {
        let Some(mark) = self.marks.get(account).copied().flatten() else {
            return;
        };
        let mut state = self.lock();
        if state.logins.note(mark, login) {
            self.write_down(&state);
        }
    }

    /// Writes the ledger down: what was learnt of a refusal may be all there is to learn before a restart.
    pub(super) fn write_down(&self, state: &State) {
        if let Some((registry, keep)) = &self.keeper.of
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
