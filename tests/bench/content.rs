//! What is pulled: blobs of noise and a manifest of a common length.

use serde_json::json;

use crate::load::MANIFEST;
use crate::support::content::{digest_of, noise};
use crate::support::images::upload;
use crate::support::{Result, http};

/// The repository of everything here.
pub(crate) const REPOSITORY: &str = "library/app";
const MANIFEST_BYTES: usize = 2048;

/// Quotas on everything that can have one, far above any load.
pub(crate) const QUOTAS: &str = "\n[tier.measured]\nread_ops_per_minute = 1000000000\nwrite_ops_per_minute = 1000000\n\
    bandwidth = \"100GB/s\"\nconcurrent_fills = 1000\n";
/// Puts everybody into the tier of [`QUOTAS`].
pub(crate) const MEASURED: &str = "default_tier = \"measured\"\n";

/// Puts a blob of that many bytes and a manifest into the registry at `address`; their paths.
pub(crate) fn store(address: &str, size: usize) -> Result<(String, String)> {
    let blob: Vec<u8> = noise(size / 8).flatten().collect();
    let digest = upload(address, REPOSITORY, &blob)?;
    let manifest = manifest(&digest, size)?;
    let path = format!("/v2/{REPOSITORY}/manifests/{}", digest_of(&manifest));
    put_manifest(address, &path, &manifest)?;
    Ok((format!("/v2/{REPOSITORY}/blobs/{digest}"), path))
}

/// Puts a manifest into the registry at `address`.
pub(crate) fn put_manifest(address: &str, path: &str, manifest: &[u8]) -> Result {
    let pushed = http::request(address, "PUT", path, &[("Content-Type", MANIFEST)], manifest)?;
    match pushed.status {
        201 => Ok(()),
        status => Err(format!("the registry refused the manifest: {status}").into()),
    }
}

/// A manifest of the length that a common one has, by an annotation that fills it up.
pub(crate) fn manifest(digest: &str, size: usize) -> Result<Vec<u8>> {
    let descriptor = json!({ "mediaType": "application/octet-stream", "digest": digest, "size": size });
    let with = |filler: &str| {
        serde_json::to_vec(&json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor, "layers": [descriptor],
            "annotations": { "org.example.filler": filler },
        }))
    };
    let bare = with("")?.len();
    Ok(with(&"x".repeat(MANIFEST_BYTES.saturating_sub(bare)))?)
}
