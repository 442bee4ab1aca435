//! A purge, carried out: of some repositories after the others, their tags first, then the manifests, then the blobs.
//!
//! Whatever it is interrupted at leaves content that nothing names, and nothing that names what is gone. Files lose
//! their names only: who reads one reads on. A download under way goes on: it is paid for, and somebody waits for
//! it; what it brings is held again, and the next purge finds it. What is named itself, by tag or digest, goes from
//! wherever there is a copy: the shelves, quarantine, unfinished downloads, memory.

mod apply;
mod under_way;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use super::{Cache, Shelves};
use crate::clock::Time;
use crate::oci::{Digest, Reference, Repository, Tag};
use crate::policy::eviction::{Content, Shelf};
use crate::policy::holds::Kind;
use crate::policy::retention::{Exact, Going, Item, Leftover, Plan, Purge, Staying, Why, plan};
use crate::store::blocking;

pub(super) use under_way::{By, Purges};
pub use under_way::{PurgeStatus, PurgesReport};

/// Most of what was spared that a line of the log names.
const MOST_TOLD: usize = 5;

/// What a purge came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// What it was to remove.
    pub plan: Plan,
    /// Tags and files that could not be removed; the log says why.
    pub failed: usize,
    /// What the plan names and was not removed, because it came to be wanted after the plan was made; and why.
    pub spared: Vec<Staying>,
    /// What it had not come to when it was stopped; none if it was not.
    pub left: Vec<Item>,
}

impl Purged {
    /// The plan without what was spared, and what is left.
    pub fn removed(&self) -> Plan {
        let spared = self.spared.iter().map(|spared| &spared.item);
        let stays: HashSet<&Item> = spared.chain(&self.left).collect();
        let goes = self.plan.goes.iter();
        Plan {
            goes: goes
                .filter(|going| !stays.contains(&going.item))
                .cloned()
                .collect(),
            ..self.plan.clone()
        }
    }

    /// What was spared and why, for a line of the log: `docker.io/library/app:dev (locked), and 2 more`.
    pub(super) fn spared_in_words(&self) -> String {
        let told = self.spared.iter().take(MOST_TOLD);
        let mut told: Vec<String> = told
            .map(|spared| format!("{} ({})", spared.item, spared.why))
            .collect();
        match self.spared.len().saturating_sub(MOST_TOLD) {
            0 if told.is_empty() => return "nothing".to_owned(),
            0 => {}
            more => told.push(format!("and {more} more")),
        }
        told.join(", ")
    }
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
    /// What a purge would remove now. Waits for its turn to look through everything. Cancel-safe.
    ///
    /// # Errors
    /// [`PurgeError::Disk`] if the disk cannot be listed.
    pub async fn plan_purge(&self, purge: Purge) -> Result<Plan, PurgeError> {
        let turn = self.turn().await?;
        let (shelves, now) = (self.shelves.clone(), self.clock.now());
        let planned = blocking(move || {
            let planned = shelves.plan(&purge, now);
            drop(turn);
            Ok(planned?.0)
        });
        Ok(planned.await?)
    }

    /// Removes what a purge removes now; if a fingerprint is given, only if that is the plan of that name. One purge at
    /// a time does; lists are drawn up while it removes.
    ///
    /// Not cancel-safe in effect: once begun it goes on when the caller goes away, until [`Self::stop_purges`].
    ///
    /// # Errors
    /// [`PurgeError`]; nothing was removed then.
    pub async fn purge(&self, purge: Purge, fingerprint: Option<String>) -> Result<Purged, PurgeError> {
        self.purge_by(By::Operator, purge, fingerprint).await
    }

    /// As [`Self::purge`], told as begun by somebody.
    pub(super) async fn purge_by(
        &self,
        by: By,
        purge: Purge,
        fingerprint: Option<String>,
    ) -> Result<Purged, PurgeError> {
        let entered = self
            .purging
            .enter(by, &purge, fingerprint.clone(), self.clock.now());
        let alone = self.purges.clone().acquire_owned().await;
        let alone = alone.map_err(io::Error::other)?;
        let turn = self.turn().await?;
        let (shelves, now) = (self.shelves.clone(), self.clock.now());
        let purged = blocking(move || {
            let _alone = alone;
            let under_way = entered.get();
            under_way.begin();
            let planned = shelves.plan(&purge, now);
            drop(turn);
            let (plan, pointed) = planned?;
            let name = plan.fingerprint();
            if fingerprint.is_some_and(|fingerprint| fingerprint != name) {
                return Ok(Err(PurgeError::Changed(plan)));
            }
            under_way.planned(&plan, name);
            let plan = Arc::new(plan);
            let going = shelves.keeper.let_go(plan.clone());
            let purged = shelves.apply(&plan, &purge, &pointed, under_way);
            drop(going);
            let plan = Arc::unwrap_or_clone(plan);
            Ok(Ok(Purged { plan, ..purged }))
        });
        purged.await?
    }
}

impl Shelves {
    fn plan(self: &Arc<Self>, purge: &Purge, now: Time) -> io::Result<(Plan, Pointed)> {
        let catalog = self.catalog()?;
        let mut plan = plan(&catalog, &self.keeper.holds(), purge, now);
        self.spare_kept(&mut plan);
        self.add_leftovers(&mut plan);
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
        let why = self.some_hold();
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

    /// Whatever else is left of what goes everywhere: copies that no record tells of.
    fn add_leftovers(&self, plan: &mut Plan) {
        let files: HashSet<Digest> = match plan.copies.is_empty() {
            true => HashSet::new(),
            false => plan.files().map(|content| content.digest).collect(),
        };
        for digest in plan.copies.clone() {
            let held = self.keeps_any(&digest);
            let filling = self.disk.is_filling(&digest);
            let in_memory = !files.contains(&digest) && !held && self.memory.get(&digest).is_some();
            let copies = self.disk.leftovers(&digest).into_iter();
            let copies = copies.map(|(which, bytes)| (which, Some(bytes)));
            for (which, won) in copies.chain(in_memory.then_some((Leftover::Memory, None))) {
                let item = Item::Left(which, digest);
                let why = match which {
                    _ if held => Some(self.some_hold()),
                    Leftover::Unfinished if filling => Some(Why::Filling),
                    Leftover::Damaged | Leftover::Unfinished | Leftover::Memory => None,
                };
                match why {
                    Some(why) => plan.stays.push(Staying { item, why }),
                    None => plan.goes.push(Going { item, won }),
                }
            }
        }
    }

    /// True if the operator holds a digest, as whatever it may be.
    fn keeps_any(&self, digest: &Digest) -> bool {
        self.disk.keeps(&manifest(*digest)) || self.disk.keeps(&blob(*digest))
    }

    /// That something is held, of which it is not known by what: of two reasons the stronger is told.
    fn some_hold(&self) -> Why {
        let locks = self.keeper.holds().roots().any(|(.., kind)| kind == Kind::Lock);
        Why::Held(if locks { Kind::Lock } else { Kind::Pin })
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
        Item::Tag(..) | Item::Left(..) => None,
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

#[cfg(test)]
mod tests;
#[cfg(test)]
mod turns;
