//! What a purge removes, what stays, and why.
//!
//! ```text
//! filters ── tags that match ── not held, not of the newest, not used since ──> tags that go
//!            └─ --untagged: manifests no tag points at, not used since ──┐        │
//! one exact name ───────────────────────────────────────────────────────┴────────┴──> manifests
//!     with them: what they list, and what refers to them ── unless something kept names it ──> go
//!                                       blobs of what goes ── unless something kept names it ──> go
//! ```
//! - The age of a manifest is the time since it, or anything that it lists, was last pulled; if it never was, since
//!   it was stored. That of a tag is the age of what it points at. What is asked for every day does not go for having
//!   been here long.
//! - The newest tags are those whose content was stored last.
//! - What is named exactly goes although an index lists it: it is damaged, or must not be there. A hold keeps even
//!   that.
//! - A blob that no manifest names is not looked at, unless it is named exactly.
//! - Of what is named exactly, and goes, every other copy goes too: damaged, unfinished, in memory.

mod filter;
mod graph;
mod kept;
mod plan;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::Time;
use crate::oci::{Digest, Reference, Repository};
use crate::policy::catalog::{Catalog, HeldTag};
use crate::policy::holds::{Holds, Name};

pub use filter::{Filter, FilterError};
use graph::Graph;
use kept::Keeping;
pub use plan::{Going, Item, Leftover, Plan, Staying, Why};

/// What is to be purged.
#[derive(Clone, Debug, PartialEq)]
pub enum Purge {
    /// Whatever these rules say.
    Rules(Rules),
    /// These, however new they are.
    Exact(Vec<Exact>),
}

/// Rules of a purge.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Which tags: those that one of these matches. Their repositories are those that `untagged` looks at.
    pub filters: Vec<Filter>,
    /// What was used within this time stays.
    pub ago: Option<Duration>,
    /// Manifests go as well that no tag points at.
    pub untagged: bool,
    /// How many of the newest tags that match stay in each repository.
    pub keep: usize,
}

/// One thing by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exact {
    /// A tag, or a manifest of one repository.
    Named(Name),
    /// A manifest of every repository, or a blob.
    Everywhere(Digest),
}

/// Decides what a purge removes from the catalog. The same catalog, holds and time give the same plan.
pub fn plan(catalog: &Catalog, holds: &Holds, purge: &Purge, now: Time) -> Plan {
    let graph = Graph::of(catalog);
    let mut chosen = Chosen::new(&graph, holds);
    match purge {
        Purge::Rules(rules) => {
            chosen.by_rules(rules, now);
            chosen.finish(|manifest| used_since(graph.last_use(manifest), rules, now))
        }
        Purge::Exact(names) => {
            chosen.named = true;
            names.iter().for_each(|name| chosen.by_name(name));
            chosen.finish(|_| None)
        }
    }
}

/// What was chosen so far, before it is known what else is in the way.
struct Chosen<'a> {
    graph: &'a Graph<'a>,
    holds: &'a Holds,
    keeping: Keeping<'a>,
    /// Tags that go, by their place in the catalog.
    tags: BTreeSet<usize>,
    /// Manifests that go if nothing kept names them.
    manifests: BTreeSet<usize>,
    /// Manifests that go whatever names them.
    forced: BTreeSet<usize>,
    /// Blobs, and manifests of no known repository, that go whatever names them.
    digests: BTreeSet<Digest>,
    /// True if it was named itself, and by no rule.
    named: bool,
    plan: Plan,
}

impl<'a> Chosen<'a> {
    fn new(graph: &'a Graph<'a>, holds: &'a Holds) -> Self {
        Self {
            graph,
            holds,
            keeping: Keeping::of(graph, holds),
            tags: BTreeSet::new(),
            manifests: BTreeSet::new(),
            forced: BTreeSet::new(),
            digests: BTreeSet::new(),
            named: false,
            plan: Plan::default(),
        }
    }

