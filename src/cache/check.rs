//! Hashes what is held again, piece by piece, and puts aside what is damaged.
//!
//! Reading a whole cache would drive out of the page cache what clients ask for. So nothing is read ahead, and
//! the pages of a piece are given back after it was hashed, unless they were in memory before: then somebody
//! else has use for them. Where the kernel does not say, they stay.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use super::Shelves;
use crate::oci::{Digest, Hasher};
use crate::policy::eviction::Content;
use crate::policy::scrub::Blame;
use crate::store::{Look, OpenFile, PATIENCE, SYNC_PATIENCE, Shelf, Stored, reading};
use crate::telemetry::metrics::Place;

/// Bytes hashed between two rests: 40 ms of a disk that reads 100 MB/s, which is as long as others wait for it.
const STEP: u64 = 4 << 20;

/// What an object turned out to be.
#[derive(Debug)]
pub(super) enum Checked {
    /// What its name says.
    Good,
    /// Something else. It has been put aside.
    Damaged(Damage),
    /// Not there (any more).
    Missing,
    /// It cannot be opened, for this reason. It stays.
    Unreadable(String),
}

/// A damaged object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// What is wrong with it, to read after its name.
    pub(super) why: String,
    /// The length it was stored with, in bytes.
    pub(super) size: u64,
    /// True if its right bytes were in memory, and have been written anew.
    pub(super) restored: bool,
}

impl Shelves {
    /// Hashes an object, and puts it aside if it is damaged. `rest` says how long to wait after so many bytes.
    /// Returns what it is, and how many bytes were read.
    ///
    /// Cancel-safe: nothing has changed, or the damaged object is aside.
    pub(super) async fn check(
        self: &Arc<Self>,
        content: Content,
        rest: impl FnMut(u64) -> Duration,
    ) -> (Checked, u64) {
        let shelves = self.clone();
        let look = move || Ok(shelves.disk.inspect(content));
        let look = match self.disk.health().working(PATIENCE, look).await {
            Ok(look) => look,
            Err(error) => Look::Unreadable(error),
        };
        match look {
            Look::Missing => (Checked::Missing, 0),
            Look::Unreadable(error) => (self.unreadable(content, error).await, 0),
            Look::Damaged { expected, found } => {
                let why = format!("has {found} bytes instead of {expected}");
                (self.damaged(content, why, expected).await, 0)
            }
            Look::Open(stored) => self.check_bytes(content, stored, rest).await,
        }
    }

    async fn check_bytes(
        self: &Arc<Self>,
        content: Content,
        stored: Stored,
        mut rest: impl FnMut(u64) -> Duration,
    ) -> (Checked, u64) {
        let (file, size) = (stored.file, stored.size);
        file.read_plainly();
        let mut hasher = Hasher::new(content.digest.algorithm());
        let mut at = 0;
        let mut broken = None;
        while at < size && broken.is_none() {
            let len = STEP.min(size - at);
            match hash_piece(hasher.clone(), file.clone(), at, len).await {
                Ok(next) => {
                    hasher = next;
                    at += len;
                    tokio::time::sleep(rest(len)).await;
                }
                Err(error) => broken = Some(error),
            }
        }
        let why = match broken {
            None => {
                self.blame().read();
                if hasher.finish() == content.digest {
                    if content.shelf == Shelf::Blobs {
                        self.disk.mark_verified(&content.digest, size);
                    }
                    return (Checked::Good, at);
                }
                "does not hash to its name".to_owned()
            }
            // Nothing is known of it.
            Some(error) if error.kind() == io::ErrorKind::TimedOut => {
                return (self.unreadable(content, error).await, at);
            }
            Some(error) if error.kind() == io::ErrorKind::UnexpectedEof || self.blame().broken() => {
                format!("cannot be read: {error}")
            }
            Some(error) => {
                let why = format!(
                    "{} cannot be read: {error}; nor could those before it, so it stays: see to the disk, then run \
                     seawall verify --all",
                    content.digest
                );
                tracing::warn!("{why}");
                return (Checked::Unreadable(why), at);
            }
        };
        let shelves = self.clone();
        let aside = move || shelves.disk.quarantine_file(&content, &file);
        let aside = self.disk.health().working(PATIENCE, aside).await;
        match aside {
            // Another file stands there by now, which was hashed on its way in.
            Ok(false) => (Checked::Good, at),
            Ok(true) => (self.damaged(content, why, size).await, at),
            Err(error) => {
                let why = format!("{why}; it could not be put aside: {error}");
                (self.damaged(content, why, size).await, at)
            }
        }
    }

    /// What is to be told of a file that stays, though it cannot be read.
    async fn unreadable(self: &Arc<Self>, content: Content, error: io::Error) -> Checked {
        let shelves = self.clone();
        let late = error.kind() == io::ErrorKind::TimedOut;
        let digest = content.digest;
        let hung = format!("{digest} cannot be read: {error}; see to the disk, then verify it again");
        let tell = move || Ok(shelves.disk.tell_unreadable(&content, &error));
        if !late && let Ok(why) = self.disk.health().working(PATIENCE, tell).await {
            return Checked::Unreadable(why);
        }
        tracing::warn!("{hung}");
        Checked::Unreadable(hung)
    }

    /// Who is to blame for what cannot be read. Held for nanoseconds, never across an await.
    pub(super) fn blame(&self) -> MutexGuard<'_, Blame> {
        self.blame.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the damage, and mends it if memory holds the right bytes.
    async fn damaged(self: &Arc<Self>, content: Content, why: String, size: u64) -> Checked {
        self.metrics.integrity_failure(Place::Disk);
        let shelves = self.clone();
        let restore = move || shelves.restore(content);
        let restored = self.disk.health().working(SYNC_PATIENCE, restore).await;
        Checked::Damaged(Damage {
            why,
            size,
            restored: restored.unwrap_or(false),
        })
    }

    /// Writes an object anew from memory; false if it is not there. Blocks.
    fn restore(&self, content: Content) -> io::Result<bool> {
        let Content { shelf, digest } = content;
        let Some(held) = self.memory.get(&digest) else {
            return Ok(false);
        };
        let is_it = held.manifest.is_some() == (shelf == Shelf::Manifests)
            && Digest::of(digest.algorithm(), &held.bytes) == digest;
        if !is_it {
            return Ok(false);
        }
        let _closing = self
            .is_closed(&digest, None)
            .then(|| self.disk.closing(&digest, None));
        self.disk.put(shelf, &digest, &held.bytes)?;
        self.write_down_some();
        Ok(true)
    }
}

async fn hash_piece(mut hasher: Hasher, file: Arc<OpenFile>, at: u64, len: u64) -> io::Result<Hasher> {
    reading(move || {
        let resident = file.is_resident(at, len);
        let mut buffer = vec![0; usize::try_from(len).unwrap_or(0)];
        file.read_exact_at(&mut buffer, at)?;
        hasher.update(&buffer);
        if !resident {
            file.let_go(at, len);
        }
        Ok(hasher)
    })
    .await
}
