//! What a run of verify has still to look at.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::Arc;

use super::Verifiable;
use crate::cache::Shelves;
use crate::cache::scrub::Walk;
use crate::clock::Clock;
use crate::policy::eviction::Content;
use crate::policy::naming::Chosen;
use crate::policy::scrub::Whole;
use crate::store::Shelf;

/// One object that is to be looked at.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) content: Content,
    /// The repository it was named by, if it was.
    pub(super) from: Option<Chosen>,
    /// Its length, if it is not held but was put aside before. Which shelf it belongs to is not known then.
    pub(super) aside: Option<u64>,
}

enum Source {
    /// Everything, as the tree has it.
    Tree(Box<Walk>),
    /// What was named, and what that leads to.
    Named(VecDeque<Item>),
}

/// What has still to be looked at.
pub(super) struct Queue {
    source: Source,
    seen: HashSet<Content>,
    /// All that there is to look at, as far as is known by now.
    pub(super) known: Whole,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            source: Source::Named(VecDeque::new()),
            seen: HashSet::new(),
            known: Whole::default(),
        }
    }
}

impl Queue {
    /// Begins with what is to be verified.
    ///
    /// # Errors
    /// If the disk does not say in time where that is; then it is empty.
    pub(super) async fn begin(&mut self, shelves: &Arc<Shelves>, what: &Verifiable) -> io::Result<()> {
        match what {
            Verifiable::Everything => {
                self.source = Source::Tree(Box::new(Walk::new(None)));
                self.known = shelves.whole();
            }
            Verifiable::Of(targets) => {
                let (shared, targets) = (shelves.clone(), targets.clone());
                let starts = move || {
                    let starts = targets.iter().flat_map(|target| shared.starts_of(target));
                    Ok(starts.collect())
                };
                let items = shelves.disk.health().looking(starts).await?;
                self.add(shelves, items);
            }
        }
        Ok(())
    }

    /// The next object.
    pub(super) async fn next(&mut self, shelves: &Arc<Shelves>, clock: Clock) -> Option<Item> {
        match &mut self.source {
            Source::Tree(walk) => walk.next(shelves, clock).await.map(|content| Item {
                content,
                from: None,
                aside: None,
            }),
            Source::Named(items) => items.pop_front(),
        }
    }

    /// Goes on with what a manifest names, as far as it is held or was put aside.
    ///
    /// # Errors
    /// If the disk does not tell in time.
    pub(super) async fn follow(&mut self, shelves: &Arc<Shelves>, item: &Item) -> io::Result<()> {
        if matches!(self.source, Source::Tree(_)) {
            return Ok(());
        }
        let (shared, item) = (shelves.clone(), item.clone());
        let look = move || Ok(named_by(&shared, &item));
        let found = shelves.disk.health().looking(look).await?;
        self.add(shelves, found);
        Ok(())
    }

    fn add(&mut self, shelves: &Shelves, found: Vec<Item>) {
        let Source::Named(items) = &mut self.source else {
            return;
        };
        for item in found {
            if self.seen.insert(item.content) {
                self.known.objects += 1;
                self.known.bytes += shelves.disk.facts(&item.content).map_or(0, |facts| facts.size);
                items.push_back(item);
            }
        }
    }
}

/// What a manifest names and is here. Blocks.
fn named_by(shelves: &Shelves, item: &Item) -> Vec<Item> {
    let Some(manifest) = shelves.read_quietly(&item.content.digest) else {
        return Vec::new();
    };
    let children = manifest
        .manifests
        .iter()
        .map(|child| (Shelf::Manifests, child.digest));
    let blobs = manifest.blobs.iter().map(|blob| (Shelf::Blobs, blob.digest));
    let each = children.chain(blobs).filter_map(|(shelf, digest)| {
        let content = Content { shelf, digest };
        let is_held = shelves.disk.facts(&content).is_some() || shelves.disk.holds(shelf, &digest);
        let aside = shelves.disk.quarantined_size(&digest).filter(|_| !is_held);
        (is_held || aside.is_some()).then(|| Item {
            content,
            from: item.from.clone(),
            aside,
        })
    });
    each.collect()
}
