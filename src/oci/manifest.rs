//! Manifests: the bytes as they came, and the few fields a cache reads.
//!
//! A manifest is passed on byte for byte; what is parsed here only tells which content follows it. A
//! document whose meaning depends on who reads it (an index that is also an image, a body that
//! contradicts its label, a key given twice) is refused, since two clients would pull two different things
//! (CVE-2021-41190).

mod spelling;

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::Deserialize;

use super::Digest;

/// Indexes within indexes that are followed by whoever walks down from a manifest. Builders make one level, seldom two.
pub const MAX_DEPTH: usize = 4;

/// A media type without parameters: `application/vnd.oci.image.manifest.v1+json`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct MediaType(Cow<'static, str>);

impl MediaType {
    /// OCI image index.
    pub const OCI_INDEX: Self = Self(Cow::Borrowed("application/vnd.oci.image.index.v1+json"));
    /// OCI image manifest.
    pub const OCI_MANIFEST: Self = Self(Cow::Borrowed("application/vnd.oci.image.manifest.v1+json"));
    /// Docker manifest list.
    pub const DOCKER_LIST: Self = Self(Cow::Borrowed(
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ));
    /// Docker image manifest, schema 2.
    pub const DOCKER_MANIFEST: Self = Self(Cow::Borrowed(
        "application/vnd.docker.distribution.manifest.v2+json",
    ));
    /// Docker image manifest, schema 1, signed.
    pub const DOCKER_SCHEMA1: Self = Self(Cow::Borrowed(
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    ));
    /// OCI artifact manifest, withdrawn before release but in use.
    pub const OCI_ARTIFACT: Self = Self(Cow::Borrowed("application/vnd.oci.artifact.manifest.v1+json"));
    /// Bytes without further meaning: what blobs are served as.
    pub const OCTET_STREAM: Self = Self(Cow::Borrowed("application/octet-stream"));

    /// The manifest types asked of upstreams, the most wanted first. A request without them was once
    /// answered with schema 1.
    pub const MANIFESTS: [Self; 6] = [
        Self::OCI_INDEX,
        Self::OCI_MANIFEST,
        Self::DOCKER_LIST,
        Self::DOCKER_MANIFEST,
        Self::OCI_ARTIFACT,
        Self::DOCKER_SCHEMA1,
    ];

    /// Parses a `Content-Type` value; parameters such as `; charset=utf-8` are dropped.
    /// Returns `None` unless the rest is `type/subtype` of visible ASCII, at most 255 bytes long.
    pub fn parse(value: &str) -> Option<Self> {
        let essence = value.split(';').next()?.trim().to_ascii_lowercase();
        let (kind, sub) = essence.split_once('/')?;
        let is_token = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
        };
        (essence.len() <= 255 && is_token(kind) && is_token(sub)).then(|| {
            let known = Self::MANIFESTS.into_iter().find(|known| known.0 == essence);
            known.unwrap_or(Self(Cow::Owned(essence)))
        })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for the types that list other manifests.
    pub fn is_index(&self) -> bool {
        *self == Self::OCI_INDEX || *self == Self::DOCKER_LIST
    }

