//! Pulls by every client, cold and warm, and what they cost upstream.

use std::collections::BTreeMap;
use std::thread;

use crate::clients::{self, Client, Place, copy};
use crate::support::process::command;
use crate::support::upstream::Asked;
use crate::support::{Image, Images, Result, Seawall, Verdict, World};

/// All clients at once on an empty cache: promise 2 of the design, seen from the upstream.
pub(crate) fn cold_together(world: &World) -> Result<Verdict> {
    let before = world.upstream.asked()?.len();
    let seawall = world.seawall()?;
    thread::scope(|scope| {
        let pulls = clients::ALL.map(|client| {
            let seawall = &seawall;
            scope.spawn(move || pull_with(world, seawall, client))
        });
        pulls
            .into_iter()
            .try_for_each(|pull| pull.join().map_err(|_| "a client's thread panicked")?)
    })?;
    if world.skips_without_seawall().is_none() {
        let asked = world.upstream.asked()?.split_off(before);
        expect_one_get_each(&asked, &world.images.app)?;
    }
    Ok(Verdict::Passed)
}

/// Each client once more, alone and with an empty store, on a cache that holds the image.
pub(crate) fn warm(world: &World) -> Result<Verdict> {
    let seawall = world.seawall()?;
    let (name, pull) = clients::ALL[2];
    pull_with(world, &seawall, (name, pull))?;
    for client in clients::ALL {
        let before = world.upstream.asked()?.len();
        pull_with(world, &seawall, client)?;
        if world.skips_without_seawall().is_none() {
            let mut asked = world.upstream.asked()?.split_off(before);
            asked.retain(|asked| asked.method != "HEAD");
            if !asked.is_empty() {
                return Err(format!("a warm pull by {} still asked upstream: {asked:#?}", client.0).into());
            }
        }
    }
    Ok(Verdict::Passed)
}

/// `host:port/docker.io/library/app`, as any client can spell it without being configured.
pub(crate) fn by_prefix(world: &World) -> Result<Verdict> {
    let (seawall, image) = (world.seawall()?, &world.images.app);
    let source = format!(
        "docker://{}/{}:{}",
        seawall.location,
        image.repository,
        crate::support::images::TAG
    );
    copy(
        command("skopeo"),
        &source,
        &world.directory()?.join("copy"),
        &world.images,
        image,
    )?;
    Ok(Verdict::Passed)
}

/// The index as it was pushed, and the image that each platform finds through it.
pub(crate) fn platforms(world: &World) -> Result<Verdict> {
    let (seawall, images) = (world.seawall()?, &world.images);
    let target = format!("/v2/library/multi/manifests/{}", crate::support::images::TAG);
    let accept = [("Accept", "application/vnd.oci.image.index.v1+json")];
    let answer = crate::support::http::request(&seawall.address, "GET", &target, &accept, &[])?;
    if answer.status != 200 || answer.body != std::fs::read(images.bytes(&images.index))? {
        return Err(format!(
            "the index by tag: status {}, {} bytes",
            answer.status,
            answer.body.len()
        )
        .into());
    }
    for (image, architecture) in images.platforms.iter().zip(["amd64", "arm64"]) {
        let mut skopeo = command("skopeo");
        skopeo.args(["--override-os", "linux", "--override-arch", architecture]);
        let source = format!(
            "docker://{}/library/multi:{}",
            seawall.location,
            crate::support::images::TAG
        );
        copy(skopeo, &source, &world.directory()?.join("copy"), images, image)?;
    }
    Ok(Verdict::Passed)
}

/// All clients one after the other, with what `seawall mirror-config` writes for them and nothing else.
pub(crate) fn as_configured(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let before = world.upstream.asked()?.len();
    let seawall = world.seawall()?;
    for client in clients::ALL {
        pull_by(world, &seawall, client, true)?;
    }
    let asked = world.upstream.asked()?.split_off(before);
    expect_one_get_each(&asked, &world.images.app)?;
    Ok(Verdict::Passed)
}

/// A pull that goes nowhere but to the mirror.
fn pull_with(world: &World, seawall: &Seawall, client: Client) -> Result {
    pull_by(world, seawall, client, false)
}

/// One client's pull into a directory that is gone afterwards.
fn pull_by(world: &World, seawall: &Seawall, (name, pull): Client, falls_back: bool) -> Result {
    let directory = world.directory()?;
    let images: &Images = &world.images;
    let place = Place {
        directory: directory.clone(),
        seawall,
        images,
        falls_back,
    };
    match pull(&place, &images.app).map_err(|error| format!("{name}: {error}"))? {
        Verdict::Passed => {}
        Verdict::Skipped(reason) => println!("        {name} left out: {reason}"),
    }
    Ok(std::fs::remove_dir_all(&directory)?)
}

/// Checks that each digest of `image` was asked for by one GET, and that the tag cost no more than one.
fn expect_one_get_each(asked: &[Asked], image: &Image) -> Result {
    let mut gets = BTreeMap::<&str, usize>::new();
    for asked in asked.iter().filter(|asked| asked.method == "GET") {
        let path = asked.target.split('?').next().unwrap_or_default();
        *gets
            .entry(path.rsplit('/').next().unwrap_or_default())
            .or_default() += 1;
    }
    let by_tag = gets.remove(crate::support::images::TAG).unwrap_or(0);
    let mut problems = Vec::new();
    for digest in image.blobs() {
        let count = gets.remove(digest.as_str()).unwrap_or(0);
        if count != 1 {
            problems.push(format!("{digest} cost {count} GETs"));
        }
    }
    let manifest = by_tag + gets.remove(image.manifest.as_str()).unwrap_or(0);
    if manifest != 1 {
        problems.push(format!("the manifest {} cost {manifest} GETs", image.manifest));
    }
    if !gets.is_empty() {
        problems.push(format!("nobody needed {gets:?}"));
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(format!(
        "expected one upstream GET per digest:\n{}\nof {asked:#?}",
        problems.join("\n")
    )
    .into())
}
