//! A registry behind a Seawall, and the content the tests put into it.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use seawall::oci::Digest;
use seawall::policy::access::Offer;
use seawall::policy::naming::{Entry, Names, Pattern};
use seawall::store::Space;
use tempfile::TempDir;

use super::registry::Registry;
use super::seawall::{Choices, Seawall};

/// Bytes in a mebibyte.
pub(crate) const MIB: usize = 1 << 20;

/// Bytes that differ everywhere, from a seed.
pub(crate) fn content(len: usize, seed: u64) -> Bytes {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..len.div_ceil(8)).flat_map(|_| next()).take(len).collect()
}

/// A registry, a Seawall in front of it, and its directory.
pub(crate) struct World {
    pub(crate) registry: Registry,
    pub(crate) seawall: Arc<Seawall>,
    pub(crate) directory: TempDir,
}

impl World {
    /// Stops Seawall as a clean stop does, once what was fetched is committed.
    pub(crate) async fn stop(self) -> (Registry, TempDir) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Arc::into_inner(self.seawall).unwrap().stop().await;
        (self.registry, self.directory)
    }
}

/// Where a blob's file is.
pub(crate) fn blob_file(directory: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    let folder = directory.join("v1/blobs").join(digest.algorithm().name());
    folder.join(&hex[..2]).join(hex)
}

/// Starts everything.
pub(crate) fn world(choices: Choices) -> World {
    let registry = Registry::default();
    let directory = tempfile::tempdir().unwrap();
    let seawall = Arc::new(Seawall::start(directory.path(), &registry, choices));
    World {
        registry,
        seawall,
        directory,
    }
}

/// Where the tests' repository keeps a blob.
pub(crate) fn blob_path(digest: &Digest) -> String {
    format!("/v2/library/app/blobs/{digest}")
}

/// An image of one layer: its manifest's digest and those of its blobs.
pub(crate) struct Image {
    pub(crate) manifest: Digest,
    pub(crate) config: Digest,
    pub(crate) layer: Digest,
}

/// Puts an image into `library/app`, under a tag if one is given.
pub(crate) fn image(registry: &Registry, tag: Option<&str>, seed: u64) -> Image {
    image_in(registry, "library/app", tag, seed)
}

/// The same for another repository.
pub(crate) fn image_in(registry: &Registry, repository: &str, tag: Option<&str>, seed: u64) -> Image {
    let config = registry.blob(repository, format!("{{\"seed\":{seed}}}"));
    let layer = registry.blob(repository, content(MIB / 4, seed));
    let body = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":10}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer}","size":{}}}]}}"#,
        MIB / 4
    );
    let manifest = registry.manifest(repository, tag, OCI_MANIFEST, &body);
    Image {
        manifest,
        config,
        layer,
    }
}

/// Puts a manifest without layers into a repository, under the tag `1`; every repository's is another.
pub(crate) fn bare_manifest(registry: &Registry, repository: &str) {
    let config = registry.blob(repository, format!("{{\"of\":\"{repository}\"}}"));
    let kind = "application/vnd.oci.image.config.v1+json";
    let body = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"{kind}","digest":"{config}","size":9}},"layers":[]}}"#
    );
    registry.manifest(repository, Some("1"), OCI_MANIFEST, &body);
}

/// The media type of an OCI image manifest.
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an OCI image index.
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Where the tests' repository keeps a manifest.
pub(crate) fn manifest_path(reference: impl std::fmt::Display) -> String {
    format!("/v2/library/app/manifests/{reference}")
}

/// True if a damaged file of this digest was put aside.
pub(crate) fn is_quarantined(directory: &Path, digest: &Digest) -> bool {
    directory
        .join("v1/quarantine")
        .join(digest.to_string().replace(':', "-"))
        .exists()
}

/// Changes one byte of a file.
pub(crate) fn flip(file: &Path, at: u64) {
    let open = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(file)
        .unwrap();
    let mut byte = [0];
    open.read_exact_at(&mut byte, at).unwrap();
    open.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// The names of the tests' registry, which is the only one.
pub(crate) fn names(offer: Offer) -> Names {
    let pattern = Pattern::Exact("docker.io".parse().unwrap());
    Names::new(vec![Entry {
        pattern,
        hosts: Vec::new(),
        default: true,
        offer,
    }])
}

/// Room for so many mebibytes on disk.
pub(crate) fn room(mebibytes: usize) -> Space {
    Space {
        capacity: (mebibytes * MIB) as u64,
        high: 0.95,
        low: 0.90,
        min_free: 0,
    }
}

/// What is kept under the names of digests.
pub(crate) fn named_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![directory.join("v1/blobs"), directory.join("v1/manifests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = if path.is_dir() { &mut folders } else { &mut files };
            kind.push(path);
        }
    }
    files
}

/// Copies a folder as a crash leaves it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// A directory that no disk slows down, where there is such a thing: thousands of pulls are written here.
pub(crate) fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}
