//! An upstream that limits us: what it costs, and what people see.

use std::time::{Duration, Instant};

use crate::clients::{self, Client, Place, copy};
use crate::support::http;
use crate::support::images::TAG;
use crate::support::limited::{Counts, HOUR, Limited};
use crate::support::process::{command, run};
use crate::support::{Image, Result, Seawall, Verdict, World};

/// With the budget used up, what is held is pulled as ever, by every client, and nothing is spent.
pub(crate) fn warm_pulls_cost_nothing(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    // One manifest: the budget is used up by the first pull.
    let upstream = Limited::start(&world.upstream.address, 1, HOUR)?;
    let seawall = world.seawall_on(&upstream.address, &world.directory()?)?;
    for (name, pull) in [clients::ALL[2], clients::ALL[0], clients::ALL[1]] {
        let directory = world.directory()?;
        let place = Place {
            directory: directory.clone(),
            seawall: &seawall,
            images: &world.images,
            falls_back: false,
        };
        pull(&place, &world.images.app).map_err(|error| format!("{name}: {error}"))?;
        std::fs::remove_dir_all(directory)?;
    }
    expect_left(&upstream, 0)
}

/// Fifty warm images are pulled again, by every way to ask and by real clients, while ten counted requests
/// are left: all ten still are afterwards, though every tag has to be checked.
pub(crate) fn fifty_warm_images(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let images = world
        .images
        .small(&world.directory()?, &world.upstream.address, 50)?;
    let upstream = Limited::start(&world.upstream.address, 60, HOUR)?;
    let unfresh = "freshness = { ttl = \"0s\", stale_if_error = \"7d\" }\n";
    let seawall = world.seawall_with(&upstream.address, &world.directory()?, unfresh)?;
    for image in &images {
        pull_by_hand(world, &seawall, image)?;
    }
    expect_left(&upstream, 10)?;
    let before = world.upstream.asked()?.len();
    let start = Instant::now();
    for image in &images {
        pull_by_hand(world, &seawall, image)?;
    }
    let by_hand = start.elapsed();
    for (number, image) in images.iter().step_by(10).enumerate() {
        let (name, pull) = clients::ALL[if number % 2 == 0 { 0 } else { 2 }];
        let place = Place {
            directory: world.directory()?,
            seawall: &seawall,
            images: &world.images,
            falls_back: false,
        };
        pull(&place, image).map_err(|error| format!("{name}: {error}"))?;
    }
    let asked = world.upstream.asked()?.split_off(before);
    let heads = asked.iter().filter(|asked| asked.method == "HEAD").count();
    println!(
        "        50 images again in {:.1} s by hand, 5 by containerd and skopeo: {heads} HEADs, {} GETs upstream",
        by_hand.as_secs_f64(),
        asked.len() - heads
    );
    if heads < images.len() || heads != asked.len() {
        return Err(format!("expected a HEAD for each tag and nothing else, found {asked:#?}").into());
    }
    expect_left(&upstream, 10)
}

/// Pulls as clients do: HEAD and GET of the tag, GET of the digest, then config and layer. Every byte counts.
fn pull_by_hand(world: &World, seawall: &Seawall, image: &Image) -> Result {
    let path = |kind: &str, name: &str| format!("/v2/{}/{kind}/{name}", image.repository);
    let tag = path("manifests", TAG);
    let head = http::request(&seawall.address, "HEAD", &tag, &[], &[])?;
    if head.status != 200 || head.header("docker-content-digest") != image.manifest {
        return Err(format!("HEAD {tag}: status {}", head.status).into());
    }
    let manifests = [
        (tag, &image.manifest),
        (path("manifests", &image.manifest), &image.manifest),
    ];
    let blobs = image.blobs().map(|blob| (path("blobs", blob), blob));
    for (target, digest) in manifests.into_iter().chain(blobs) {
        let answer = http::get(&seawall.address, &target)?;
        if answer.status != 200 || answer.body != std::fs::read(world.images.bytes(digest))? {
            let length = answer.body.len();
            return Err(format!("GET {target}: status {}, {length} bytes", answer.status).into());
        }
    }
    Ok(())
}