    /// True for every type this cache serves as a manifest.
    pub fn is_manifest(&self) -> bool {
        Self::MANIFESTS.contains(self)
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is known of some content before one has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its media type.
    pub media_type: MediaType,
    /// Its name.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// A manifest that was parsed: its bytes, its type and what it names.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The bytes, exactly as the registry sent them.
    pub bytes: Bytes,
    /// The type it is served as.
    pub media_type: MediaType,
    /// Child manifests, for an index.
    pub manifests: Vec<Descriptor>,
    /// Config and layers, for an image or artifact; without the layers that live elsewhere
    /// (`urls`, foreign layers), which registries do not serve.
    pub blobs: Vec<Descriptor>,
    /// The manifest this one refers to, for a referrer.
    pub subject: Option<Digest>,
}

/// Why bytes are not a manifest this cache passes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or a field has the wrong type.
    #[error("not a manifest: {0}")]
    Json(String),
    /// Two kinds at once, or of another kind than its label: what it means depends on the reader.
    #[error("the manifest can be read as two kinds of document, such as an index and an image")]
    Ambiguous,
    /// The body calls itself something else than its Content-Type does.
    #[error("the manifest says it is {body}, but was sent as {header}")]
    Mislabelled {
        /// The `mediaType` field.
        body: String,
        /// The Content-Type.
        header: String,
    },
    /// Neither label nor shape tells what it is.
    #[error("neither its label nor its content tells what kind of manifest this is")]
    Unrecognised,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<u64>,
    media_type: Option<String>,
    manifests: Option<Vec<Item>>,
    config: Option<Item>,
    layers: Option<Vec<Item>>,
    blobs: Option<Vec<Item>>,
    fs_layers: Option<Vec<FsLayer>>,
    subject: Option<Item>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    media_type: Option<String>,
    digest: String,
    size: u64,
    urls: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FsLayer {
    blob_sum: String,
}

impl Manifest {
    /// Parses a manifest.
    ///
    /// `label` is the Content-Type it came with, if that named a manifest type; registries that send
    /// `text/plain` or `application/json` are met by reading the body's own `mediaType` and shape.
    ///
    /// # Errors
    /// See [`ManifestError`]. The size bound is the caller's: it never reads more than it allows.
    pub fn parse(bytes: Bytes, label: Option<&MediaType>) -> Result<Self, ManifestError> {
        // JSON is UTF-8. The check comes first because serde_json passes over the strings it ignores.
        let text = str::from_utf8(&bytes).map_err(|error| ManifestError::Json(error.to_string()))?;
        let document: Document =
            serde_json::from_str(text).map_err(|error| ManifestError::Json(error.to_string()))?;
        spelling::check(text).map_err(|error| ManifestError::Json(error.to_string()))?;
        let label = label.filter(|label| label.is_manifest());
        let stated = document.media_type.as_deref().and_then(MediaType::parse);
        if let (Some(label), Some(stated)) = (label, &stated)
            && label != stated
            && stated.is_manifest()
        {
            return Err(ManifestError::Mislabelled {
                body: stated.to_string(),
                header: label.to_string(),
            });
        }
        if document.shapes() > 1 {
            return Err(ManifestError::Ambiguous);
        }
        let media_type = label
            .cloned()
            .or(stated.filter(MediaType::is_manifest))
            .or_else(|| document.shape())
            .ok_or(ManifestError::Unrecognised)?;
        let lists = document.manifests.is_some();
        let is_old = media_type == MediaType::DOCKER_SCHEMA1;
        if media_type.is_index() != lists || (document.fs_layers.is_some() && !is_old) {
            return Err(ManifestError::Ambiguous);
        }
        let manifests = descriptors(document.manifests.unwrap_or_default())?;
        let mut blobs = descriptors(document.config.into_iter().collect())?;
        blobs.extend(descriptors(document.layers.unwrap_or_default())?);
        blobs.extend(descriptors(document.blobs.unwrap_or_default())?);
        for layer in document.fs_layers.unwrap_or_default() {
            blobs.push(Descriptor {
                media_type: MediaType::OCTET_STREAM,
                digest: parse_digest(&layer.blob_sum)?,
                size: 0,
            });
        }
        let subject = document
            .subject
            .map(|subject| parse_digest(&subject.digest))
            .transpose()?;
        Ok(Self {
            bytes,
            media_type,
            manifests,
            blobs,
            subject,
        })
    }
}

impl Document {
    /// How many kinds of document this could be read as: index, image, artifact, schema 1.
    fn shapes(&self) -> usize {
        let image = self.layers.is_some() || self.config.is_some();
        let kinds = [
            self.manifests.is_some(),
            image,
            self.blobs.is_some(),
            self.fs_layers.is_some(),
        ];
        kinds.into_iter().filter(|kind| *kind).count()
    }

    fn shape(&self) -> Option<MediaType> {
        if self.manifests.is_some() {
            return Some(MediaType::OCI_INDEX);
        }
        if self.config.is_some() && self.layers.is_some() {
            return Some(MediaType::OCI_MANIFEST);
        }
        (self.schema_version == Some(1) && self.fs_layers.is_some()).then_some(MediaType::DOCKER_SCHEMA1)
    }
}

fn parse_digest(text: &str) -> Result<Digest, ManifestError> {
    text.parse()
        .map_err(|error| ManifestError::Json(format!("{error}")))
}

fn descriptors(items: Vec<Item>) -> Result<Vec<Descriptor>, ManifestError> {
    items
        .into_iter()
        .filter(|item| item.urls.as_ref().is_none_or(Vec::is_empty))
        .map(|item| {
            let media_type = item.media_type.as_deref().and_then(MediaType::parse);
            Ok(Descriptor {
                media_type: media_type.unwrap_or(MediaType::OCTET_STREAM),
                digest: parse_digest(&item.digest)?,
                size: item.size,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
