//! Drives the budget machine of one upstream: asks before a counted request is sent, waits for its turn,
//! and tells the machine what responses say. What buys by it stands in `buying`.

mod buying;
mod ledger;
mod status;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use tokio::sync::oneshot;

pub(super) use self::ledger::{Keep, Keeper, Logbook};
pub use self::status::AccountStatus;
use super::rest::Rest;
use super::{LimitKind, lock};
use crate::clock::{Clock, Time};
use crate::oci::{Reference, RepositoryPath};
use crate::policy::budget::{Asker, Budget, Charge, Ledger, Limit, Observed, Reading, Rules, Verdict};
use crate::policy::identity::Prefix;
use crate::policy::login::{Login, Mark, Written};

/// What many may wait for together: one manifest of one repository.
type Key = (Option<RepositoryPath>, Reference);

/// The budget of one upstream, and those who wait for it.
pub(super) struct Shield {
    state: Mutex<State>,
    /// What people call the accounts.
    pub(super) names: Vec<String>,
    keeper: Keeper,
    /// The shield that took this one's place, because there are other accounts now.
    successor: OnceLock<Arc<Self>>,
    clock: Clock,
}

struct State {
    budget: Budget<Key>,
    logins: Written,
    /// What tells each credential from others, in the ledger.
    marks: Vec<Option<Mark>>,
    waiting: HashMap<Key, oneshot::Sender<Verdict>>,
}

impl Shield {
    /// The shield of an upstream with these accounts, each for the repositories below its path, as it was when
    /// `ledger` was written down.
    pub(super) fn new(
        rules: Rules,
        (names, prefixes): (Vec<String>, &[Prefix]),
        ledger: Option<Ledger>,
        clock: Clock,
    ) -> Self {
        Self {
            state: Mutex::new(State {
                budget: Budget::new(rules, names.len(), ledger, clock.now()).limited_to(prefixes),
                logins: Written::default(),
                marks: Vec::new(),
                waiting: HashMap::new(),
            }),
            names,
            keeper: Keeper::default(),
            successor: OnceLock::new(),
            clock,
        }
    }

    /// An answer about a manifest came that says nothing of limits, either way.
    pub(super) fn learn_nothing(&self, account: usize) {
        self.lock().budget.learn_nothing(account);
    }

    /// True if answers to this account have told figures.
    pub(super) fn is_known(&self, account: usize) -> bool {
        self.lock().budget.is_known(account)
    }

    /// An answer about a manifest came: one with figures, or a success without.
    pub(super) fn learn(&self, repository: &str, account: usize, told: (Option<Reading>, Option<String>)) {
        let (reading, source) = told;
        let observed = Observed {
            account,
            source,
            reading,
        };
        let now = self.clock.now();
        let mut state = self.lock();
        state.budget.learn(repository, &observed, now);
        state.turn(now);
    }

    /// The upstream, or its token service, answered 429.
    pub(super) fn refused(&self, account: usize, kind: LimitKind, retry_after: Option<Duration>) {
        let limit = match kind {
            LimitKind::Pull => Limit::Pull { retry_after },
            LimitKind::Abuse => Limit::Abuse { retry_after },
            // The account's own affair: it is parked.
            LimitKind::Login => return,
        };
        tracing::warn!(
            account = self.names[account],
            ?kind,
            ?retry_after,
            "the upstream limits this cache"
        );
        let now = self.clock.now();
        let mut state = self.lock();
        state.budget.refused(account, limit, now);
        state.turn(now);
        self.write_down(&state);
    }

    /// An account is not used while its credential is parked. The others go on.
    pub(super) fn park(&self, account: usize, mark: Option<Mark>, login: &Login) {
        if !self.note_login(account, mark, login) {
            return;
        }
        let now = self.clock.now();
        if let Some((until, _)) = login.parked(now) {
            let mut state = self.lock();
            state.budget.park(account, until);
            state.turn(now);
        }
    }

    /// Anything was answered: the upstream does not call it too much any more.
    pub(super) fn answered(&self) {
        self.lock().budget.answered();
    }

    /// How long the upstream is still left alone.
    pub(super) fn parked(&self) -> Option<Duration> {
        let now = self.clock.now();
        self.lock().budget.parked(now).map(|until| until.since(now))
    }

