//! A download that many readers follow.
//!
//! ```text
//! 0 ────────────── on_disk ──────── visible ── written ──────────── total
//! │  readers pread  │  relay, in memory │  held back │  still to come │
//! ```
//! Normally `on_disk` is all that was written, and the relay is empty but for the very first bytes, until they are
//! written as well. When the disk fails, `on_disk` stops there and what follows passes through a bounded window in
//! memory instead: the fill then waits for its slowest reader, and a reader that does not move for [`RELAY_PATIENCE`]
//! is cut off.
//!
//! The last [`HELD_BACK`] bytes stay invisible until the digest agrees, so no reader ever completes a
//! wrong body. A reader whose range lies far ahead fetches its own bytes in bounded windows, and returns to
//! the fill as soon as that has caught up.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::{Failure, From, lock};
use crate::oci::{Digest, Repository};
use crate::store::{Closing, OpenFile};
use crate::telemetry::trace::{self, Context, Done, Side};
use crate::upstream::{Refusal, Upstream};

/// Bytes at the end of a body that no reader sees before the digest agrees; a shorter body is held back
/// whole. One socket buffer: it costs no throughput.
pub(super) const HELD_BACK: u64 = 64 * 1024;
/// Most bytes of one fill in memory while the disk fails.
const RELAY_WINDOW: usize = 8 << 20;
/// How long a relay waits for a reader that does not read.
const RELAY_PATIENCE: Duration = Duration::from_secs(10);
/// Requests of their own that the readers of one fill may have in the air.
const AHEAD_REQUESTS: usize = 8;

/// How far a fill has come.
#[derive(Clone)]
pub(super) struct Progress {
    /// Length of the whole, once the upstream has said it.
    pub(super) total: Option<u64>,
    /// Bytes from the start that readers may have.
    pub(super) visible: u64,
    /// Bytes from the start that are in `file`.
    pub(super) on_disk: u64,
    /// The growing file, unless the disk refused from the start.
    pub(super) file: Option<Arc<OpenFile>>,
    /// Where the bytes come from.
    pub(super) from: From,
    /// Whether there is more to come.
    pub(super) phase: Phase,
    /// True once nothing more happens: what could be kept is kept.
    pub(super) landed: bool,
}

#[derive(Clone)]
pub(super) enum Phase {
    Running,
    /// The digest agreed: everything is visible.
    Verified,
    /// There will be no more, for this reason.
    Failed(Arc<Failure>),
    /// This attempt is over, and another may succeed at once. The reason is for readers under way.
    Over(&'static str),
}

#[derive(Default)]
struct Relay {
    start: u64,
    bytes: usize,
    pieces: VecDeque<Bytes>,
    positions: HashMap<u64, u64>,
    next_reader: u64,
}

/// What the readers of one download share.
pub(super) struct Fill {
    pub(super) digest: Digest,
    /// Where the bytes come from that are not here; a refusal if nobody is to be asked.
    pub(super) upstream: Result<Arc<Upstream>, Refusal>,
    /// The repository that it is fetched from.
    pub(super) repository: Repository,
    /// What it brings is marked, if not everybody may see that; nothing once it has failed.
    closing: Mutex<Option<Closing>>,
    /// Stops the download.
    pub(super) cancel: CancellationToken,
    pub(super) ahead: Arc<Semaphore>,
    /// Where it stands in the trace of who started it.
    pub(super) trace: Option<Context>,
    progress: watch::Sender<Progress>,
    relay: Mutex<Relay>,
    moved: Notify,
}

impl Fill {
    /// A download that is started for what is under way here.
    pub(super) fn new(
        digest: Digest,
        upstream: Result<Arc<Upstream>, Refusal>,
        repository: Repository,
        closing: Option<Closing>,
    ) -> Self {
        let progress = Progress {
            total: None,
            visible: 0,
            on_disk: 0,
            file: None,
            from: From::Upstream,
            phase: Phase::Running,
            landed: false,
        };
        Self {
            digest,
            upstream,
            repository,
            closing: Mutex::new(closing),
            cancel: CancellationToken::new(),
            ahead: Arc::new(Semaphore::new(AHEAD_REQUESTS)),
            trace: trace::next(),
            progress: watch::Sender::new(progress),
            relay: Mutex::default(),
            moved: Notify::new(),
        }
    }

    /// True if what it brings is marked.
    pub(super) fn is_closing(&self) -> bool {
        lock(&self.closing).is_some()
    }

