//! A blob's bytes in order, from one connection or, where one is slow, from several.
//!
//! Chunks ahead of the head wait in memory until their turn: [`MEMORY`] bounds that over all fills. So the
//! unfinished file never holds anything but the blob's beginning, and its length is how far it has come.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::fill::Fill;
use super::super::sink::{shorten, total_len};
use super::{BATCH, Download, Giver, Halt, Next, Opened, read_batch};
use crate::oci::ByteRange;
use crate::policy::lanes::{CHUNK, Chunks, Pace, Turn};
use crate::telemetry::metrics::Open;
use crate::telemetry::metrics::lanes::Lanes as Counted;
use crate::telemetry::trace;
use crate::upstream::{Incoming, Upstream};

/// Bytes of chunks ahead in memory, over all fills.
pub(in crate::cache) const MEMORY: u64 = 128 << 20;
/// The same in chunks.
pub(in crate::cache) const PLACES: usize = (MEMORY / CHUNK) as usize;
/// Times that a lane asks for one chunk.
const TRIES: u32 = 3;

/// Where the bytes come from, in order.
pub(super) struct Source<'a> {
    download: &'a Download,
    head: Option<Opened>,
    chunks: Chunks,
    /// One for each chunk ahead, in their order.
    lanes: VecDeque<Lane>,
    /// What fetches them: ends with this.
    tasks: JoinSet<()>,
    pace: Pace,
    giver: Giver,
    start: Instant,
    /// How long the head was waited for.
    reading: Duration,
    shared: Arc<Shared>,
}

/// What the lanes of one fill tell.
#[derive(Default)]
struct Shared {
    /// Bytes that have come over all connections.
    received: AtomicU64,
    /// True once a lane was not opened.
    refused: AtomicBool,
}

/// A chunk on its way.
struct Lane {
    start: u64,
    /// At most one chunk is in it.
    pieces: mpsc::UnboundedReceiver<Bytes>,
    /// True if it got nothing and never will.
    refused: Arc<AtomicBool>,
    /// Its place in memory.
    _place: OwnedSemaphorePermit,
}

impl<'a> Source<'a> {
    /// Begins with one connection. One whose length is not known has no other.
    pub(super) fn new(download: &'a Download, incoming: Opened) -> Self {
        let total = incoming.total().unwrap_or(0);
        Self {
            download,
            chunks: Chunks::new(total, incoming.start()),
            giver: incoming.giver(),
            head: Some(incoming),
            lanes: VecDeque::new(),
            tasks: JoinSet::new(),
            pace: Pace::default(),
            start: Instant::now(),
            reading: Duration::ZERO,
            shared: Arc::default(),
        }
    }

    /// Goes on with a head that was asked for anew, where the last batch ended or before.
    pub(super) fn go_on(&mut self, incoming: Opened) {
        self.chunks.begin(incoming.start());
        self.giver = incoming.giver();
        self.head = Some(incoming);
    }

    /// Who gives the head.
    pub(super) fn giver(&self) -> Giver {
        self.giver
    }

    /// The alternate that lanes lead to, or `None` for the upstream; `None` if there are to be none: the shared shelf
    /// is near.
    fn lanes_lead_to(&self) -> Option<Option<usize>> {
        match self.giver {
            Giver::Upstream => Some(None),
            Giver::Alternate(alternate) => Some(Some(alternate)),
            Giver::Shared => None,
        }
    }

    /// Waits for bytes, then takes what else has already arrived, up to [`BATCH`].
    pub(super) async fn batch(&mut self) -> (Vec<Bytes>, Next) {
        self.grow();
        loop {
            match self.chunks.turn() {
                Turn::Chunk => {
                    let (batch, open) = self.take_chunk().await;
                    if !batch.is_empty() {
                        let next = match self.chunks.turn() {
                            Turn::End => Next::End,
                            Turn::Chunk | Turn::Head(_) => Next::More,
                        };
                        return (batch, next);
                    }
                    if !open {
                        return (batch, Next::Halt(Halt::Gap));
                    }
                }
                Turn::Head(limit) => return self.take_head(Some(limit)).await,
                Turn::End => return self.take_head(None).await,
            }
        }
    }

    /// What the first chunk has; false if it is not whole and no more of it comes.
    async fn take_chunk(&mut self) -> (Vec<Bytes>, bool) {
        // Its connection leads to bytes that others have asked for.
        self.head = None;
        let Some(lane) = self.lanes.front_mut() else {
            self.chunks.broke();
            return (Vec::new(), false);
        };
        let mut batch = Vec::new();
        let mut length = 0;
        let mut next = lane.pieces.recv().await;
        let open = next.is_some();
        while let Some(piece) = next {
            length += piece.len();
            batch.push(piece);
            next = (length < BATCH).then(|| lane.pieces.try_recv().ok()).flatten();
        }
        let ended = self.chunks.took(total_len(&batch));
        if !open {
            self.chunks.broke();
        }
        if ended || !open {
            self.lanes.pop_front();
        }
        (batch, open)
    }

