//! The files of a catalog by numbers, and what each repository names of them: every digest is looked up once, however
//! much is counted afterwards.

use std::collections::HashMap;

use crate::clock::Time;
use crate::oci::Digest;
use crate::policy::catalog::{Catalog, HeldBlob, HeldManifest};
use crate::policy::eviction::{Content, Shelf};

/// A file on disk.
pub(super) struct File {
    pub(super) shelf: Shelf,
    pub(super) size: u64,
    /// When it was used last by any repository, or stored.
    pub(super) used: Time,
    /// How many repositories name it.
    pub(super) repositories: u32,
}

/// A repository.
pub(super) struct Named<'a> {
    /// Its manifests, of which there is one at least.
    pub(super) manifests: &'a [HeldManifest],
    /// The files it names, each once.
    pub(super) files: Vec<usize>,
}

/// Everything on disk.
pub(super) struct Files<'a> {
    pub(super) all: Vec<File>,
    /// What names them; sorted.
    pub(super) repositories: Vec<Named<'a>>,
    blobs: HashMap<&'a Digest, usize>,
    manifests: HashMap<&'a Digest, usize>,
}

impl<'a> Files<'a> {
    /// Everything in the catalog.
    pub(super) fn of(catalog: &'a Catalog) -> Self {
        let blobs = catalog.blobs.iter().enumerate();
        let mut files = Self {
            all: catalog
                .blobs
                .iter()
                .map(|blob| file(Shelf::Blobs, blob))
                .collect(),
            repositories: Vec::new(),
            blobs: blobs.map(|(place, blob)| (&blob.digest, place)).collect(),
            manifests: HashMap::with_capacity(catalog.manifests.len()),
        };
        let mut once = Once::default();
        for manifests in catalog
            .manifests
            .chunk_by(|one, two| one.repository == two.repository)
        {
            once.begin();
            let mut named: Vec<usize> = Vec::new();
            for held in manifests {
                let own = files.manifest(held);
                let blobs = held.blobs.iter().filter_map(|(blob, _)| files.blobs.get(blob));
                named.extend([own].iter().chain(blobs).filter(|place| once.is_new(**place)));
            }
            for place in &named {
                files.all[*place].repositories += 1;
            }
            files.repositories.push(Named {
                manifests,
                files: named,
            });
        }
        for held in &catalog.unnamed {
            files.manifests.insert(&held.digest, files.all.len());
            files.all.push(file(Shelf::Manifests, held));
        }
        files
    }

    /// The place of a manifest, which was used by one more repository.
    fn manifest(&mut self, held: &'a HeldManifest) -> usize {
        let used = held.used.unwrap_or(held.stored);
        let place = *self.manifests.entry(&held.digest).or_insert(self.all.len());
        match self.all.get_mut(place) {
            Some(file) => file.used = file.used.max(used),
            None => self.all.push(File {
                shelf: Shelf::Manifests,
                size: held.size,
                used,
                repositories: 0,
            }),
        }
        place
    }

    /// The place of some content.
    pub(super) fn find(&self, content: &Content) -> Option<usize> {
        let places = match content.shelf {
            Shelf::Blobs => &self.blobs,
            Shelf::Manifests => &self.manifests,
        };
        places.get(&content.digest).copied()
    }

    /// The files at these places.
    pub(super) fn at<'b>(&'b self, places: &'b [usize]) -> impl Iterator<Item = &'b File> {
        places.iter().map(|place| &self.all[*place])
    }
}

fn file(shelf: Shelf, held: &HeldBlob) -> File {
    File {
        shelf,
        size: held.size,
        used: held.used.unwrap_or(held.stored),
        repositories: 0,
    }
}

/// Which places were met since it was last begun; beginning anew costs nothing.
#[derive(Default)]
pub(super) struct Once {
    turn: u32,
    met: Vec<u32>,
}

impl Once {
    /// Nothing was met.
    pub(super) fn begin(&mut self) {
        self.turn += 1;
    }

    /// True the first time.
    pub(super) fn is_new(&mut self, place: usize) -> bool {
        if self.met.len() <= place {
            self.met.resize(place + 1, 0);
        }
        std::mem::replace(&mut self.met[place], self.turn) != self.turn
    }
}
