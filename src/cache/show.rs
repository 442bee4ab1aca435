//! One manifest with all that belongs to it, as a tree: what is held of it and what is missing.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Cache, Shelves};
use crate::oci::{
    self, Child, Descriptor, Digest, MAX_DEPTH, Manifest, MediaType, Reference, Repository, Tag,
};
use crate::policy::catalog::Catalog;
use crate::policy::listing::{self, ManifestRow};
use crate::store::{Held, Shelf};

/// Most lines of a tree: an index may list tens of thousands of manifests.
const MAX_NODES: usize = 2000;
/// Most names told instead of one that is not held.
const MAX_NEAR: usize = 5;

/// A manifest and what belongs to it. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// The moment.
    pub now: u64,
    /// Its full name, as it was asked for.
    pub name: String,
    /// The tag it was asked for by.
    pub tag: Option<ShownTag>,
    /// What is known of it.
    pub manifest: ManifestRow,
    /// The tree.
    pub tree: ShownNode,
    /// What refers to it: signatures, attestations and other artifacts that are held.
    pub referrers: Vec<ShownNode>,
    /// True if the tree is larger than what is told of it.
    pub cut: bool,
}

/// A tag's record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShownTag {
    /// The tag.
    pub tag: String,
    /// When the upstream last confirmed what it points at.
    pub validated: u64,
}

/// A manifest or blob of a tree.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShownNode {
    /// `index`, `manifest`, `attestation`, `config`, `layer` or `blob`.
    pub kind: String,
    /// Its platform, or the tag that a referrer has.
    pub name: Option<String>,
    /// Its digest.
    pub digest: String,
    /// Its media type, as what names it says.
    pub media_type: String,
    /// Its length in bytes, as what names it says.
    pub size: u64,
    /// Whether it is on disk.
    pub held: bool,
    /// What it names, if it is held.
    pub children: Vec<Self>,
}

/// Why there is nothing to show; with names that look like the one asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotHeld {
    /// Nothing of the repository is held; others that look like it.
    Repository(Vec<String>),
    /// Nothing is known of the tag; tags of the repository that look like it.
    Tag(Vec<String>),
    /// The repository has no such manifest here; the tag pointed at it, if it was asked for by one.
    Manifest(Digest),
}

