//! What the images of a bundle are called here.

use std::collections::{BTreeMap, HashMap};

use super::import::ImportError;
use super::{CONTAINERD_NAME, Listed, REF_NAME};
use crate::cache::Wanted;
use crate::oci::{Digest, Manifest, Named, Reference, Repository, Tag};

/// An entry of the layout's list: its manifest, and everything below it.
pub(super) struct Root {
    pub(super) listed: Listed,
    pub(super) digest: Digest,
    pub(super) tree: Vec<Digest>,
    /// True if it refers to another manifest.
    pub(super) refers: bool,
}

/// Where a root belongs.
pub(super) struct Place {
    pub(super) repository: Repository,
    /// The tag that points at it from now on.
    pub(super) tag: Option<Tag>,
    /// Its whole name; empty for a referrer that has none.
    pub(super) name: String,
}

/// Where each root belongs: repository, tag and the name to tell; a referrer without a name, beside its subjects.
pub(super) fn places(
    roots: &[Root],
    manifests: &HashMap<Digest, Manifest>,
    as_name: Option<&str>,
    names: impl Fn(String) -> Wanted,
) -> Result<Vec<Vec<Place>>, ImportError> {
    let images = roots
        .iter()
        .filter(|root| !root.refers && !is_beside(root))
        .count();
    let mut places: Vec<Vec<Place>> = Vec::new();
    let mut beside: BTreeMap<Digest, Vec<Repository>> = BTreeMap::new();
    for root in roots {
        let Some(name) = name_of(root, images, as_name)? else {
            places.push(Vec::new());
            continue;
        };
        let (chosen, reference) = names(name).found.map_err(ImportError::Name)?;
        let (between, tag) = match &reference {
            Reference::Tag(tag) => (':', Some(tag.clone())),
            Reference::Digest(digest) if *digest == root.digest => ('@', None),
            Reference::Digest(digest) => {
                let why = format!("the bundle calls {} by another digest, {digest}", root.digest);
                return Err(ImportError::Name(why));
            }
        };
        let name = format!("{}{between}{reference}", chosen.repository);
        for digest in &root.tree {
            beside.entry(*digest).or_default().push(chosen.repository.clone());
        }
        places.push(vec![Place {
            repository: chosen.repository,
            tag,
            name,
        }]);
    }
    // Referrers may refer to referrers: as often as there are roots, at most.
    for _ in 0..roots.len() {
        let mut found = false;
        for (root, places) in roots
            .iter()
            .zip(&mut places)
            .filter(|(_, places)| places.is_empty())
        {
            let subject = manifests.get(&root.digest).and_then(|manifest| manifest.subject);
            let Some(repositories) = subject.and_then(|subject| beside.get(&subject)).cloned() else {
                continue;
            };
            found = true;
            for digest in &root.tree {
                beside
                    .entry(*digest)
                    .or_default()
                    .extend(repositories.iter().cloned());
            }
            let mut repositories = repositories;
            repositories.sort();
            repositories.dedup();
            places.extend(repositories.into_iter().map(|repository| Place {
                repository,
                tag: None,
                name: String::new(),
            }));
        }
        if !found {
            break;
        }
    }
    Ok(places)
}

/// The name of a root; `None` for a referrer that has none.
fn name_of(root: &Root, images: usize, as_name: Option<&str>) -> Result<Option<String>, ImportError> {
    let annotation = |key: &str| root.listed.annotations.get(key).map(String::as_str);
    let written = [annotation(CONTAINERD_NAME), annotation(REF_NAME)]
        .into_iter()
        .flatten();
    let whole = written.clone().find(|name| Named::has_registry(name));
    let tag = annotation(REF_NAME).filter(|tag| tag.parse::<Tag>().is_ok());
    let Some(as_name) = as_name else {
        if whole.is_none() && !root.refers {
            let told = written.last().unwrap_or("nothing");
            return Err(ImportError::Name(format!(
                "the bundle calls its image {} `{told}`, which names no repository; name it with --as, for example \
                 --as docker.io/library/alpine:3.20",
                root.digest
            )));
        }
        return Ok(whole.map(str::to_owned));
    };
    let named_at = as_name.rfind('/').map_or(0, |slash| slash + 1);
    let named = as_name[named_at..].find([':', '@']).map(|end| named_at + end);
    let repository = &as_name[..named.unwrap_or(as_name.len())];
    // What stands beside an image goes where the image goes.
    if root.refers || is_beside(root) {
        return Ok(whole.map(|whole| format!("{repository}:{}", tag_of(whole))));
    }
    match (named, tag) {
        (None, Some(tag)) => Ok(Some(format!("{repository}:{tag}"))),
        _ if images == 1 => Ok(Some(as_name.to_owned())),
        _ => Err(ImportError::Name(format!(
            "--as {as_name} names one image, and the bundle has {images}; without --as each keeps its own name"
        ))),
    }
}

fn tag_of(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or_default()
}

/// True for the tags under which signers and lists stand beside an image.
fn is_beside(root: &Root) -> bool {
    let name = root.listed.annotations.get(REF_NAME);
    let tag = name.map_or("", |name| tag_of(name));
    tag.starts_with("sha256-") && tag.len() >= "sha256-".len() + 64
}
