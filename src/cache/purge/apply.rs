//! What a plan names, taken away; unless it came to be wanted since the plan was made.

use std::collections::{HashMap, HashSet};

use super::{Pointed, blob, exactly, file_of, manifest};
use crate::cache::Shelves;
use crate::oci::{Digest, Tag};
use crate::policy::eviction::Content;
use crate::policy::holds::Name;
use crate::policy::retention::{Item, Leftover, Plan, Purge, Staying, Why};

/// Records forgotten at a time: who wants to hold something meanwhile waits for no more.
const STEP: usize = 256;

/// A plan that is being carried out.
struct Applying<'a> {
    shelves: &'a Shelves,
    plan: &'a Plan,
    /// What was named itself goes, whatever names it.
    exact: HashSet<Digest>,
    /// What tags have moved to meanwhile, with what that lists.
    meant: HashMap<Digest, Tag>,
    spared: Vec<Staying>,
    failed: usize,
}

impl Shelves {
    /// Removes what goes. Returns how many tags and files could not be removed, and what was spared and why. Blocks.
    pub(super) fn apply(&self, plan: &Plan, purge: &Purge, pointed: &Pointed) -> (usize, Vec<Staying>) {
        let mut applying = Applying {
            shelves: self,
            plan,
            exact: exactly(purge),
            meant: HashMap::new(),
            spared: Vec::new(),
            failed: 0,
        };
        applying.forget_tags(pointed);
        applying.forget_manifests();
        applying.remove_files();
        plan.copies
            .iter()
            .for_each(|digest| applying.remove_leftovers(digest));
        let mut spared = applying.spared;
        spared.sort_by(|a, b| a.item.cmp(&b.item));
        spared.dedup_by(|later, first| later.item == first.item);
        (applying.failed, spared)
    }
}

