//! What is held and what names what, by place in the catalog.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::plan::Item;
use crate::clock::Time;
use crate::oci::{Digest, Repository, Tag};
use crate::policy::catalog::{Catalog, HeldManifest, HeldTag};

/// A catalog whose names can be followed both ways.
pub(super) struct Graph<'a> {
    catalog: &'a Catalog,
    /// Manifests by digest, each for one repository.
    manifests: HashMap<&'a Digest, Vec<usize>>,
    /// Those that refer to a manifest, by its digest.
    referrers: HashMap<&'a Digest, Vec<usize>>,
    /// Tags by what they point at.
    tags: HashMap<&'a Digest, Vec<usize>>,
    repositories: BTreeMap<&'a Repository, (Vec<usize>, Vec<usize>)>,
}

impl<'a> Graph<'a> {
    pub(super) fn of(catalog: &'a Catalog) -> Self {
        let mut graph = Self {
            catalog,
            manifests: HashMap::new(),
            referrers: HashMap::new(),
            tags: HashMap::new(),
            repositories: BTreeMap::new(),
        };
        for (at, tag) in catalog.tags.iter().enumerate() {
            graph.tags.entry(&tag.digest).or_default().push(at);
            graph.repositories.entry(&tag.repository).or_default().0.push(at);
        }
        for (at, manifest) in catalog.manifests.iter().enumerate() {
            graph.manifests.entry(&manifest.digest).or_default().push(at);
            let repository = graph.repositories.entry(&manifest.repository).or_default();
            repository.1.push(at);
            if let Some(subject) = &manifest.subject {
                graph.referrers.entry(subject).or_default().push(at);
            }
        }
        graph
    }

    /// Each repository with its tags, sorted.
    pub(super) fn repositories(&self) -> impl Iterator<Item = (&'a Repository, impl Iterator<Item = usize>)> {
        let each = self.repositories.iter();
        each.map(|(repository, (tags, _))| (*repository, tags.iter().copied()))
    }

