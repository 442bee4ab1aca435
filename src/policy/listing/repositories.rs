//! The list of repositories.

use serde::{Deserialize, Serialize};

use super::files::{Files, Named};
use super::{Key, Page, Query, Wrong, tags_of};
use crate::clock::Time;
use crate::policy::catalog::{Catalog, HeldManifest, HeldTag};

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

/// Every repository's row, by name.
pub(super) fn rows(catalog: &Catalog, files: &Files<'_>) -> Vec<RepositoryRow> {
    let named = files.repositories.iter();
    named.map(|named| row(catalog, files, named)).collect()
}

fn row(catalog: &Catalog, files: &Files<'_>, named: &Named<'_>) -> RepositoryRow {
    let manifests = named.manifests;
    let repository = &manifests[0].repository;
    let is_held = |tag: &&HeldTag| {
        let found = manifests.binary_search_by(|held| held.digest.cmp(&tag.digest));
        found.is_ok()
    };
    let all = || files.at(&named.files);
    let shared = all().filter(|file| file.repositories > 1);
    RepositoryRow {
        repository: repository.to_string(),
        manifests: manifests.len() as u64,
        tags: tags_of(catalog, repository).iter().filter(is_held).count() as u64,
        size: all().map(|file| file.size).sum(),
        shared: shared.map(|file| file.size).sum(),
        stored: manifests.iter().map(|held| held.stored.as_millis()).max(),
        used: last_used(manifests),
        pulls: pulls(manifests),
    }
}

/// When one of these was pulled last.
pub(super) fn last_used(manifests: &[HeldManifest]) -> Option<u64> {
    let used = manifests.iter().filter_map(|held| held.used);
    used.map(Time::as_millis).max()
}

/// How often these were pulled.
pub(super) fn pulls(manifests: &[HeldManifest]) -> u64 {
    manifests.iter().map(|held| u64::from(held.pulls)).sum()
}

/// The repositories of which a manifest is held.
///
/// # Errors
/// [`Wrong`] if they cannot be sorted as asked.
pub fn repositories(catalog: &Catalog, query: &Query, now: Time) -> Result<Page<RepositoryRow>, Wrong> {
    let words = &["name", "size", "manifests", "tags", "used", "stored", "pulls"];
    let sort = query.sort_of(words, "name, size, manifests, tags, used, stored, pulls")?;
    let mut rows = rows(catalog, &Files::of(catalog));
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
