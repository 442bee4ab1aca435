//! The walk of a blob: memory, disk, flight, fill.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::claim::{Claimed, Opened};
use super::download::Download;
use super::fill::{Fill, Phase, Progress};
use super::quotas::{Pass, Start};
use super::seat::{Ending, Seat};
use super::shared::Shelved;
use super::{Asker, Body, Cache, Failure, Following, From, Kind, Outcome, Rescue, Served, in_time, lock};
use crate::clock::Time;
use crate::oci::{Digest, MediaType};
use crate::policy::flight::{FlightId, Join, Landing};
use crate::policy::naming::Chosen;
use crate::store::{OpenFile, Shelf, Stored};
use crate::telemetry::trace;
use crate::upstream::Incoming;

/// Times a client joins anew because the fill it joined ended without a verdict, or with one about another
/// repository: who asks for what a repository has not must not take it from those whose repository has it.
const MAX_JOINS: usize = 4;

impl Cache {
    /// A blob, at once or as it arrives. Comes back when the first bytes are in hand, so that a status of
    /// 200 is never followed by nothing.
    ///
    /// Cancel-safe: a fill that was started goes on as the policy for abandoned fills says.
    ///
    /// # Errors
    /// [`Failure`], after 25 s at most.
    pub async fn blob(&self, chosen: &Chosen, digest: &Digest, asker: &Asker) -> Result<Served, Failure> {
        if let Some(served) = self.blob_at_hand(chosen, digest) {
            self.blob_pulled(digest, self.clock.now());
            return Ok(served);
        }
        let found = in_time(
            &chosen.repository.registry,
            Box::pin(self.find_blob(chosen, digest, asker)),
        );
        let found = found.await;
        found.map_err(|failure| self.sent_on(chosen, failure, Failure::blob_elsewhere))
    }

    /// A blob's length, for HEAD. Starts no fill.
    ///
    /// # Errors
    /// [`Failure`], after 25 s at most.
    pub async fn blob_head(&self, chosen: &Chosen, digest: &Digest) -> Result<Served, Failure> {
        let found = in_time(
            &chosen.repository.registry,
            Box::pin(self.find_length(chosen, digest)),
        );
        let found = found.await;
        found.map_err(|failure| self.sent_on(chosen, failure, Failure::blob_elsewhere))
    }

    /// Waits until nothing more happens to the download of a blob, if there is one: what could be kept is kept. Its
    /// readers have it all before that.
    pub(super) async fn landed(&self, digest: &Digest) {
        let filling = lock(&self.flights).peek(digest).cloned();
        if let Some(fill) = filling {
            // An error means that the download is gone, and with it all that could happen.
            let _ = fill.watch().wait_for(|progress| progress.landed).await;
        }
    }

    /// A small blob that memory holds. `None` says nothing but that [`Self::blob`] has to be asked. Whoever sends it
    /// to somebody calls [`Self::blob_pulled`].
    pub fn blob_at_hand(&self, chosen: &Chosen, digest: &Digest) -> Option<Served> {
        if !self.belongs(chosen, digest) {
            return None;
        }
        let bytes = self.in_memory(digest)?;
        let (length, body) = (bytes.len() as u64, Body::Memory(bytes));
        Some(served(*digest, Some(length), body, From::Memory, Outcome::Hit))
    }

    /// The file of a blob of at most so many bytes, if it can be opened without waiting for anything; there is no body
    /// in what it is served as. `None` says as little as [`Self::blob_at_hand`]'s, and whoever sends it to somebody calls
    /// [`Self::blob_pulled`] as well.
    pub fn blob_file_at_hand(
        &self,
        chosen: &Chosen,
        digest: &Digest,
        most: u64,
    ) -> Option<(Served, Arc<OpenFile>)> {
        if !self.belongs(chosen, digest) {
            return None;
        }
        let stored = self.shelves.disk.at_hand(Shelf::Blobs, digest, most)?;
        let length = Some(stored.size);
        Some((
            served(*digest, length, Body::Empty, From::Disk, Outcome::Hit),
            stored.file,
        ))
    }

    /// Notes that somebody is sent this blob from where it is at hand, for eviction.
    pub fn blob_pulled(&self, digest: &Digest, now: Time) {
        self.shelves.disk.pulled(Shelf::Blobs, digest, now);
    }

    async fn find_blob(&self, chosen: &Chosen, digest: &Digest, asker: &Asker) -> Result<Served, Failure> {
        let claimed = self.claim_blob(chosen, digest, asker).await?;
        let found = self.find_claimed(chosen, digest, &claimed, asker).await?;
        if !self.belongs(chosen, digest) {
            // It came for others meanwhile, and so far only a list says that it is this repository's.
            self.claim_blob(chosen, digest, asker).await?;
        }
        Ok(found)
    }

