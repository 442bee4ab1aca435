//! The shared shelf: a bucket that several Seawalls fill and take from.
//!
//! An object stands under the name that the file has on disk, below a prefix: `v1/blobs/sha256/ab/abcd…`. Whoever takes
//! one hashes it. When to leave the shelf alone is decided by [`crate::policy::alternate`] for what is taken, and by
//! [`crate::policy::breaker`] for what is put there.

use std::io;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lru::LruCache;
use tokio::time::timeout;

use super::Shelf;
use crate::clock::{Clock, Time};
use crate::net::bucket::{Bucket, BucketOptions, Fault, Object};
use crate::net::dial::Dialer;
use crate::oci::{Digest, MediaType};
use crate::policy::alternate::{Alternate as Record, Outcome};
use crate::policy::breaker::{Breaker, Verdict};
use crate::telemetry::metrics::shared::{Read, Shared as Counted, Written};

/// The longest that the shelf is waited for until it begins to give something, or has given a manifest: a fraction of
/// what a client has, and several times what object stores take.
const BEGIN: Duration = Duration::from_secs(2);
/// Time until it has said whether it has something, where nobody waits.
const LOOK: Duration = Duration::from_secs(10);
/// Most digests remembered of which the shelf had wrong bytes: they are put there anew.
const MAX_SPOILT: NonZeroUsize = NonZeroUsize::new(1024).expect("is not zero");

/// What may be chosen about the shared shelf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedOptions {
    /// The bucket.
    pub bucket: BucketOptions,
    /// What all names in it begin with, without slashes around it; may be empty.
    pub prefix: String,
    /// Whether what was fetched is put there.
    pub write: bool,
}

/// The shelf.
pub struct Shared {
    bucket: Bucket,
    options: SharedOptions,
    state: Mutex<State>,
    metrics: Counted,
    clock: Clock,
}

#[derive(Debug)]
struct State {
    record: Record,
    /// For what is put there.
    writing: Breaker,
    /// True from its being left alone until it answers again.
    rests: bool,
    /// How it failed last.
    why: Option<String>,
    spoilt: LruCache<Digest, ()>,
}

/// How the shelf stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SharedStatus {
    /// The bucket.
    pub bucket: String,
    /// When it is asked again, in milliseconds since the Unix epoch; `None` while it is not left alone.
    pub resting_until: Option<u64>,
    /// How it failed last; `None` while it is not left alone.
    pub why: Option<String>,
}

impl Shared {
    /// The shelf in that bucket. Asks nobody yet.
    ///
    /// # Errors
    /// A sentence, if it cannot be used.
    pub fn open(
        options: SharedOptions,
        dialer: &Dialer,
        metrics: Counted,
        clock: Clock,
    ) -> Result<Self, String> {
        Ok(Self {
            bucket: Bucket::new(&options.bucket, dialer)?,
            options,
            state: Mutex::new(State {
                record: Record::default(),
                writing: Breaker::default(),
                rests: false,
                why: None,
                spoilt: LruCache::new(MAX_SPOILT),
            }),
            metrics,
            clock,
        })
    }

    /// Whether what was fetched is put there.
    pub fn takes(&self) -> bool {
        self.options.write
    }

    /// Where it is, for people.
    pub fn name(&self) -> String {
        format!("s3://{}", self.options.bucket.bucket)
    }

    /// How it stands.
    pub fn status(&self) -> SharedStatus {
        let state = self.state();
        SharedStatus {
            bucket: self.name(),
            resting_until: state.record.rests_until(self.clock.now()).map(Time::as_millis),
            why: state.why.clone().filter(|_| state.rests),
        }
    }

    /// Begins to take something, from that byte on; `None` if it is not there, or the shelf does not give it within
    /// two seconds. The bytes are whatever stands there: who hashes them tells [`Self::spoilt`].
    ///
    /// Cancel-safe.
    pub async fn take(&self, shelf: Shelf, digest: &Digest, from: u64) -> Option<Object> {
        let getting = async {
            let found = self.bucket.get(&self.path(shelf, digest), from).await;
            found.map(|object| object.filter(|object| object.start == from))
        };
        self.ask(digest, getting).await
    }

    /// As [`Self::take`], all of something of at most `limit` bytes, and the type that it was put there with.
    ///
    /// Cancel-safe.
    pub async fn take_whole(
        &self,
        shelf: Shelf,
        digest: &Digest,
        limit: u64,
    ) -> Option<(Bytes, Option<MediaType>)> {
        let getting = async {
            let Some(mut object) = self.bucket.get(&self.path(shelf, digest), 0).await? else {
                return Ok(None);
            };
            let mut whole = BytesMut::new();
            while let Some(piece) = object.chunk().await? {
                if (whole.len() + piece.len()) as u64 > limit {
                    return Err(Fault::Failed(format!("an object has more than {limit} bytes")));
                }
                whole.extend_from_slice(&piece);
            }
            let label = object.media_type.as_deref().and_then(MediaType::parse);
            Ok(Some((whole.freeze(), label)))
        };
        let (bytes, label) = self.ask(digest, getting).await?;
        self.came(bytes.len() as u64);
        Some((bytes, label))
    }

