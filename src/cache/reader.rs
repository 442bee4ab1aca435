//! One client's way through a fill: from byte 0 or from the start of its range.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::fill::{Fill, Phase, Progress};
use crate::oci::ByteRange;
use crate::store::OpenFile;
use crate::upstream::{Incoming, Want};

/// A range that starts further than this ahead of a fill is worth a request of its own. containerd's
/// parallel mode asks some four chunks of 8 MiB ahead: those are better off waiting for the fill.
const FAR_AHEAD: u64 = 64 << 20;
/// A short range (the index of a lazily pulled layer) is worth one sooner.
const SHORT_FAR_AHEAD: u64 = 8 << 20;
/// What counts as short, in bytes; and how much one request ahead asks for. An open-ended range whose
/// reader hangs up early wastes at most this.
const WINDOW: u64 = 8 << 20;

/// Bytes on their way to a client.
#[derive(Debug)]
pub enum Piece {
    /// A run of a file.
    File {
        /// The open file.
        file: Arc<OpenFile>,
        /// Where the run starts.
        offset: u64,
        /// How long it is; at least one byte.
        len: u64,
    },
    /// Bytes in memory.
    Bytes(Bytes),
}

impl Piece {
    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::File { len, .. } => *len,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

/// The body cannot be completed: the connection must be broken, never ended cleanly.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the body cannot be completed: {0}")]
pub struct Broken(pub String);

/// A seat in a fill. While any clone of it is held, the fill has a reader.
#[derive(Clone)]
pub struct Following {
    pub(super) fill: Arc<Fill>,
    /// Gives the seat back when the last clone goes.
    pub(super) _seat: Arc<super::seat::Seat>,
}

impl Following {
    /// Reads a run, or the whole body.
    pub fn read(&self, range: Option<ByteRange>) -> Reader {
        let position = range.map_or(0, |range| range.start);
        Reader {
            watch: self.fill.watch(),
            id: self.fill.sit(position),
            following: self.clone(),
            position,
            end: range.map(|range| range.end + 1),
            ahead: None,
            alone: false,
        }
    }
}

/// Reads a fill in order.
pub struct Reader {
    following: Following,
    watch: watch::Receiver<Progress>,
    id: u64,
    position: u64,
    end: Option<u64>,
    ahead: Option<(Incoming, OwnedSemaphorePermit)>,
    /// True once a request ahead has failed: from then on the reader waits like everybody.
    alone: bool,
}

impl Reader {
    /// The next run of bytes, at most `most` long; `None` at the end.
    ///
    /// Cancel-safe: a piece is either returned or still to come.
    ///
    /// # Errors
    /// [`Broken`] if the fill failed, or this reader was too slow for a failing disk.
    pub async fn next(&mut self, most: u64) -> Result<Option<Piece>, Broken> {
        loop {
            if self.end == Some(self.position) {
                return Ok(None);
            }
            let progress = self.watch.borrow_and_update().clone();
            if let Some(piece) = self.available(&progress, most)? {
                return Ok(Some(self.advance(piece)));
            }
            match &progress.phase {
                Phase::Verified => return Ok(None),
                Phase::Failed(failure) => return Err(Broken(failure.public.to_string())),
                Phase::Over(why) => return Err(Broken((*why).to_owned())),
                Phase::Running => {}
            }
            if let Some(bytes) = self.fetch_ahead(&progress).await {
                return Ok(Some(self.advance(Piece::Bytes(bytes))));
            }
            if self.watch.changed().await.is_err() {
                return Err(Broken("the download ended without a word".to_owned()));
            }
        }
    }

    pub(super) fn available(&mut self, progress: &Progress, most: u64) -> Result<Option<Piece>, Broken> {
        let limit = progress.visible.min(self.end.unwrap_or(u64::MAX));
        if self.position >= limit {
            return Ok(None);
        }
        self.ahead = None;
        let len = (limit - self.position).min(most);
        if self.position < progress.on_disk
            && let Some(file) = &progress.file
        {
            let len = len.min(progress.on_disk - self.position);
            return Ok(Some(Piece::File {
                file: file.clone(),
                offset: self.position,
                len,
            }));
        }
        let Some(mut bytes) = self.following.fill.relayed(self.position) else {
            // Meanwhile it may have been written.
            let newer = self.watch.borrow_and_update().clone();
            return match self.position < newer.on_disk {
                true => self.available(&newer, most),
                false => Err(Broken(
                    "the reader fell behind while the disk was failing".to_owned(),
                )),
            };
        };
        bytes.truncate(usize::try_from(len).unwrap_or(usize::MAX));
        Ok(Some(Piece::Bytes(bytes)))
    }

    fn advance(&mut self, piece: Piece) -> Piece {
        self.position += piece.length();
        self.following.fill.moved_to(self.id, self.position);
        piece
    }

    /// Bytes of a request of this reader's own, if its range lies far ahead; `None` if it should wait.
    async fn fetch_ahead(&mut self, progress: &Progress) -> Option<Bytes> {
        if self.ahead.is_none() {
            let end = self.end.filter(|_| !self.alone)?;
            let distance = self.position.saturating_sub(progress.visible);
            let short = end - self.position <= WINDOW;
            if distance <= FAR_AHEAD && !(short && distance > SHORT_FAR_AHEAD) {
                return None;
            }
            self.ahead = self.open_ahead(end).await;
        }
        let chunk = match &mut self.ahead {
            Some((incoming, _)) => incoming.chunk().await,
            None => {
                self.alone = true;
                return None;
            }
        };
        match chunk {
            Ok(Some(mut bytes)) => {
                let left = self.end?.saturating_sub(self.position);
                bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                (!bytes.is_empty()).then_some(bytes)
            }
            Ok(None) => {
                self.ahead = None;
                Box::pin(self.fetch_ahead(progress)).await
            }
            Err(_) => {
                self.ahead = None;
                self.alone = true;
                None
            }
        }
    }

    async fn open_ahead(&self, end: u64) -> Option<(Incoming, OwnedSemaphorePermit)> {
        let fill = &self.following.fill;
        let permit = fill.ahead.clone().try_acquire_owned().ok()?;
        let run = ByteRange {
            start: self.position,
            end: end.min(self.position + WINDOW) - 1,
        };
        let incoming = fill
            .upstream
            .as_ref()
            .ok()?
            .blob(&fill.repository.path, &fill.digest, Want::Run(run))
            .await
            .ok()?;
        (incoming.start == self.position).then_some((incoming, permit))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.following.fill.stand_up(self.id);
    }
}
