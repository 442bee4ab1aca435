//! Purges from when they are asked for until they are over: how far each is, and the word that it shall stop.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::cache::Cache;
use crate::clock::Time;
use crate::policy::retention::{Exact, Going, Plan, Purge};

/// Most letters that say what a purge is about.
const MOST_LETTERS: usize = 200;

/// Who began a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cache) enum By {
    Operator,
    Schedule,
}

/// A purge that waits or is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeStatus {
    /// `operator` or `schedule`.
    pub by: String,
    /// Its filters, or what it names; cut after 200 letters.
    pub what: String,
    /// `waiting` for one before it, `planning`, `removing`, or `stopping`.
    pub state: String,
    /// When it was asked for, in milliseconds since the Unix epoch.
    pub since: u64,
    /// The name of its plan, once that is known.
    pub fingerprint: Option<String>,
    /// How much goes, once that is known: tags, manifests, blobs and other copies.
    pub planned: Option<u64>,
    /// How much of that has gone, or stays after all.
    pub done: u64,
    /// Bytes that are to be won.
    pub of_bytes: u64,
    /// Bytes won so far.
    pub bytes: u64,
}

/// What `/api/v1/purge` answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgesReport {
    /// The moment, in milliseconds since the Unix epoch.
    pub now: u64,
    /// The purge under way first, then those that wait.
    pub purges: Vec<PurgeStatus>,
}

/// One purge.
#[derive(Debug)]
pub(super) struct UnderWay {
    by: By,
    what: String,
    since: Time,
    state: Mutex<State>,
    done: AtomicU64,
    won: AtomicU64,
    /// It stops when so much is done.
    stop_at: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Its turn has come.
    begun: bool,
    fingerprint: Option<String>,
    /// How much goes, and its bytes.
    planned: Option<(u64, u64)>,
}

/// All that wait or are under way, in the order in which they were asked for, which is that of their turns.
#[derive(Debug, Default)]
pub(in crate::cache) struct Purges(Mutex<Vec<Arc<UnderWay>>>);

/// A purge is among those; dropping it says that it is over.
#[derive(Debug)]
pub(super) struct Entered {
    purges: Arc<Purges>,
    one: Arc<UnderWay>,
}

impl Purges {
    /// A purge was asked for; if by the name of its plan, with that.
    pub(super) fn enter(
        self: &Arc<Self>,
        by: By,
        purge: &Purge,
        fingerprint: Option<String>,
        now: Time,
    ) -> Entered {
        let one = Arc::new(UnderWay {
            by,
            what: in_words(purge),
            since: now,
            state: Mutex::new(State {
                fingerprint,
                ..State::default()
            }),
            done: AtomicU64::new(0),
            won: AtomicU64::new(0),
            stop_at: AtomicU64::new(u64::MAX),
        });
        self.lock().push(one.clone());
        let purges = self.clone();
        Entered { purges, one }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<UnderWay>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has those with a plan of this name stop, or all of them. Says which these are.
    fn stop(&self, fingerprint: Option<&str>) -> Vec<PurgeStatus> {
        let all = self.lock();
        let meant = all
            .iter()
            .filter(|one| fingerprint.is_none_or(|name| one.state().fingerprint.as_deref() == Some(name)));
        let stopped = meant.map(|one| {
            one.stop_at(0);
            one.status()
        });
        stopped.collect()
    }

    pub(in crate::cache) fn status(&self) -> Vec<PurgeStatus> {
        self.lock().iter().map(|one| one.status()).collect()
    }
}

impl Entered {
    pub(super) fn get(&self) -> &UnderWay {
        &self.one
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.purges.lock().retain(|one| !Arc::ptr_eq(one, &self.one));
    }
}

impl UnderWay {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its turn has come.
    pub(super) fn begin(&self) {
        self.state().begun = true;
    }

    /// It is known what goes.
    pub(super) fn planned(&self, plan: &Plan, fingerprint: String) {
        let mut state = self.state();
        state.planned = Some((plan.goes.len() as u64, plan.bytes()));
        state.fingerprint = Some(fingerprint);
    }

    /// This has gone, or stays after all if nothing was `won`.
    pub(super) fn done(&self, going: &Going, is_won: bool) {
        self.done.fetch_add(1, Ordering::Relaxed);
        if is_won {
            self.won.fetch_add(going.won.unwrap_or(0), Ordering::Relaxed);
        }
    }

    /// It shall stop when so much is done.
    pub(super) fn stop_at(&self, done: u64) {
        self.stop_at.store(done, Ordering::Relaxed);
    }

    /// True if it shall stop now.
    pub(super) fn stops(&self) -> bool {
        self.done.load(Ordering::Relaxed) >= self.stop_at.load(Ordering::Relaxed)
    }

    fn status(&self) -> PurgeStatus {
        let state = self.state();
        let word = match (state.begun, state.planned) {
            _ if self.stops() => "stopping",
            (false, _) => "waiting",
            (true, None) => "planning",
            (true, Some(_)) => "removing",
        };
        let by = match self.by {
            By::Operator => "operator",
            By::Schedule => "schedule",
        };
        PurgeStatus {
            by: by.to_owned(),
            what: self.what.clone(),
            state: word.to_owned(),
            since: self.since.as_millis(),
            fingerprint: state.fingerprint.clone(),
            planned: state.planned.map(|(count, _)| count),
            done: self.done.load(Ordering::Relaxed),
            of_bytes: state.planned.map_or(0, |(_, bytes)| bytes),
            bytes: self.won.load(Ordering::Relaxed),
        }
    }
}

/// What a purge is about.
fn in_words(purge: &Purge) -> String {
    let names: Vec<String> = match purge {
        Purge::Rules(rules) => rules.filters.iter().map(ToString::to_string).collect(),
        Purge::Exact(names) => names
            .iter()
            .map(|exact| match exact {
                Exact::Named(name) => name.to_string(),
                Exact::Everywhere(digest) => digest.to_string(),
            })
            .collect(),
    };
    let text = names.join(" ");
    match text.char_indices().nth(MOST_LETTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl Cache {
    /// The purges that wait or are under way.
    pub fn purges_under_way(&self) -> PurgesReport {
        PurgesReport {
            now: self.clock.now().as_millis(),
            purges: self.purging.status(),
        }
    }

    /// Has the purge of a plan stop, or all that wait or are under way. Each ends what it has begun: some hundred images
    /// are whole or gone then, in a large cache up to a quarter of what was planned. Says which these are; none, if
    /// there is no such purge.
    pub fn stop_purges(&self, fingerprint: Option<&str>) -> PurgesReport {
        PurgesReport {
            now: self.clock.now().as_millis(),
            purges: self.purging.stop(fingerprint),
        }
    }
}