    /// What the head's own connection has, up to where others have asked.
    async fn take_head(&mut self, limit: Option<u64>) -> (Vec<Bytes>, Next) {
        let Some(head) = &mut self.head else {
            return (
                Vec::new(),
                if limit.is_some() {
                    Next::Halt(Halt::Gap)
                } else {
                    Next::End
                },
            );
        };
        let began = Instant::now();
        let (mut batch, next) = read_batch(head).await;
        self.reading += began.elapsed();
        let came = total_len(&batch);
        self.shared.received.fetch_add(came, Ordering::Relaxed);
        // A blob without lanes is as long as it turns out to be.
        let ahead = limit.filter(|_| !self.lanes.is_empty());
        let room = ahead.map_or(came, |limit| limit.saturating_sub(self.chunks.at()).min(came));
        shorten(&mut batch, room);
        self.chunks.took(room);
        match self.chunks.turn() {
            Turn::Chunk => (batch, Next::More),
            Turn::Head(_) | Turn::End => (batch, next),
        }
    }

    /// Opens lanes if more would help, and forgets those that the upstream refused.
    fn grow(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        let chunks = &mut self.chunks;
        self.lanes.retain(|lane| {
            let refused = lane.refused.load(Ordering::Acquire);
            if refused {
                chunks.refused(lane.start);
            }
            !refused
        });
        if self.shared.refused.load(Ordering::Relaxed) {
            self.pace.refused();
        }
        let (Ok(upstream), Some(alternate)) = (&self.download.fill.upstream, self.lanes_lead_to()) else {
            return;
        };
        let received = self.shared.received.load(Ordering::Relaxed);
        let has = self.tasks.len() + usize::from(self.head.is_some());
        let most = upstream.lanes(alternate);
        let want = self
            .pace
            .observe(self.start.elapsed(), received, self.reading, has, most);
        for _ in has..want {
            if self.lanes.len() >= want || !self.open(alternate) {
                break;
            }
        }
    }

    /// Opens one more lane; false if it may not, or has nothing to do.
    fn open(&mut self, alternate: Option<usize>) -> bool {
        let (fill, shelves) = (&self.download.fill, &self.download.shelves);
        let Ok(upstream) = fill.upstream.clone() else {
            return false;
        };
        let (Ok(place), Some(connection)) = (
            shelves.ahead.clone().try_acquire_owned(),
            upstream.lane_place(alternate),
        ) else {
            return false;
        };
        let Some(chunk) = self.chunks.ask() else {
            return false;
        };
        let (sender, pieces) = mpsc::unbounded_channel();
        let refused = Arc::new(AtomicBool::new(false));
        self.lanes.push_back(Lane {
            start: chunk.start,
            pieces,
            refused: refused.clone(),
            _place: place,
        });
        let fetch = Fetch {
            fill: fill.clone(),
            upstream,
            alternate,
            total: self.chunks.total(),
            pieces: sender,
            refused,
            shared: self.shared.clone(),
            counted: shelves.metrics.lanes.clone(),
            _open: shelves.metrics.lanes.opened(),
            _connection: connection,
        };
        self.tasks.spawn(trace::carried(fetch.run(chunk)));
        true
    }
}

/// Fetches one chunk.
struct Fetch {
    fill: Arc<Fill>,
    upstream: Arc<Upstream>,
    alternate: Option<usize>,
    total: u64,
    pieces: mpsc::UnboundedSender<Bytes>,
    refused: Arc<AtomicBool>,
    shared: Arc<Shared>,
    counted: Counted,
    _open: Open,
    _connection: OwnedSemaphorePermit,
}

impl Fetch {
    /// Ends when the chunk is there, or cannot be had: whoever waits for it sees that no more comes.
    async fn run(self, chunk: Range<u64>) {
        let mut at = chunk.start;
        for _ in 0..TRIES {
            let run = ByteRange {
                start: at,
                end: chunk.end - 1,
            };
            let (path, digest) = (&self.fill.repository.path, &self.fill.digest);
            let opening = self.upstream.lane(path, digest, self.alternate, run, self.total);
            match Box::pin(opening).await {
                Ok(incoming) => at += self.pass(incoming, chunk.end - at).await,
                Err(refusal) => {
                    tracing::debug!(%digest, at, error = %refusal, "a lane was not opened");
                    self.counted.refused();
                    self.shared.refused.store(true, Ordering::Relaxed);
                    self.refused.store(at == chunk.start, Ordering::Release);
                    return;
                }
            }
            if at == chunk.end {
                return;
            }
        }
    }

    /// Passes on what comes, up to `most` bytes, and says how many they were.
    async fn pass(&self, mut incoming: Incoming, most: u64) -> u64 {
        let mut passed = 0;
        while passed < most {
            let Ok(Some(piece)) = incoming.chunk().await else {
                break;
            };
            let mut piece = vec![piece];
            shorten(&mut piece, most - passed);
            for piece in piece {
                passed += piece.len() as u64;
                self.shared
                    .received
                    .fetch_add(piece.len() as u64, Ordering::Relaxed);
                // An error means that nobody waits for it any more; the task is about to end.
                let _ = self.pieces.send(piece);
            }
        }
        passed
    }
}
