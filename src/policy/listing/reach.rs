//! What a manifest reaches: itself, the manifests it lists, and the blobs of them all; each once.

use std::collections::HashMap;

use crate::oci::{Digest, MAX_DEPTH};
use crate::policy::catalog::{Catalog, HeldManifest};

/// Digests and their lengths in bytes.
pub(super) type Sizes = HashMap<Digest, u64>;

/// The blobs on disk.
pub(super) fn blobs_held(catalog: &Catalog) -> Sizes {
    let blobs = catalog.blobs.iter();
    blobs.map(|blob| (blob.digest, blob.size)).collect()
}

/// What was reached.
#[derive(Default)]
pub(super) struct Reach {
    /// The manifests, which are held.
    pub(super) manifests: Sizes,
    /// The blobs, whether they are held or not.
    pub(super) blobs: Sizes,
}

impl Reach {
    /// What one manifest reaches among those of its repository, which are sorted by digest.
    pub(super) fn of(manifest: &HeldManifest, repository: &[HeldManifest]) -> Self {
        let mut reach = Self::default();
        reach.add(manifest, repository, MAX_DEPTH);
        reach
    }

    fn add(&mut self, manifest: &HeldManifest, repository: &[HeldManifest], depth: usize) {
        if self.manifests.insert(manifest.digest, manifest.size).is_some() {
            return;
        }
        self.blobs.extend(manifest.blobs.iter().copied());
        if depth == 0 {
            return;
        }
        for child in &manifest.children {
            if let Ok(place) = repository.binary_search_by(|held| held.digest.cmp(child)) {
                self.add(&repository[place], repository, depth - 1);
            }
        }
    }

    /// Bytes of everything, as far as manifests say.
    pub(super) fn size(&self) -> u64 {
        self.manifests.values().chain(self.blobs.values()).sum()
    }

    /// Bytes of what is on disk.
    pub(super) fn held(&self, blobs: &Sizes) -> u64 {
        let held = self.blobs.keys().filter_map(|blob| blobs.get(blob));
        self.manifests.values().chain(held).sum()
    }
}
