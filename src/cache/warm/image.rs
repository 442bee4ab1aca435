//! The walk of one image that is warmed.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::told::WarmState;
use super::{Run, Wanted};
use crate::cache::resolve::Unresolved;
use crate::cache::{Body, Failure, From, Kind, Outcome, Served, Why, in_time};
use crate::oci::{Child, Descriptor, Digest, MAX_DEPTH, Manifest, Platforms, Reference, Tag, children};
use crate::policy::freshness::{Before, TagRecord, before};
use crate::policy::naming::Chosen;
use crate::store::{Held, Shelf, blocking};
use crate::upstream::{Guard, Refusal, Wants};

/// Times something is asked for that failed for another reason than a limit.
const MAX_TRIES: u32 = 3;

/// Something of an image cannot be had.
struct Miss {
    why: String,
    again: Option<Duration>,
}

/// One image on its way.
struct Walk {
    run: Arc<Run>,
    index: usize,
    chosen: Chosen,
    /// Manifests and blobs that were seen to already.
    seen: HashSet<Digest>,
    manifests: Vec<Digest>,
    blobs: Vec<Descriptor>,
}

/// Works on one image to the end, and notes how it went.
pub(super) async fn work(run: &Arc<Run>, index: usize, wanted: Wanted) {
    run.board.note(index, |image| image.state = WarmState::Resolving);
    let walked = match wanted.found {
        Err(why) => Err(Miss { why, again: None }),
        Ok((chosen, reference)) => {
            let walk = Walk {
                run: run.clone(),
                index,
                chosen,
                seen: HashSet::new(),
                manifests: Vec::new(),
                blobs: Vec::new(),
            };
            Box::pin(walk.whole(&reference)).await
        }
    };
    let now = run.cache.clock.now();
    run.board.note(index, |image| match walked {
        Ok(()) => {
            (image.state, image.why) = (WarmState::Held, None);
        }
        Err(miss) => {
            image.state = WarmState::Missed;
            image.why = Some(miss.why);
            image.again = miss.again.map(|wait| (now + wait).as_millis());
        }
    });
}

