//! Blocking work off the reactor, so bounded that a disk which hangs takes nobody else's place.
//!
//! The runtime has 512 threads for blocking work. Work on files that hangs (a dead NFS server, a frozen
//! device) holds its thread until the kernel lets go; no more than [`WORKERS`] and [`READERS`] of them do,
//! so that hashing and the rest always find one. Who finds no place in time is told that the disk is slow.

use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::sync::Semaphore;

/// Threads that may be busy opening, writing, syncing, naming and removing files.
pub const WORKERS: usize = 128;
/// Threads that may be busy reading bodies.
pub const READERS: usize = 256;
/// How long a read of a body may take: past it the body is broken off, and the file stays.
const READ_PATIENCE: Duration = Duration::from_secs(15);

/// A body knows its file, and not the disk that it is on: one for the process.
static READS: LazyLock<Places> = LazyLock::new(|| Places::new(READERS));

/// Runs blocking work off the reactor, for as long as it takes: hashing, and files that are not on the
/// cache's disk.
///
/// Not cancel-safe in effect: the work goes on when the caller goes away.
///
/// # Errors
/// What `work` returns; a panic in it becomes an error.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| Err(io::Error::other(panic)))
}

/// Reads a file of the cache, off the reactor.
///
/// # Errors
/// What `work` returns; [`io::ErrorKind::TimedOut`] if that takes more than 15 s.
pub async fn reading<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    READS.work(READ_PATIENCE, work).await
}

/// Threads that one kind of work may take at once.
#[derive(Debug)]
pub(super) struct Places(Arc<Semaphore>);

impl Places {
    /// So many.
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(most)))
    }

    /// Works off the reactor, once there is a place. The work goes on when the caller's patience ends.
    ///
    /// # Errors
    /// What `work` returns; [`io::ErrorKind::TimedOut`] if that takes longer than `patience`.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let done = async {
            let place = self.0.clone().acquire_owned().await.map_err(io::Error::other)?;
            blocking(move || {
                // Held until the work is done, which may be long after the caller has lost its patience.
                let _place = place;
                work()
            })
            .await
        };
        let late = || io::Error::new(io::ErrorKind::TimedOut, "the disk did not answer in time");
        tokio::time::timeout(patience, done)
            .await
            .unwrap_or_else(|_| Err(late()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn f066_work_that_hangs_is_given_up_and_keeps_its_place_until_it_returns() {
        let one = Places::new(1);
        let (release, wait) = channel::<()>();
        let patience = Duration::from_millis(20);
        let hung = one.work(patience, move || Ok(wait.recv().is_ok())).await;
        assert_eq!(hung.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let next = one.work(patience, || Ok(())).await;
        assert_eq!(next.unwrap_err().kind(), io::ErrorKind::TimedOut);
        // Other work is not held up by it.
        blocking(|| Ok(())).await.unwrap();
        release.send(()).unwrap();
        one.work(Duration::from_secs(60), || Ok(())).await.unwrap();
    }
}
