//! A blob that is asked for under the name of a repository which is not known to have it.
//!
//! Whether it is held does not matter: by the quota of who asks, the upstream is asked for it, for all of it if it is not
//! held or on its way for others, else for its first byte. With the upstream's word it is known to be the repository's,
//! and what has begun is gone on with. So nobody is told by an answer, or by what it has cost, what is held for others
//! (S066).
//!
//! ```text
//! belongs ──────────────────────────────────────────> memory, disk, flight, fill
//! not known ── claim ── a pass ── upstream ── yes ──────^          (what has begun ──^)
//!                                        └─── no ──> 404, whether it is held or not
//! ```

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::alternate::open_anywhere;
use super::quotas::{Pass, Start};
use super::{Asker, Cache, Failure, lock};
use crate::oci::{ByteRange, Digest, Repository};
use crate::policy::flight::{FlightId, Flights, Join, Landing, Leave};
use crate::policy::naming::Chosen;
use crate::telemetry::trace;
use crate::upstream::{Incoming, Refusal, Want};

/// The claims under way, and those that cool down.
pub(super) type SharedClaims = Arc<Mutex<Flights<Key, Arc<Claim>>>>;
type Key = (Repository, Digest);

/// A fetch that has begun: the upstream gives all that it was asked for.
pub(super) struct Opened {
    pub(super) incoming: Incoming,
    pub(super) start: Start,
}

/// What those share who wait for the upstream's first word.
pub(super) struct Claim {
    key: Key,
    opened: Mutex<Option<Opened>>,
    /// What came of it; `None` so far.
    said: watch::Sender<Option<Result<(), Failure>>>,
    cancel: CancellationToken,
}

/// What one of those who waited may go on with; nothing if there was no question.
#[derive(Default)]
pub(super) struct Claimed(Option<Arc<Claim>>);

impl Claimed {
    /// The fetch, if it has begun and nobody goes on with it yet.
    pub(super) fn take(&self) -> Option<Opened> {
        lock(&self.0.as_ref()?.opened).take()
    }
}

impl Cache {
    /// Makes sure that a blob is this repository's, or begins to fetch it, together with everybody who does so now:
    /// whoever then has to fetch it goes on with what has begun.
    ///
    /// Cancel-safe: what nobody waits for any more is given up.
    ///
    /// # Errors
    /// If it is not, nobody can tell, or the asker may begin no fetch now.
    pub(super) async fn claim_blob(
        &self,
        chosen: &Chosen,
        digest: &Digest,
        asker: &Asker,
    ) -> Result<Claimed, Failure> {
        let key = (chosen.repository.clone(), *digest);
        // By now it may be known that it is, and somebody may still wait to be told so.
        if self.is_known_to_belong(chosen, digest).await && self.claims().peek(&key).is_none() {
            return Ok(Claimed::default());
        }
        let join = |pass: &mut Pass| {
            let now = self.clock.now();
            let mut claims = self.claims();
            let start = claims.would_lead(&key, now).then(|| pass.start()).transpose()?;
            Ok((start, claims.join(&key, |_| Claim::new(key.clone()), now)))
        };
        let (id, claim) = match self.quotas.when_allowed(asker, join).await? {
            (Some(start), Join::Lead(id, claim)) => {
                self.begin(chosen, &claim, id, start);
                (id, claim)
            }
            (_, Join::Lead(id, claim) | Join::Follow(id, claim)) => (id, claim),
            (_, Join::Cooling(_, claim)) => return claim.outcome(),
        };
        let mut said = claim.said.subscribe();
        let waits = Waits {
            cache: self,
            claim: &claim,
            id,
        };
        let decided = said.wait_for(Option::is_some).await.is_ok();
        drop(waits);
        match decided {
            true => claim.outcome(),
            false => Err(Failure::internal()),
        }
    }

