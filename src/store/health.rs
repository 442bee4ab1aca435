//! How the disk does: every write reports here, and asks here whether it may touch the disk at all.
//!
//! The decision is [`Breaker`]'s; this counts, logs and remembers the last error.

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use tokio::sync::Notify;

use super::NotKept;
use super::pool::{Places, WORKERS};
use crate::clock::{Clock, Time};
use crate::policy::disk::{Breaker, Trouble};
use crate::telemetry::metrics::Metrics;

/// How long looking for a file, or writing a piece of one, may take. A client waits 30 s for its headers.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How long looking for a file may take while the disk is known to be slow.
const IMPATIENCE: Duration = Duration::from_millis(500);
/// How long making a file durable may take. Nobody waits for that, and it goes on afterwards.
pub const SYNC_PATIENCE: Duration = Duration::from_secs(30);

/// Files are written.
const WELL: u8 = 0;
/// No file is written.
const AILING: u8 = 1;
/// No file is written, and who reads must not wait long.
const SLOW: u8 = 2;

/// What is wrong with the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ailing {
    /// What it is.
    pub trouble: Trouble,
    /// Since when.
    pub since: Time,
    /// The error that told.
    pub error: String,
}

/// The health of one disk.
#[derive(Debug)]
pub struct Health {
    clock: Clock,
    state: Mutex<State>,
    /// What the state comes to for those who only want to pass: [`WELL`], [`AILING`] or [`SLOW`].
    way: AtomicU8,
    opened: Notify,
    metrics: OnceLock<Arc<Metrics>>,
    /// For what opens, writes, syncs, names and removes files.
    places: Places,
}

#[derive(Debug, Default)]
struct State {
    breaker: Breaker,
    error: String,
}

impl Health {
    pub(super) fn new() -> Self {
        Self {
            clock: Clock::start(),
            state: Mutex::default(),
            way: AtomicU8::new(WELL),
            opened: Notify::new(),
            metrics: OnceLock::new(),
            places: Places::new(WORKERS),
        }
    }

    /// Counts in these metrics from now on.
    pub fn count_in(&self, metrics: Arc<Metrics>) {
        if self.metrics.set(metrics).is_ok() {
            self.show();
        }
    }

    /// True if a file may be written. False means: let the bytes pass, and keep nothing. Takes no lock.
    pub fn may_write(&self) -> bool {
        self.way.load(Ordering::Relaxed) == WELL
    }

    /// What is wrong; `None` if nothing is.
    pub fn ailing(&self) -> Option<Ailing> {
        let state = self.state();
        let (trouble, since) = state.breaker.standing()?;
        let error = state.error.clone();
        Some(Ailing {
            trouble,
            since,
            error,
        })
    }

    /// Reports what came of a write, and passes it on. That there is no room for something is not the disk's fault.
    ///
    /// # Errors
    /// The one given.
    pub fn wrote<T>(&self, operation: &'static str, outcome: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &outcome
            && error.kind() != io::ErrorKind::ResourceBusy
            && NotKept::of(error).is_none()
        {
            let trouble = trouble_of(error);
            self.count(operation, trouble);
            self.fail(trouble, error);
        }
        outcome
    }

    /// Reports what came of a read, and passes it on. A file that is not there is no error, and one that
    /// cannot be read says nothing about writing; but who hangs in reads will hang in writes.
    ///
    /// # Errors
    /// The one given.
    pub fn read<T>(&self, operation: &'static str, outcome: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &outcome
            && error.kind() != io::ErrorKind::NotFound
        {
            let trouble = trouble_of(error);
            self.count(operation, trouble);
            if trouble == Trouble::Slow {
                self.fail(trouble, error);
            }
        }
        outcome
    }

    /// Works on files off the reactor, for `patience` at most, and reports nothing.
    ///
    /// # Errors
    /// What `work` returns; [`io::ErrorKind::TimedOut`] if that takes too long: it goes on then, unseen.
    pub async fn working<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        self.places.work(patience, work).await
    }

    /// Writes off the reactor, for `patience` at most; `work` reports its errors itself.
    ///
    /// # Errors
    /// What `work` returns; [`io::ErrorKind::TimedOut`] if that takes too long: it goes on then, unseen.
    pub async fn writing<T: Send + 'static>(
        &self,
        operation: &'static str,
        patience: Duration,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        match self.places.work(patience, work).await {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => self.wrote(operation, Err(error)),
            outcome => outcome,
        }
    }

    /// Looks for a file off the reactor: for 5 s at most, and half a second while the disk is slow.
    ///
    /// # Errors
    /// What `work` returns; [`io::ErrorKind::TimedOut`] if that takes too long.
    pub async fn looking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let patience = match self.way.load(Ordering::Relaxed) {
            SLOW => IMPATIENCE,
            _ => PATIENCE,
        };
        match self.places.work(patience, work).await {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => self.read("look", Err(error)),
            outcome => outcome,
        }
    }

    /// Waits until a probe is due.
    ///
    /// Cancel-safe.
    pub async fn probe_due(&self) {
        loop {
            let opened = self.opened.notified();
            let due = self.state().breaker.probe_at();
            match due {
                Some(due) => return tokio::time::sleep(due.since(self.clock.now())).await,
                None => opened.await,
            }
        }
    }

    /// What came of a probe.
    pub fn probed(&self, outcome: io::Result<()>) {
        let (told, ailing) = {
            let mut state = self.state();
            let verdict = outcome.as_ref().copied().map_err(trouble_of);
            if let Err(error) = &outcome {
                state.error = error.to_string();
            }
            let told = state.breaker.probed(verdict, self.clock.now());
            self.show_the_way(&state);
            (told, state.breaker.standing())
        };
        if let Err(error) = &outcome {
            self.count("probe", trouble_of(error));
        }
        match (told, ailing, outcome) {
            (true, None, _) => tracing::info!("the disk takes files again: what is pulled is kept"),
            (true, Some((trouble, _)), Err(error)) => tell(trouble, &error),
            _ => {}
        }
        self.show();
    }

    /// Takes the disk for one that cannot be written, from the start.
    pub(super) fn begin_ailing(&self, error: &io::Error) {
        let trouble = trouble_of(error);
        let mut state = self.state();
        state.breaker.open(trouble, self.clock.now());
        state.error = error.to_string();
        self.show_the_way(&state);
        drop(state);
        tell(trouble, error);
        self.opened.notify_one();
    }

    fn fail(&self, trouble: Trouble, error: &io::Error) {
        let mut state = self.state();
        if !state.breaker.failed(trouble, self.clock.now()) {
            return;
        }
        state.error = error.to_string();
        self.show_the_way(&state);
        drop(state);
        tell(trouble, error);
        self.show();
        self.opened.notify_one();
    }

    fn show_the_way(&self, state: &State) {
        let way = match state.breaker.standing() {
            None => WELL,
            Some((Trouble::Slow, _)) => SLOW,
            Some(_) => AILING,
        };
        self.way.store(way, Ordering::Relaxed);
    }

    fn count(&self, operation: &'static str, trouble: Trouble) {
        if let Some(metrics) = self.metrics.get() {
            metrics.disk.error(operation, trouble.word());
        }
    }

    /// Brings the metric of the state up to date.
    fn show(&self) {
        if let Some(metrics) = self.metrics.get() {
            let ailing = self.state().breaker.standing().map(|(trouble, _)| trouble.word());
            metrics.disk.state(ailing);
        }
    }

    /// Held for nanoseconds, never across an await.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One line for each change.
