//! Locks and pins: what the operator holds, applied.
//!
//! Read on every question for a tag, so they stand in memory; changed seldom, so each change replaces the file
//! before it takes effect. The disk shelf is told which contents it must keep, whenever that changes.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::{Cache, Shelves};
use crate::clock::Time;
use crate::oci::{Descriptor, Digest, Manifest, Reference, Repository, Tag};
use crate::policy::eviction::{Content, Shelf};
use crate::policy::freshness::TagRecord;
use crate::policy::holds::{Hold, Holds, Kind, Name};
use crate::store::{Disk, HoldsFile, blocking};

/// Why something cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// It is not in the cache.
    #[error("{0} is not held here: pull it through this cache first, or `seawall warm {0}`")]
    NotHeld(Name),
    /// The file cannot be written.
    #[error("the locks and pins cannot be written down, so nothing has changed: {0}")]
    Disk(#[from] io::Error),
}

/// What the operator holds.
#[derive(Debug)]
pub(super) struct Keeper {
    file: HoldsFile,
    holds: RwLock<Arc<Holds>>,
    /// One change at a time, purges among them: what a purge takes for free must not be locked meanwhile.
    changing: Mutex<()>,
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
            changing: Mutex::default(),
            telling: Mutex::default(),
        }
    }

    /// What is held now.
    pub(super) fn holds(&self) -> Arc<Holds> {
        self.holds.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Nothing is held or released before this is dropped. Only for what blocks anyway.
    pub(super) fn still(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
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
        let is_held = self.change(move |holds| {
            // A purge may have taken it meanwhile; none runs now.
            let is_held = shelves.disk.holds(Shelf::Manifests, &descriptor.digest);
            if is_held {
                holds.hold(hold, kind, descriptor, now);
            }
            is_held
        });
        match is_held.await? {
            true => Ok(()),
            false => Err(missing()),
        }
    }

    /// Holds something no longer. False if it was not held so.
    ///
    /// # Errors
    /// [`HoldError`] if it cannot be written down.
    pub async fn release(&self, name: &Name, kind: Kind) -> Result<bool, HoldError> {
        let name = name.clone();
        self.change(move |holds| holds.release(&name, kind)).await
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
            let change = move |holds: &mut Holds| holds.moved(&repository, &tag, &descriptor);
            if let Err(error) = cache.change(change).await {
                tracing::error!(%error, "a pinned tag has moved, and its pin could not follow");
            }
        });
    }

    /// Changes what is held, first in the file; then tells the disk shelf what to keep. False if `change` changed
    /// nothing.
    async fn change(
        &self,
        change: impl FnOnce(&mut Holds) -> bool + Send + 'static,
    ) -> Result<bool, HoldError> {
        let shelves = self.shelves.clone();
        let changed = blocking(move || {
            let _still = shelves.keeper.still();
            shelves.change_holds(change)
        });
        Ok(changed.await?)
    }

    /// What a name means, if it is in the cache.
    async fn descriptor_of(&self, name: &Name) -> Option<Descriptor> {
        let digest = match &name.reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(tag) => match self.locked(&name.repository, tag) {
                Some(hold) => return Some(hold.descriptor),
                None => self.shelves.records.tag(&name.repository, tag)?.descriptor.digest,
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
    pub(super) fn change_holds(&self, change: impl FnOnce(&mut Holds) -> bool) -> io::Result<bool> {
        let keeper = &self.keeper;
        let mut holds = keeper.holds().as_ref().clone();
        if !change(&mut holds) {
            return Ok(false);
        }
        keeper.file.save(&holds, self.disk.health())?;
        let mut current = keeper.holds.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(holds);
        drop(current);
        self.keep_held();
        Ok(true)
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
