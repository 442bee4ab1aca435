//! The walk of a manifest by digest: memory, disk, upstream. By tag it begins in `tag`.
//!
//! Manifests are small, so nobody sees a byte of one before it is verified whole.

use std::sync::Arc;
use std::time::Duration;

use super::{Asker, Body, Cache, Failure, From, Outcome, Served, Shelves, in_time};
use crate::clock::Time;
use crate::oci::{Descriptor, Digest, Manifest, MediaType, Reference, Repository};
use crate::policy::naming::Chosen;
use crate::store::{Held, NotKept, PATIENCE, Shelf};
use crate::upstream::Refusal;

/// Most child manifests looked at to see whether a stale index can be served whole.
const MAX_CHILDREN: usize = 64;

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
        let now = self.clock.now();
        if let Some(served) = self.manifest_at_hand(chosen, reference, now) {
            if !head {
                self.manifest_pulled(chosen, reference, &served, now);
            }
            return Ok(served);
        }
        let walk = async {
            let served = match reference {
                Reference::Digest(digest) => self.by_digest(chosen, digest, head, asker).await,
                Reference::Tag(tag) => self.by_tag(chosen, tag, head, asker).await,
            };
            match self.wants_signatures(chosen) {
                true => Box::pin(self.vouched(chosen, reference, served?, asker)).await,
                false => served,
            }
        };
        let served = in_time(&chosen.repository.registry, Box::pin(walk)).await?;
        if !head {
            self.manifest_pulled(chosen, reference, &served, self.clock.now());
        }
        Ok(served)
    }

    /// A manifest that can be served without waiting for anything: memory holds it, its tag, if it is named by one, is
    /// fresh, and if it has to be signed, it is known to be. `None` says nothing but that [`Self::manifest`] has to be
    /// asked. Whoever sends it to somebody calls [`Self::manifest_pulled`].
    pub fn manifest_at_hand(&self, chosen: &Chosen, reference: &Reference, now: Time) -> Option<Served> {
        let (digest, age) = match reference {
            Reference::Digest(digest) if !self.belongs(chosen, digest) => return None,
            Reference::Digest(digest) => (*digest, Duration::ZERO),
            Reference::Tag(tag) => {
                let record = self.fresh_at_hand(chosen, tag, now)?;
                (record.descriptor.digest, now.since(record.validated))
            }
        };
        let held = self.shelves.memory.get(&digest)?;
        held.manifest.as_ref()?;
        if !self.is_trusted_at_hand(chosen, &digest, now) {
            return None;
        }
        Some(Served {
            age,
            ..served(digest, held, From::Memory, Outcome::Hit)
        })
    }

    /// Notes that somebody is sent this manifest, for eviction, usage and what was not spent. A HEAD sends nothing.
    pub fn manifest_pulled(&self, chosen: &Chosen, reference: &Reference, served: &Served, now: Time) {
        self.count_avoided(chosen, reference, served);
        // The fetch that stored it is no use of it yet.
        if matches!(served.from, From::Memory | From::Disk) {
            self.shelves.disk.pulled(Shelf::Manifests, &served.digest, now);
        }
        self.shelves
            .records
            .pulled(&chosen.repository, &served.digest, now);
    }

    pub(super) async fn by_digest(
        &self,
        chosen: &Chosen,
        digest: &Digest,
        head: bool,
        asker: &Asker,
    ) -> Result<Served, Failure> {
        let confirmed = self.confirm_manifest(chosen, digest, asker).await;
        if confirmed.is_ok()
            && let Some((held, from)) = self.held(digest).await
            // It may have come for others meanwhile.
            && self.belongs(chosen, digest)
        {
            self.note_parts(chosen, digest, &held);
            return Ok(served(*digest, held, from, Outcome::Hit));
        }
        let told = match confirmed {
            Ok(None) if head => self.head_of(chosen, digest, asker).await.map(Some),
            confirmed => confirmed,
        };
        match told {
            Ok(Some(descriptor)) if head && descriptor.media_type.is_manifest() => {
                return Ok(headers_only(descriptor));
            }
            // Where a HEAD does not tell, giving it does.
            Ok(_) | Err(Refusal::Unusable(_)) => {}
            // Others may have it while the upstream says nothing.
            Err(refusal) if !head && !matches!(refusal, Refusal::NotFound | Refusal::Denied(_)) => {}
            Err(refusal) => return Err(self.no_manifest(chosen, &refusal, asker).await),
        }
        let (held, from) = self.fetch(chosen, *digest, asker).await?;
        self.note_parts(chosen, digest, &held);
        let outcome = match from {
            From::Filling => Outcome::Collapsed,
            From::Memory | From::Disk | From::Shared | From::Alternate | From::Upstream => Outcome::Miss,
        };
        Ok(served(*digest, held, from, outcome))
    }

    /// True if everything that must follow a manifest is held: all blobs of it, or of one of its children.
    pub(super) async fn blobs_follow(&self, held: &Held) -> bool {
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
        let look = move || Ok(blobs.iter().all(|blob| shelves.disk.holds(Shelf::Blobs, blob)));
        self.shelves.disk.health().looking(look).await.unwrap_or(false)
    }

    /// A manifest that is held, from memory or disk; verified either way.
    pub(super) async fn held(&self, digest: &Digest) -> Option<(Held, From)> {
        if let Some(held) = self.shelves.memory.get(digest)
            && held.manifest.is_some()
        {
            return Some((held, From::Memory));
        }
        let (shelves, digest) = (self.shelves.clone(), *digest);
        let read = move || Ok(shelves.read_manifest(&digest));
        let read = self.shelves.disk.health().looking(read).await;
        read.ok().flatten().map(|held| (held, From::Disk))
    }

    pub(super) fn refused(&self, chosen: &Chosen, refusal: &Refusal) -> Failure {
        Failure::of_manifest(chosen.repository.registry.as_str(), refusal)
    }
}

