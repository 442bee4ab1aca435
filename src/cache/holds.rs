//! Locks and pins: what the operator holds, applied.
//!
//! Read on every question for a tag, so they stand in memory; changed seldom, so each change replaces the file
//! before it takes effect. The disk shelf is told which contents it must keep, whenever that changes.
//!
//! A change waits for no purge: what a purge under way is about to remove is refused at once, and everything else can
//! be held or released between two of its removals.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::{MutexGuard, OwnedMutexGuard};

use super::{Cache, Shelves};
use crate::clock::Time;
use crate::oci::{Descriptor, Digest, Manifest, Reference, Repository, Tag};
use crate::policy::eviction::{Content, Shelf};
use crate::policy::freshness::TagRecord;
use crate::policy::holds::{Hold, Holds, Kind, Name};
use crate::policy::retention::{Item, Plan};
use crate::store::{Disk, HoldsFile, blocking};

/// Why something cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// It is not in the cache.
    #[error("{0} is not held here: pull it through this cache first, or `seawall warm {0}`")]
    NotHeld(Name),
    /// A purge is removing it.
    #[error("{0} is being purged at this moment: pull it again when that is over, then it can be held")]
    Going(Name),
    /// The file cannot be written.
    #[error("the locks and pins cannot be written down, so nothing has changed: {0}")]
    Disk(#[from] io::Error),
}

/// What the operator holds.
#[derive(Debug)]
pub(super) struct Keeper {
    file: HoldsFile,
    holds: RwLock<Arc<Holds>>,
    /// One change at a time. A purge that removes something waits in the same line, for each removal anew.
    changing: Arc<tokio::sync::Mutex<()>>,
    /// What a purge under way removes.
    purging: Mutex<Option<Arc<Plan>>>,
    /// The disk shelf is told one set after the other.
    telling: Mutex<()>,
}

impl Keeper {
    /// Reads the file that stands on the disk shelf. Blocks.
    pub(super) fn open(disk: &Disk) -> Self {
        let (file, holds) = HoldsFile::open(&disk.holds_path());
        Self {
            file,
            holds: RwLock::new(Arc::new(holds)),
            changing: Arc::default(),
            purging: Mutex::default(),
            telling: Mutex::default(),
        }
    }

    /// What is held now.
    pub(super) fn holds(&self) -> Arc<Holds> {
        self.holds.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Nothing is held or released before this is dropped: soon, since somebody waits. Blocks.
    pub(super) fn still(&self) -> MutexGuard<'_, ()> {
        self.changing.blocking_lock()
    }

    /// As [`Self::still`], for who waits without blocking.
    pub(super) async fn changing_alone(&self) -> OwnedMutexGuard<()> {
        self.changing.clone().lock_owned().await
    }

    /// What a plan removes cannot be held before this is dropped. Blocks.
    pub(super) fn let_go(&self, plan: Arc<Plan>) -> LettingGo<'_> {
        let _still = self.still();
        *self.purging.lock().unwrap_or_else(PoisonError::into_inner) = Some(plan);
        LettingGo(self)
    }

    /// True if a purge under way removes a tag, or the manifest that is meant by a name.
    pub(super) fn is_going(&self, name: &Name, manifest: &Digest) -> bool {
        let plan = self
            .purging
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        plan.is_some_and(|plan| {
            let repository = Some(name.repository.clone());
            let tag = match &name.reference {
                Reference::Tag(tag) => plan.removes(&Item::Tag(name.repository.clone(), tag.clone())),
                Reference::Digest(_) => false,
            };
            let manifest = |of| plan.removes(&Item::Manifest(of, *manifest));
            tag || manifest(repository) || manifest(None)
        })
    }
}

/// A purge is under way.
pub(super) struct LettingGo<'a>(&'a Keeper);

