//! What a plan names, taken away; unless it came to be wanted since the plan was made.
//!
//! Whole repositories at a time: a purge that is stopped leaves the images of the others as they were.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::under_way::UnderWay;
use super::{Pointed, Purged, blob, exactly, file_of, manifest};
use crate::cache::Shelves;
use crate::oci::{Digest, Repository, Tag};
use crate::policy::eviction::Content;
use crate::policy::holds::Name;
use crate::policy::retention::{Going, Item, Leftover, Plan, Purge, Staying, Why};

/// Records forgotten at a time: who wants to hold something meanwhile waits for no more.
const STEP: usize = 256;
/// Files removed at a time, several at once.
const FILES: usize = 1024;
/// Most parts of a purge, between which it may stop. After each, everything held is looked through.
const PARTS: usize = 4;
/// Objects held of which a part removes at least one, so that looking through them is soon done beside it.
const HELD_OF_A_PART: u64 = 16;

/// A plan that is being carried out.
struct Applying<'a> {
    shelves: &'a Shelves,
    plan: &'a Plan,
    under_way: &'a UnderWay,
    /// What was named itself goes, whatever names it.
    exact: HashSet<Digest>,
    /// What tags have moved to meanwhile, with what that lists.
    meant: HashMap<Digest, Tag>,
    spared: Vec<Staying>,
    failed: usize,
}

/// What goes of some repositories.
#[derive(Default)]
struct Part<'a> {
    tags: Vec<(&'a Going, &'a Repository, &'a Tag)>,
    manifests: Vec<(&'a Going, &'a Repository, &'a Digest)>,
}

impl Part<'_> {
    fn len(&self) -> usize {
        self.tags.len() + self.manifests.len()
    }
}

impl Shelves {
    /// Removes what goes, unless it is to stop before. Says what could not be removed, what was spared and why, and what
    /// is left. Blocks.
    pub(super) fn apply(
        &self,
        plan: &Plan,
        purge: &Purge,
        pointed: &Pointed,
        under_way: &UnderWay,
    ) -> Purged {
        let mut applying = Applying {
            shelves: self,
            plan,
            under_way,
            exact: exactly(purge),
            meant: HashMap::new(),
            spared: Vec::new(),
            failed: 0,
        };
        let left = applying.remove(pointed);
        let mut spared = applying.spared;
        spared.sort_by(|a, b| a.item.cmp(&b.item));
        spared.dedup_by(|later, first| later.item == first.item);
        Purged {
            plan: Plan::default(),
            failed: applying.failed,
            spared,
            left,
        }
    }
}

impl<'a> Applying<'a> {
    /// Removes part by part. Returns what is left if it was stopped before the end.
    fn remove(&mut self, pointed: &Pointed) -> Vec<Item> {
        self.notice_moves(pointed);
        let mut parts = self.parts().into_iter().peekable();
        let files = self.plan.goes.iter().filter(|going| going.won.is_some());
        let mut files: Vec<(&Going, Content)> = files
            .filter_map(|going| Some((going, file_of(&going.item)?)))
            .collect();
        loop {
            if self.under_way.stops() {
                return self.left(parts, &files);
            }
            // Where nothing is named by a repository, all goes in one.
            let part = parts.next().unwrap_or_default();
            self.forget_tags(&part, pointed);
            self.forget_manifests(&part);
            let is_last = parts.peek().is_none();
            files = self.remove_files(&files, is_last);
            if is_last {
                break;
            }
        }
        for digest in &self.plan.copies {
            self.remove_leftovers(digest);
        }
        Vec::new()
    }