    /// Asks the upstream, until it gives something or nobody waits any more.
    fn begin(&self, chosen: &Chosen, claim: &Arc<Claim>, id: FlightId, start: Start) {
        let ends = Ends {
            cache: self.clone(),
            claim: claim.clone(),
            id,
            said: Err(Failure::internal()),
        };
        let (cache, chosen, claim, upstream) =
            (self.clone(), chosen.clone(), claim.clone(), self.reach(chosen));
        let (trace, clock) = (trace::next(), self.clock);
        let work = async move {
            let mut ends = ends;
            let (repository, digest) = &claim.key;
            let opening = async {
                let want = match cache.is_anywhere(digest).await {
                    true => Want::Run(ByteRange { start: 0, end: 0 }),
                    false => Want::From(0),
                };
                let incoming = Box::pin(open_anywhere(&*upstream?, &repository.path, digest, want)).await?;
                Ok((want == Want::From(0)).then_some(incoming))
            };
            let opened = tokio::select! {
                opened = opening => opened,
                () = claim.cancel.cancelled() => return,
            };
            ends.said = opened
                .map(|incoming| {
                    cache.note_belongs(&chosen, digest);
                    *lock(&claim.opened) = incoming.map(|incoming| Opened { incoming, start });
                })
                .map_err(|refusal| cache.claim_failed(repository, digest, &refusal));
        };
        self.tasks
            .spawn(trace::told(trace, "claim", move || clock.unix_nanos(), work));
    }

    /// True if a blob of this digest is held, or on its way.
    async fn is_anywhere(&self, digest: &Digest) -> bool {
        lock(&self.flights).peek(digest).is_some()
            || self.in_memory(digest).is_some()
            // A disk that does not tell has nothing.
            || self.on_disk(digest, false).await.is_some()
    }

    fn claim_failed(&self, repository: &Repository, digest: &Digest, refusal: &Refusal) -> Failure {
        let upstream = repository.registry.as_str();
        tracing::info!(%digest, %upstream, error = %refusal, "fill failed");
        self.shelves.metrics.fills.failed(refusal.cause());
        Failure::of_blob(upstream, refusal)
    }

    /// Held for nanoseconds, never across an await.
    pub(super) fn claims(&self) -> MutexGuard<'_, Flights<Key, Arc<Claim>>> {
        lock(&self.claims)
    }
}

impl Claim {
    fn new(key: Key) -> Arc<Self> {
        Arc::new(Self {
            key,
            opened: Mutex::default(),
            said: watch::Sender::new(None),
            cancel: CancellationToken::new(),
        })
    }

    fn outcome(self: &Arc<Self>) -> Result<Claimed, Failure> {
        let said = self.said.borrow().clone();
        said.unwrap_or_else(|| Err(Failure::internal()))
            .map(|()| Claimed(Some(self.clone())))
    }
}

/// One client's place. Giving the last one up stops the claim.
struct Waits<'a> {
    cache: &'a Cache,
    claim: &'a Claim,
    id: FlightId,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let (key, now) = (&self.claim.key, self.cache.clock.now());
        let mut claims = self.cache.claims();
        if claims.leave(key, self.id, 0, None) == Leave::Cancel {
            self.claim.cancel.cancel();
            claims.land(key, self.id, Landing::Cancelled, now);
        }
    }
}

/// Lands the claim however its task ends: one that panics, or is dropped, has failed.
struct Ends {
    cache: Cache,
    claim: Arc<Claim>,
    id: FlightId,
    said: Result<(), Failure>,
}

impl Drop for Ends {
    fn drop(&mut self) {
        let landing = match self.said {
            Ok(()) => Landing::Arrived,
            Err(_) => Landing::Failed,
        };
        let now = self.cache.clock.now();
        let mut claims = self.cache.claims();
        claims.land(&self.claim.key, self.id, landing, now);
        claims.sweep(now);
        drop(claims);
        self.claim.said.send_replace(Some(self.said.clone()));
    }
}
