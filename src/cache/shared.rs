//! The shared shelf in the walk: what is taken from it in place of a registry, and what is put there.
//!
//! ```text
//! memory ── disk ── a fill ── is it this repository's? ── shared shelf ── alternate, upstream
//!                       └── verified and on disk ── queue (bounded) ── put there, if it is not yet
//! ```
//! That something stands there says nothing of who may have it: other Seawalls put there what they may see. So it is
//! taken for a repository only where the upstream has said of late that the digest is that repository's, or says so
//! now, which costs nothing.

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::download::{Download, Giver, Opened, Stop};
use super::spend::Order;
use super::{Cache, Shelves};
use crate::oci::{ByteRange, Digest, MediaType, Reference};
use crate::policy::retention::Leftover;
use crate::store::{Held, PATIENCE, Shared, Shelf, reading};
use crate::telemetry::metrics::Place;
use crate::telemetry::metrics::shared::Written;
use crate::telemetry::metrics::spending::Avoided;
use crate::upstream::{Fetched, Refusal, Want};

/// How many things are put there at a time. Each takes one part of memory, of 8 MiB where things are large.
pub const WRITERS: usize = 2;
/// Most things that wait to be put there, a hundred bytes each; what comes then is not put there.
pub const QUEUE: usize = 1024;
/// Most bytes of a manifest there.
const MAX_MANIFEST: u64 = 64 << 20;

/// The shelf, and what waits to be put on it.
pub(super) struct Sharing {
    pub(super) shelf: Shared,
    offers: mpsc::Sender<Offer>,
    waiting: tokio::sync::Mutex<mpsc::Receiver<Offer>>,
}

/// Something that was verified and stands on disk.
struct Offer {
    shelf: Shelf,
    digest: Digest,
    media_type: Option<MediaType>,
}

/// What one download has of the shared shelf.
#[derive(Default)]
pub(super) struct Shelved {
    /// True once bytes of it came from there.
    helped: AtomicBool,
    /// True once they broke off: the rest comes from elsewhere.
    broke: AtomicBool,
}

impl Cache {
    /// Takes from this shelf from now on. There is one, for good: another one is left aside.
    pub fn share(&self, shelf: Shared) {
        let (offers, waiting) = mpsc::channel(QUEUE);
        let sharing = Sharing {
            shelf,
            offers,
            waiting: tokio::sync::Mutex::new(waiting),
        };
        if self.shelves.shared.set(sharing).is_err() {
            tracing::debug!("there is a shared shelf already");
        }
    }

    /// Puts on the shared shelf what was fetched, one thing after another, for ever; at once if there is no such shelf.
    /// [`WRITERS`] of these run at a time.
    ///
    /// Cancel-safe: what is under way is not put there.
    pub async fn fill_shared_shelf(&self) {
        let Some(sharing) = self.shelves.shared.get() else {
            return;
        };
        loop {
            let offer = sharing.waiting.lock().await.recv().await;
            let Some(offer) = offer else { return };
            let written = Box::pin(self.put_there(&sharing.shelf, &offer)).await;
            self.shelves.metrics.shared.written(written);
        }
    }

    async fn put_there(&self, shelf: &Shared, offer: &Offer) -> Written {
        let (shelves, kind, digest) = (self.shelves.clone(), offer.shelf, offer.digest);
        let look = move || Ok(shelves.disk.get(kind, &digest));
        let found = self.shelves.disk.health().looking(look).await;
        // It may have been evicted, or never been kept.
        let Some(stored) = found.ok().flatten() else {
            return Written::Dropped;
        };
        let read = |at: u64, len: u64| {
            let file = stored.file.clone();
            reading(move || {
                let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
                file.read_exact_at(&mut bytes, at)?;
                Ok(Bytes::from(bytes))
            })
        };
        let media_type = offer.media_type.as_ref();
        shelf.put(kind, &digest, media_type, stored.size, read).await
    }
}

impl Shelves {
    /// Has something put on the shared shelf that was verified and stands on disk. Nobody waits for that.
    pub(super) fn offer(&self, shelf: Shelf, digest: Digest, media_type: Option<MediaType>) {
        let Some(sharing) = self.shared.get().filter(|sharing| sharing.shelf.takes()) else {
            return;
        };
        let offer = Offer {
            shelf,
            digest,
            media_type,
        };
        if sharing.offers.try_send(offer).is_err() {
            self.metrics.shared.written(Written::Dropped);
        }
    }
}

