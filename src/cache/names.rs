//! Which repositories name a digest: the one place that knows where to look it up.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Read as _;

use super::Shelves;
use crate::oci::{Digest, Manifest, Repository};
use crate::store::Shelf;

/// Most repositories told for one digest.
const MOST_NAMES: usize = 10;
/// Longest manifest read, in bytes: a file that has grown beyond cannot be one.
const LONGEST: u64 = 64 << 20;

/// Who names something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedBy {
    /// What it is named as.
    pub(super) shelf: Shelf,
    /// The repositories; at most ten.
    pub(super) repositories: BTreeSet<Repository>,
}

impl Shelves {
    /// Who names each of these digests; what nobody is known to name is left out. Looks through every record of a
    /// manifest, so ask for many at once. Blocks.
    pub(super) fn names_of(&self, wanted: &HashSet<Digest>) -> HashMap<Digest, NamedBy> {
        // What was kept a moment ago is still on its way there.
        self.records.flush();
        let mut found: HashMap<Digest, NamedBy> = HashMap::new();
        let mut note = |digest: &Digest, shelf, repository: &Repository| {
            if wanted.contains(digest) {
                let repositories = BTreeSet::new();
                let named = found.entry(*digest).or_insert(NamedBy { shelf, repositories });
                if named.repositories.len() < MOST_NAMES {
                    named.repositories.insert(repository.clone());
                }
            }
        };
        self.records.each_held(|repository, digest, record, _| {
            note(&digest, Shelf::Manifests, &repository);
            for (blob, _) in &record.blobs {
                note(blob, Shelf::Blobs, &repository);
            }
        });
        found
    }

    /// A manifest that is held, without taking it into memory: what only names others drives nothing out there.
    /// Blocks.
    pub(super) fn read_quietly(&self, digest: &Digest) -> Option<Manifest> {
        let (bytes, label) = match self.memory.get(digest) {
            Some(held) => (held.bytes, held.manifest),
            None => {
                let stored = self.disk.get(Shelf::Manifests, digest)?;
                let mut bytes = Vec::new();
                (&**stored.file).take(LONGEST).read_to_end(&mut bytes).ok()?;
                (bytes.into(), self.records.media_type(digest))
            }
        };
        Manifest::parse(bytes, label.as_ref()).ok()
    }
}
