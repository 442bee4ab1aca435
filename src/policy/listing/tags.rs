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
    let row = |held: &HeldTag| {
        let manifest = rows.find(&held.digest).map(|manifest| rows.row(manifest));
        let is_held = manifest.is_some();
        let manifest = manifest.unwrap_or_default();
        TagRow {
            tag: held.tag.to_string(),
            digest: held.digest.to_string(),
            held: is_held,
            validated: held.validated.as_millis(),
            platforms: manifest.platforms,
            media_type: is_held.then_some(manifest.media_type),
            size: manifest.held,
            used: manifest.used,
            pulls: manifest.pulls,
        }
    };
    let tags = tags_of(catalog, repository).iter();
    let tags = tags.filter(|held| query.finds(held.tag.as_str())).map(row);
    let place = |row: &TagRow| {
        let key = match sort {
            "validated" => Key::Number(Some(row.validated)),
            "size" => Key::Number(Some(row.size)),
            "used" => Key::Number(row.used),
            "pulls" => Key::Number(Some(row.pulls)),
            _ => Key::Text(String::new()),
        };
        (key, row.tag.clone())
    };
    Ok(query.page(tags.collect(), now.as_millis(), place, |row| row))
}
