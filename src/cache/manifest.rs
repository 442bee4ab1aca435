//! The walk of a manifest: tag record, freshness, HEAD, digest, memory, disk, upstream.
//!
//! Manifests are small, so nobody sees a byte of one before it is verified whole. A tag is resolved by
//! HEAD, which costs no budget; its content is fetched by digest, once.

use std::sync::Arc;
use std::time::Duration;

use super::failure::why;
use super::spend::Order;
use super::{Asker, Body, Cache, Failure, From, Outcome, Served, Shelves, Why, in_time};
use crate::clock::Time;
use crate::oci::{Descriptor, Digest, Manifest, MediaType, Reference, Repository, Tag};
use crate::policy::freshness::{self, After, Answer, Before, TagRecord};
use crate::policy::naming::Chosen;
use crate::store::{Held, Shelf, blocking};
use crate::upstream::{Refusal, Upstream};

/// Most child manifests looked at to see whether a stale index can be served whole.
const MAX_CHILDREN: usize = 64;

/// What the upstream said a tag points at.
pub(super) type Resolved = Descriptor;

impl Cache {
    /// A manifest. `head` asks for its headers only, which may spare a counted request upstream.
    ///
    /// Cancel-safe: what was asked of the upstream goes on and is kept.
    ///
    /// # Errors
    /// [`Failure`], after 25 s at most.
    pub async fn manifest(
        &self,
        chosen: &Chosen,
        reference: &Reference,
        head: bool,
        asker: &Asker,
    ) -> Result<Served, Failure> {
        let walk = async {
            match reference {
                Reference::Digest(digest) => self.by_digest(chosen, digest, head, asker).await,
                Reference::Tag(tag) => self.by_tag(chosen, tag, head, asker).await,
            }
        };
        let served = in_time(&chosen.repository.registry, Box::pin(walk)).await?;
        if !head {
            self.count_avoided(chosen, reference, &served);
        }
        Ok(served)
    }

    async fn by_digest(
        &self,
        chosen: &Chosen,
        digest: &Digest,
        head: bool,
        asker: &Asker,
    ) -> Result<Served, Failure> {
        if let Some((held, from)) = self.held(digest).await {
            return Ok(served(*digest, held, from, Outcome::Hit));
        }
        let reference = Reference::Digest(*digest);
        if head {
            let upstream = self.upstreams.get(chosen);
            match upstream.head(&chosen.repository.path, &reference).await {
                Ok(descriptor) if descriptor.digest == *digest => return Ok(headers_only(descriptor)),
                Ok(_) | Err(Refusal::Unusable(_)) => {}
                Err(refusal) => return Err(self.refused(chosen, &refusal)),
            }
        }
        let (held, joined) = self.fetch(chosen, *digest, asker).await?;
        let outcome = if joined { Outcome::Collapsed } else { Outcome::Miss };
        Ok(served(*digest, held, From::Upstream, outcome))
    }

    async fn by_tag(&self, chosen: &Chosen, tag: &Tag, head: bool, asker: &Asker) -> Result<Served, Failure> {
        let repository = &chosen.repository;
        let rules = self.shelves.options.freshness[chosen.entry];
        let now = self.clock.now();
        let record = self.shelves.records.tag(repository, tag);
        if let Some(record) = &record
            && freshness::before(Some(record), &rules, now) == Before::Serve
        {
            let served = self.by_record(chosen, record, head, asker).await;
            if !served.as_ref().is_err_and(Failure::is_definite) {
                return served.map(|served| aged(served, record.validated, now));
            }
        }
        let held = record.is_some();
        let (answer, refusal) = match self.resolve(chosen, tag, asker).await {
            Ok(descriptor) => (Answer::Found(descriptor), None),
            Err(Refusal::NotFound) => (Answer::Gone, Some(Refusal::NotFound)),
            Err(refusal) => (Answer::None, Some(refusal)),
        };
        let failure = || {
            let refusal = refusal.as_ref().unwrap_or(&Refusal::NotFound);
            self.refused(chosen, refusal)
        };
        let old = record.clone();
        match freshness::after(record, answer, &rules, now) {
            After::Remember(new) => {
                let served = match self.by_record(chosen, &new, head, asker).await {
                    // The tag has moved to what cannot be had now: what it pointed at is better than nothing.
                    Err(failure) if !failure.is_definite() => {
                        return self
                            .stale_instead(old, &failure, &rules, now)
                            .await
                            .ok_or(failure);
                    }
                    served => served?,
                };
                self.shelves.records.put_tag(repository, tag, new);
                Ok(Served {
                    outcome: if held {
                        Outcome::Revalidated
                    } else {
                        served.outcome
                    },
                    ..served
                })
            }
            After::Forget => {
                self.shelves.records.remove_tag(repository, tag);
                Err(failure())
            }
            After::ServeStale(record) => {
                let why = refusal.as_ref().and_then(why).unwrap_or(Why::Failing);
                self.stale(&record, why, now)
                    .await
                    .ok_or_else(|| failure().blobs_missing())
            }
            After::Fail => Err(failure()),
        }
    }

