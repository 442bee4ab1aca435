//! The list of a repository's tags.

use serde::{Deserialize, Serialize};

use super::manifests::Rows;
use super::{Key, Page, Query, Wrong, tags_of};
use crate::clock::Time;
use crate::oci::Repository;
use crate::policy::catalog::{Catalog, HeldTag};

/// One tag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagRow {
    /// Its name.
    pub tag: String,
    /// What it points at.
    pub digest: String,
    /// Whether that is held. A tag that was only asked about is known as well.
    pub held: bool,
    /// When the upstream last confirmed that it points there.
    pub validated: u64,
    /// The platforms that are held of it.
    pub platforms: Vec<String>,
    /// The type that what it points at is served as.
    pub media_type: Option<String>,
    /// Bytes on disk of what it points at, with all that reaches.
    pub size: u64,
    /// When what it points at was pulled last, by whichever name.
    pub used: Option<u64>,
    /// How often that was pulled.
    pub pulls: u64,
}

/// The tags of a repository whose records are kept.
///
/// # Errors
/// [`Wrong`] if they cannot be sorted as asked.
pub fn tags(
    catalog: &Catalog,
    repository: &Repository,
    query: &Query,
    now: Time,
) -> Result<Page<TagRow>, Wrong> {
    let sort = query.sort_of(
        &["name", "validated", "size", "used", "pulls"],
        "name, validated, size, used, pulls",
    )?;
    let rows = Rows::of(catalog, repository);
    let mut tags: Vec<&HeldTag> = tags_of(catalog, repository).iter().collect();
    tags.retain(|held| query.finds(held.tag.as_str()));
    let place = |tag: &&HeldTag| {
        let manifest = rows.find(&tag.digest);
        let key = match sort {
            "validated" => Key::Number(Some(tag.validated.as_millis())),
            "size" => Key::Number(Some(manifest.map_or(0, |held| rows.held(held)))),
            "used" => Key::Number(manifest.and_then(|held| held.used).map(Time::as_millis)),
            "pulls" => Key::Number(Some(manifest.map_or(0, |held| held.pulls.into()))),
            _ => Key::Text(String::new()),
        };
        (key, tag.tag.to_string())
    };
    let row = |tag: &HeldTag| {
        let manifest = rows.find(&tag.digest).map(|manifest| rows.row(manifest));
        let held = manifest.is_some();
        let manifest = manifest.unwrap_or_default();
        TagRow {
            tag: tag.tag.to_string(),
            digest: tag.digest.to_string(),
            held,
            validated: tag.validated.as_millis(),
            platforms: manifest.platforms,
            media_type: held.then_some(manifest.media_type),
            size: manifest.held,
            used: manifest.used,
            pulls: manifest.pulls,
        }
    };
    Ok(query.page(tags, now.as_millis(), place, row))
}