impl Cache {
    /// A manifest with all that belongs to it. Reads each manifest of the tree.
    ///
    /// # Errors
    /// If the disk cannot be listed. [`NotHeld`] if it is not held.
    pub async fn show(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> io::Result<Result<Shown, NotHeld>> {
        let (shelves, reference, name) = (self.shelves.clone(), reference.clone(), repository.clone());
        let shown = self.survey_of(repository, move |catalog, now| {
            let shown = shelves.show(catalog, &name, &reference)?;
            Ok(Shown {
                now: now.as_millis(),
                ..shown
            })
        });
        Ok(shown.await?.and_then(|shown| shown))
    }
}

impl NotHeld {
    fn tag(catalog: &Catalog, repository: &Repository, tag: &Tag) -> Self {
        let tags = || {
            listing::tags_of(catalog, repository)
                .iter()
                .map(|held| held.tag.as_str())
        };
        let near = listing::near(tag.as_str(), tags());
        let near = match near.is_empty() {
            true => tags().take(MAX_NEAR).collect(),
            false => near,
        };
        Self::Tag(near.into_iter().map(str::to_owned).collect())
    }
}

impl Shelves {
    fn show(
        self: &Arc<Self>,
        catalog: &Catalog,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Shown, NotHeld> {
        let tags = listing::tags_of(catalog, repository);
        if listing::manifests_of(catalog, repository).is_empty() {
            return Err(self.no_repository(repository));
        }
        let (name, digest, tag) = match reference {
            Reference::Digest(digest) => (format!("{repository}@{digest}"), *digest, None),
            Reference::Tag(tag) => {
                let held = tags.iter().find(|held| held.tag == *tag);
                let held = held.ok_or_else(|| NotHeld::tag(catalog, repository, tag))?;
                let record = ShownTag {
                    tag: tag.to_string(),
                    validated: held.validated.as_millis(),
                };
                (format!("{repository}:{tag}"), held.digest, Some(record))
            }
        };
        let manifest = listing::manifest(catalog, repository, &digest).ok_or(NotHeld::Manifest(digest))?;
        let mut left = MAX_NODES;
        let tree = self.tree(&digest, None, MAX_DEPTH, &mut left);
        let referrers = self.referrers_of(catalog, repository, &digest, &mut left);
        Ok(Shown {
            now: 0,
            name,
            tag,
            manifest,
            tree,
            referrers,
            cut: left == 0,
        })
    }

    /// What is held that refers to a manifest: by its subject, or by the tag that clients made of its digest.
    fn referrers_of(
        &self,
        catalog: &Catalog,
        repository: &Repository,
        digest: &Digest,
        left: &mut usize,
    ) -> Vec<ShownNode> {
        let by_subject = listing::manifests_of(catalog, repository).iter();
        let by_subject = by_subject.filter(|held| held.subject == Some(*digest));
        let mut found: Vec<(Digest, Option<String>)> = by_subject.map(|held| (held.digest, None)).collect();
        let prefix = Tag::of_referrers(digest).to_string();
        for held in listing::tags_of(catalog, repository) {
            if held.tag.as_str().starts_with(&prefix) && self.disk.holds(Shelf::Manifests, &held.digest) {
                found.push((held.digest, Some(held.tag.to_string())));
            }
        }
        let nodes = found.into_iter().map(|(referrer, tag)| ShownNode {
            name: tag,
            ..self.tree(&referrer, None, 1, left)
        });
        nodes.collect()
    }

    /// A manifest and what it names. Blocks.
    fn tree(&self, digest: &Digest, named: Option<&Descriptor>, depth: usize, left: &mut usize) -> ShownNode {
        *left = left.saturating_sub(1);
        let manifest = self.look_at(digest);
        let media_type = manifest.as_ref().map(|manifest| &manifest.media_type);
        let media_type = media_type.or(named.map(|named| &named.media_type));
        let is_index = media_type.is_some_and(MediaType::is_index);
        let size = manifest.as_ref().map(|manifest| manifest.bytes.len() as u64);
        let mut node = ShownNode {
            kind: if is_index { "index" } else { "manifest" }.to_owned(),
            digest: digest.to_string(),
            media_type: media_type.map(MediaType::to_string).unwrap_or_default(),
            size: size.or(named.map(|named| named.size)).unwrap_or(0),
            held: manifest.is_some(),
            ..ShownNode::default()
        };
        let Some(manifest) = manifest.filter(|_| depth > 0) else {
            return node;
        };
        for blob in &manifest.blobs {
            if *left == 0 {
                break;
            }
            *left -= 1;
            node.children.push(self.leaf(blob));
        }
        let listed = match is_index {
            true => oci::children(&manifest.bytes),
            false => Vec::new(),
        };
        for child in &manifest.manifests {
            if *left == 0 {
                break;
            }
            let told = listed.iter().find(|told| told.digest == child.digest);
            let below = self.tree(&child.digest, Some(child), depth - 1, left);
            node.children.push(as_listed(below, told));
        }
        node
    }

    fn leaf(&self, blob: &Descriptor) -> ShownNode {
        ShownNode {
            kind: kind_of(blob.media_type.as_str()).to_owned(),
            digest: blob.digest.to_string(),
            media_type: blob.media_type.to_string(),
            size: blob.size,
            held: self.disk.holds(Shelf::Blobs, &blob.digest),
            ..ShownNode::default()
        }
    }

    fn look_at(&self, digest: &Digest) -> Option<Manifest> {
        let in_memory = self.memory.get(digest).filter(|held| held.manifest.is_some());
        let Held { bytes, manifest } = in_memory
            .filter(|_| self.disk.holds(Shelf::Manifests, digest))
            .or_else(|| self.read_manifest(digest))?;
        Manifest::parse(bytes, manifest.as_ref()).ok()
    }
}

/// A manifest with what the index says of it.
fn as_listed(node: ShownNode, told: Option<&Child>) -> ShownNode {
    let attests = told.is_some_and(|told| told.attests.is_some());
    let platform = told.and_then(|told| told.platform.as_ref());
    let platform = platform.filter(|platform| !platform.is_unknown());
    ShownNode {
        kind: if attests {
            "attestation".to_owned()
        } else {
            node.kind
        },
        name: platform.map(ToString::to_string),
        ..node
    }
}

/// What a blob is, by its media type.
fn kind_of(media_type: &str) -> &'static str {
    if media_type.contains(".config.") || media_type == "application/vnd.docker.container.image.v1+json" {
        "config"
    } else if media_type.contains("layer") || media_type.contains("rootfs") {
        "layer"
    } else {
        "blob"
    }
}
