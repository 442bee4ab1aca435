//! A purge, carried out: tags first, then the manifests, then the blobs.
//!
//! Whatever it is interrupted at leaves content that nothing names, and nothing that names what is gone. Files lose
//! their names only: who reads one reads on. A download under way goes on: it is paid for, and somebody waits for
//! it; what it brings is held again, and the next purge finds it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use super::{Cache, Shelves};
use crate::clock::Time;
use crate::oci::{Digest, Reference, Repository, Tag};
use crate::policy::eviction::{Content, Shelf};
use crate::policy::holds::Kind;
use crate::policy::retention::{Exact, Item, Plan, Purge, Staying, Why, plan};
use crate::store::blocking;

/// Records forgotten before the writer is waited for: half of what it lets wait.
const BATCH: usize = 4096;

/// What a purge came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// What it removed.
    pub plan: Plan,
    /// Tags and files that could not be removed; the log says why.
    pub failed: usize,
    /// Tags and files that were spared, because they came to be wanted after the plan was made; the log names them.
    pub spared: usize,
}

/// What each tag that goes pointed at when the plan was made.
type Pointed = HashMap<(Repository, Tag), Digest>;

/// Why a purge was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// The plan is another by now.
    #[error("the plan has changed since: it is {} now", .0.fingerprint())]
    Changed(Plan),
    /// The disk cannot be listed.
    #[error("the cache directory cannot be read: {0}")]
    Disk(#[from] io::Error),
}

impl Cache {
    /// What a purge would remove now. Cancel-safe.
    ///
    /// # Errors
    /// [`PurgeError::Disk`] if the disk cannot be listed.
    pub async fn plan_purge(&self, purge: Purge) -> Result<Plan, PurgeError> {
        let (shelves, now) = (self.shelves.clone(), self.clock.now());
        Ok(blocking(move || Ok(shelves.plan(&purge, now)?.0)).await?)
    }

    /// Removes what a purge removes now; if a fingerprint is given, only if that is the plan of that name.
    ///
    /// Not cancel-safe in effect: it goes on when the caller goes away.
    ///
    /// # Errors
    /// [`PurgeError`]; nothing was removed then.
    pub async fn purge(&self, purge: Purge, fingerprint: Option<String>) -> Result<Purged, PurgeError> {
        let (shelves, now) = (self.shelves.clone(), self.clock.now());
        let purged = blocking(move || {
            // One purge at a time, and nothing is locked between its plan and its end.
            let _still = shelves.keeper.still();
            let (plan, pointed) = shelves.plan(&purge, now)?;
            if fingerprint.is_some_and(|fingerprint| fingerprint != plan.fingerprint()) {
                return Ok(Err(PurgeError::Changed(plan)));
            }
            let (failed, spared) = shelves.apply(&plan, &purge, &pointed);
            Ok(Ok(Purged { plan, failed, spared }))
        });
        purged.await?
    }
}

impl Shelves {
    fn plan(self: &Arc<Self>, purge: &Purge, now: Time) -> io::Result<(Plan, Pointed)> {
        let catalog = self.catalog()?;
        let mut plan = plan(&catalog, &self.keeper.holds(), purge, now);
        self.spare_kept(&mut plan);
        let goes: HashSet<&Item> = plan.goes.iter().map(|going| &going.item).collect();
        let tags = catalog.tags.into_iter();
        let tags = tags.map(|held| ((held.repository, held.tag), held.digest));
        let pointed =
            tags.filter(|((repository, tag), _)| goes.contains(&Item::Tag(repository.clone(), tag.clone())));
        let pointed = pointed.collect();
        Ok((plan, pointed))
    }

    /// What the operator holds stays, also where the records that would say so to the plan were lost.
    fn spare_kept(&self, plan: &mut Plan) {
        let kept: HashSet<Content> = plan.files().filter(|content| self.disk.keeps(content)).collect();
        if kept.is_empty() {
            return;
        }
        // Whose it is went with the records: of two reasons the stronger is told.
        let locks = self.keeper.holds().roots().any(|(.., kind)| kind == Kind::Lock);
        let why = Why::Held(if locks { Kind::Lock } else { Kind::Pin });
        let goes = std::mem::take(&mut plan.goes).into_iter();
        let (stays, goes) = goes.partition(|going| {
            let content = file_of(&going.item).filter(|_| going.won.is_some());
            content.is_some_and(|content| kept.contains(&content))
        });
        plan.goes = goes;
        let stays: Vec<_> = stays;
        plan.stays.extend(stays.into_iter().map(|going| Staying {
            item: going.item,
            why: why.clone(),
        }));
        plan.stays.sort_by(|a, b| a.item.cmp(&b.item));
        plan.stays.dedup_by(|later, first| later.item == first.item);
    }