    /// The content a tag record points at; for a HEAD the record is enough.
    async fn by_record(
        &self,
        chosen: &Chosen,
        record: &TagRecord,
        head: bool,
        asker: &Asker,
    ) -> Result<Served, Failure> {
        let digest = &record.descriptor.digest;
        if head && self.held(digest).await.is_none() {
            return Ok(headers_only(record.descriptor.clone()));
        }
        Box::pin(self.by_digest(chosen, digest, false, asker)).await
    }

    /// A stale tag, if everything that must follow its manifest is held: a client that gets a manifest
    /// here asks nobody else for its blobs.
    async fn stale(&self, record: &TagRecord, why: Why, now: Time) -> Option<Served> {
        let digest = record.descriptor.digest;
        let (held, from) = self.held(&digest).await?;
        if !self.blobs_follow(&held).await {
            return None;
        }
        let served = served(digest, held, from, Outcome::Stale(why));
        Some(aged(served, record.validated, now))
    }

    /// A record that was overtaken by one whose content cannot be had.
    async fn stale_instead(
        &self,
        old: Option<TagRecord>,
        failure: &Failure,
        rules: &freshness::Rules,
        now: Time,
    ) -> Option<Served> {
        match freshness::after(old, Answer::None, rules, now) {
            After::ServeStale(record) => self.stale(&record, failure.why?, now).await,
            After::Remember(_) | After::Forget | After::Fail => None,
        }
    }

    async fn blobs_follow(&self, held: &Held) -> bool {
        let Ok(manifest) = Manifest::parse(held.bytes.clone(), held.manifest.as_ref()) else {
            return false;
        };
        if self.holds_all(&manifest).await {
            return true;
        }
        for child in manifest.manifests.iter().take(MAX_CHILDREN) {
            if let Some((held, _)) = self.held(&child.digest).await
                && let Ok(child) = Manifest::parse(held.bytes.clone(), held.manifest.as_ref())
                && self.holds_all(&child).await
            {
                return true;
            }
        }
        false
    }

    async fn holds_all(&self, manifest: &Manifest) -> bool {
        if !manifest.manifests.is_empty() {
            return false;
        }
        let shelves = self.shelves.clone();
        let blobs: Vec<Digest> = manifest.blobs.iter().map(|blob| blob.digest).collect();
        let look = blocking(move || Ok(blobs.iter().all(|blob| shelves.disk.holds(Shelf::Blobs, blob))));
        look.await.unwrap_or(false)
    }

    /// A manifest that is held, from memory or disk; verified either way.
    async fn held(&self, digest: &Digest) -> Option<(Held, From)> {
        if let Some(held) = self.shelves.memory.get(digest) {
            return held.manifest.is_some().then_some((held, From::Memory));
        }
        let (shelves, digest) = (self.shelves.clone(), *digest);
        let read = blocking(move || Ok(shelves.read_manifest(&digest)));
        read.await.ok().flatten().map(|held| (held, From::Disk))
    }