    /// So many bytes came from it.
    pub fn came(&self, bytes: u64) {
        self.metrics.came(bytes);
    }

    /// What it gave was not what its name says: it is not asked for that again for an hour.
    pub fn spoilt(&self, digest: &Digest) {
        self.state().spoilt.put(*digest, ());
        self.tell(
            digest,
            Outcome::Wrong,
            Some("it gave other bytes than their name says"),
        );
    }

    /// What it gave broke off.
    pub fn broke(&self, digest: &Digest) {
        self.tell(digest, Outcome::Failed, Some("what it gave broke off"));
    }

    /// Puts something there that it has not, `read` by places and lengths.
    ///
    /// Cancel-safe: what is not there whole is not there.
    pub async fn put<F>(
        &self,
        shelf: Shelf,
        digest: &Digest,
        media_type: Option<&MediaType>,
        size: u64,
        read: impl Fn(u64, u64) -> F,
    ) -> Written
    where
        F: Future<Output = io::Result<Bytes>>,
    {
        if matches!(self.state().writing.ask(self.clock.now()), Verdict::Refuse(_)) {
            return Written::Dropped;
        }
        let path = self.path(shelf, digest);
        let put = async {
            let late = || Fault::Failed(format!("it did not answer within {LOOK:?}"));
            let there = timeout(LOOK, self.bucket.size(&path)).await;
            let there = there.unwrap_or_else(|_| Err(late()))?;
            if there == Some(size) && !self.state().spoilt.contains(digest) {
                return Ok(Written::Present);
            }
            let media_type = media_type.map(MediaType::as_str);
            self.bucket.put(&path, media_type, size, read).await?;
            self.state().spoilt.pop(digest);
            Ok(Written::Stored)
        };
        let put: Result<Written, Fault> = put.await;
        match put {
            Ok(written) => {
                self.state().writing.succeeded();
                written
            }
            Err(why) => {
                let shelf = self.name();
                match self.state().writing.failed(self.clock.now()) {
                    true => tracing::warn!(%shelf, %why, "the shared shelf takes nothing for now"),
                    false => tracing::debug!(%shelf, %why, %digest, "the shared shelf did not take it"),
                }
                Written::Failed
            }
        }
    }

    /// Asks for a digest, if it may be asked for; and remembers what came of it.
    async fn ask<T>(
        &self,
        digest: &Digest,
        getting: impl Future<Output = Result<Option<T>, Fault>>,
    ) -> Option<T> {
        if !self.state().record.may_ask(digest, self.clock.now()) {
            return None;
        }
        let late = || Fault::Failed(format!("it gave nothing within {BEGIN:?}"));
        let got = timeout(BEGIN, getting).await;
        match got.unwrap_or_else(|_| Err(late())) {
            Ok(Some(given)) => {
                self.tell(digest, Outcome::Gave, None);
                Some(given)
            }
            Ok(None) => {
                self.tell(digest, Outcome::Lacks, None);
                None
            }
            Err(fault) => {
                let outcome = match fault {
                    Fault::Limited => Outcome::Limited { retry_after: None },
                    Fault::Failed(_) => Outcome::Failed,
                };
                self.tell(digest, outcome, Some(&fault.to_string()));
                None
            }
        }
    }

    /// Remembers what came of asking, and says so where that changes how the shelf stands.
    fn tell(&self, digest: &Digest, outcome: Outcome, why: Option<&str>) {
        let now = self.clock.now();
        self.metrics.read(match outcome {
            Outcome::Gave => Read::Gave,
            Outcome::Lacks => Read::Lacks,
            Outcome::Wrong => Read::Wrong,
            Outcome::Failed => Read::Failed,
            Outcome::Limited { .. } => Read::Limited,
        });
        let mut state = self.state();
        state.record.tell(digest, outcome, now);
        if let Some(why) = why {
            state.why = Some(why.to_owned());
        }
        let until = state.record.rests_until(now);
        let answers = matches!(outcome, Outcome::Gave | Outcome::Lacks);
        let before = state.rests;
        state.rests = until.is_some() || before && !answers;
        self.metrics.rests(state.rests);
        let shelf = self.name();
        match (before, until) {
            (false, Some(until)) => {
                let why = why.unwrap_or_default();
                tracing::warn!(%shelf, why, %until, "the shared shelf is left alone");
            }
            (true, None) if answers => tracing::info!(%shelf, "the shared shelf answers again"),
            _ => tracing::debug!(%shelf, %digest, ?outcome, "the shared shelf was asked"),
        }
    }

    fn path(&self, shelf: Shelf, digest: &Digest) -> String {
        let (hex, algorithm) = (digest.hex(), digest.algorithm().name());
        let folder = match shelf {
            Shelf::Blobs => "blobs",
            Shelf::Manifests => "manifests",
        };
        let name = format!("v1/{folder}/{algorithm}/{}/{hex}", &hex[..2]);
        match self.options.prefix.as_str() {
            "" => name,
            prefix => format!("{prefix}/{name}"),
        }
    }

    /// Held for nanoseconds, never across an await.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