    /// Removes what goes. Returns how much could not be removed, and how many tags and files were spared. Blocks.
    fn apply(&self, plan: &Plan, purge: &Purge, pointed: &Pointed) -> (usize, usize) {
        let (mut spared, mut failed) = self.forget_tags(plan, pointed);
        self.forget_manifests(plan);
        let wanted = self.wanted();
        let exact = exactly(purge);
        for content in plan.files() {
            let named = wanted.contains(&content) && !exact.contains(&content.digest);
            if named || self.disk.keeps(&content) {
                tracing::info!(digest = %content.digest, "not purged: it came to be wanted since it was planned");
                spared += 1;
                continue;
            }
            self.memory.remove(&content.digest);
            if content.shelf == Shelf::Manifests {
                // Pulls that are not written down yet would bring its record back.
                self.records.forget_pulls(&content.digest);
            }
            if let Err(error) = self.disk.remove(&content) {
                tracing::warn!(digest = %content.digest, %error, "a file could not be purged");
                failed += 1;
            }
            // A reader of the file may have put it back.
            self.memory.remove(&content.digest);
        }
        (failed, spared)
    }

    /// Forgets tags that point where they did, and waits until that is on disk. Returns how many point elsewhere by
    /// now, and how many are still written down.
    fn forget_tags(&self, plan: &Plan, pointed: &Pointed) -> (usize, usize) {
        let (mut moved, mut forgotten) = (0, Vec::new());
        for going in &plan.goes {
            let Item::Tag(repository, tag) = &going.item else {
                continue;
            };
            let Some((key, digest)) = pointed.get_key_value(&(repository.clone(), tag.clone())) else {
                continue;
            };
            if self.records.remove_tag_of(repository, tag, digest).is_some() {
                tracing::info!(%repository, %tag, "not purged: the tag has moved since it was planned");
                moved += 1;
                continue;
            }
            forgotten.push((key, digest));
            if forgotten.len() % BATCH == 0 {
                self.records.flush();
            }
        }
        self.records.flush();
        let is_there = |((repository, tag), digest): &(&(Repository, Tag), &Digest)| {
            self.records.has_written(repository, tag, digest)
        };
        let failed = forgotten.into_iter().filter(is_there);
        let failed = failed.inspect(|((repository, tag), _)| {
            tracing::warn!(%repository, %tag, "a tag could not be purged: the disk does not take its removal");
        });
        (moved, failed.count())
    }

    /// Forgets the records of manifests, and waits until that is on disk.
    fn forget_manifests(&self, plan: &Plan) {
        let manifests = plan.goes.iter().filter_map(|going| match &going.item {
            Item::Manifest(Some(repository), digest) => Some((repository, digest)),
            Item::Manifest(None, _) | Item::Tag(..) | Item::Blob(_) => None,
        });
        for (count, (repository, digest)) in manifests.enumerate() {
            self.records.remove_held(repository, digest);
            if count % BATCH == BATCH - 1 {
                self.records.flush();
            }
        }
        self.records.flush();
    }

    /// The files that the manifests which are still held for a repository are, list or name. Blocks.
    fn wanted(&self) -> HashSet<Content> {
        let mut wanted = HashSet::new();
        self.records.each_held(|_, digest, record, _| {
            // What is remembered of a manifest whose file is gone wants nothing.
            if self.disk.facts(&manifest(digest)).is_none() {
                return;
            }
            wanted.insert(manifest(digest));
            wanted.extend(record.children.into_iter().map(|(child, _)| manifest(child)));
            wanted.extend(record.blobs.into_iter().map(|(digest, _)| blob(digest)));
        });
        wanted
    }
}

/// The digests that a purge names itself: they go whatever names them.
fn exactly(purge: &Purge) -> HashSet<Digest> {
    let Purge::Exact(names) = purge else {
        return HashSet::new();
    };
    let digests = names.iter().filter_map(|exact| match exact {
        Exact::Everywhere(digest) => Some(*digest),
        Exact::Named(name) => match &name.reference {
            Reference::Digest(digest) => Some(*digest),
            Reference::Tag(_) => None,
        },
    });
    digests.collect()
}

/// The file that goes with something.
fn file_of(item: &Item) -> Option<Content> {
    match item {
        Item::Tag(..) => None,
        Item::Manifest(_, digest) => Some(manifest(*digest)),
        Item::Blob(digest) => Some(blob(*digest)),
    }
}

fn manifest(digest: Digest) -> Content {
    Content {
        shelf: Shelf::Manifests,
        digest,
    }
}

fn blob(digest: Digest) -> Content {
    Content {
        shelf: Shelf::Blobs,
        digest,
    }
}