impl Walk {
    async fn whole(mut self, reference: &Reference) -> Result<(), Miss> {
        self.learn_who_sees(reference).await;
        let digest = match reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(tag) => self.resolve(tag).await?.ok_or_else(|| {
                let registry = &self.chosen.repository.registry;
                Miss::of(&Failure::of_manifest(registry.as_str(), &Refusal::NotFound))
            })?,
        };
        let platforms = self.run.platforms.clone();
        Box::pin(self.manifest(digest, &platforms, MAX_DEPTH)).await?;
        if self.run.referrers {
            for subject in self.manifests.clone() {
                Box::pin(self.referrers(&subject)).await?;
            }
        }
        self.fetch_blobs().await
    }

    /// Has it known whether everybody may see the repository, where that is a question: what is fetched for those is
    /// everybody's, and nobody has to be asked about it again.
    async fn learn_who_sees(&self, reference: &Reference) {
        let cache = &self.run.cache;
        if cache.guard(&self.chosen) == Guard::Everybody {
            // If it is not known, it is taken to be seen by some.
            let wants = Wants::Manifest(reference.clone());
            drop(cache.permit(&self.chosen, &wants, None).await);
        }
    }

    /// What a tag points at now, if it exists; its manifest is held afterwards, and the tag remembered.
    async fn resolve(&self, tag: &Tag) -> Result<Option<Digest>, Miss> {
        let (cache, chosen) = (self.run.cache.clone(), self.chosen.clone());
        let now = cache.clock.now();
        if let Some(hold) = cache.locked(&chosen.repository, tag) {
            return Ok(Some(hold.descriptor.digest));
        }
        let old = cache.recorded(&chosen.repository, tag).await;
        match (
            before(tag, old.as_ref(), cache.rules(&chosen, Some(tag)), now),
            &old,
        ) {
            (Before::Serve | Before::Offline, Some(record)) => return Ok(Some(record.descriptor.digest)),
            (Before::Serve | Before::Offline | Before::Refresh | Before::Ask, _) => {}
        }
        let descriptor = self
            .persist(|| async {
                self.run.tally.asked();
                let asking = async {
                    match cache.resolve(&chosen, tag, &self.run.asker()).await {
                        Ok(descriptor) => Ok(Some(descriptor)),
                        Err(Unresolved::Refused(Refusal::NotFound)) => {
                            cache.shelves.records.remove_tag(&chosen.repository, tag);
                            Ok(None)
                        }
                        Err(refusal) => Err(cache.no_tag(&chosen, &refusal, &self.run.asker()).await),
                    }
                };
                in_time(&chosen.repository.registry, Box::pin(asking)).await
            })
            .await?;
        let Some(descriptor) = descriptor else {
            return Ok(None);
        };
        let validated = cache.clock.now();
        let young = cache.too_young(&chosen, tag, old.as_ref(), &descriptor.digest);
        let descriptor = match (young.await, old) {
            (None, _) => descriptor,
            // What its clients are served meanwhile.
            (Some(_), Some(old)) => old.descriptor,
            (Some(waits), None) => {
                return Err(Miss::of(&Failure::too_young(&chosen.repository, tag, waits)));
            }
        };
        let digest = descriptor.digest;
        self.content(&digest).await?;
        let record = TagRecord {
            descriptor,
            validated,
        };
        cache.remember_tag(&chosen.repository, tag, record);
        Ok(Some(digest))
    }

    /// A manifest, held from now on.
    async fn content(&self, digest: &Digest) -> Result<Held, Miss> {
        if let Some((held, _)) = self.run.cache.held(digest).await {
            return Ok(held);
        }
        let (cache, chosen) = (&self.run.cache, &self.chosen);
        let served = self
            .persist(|| async {
                let asker = self.run.asker();
                let walk = cache.by_digest(chosen, digest, false, &asker);
                in_time(&chosen.repository.registry, Box::pin(walk)).await
            })
            .await?;
        match served.body {
            Body::Memory(bytes) => Ok(Held {
                bytes,
                manifest: Some(served.media_type),
            }),
            Body::Empty | Body::File(..) | Body::Filling(_) => Err(Miss::of(&Failure::internal())),
        }
    }

    /// A manifest, those of its children that are wanted, and the blobs of all.
    async fn manifest(&mut self, digest: Digest, platforms: &Platforms, depth: usize) -> Result<(), Miss> {
        if !self.seen.insert(digest) {
            return Ok(());
        }
        self.manifests.push(digest);
        let held = self.content(&digest).await?;
        let parsed = Manifest::parse(held.bytes.clone(), held.manifest.as_ref());
        let manifest = parsed.map_err(|error| Miss::because(format!("{digest}: {error}")))?;
        for blob in manifest.blobs {
            self.want(blob);
        }
        if manifest.manifests.is_empty() || depth == 0 {
            return Ok(());
        }
        let listed = children(&held.bytes);
        let chosen = platforms.choose(&listed);
        if chosen.is_empty() {
            let offered = names(&listed);
            let why =
                format!("{digest} has nothing for {platforms}; it has {offered}: choose with --platform");
            return Err(Miss::because(why));
        }
        for child in chosen {
            Box::pin(self.manifest(child.digest, platforms, depth - 1)).await?;
        }
        Ok(())
    }

    fn want(&mut self, blob: Descriptor) {
        if self.seen.insert(blob.digest) {
            self.run.board.note(self.index, |image| image.total += blob.size);
            self.blobs.push(blob);
        }
    }

    /// What refers to a manifest, by the registry's list or by the tags of signers.
    async fn referrers(&mut self, subject: &Digest) -> Result<(), Miss> {
        let (cache, chosen) = (self.run.cache.clone(), self.chosen.clone());
        self.run.tally.asked();
        let asker = self.run.asker();
        let listed = match Box::pin(cache.referrers(&chosen, subject, &asker)).await {
            Ok(Served {
                body: Body::Memory(bytes),
                ..
            }) => children(&bytes),
            Ok(_) => Vec::new(),
            Err(failure) if failure.is_definite() => Vec::new(),
            Err(failure) => return Err(Miss::of(&failure)),
        };
        for child in listed {
            self.manifest(child.digest, &Platforms::All, MAX_DEPTH).await?;
        }
        for tag in Tag::of_signatures(subject) {
            if let Some(digest) = self.resolve(&tag).await? {
                self.manifest(digest, &Platforms::All, MAX_DEPTH).await?;
            }
        }
        Ok(())
    }

    /// Fetches the blobs that are not held, a few at a time.
    async fn fetch_blobs(mut self) -> Result<(), Miss> {
        let run = self.run.clone();
        run.board
            .note(self.index, |image| image.state = WarmState::Fetching);
        let blobs = std::mem::take(&mut self.blobs);
        let walk = Arc::new(self);
        let mut fetching = JoinSet::new();
        for blob in blobs {
            let walk = walk.clone();
            fetching.spawn(async move { Box::pin(walk.fetch_blob(&blob)).await });
        }
        let mut outcome = Ok(());
        while let Some(fetched) = fetching.join_next().await {
            let fetched = fetched.unwrap_or_else(|_| Err(Miss::of(&Failure::internal())));
            if outcome.is_ok() {
                outcome = fetched;
            }
        }
        outcome
    }

    async fn fetch_blob(&self, blob: &Descriptor) -> Result<(), Miss> {
        let run = &self.run;
        if self.holds(&blob.digest).await {
            run.tally.held(blob.size);
            run.board.note(self.index, |image| {
                image.done += blob.size;
                image.held += blob.size;
            });
            return Ok(());
        }
        let Ok(_turn) = run.blobs.clone().acquire_owned().await else {
            return Err(Miss::of(&Failure::internal()));
        };
        let before = AtomicU64::new(0);
        self.persist(|| async {
            let served = run.cache.blob(&self.chosen, &blob.digest, &run.asker()).await?;
            let others = served.outcome == Outcome::Collapsed || served.from == From::Disk;
            if served.outcome == Outcome::Miss {
                run.tally.asked();
            }
            // What another try had shown already is not shown again.
            let mut at = 0;
            let fetched = self.follow(served, |bytes| {
                at += bytes;
                let new = at.saturating_sub(before.fetch_max(at, Ordering::Relaxed));
                run.board.note(self.index, |image| image.done += new);
                match others {
                    true => run.tally.held(new),
                    false => run.tally.fetched(new),
                }
            });
            fetched.await
        })
        .await?;
        run.cache.landed(&blob.digest).await;
        match self.holds(&blob.digest).await {
            true => Ok(()),
            false => Err(Miss::because(format!(
                "{} was fetched but could not be kept: the disk refused it, or there is no room",
                blob.digest
            ))),
        }
    }

    /// Waits until a blob has arrived.
    async fn follow(&self, served: Served, mut arrived: impl FnMut(u64)) -> Result<(), Failure> {
        let Body::Filling(following) = served.body else {
            arrived(served.length.unwrap_or(0));
            return Ok(());
        };
        let mut reader = following.read(None);
        while let Some(piece) = reader
            .next(u64::MAX)
            .await
            .map_err(|broken| Failure::broken(&broken))?
        {
            arrived(piece.length());
        }
        Ok(())
    }

    async fn holds(&self, digest: &Digest) -> bool {
        let (shelves, digest) = (self.run.cache.shelves.clone(), *digest);
        let look = blocking(move || Ok(shelves.disk.holds(Shelf::Blobs, &digest)));
        look.await.unwrap_or(false)
    }

    /// Tries until it succeeds, cannot, or would take longer than this warm may wait.
    async fn persist<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, Miss>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut tries = 0;
        loop {
            let failure = match Box::pin(attempt()).await {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            tries += 1;
            // Whatever its clients are told then, a warm waits.
            let limited = failure.why == Some(Why::Limited) || matches!(failure.kind, Kind::OverQuota(_));
            let wait = failure.retry_after.filter(|_| limited || tries < MAX_TRIES);
            let Some(wait) = wait else {
                return Err(Miss::of(&failure));
            };
            if self.run.cache.clock.now() + wait > self.run.until {
                return Err(Miss::of(&failure));
            }
            self.pause(&failure, wait).await;
        }
    }

    /// Waits, and says so.
    async fn pause(&self, failure: &Failure, wait: Duration) {
        let mut state = WarmState::Waiting;
        self.run.board.note(self.index, |image| {
            std::mem::swap(&mut image.state, &mut state);
            image.why = Some(failure.public.to_string());
        });
        tokio::time::sleep(wait).await;
        self.run.board.note(self.index, |image| {
            if image.state == WarmState::Waiting {
                image.state = state;
            }
            image.why = None;
        });
    }
}

impl Miss {
    fn because(why: String) -> Self {
        Self { why, again: None }
    }

    fn of(failure: &Failure) -> Self {
        Self {
            why: failure.public.to_string(),
            again: failure.retry_after,
        }
    }
}

/// The platforms of an index, for people.
fn names(children: &[Child]) -> String {
    let named = children.iter().filter_map(|child| child.platform.as_ref());
    let names: Vec<String> = named
        .filter(|platform| !platform.is_unknown())
        .map(ToString::to_string)
        .collect();
    match names.is_empty() {
        true => "none that it names".to_owned(),
        false => names.join(", "),
    }
}
