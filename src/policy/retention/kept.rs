//! Which manifests stay, and for whose sake.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::graph::Graph;
use super::plan::Why;
use crate::oci::Digest;
use crate::policy::holds::{Holds, Kind};

/// The manifests that stay.
pub(super) struct Keeping<'a> {
    graph: &'a Graph<'a>,
    /// Those that are known to stay, each with the first reason found; none for what nobody wants gone.
    kept: HashMap<usize, Option<Why>>,
    /// Manifests and blobs that are held, with what lists and names them.
    held: HashMap<Digest, Kind>,
}

impl<'a> Keeping<'a> {
    /// What the operator holds: the manifests, those that they list, and the blobs of them all.
    pub(super) fn of(graph: &'a Graph<'a>, holds: &Holds) -> Self {
        let mut keeping = Self {
            graph,
            kept: HashMap::new(),
            held: HashMap::new(),
        };
        // Locks first: of two reasons the stronger is told.
        for wanted in [Kind::Lock, Kind::Pin] {
            for (repository, digest, kind) in holds.roots().filter(|(.., kind)| *kind == wanted) {
                keeping.held.entry(*digest).or_insert(kind);
                let mut waiting = graph.meant(repository, digest);
                while let Some(at) = waiting.pop() {
                    if keeping.kept.contains_key(&at) {
                        continue;
                    }
                    keeping.kept.insert(at, Some(Why::Held(kind)));
                    let manifest = graph.manifest(at);
                    keeping.held.entry(manifest.digest).or_insert(kind);
                    for (blob, _) in &manifest.blobs {
                        keeping.held.entry(*blob).or_insert(kind);
                    }
                    waiting.extend(graph.children(at));
                }
            }
        }
        keeping
    }

    /// How the content of a digest is held.
    pub(super) fn holds(&self, digest: &Digest) -> Option<Kind> {
        self.held.get(digest).copied()
    }

    /// Keeps all manifests but the candidates, and of the candidates those that one of these tags points at, or
    /// that something kept lists or is referred to by. What is forced to go is not kept, and keeps nothing.
    pub(super) fn keep_all_but(
        &mut self,
        candidates: &BTreeSet<usize>,
        tags: impl Iterator<Item = usize>,
        forced: &BTreeSet<usize>,
    ) {
        let graph = self.graph;
        for tag in tags {
            let tag = graph.tag(tag);
            let manifest = graph.named(&tag.repository, &tag.digest);
            if let Some(at) = manifest.filter(|at| !forced.contains(at)) {
                self.kept
                    .entry(at)
                    .or_insert_with(|| Some(Why::Tagged(tag.tag.clone())));
            }
        }
        let others = (0..graph.manifest_count()).filter(|at| !candidates.contains(at));
        for at in others {
            self.kept.entry(at).or_insert(None);
        }
        // In the order of the catalog, so that the reason found first is the same each time.
        let mut waiting: VecDeque<usize> = BTreeSet::from_iter(self.kept.keys().copied())
            .into_iter()
            .collect();
        while let Some(at) = waiting.pop_front() {
            let digest = graph.manifest(at).digest;
            let listed = graph.children(at).map(|child| (child, Why::Listed(digest)));
            let refer = graph
                .referrers(at)
                .map(|referrer| (referrer, Why::Refers(digest)));
            for (follower, why) in listed.chain(refer) {
                if !forced.contains(&follower) && !self.kept.contains_key(&follower) {
                    self.kept.insert(follower, Some(why));
                    waiting.push_back(follower);
                }
            }
        }
    }

    pub(super) fn has(&self, manifest: usize) -> bool {
        self.kept.contains_key(&manifest)
    }

    pub(super) fn why(&self, manifest: usize) -> Option<Why> {
        self.kept.get(&manifest).cloned().flatten()
    }

    /// For each of these blobs that something kept names, the first that does.
    pub(super) fn keepers_of(&self, blobs: &BTreeSet<Digest>) -> HashMap<Digest, usize> {
        let mut keepers = HashMap::new();
        for at in BTreeSet::from_iter(self.kept.keys().copied()) {
            for (blob, _) in &self.graph.manifest(at).blobs {
                if blobs.contains(blob) {
                    keepers.entry(*blob).or_insert(at);
                }
            }
        }
        keepers
    }
}