    /// The same, for others who ask the same registry.
    pub(super) fn rest(&self) -> Rest {
        let rest = Rest::default();
        if let Some(left) = self.parked() {
            rest.say(self.clock.now() + left);
        }
        rest
    }

    /// The account to send what is free with.
    pub(super) fn account(&self, path: &RepositoryPath) -> usize {
        self.lock().budget.account(path.as_str(), self.clock.now())
    }

    /// One verdict about a key, waiting for its turn as long as the machine says so.
    async fn verdict(&self, key: &Key, repository: &str, asker: Asker) -> Verdict {
        let now = self.clock.now();
        let told = {
            let mut state = self.lock();
            let verdict = state.budget.ask(key, repository, asker, now);
            if !matches!(verdict, Verdict::Wait) {
                return verdict;
            }
            let (tell, told) = oneshot::channel();
            state.waiting.insert(key.clone(), tell);
            // Somebody may have lost the place that this one has.
            state.turn(now);
            told
        };
        let mut leaving = Leaving {
            shield: self,
            key: Some(key),
            told,
        };
        loop {
            let pause = self.until_wake();
            tokio::select! {
                verdict = &mut leaving.told => {
                    leaving.key = None;
                    return verdict.unwrap_or(Verdict::Wait);
                }
                () = tokio::time::sleep(pause) => {
                    let due = self.lock().turn_or_read(self.clock.now());
                    // Its own turn may have come with that: the answer is as good as a reading.
                    if let Ok(verdict) = leaving.told.try_recv() {
                        leaving.key = None;
                        return verdict;
                    }
                    if let Some(account) = due {
                        // The key keeps its place in the queue; whoever took the reading asks again.
                        leaving.key = None;
                        return Verdict::Read(account);
                    }
                }
            }
        }
    }

    /// How long until the machine has something to say by itself.
    fn until_wake(&self) -> Duration {
        let now = self.clock.now();
        let wake = self.lock().budget.wake(now);
        let pause = wake.map_or(Duration::from_secs(1), |wake| wake.since(now));
        // Never a busy loop, whatever the machine says.
        pause.max(Duration::from_millis(1))
    }

    fn settle(&self, charge: &Charge, sent: bool) {
        let now = self.clock.now();
        let mut state = self.lock();
        state.budget.settle(charge, sent, now);
        state.turn(now);
    }

    /// True for a tier that something is reserved against, and for what is prefetched.
    pub(super) fn is_low(&self, tier: usize) -> bool {
        self.lock().budget.is_low(tier)
    }

    /// True if another account could fare better than the one that was tried.
    fn has_choice(&self) -> bool {
        self.names.len() > 1
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// Tells everybody whose turn it is, unless a reading must be taken first: with which account.
    fn turn_or_read(&mut self, now: Time) -> Option<usize> {
        let due = self.budget.due_reading(now);
        self.turn(now);
        due
    }

    /// Tells everybody whose turn it is.
    fn turn(&mut self, now: Time) {
        for (key, verdict) in self.budget.turn(now) {
            let unheard = match self.waiting.remove(&key) {
                Some(tell) => tell.send(verdict).err(),
                None => Some(verdict),
            };
            if let Some(Verdict::Go(charge)) = unheard {
                self.budget.settle(&charge, false, now);
            }
        }
    }
}

/// A digest is the same in every repository; a tag is not.
fn key(path: &RepositoryPath, reference: &Reference) -> Key {
    let path = matches!(reference, Reference::Tag(_)).then(|| path.clone());
    (path, reference.clone())
}

/// Takes a key out of the queue when nobody waits for it any more, and gives back a turn that nobody heard of.
struct Leaving<'a> {
    shield: &'a Shield,
    /// `None` once it needs no more care.
    key: Option<&'a Key>,
    told: oneshot::Receiver<Verdict>,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let mut state = self.shield.lock();
        if let Some(key) = self.key {
            state.waiting.remove(key);
            state.budget.withdraw(key);
        }
        // Whoever tells holds the lock: none comes after this.
        self.told.close();
        if let Ok(Verdict::Go(charge)) = self.told.try_recv() {
            let now = self.shield.clock.now();
            state.budget.settle(&charge, false, now);
            state.turn(now);
        }
    }
}
