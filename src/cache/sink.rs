//! Where a download's bytes go: a growing file, or, when the disk fails, the fill's relay; hashed either way, beside it
//! ([`hashing`]). The very first ones go by the relay too, since nobody should have to wait for the disk to see that
//! something comes.

mod hashing;
mod pieces;

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use self::hashing::Hashing;
pub(super) use self::pieces::{shorten, total_len};
use self::pieces::{skip, split_off};
use super::download::Download;
use super::fill::HELD_BACK;
use crate::oci::Hasher;
use crate::policy::disk::Pace;
use crate::store::{NotKept, OpenFile, PATIENCE, Partial, reading};

/// Most bytes that are passed on before they are written: one segment of the loopback's. With all of the first read
/// (400 KiB) the first byte came as early, and 4 MiB took 0.6 ms longer, since what is in memory is copied to the
/// reader by the thread that serves it.
const FIRST: usize = 64 * 1024;
/// Files are written up to multiples of this, where that much comes at a time, so that the kernel keeps them in large
/// folios: 64 MiB to one reader at 11.5 GB/s, 10.6 where writes ended anywhere, 11.7 of a file that was written at once
/// (by nginx). Multiples of 1 MiB were no better.
const EVEN: u64 = 64 * 1024;
/// Most bytes of one download that are written and still to be hashed. A cold 1 GiB of an upstream on the loopback took
/// 1.02 s with none, 0.83 s with 1 MiB, 0.78 s with 2 MiB, and no less with 4 or 8.
const LAG: u64 = 2 << 20;
/// Downloads whose hash may lag behind at a time: 32 MiB in all.
pub(super) const LAGGING: usize = 16;
/// Bytes hashed at a time when a file is verified.
const VERIFY_STEP: usize = 4 << 20;
/// How long a fill waits for one that was stopped to put its pen down, and how often: two seconds at most.
const BUSY_WAIT: Duration = Duration::from_millis(50);
const BUSY_TRIES: u32 = 40;

/// Where the bytes go: a growing file, or, when the disk fails, the fill's relay.
pub(super) struct Sink {
    pub(super) partial: Option<Arc<Partial>>,
    pub(super) hashing: Hashing,
    /// A place in memory for what is written and still to be hashed.
    lagging: Option<OwnedSemaphorePermit>,
    /// Bytes written, from the start of the blob.
    pub(super) written: u64,
    /// Bytes of the incoming body that are already held.
    pub(super) skip: u64,
    pace: Pace,
    /// Bytes of the next batch that have been passed on already.
    passed_on: u64,
}

impl Sink {
    pub(super) async fn open(download: &Download) -> Self {
        let mut sink = Self::in_memory(download);
        if !download.disk || !download.shelves.disk.health().may_write() {
            return sink;
        }
        match begin(download).await {
            Ok(partial) => {
                download
                    .fill
                    .publish(|progress| progress.file = Some(partial.file.clone()));
                sink.partial = Some(Arc::new(partial));
            }
            Err(error) => {
                let digest = download.fill.digest;
                tracing::info!(%digest, %error, "no file can be made: passing the blob through memory");
            }
        }
        sink
    }

    /// A sink that passes everything through memory.
    pub(super) fn in_memory(download: &Download) -> Self {
        Self {
            partial: None,
            hashing: Hashing::new(Hasher::new(download.fill.digest.algorithm())),
            lagging: None,
            written: 0,
            skip: 0,
            pace: Pace::default(),
            passed_on: 0,
        }
    }

