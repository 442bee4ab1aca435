//! The list of repositories.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::reach::{Reach, Sizes, blobs_held};
use super::{Key, Page, Query, Wrong, tags_of};
use crate::clock::Time;
use crate::oci::Digest;
use crate::policy::catalog::{Catalog, HeldManifest};

/// One repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryRow {
    /// Its name, with the registry.
    pub repository: String,
    /// Manifests held for it.
    pub manifests: u64,
    /// Its tags that point at one of them.
    pub tags: u64,
    /// Bytes on disk of these manifests and their blobs, each once.
    pub size: u64,
    /// Of these, bytes that other repositories name too.
    pub shared: u64,
    /// When something of it was stored last.
    pub stored: Option<u64>,
    /// When a manifest of it was pulled last.
    pub used: Option<u64>,
    /// How often manifests of it were pulled.
    pub pulls: u64,
}

/// How many repositories name a digest.
pub(super) struct Naming(HashMap<Digest, u32>);

impl Naming {
    /// Counts for everything in the catalog.
    pub(super) fn of(catalog: &Catalog) -> Self {
        let mut naming = HashMap::new();
        for repository in catalog
            .manifests
            .chunk_by(|one, two| one.repository == two.repository)
        {
            let reach = Reach::of_all(repository);
            for digest in reach.manifests.keys().chain(reach.blobs.keys()) {
                *naming.entry(*digest).or_default() += 1;
            }
        }
        Self(naming)
    }

    pub(super) fn count(&self, digest: &Digest) -> u32 {
        self.0.get(digest).copied().unwrap_or(0)
    }
}

/// Draws up the row of one repository.
pub(super) fn row(
    catalog: &Catalog,
    manifests: &[HeldManifest],
    blobs: &Sizes,
    naming: &Naming,
) -> RepositoryRow {
    let repository = &manifests[0].repository;
    let reach = Reach::of_all(manifests);
    let held_blobs = reach.blobs.keys();
    let held_blobs = held_blobs.filter_map(|blob| Some((*blob, *blobs.get(blob)?)));
    let own = reach.manifests.iter().map(|(digest, size)| (*digest, *size));
    let shared = own
        .chain(held_blobs)
        .filter(|(digest, _)| naming.count(digest) > 1);
    let is_held = |digest: &Digest| reach.manifests.contains_key(digest);
    let tags = tags_of(catalog, repository).iter();
    RepositoryRow {
        repository: repository.to_string(),
        manifests: manifests.len() as u64,
        tags: tags.filter(|tag| is_held(&tag.digest)).count() as u64,
        size: reach.held(blobs),
        shared: shared.map(|(_, size)| size).sum(),
        stored: manifests.iter().map(|held| held.stored.as_millis()).max(),
        used: manifests
            .iter()
            .filter_map(|held| held.used)
            .map(Time::as_millis)
            .max(),
        pulls: manifests.iter().map(|held| u64::from(held.pulls)).sum(),
    }
}

/// Every repository's row, by name.
pub(super) fn rows(catalog: &Catalog) -> Vec<RepositoryRow> {
    let (blobs, naming) = (blobs_held(catalog), Naming::of(catalog));
    let repositories = catalog
        .manifests
        .chunk_by(|one, two| one.repository == two.repository);
    repositories
        .map(|manifests| row(catalog, manifests, &blobs, &naming))
        .collect()
}

/// The repositories of which a manifest is held.
///
/// # Errors
/// [`Wrong`] if they cannot be sorted as asked.
pub fn repositories(catalog: &Catalog, query: &Query, now: Time) -> Result<Page<RepositoryRow>, Wrong> {
    let words = &["name", "size", "manifests", "tags", "used", "stored", "pulls"];
    let sort = query.sort_of(words, "name, size, manifests, tags, used, stored, pulls")?;
    let mut rows = rows(catalog);
    rows.retain(|row| query.finds(&row.repository));
    let place = |row: &RepositoryRow| {
        let key = match sort {
            "size" => Key::Number(Some(row.size)),
            "manifests" => Key::Number(Some(row.manifests)),
            "tags" => Key::Number(Some(row.tags)),
            "used" => Key::Number(row.used),
            "stored" => Key::Number(row.stored),
            "pulls" => Key::Number(Some(row.pulls)),
            _ => Key::Text(String::new()),
        };
        (key, row.repository.clone())
    };
    Ok(query.page(rows, now.as_millis(), place, |row| row))
}