impl Order {
    /// The manifest from the shared shelf, verified, and where that is: it costs nothing.
    pub(super) async fn shared_manifest(&self) -> Option<(Digest, Held, String)> {
        let (Reference::Digest(digest), Some(sharing)) = (self.reference.clone(), self.shelves.shared.get())
        else {
            return None;
        };
        let shelf = &sharing.shelf;
        let (bytes, label) = shelf.take_whole(Shelf::Manifests, &digest, MAX_MANIFEST).await?;
        let Some(held) = self.is_it(&digest, Fetched { bytes, label }, Place::Shared) else {
            shelf.spoilt(&digest);
            return None;
        };
        if !self.shelves.belongings.are_said(&self.repository, &digest) {
            let path = &self.repository.path;
            let told = self.upstream.head_for(path, &self.reference, Some(self.asker));
            let told = Box::pin(told).await.ok()?;
            if told.digest != digest {
                return None;
            }
        }
        let spending = &self.shelves.metrics.spending;
        spending.avoided(&self.label, Avoided::Shared);
        Some((digest, held, shelf.name()))
    }
}

impl Download {
    /// Opens the blob on the shared shelf, if it is there and this repository's.
    pub(super) async fn open_shared(&self, from: u64) -> Option<Opened> {
        let (fill, sharing) = (&self.fill, self.shelves.shared.get()?);
        if self.shelved.broke.load(Ordering::Relaxed) {
            return None;
        }
        let object = sharing.shelf.take(Shelf::Blobs, &fill.digest, from).await?;
        if fill.snapshot().total.is_some_and(|total| total != object.total) {
            sharing.shelf.spoilt(&fill.digest);
            return None;
        }
        let known = &self.shelves.belongings;
        if !known.are_said(&fill.repository, &fill.digest) {
            let upstream = fill.upstream.as_ref().ok()?;
            let first = Want::Run(ByteRange { start: 0, end: 0 });
            let told = upstream.blob(&fill.repository.path, &fill.digest, first);
            Box::pin(told).await.ok()?;
            known.given(&fill.repository, &fill.digest);
        }
        self.shelved.helped.store(true, Ordering::Relaxed);
        Some(object.into())
    }

    /// Counts bytes by who gave them.
    pub(super) fn count_came(&self, giver: Giver, bytes: u64) {
        match (giver, self.shelves.shared.get()) {
            (Giver::Shared, Some(sharing)) => sharing.shelf.came(bytes),
            _ => self.received.inc_by(bytes),
        }
    }

    /// What the shared shelf gave broke off.
    pub(super) fn shelf_broke(&self) {
        self.shelved.broke.store(true, Ordering::Relaxed);
        if let Some(sharing) = self.shelves.shared.get() {
            sharing.shelf.broke(&self.fill.digest);
        }
    }

    /// True if a download stopped because of bytes that may be the shared shelf's: it is not asked for them again, and
    /// what was written of them is removed.
    pub(super) async fn is_spoilt(&self, stop: &Stop) -> bool {
        let helped = self.shelved.helped.load(Ordering::Relaxed);
        let wrong = matches!(
            stop,
            Stop::Wrong | Stop::Torn | Stop::Refused(Refusal::Unusable(_))
        );
        let (true, true, Some(sharing)) = (helped, wrong, self.shelves.shared.get()) else {
            return false;
        };
        let digest = self.fill.digest;
        let shelf = sharing.shelf.name();
        tracing::warn!(%digest, %shelf, "the shared shelf gave other bytes than their name says: asking elsewhere");
        self.shelves.metrics.integrity_failure(Place::Shared);
        sharing.shelf.spoilt(&digest);
        let shelves = self.shelves.clone();
        let remove = move || shelves.disk.remove_leftover(Leftover::Unfinished, &digest);
        if self.disk
            && let Err(error) = self
                .shelves
                .disk
                .health()
                .writing("remove", PATIENCE, remove)
                .await
        {
            tracing::debug!(%digest, %error, "an unfinished file could not be removed");
        }
        true
    }
}
