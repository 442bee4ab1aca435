//! The read-through cache: the product.
//!
//! ```text
//! manifest by tag ── tag record ── freshness ── HEAD ──┐
//! manifest by digest ── memory ── disk ────────────────┴── shared shelf, upstream GET, verified whole
//! blob ── memory ── disk ── flight ── fill ── shared shelf, upstream GET, verified while it streams
//! ```

mod alternate;
mod belongings;
mod blob;
mod bundle;
mod calendar;
mod catalog;
mod changed;
mod check;
mod claim;
mod coalesce;
mod disk;
mod download;
mod explain;
mod failure;
mod figures;
mod fill;
mod fills;
mod holds;
mod janitor;
mod lists;
mod manifest;
mod names;
mod permit;
mod pulls;
mod purge;
mod quotas;
mod reader;
mod reports;
mod rescue;
mod resolve;
mod scrub;
mod seat;
mod shared;
mod show;
mod sink;
mod spend;
mod status;
mod tag;
#[cfg(test)]
mod tests;
mod troubles;
mod trust;
mod verify;
mod warm;
pub mod words;
mod young;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::oci::{Digest, MediaType, Registry, Repository, Tag};
use crate::policy::clients::Clients;
use crate::policy::eviction::Content;
use crate::policy::flight::Flights;
use crate::policy::naming::Chosen;
use crate::policy::scrub::Blame;
use crate::policy::{flight, freshness};
use crate::store::{Disk, Memory, OpenFile, PrivateFile, Records, ScrubRecord, Shelf, Space, blocking};
use crate::telemetry::metrics::{Metrics, Place};
use crate::upstream::{Refusal, Upstream, Upstreams};
use janitor::recall;

pub use crate::policy::budget::Asker;
pub use bundle::{Export, ExportError, Exported, ImportError, Imported, ImportedImage, Importer};
pub use calendar::{LastRun, ScheduledPurge, ScheduledStatus};
pub use disk::DiskStatus;
pub use explain::{
    Explained, ExplainedContent, ExplainedFreshness, ExplainedParts, ExplainedRecord, ExplainedTrust,
    ExplainedWithheld, ExplainedYoung,
};
pub use failure::{Failure, Kind};
pub use fills::{FillStatus, FillsStatus};
pub use holds::HoldError;
pub use permit::NotShown;
pub use purge::{PurgeError, PurgeStatus, Purged, PurgesReport};
pub use quotas::{Client, NotNow, Pacer, Quotas};
pub use reader::{Broken, Following, Piece, Reader};
pub use reports::{ChangeRow, GoesRow, HoldRow, HoldsReport, PurgeReport, StaysRow};
pub use rescue::Rescue;
pub use shared::{QUEUE, WRITERS};
pub use show::{NotHeld, Shown, ShownNode, ShownTag};
pub use status::{
    AccountStatus, BucketStatus, CacheStatus, IssuerStatus, ScrubStatus, Status, UpstreamStatus,
};
pub use troubles::{Gravity, Trouble};
pub use verify::{
    DamagedObject, Mended, Verifiable, Verify, VerifyEvent, VerifyProgress, VerifySummary, VerifyTarget,
};
pub use warm::{Missed, ScheduledWarm, Wanted, Warm, WarmEvent, WarmImage, WarmState, WarmSummary};

/// The longest a client waits for response headers: containerd gives up at 30 s.
pub const PATIENCE: Duration = Duration::from_secs(25);

/// What may be chosen about the cache.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where everything is kept.
    pub directory: PathBuf,
    /// How much of the disk may be taken.
    pub space: Space,
    /// Bytes of manifests and small blobs kept in memory.
    pub memory: u64,
    /// When tags are fresh, by entry of the configuration.
    pub freshness: Vec<freshness::Policy>,
    /// What clients are told when a budget is used up, by entry of the configuration.
    pub on_exhausted: Vec<OnExhausted>,
    /// Who may ask, in which tier, and what the tiers grant.
    pub clients: Clients,
    /// Bytes of bodies per second that all clients share; `None` for as many as the machine can send.
    pub bandwidth: Option<u64>,
    /// Whose signature content needs, and how long tags wait.
    pub trust: crate::policy::trust::Rules,
    /// When abandoned fills are finished.
    pub flights: flight::Rules,
    /// Hash a blob again when it is first served after a start.
    pub verify_first_serve: bool,
    /// Within which time everything is hashed again; `None` for never.
    pub scrub: Option<Duration>,
}

/// What clients are told when an upstream's budget is used up and nothing is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExhausted {
    /// 429: they wait and ask again.
    #[default]
    Refuse,
    /// 503, or 404 for a blob: they go on to the registry itself, with their own budget.
    FallThrough,
}

