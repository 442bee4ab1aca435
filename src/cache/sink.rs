//! Where a download's bytes go: a growing file, or, when the disk fails, the fill's relay; hashed either way.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use super::download::Download;
use super::fill::HELD_BACK;
use crate::oci::Hasher;
use crate::store::{OpenFile, Partial, blocking};
use crate::upstream::{Incoming, Refusal};

/// Bytes hashed at a time when a file is verified.
const VERIFY_STEP: usize = 4 << 20;

/// Where the bytes go: a growing file, or, when the disk fails, the fill's relay.
pub(super) struct Sink {
    pub(super) partial: Option<Partial>,
    pub(super) hasher: Hasher,
    /// Bytes written and hashed, from the start of the blob.
    pub(super) written: u64,
    /// Bytes of the incoming body that are already held.
    pub(super) skip: u64,
}

impl Sink {
    pub(super) async fn open(download: &Download) -> Self {
        let digest = download.fill.digest;
        let hasher = Hasher::new(digest.algorithm());
        let mut sink = Self {
            partial: None,
            hasher,
            written: 0,
            skip: 0,
        };
        if !download.disk {
            return sink;
        }
        let shelves = download.shelves.clone();
        match blocking(move || shelves.disk.begin(&digest)).await {
            Ok(partial) => {
                download
                    .fill
                    .publish(|progress| progress.file = Some(partial.file.clone()));
                sink.partial = Some(partial);
            }
            Err(error) => {
                tracing::warn!(%digest, %error, "the disk refuses a new file: passing the blob through memory");
                download.shelves.metrics.disk_error("begin");
            }
        }
        sink
    }

    /// Sets room aside for all of a blob whose length is known. False if there is none: it is passed on and not
    /// kept, and what an earlier attempt left of it has gone.
    pub(super) async fn make_room(&mut self, incoming: &Incoming, download: &Download) -> bool {
        match incoming.total {
            Some(total) => make_room(&mut self.partial, total, download).await,
            None => true,
        }
    }

    /// Where to go on from: an earlier attempt's bytes, but for a last stretch that a crash may have torn.
    pub(super) fn resume_at(&self) -> u64 {
        self.partial
            .as_ref()
            .map_or(0, |partial| partial.held.saturating_sub(HELD_BACK))
    }

    /// Hashes what an earlier attempt left, if the upstream goes on from there.
    pub(super) async fn start(&mut self, incoming: &Incoming, download: &Download) -> Result<(), Refusal> {
        let Some(partial) = &self.partial else {
            return Ok(());
        };
        let held = incoming.start;
        while self.written < held {
            let (hasher, len) = hash_step(self.hasher.clone(), partial.file.clone(), self.written, held)
                .await
                .map_err(|error| Refusal::Unusable(format!("an unfinished file cannot be read: {error}")))?;
            self.hasher = hasher;
            self.written += len;
            download.fill.publish(|progress| progress.on_disk = self.written);
            download.fill.publish_written(self.written);
        }
        Ok(())
    }

    pub(super) fn skip_held(&mut self, batch: &mut Vec<Bytes>) {
        for piece in batch.iter_mut() {
            let cut = self.skip.min(piece.len() as u64);
            self.skip -= cut;
            *piece = piece.slice(usize::try_from(cut).unwrap_or(0)..);
        }
        batch.retain(|piece| !piece.is_empty());
    }

    /// Writes and hashes a batch at the same time; publishes it once it is written.
    pub(super) async fn take(&mut self, batch: Vec<Bytes>, download: &Download) {
        let len = total_len(&batch);
        if len == 0 {
            return;
        }
        let batch = Arc::new(batch);
        let hashing = hash_batch(self.hasher.clone(), batch.clone());
        let at = self.written;
        let partial = &mut self.partial;
        let ((), hasher) = tokio::join!(write_or_relay(partial, at, batch, download), hashing);
        self.hasher = hasher;
        self.written = at + len;
    }
}

/// Sets room aside for the first `bytes` of a blob; false if it is not kept on disk, or not any more.
async fn make_room(partial: &mut Option<Partial>, bytes: u64, download: &Download) -> bool {
    let Some(open) = partial.take() else { return false };
    let shelves = download.shelves.clone();
    let asked = blocking(move || Ok((shelves.disk.make_room(&open, bytes), open))).await;
    let why = match asked {
        Ok((Ok(()), open)) => {
            *partial = Some(open);
            return true;
        }
        Ok((Err(why), open)) => {
            download.shelves.metrics.space.not_kept(why.name());
            download.discard(open).await;
            why.to_string()
        }
        Err(error) => error.to_string(),
    };
    let digest = download.fill.digest;
    tracing::info!(%digest, bytes, "passing a blob on without keeping it: {why}");
    download.fill.publish(|progress| {
        if progress.on_disk == 0 {
            progress.file = None;
        }
    });
    false
}

async fn write_or_relay(partial: &mut Option<Partial>, at: u64, batch: Arc<Vec<Bytes>>, download: &Download) {
    let end = at + total_len(&batch);
    if download.fill.snapshot().total.is_none() {
        make_room(partial, end, download).await;
    }
    if let Some(open) = partial {
        match write_batch(open, at, batch.clone()).await {
            Ok(()) => {
                download.fill.publish(|progress| progress.on_disk = end);
                download.fill.publish_written(end);
                return;
            }
            Err(error) => {
                let digest = download.fill.digest;
                tracing::warn!(%digest, %error, "the disk fails: passing the blob through memory");
                download.shelves.metrics.disk_error("write");
            }
        }
    }
    if let Some(failed) = partial.take() {
        download.discard(failed).await;
    }
    let mut position = at;
    for piece in batch.iter() {
        download.fill.relay_piece(position, piece.clone()).await;
        position += piece.len() as u64;
        download.fill.publish_written(position);
    }
}

pub(super) fn total_len(batch: &[Bytes]) -> u64 {
    batch.iter().map(|piece| piece.len() as u64).sum()
}

async fn write_batch(partial: &Partial, at: u64, batch: Arc<Vec<Bytes>>) -> std::io::Result<()> {
    let file = partial.file.clone();
    blocking(move || {
        let mut position = at;
        for piece in batch.iter() {
            file.write_all_at(piece, position)?;
            position += piece.len() as u64;
        }
        Ok(())
    })
    .await
}

async fn hash_batch(hasher: Hasher, batch: Arc<Vec<Bytes>>) -> Hasher {
    let hashed = blocking(move || {
        let mut hasher = hasher;
        for piece in batch.iter() {
            hasher.update(piece);
        }
        Ok(hasher)
    });
    hashed.await.expect("hashing neither fails nor panics")
}

pub(super) async fn hash_step(
    mut hasher: Hasher,
    file: Arc<OpenFile>,
    at: u64,
    end: u64,
) -> std::io::Result<(Hasher, u64)> {
    blocking(move || {
        let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(VERIFY_STEP);
        let mut buffer = vec![0; len];
        file.read_exact_at(&mut buffer, at)?;
        hasher.update(&buffer);
        Ok((hasher, len as u64))
    })
    .await
}