    /// What goes, by repositories.
    fn parts(&self) -> Vec<Part<'a>> {
        let mut each: BTreeMap<&Repository, Part<'_>> = BTreeMap::new();
        for going in &self.plan.goes {
            match &going.item {
                Item::Tag(of, tag) => each.entry(of).or_default().tags.push((going, of, tag)),
                Item::Manifest(Some(of), digest) => {
                    each.entry(of).or_default().manifests.push((going, of, digest));
                }
                Item::Manifest(None, _) | Item::Blob(_) | Item::Left(..) => {}
            }
        }
        let all: usize = each.values().map(Part::len).sum();
        let held: u64 = self
            .shelves
            .disk
            .standing()
            .shelves
            .iter()
            .map(|shelf| shelf.objects)
            .sum();
        let goes = self.plan.goes.len().max(1);
        // As many as look through everything in no more time than they take to remove.
        let most = u64::try_from(goes).unwrap_or(u64::MAX) * HELD_OF_A_PART / held.max(1);
        let count = usize::try_from(most).unwrap_or(PARTS).clamp(1, PARTS);
        let mut parts: Vec<Part<'_>> = Vec::with_capacity(count);
        for one in each.into_values() {
            match parts.last_mut() {
                Some(last) if last.len() < all.div_ceil(count) => {
                    last.tags.extend(one.tags);
                    last.manifests.extend(one.manifests);
                }
                Some(_) | None => parts.push(one),
            }
        }
        parts
    }

    /// What of the plan has not gone.
    fn left(&self, parts: impl Iterator<Item = Part<'a>>, files: &[(&Going, Content)]) -> Vec<Item> {
        let named = parts.flat_map(|part| {
            let tags = part.tags.into_iter().map(|(going, ..)| going);
            let manifests = part.manifests.into_iter().map(|(going, ..)| going);
            tags.chain(manifests).collect::<Vec<_>>()
        });
        let goes = self.plan.goes.iter();
        let copies = goes.filter(|going| matches!(going.item, Item::Left(..)));
        let left = named.chain(files.iter().map(|(going, _)| *going)).chain(copies);
        let spared: HashSet<&Item> = self.spared.iter().map(|spared| &spared.item).collect();
        let left = left.filter(|going| !spared.contains(&going.item));
        let mut left: Vec<Item> = left.map(|going| going.item.clone()).collect();
        left.sort_unstable();
        left.dedup();
        left
    }

    fn spare(&mut self, going: &Going, why: Why) {
        let item = &going.item;
        tracing::info!("not purged: {item} came to be wanted since it was planned: {why}");
        self.spared.push(Staying {
            item: item.clone(),
            why,
        });
    }

    /// What tags that go have moved to since the plan was made is kept, whichever part it is in.
    fn notice_moves(&mut self, pointed: &Pointed) {
        let shelves = self.shelves;
        for ((repository, tag), digest) in pointed {
            let now = shelves.records.tag(repository, tag);
            let now = now.map(|record| record.descriptor.digest);
            if let Some(now) = now.filter(|now| now != digest) {
                self.mean(now, tag);
            }
        }
    }

    /// Forgets tags that point where they did and are not held, and waits until that is on disk.
    fn forget_tags(&mut self, part: &Part<'_>, pointed: &Pointed) {
        let shelves = self.shelves;
        let tags = part.tags.iter().filter_map(|(going, repository, tag)| {
            let digest = pointed.get(&((*repository).clone(), (*tag).clone()))?;
            Some((*going, (*repository, *tag, digest)))
        });
        let mut forgotten = Vec::new();
        for step in tags.collect::<Vec<_>>().chunks(STEP) {
            let still = shelves.keeper.still();
            let holds = shelves.keeper.holds();
            let mut free = Vec::with_capacity(step.len());
            for (going, tag) in step {
                self.under_way.done(going, false);
                match holds.kind_of(&Name::of_tag(tag.0, tag.1)) {
                    Some(kind) => self.spare(going, Why::Held(kind)),
                    None => free.push((*going, *tag)),
                }
            }
            let names: Vec<_> = free.iter().map(|(_, tag)| *tag).collect();
            let moved = shelves.records.remove_tags(&names);
            drop(still);
            for ((going, tag), moved) in free.into_iter().zip(moved) {
                match moved {
                    Some(now) => {
                        self.spare(going, Why::Moved(now));
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
    fn forget_manifests(&mut self, part: &Part<'_>) {
        let shelves = self.shelves;
        let mut manifests = part.manifests.clone();
        // In the order of their records, which makes for fewer pages written.
        manifests.sort_unstable_by_key(|(.., digest)| *digest);
        for step in manifests.chunks(STEP) {
            let _still = shelves.keeper.still();
            let mut free = Vec::with_capacity(step.len());
            for (going, repository, digest) in step {
                if going.won.is_none() {
                    self.under_way.done(going, false);
                }
                let tag = self.meant.get(*digest).filter(|_| !self.exact.contains(*digest));
                if let Some(tag) = tag.cloned() {
                    self.spare(going, Why::Tagged(tag));
                } else if shelves.disk.keeps(&manifest(**digest)) {
                    self.spare(going, shelves.some_hold());
                } else {
                    free.push((*repository, *digest));
                }
            }
            shelves.records.remove_held(&free);
        }
        shelves.records.flush();
    }

    /// Removes the files that nobody has come to want. Returns those that are named until the next part has gone; after
    /// the `last` whatever is named is spared.
    fn remove_files<'b>(
        &mut self,
        files: &[(&'b Going, Content)],
        is_last: bool,
    ) -> Vec<(&'b Going, Content)> {
        let shelves = self.shelves;
        let wanted = self.wanted();
        let mut later = Vec::new();
        for step in files.chunks(FILES) {
            let _still = shelves.keeper.still();
            let mut free = Vec::with_capacity(step.len());
            for (going, content) in step {
                let is_wanted = wanted.contains(content) && !self.exact.contains(&content.digest);
                let why = match is_wanted {
                    _ if shelves.disk.keeps(content) => shelves.some_hold(),
                    true if is_last => Why::Named,
                    true => {
                        later.push((*going, *content));
                        continue;
                    }
                    false => {
                        free.push((*going, *content));
                        continue;
                    }
                };
                self.under_way.done(going, false);
                self.spare(going, why);
            }
            self.remove_step(&free);
        }
        later
    }

    fn remove_step(&mut self, files: &[(&Going, Content)]) {
        let shelves = self.shelves;
        let contents: Vec<Content> = files.iter().map(|(_, content)| *content).collect();
        for ((going, content), removed) in files.iter().zip(shelves.disk.remove_all(&contents)) {
            if let Err(error) = &removed {
                tracing::warn!(digest = %content.digest, %error, "a file could not be purged");
                self.failed += 1;
            }
            self.under_way.done(going, removed.is_ok());
        }
        // After the files: who reads one puts it into memory.
        for content in &contents {
            shelves.memory.remove(&content.digest);
        }
    }

    /// Removes whatever copies of a digest there are by now: what was held may have been found damaged meanwhile.
    fn remove_leftovers(&mut self, digest: &Digest) {
        let (plan, shelves) = (self.plan, self.shelves);
        let held = shelves.keeps_any(digest);
        let planned = plan.goes.iter();
        for going in planned.filter(|going| matches!(&going.item, Item::Left(_, of) if of == digest)) {
            let filling =
                going.item == Item::Left(Leftover::Unfinished, *digest) && shelves.disk.is_filling(digest);
            self.under_way.done(going, !held && !filling);
            match (held, filling) {
                (true, _) => self.spare(going, shelves.some_hold()),
                (false, true) => self.spare(going, Why::Filling),
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