/// Where a body came from: header, metric label and log field in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum From {
    /// The memory shelf.
    Memory,
    /// The disk shelf.
    Disk,
    /// A download in progress that this request joined.
    Filling,
    /// The shared shelf, for this request.
    Shared,
    /// An alternate source, for this request.
    Alternate,
    /// The upstream, for this request.
    Upstream,
}

/// How the cache came to its answer, for `Cache-Status` (RFC 9211).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// `hit`.
    Hit,
    /// `fwd=miss; stored`.
    Miss,
    /// `fwd=miss; collapsed`: joined a fetch that another request started.
    Collapsed,
    /// `fwd=stale`: the upstream was asked and confirmed or replaced the record.
    Revalidated,
    /// `hit; detail=locked`: the operator wants the tag to stay where it is, so the upstream is not asked.
    Locked,
    /// `hit; detail=refreshing`: a little stale; the upstream is asked while the client has it already.
    Refreshing,
    /// `fwd=stale; detail=…`: served although it could not be validated.
    Stale(Why),
    /// `fwd=bypass`: passed through, not stored.
    Bypass,
}

/// Why an upstream did not answer, or its answer is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// It refuses us for now (429).
    Limited,
    /// It cannot be reached.
    Unreachable,
    /// It answers with server errors.
    Failing,
    /// It denies access.
    Denied,
    /// Its answer cannot be used.
    Unusable,
    /// The operator wants it left alone: it was not asked.
    Offline,
    /// The client has used up its own quota of what is fetched for it.
    OverQuota,
    /// What a tag points at was first seen a shorter while ago than the operator wants.
    Young,
}

/// What the cache answers when it has the content.
pub struct Served {
    /// What the content is. For a blob whose length nobody knows yet, see `length`.
    pub media_type: MediaType,
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes; `None` while an upstream streams a blob without having told its length.
    pub length: Option<u64>,
    /// The bytes.
    pub body: Body,
    /// Where they come from.
    pub from: From,
    /// How the cache came to its answer.
    pub outcome: Outcome,
    /// Time since the content, or for a tag its record, was last validated with the upstream.
    pub age: Duration,
}

/// Where the bytes are.
pub enum Body {
    /// Nowhere: the answer to a HEAD.
    Empty,
    /// In memory.
    Memory(Bytes),
    /// In a file that was verified, and is not evicted while anybody has this; with its length in bytes, and what
    /// goes on when it cannot be read.
    File(Arc<OpenFile>, u64, Arc<Rescue>),
    /// In a fill: partly here, partly on the way.
    Filling(Following),
}

/// A list of names.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The names, sorted.
    pub names: Arc<[String]>,
    /// How the cache came to its answer.
    pub outcome: Outcome,
}

/// What every part of the cache shares, whatever its configuration is.
struct Shelves {
    disk: Disk,
    memory: Memory,
    records: Records,
    keeper: holds::Keeper,
    private: PrivateFile,
    metrics: Arc<Metrics>,
    scrub: Mutex<ScrubRecord>,
    blame: Mutex<Blame>,
    belongings: belongings::Belongings,
    /// Places in memory for chunks that are fetched ahead.
    ahead: Arc<Semaphore>,
    /// Places in memory for what is written and still to be hashed.
    lagging: Arc<Semaphore>,
    /// Whether a blob is hashed again when it is first served after a start.
    verifies: AtomicBool,
    /// The shared shelf, if there is one, and what waits to be put on it. It comes before the first request, if ever.
    shared: OnceLock<shared::Sharing>,
}

impl Shelves {
    /// Puts a file that cannot be read, or does not hash to its name, out of the way, for all to see, unless another
    /// stands there by now. Blocks.
    fn put_aside(&self, shelf: Shelf, digest: &Digest, file: &OpenFile) -> std::io::Result<()> {
        tracing::warn!(%digest, ?shelf, "a stored file cannot be read, or does not hash to its name: put aside");
        self.metrics.integrity_failure(Place::Disk);
        let digest = *digest;
        self.disk.quarantine_file(&Content { shelf, digest }, file)?;
        Ok(())
    }
}

type SharedFlights = Arc<Mutex<Flights<Digest, Arc<fill::Fill>>>>;

/// Held for nanoseconds, never across an await; no code panics while it holds one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The cache, under one configuration. Clones share everything.
#[derive(Clone)]
pub struct Cache {
    options: Arc<Options>,
    shelves: Arc<Shelves>,
    upstreams: Arc<Upstreams>,
    flights: SharedFlights,
    claims: claim::SharedClaims,
    questions:
        coalesce::Coalesce<(Repository, Tag, resolve::Rank), Result<resolve::Resolved, resolve::Unresolved>>,
    refreshes: coalesce::Coalesce<(Repository, Tag), ()>,
    fetches: coalesce::Coalesce<(Registry, Digest, spend::Rank), spend::Bought>,
    listings: coalesce::Coalesce<String, Result<Option<lists::Listed>, Failure>>,
    quotas: Arc<Quotas>,
    trust: Arc<trust::Verdicts>,
    waiting: Arc<young::Waiting>,
    /// One catalog at a time is looked through: it is large.
    surveys: Arc<Semaphore>,
    /// One purge at a time is carried out.
    purges: Arc<Semaphore>,
    /// How far they are.
    purging: Arc<purge::Purges>,
    /// When they come.
    calendar: Arc<calendar::Calendar>,
    tasks: TaskTracker,
    clock: Clock,
    /// Counts what is spent for whoever asks by this clone: a warm has one of its own.
    spent: Arc<AtomicU64>,
}

