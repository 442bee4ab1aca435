//! Damage on a real disk, found and mended by the command.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use crate::support::http::request;
use crate::support::images::TAG;
use crate::support::operator::expect;
use crate::support::process::wait_until;
use crate::support::{Result, Verdict, World};

/// A bit flips in a layer of 200 MB; the command finds it, fetches it again, and says so by its exit codes.
pub(crate) fn damage_is_found_and_mended(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let (seawall, repository) = (world.seawall()?, &world.images.app.repository);
    let layer = world.images.large_layer();
    for target in [
        format!("/v2/{repository}/manifests/{TAG}"),
        format!("/v2/{repository}/blobs/{layer}"),
    ] {
        let answer = request(&seawall.address, "GET", &target, &[("Accept", "*/*")], &[])?;
        if answer.status != 200 {
            return Err(format!("{target}: status {}", answer.status).into());
        }
    }
    let hex = layer.trim_start_matches("sha256:");
    let file = seawall.shelves().join("blobs/sha256").join(&hex[..2]).join(hex);
    // It has its name once it is on stable storage, which comes after the client's last byte.
    wait_until("the layer to be kept", Duration::from_secs(60), || file.exists())?;
    let image = format!("{repository}:{TAG}");
    let verify = |arguments: &[&str], code, words: &[&str]| {
        let arguments = [&["verify"], arguments].concat();
        expect(&seawall, &arguments, "", code, words)
    };
    verify(&[&image], 0, &["none is damaged"])?;
    let open = std::fs::OpenOptions::new().read(true).write(true).open(&file)?;
    let mut byte = [0];
    open.read_exact_at(&mut byte, 100_000_000)?;
    open.write_all_at(&[byte[0] ^ 8], 100_000_000)?;
    let found = [
        "does not hash to its name",
        layer,
        "docker.io/library/app",
        "put aside",
    ];
    verify(&[&image], 4, &found)?;
    if file.exists() {
        return Err("the damaged file still has its name".into());
    }
    let mended = ["fetched again", "1 damaged, 1 of them mended"];
    verify(&["--digest", layer, "--refetch"], 4, &mended)?;
    verify(&["--all"], 0, &["none is damaged"])?;
    verify(&[&format!("{repository}:none")], 3, &["not held here"])?;
    verify(&[], 2, &["--all"])?;
    Ok(Verdict::Passed)
}
