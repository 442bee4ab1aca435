//! An upstream that limits us: what it costs, and what people see.

use std::time::{Duration, Instant};

use crate::clients::{self, Place, copy};
use crate::support::http;
use crate::support::images::TAG;
use crate::support::limited::{Counts, Limited};
use crate::support::process::{command, run};
use crate::support::{Result, Seawall, Verdict, World};

/// With the budget used up, what is held is pulled as ever, by every client, and nothing is spent.
pub(crate) fn warm_pulls_cost_nothing(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    // One manifest: the budget is used up by the first pull.
    let upstream = Limited::start(&world.upstream.address, 1)?;
    let seawall = world.seawall_on(&upstream.address, &world.directory()?)?;
    for (name, pull) in [clients::ALL[2], clients::ALL[0], clients::ALL[1]] {
        let directory = world.directory()?;
        let place = Place {
            directory: directory.clone(),
            seawall: &seawall,
            images: &world.images,
        };
        pull(&place, &world.images.app).map_err(|error| format!("{name}: {error}"))?;
        std::fs::remove_dir_all(directory)?;
    }
    expect_unasked(&upstream)
}

/// With the budget used up, what is not held is refused in time, in words, and without asking the upstream.
pub(crate) fn refused_in_words(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let upstream = Limited::start(&world.upstream.address, 2)?;
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
    // podman would wait five times as long as it is told, up to a minute each: too long for a test.
    let (name, pull) = clients::ALL[0];
    expect_refused(world, &seawall, name, pull)?;
    let drawn = run(command(env!("CARGO_BIN_EXE_seawall")).args(["status", "--admin", &seawall.admin]))?;
    if !drawn.contains("0 of 2 per 60 min left") {
        return Err(format!("`seawall status` does not show the budget:\n{drawn}").into());
    }
    expect_unasked(&upstream)
}

/// `ctr` ends within its patience and passes on what the cache says.
fn expect_refused(
    world: &World,
    seawall: &Seawall,
    name: &str,
    pull: fn(&Place<'_>, &crate::support::Image) -> Result<Verdict>,
) -> Result {
    let place = Place {
        directory: world.directory()?,
        seawall,
        images: &world.images,
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
    if !told.contains("429") && !told.to_lowercase().contains("toomanyrequests") {
        return Err(format!("{name} does not say that it was limited: {told}").into());
    }
    // Five tries, each held back for three seconds at most, and what they wait for a turn.
    if took > Duration::from_secs(150) {
        return Err(format!("{name} was held for {took:?}").into());
    }
    Ok(())
}

/// The budget is used up, and the upstream was never asked for more.
fn expect_unasked(upstream: &Limited) -> Result<Verdict> {
    let counts = upstream.counts()?;
    let expected = Counts {
        remaining: 0,
        refused: 0,
    };
    if counts != expected {
        return Err(format!("expected {expected:?} at the upstream, found {counts:?}").into());
    }
    Ok(Verdict::Passed)
}