    /// Sets room aside for all of a blob whose length is known. False if there is none: it is passed on and not
    /// kept, and what an earlier attempt left of it has gone.
    pub(super) async fn make_room(&mut self, total: Option<u64>, download: &Download) -> bool {
        match total {
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

    /// Hashes the `held` bytes of what an earlier attempt left from which the upstream goes on.
    ///
    /// # Errors
    /// If what is left cannot be read: it is of no use then.
    pub(super) async fn start(&mut self, held: u64, download: &Download) -> std::io::Result<()> {
        let Some(partial) = &self.partial else {
            return Ok(());
        };
        let mut hasher = self.hashing.hasher().await;
        while self.written < held {
            let step = hash_step(hasher, partial.file.clone(), self.written, held);
            let len;
            (hasher, len) = download.shelves.disk.health().read("read", step.await)?;
            self.written += len;
            download.fill.publish(|progress| progress.on_disk = self.written);
            download.fill.publish_written(self.written);
        }
        self.hashing = Hashing::new(hasher);
        Ok(())
    }

    pub(super) fn skip_held(&mut self, batch: &mut Vec<Bytes>) {
        self.skip -= skip(batch, self.skip);
    }

    /// Takes from a batch what lies behind the last multiple of [`EVEN`], which is to be written with the next one.
    /// Nothing of a batch of which less than that would be left: readers wait for it.
    pub(super) fn keep_odd(&self, batch: &mut Vec<Bytes>) -> Vec<Bytes> {
        let end = self.written + total_len(batch);
        let even = end - end % EVEN;
        if even < self.written + EVEN {
            return Vec::new();
        }
        split_off(batch, even - self.written)
    }

    /// As one of whose first bytes so many have been passed on.
    pub(super) fn behind(self, passed_on: u64) -> Self {
        Self { passed_on, ..self }
    }

    /// Writes a batch and has it hashed; publishes it once it is written. Tells how long the disk took.
    pub(super) async fn take(&mut self, batch: Vec<Bytes>, download: &Download) -> Duration {
        let len = total_len(&batch);
        if len == 0 {
            return Duration::ZERO;
        }
        let batch = Arc::new(batch);
        self.hashing.push(batch.clone());
        let at = self.written;
        let passed_on = std::mem::take(&mut self.passed_on);
        let writing = write_or_relay(&mut self.partial, (at, passed_on), batch, download);
        let took = writing.await;
        self.catch_up(download).await;
        self.written = at + len;
        took
    }

    /// Lets the hash lag behind while there is a place for that, else waits for it.
    async fn catch_up(&mut self, download: &Download) {
        if self.hashing.behind() == 0 {
            self.lagging = None;
            return;
        }
        if self.lagging.is_none() {
            self.lagging = download.shelves.lagging.clone().try_acquire_owned().ok();
        }
        let most = if self.lagging.is_some() { LAG } else { 0 };
        self.hashing.within(most).await;
    }

    /// Takes a batch while `reading` gets the next one. A disk that again and again takes longer than that is gone past.
    pub(super) async fn take_while<T>(
        &mut self,
        batch: Vec<Bytes>,
        reading: impl Future<Output = T>,
        download: &Download,
    ) -> T {
        let (len, before) = (total_len(&batch), Instant::now());
        let timed = async { (reading.await, before.elapsed()) };
        let (took, (read, arrived)) = tokio::join!(self.take(batch, download), timed);
        self.held_up(len, took.saturating_sub(arrived), download).await;
        read
    }

    /// The disk held the download up so much longer with the last `bytes`. One that is slow all the time is gone
    /// past: what follows passes through memory.
    async fn held_up(&mut self, bytes: u64, longer: Duration, download: &Download) {
        if self.partial.is_none() || self.pace.wrote(bytes, longer) {
            return;
        }
        let slow = std::io::Error::new(std::io::ErrorKind::TimedOut, "the disk holds a download up");
        let digest = download.fill.digest;
        if let Err(error) = download.shelves.disk.health().wrote::<()>("write", Err(slow)) {
            tracing::info!(%digest, %error, "the disk is slow: passing the blob through memory");
        }
        if let Some(open) = self.partial.take() {
            download.discard(open).await;
        }
    }
}

/// Passes the beginning of a blob on through memory: who waits for the first byte need not wait for the disk. How much
/// of it that was.
pub(super) async fn pass_on(beginning: &Bytes, download: &Download) -> u64 {
    let first = beginning.slice(..beginning.len().min(FIRST));
    let passed_on = first.len() as u64;
    relay(0, &[first], download).await;
    passed_on
}

/// Opens the unfinished file, once whoever still writes to it has come back.
async fn begin(download: &Download) -> std::io::Result<Partial> {
    let digest = download.fill.digest;
    let mut tries = 0;
    loop {
        let shelves = download.shelves.clone();
        let health = download.shelves.disk.health();
        let begun = health.writing("begin", PATIENCE, move || shelves.disk.begin(&digest));
        match begun.await {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy && tries < BUSY_TRIES => {
                tries += 1;
                tokio::time::sleep(BUSY_WAIT).await;
            }
            begun => return begun,
        }
    }
}

/// Sets room aside for the first `bytes` of a blob; false if it is not kept on disk, or not any more.
async fn make_room(partial: &mut Option<Arc<Partial>>, bytes: u64, download: &Download) -> bool {
    let Some(open) = partial.take() else { return false };
    let Err(why) = reserve(&open, bytes, download).await else {
        *partial = Some(open);
        return true;
    };
    if let Some(why) = NotKept::of(&why) {
        download.shelves.metrics.space.not_kept(why.name());
    }
    download.discard(open).await;
    let digest = download.fill.digest;
    tracing::info!(%digest, bytes, "passing a blob on without keeping it: {why}");
    download.fill.publish(|progress| {
        if progress.on_disk == 0 {
            progress.file = None;
        }
    });
    false
}

async fn reserve(open: &Arc<Partial>, bytes: u64, download: &Download) -> std::io::Result<()> {
    let (shelves, open) = (download.shelves.clone(), open.clone());
    let health = download.shelves.disk.health();
    if !health.may_write() {
        return Err(std::io::Error::other("the disk takes no files"));
    }
    // Nearly always there is room, and the first byte need not wait for another thread.
    match shelves.disk.take_free_room(&open, bytes) {
        Some(done) => Ok(done?),
        None => {
            let make_room = move || Ok(shelves.disk.make_room(&open, bytes)?);
            health.writing("reserve", PATIENCE, make_room).await
        }
    }
}

/// Tells how long the disk took, if it took the batch, of which so many bytes have been passed on.
async fn write_or_relay(
    partial: &mut Option<Arc<Partial>>,
    (at, passed_on): (u64, u64),
    batch: Arc<Vec<Bytes>>,
    download: &Download,
) -> Duration {
    let end = at + total_len(&batch);
    if download.fill.snapshot().total.is_none() {
        make_room(partial, end, download).await;
    }
    if let Some(open) = partial {
        let before = Instant::now();
        match write_batch(open, at, batch.clone(), download).await {
            Ok(()) => {
                download.fill.publish(|progress| progress.on_disk = end);
                download.fill.publish_written(end);
                if passed_on > 0 {
                    download.fill.stop_relaying();
                }
                return before.elapsed();
            }
            Err(error) => {
                let digest = download.fill.digest;
                tracing::info!(%digest, %error, "the disk fails: passing the blob through memory");
            }
        }
    }
    if let Some(failed) = partial.take() {
        download.discard(failed).await;
    }
    let mut rest = batch.to_vec();
    skip(&mut rest, passed_on);
    relay(at + passed_on, &rest, download).await;
    Duration::ZERO
}

/// Passes bytes on through memory.
async fn relay(mut position: u64, pieces: &[Bytes], download: &Download) {
    for piece in pieces {
        download.fill.relay_piece(position, piece.clone()).await;
        position += piece.len() as u64;
        download.fill.publish_written(position);
    }
}

async fn write_batch(
    partial: &Arc<Partial>,
    at: u64,
    batch: Arc<Vec<Bytes>>,
    download: &Download,
) -> std::io::Result<()> {
    let (partial, shelves) = (partial.clone(), download.shelves.clone());
    let health = download.shelves.disk.health();
    let writing = health.writing("write", PATIENCE, move || {
        shelves.disk.write(&partial, at, &batch)
    });
    writing.await
}

pub(super) async fn hash_step(
    mut hasher: Hasher,
    file: Arc<OpenFile>,
    at: u64,
    end: u64,
) -> std::io::Result<(Hasher, u64)> {
    reading(move || {
        let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(VERIFY_STEP);
        let mut buffer = vec![0; len];
        file.read_exact_at(&mut buffer, at)?;
        hasher.update(&buffer);
        Ok((hasher, len as u64))
    })
    .await
}

#[cfg(test)]
mod tests;