impl Cache {
    /// A cache over these shelves and upstreams. Its tasks run in `tasks`.
    pub fn new(
        options: Options,
        mut disk: Disk,
        records: Records,
        upstreams: Arc<Upstreams>,
        metrics: Arc<Metrics>,
        tasks: TaskTracker,
        clock: Clock,
    ) -> Self {
        disk.govern(options.space, clock);
        recall(&disk, &records);
        let memory = Memory::new(options.memory);
        disk.health().count_in(metrics.clone());
        let keeper = holds::Keeper::open(&disk);
        let (private, had_credentials) = PrivateFile::open(&disk.private_path());
        let scrub = Mutex::new(records.scrub().unwrap_or_default());
        let flights = Arc::new(Mutex::new(Flights::new(options.flights)));
        let claims = Arc::new(Mutex::new(Flights::new(options.flights)));
        let quotas = Quotas::new(
            options.clients.clone(),
            options.bandwidth,
            metrics.clone(),
            tasks.clone(),
            clock,
        );
        let shelves = Shelves {
            verifies: AtomicBool::new(options.verify_first_serve),
            disk,
            memory,
            records,
            keeper,
            private,
            metrics,
            scrub,
            blame: Mutex::default(),
            belongings: belongings::Belongings::default(),
            ahead: Arc::new(Semaphore::new(download::AHEAD)),
            lagging: Arc::new(Semaphore::new(sink::LAGGING)),
            shared: OnceLock::new(),
        };
        // Before anything can be evicted.
        shelves.keep_held();
        shelves.recall_held(clock.now());
        let shelves = Arc::new(shelves);
        upstreams.recall_private(had_credentials);
        shelves
            .private
            .note(upstreams.with_credentials(), shelves.disk.health());
        let keeping = Arc::downgrade(&shelves);
        upstreams.keep_ledgers(move |registry, ledger| {
            if let Some(shelves) = keeping.upgrade() {
                shelves.records.put_ledger(registry, ledger);
            }
        });
        Self {
            options: Arc::new(options),
            shelves,
            upstreams,
            flights,
            claims,
            questions: coalesce::Coalesce::new("resolve", tasks.clone(), clock),
            refreshes: coalesce::Coalesce::new("refresh", tasks.clone(), clock),
            fetches: coalesce::Coalesce::new("fetch", tasks.clone(), clock),
            listings: coalesce::Coalesce::new("list", tasks.clone(), clock),
            quotas: Arc::new(quotas),
            trust: Arc::new(trust::Verdicts::new(tasks.clone(), clock)),
            waiting: Arc::default(),
            surveys: Arc::new(Semaphore::new(1)),
            purges: Arc::new(Semaphore::new(1)),
            purging: Arc::default(),
            calendar: Arc::default(),
            tasks,
            clock,
            spent: Arc::default(),
        }
    }

    /// What holds for a tag of a repository, or for what has no tag.
    fn rules(&self, chosen: &Chosen, tag: Option<&Tag>) -> &freshness::Rules {
        self.options.freshness[chosen.entry].rules(&chosen.repository.path, tag)
    }

    /// The upstream of a repository, unless it is not to be asked.
    fn reach(&self, chosen: &Chosen) -> Result<Arc<Upstream>, Refusal> {
        match self.rules(chosen, None).offline {
            true => Err(Refusal::Offline),
            false => Ok(self.upstreams.get(chosen)),
        }
    }

    /// What each client may take.
    pub fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// Waits until what was remembered so far (tags, lists, spends, pulls) is written down.
    pub async fn flush(&self) {
        let shelves = self.shelves.clone();
        let flushed = blocking(move || {
            shelves.write_down_pulls();
            shelves.records.flush();
            Ok(())
        });
        // It cannot fail: what cannot be written is told in the log.
        let _ = flushed.await;
    }

    /// Removes what nobody has resumed since `deadline`. Blocks.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn sweep_unfinished(&self, deadline: std::time::SystemTime) -> std::io::Result<()> {
        self.shelves.disk.sweep(deadline)
    }
}

/// `work`, unless it takes longer than clients wait.
async fn in_time<T>(
    registry: &crate::oci::Registry,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let outcome = tokio::time::timeout(PATIENCE, work).await;
    outcome.unwrap_or_else(|_| Err(Failure::timeout(registry.as_str())))
}
