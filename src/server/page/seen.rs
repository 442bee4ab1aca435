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

impl Largest {
    /// True if it is to be looked now: then nobody else looks until [`Self::end`].
    fn begin(&mut self, now: Time) -> bool {
        let is_due = !self.is_looking && self.rested.is_none_or(|rested| now >= rested);
        self.is_looking |= is_due;
        is_due
    }

    fn end(&mut self, began: Time, now: Time) {
        let rest = (now.since(began) * REST).clamp(REST_LEAST, REST_MOST);
        self.rested = Some(now + rest);
        self.is_looking = false;
    }
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
    if seen.largest.send_if_modified(|largest| largest.begin(now)) {
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
    inner.seen.largest.send_modify(|largest| {
        match found {
            Ok(usage) => largest.usage = Some(Arc::new(usage)),
            Err(error) => tracing::debug!(%error, "what is held cannot be listed for the page"),
        }
        largest.end(began, inner.clock.now());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_looks_is_alone_and_rests_in_proportion_to_the_time_that_it_took() {
        let at = |seconds: u64| Time::from_millis(seconds * 1000);
        for (took, rests) in [(0, 10), (1, 200), (60, 3600)] {
            let mut largest = Largest::default();
            assert!(largest.begin(at(1)));
            assert!(
                !largest.begin(at(1)) && !largest.begin(at(5000)),
                "one is looking"
            );
            largest.end(at(1), at(1 + took));
            assert!(!largest.begin(at(took + rests)), "{took} s");
            assert!(largest.begin(at(1 + took + rests)), "{took} s");
        }
    }
}
