//! Logins of one account: none while its credential is parked, one at a time while it is not known to be
//! good, a few once it is. And what follows for those who ask: another account, or the same refusal for all.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::auth::Auth;
use super::exchange::{Answer, Ask, Exchange};
use super::{LimitKind, Refusal, lock};
use crate::clock::{Clock, Time};
use crate::oci::RepositoryPath;
use crate::policy::login::{Login, Mark, Refused};

/// Logins at once with a credential that is known to be good: should it turn bad, as many fail, which is
/// less than what registries lock for.
const AT_ONCE: u32 = 4;

/// What a login comes to whose password is wrong.
const WRONG: Refusal = Refusal::Denied(401);

/// The logins of one account.
pub(super) struct Logins {
    state: Mutex<State>,
    turns: Arc<Semaphore>,
    clock: Clock,
}

struct State {
    login: Login,
    /// Which of the account's credentials it is the record of.
    version: u64,
    /// The last login that came to nothing, for those who waited for it.
    failed: Option<(Time, Refusal)>,
}

/// The right to log in; given back when it is dropped.
pub(super) type Turn = Arc<OwnedSemaphorePermit>;

impl Logins {
    /// With the credential's record.
    pub(super) fn new(login: Login, clock: Clock) -> Self {
        Self {
            state: Mutex::new(State {
                login,
                version: 0,
                failed: None,
            }),
            turns: Arc::new(Semaphore::new(AT_ONCE as usize)),
            clock,
        }
    }

    /// Waits for the right to log in. What came of it must be told before the turn is given back.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// At once while the credential is parked; and what the login that was waited for came to, if it failed.
    pub(super) async fn turn(&self) -> Result<Turn, Refusal> {
        self.allowed()?;
        let asked = self.clock.now();
        let wanted = if self.is_proven() { 1 } else { AT_ONCE };
        let turns = Arc::clone(&self.turns).acquire_many_owned(wanted).await;
        let mut turn = turns.expect("the semaphore is never closed");
        self.allowed()?;
        if let Some((at, refusal)) = &self.lock().failed
            && *at > asked
        {
            return Err(refusal.clone());
        }
        if wanted > 1 && self.is_proven() {
            drop(turn.split(AT_ONCE as usize - 1));
        }
        Ok(Arc::new(turn))
    }

    /// The turn of a request that carries the credential itself. Those who follow a good one need none.
    pub(super) async fn turn_unless_proven(&self) -> Result<Option<Turn>, Refusal> {
        if self.is_proven() {
            return Ok(None);
        }
        let turn = self.turn().await?;
        Ok((!self.is_proven()).then_some(turn))
    }

    /// The account has this credential from now on. One that is new is not parked for what another was refused.
    pub(super) fn renewed(&self, version: u64) {
        let mut state = self.lock();
        if version > state.version {
            (state.version, state.login, state.failed) = (version, Login::default(), None);
        }
    }

    /// A login with this version of the credential came to this; what an older one came to says nothing any more.
    pub(super) fn tell(&self, version: u64, refusal: Option<&Refusal>) {
        let now = self.clock.now();
        let mut state = self.lock();
        if version < state.version {
            return;
        }
        match refusal {
            None => {
                state.login.take(now);
                state.failed = None;
            }
            Some(Refusal::Denied(401)) => state.login.refuse(Refused::Wrong, now),
            Some(Refusal::Limited {
                kind: LimitKind::Login,
                retry_after,
            }) => {
                let retry_after = *retry_after;
                state.login.refuse(Refused::Locked { retry_after }, now);
            }
            // Of the repository, not of the credential.
            Some(Refusal::Denied(_)) => {}
            Some(other) => state.failed = Some((now, other.clone())),
        }
    }

    /// The credential's record.
    pub(super) fn record(&self) -> Login {
        self.lock().login
    }

    /// Until when the credential is parked.
    pub(super) fn parked(&self) -> Option<Time> {
        let parked = self.lock().login.parked(self.clock.now());
        parked.map(|(until, _)| until)
    }

    /// # Errors
    /// What a login would come to, while the credential is parked.
    pub(super) fn allowed(&self) -> Result<(), Refusal> {
        let now = self.clock.now();
        match self.lock().login.parked(now) {
            None => Ok(()),
            Some((_, Refused::Wrong)) => Err(WRONG),
            Some((until, Refused::Locked { .. })) => Err(Refusal::Limited {
                kind: LimitKind::Login,
                retry_after: Some(until.since(now)),
            }),
        }
    }

    /// True if the credential was taken of late.
    pub(super) fn is_proven(&self) -> bool {
        self.lock().login.is_proven(self.clock.now())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Exchange {
    /// What tells the credential that is asked with from others, in the ledger.
    pub(super) fn mark(&self, ask: &Ask<'_>) -> Option<Mark> {
        self.marks.get(ask.account).copied().flatten()
    }

    /// As [`Self::ask`], for what costs nothing: where an account turns out to be no good, the next one asks.
    /// Nobody takes over for the last: private content is not asked for without its credential.
    pub(super) async fn ask_freely(&self, ask: &mut Ask<'_>) -> Result<Answer, Refusal> {
        for _ in 1..self.accounts.len() {
            let answer = self.ask(ask).await;
            let next = self.shield.account(ask.path);
            if next == ask.account || self.accounts[ask.account].parked().is_none() || !is_login(&answer) {
                return answer;
            }
            ask.account = next;
        }
        self.ask(ask).await
    }

    /// What every request for a repository would come to, if all accounts that it is asked for with are parked, and
    /// none holds a token for it: the refusal of the one that is tried again first.
    pub(super) fn shut_out(&self, path: &RepositoryPath) -> Option<Refusal> {
        let own = self.shield.accounts_of(path).into_iter();
        let own = own.map(|account| &self.accounts[account]);
        // A password that was refused takes no token away; a lock does, as registries tell.
        let is_good = |auth: &&Arc<Auth>| auth.allowed() == Err(WRONG) && auth.holds_token(path);
        if own.clone().any(|auth| is_good(&auth)) {
            return None;
        }
        let parked = own.map(|auth| (auth.parked(), auth));
        let soonest = parked.min_by_key(|(until, _)| *until)?;
        soonest.0.and_then(|_| soonest.1.allowed().err())
    }
}

fn is_login(answer: &Result<Answer, Refusal>) -> bool {
    let login = LimitKind::Login;
    match answer {
        Err(Refusal::Limited { kind, .. }) => *kind == login,
        Err(refusal) => matches!(refusal, Refusal::Denied(_)),
        Ok(_) => false,
    }
}