fn tell(trouble: Trouble, error: &io::Error) {
    tracing::warn!(
        disk = trouble.word(),
        %error,
        next = trouble.next_step(),
        "the disk takes no files: pulls go on and are not kept, what is held is served; tried again by itself"
    );
}

/// What an error says about the disk.
pub(super) fn trouble_of(error: &io::Error) -> Trouble {
    let Some(errno) = Errno::from_io_error(error) else {
        return match error.kind() {
            io::ErrorKind::TimedOut => Trouble::Slow,
            io::ErrorKind::AddrInUse => Trouble::Taken,
            _ => Trouble::Other,
        };
    };
    match errno {
        Errno::NOSPC | Errno::DQUOT => Trouble::Full,
        Errno::IO | Errno::NXIO | Errno::NODEV | Errno::REMOTEIO | Errno::NOTCONN => Trouble::Failing,
        Errno::ROFS => Trouble::ReadOnly,
        Errno::NOENT | Errno::NOTDIR | Errno::STALE => Trouble::Missing,
        Errno::ACCESS | Errno::PERM => Trouble::Denied,
        Errno::MFILE | Errno::NFILE => Trouble::Descriptors,
        Errno::TIMEDOUT => Trouble::Slow,
        _ => Trouble::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(errno: Errno) -> io::Result<()> {
        Err(errno.into())
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_counted_by_operation_and_kind_and_the_state_is_shown() {
        let (health, metrics) = (Health::new(), Arc::new(Metrics::new()));
        health.count_in(metrics.clone());
        let shown = |line: &str| metrics.exposition().lines().any(|found| found == line);
        assert!(shown("seawall_disk_state{state=\"ok\"} 1"));
        for _ in 0..3 {
            assert!(health.may_write());
            assert!(health.wrote("write", failed(Errno::NOSPC)).is_err());
        }
        assert!(!health.may_write());
        assert!(shown(
            "seawall_disk_errors_total{kind=\"full\",operation=\"write\"} 3"
        ));
        assert!(shown("seawall_disk_state{state=\"ok\"} 0") && shown("seawall_disk_state{state=\"full\"} 1"));
        health.probe_due().await;
        health.probed(Ok(()));
        assert!(health.may_write() && health.ailing().is_none());
        assert!(shown("seawall_disk_state{state=\"ok\"} 1") && shown("seawall_disk_state{state=\"full\"} 0"));
    }

    #[tokio::test(start_paused = true)]
    async fn f063_what_cannot_be_read_says_nothing_about_writing_unless_it_hangs() {
        let health = Health::new();
        for _ in 0..10 {
            drop(health.read("look", failed(Errno::IO)));
            drop(health.read("look", failed(Errno::NOENT)));
        }
        assert!(health.may_write());
        for _ in 0..3 {
            drop(health.read("look", failed(Errno::TIMEDOUT)));
        }
        assert_eq!(health.ailing().map(|ailing| ailing.trouble), Some(Trouble::Slow));
    }

    #[test]
    fn no_room_by_our_own_rules_is_no_trouble_of_the_disk() {
        let health = Health::new();
        for _ in 0..10 {
            assert!(
                health
                    .wrote("commit", Err::<(), _>(NotKept::InUse.into()))
                    .is_err()
            );
        }
        assert!(health.may_write());
    }

    #[test]
    fn every_errno_that_an_operator_knows_has_its_word() {
        for (errno, word) in [
            (Errno::NOSPC, "full"),
            (Errno::IO, "failing"),
            (Errno::ROFS, "read-only"),
            (Errno::NOENT, "missing"),
            (Errno::ACCESS, "denied"),
            (Errno::MFILE, "descriptors"),
            (Errno::INVAL, "other"),
        ] {
            assert_eq!(trouble_of(&errno.into()).word(), word);
        }
    }
}