    async fn find_claimed(
        &self,
        chosen: &Chosen,
        digest: &Digest,
        claimed: &Claimed,
        asker: &Asker,
    ) -> Result<Served, Failure> {
        let stored = self.on_disk(digest, true).await;
        let held = stored.is_some();
        if let Some(stored) = stored
            && stored.verified
        {
            let rescue = Rescue {
                cache: self.clone(),
                chosen: chosen.clone(),
                digest: *digest,
                file: stored.file.clone(),
                asker: *asker,
            };
            let body = Body::File(stored.file, stored.size, Arc::new(rescue));
            return Ok(served(*digest, Some(stored.size), body, From::Disk, Outcome::Hit));
        }
        for _ in 0..MAX_JOINS {
            if let Some(served) = self.follow(chosen, digest, (held, claimed), asker).await? {
                return Ok(served);
            }
        }
        Err(Failure::internal())
    }

    async fn find_length(&self, chosen: &Chosen, digest: &Digest) -> Result<Served, Failure> {
        let refused = |refusal| Failure::of_blob(chosen.repository.registry.as_str(), &refusal);
        let ask = async || {
            self.reach(chosen)?
                .blob_size(&chosen.repository.path, digest)
                .await
        };
        let asked = match self.is_known_to_belong(chosen, digest).await {
            true => None,
            false => {
                let length = ask().await.map_err(refused)?;
                self.note_belongs(chosen, digest);
                Some(length)
            }
        };
        let head = |length, from, outcome| served(*digest, Some(length), Body::Empty, from, outcome);
        if let Some(bytes) = self.in_memory(digest) {
            return Ok(head(bytes.len() as u64, From::Memory, Outcome::Hit));
        }
        if let Some(stored) = self.on_disk(digest, false).await {
            return Ok(head(stored.size, From::Disk, Outcome::Hit));
        }
        let filling = lock(&self.flights).peek(digest).cloned();
        if let Some(total) = filling.and_then(|fill| fill.snapshot().total) {
            return Ok(head(total, From::Filling, Outcome::Collapsed));
        }
        let length = match asked {
            Some(length) => length,
            None => ask().await.map_err(refused)?,
        };
        Ok(head(length, From::Upstream, Outcome::Bypass))
    }

    /// The bytes of a small blob. What is held as a manifest need not be a blob as well: its repository is asked.
    pub(super) fn in_memory(&self, digest: &Digest) -> Option<Bytes> {
        let held = self.shelves.memory.get(digest)?;
        held.manifest.is_none().then_some(held.bytes)
    }

    /// The file of a blob, to be pulled or only looked at.
    pub(super) async fn on_disk(&self, digest: &Digest, pull: bool) -> Option<Stored> {
        if self.shelves.disk.lacks(Shelf::Blobs, digest) {
            return None;
        }
        if pull && let Some(stored) = self.shelves.disk.at_hand(Shelf::Blobs, digest, u64::MAX) {
            self.blob_pulled(digest, self.clock.now());
            return Some(stored);
        }
        let (shelves, digest) = (self.shelves.clone(), *digest);
        let look = self.shelves.disk.health().looking(move || {
            Ok(match pull {
                true => shelves.disk.pull(Shelf::Blobs, &digest),
                false => shelves.disk.get(Shelf::Blobs, &digest),
            })
        });
        look.await.ok().flatten()
    }

    /// Joins the fill of a digest, starting it if there is none, and waits for its first bytes. `None` if
    /// it ended without a verdict: another attempt may succeed at once. What is `held` only has to be hashed, and whoever
    /// leads goes on with what is claimed.
    pub(super) async fn follow(
        &self,
        chosen: &Chosen,
        digest: &Digest,
        (held, claimed): (bool, &Claimed),
        asker: &Asker,
    ) -> Result<Option<Served>, Failure> {
        let upstream = self.reach(chosen);
        let repository = &chosen.repository;
        let launch = || {
            let closing = match held {
                true => {
                    let closed = self.shelves.is_closed(digest, None);
                    closed.then(|| self.shelves.disk.closing(digest, Some(repository)))
                }
                false => self.closing(chosen, digest),
            };
            Arc::new(Fill::new(*digest, upstream.clone(), repository.clone(), closing))
        };
        // Whoever joins another's fill, or has only what is here hashed, needs no pass.
        let join = |pass: &mut Pass| {
            let now = self.clock.now();
            let mut flights = lock(&self.flights);
            flights.warm(digest, |fill| fill.repository != *repository);
            let leads = !held && flights.would_lead(digest, now);
            let begun = if leads { claimed.take() } else { None };
            let begun = match begun {
                Some(Opened { incoming, start }) => (Some(start), Some(incoming)),
                None => (leads.then(|| pass.start()).transpose()?, None),
            };
            Ok((begun, flights.join(digest, |_| launch(), now)))
        };
        let (following, outcome) = match self.quotas.when_allowed(asker, join).await? {
            (begun, Join::Lead(id, fill)) => {
                let following = self.seat(fill.clone(), Some(id));
                self.start(fill, Some(id), chosen, begun);
                (following, Outcome::Miss)
            }
            (_, Join::Follow(id, fill)) => {
                trace::joined(fill.trace.as_ref());
                (self.seat(fill, Some(id)), Outcome::Collapsed)
            }
            (_, Join::Cooling(_, fill)) => {
                return Err(match fill.snapshot().phase {
                    Phase::Failed(failure) => (*failure).clone(),
                    Phase::Running | Phase::Verified | Phase::Over(_) => Failure::internal(),
                });
            }
        };
        if following.fill.serves_from(0) {
            let others = following.fill.repository != *repository;
            return match await_bytes(following, outcome).await {
                Err(_) if others => Ok(None),
                Ok(Some(served)) => {
                    // What others fetch, or was here, is not this upstream's word.
                    if !others && served.from != From::Disk {
                        self.note_belongs(chosen, digest);
                    }
                    Ok(Some(served))
                }
                served => served,
            };
        }
        // The disk fails and the beginning has gone by.
        self.follow_alone(chosen, digest, asker).await
    }