    fn by_rules(&mut self, rules: &Rules, now: Time) {
        let matches = |repository: &Repository| {
            let name = repository.to_string();
            let filters = rules.filters.iter();
            filters.filter(|filter| filter.is_for(&name)).collect::<Vec<_>>()
        };
        for (repository, tags) in self.graph.repositories() {
            let filters = matches(repository);
            if filters.is_empty() {
                continue;
            }
            self.plan.repositories += 1;
            let matching = |tag: &usize| {
                let tag = self.graph.tag(*tag).tag.as_str();
                filters.iter().any(|filter| filter.takes(tag))
            };
            let mut matching: Vec<usize> = tags.filter(matching).collect();
            matching.sort_by_cached_key(|tag| std::cmp::Reverse(self.newness(*tag)));
            for (place, tag) in matching.into_iter().enumerate() {
                self.judge_tag(tag, place, rules, now);
            }
            if rules.untagged {
                for manifest in self.graph.manifests_of(repository) {
                    self.judge_untagged(manifest, rules, now);
                }
            }
        }
    }

    /// Where a tag stands among those of its repository: the later stored, the newer.
    fn newness(&self, tag: usize) -> (Time, &'a str) {
        let (graph, tag) = (self.graph, self.graph.tag(tag));
        let manifest = graph.named(&tag.repository, &tag.digest);
        let stored = manifest.map_or(tag.validated, |manifest| graph.manifest(manifest).stored);
        (stored, tag.tag.as_str())
    }

    fn judge_tag(&mut self, at: usize, place: usize, rules: &Rules, now: Time) {
        let tag = self.graph.tag(at);
        let manifest = self.graph.named(&tag.repository, &tag.digest);
        let used = manifest.map_or(tag.validated, |manifest| self.graph.last_use(manifest));
        let why = match self.holds.kind_of(&name_of(tag)) {
            Some(kind) => Some(Why::Held(kind)),
            None if place < rules.keep => Some(Why::Newest),
            None => used_since(used, rules, now),
        };
        match why {
            Some(why) => self.plan.stay(item_of(tag), why),
            None => {
                self.tags.insert(at);
                self.manifests.extend(manifest);
            }
        }
    }

    fn judge_untagged(&mut self, manifest: usize, rules: &Rules, now: Time) {
        if self.graph.tags_of(manifest).next().is_some() {
            return;
        }
        match used_since(self.graph.last_use(manifest), rules, now) {
            Some(why) => self.plan.stay(self.graph.item(manifest), why),
            None => {
                self.manifests.insert(manifest);
            }
        }
    }

    fn by_name(&mut self, exact: &Exact) {
        match exact {
            Exact::Everywhere(digest) => {
                self.plan.copies.insert(*digest);
                let everywhere: Vec<usize> = self.graph.everywhere(digest).collect();
                everywhere.into_iter().for_each(|manifest| self.force(manifest));
                match self.keeping.holds(digest) {
                    None => {
                        self.digests.insert(*digest);
                        // It may be gone from its shelf already, and must not come back by a name.
                        self.tags.extend(self.graph.pointing_at(digest));
                    }
                    Some(kind) if self.graph.holds_blob(digest) => {
                        self.plan.stay(Item::Blob(*digest), Why::Held(kind));
                    }
                    Some(_) => {}
                }
            }
            Exact::Named(name) => match &name.reference {
                Reference::Digest(digest) => match self.graph.named(&name.repository, digest) {
                    Some(manifest) => self.force(manifest),
                    None => self.lost(&name.repository, digest),
                },
                Reference::Tag(tag) => {
                    let Some(at) = self.graph.find_tag(&name.repository, tag) else {
                        return;
                    };
                    let tag = self.graph.tag(at);
                    if let Some(kind) = self.holds.kind_of(name) {
                        return self.plan.stay(item_of(tag), Why::Held(kind));
                    }
                    self.tags.insert(at);
                    match self.graph.named(&tag.repository, &tag.digest) {
                        Some(manifest) => drop(self.manifests.insert(manifest)),
                        None => self.lost(&tag.repository, &tag.digest),
                    }
                }
            },
        }
    }