impl Shelves {
    /// Reads a manifest from disk into memory, hashing it. Blocks.
    pub(super) fn read_manifest(&self, digest: &Digest) -> Option<Held> {
        use std::io::Read as _;
        let stored = self.disk.get(Shelf::Manifests, digest)?;
        let mut bytes = Vec::new();
        // A manifest is small; a file that has grown cannot be it.
        let limit = 64 << 20;
        let read = (&**stored.file).take(limit).read_to_end(&mut bytes);
        let is_damaged = match self.disk.health().read("read", read) {
            Ok(_) => Digest::of(digest.algorithm(), &bytes) != *digest,
            Err(error) if self.is_damage(&error) => true,
            // It stays, and may be read another time.
            Err(_) => return None,
        };
        if is_damaged {
            if let Err(error) = self.put_aside(Shelf::Manifests, digest, &stored.file) {
                tracing::warn!(%digest, %error, "the damaged file could not be put aside");
            }
            return None;
        }
        let label = self.records.media_type(digest);
        let held = Held::manifest(Manifest::parse(bytes.into(), label.as_ref()).ok()?);
        self.take_into_memory(*digest, held.clone());
        Some(held)
    }

    /// Keeps a verified manifest.
    pub(super) async fn keep(
        self: &Arc<Self>,
        repository: &Repository,
        digest: Digest,
        held: &Held,
        source: String,
        now: Time,
    ) {
        self.take_into_memory(digest, held.clone());
        self.belongings.given(repository, &digest);
        if self.disk.health().may_write() {
            self.put_manifest(repository, digest, held, source, now).await;
        }
        // After it is held: what is written down of something that is not may be forgotten.
        if let Some(media_type) = &held.manifest {
            self.records.put_manifest(repository, &digest, media_type, now);
        }
    }

    async fn put_manifest(
        self: &Arc<Self>,
        repository: &Repository,
        digest: Digest,
        held: &Held,
        source: String,
        now: Time,
    ) {
        let (shelves, bytes) = (self.clone(), held.bytes.clone());
        let put = move || {
            shelves.disk.put(Shelf::Manifests, &digest, &bytes)?;
            shelves.keep_more(digest);
            shelves.write_down_some();
            Ok(())
        };
        match self.disk.health().writing("put", PATIENCE, put).await {
            Ok(()) => self.remember(repository, &digest, held, source, now),
            Err(error) => {
                tracing::info!(%digest, "passing a manifest on without keeping it: {error}");
                if let Some(why) = NotKept::of(&error) {
                    self.metrics.space.not_kept(why.name());
                }
            }
        }
    }
}

pub(super) fn served(digest: Digest, held: Held, from: From, outcome: Outcome) -> Served {
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

pub(super) fn headers_only(descriptor: Descriptor) -> Served {
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
