//! The list of a repository's manifests.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::reach::{Reach, Sizes, blobs_held};
use super::{Key, Page, Query, Wrong, manifests_of, tags_of};
use crate::clock::Time;
use crate::oci::{Digest, Repository};
use crate::policy::catalog::{Catalog, HeldManifest};

/// One manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestRow {
    /// Its digest.
    pub digest: String,
    /// The tags that point at it.
    pub tags: Vec<String>,
    /// Its platform; for an index, those of the manifests it lists that are held.
    pub platforms: Vec<String>,
    /// The type it is served as.
    pub media_type: String,
    /// When the image was made, as its configuration says; for an index, the newest of those that it lists and are held.
    #[serde(default)]
    pub created: Option<u64>,
    /// When it was stored for this repository.
    pub stored: u64,
    /// Bytes of it and of all that it reaches, as far as manifests say, each once.
    pub size: u64,
    /// Of these, bytes on disk.
    pub held: u64,
    /// When it was pulled last.
    pub used: Option<u64>,
    /// How often it was pulled.
    pub pulls: u64,
    /// The registry that gave it, or the URL of an alternate.
    pub source: String,
    /// The manifest it refers to.
    pub subject: Option<String>,
    /// Manifests it lists, for an index.
    pub lists: u64,
    /// How many of these are held. What the others reach is not known, and counts in no size.
    pub lists_held: u64,
}

/// What it takes to draw up rows.
pub(super) struct Rows<'a> {
    manifests: &'a [HeldManifest],
    tags: HashMap<Digest, Vec<String>>,
    blobs: Sizes,
}

impl<'a> Rows<'a> {
    /// For the manifests of one repository.
    pub(super) fn of(catalog: &'a Catalog, repository: &Repository) -> Self {
        let mut tags: HashMap<Digest, Vec<String>> = HashMap::new();
        for held in tags_of(catalog, repository) {
            tags.entry(held.digest).or_default().push(held.tag.to_string());
        }
        Self {
            manifests: manifests_of(catalog, repository),
            tags,
            blobs: blobs_held(catalog),
        }
    }

    pub(super) fn find(&self, digest: &Digest) -> Option<&'a HeldManifest> {
        let place = self.manifests.binary_search_by(|held| held.digest.cmp(digest));
        place.ok().map(|place| &self.manifests[place])
    }

    /// Bytes on disk of a manifest and of all that it reaches.
    pub(super) fn held(&self, manifest: &HeldManifest) -> u64 {
        Reach::of(manifest, self.manifests).held(&self.blobs)
    }

    pub(super) fn row(&self, held: &HeldManifest) -> ManifestRow {
        let reach = Reach::of(held, self.manifests);
        ManifestRow {
            digest: held.digest.to_string(),
            tags: self.tags.get(&held.digest).cloned().unwrap_or_default(),
            platforms: self.platforms(held),
            media_type: held.media_type.to_string(),
            created: self.created(held),
            stored: held.stored.as_millis(),
            size: reach.size(),
            held: reach.held(&self.blobs),
            used: held.used.map(Time::as_millis),
            pulls: held.pulls.into(),
            source: held.source.clone(),
            subject: held.subject.map(|subject| subject.to_string()),
            lists: held.children.len() as u64,
            lists_held: self.children(held).count() as u64,
        }
    }

    /// What the filter looks at.
    fn text(&self, held: &HeldManifest) -> String {
        let tags = self.tags.get(&held.digest).map(|tags| tags.join(" "));
        let (platforms, tags) = (self.platforms(held).join(" "), tags.unwrap_or_default());
        format!("{} {} {platforms} {tags}", held.digest, held.media_type)
    }

    /// The manifests that it lists and that are held.
    fn children(&self, held: &HeldManifest) -> impl Iterator<Item = &'a HeldManifest> {
        held.children.iter().filter_map(|child| self.find(child))
    }

    /// When it was made, or the newest of what it lists.
    fn created(&self, held: &HeldManifest) -> Option<u64> {
        let children = self.children(held).filter_map(|child| child.created);
        let created = held.created.into_iter().chain(children).max();
        created.map(Time::as_millis)
    }

    /// Its platform, or those of what it lists.
    fn platforms(&self, held: &HeldManifest) -> Vec<String> {
        let children = self.children(held).filter_map(|child| child.platform.clone());
        held.platform.iter().cloned().chain(children).collect()
    }
}

/// One manifest held for a repository.
pub fn manifest(catalog: &Catalog, repository: &Repository, digest: &Digest) -> Option<ManifestRow> {
    let rows = Rows::of(catalog, repository);
    rows.find(digest).map(|held| rows.row(held))
}

/// The manifests held for a repository; the newest first.
///
/// # Errors
/// [`Wrong`] if they cannot be sorted as asked.
pub fn manifests(
    catalog: &Catalog,
    repository: &Repository,
    query: &Query,
    now: Time,
) -> Result<Page<ManifestRow>, Wrong> {
    let words = &[
        "stored", "created", "digest", "size", "used", "pulls", "platform", "type", "source",
    ];
    let sort = query.sort_of(
        words,
        "stored, created, digest, size, used, pulls, platform, type, source",
    )?;
    let rows = Rows::of(catalog, repository);
    let mut held: Vec<&HeldManifest> = rows.manifests.iter().collect();
    held.retain(|held| query.finds(&rows.text(held)));
    let place = |held: &&HeldManifest| {
        let key = match sort {
            "stored" => Key::Number(Some(held.stored.as_millis())),
            "created" => Key::Number(rows.created(held)),
            "size" => Key::Number(Some(Reach::of(held, rows.manifests).size())),
            "used" => Key::Number(held.used.map(Time::as_millis)),
            "pulls" => Key::Number(Some(held.pulls.into())),
            "platform" => Key::Text(held.platform.clone().unwrap_or_default()),
            "type" => Key::Text(held.media_type.to_string()),
            "source" => Key::Text(held.source.clone()),
            _ => Key::Text(String::new()),
        };
        (key, held.digest.to_string())
    };
    Ok(query.page(held, now.as_millis(), place, |held| rows.row(held)))
}