    /// Something that is on no shelf: what else there is of it goes, with the tags that would bring it
    /// back; unless it is held.
    fn lost(&mut self, repository: &Repository, digest: &Digest) {
        let on_shelf = self.graph.everywhere(digest).next().is_some() || self.graph.holds_blob(digest);
        if !on_shelf && self.keeping.holds(digest).is_none() {
            let tags = self.graph.pointing_at(digest);
            self.tags
                .extend(tags.filter(|tag| self.graph.tag(*tag).repository == *repository));
            self.plan.copies.insert(*digest);
        }
    }

    /// A manifest goes whatever names it, with the tags that point at it; unless it is held.
    fn force(&mut self, manifest: usize) {
        let item = self.graph.item(manifest);
        // So far only what is held is known to stay.
        if let Some(why) = self.keeping.why(manifest) {
            return self.plan.stay(item, why);
        }
        self.forced.insert(manifest);
        self.tags.extend(self.graph.tags_of(manifest));
    }

    /// Adds what follows what was chosen, unless it is `spared` for a reason of its own, and takes out again what
    /// something kept names.
    fn finish(mut self, spared: impl Fn(usize) -> Option<Why>) -> Plan {
        let chosen = self.manifests.iter().chain(&self.forced).copied();
        let takes = |follower| match spared(follower) {
            None => true,
            Some(why) => {
                self.plan.stay(self.graph.item(follower), why);
                false
            }
        };
        let candidates = self.graph.with_followers(chosen, takes);
        let tags = (0..self.graph.tag_count()).filter(|tag| !self.tags.contains(tag));
        self.keeping.keep_all_but(&candidates, tags, &self.forced);
        for tag in &self.tags {
            self.plan.go(item_of(self.graph.tag(*tag)), None);
        }
        let (stay, go): (Vec<usize>, Vec<usize>) = candidates
            .iter()
            .partition(|manifest| self.keeping.has(**manifest));
        for manifest in stay {
            if let Some(why) = self.keeping.why(manifest) {
                self.plan.stay(self.graph.item(manifest), why);
            }
        }
        for (manifest, won) in self.graph.won(&go) {
            if self.named && won.is_some() {
                self.plan.copies.insert(self.graph.manifest(manifest).digest);
            }
            self.plan.go(self.graph.item(manifest), won);
        }
        for digest in &self.digests {
            if let Some(bytes) = self.graph.unnamed(digest) {
                let item = Item::Manifest(None, *digest);
                self.plan.go(item, Some(bytes));
            }
        }
        self.blobs(&go);
        self.plan.sort();
        self.plan
    }

    /// The blobs of the manifests that go, and those named exactly.
    fn blobs(&mut self, go: &[usize]) {
        let named = self.graph.blobs_of(go);
        let shared = self.keeping.keepers_of(&named);
        for digest in named.union(&self.digests) {
            let bytes = self.graph.blob_size(digest);
            match (
                shared.get(digest).filter(|_| !self.digests.contains(digest)),
                bytes,
            ) {
                (Some(keeper), Some(_)) => {
                    let keeper = self.graph.manifest(*keeper);
                    let why = Why::Shared(keeper.repository.clone(), keeper.digest);
                    self.plan.stay(Item::Blob(*digest), why);
                }
                (Some(_), None) => {}
                (None, bytes) => {
                    if self.named {
                        self.plan.copies.insert(*digest);
                    }
                    if bytes.is_some() {
                        self.plan.go(Item::Blob(*digest), bytes);
                    }
                }
            }
        }
    }
}

fn used_since(used: Time, rules: &Rules, now: Time) -> Option<Why> {
    let young = rules.ago.is_some_and(|ago| now.since(used) < ago);
    young.then_some(Why::Used(used))
}

fn name_of(tag: &HeldTag) -> Name {
    Name::of_tag(&tag.repository, &tag.tag)
}

fn item_of(tag: &HeldTag) -> Item {
    Item::Tag(tag.repository.clone(), tag.tag.clone())
}

#[cfg(test)]
mod building;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod reasons;
#[cfg(test)]
mod tests;
