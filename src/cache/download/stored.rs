//! What the disk holds already: hashed before it is trusted, while readers follow it.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::super::From;
use super::super::fill::Phase;
use super::super::sink::hash_step;
use super::Download;
use crate::oci::Hasher;
use crate::store::{Held, OpenFile, PATIENCE, Shelf, Stored, blocking, reading};

/// Blobs up to this length go to memory as well.
const SMALL: u64 = 64 * 1024;

/// What the file of a blob turned out to be.
enum Hashed {
    /// What its name says.
    Agrees,
    /// Something else, or not to be read ever again.
    Damaged,
    /// Not known: the disk is slow, or ill itself. The file may be whole.
    Unreadable,
}

impl Download {
    pub(super) async fn look_on_disk(&self) -> Option<Stored> {
        let (shelves, digest) = (self.shelves.clone(), self.fill.digest);
        if shelves.disk.lacks(Shelf::Blobs, &digest) {
            return None;
        }
        let look = move || Ok(shelves.disk.get(Shelf::Blobs, &digest));
        self.shelves.disk.health().looking(look).await.ok().flatten()
    }

    /// Hashes a file that has not been hashed since the start, while readers already follow it.
    /// Returns false if the file is not what its name says, or cannot be read now, and nobody has seen a byte of it.
    pub(super) async fn serve_from_disk(&mut self, stored: Stored) -> bool {
        let fill = self.fill.clone();
        let size = stored.size;
        let trusted = stored.verified || self.is_trusted(size).await;
        if !trusted {
            fill.publish(|progress| {
                progress.total = Some(size);
                progress.on_disk = size;
                progress.file = Some(stored.file.clone());
                progress.from = From::Disk;
            });
        }
        let why = match self.hash_file(&stored, trusted).await {
            Hashed::Agrees => None,
            Hashed::Damaged => {
                self.put_aside(&stored).await;
                Some("the stored copy was damaged and has been put aside")
            }
            Hashed::Unreadable => {
                tracing::warn!(digest = %fill.digest, "a stored file cannot be read now, and stays");
                self.disk = false;
                Some("the stored copy cannot be read now")
            }
        };
        if let Some(why) = why {
            if fill.snapshot().visible > 0 {
                self.end(why);
                return true;
            }
            fill.publish(|progress| {
                progress.total = None;
                progress.on_disk = 0;
                progress.file = None;
                progress.from = From::Upstream;
            });
            return false;
        }
        self.shelves.disk.mark_verified(&fill.digest, size);
        fill.publish(|progress| {
            progress.total = Some(size);
            progress.visible = size;
            progress.on_disk = size;
            progress.file = Some(stored.file.clone());
            progress.from = From::Disk;
            progress.phase = Phase::Verified;
        });
        self.remember_small(&stored.file, size).await;
        true
    }

    /// True if the operator does without hashing at the first serve, and the file has the length it had
    /// when it was committed.
    async fn is_trusted(&self, size: u64) -> bool {
        let (shelves, digest) = (self.shelves.clone(), self.fill.digest);
        !self.shelves.verifies.load(Ordering::Relaxed)
            && blocking(move || Ok(shelves.records.size(&digest)))
                .await
                .is_ok_and(|kept| kept == Some(size))
    }

    async fn put_aside(&self, stored: &Stored) {
        let (shelves, digest, file) = (self.shelves.clone(), self.fill.digest, stored.file.clone());
        let put_aside = move || shelves.put_aside(Shelf::Blobs, &digest, &file);
        let health = self.shelves.disk.health();
        if let Err(error) = health.writing("quarantine", PATIENCE, put_aside).await {
            tracing::warn!(%digest, %error, "the damaged file could not be put aside");
        }
    }

    async fn hash_file(&self, stored: &Stored, trusted: bool) -> Hashed {
        if trusted {
            return Hashed::Agrees;
        }
        let mut hasher = Hasher::new(self.fill.digest.algorithm());
        let mut at = 0;
        while at < stored.size {
            let step = hash_step(hasher, stored.file.clone(), at, stored.size).await;
            match self.shelves.disk.health().read("read", step) {
                Ok((next, len)) => {
                    hasher = next;
                    at += len;
                }
                Err(error) if self.shelves.is_damage(&error) => return Hashed::Damaged,
                Err(_) => return Hashed::Unreadable,
            }
            self.fill.publish_written(at);
        }
        self.shelves.blame().read();
        match hasher.finish() == self.fill.digest {
            true => Hashed::Agrees,
            false => Hashed::Damaged,
        }
    }

    pub(super) async fn remember_small(&self, file: &Arc<OpenFile>, size: u64) {
        if size > SMALL {
            return;
        }
        let file = file.clone();
        let read = reading(move || {
            let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
            file.read_exact_at(&mut bytes, 0)?;
            Ok(Bytes::from(bytes))
        });
        if let Ok(bytes) = read.await {
            self.shelves.take_into_memory(self.fill.digest, Held::blob(bytes));
        }
    }
}