    /// Asks what a tag points at, together with everybody who asks now.
    async fn resolve(&self, chosen: &Chosen, tag: &Tag, asker: &Asker) -> Result<Resolved, Refusal> {
        let key = (chosen.repository.clone(), tag.clone());
        let question = || {
            let upstream = self.upstreams.get(chosen);
            let order = self.order(chosen, Reference::Tag(tag.clone()), *asker);
            ask_tag(upstream, order, key.clone())
        };
        let (answer, _) = self.questions.ask(&key, question).await;
        answer.unwrap_or_else(|| Err(Refusal::Unusable("an internal error".to_owned())))
    }

    fn refused(&self, chosen: &Chosen, refusal: &Refusal) -> Failure {
        Failure::of_manifest(chosen.repository.registry.as_str(), refusal)
    }
}

impl Shelves {
    /// Reads a manifest from disk into memory, hashing it. Blocks.
    fn read_manifest(&self, digest: &Digest) -> Option<Held> {
        use std::io::Read as _;
        let stored = self.disk.get(Shelf::Manifests, digest)?;
        let mut bytes = Vec::new();
        // A manifest is small; a file that has grown cannot be it.
        let limit = 64 << 20;
        (&*stored.file).take(limit).read_to_end(&mut bytes).ok()?;
        if Digest::of(digest.algorithm(), &bytes) != *digest {
            if let Err(error) = self.put_aside(Shelf::Manifests, digest) {
                tracing::warn!(%digest, %error, "the damaged file could not be put aside");
            }
            return None;
        }
        let label = self.records.media_type(digest);
        let held = Held::manifest(Manifest::parse(bytes.into(), label.as_ref()).ok()?);
        self.memory.put(*digest, held.clone());
        Some(held)
    }

    /// Keeps a verified manifest.
    pub(super) async fn keep(
        self: &Arc<Self>,
        repository: &Repository,
        digest: Digest,
        held: &Held,
        now: Time,
    ) {
        self.memory.put(digest, held.clone());
        if let Some(media_type) = &held.manifest {
            self.records.put_manifest(repository, &digest, media_type, now);
        }
        let (shelves, bytes) = (self.clone(), held.bytes.clone());
        let put = blocking(move || shelves.disk.put(Shelf::Manifests, &digest, &bytes));
        if let Err(error) = put.await {
            tracing::warn!(%digest, %error, "a manifest could not be kept on disk");
            self.metrics.disk_error("put");
        }
    }
}

/// HEAD, or GET where the upstream does not answer HEAD properly.
async fn ask_tag(
    upstream: Arc<Upstream>,
    order: Order,
    (repository, tag): (Repository, Tag),
) -> Result<Resolved, Refusal> {
    let reference = Reference::Tag(tag);
    match upstream.head(&repository.path, &reference).await {
        Err(Refusal::Unusable(reason)) => {
            tracing::debug!(%repository, %reference, reason, "HEAD is of no use here: falling back to GET");
            let (digest, held) = order.carry_out().await?;
            let media_type = held.manifest.unwrap_or(MediaType::OCI_MANIFEST);
            Ok(Descriptor {
                media_type,
                digest,
                size: held.bytes.len() as u64,
            })
        }
        answer => answer,
    }
}

fn served(digest: Digest, held: Held, from: From, outcome: Outcome) -> Served {
    Served {
        media_type: held.manifest.unwrap_or(MediaType::OCTET_STREAM),
        digest,
        length: Some(held.bytes.len() as u64),
        body: Body::Memory(held.bytes),
        from,
        outcome,
        age: Duration::ZERO,
    }
}

fn headers_only(descriptor: Descriptor) -> Served {
    Served {
        media_type: descriptor.media_type,
        digest: descriptor.digest,
        length: Some(descriptor.size),
        body: Body::Empty,
        from: From::Upstream,
        outcome: Outcome::Bypass,
        age: Duration::ZERO,
    }
}

fn aged(served: Served, validated: Time, now: Time) -> Served {
    Served {
        age: now.since(validated),
        ..served
    }
}