impl Drop for LettingGo<'_> {
    fn drop(&mut self) {
        let purging = &self.0.purging;
        *purging.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Cache {
    /// What the operator holds.
    pub fn holds(&self) -> Arc<Holds> {
        self.shelves.keeper.holds()
    }

    /// Holds something from now on. What is held so already stays as it is.
    ///
    /// Not cancel-safe in effect: the change goes on when the caller goes away.
    ///
    /// # Errors
    /// [`HoldError`] if it is not in the cache, or cannot be written down.
    pub async fn hold(&self, name: &Name, kind: Kind) -> Result<(), HoldError> {
        let missing = || HoldError::NotHeld(name.clone());
        let descriptor = self.descriptor_of(name).await.ok_or_else(missing)?;
        let (hold, now, shelves) = (name.clone(), self.clock.now(), self.shelves.clone());
        let changed = self.change(move |holds| {
            // A purge may be about to take it, or have taken it meanwhile.
            if shelves.keeper.is_going(&hold, &descriptor.digest) {
                return Err(HoldError::Going(hold));
            }
            if !shelves.disk.holds(Shelf::Manifests, &descriptor.digest) {
                return Err(HoldError::NotHeld(hold));
            }
            holds.hold(hold, kind, descriptor, now);
            Ok(())
        });
        changed.await?
    }

    /// Holds something no longer. False if it was not held so.
    ///
    /// # Errors
    /// [`HoldError`] if it cannot be written down.
    pub async fn release(&self, name: &Name, kind: Kind) -> Result<bool, HoldError> {
        let name = name.clone();
        let released = self.change(move |holds| match holds.release(&name, kind) {
            true => Ok(()),
            false => Err(()),
        });
        Ok(released.await?.is_ok())
    }

    /// The manifests and blobs that are kept because they are held, whether they are here or not; sorted.
    pub fn held_contents(&self) -> Vec<Content> {
        self.shelves.disk.kept()
    }

    /// What a locked tag serves.
    pub(super) fn locked(&self, repository: &Repository, tag: &Tag) -> Option<Hold> {
        let holds = self.shelves.keeper.holds();
        holds.locked(repository, tag).cloned()
    }

    /// Remembers what a tag points at, unless it is locked; its pin follows.
    pub(super) fn remember_tag(&self, repository: &Repository, tag: &Tag, record: TagRecord) {
        let holds = self.shelves.keeper.holds();
        // Locked while its upstream was being asked.
        if holds.locked(repository, tag).is_some() {
            return;
        }
        let descriptor = record.descriptor.clone();
        self.shelves.records.put_tag(repository, tag, record);
        if holds.moves(repository, tag, &descriptor) {
            self.follow_pin(repository.clone(), tag.clone(), descriptor);
        }
    }

    fn follow_pin(&self, repository: Repository, tag: Tag, descriptor: Descriptor) {
        let cache = self.clone();
        self.tasks.spawn(async move {
            let moved = |repository: &Repository, tag: &Tag| {
                tracing::info!(%repository, %tag, digest = %descriptor.digest, "a pinned tag has moved");
            };
            moved(&repository, &tag);
            let change = move |holds: &mut Holds| match holds.moved(&repository, &tag, &descriptor) {
                true => Ok(()),
                false => Err(()),
            };
            if let Err(error) = cache.change(change).await {
                tracing::error!(%error, "a pinned tag has moved, and its pin could not follow");
            }
        });
    }

    /// Changes what is held, first in the file; then tells the disk shelf what to keep. Says what `change` says; what
    /// it refuses changes nothing.
    async fn change<R: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Holds) -> Result<(), R> + Send + 'static,
    ) -> io::Result<Result<(), R>> {
        let still = self.shelves.keeper.changing_alone().await;
        let shelves = self.shelves.clone();
        let changed = blocking(move || {
            let _still = still;
            shelves.change_holds(change)
        });
        changed.await
    }

    /// What a name means, if it is in the cache.
    async fn descriptor_of(&self, name: &Name) -> Option<Descriptor> {
        let digest = match &name.reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(tag) => match self.locked(&name.repository, tag) {
                Some(hold) => return Some(hold.descriptor),
                None => self.recorded(&name.repository, tag).await?.descriptor.digest,
            },
        };
        let (held, _) = self.held(&digest).await?;
        Some(Descriptor {
            media_type: held.manifest?,
            digest,
            size: held.bytes.len() as u64,
        })
    }
}

impl Shelves {
    /// As [`Cache::hold`] and its like, for who has the keeper still. Blocks.
    pub(super) fn change_holds<R>(
        &self,
        change: impl FnOnce(&mut Holds) -> Result<(), R>,
    ) -> io::Result<Result<(), R>> {
        let keeper = &self.keeper;
        let mut holds = keeper.holds().as_ref().clone();
        if let Err(refused) = change(&mut holds) {
            return Ok(Err(refused));
        }
        keeper.file.save(&holds, self.disk.health())?;
        let mut current = keeper.holds.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(holds);
        drop(current);
        self.keep_held();
        Ok(Ok(()))
    }

    /// Tells the disk shelf which contents the operator holds. Blocks.
    pub(super) fn keep_held(&self) {
        let _telling = self.keeper.telling.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = self.keeper.holds();
        let (mut kept, mut waiting) = (HashSet::new(), Vec::new());
        waiting.extend(holds.roots().map(|(_, digest, _)| *digest));
        while let Some(digest) = waiting.pop() {
            let shelf = Shelf::Manifests;
            if kept.insert(Content { shelf, digest }) {
                let (children, blobs) = self.named_by(&digest);
                waiting.extend(children);
                let shelf = Shelf::Blobs;
                kept.extend(blobs.into_iter().map(|digest| Content { shelf, digest }));
            }
        }
        self.disk.keep(kept);
    }

    /// Remembers the tags that are held, if the records of them were lost. Blocks.
    pub(super) fn recall_held(&self, now: Time) {
        for (name, _, hold) in self.keeper.holds().iter() {
            if let Reference::Tag(tag) = &name.reference
                && self.records.tag(&name.repository, tag).is_none()
            {
                self.records.put_tag(&name.repository, tag, record_of(hold, now));
            }
        }
    }

    /// A manifest was stored: if it is held, so is what it names. Blocks.
    pub(super) fn keep_more(&self, digest: Digest) {
        let shelf = Shelf::Manifests;
        if self.disk.keeps(&Content { shelf, digest }) {
            self.keep_held();
        }
    }

    /// The manifests that a manifest lists, and the blobs it names; none if it is not here. Blocks.
    fn named_by(&self, digest: &Digest) -> (Vec<Digest>, Vec<Digest>) {
        if let Some(record) = self.records.held_anywhere(digest) {
            let children = record.children.into_iter().map(|(child, _)| child);
            let blobs = record.blobs.into_iter().map(|(blob, _)| blob);
            return (children.collect(), blobs.collect());
        }
        let held = self.read_manifest(digest);
        let manifest = held.and_then(|held| Manifest::parse(held.bytes, held.manifest.as_ref()).ok());
        manifest.map_or_else(Default::default, |manifest| {
            let digests = |named: Vec<Descriptor>| named.into_iter().map(|each| each.digest).collect();
            (digests(manifest.manifests), digests(manifest.blobs))
        })
    }
}

/// How a locked tag is remembered while it is locked.
pub(super) fn record_of(hold: &Hold, now: Time) -> TagRecord {
    TagRecord {
        descriptor: hold.descriptor.clone(),
        validated: hold.since.min(now),
    }
}