    /// It has brought nothing.
    pub(super) fn came_to_nothing(&self) {
        lock(&self.closing).take();
    }

    pub(super) fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    pub(super) fn snapshot(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Tells of the download, which began at that moment (in nanoseconds) and has ended, if its trace is collected.
    pub(super) fn told(&self, began: u64, ended: u64) {
        let Some(trace) = self.trace.as_ref().filter(|trace| trace.is_collected()) else {
            return;
        };
        let progress = self.snapshot();
        let from = match progress.from {
            From::Disk | From::Memory => "disk",
            From::Shared => "shared",
            From::Alternate => "alternate",
            From::Upstream | From::Filling => "upstream",
        };
        trace.ended(Done {
            name: "fill".into(),
            side: Side::Internal,
            began,
            ended,
            failed: matches!(progress.phase, Phase::Failed(_)),
            attributes: vec![
                ("seawall.repository", self.repository.to_string().into()),
                ("seawall.reference", self.digest.to_string().into()),
                ("seawall.from", from.into()),
                ("seawall.bytes", progress.visible.into()),
            ],
        });
    }

    /// Changes the progress and wakes the readers.
    pub(super) fn publish(&self, change: impl FnOnce(&mut Progress)) {
        self.progress.send_modify(change);
    }

    /// Makes visible what was written, but for what is held back.
    pub(super) fn publish_written(&self, written: u64) {
        self.publish(|progress| {
            let ceiling = progress.total.unwrap_or(written).saturating_sub(HELD_BACK);
            progress.visible = progress.visible.max(written.min(ceiling));
        });
    }

    /// True if a reader that starts at `position` would find its bytes.
    pub(super) fn serves_from(&self, position: u64) -> bool {
        let on_disk = self.progress.borrow().on_disk;
        let relay = self.relay();
        position < on_disk || position >= relay.start
    }

    /// Passes bytes on through memory, once there is room for them.
    pub(super) async fn relay_piece(&self, at: u64, piece: Bytes) {
        loop {
            let moved = self.moved.notified();
            if self.relay().push(at, &piece) {
                return;
            }
            if tokio::time::timeout(RELAY_PATIENCE, moved).await.is_err() {
                self.relay().drop_oldest();
            }
        }
    }

    /// Lets go of what was passed on through memory, which is on disk by now.
    pub(super) fn stop_relaying(&self) {
        let mut relay = self.relay();
        relay.pieces.clear();
        (relay.start, relay.bytes) = (0, 0);
    }

    /// The bytes from `position` that are in memory; `None` if they have gone by.
    pub(super) fn relayed(&self, position: u64) -> Option<Bytes> {
        let relay = self.relay();
        let mut at = relay.start;
        for piece in &relay.pieces {
            let end = at + piece.len() as u64;
            if (at..end).contains(&position) {
                return Some(piece.slice(usize::try_from(position - at).ok()?..));
            }
            at = end;
        }
        None
    }

    /// A new reader takes a seat at `position`; the number names it.
    pub(super) fn sit(&self, position: u64) -> u64 {
        let mut relay = self.relay();
        let reader = relay.next_reader;
        relay.next_reader += 1;
        relay.positions.insert(reader, position);
        reader
    }

    /// A reader has moved on.
    pub(super) fn moved_to(&self, reader: u64, position: u64) {
        self.relay().positions.insert(reader, position);
        self.moved.notify_waiters();
    }

    /// A reader has left.
    pub(super) fn stand_up(&self, reader: u64) {
        self.relay().positions.remove(&reader);
        self.moved.notify_waiters();
    }

    fn relay(&self) -> MutexGuard<'_, Relay> {
        self.relay.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Relay {
    /// Takes a piece if there is room for it, after letting go of what every reader has behind it.
    fn push(&mut self, at: u64, piece: &Bytes) -> bool {
        if self.pieces.is_empty() {
            self.start = at;
        }
        let slowest = self.positions.values().copied().min().unwrap_or(at);
        while self.bytes + piece.len() > RELAY_WINDOW {
            let Some(oldest) = self.pieces.front() else { break };
            if self.start + oldest.len() as u64 > slowest {
                return false;
            }
            self.drop_oldest();
        }
        self.bytes += piece.len();
        self.pieces.push_back(piece.clone());
        true
    }

    fn drop_oldest(&mut self) {
        if let Some(piece) = self.pieces.pop_front() {
            self.start += piece.len() as u64;
            self.bytes -= piece.len();
        }
    }
}
