//! What is remembered for the page: a day of figures, the latest refusals, and the largest repositories as they were
//! found last.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Time;
use crate::policy::history::{History, Served};
use crate::policy::incidents::{Incident, Incidents};
use crate::policy::listing::Usage;
use crate::server::{Inner, lock};

/// How often it is noted what was served.
pub(in crate::server) const NOTE_EVERY: Duration = Duration::from_secs(60);
/// Largest repositories shown.
const TOP: usize = 8;
/// How long a page waits for the first look at what is held; later pages show the one before meanwhile.
const PATIENCE: Duration = Duration::from_millis(500);
/// A look at everything held is repeated after so many times the time it took: it costs at most 1 part in so many.
const REST: u32 = 200;
/// ... but not sooner than this,
const REST_LEAST: Duration = Duration::from_secs(10);
/// ... and not later.
const REST_MOST: Duration = Duration::from_secs(3600);

/// Everything remembered. Kept over reloads.
pub(in crate::server) struct Seen {
    /// When this began.
    pub(super) since: Time,
    history: Mutex<History>,
    incidents: Mutex<Incidents>,
    largest: watch::Sender<Largest>,
}

/// The largest repositories, as they were found last.
#[derive(Clone, Default)]
struct Largest {
    usage: Option<Arc<Usage>>,
    /// Not looked at again before.
    rested: Option<Time>,
    is_looking: bool,
}

impl Seen {
    pub(in crate::server) fn new(now: Time) -> Self {
        Self {
            since: now,
            history: Mutex::default(),
            incidents: Mutex::default(),
            largest: watch::Sender::default(),
        }
    }

    /// A request was refused.
    pub(in crate::server) fn refused(&self, kind: &'static str, name: &str, words: &str, now: Time) {
        lock(&self.incidents).note(kind, name, words, now);
    }

    /// The latest refusals.
    pub(super) fn refusals(&self, most: usize) -> Vec<Incident> {
        lock(&self.incidents).latest(most)
    }

    /// Notes what has been served since the start.
    pub(in crate::server) fn note(&self, since_start: Served, now: Time) {
        lock(&self.history).note(since_start, now);
    }

    /// What was served, in `count` spans of so many minutes.
    pub(super) fn spans(&self, count: usize, minutes: u64, now: Time) -> Vec<Served> {
        lock(&self.history).spans(count, minutes, now)
    }
}

/// The largest repositories: everything held is looked through now and then, behind the page's back, however often
/// the page is asked for. `None` if that takes longer than a page can wait and was not done before, or if the disk
/// cannot be listed.
pub(super) async fn largest(inner: &Arc<Inner>) -> Option<Arc<Usage>> {
    let seen = &inner.seen;
    let now = inner.clock.now();
    let is_due = seen.largest.send_if_modified(|largest| {
        let is_due = !largest.is_looking && largest.rested.is_none_or(|rested| now >= rested);
        largest.is_looking |= is_due;
        is_due
    });
    if is_due {
        let looking = inner.clone();
        inner.streams.spawn(async move { look(&looking).await });
    }
    let mut watch = seen.largest.subscribe();
    if watch.borrow().usage.is_none() {
        let found = watch.wait_for(|largest| !largest.is_looking);
        // Nothing is shown in its place for now.
        let _ = tokio::time::timeout(PATIENCE, found).await;
    }
    watch.borrow().usage.clone()
}

async fn look(inner: &Inner) {
    let began = inner.clock.now();
    let found = tokio::select! {
        found = inner.cache.usage(TOP, 0) => found,
        () = inner.cut.cancelled() => return,
    };
    let now = inner.clock.now();
    let rest = (now.since(began) * REST).clamp(REST_LEAST, REST_MOST);
    inner.seen.largest.send_modify(|largest| {
        match found {
            Ok(usage) => largest.usage = Some(Arc::new(usage)),
            Err(error) => tracing::debug!(%error, "what is held cannot be listed for the page"),
        }
        largest.rested = Some(now + rest);
        largest.is_looking = false;
    });
}