/// podman is told when there is budget again, waits for so long, and pulls.
///
/// Where it is told an hour it waits a minute, four times, before it gives up: no flag of it and no file
/// changes that, so what it says then takes four minutes to see. The README has it.
pub(crate) fn podman_waits(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let window = Duration::from_secs(35);
    let upstream = Limited::start(&world.upstream.address, 1, window)?;
    let seawall = world.seawall_on(&upstream.address, &world.directory()?)?;
    let platform = &world.images.platforms[0];
    let spent = format!("/v2/{}/manifests/{}", platform.repository, platform.manifest);
    let answer = http::get(&seawall.address, &spent)?;
    if answer.status != 200 {
        return Err(format!("GET {spent}: status {}", answer.status).into());
    }
    let (start, (name, pull)) = (Instant::now(), clients::ALL[1]);
    let place = Place {
        directory: world.directory()?,
        seawall: &seawall,
        images: &world.images,
        falls_back: false,
    };
    pull(&place, &world.images.app).map_err(|error| format!("{name}: {error}"))?;
    let took = start.elapsed();
    println!("        {name} pulled after {:.0} s", took.as_secs_f64());
    if took < Duration::from_secs(20) {
        return Err(format!("{name} pulled after {took:?}, before there was budget").into());
    }
    expect_left(&upstream, 0)
}

/// Clients that are sent on with 503, and have nowhere to go, end at once. containerd passes on why; podman
/// keeps to itself what a registry says beside a 503.
pub(crate) fn sent_on(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let upstream = Limited::start(&world.upstream.address, 0, HOUR)?;
    let leave = "on_exhausted = \"fall_through\"\n";
    let seawall = world.seawall_with(&upstream.address, &world.directory()?, leave)?;
    let words = [
        "503 Service Unavailable",
        "docker.io allows this cache 0 pulls per 3600 s",
    ];
    expect_refused(world, &seawall, clients::ALL[0], &words)?;
    expect_refused(world, &seawall, clients::ALL[1], &words[..1])?;
    expect_left(&upstream, 0)
}

/// With the budget used up, what is not held is refused in time, in words, and without asking the upstream.
pub(crate) fn refused_in_words(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let upstream = Limited::start(&world.upstream.address, 2, HOUR)?;
    let seawall = world.seawall_on(&upstream.address, &world.directory()?)?;
    let source = format!("docker://{}/library/multi:{TAG}", seawall.location);
    let mut skopeo = command("skopeo");
    skopeo.args(["--override-os", "linux", "--override-arch", "amd64"]);
    copy(
        skopeo,
        &source,
        &world.directory()?.join("copy"),
        &world.images,
        &world.images.platforms[0],
    )?;
    let answer = http::get(&seawall.address, &format!("/v2/library/app/manifests/{TAG}"))?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    for word in [
        "TOOMANYREQUESTS",
        "docker.io allows this cache 2 pulls per 3600 s",
        "0 are left",
    ] {
        if answer.status != 429 || !text.contains(word) {
            return Err(format!("expected 429 and `{word}`, found {} and {text}", answer.status).into());
        }
    }
    println!("        429: {text}");
    let words = [
        "429 Too Many Requests",
        "docker.io allows this cache 2 pulls per 3600 s",
    ];
    expect_refused(world, &seawall, clients::ALL[0], &words)?;
    let drawn = run(command(env!("CARGO_BIN_EXE_seawall")).args(["status", "--admin", &seawall.admin]))?;
    if !drawn.contains("0 of 2 per 60 min left") {
        return Err(format!("`seawall status` does not show the budget:\n{drawn}").into());
    }
    expect_left(&upstream, 0)
}

/// The client ends within its patience and passes on what the cache says.
fn expect_refused(world: &World, seawall: &Seawall, (name, pull): Client, words: &[&str]) -> Result {
    let place = Place {
        directory: world.directory()?,
        seawall,
        images: &world.images,
        falls_back: false,
    };
    let start = Instant::now();
    let told = match pull(&place, &world.images.app) {
        Ok(Verdict::Passed) => return Err(format!("{name} pulled what there is no budget for").into()),
        Ok(Verdict::Skipped(_)) => return Ok(()),
        Err(error) => error.to_string(),
    };
    let took = start.elapsed();
    println!(
        "        {name} after {:.0} s: {}",
        took.as_secs_f64(),
        told.trim().lines().last().unwrap_or_default()
    );
    if let Some(word) = words.iter().find(|word| !told.contains(**word)) {
        return Err(format!("{name} does not say `{word}`: {told}").into());
    }
    // Five tries, each held back for three seconds at most, and what they wait for a turn.
    if took > Duration::from_secs(150) {
        return Err(format!("{name} was held for {took:?}").into());
    }
    Ok(())
}

/// So much of the budget is left, and the upstream never had to refuse.
fn expect_left(upstream: &Limited, remaining: u64) -> Result<Verdict> {
    let counts = upstream.counts()?;
    let expected = Counts {
        remaining,
        refused: 0,
    };
    if counts != expected {
        return Err(format!("expected {expected:?} at the upstream, found {counts:?}").into());
    }
    Ok(Verdict::Passed)
}
