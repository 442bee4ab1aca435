//! skopeo: copies what a registry sends to a directory, byte for byte.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::Place;
use super::containers::registries_conf;
use crate::support::content::same_bytes;
use crate::support::process::{command, run};
use crate::support::{Image, Images, Result, Verdict};

/// Pulls by the image's full name, through a configured mirror.
pub(super) fn pull(place: &Place<'_>, image: &Image) -> Result<Verdict> {
    let registries = registries_conf(place)?;
    let mut skopeo = command("skopeo");
    skopeo.arg("--registries-conf").arg(registries);
    copy(
        skopeo,
        &format!("docker://{}", image.name()),
        &place.directory.join("copy"),
        place.images,
        image,
    )?;
    Ok(Verdict::Passed)
}

/// skopeo for the platform of the first image, whatever this machine's is.
pub(crate) fn skopeo() -> Command {
    let mut skopeo = command("skopeo");
    skopeo.args(["--override-os", "linux", "--override-arch", "amd64"]);
    skopeo
}

/// Copies `source` to `target` with `skopeo`, a command with global options, and compares every byte.
pub(crate) fn copy(
    mut skopeo: Command,
    source: &str,
    target: &Path,
    images: &Images,
    image: &Image,
) -> Result {
    skopeo.args([
        "--insecure-policy",
        "copy",
        "--quiet",
        "--src-tls-verify=false",
        source,
    ]);
    run(skopeo.arg(format!("dir:{}", target.display())))?;
    same_bytes(&images.bytes(&image.manifest), &target.join("manifest.json"))?;
    for blob in image.blobs() {
        same_bytes(
            &images.bytes(blob),
            &target.join(blob.trim_start_matches("sha256:")),
        )?;
    }
    // Two hundred megabytes less for the next client's pages.
    Ok(fs::remove_dir_all(target)?)
}