impl Applying<'_> {
    fn spare(&mut self, item: &Item, why: Why) {
        tracing::info!("not purged: {item} came to be wanted since it was planned: {why}");
        self.spared.push(Staying {
            item: item.clone(),
            why,
        });
    }

    /// Forgets tags that point where they did and are not held, and waits until that is on disk.
    fn forget_tags(&mut self, pointed: &Pointed) {
        let (plan, shelves) = (self.plan, self.shelves);
        let tags = plan.goes.iter().filter_map(|going| match &going.item {
            Item::Tag(repository, tag) => {
                let digest = pointed.get(&(repository.clone(), tag.clone()))?;
                Some((&going.item, (repository, tag, digest)))
            }
            Item::Manifest(..) | Item::Blob(_) | Item::Left(..) => None,
        });
        let mut forgotten = Vec::new();
        for step in tags.collect::<Vec<_>>().chunks(STEP) {
            let still = shelves.keeper.still();
            let holds = shelves.keeper.holds();
            let mut free = Vec::with_capacity(step.len());
            for (item, tag) in step {
                match holds.kind_of(&Name::of_tag(tag.0, tag.1)) {
                    Some(kind) => self.spare(item, Why::Held(kind)),
                    None => free.push((*item, *tag)),
                }
            }
            let names: Vec<_> = free.iter().map(|(_, tag)| *tag).collect();
            let moved = shelves.records.remove_tags(&names);
            drop(still);
            for ((item, tag), moved) in free.into_iter().zip(moved) {
                match moved {
                    Some(now) => {
                        self.spare(item, Why::Moved(now));
                        self.mean(now, tag.1);
                    }
                    None => forgotten.push(tag),
                }
            }
        }
        shelves.records.flush();
        let written = shelves.records.have_written(&forgotten);
        for ((repository, tag, _), _) in forgotten.iter().zip(written).filter(|(_, written)| *written) {
            tracing::warn!(%repository, %tag, "a tag could not be purged: the disk does not take its removal");
            self.failed += 1;
        }
    }

    /// A tag points at this by now: it is kept, with what it lists.
    fn mean(&mut self, digest: Digest, tag: &Tag) {
        let mut waiting = vec![digest];
        while let Some(digest) = waiting.pop() {
            if self.meant.insert(digest, tag.clone()).is_none() {
                let record = self.shelves.records.held_anywhere(&digest);
                let children = record.into_iter().flat_map(|record| record.children);
                waiting.extend(children.map(|(child, _)| child));
            }
        }
    }

    /// Forgets the records of manifests, and waits until that is on disk.
    fn forget_manifests(&mut self) {
        let (plan, shelves) = (self.plan, self.shelves);
        let manifests = plan.goes.iter().filter_map(|going| match &going.item {
            Item::Manifest(Some(repository), digest) => Some((&going.item, (repository, digest))),
            Item::Manifest(None, _) | Item::Tag(..) | Item::Blob(_) | Item::Left(..) => None,
        });
        let mut manifests: Vec<_> = manifests.collect();
        // In the order of their records, which makes for fewer pages written.
        manifests.sort_unstable_by_key(|(_, (_, digest))| *digest);
        for step in manifests.chunks(STEP) {
            let _still = shelves.keeper.still();
            let mut free = Vec::with_capacity(step.len());
            for (item, (repository, digest)) in step {
                let tag = self.meant.get(*digest).filter(|_| !self.exact.contains(*digest));
                if let Some(tag) = tag.cloned() {
                    self.spare(item, Why::Tagged(tag));
                } else if shelves.disk.keeps(&manifest(**digest)) {
                    self.spare(item, shelves.some_hold());
                } else {
                    free.push((*repository, *digest));
                }
            }
            shelves.records.remove_held(&free);
        }
        shelves.records.flush();
    }

    /// Removes the files that nobody has come to want.
    fn remove_files(&mut self) {
        let (plan, shelves) = (self.plan, self.shelves);
        let wanted = self.wanted();
        for going in plan.goes.iter().filter(|going| going.won.is_some()) {
            let Some(content) = file_of(&going.item) else {
                continue;
            };
            let _still = shelves.keeper.still();
            if shelves.disk.keeps(&content) {
                self.spare(&going.item, shelves.some_hold());
            } else if wanted.contains(&content) && !self.exact.contains(&content.digest) {
                self.spare(&going.item, Why::Named);
            } else {
                self.remove_file(&content);
            }
        }
    }

    fn remove_file(&mut self, content: &Content) {
        let shelves = self.shelves;
        shelves.memory.remove(&content.digest);
        if let Err(error) = shelves.disk.remove(content) {
            tracing::warn!(digest = %content.digest, %error, "a file could not be purged");
            self.failed += 1;
        }
        // A reader of the file may have put it back.
        shelves.memory.remove(&content.digest);
    }

    /// Removes whatever copies of a digest there are by now: what was held may have been found damaged meanwhile.
    fn remove_leftovers(&mut self, digest: &Digest) {
        let (plan, shelves) = (self.plan, self.shelves);
        let held = shelves.keeps_any(digest);
        let planned = plan.goes.iter().map(|going| &going.item);
        for item in planned.filter(|item| matches!(item, Item::Left(_, of) if of == digest)) {
            let filling =
                *item == Item::Left(Leftover::Unfinished, *digest) && shelves.disk.is_filling(digest);
            match (held, filling) {
                (true, _) => self.spare(item, shelves.some_hold()),
                (false, true) => self.spare(item, Why::Filling),
                (false, false) => {}
            }
        }
        if held {
            return;
        }
        shelves.memory.remove(digest);
        for (which, _) in shelves.disk.leftovers(digest) {
            if let Err(error) = shelves.disk.remove_leftover(which, digest) {
                tracing::warn!(%digest, %error, "a copy could not be purged");
                self.failed += 1;
            }
        }
    }

    /// The files that the manifests which are still held for a repository are, list or name. Blocks.
    fn wanted(&self) -> HashSet<Content> {
        let mut wanted = HashSet::new();
        self.shelves.records.each_held(|_, digest, record, _| {
            // What is remembered of a manifest whose file is gone wants nothing.
            if self.shelves.disk.facts(&manifest(digest)).is_none() {
                return;
            }
            wanted.insert(manifest(digest));
            wanted.extend(record.children.into_iter().map(|(child, _)| manifest(child)));
            wanted.extend(record.blobs.into_iter().map(|(digest, _)| blob(digest)));
        });
        wanted
    }
}
