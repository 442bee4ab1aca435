//! Drives the budget machine of one upstream: asks before a counted request is sent, waits for its turn,
//! and tells the machine what responses say.

mod ledger;
mod status;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

pub(super) use self::ledger::{Keep, Keeper, Logbook};
pub use self::status::AccountStatus;
use super::{Fetched, LimitKind, Refusal, Upstream};
use crate::clock::{Clock, Time};
use crate::oci::{Reference, RepositoryPath};
use crate::policy::budget::{Asker, Budget, Charge, Ledger, Limit, Observed, Reading, Rules, Verdict};
use crate::policy::identity::Prefix;
use crate::policy::login::{Login, Mark, Written};

/// What many may wait for together: one manifest of one repository.
type Key = (Option<RepositoryPath>, Reference);

/// Most readings taken for one request before it goes by the estimate.
const MAX_READINGS: usize = 2;

/// Most accounts tried for one request.
const MAX_TRIES: usize = 3;

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

/// The right to send one counted request. When it is dropped, the charge stands if a request left.
#[must_use]
struct Pass<'a> {
    shield: &'a Shield,
    charge: Charge,
    left: AtomicBool,
    /// False: nothing is known of the answer.
    over: bool,
}

impl Pass<'_> {
    /// True if a request left that may have been counted.
    fn has_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.shield.learn_nothing(self.charge.account);
        }
        self.shield.settle(&self.charge, self.has_left());
    }
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
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Upstream {
    /// Fetches a manifest when it is its turn to cost something. `spent` is told what to write down, before
    /// the request leaves and after its answer: a crash between the two does not forget it. After the answer
    /// it is told true if a request left that may have been counted.
    ///
    /// Cancel-safe: who leaves before the request is sent loses the place in the queue and spends nothing.
    ///
    /// # Errors
    /// [`Refusal::Withheld`] at once if the turn would come too late for its asker.
    pub async fn buy(
        &self,
        path: &RepositoryPath,
        reference: &Reference,
        asker: Asker,
        spent: impl Fn(&Ledger, bool),
    ) -> Result<Fetched, Refusal> {
        let exchange = self.exchange()?;
        let shield = &exchange.shield;
        exchange.negatives.recall(shield.account(path), path, reference)?;
        let mut tries = 0;
        loop {
            if let Some(refusal) = self.exchange()?.shut_out(path) {
                return Err(refusal);
            }
            let mut pass = self.pay(path, reference, asker).await?;
            spent(&shield.ledger(), false);
            let account = pass.charge.account;
            let fetched = self
                .counted_manifest(path, reference, account, Some(&pass.left), Some(asker))
                .await;
            exchange.note(account, path, reference, &fetched);
            pass.over = true;
            let left = pass.has_left();
            drop(pass);
            spent(&shield.ledger(), left);
            tries += 1;
            match fetched {
                // A neighbour was faster, or the account is no good: the machine knows now, and says what next.
                Err(Refusal::Limited { .. } | Refusal::Denied(_))
                    if tries < MAX_TRIES && shield.has_choice() => {}
                fetched => return fetched,
            }
        }
    }

    /// Waits for the right to send a counted request, as long as its asker can wait.
    async fn pay(
        &self,
        path: &RepositoryPath,
        reference: &Reference,
        asker: Asker,
    ) -> Result<Pass<'_>, Refusal> {
        let shield = &self.exchange()?.shield;
        let key = key(path, reference);
        let mut readings = 0;
        loop {
            match shield.verdict(&key, path.as_str(), asker).await {
                Verdict::Go(charge) => {
                    return Ok(Pass {
                        shield,
                        charge,
                        left: AtomicBool::new(false),
                        over: false,
                    });
                }
                Verdict::Refuse(withheld) => return Err(Refusal::Withheld(withheld)),
                Verdict::Read(account) if readings < MAX_READINGS => {
                    readings += 1;
                    // What it tells about the budget is learnt on the way; the rest is of no interest here.
                    let _ = self.head_with(path, reference, account).await;
                }
                // Readings without end, or a word that got lost: never a busy loop.
                Verdict::Read(_) | Verdict::Wait => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Whether a manifest of this repository could be bought as things stand; nothing is spent.
    ///
    /// # Errors
    /// [`Refusal::Withheld`], as [`Self::buy`] would say at once.
    pub fn would_sell(&self, path: &RepositoryPath, asker: Asker) -> Result<(), Refusal> {
        let shield = &self.exchange()?.shield;
        let would = shield
            .lock()
            .budget
            .would_go(path.as_str(), asker, shield.clock.now());
        would.map_err(Refusal::Withheld)
    }

    /// Somebody else wants what is being waited for.
    pub fn joined(&self, path: &RepositoryPath, reference: &Reference, asker: Asker) {
        if let Ok(exchange) = self.exchange() {
            let shield = &exchange.shield;
            let now = shield.clock.now();
            let mut state = shield.lock();
            state.budget.raise(&key(path, reference), asker);
            state.turn(now);
        }
    }

    /// True while it wants to be left alone, having called us too much.
    pub fn is_parked(&self) -> bool {
        let exchange = self.exchange();
        exchange.is_ok_and(|exchange| exchange.shield.parked().is_some())
    }

    /// How it keeps failing, while it is left alone for that.
    pub fn left_alone(&self) -> Option<Refusal> {
        let exchange = self.exchange().ok()?;
        exchange.client.left_alone(&exchange.base)
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