    /// The manifests of a repository.
    pub(super) fn manifests_of(&self, repository: &Repository) -> impl Iterator<Item = usize> + use<'a> {
        let manifests = self
            .repositories
            .get(repository)
            .map(|(_, manifests)| manifests.clone());
        manifests.unwrap_or_default().into_iter()
    }

    pub(super) fn tag(&self, at: usize) -> &'a HeldTag {
        &self.catalog.tags[at]
    }

    pub(super) fn tag_count(&self) -> usize {
        self.catalog.tags.len()
    }

    pub(super) fn find_tag(&self, repository: &Repository, tag: &Tag) -> Option<usize> {
        let (tags, _) = self.repositories.get(repository)?;
        tags.iter().copied().find(|at| self.tag(*at).tag == *tag)
    }

    /// The tags of its repository that point at a manifest.
    pub(super) fn tags_of(&self, manifest: usize) -> impl Iterator<Item = usize> {
        let manifest = self.manifest(manifest);
        let tags = self.tags.get(&manifest.digest).into_iter().flatten().copied();
        tags.filter(|tag| self.tag(*tag).repository == manifest.repository)
    }

    /// The tags of all repositories that point at a digest.
    pub(super) fn pointing_at(&self, digest: &Digest) -> impl Iterator<Item = usize> {
        self.tags.get(digest).into_iter().flatten().copied()
    }

    pub(super) fn manifest(&self, at: usize) -> &'a HeldManifest {
        &self.catalog.manifests[at]
    }

    pub(super) fn manifest_count(&self) -> usize {
        self.catalog.manifests.len()
    }

    pub(super) fn item(&self, manifest: usize) -> Item {
        let manifest = self.manifest(manifest);
        Item::Manifest(Some(manifest.repository.clone()), manifest.digest)
    }

    /// A manifest of a repository.
    pub(super) fn named(&self, repository: &Repository, digest: &Digest) -> Option<usize> {
        self.everywhere(digest)
            .find(|at| self.manifest(*at).repository == *repository)
    }

    /// A manifest for every repository that has it.
    pub(super) fn everywhere(&self, digest: &Digest) -> impl Iterator<Item = usize> {
        self.manifests.get(digest).into_iter().flatten().copied()
    }

    /// What a repository means by a digest: its own manifest, or any other repository's, since the content is the
    /// same.
    pub(super) fn meant(&self, repository: &Repository, digest: &Digest) -> Vec<usize> {
        match self.named(repository, digest) {
            Some(own) => vec![own],
            None => self.everywhere(digest).collect(),
        }
    }

    /// The manifests that a manifest lists.
    pub(super) fn children(&self, at: usize) -> impl Iterator<Item = usize> {
        let manifest = self.manifest(at);
        let children = manifest.children.iter();
        children.flat_map(|child| self.meant(&manifest.repository, child))
    }

    /// The manifests of its repository that refer to a manifest.
    pub(super) fn referrers(&self, at: usize) -> impl Iterator<Item = usize> {
        let manifest = self.manifest(at);
        let referrers = self
            .referrers
            .get(&manifest.digest)
            .into_iter()
            .flatten()
            .copied();
        referrers.filter(|referrer| self.manifest(*referrer).repository == manifest.repository)
    }

    /// These, with all that they list and that refers to them, and so on, as far as `takes` does.
    pub(super) fn with_followers(
        &self,
        manifests: impl Iterator<Item = usize>,
        mut takes: impl FnMut(usize) -> bool,
    ) -> BTreeSet<usize> {
        let mut waiting: Vec<usize> = manifests.collect();
        let mut found: BTreeSet<usize> = waiting.iter().copied().collect();
        let mut seen = found.clone();
        while let Some(at) = waiting.pop() {
            for follower in self.children(at).chain(self.referrers(at)) {
                if seen.insert(follower) && takes(follower) {
                    found.insert(follower);
                    waiting.push(follower);
                }
            }
        }
        found
    }

    /// When a manifest, or anything that it lists, was last pulled or, if it never was, stored.
    pub(super) fn last_use(&self, at: usize) -> Time {
        let (mut seen, mut waiting) = (HashSet::from([at]), vec![at]);
        let mut last = Time::from_millis(0);
        while let Some(at) = waiting.pop() {
            let manifest = self.manifest(at);
            last = last.max(manifest.used.unwrap_or(manifest.stored));
            waiting.extend(self.children(at).filter(|child| seen.insert(*child)));
        }
        last
    }

    /// The manifests that go, each with the bytes that are won: once the last repository has lost it.
    pub(super) fn won(&self, go: &[usize]) -> Vec<(usize, Option<u64>)> {
        let going: HashSet<usize> = go.iter().copied().collect();
        let mut counted = HashSet::new();
        let won = |at: &usize| {
            let manifest = self.manifest(*at);
            let all = self.everywhere(&manifest.digest).all(|at| going.contains(&at));
            let first = all && counted.insert(manifest.digest);
            (*at, first.then_some(manifest.size))
        };
        go.iter().map(won).collect()
    }

    /// The length of a manifest that no repository is known for.
    pub(super) fn unnamed(&self, digest: &Digest) -> Option<u64> {
        let held = &self.catalog.unnamed;
        let at = held.binary_search_by_key(digest, |held| held.digest).ok()?;
        Some(held[at].size)
    }

    /// The blobs that manifests name.
    pub(super) fn blobs_of(&self, manifests: &[usize]) -> BTreeSet<Digest> {
        let blobs = manifests.iter().flat_map(|at| &self.manifest(*at).blobs);
        blobs.map(|(blob, _)| *blob).collect()
    }

    /// The length of a blob that is held.
    pub(super) fn blob_size(&self, digest: &Digest) -> Option<u64> {
        let held = &self.catalog.blobs;
        let at = held.binary_search_by_key(digest, |held| held.digest).ok()?;
        Some(held[at].size)
    }

    pub(super) fn holds_blob(&self, digest: &Digest) -> bool {
        self.blob_size(digest).is_some()
    }
}
