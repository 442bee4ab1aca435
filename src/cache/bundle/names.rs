//! What the images of a bundle are called here, and which repository has what of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::import::ImportError;
use super::{CONTAINERD_NAME, Listed, REF_NAME};
use crate::cache::Wanted;
use crate::oci::{Digest, Manifest, Named, Reference, Repository, Tag};
use crate::policy::naming::Chosen;

/// An entry of the layout's list, which names a manifest.
pub(super) struct Root {
    pub(super) listed: Listed,
    pub(super) digest: Digest,
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

/// Where everything belongs.
pub(super) struct Places {
    /// Where each root does.
    pub(super) roots: Vec<Vec<Place>>,
    /// The manifests of each repository.
    pub(super) kept: BTreeMap<Repository, BTreeSet<Digest>>,
    /// What the configuration makes of each.
    pub(super) chosen: BTreeMap<Repository, Chosen>,
}

/// Where each root belongs: repository, tag and the name to tell; a referrer without a name, beside its subjects. A
/// repository has what its roots list and what refers to that, each once, however many of them do.
pub(super) fn places(
    roots: &[Root],
    manifests: &HashMap<Digest, Manifest>,
    as_name: Option<&str>,
    names: impl Fn(String) -> Wanted,
) -> Result<Places, ImportError> {
    let images = roots
        .iter()
        .filter(|root| !root.refers && !is_beside(root))
        .count();
    let mut places: Vec<Vec<Place>> = Vec::new();
    let mut begins: BTreeMap<Repository, Vec<Digest>> = BTreeMap::new();
    let mut nameless: HashMap<Digest, Vec<Digest>> = HashMap::new();
    let mut all_chosen = BTreeMap::new();
    for root in roots {
        let Some(name) = name_of(root, images, as_name)? else {
            let subject = manifests.get(&root.digest).and_then(|manifest| manifest.subject);
            if let Some(subject) = subject {
                nameless.entry(subject).or_default().push(root.digest);
            }
            places.push(Vec::new());
            continue;
        };
        let (place, chosen) = place(root, name, &names)?;
        all_chosen.insert(place.repository.clone(), chosen);
        begins
            .entry(place.repository.clone())
            .or_default()
            .push(root.digest);
        places.push(vec![place]);
    }
    let below = |(repository, begin)| (repository, below(begin, manifests, &nameless));
    let kept: BTreeMap<Repository, BTreeSet<Digest>> = begins.into_iter().map(below).collect();
    for (root, places) in roots
        .iter()
        .zip(&mut places)
        .filter(|(_, places)| places.is_empty())
    {
        let beside = kept.iter().filter(|(_, kept)| kept.contains(&root.digest));
        places.extend(beside.map(|(repository, _)| Place {
            repository: repository.clone(),
            tag: None,
            name: String::new(),
        }));
    }
    Ok(Places {
        roots: places,
        kept,
        chosen: all_chosen,
    })
}

/// Where a root belongs that has a name.
fn place(
    root: &Root,
    name: String,
    names: impl Fn(String) -> Wanted,
) -> Result<(Place, Chosen), ImportError> {
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
    let place = Place {
        repository: chosen.repository.clone(),
        tag,
        name,
    };
    Ok((place, chosen))
}

/// These manifests, all that they list, and the roots without a name that refer to any of them.
fn below(
    begin: Vec<Digest>,
    manifests: &HashMap<Digest, Manifest>,
    nameless: &HashMap<Digest, Vec<Digest>>,
) -> BTreeSet<Digest> {
    let mut found = BTreeSet::new();
    let mut waiting = begin;
    while let Some(digest) = waiting.pop() {
        let Some(manifest) = manifests.get(&digest) else {
            continue;
        };
        if found.insert(digest) {
            waiting.extend(manifest.manifests.iter().map(|child| child.digest));
            waiting.extend(nameless.get(&digest).into_iter().flatten());
        }
    }
    found
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
    let tag = name.and_then(|name| tag_of(name).parse::<Tag>().ok());
    tag.is_some_and(|tag| tag.stands_beside())
}
