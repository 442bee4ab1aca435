//! What is held, as decisions and listings see it: one snapshot, taken at one moment.

use crate::clock::Time;
use crate::oci::{Digest, MediaType, Repository, Tag};

/// Everything held at one moment.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Every manifest, once for each repository it was pulled by; sorted by repository, then digest.
    pub manifests: Vec<HeldManifest>,
    /// Every tag whose record is kept; sorted by repository, then tag.
    pub tags: Vec<HeldTag>,
    /// Every blob; sorted by digest.
    pub blobs: Vec<HeldBlob>,
    /// Manifests that no repository is known for, because the records were lost; sorted by digest. What they
    /// name is not known here. The next pull puts each back among the others.
    pub unnamed: Vec<HeldBlob>,
}

/// A manifest that is held for a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldManifest {
    /// The repository it was pulled by.
    pub repository: Repository,
    /// Its name.
    pub digest: Digest,
    /// The type it is served as.
    pub media_type: MediaType,
    /// Its own length in bytes, without what it names.
    pub size: u64,
    /// `linux/arm64/v8`, where an index or its own configuration says so.
    pub platform: Option<String>,
    /// When the image was made, where its configuration was read and says so.
    pub created: Option<Time>,
    /// When it was fetched for this repository.
    pub stored: Time,
    /// When it was last pulled; `None` if never since it was stored.
    pub used: Option<Time>,
    /// How often it was pulled.
    pub pulls: u32,
    /// Where it came from: the name of the registry, or the URL of an alternate.
    pub source: String,
    /// The manifests it lists, for an index.
    pub children: Vec<Digest>,
    /// The blobs it names, with their lengths in bytes.
    pub blobs: Vec<(Digest, u64)>,
    /// The manifest it refers to, for a referrer.
    pub subject: Option<Digest>,
}

/// A tag whose record is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldTag {
    /// Its repository.
    pub repository: Repository,
    /// Its name.
    pub tag: Tag,
    /// What it points at; whether that is held stands in [`Catalog::manifests`].
    pub digest: Digest,
    /// When the upstream last confirmed that.
    pub validated: Time,
}

/// A blob that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBlob {
    /// Its name.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// When it was stored.
    pub stored: Time,
    /// When it, or a manifest that names it, was last pulled; `None` if never since it was stored.
    pub used: Option<Time>,
    /// How often it was pulled.
    pub pulls: u32,
}
