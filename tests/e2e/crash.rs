//! Ends of the process, wanted and not, and what the next start finds.

use std::path::Path;
use std::time::Duration;

use crate::clients::copy;
use crate::support::content::hashes_to_names;
use crate::support::process::{Process, command, wait_until};
use crate::support::relay::Relay;
use crate::support::upstream::Asked;
use crate::support::{Image, Result, Seawall, Verdict, World};

/// Bytes a second of the slow wire: the large layer takes some five seconds.
const RATE: u64 = 40_000_000;

/// Answer bytes after which Seawall is killed: inside the large layer, whatever came before it.
const KILL_AFTER: u64 = 100_000_000;

/// Promise 6: SIGKILL while the large layer streams, then a correct pull from the same directory.
pub(crate) fn kill_in_the_middle(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let (directory, image) = (world.directory()?, &world.images.app);
    let relay = Relay::start(&world.upstream.address, RATE)?;
    let seawall = world.seawall_on(&relay.address, &directory)?;
    let mut pull = command("skopeo");
    pull.args([
        "--insecure-policy",
        "copy",
        "--src-tls-verify=false",
        &source(&seawall, image),
    ]);
    pull.arg(format!("dir:{}", directory.join("broken").display()));
    let client = Process::start("skopeo", pull, &directory)?;
    wait_until(
        "the large layer to be half fetched",
        Duration::from_secs(30),
        || relay.passed() > KILL_AFTER,
    )?;
    seawall.kill()?;
    drop(client);
    expect_clean_shelves(world, &directory)?;

    let before = world.upstream.asked()?.len();
    let seawall = world.seawall_on(&world.upstream.address, &directory)?;
    pull_in_full(world, &seawall, &directory)?;
    expect_resumed(
        &world.upstream.asked()?.split_off(before),
        world.images.large_layer(),
    )?;
    let shelves = seawall.shelves();
    seawall.stop()?;
    let (blobs, manifests) = (
        hashes_to_names(&shelves.join("blobs"))?,
        hashes_to_names(&shelves.join("manifests"))?,
    );
    let expected = image.blobs().count();
    if blobs < expected || manifests < 1 {
        return Err(format!("kept {blobs} blobs of {expected} and {manifests} manifests").into());
    }
    Ok(Verdict::Passed)
}

/// A second process on the same directory serves without asking for content again.
pub(crate) fn restart(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let directory = world.directory()?;
    let seawall = world.seawall_on(&world.upstream.address, &directory)?;
    pull_in_full(world, &seawall, &directory)?;
    seawall.stop()?;
    let before = world.upstream.asked()?.len();
    let seawall = world.seawall_on(&world.upstream.address, &directory)?;
    pull_in_full(world, &seawall, &directory)?;
    let mut asked = world.upstream.asked()?.split_off(before);
    asked.retain(|asked| asked.method != "HEAD");
    if asked.is_empty() {
        return Ok(Verdict::Passed);
    }
    Err(format!("after a restart the upstream was still asked: {asked:#?}").into())
}

/// The large layer must have cost one request for its missing end, not a second transfer.
fn expect_resumed(asked: &[Asked], layer: &str) -> Result {
    let gets = asked
        .iter()
        .filter(|asked| asked.method == "GET" && asked.target.contains(layer));
    let statuses: Vec<u16> = gets.map(|asked| asked.status).collect();
    if statuses == [206] {
        return Ok(());
    }
    Err(format!(
        "the large layer was not resumed: its GETs after the restart had status {statuses:?}, not 206"
    )
    .into())
}

/// Whatever the kill left under a digest's name must hash to it.
fn expect_clean_shelves(world: &World, directory: &std::path::Path) -> Result {
    let shelves = directory.join("cache/v1");
    let kept = hashes_to_names(&shelves.join("blobs"))?;
    hashes_to_names(&shelves.join("manifests"))?;
    if kept >= world.images.app.blobs().count() {
        return Err("the whole image was there already: the kill came too late to show anything".into());
    }
    Ok(())
}

/// Pulls the image with skopeo, and compares every byte.
fn pull_in_full(world: &World, seawall: &Seawall, directory: &Path) -> Result {
    let (source, target) = (source(seawall, &world.images.app), directory.join("copy"));
    let (images, image) = (&world.images, &world.images.app);
    copy(command("skopeo"), &source, &target, images, image)
}

fn source(seawall: &Seawall, image: &Image) -> String {
    format!(
        "docker://{}/{}:{}",
        seawall.location,
        image.repository,
        crate::support::images::TAG
    )
}
