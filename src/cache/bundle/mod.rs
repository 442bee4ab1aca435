//! Bundles: images on their way to where no registry can be reached, as OCI image layouts in a tar archive.
//!
//! ```text
//! oci-layout                 {"imageLayoutVersion":"1.0.0"}
//! index.json                 the images by their names, then what refers to them
//! blobs/sha256/…             manifests and blobs, each once, byte for byte
//! ```
//! What is held is written out, and what is read is verified before it is held: the same bytes on both sides.

mod collect;
mod export;
mod import;
mod names;
mod settle;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use self::export::{Export, ExportError, Exported};
pub use self::import::{ImportError, Importer};
pub use self::settle::{Imported, ImportedImage};

/// The file that says what the archive is.
const LAYOUT: &str = "oci-layout";
/// And its text.
const LAYOUT_TEXT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// The file that lists the images.
const INDEX: &str = "index.json";
/// Where an image's name stands, for skopeo and podman.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Where it stands for containerd.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// One image, or one referrer, in the list of a layout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    annotations: std::collections::BTreeMap<String, String>,
}

/// The list of a layout.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    manifests: Vec<Listed>,
}

/// What a manifest says of itself as a referrer.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Artifact {
    artifact_type: Option<String>,
    config: Option<ArtifactConfig>,
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactConfig {
    media_type: Option<String>,
}

impl Artifact {
    fn of(manifest: &Bytes) -> Self {
        serde_json::from_slice(manifest).unwrap_or_default()
    }

    /// Its type: what it says, else that of its configuration (distribution specification, "listing referrers").
    fn kind(&self) -> Option<String> {
        let config = || self.config.as_ref().and_then(|config| config.media_type.clone());
        self.artifact_type
            .clone()
            .filter(|kind| !kind.is_empty())
            .or_else(config)
    }
}