    /// Follows a fill of this client's own, which passes through memory and leaves the disk alone. `None` as above.
    pub(super) async fn follow_alone(
        &self,
        chosen: &Chosen,
        digest: &Digest,
        asker: &Asker,
    ) -> Result<Option<Served>, Failure> {
        let start = self.quotas.when_allowed(asker, Pass::start).await?;
        let (upstream, closing) = (self.reach(chosen), self.closing(chosen, digest));
        let alone = Arc::new(Fill::new(*digest, upstream, chosen.repository.clone(), closing));
        let following = self.seat(alone.clone(), None);
        self.start(alone, None, chosen, (Some(start), None));
        await_bytes(following, Outcome::Bypass).await
    }

    pub(super) fn seat(&self, fill: Arc<Fill>, id: Option<FlightId>) -> Following {
        let seat = Seat {
            fill: fill.clone(),
            id,
            flights: self.flights.clone(),
            clock: self.clock,
            _counted: self.shelves.metrics.fills.followed(),
        };
        Following {
            fill,
            _seat: Arc::new(seat),
        }
    }

    /// Has a fill carried out, by a pass where it takes one, with what has begun.
    fn start(
        &self,
        fill: Arc<Fill>,
        id: Option<FlightId>,
        chosen: &Chosen,
        (start, opened): (Option<Start>, Option<Incoming>),
    ) {
        let metrics = &self.shelves.metrics;
        let download = Download {
            fill: fill.clone(),
            shelves: self.shelves.clone(),
            registry: chosen.repository.registry.to_string(),
            disk: id.is_some(),
            shelved: Shelved::default(),
            received: metrics.upstreams.received(&self.upstreams.label(chosen)),
            begun: Mutex::new(opened),
        };
        let ending = Ending {
            _active: metrics.fills.started(),
            metrics: metrics.clone(),
            fill,
            id,
            flights: self.flights.clone(),
            clock: self.clock,
            landing: Landing::Failed,
        };
        let (fill, clock) = (download.fill.clone(), self.clock);
        self.tasks.spawn(async move {
            let began = clock.unix_nanos();
            let landing = trace::within(fill.trace.clone(), Box::pin(download.run())).await;
            fill.told(began, clock.unix_nanos());
            ending.land(landing);
            drop(start);
        });
    }
}

/// Waits until the status can be decided: there are bytes to send, or there will be none.
async fn await_bytes(following: Following, outcome: Outcome) -> Result<Option<Served>, Failure> {
    let mut watch = following.fill.watch();
    let decided = |progress: &Progress| progress.visible > 0 || !matches!(progress.phase, Phase::Running);
    let progress = watch
        .wait_for(decided)
        .await
        .map_err(|_| Failure::internal())?
        .clone();
    let digest = following.fill.digest;
    match &progress.phase {
        Phase::Failed(failure) => Err((**failure).clone()),
        Phase::Over(_) => Ok(None),
        Phase::Running | Phase::Verified => {
            let outcome = if progress.from == From::Disk {
                Outcome::Hit
            } else {
                outcome
            };
            let from = match (progress.from, outcome) {
                (From::Upstream | From::Alternate | From::Shared, Outcome::Collapsed) => From::Filling,
                (from, _) => from,
            };
            let body = Body::Filling(following);
            Ok(Some(served(digest, progress.total, body, from, outcome)))
        }
    }
}

fn served(digest: Digest, length: Option<u64>, body: Body, from: From, outcome: Outcome) -> Served {
    Served {
        media_type: MediaType::OCTET_STREAM,
        digest,
        length,
        body,
        from,
        outcome,
        age: Duration::ZERO,
    }
}

impl Failure {
    /// True if asking somebody else is all a client can do.
    pub(super) fn is_definite(&self) -> bool {
        self.kind == Kind::NotFound && self.why.is_none()
    }
}
