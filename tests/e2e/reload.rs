//! The configuration is read again and again while clients pull, and no pull notices.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;
use std::time::Duration;

use crate::clients::{self, Place};
use crate::disk::pull_by_hand;
use crate::support::http;
use crate::support::process::{command, run, wait_until};
use crate::support::{Image, Result, Seawall, Verdict, World};

/// Times the configuration is read again at least; more while a client is not done.
const RELOADS: usize = 40;

/// SIGHUP upon SIGHUP, each time with another configuration and now and then a wrong one, under skopeo, containerd
/// and pulls of small images: nothing fails, and what is wrong changes nothing.
pub(crate) fn under_load(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let directory = world.directory()?;
    let images = world
        .images
        .small(&world.directory()?, &world.upstream.address, 10)?;
    let seawall = world.seawall_on(&world.upstream.address, &directory)?;
    let (done, pulls) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (behind, done, pulls) = (&seawall, &done, &pulls);
    thread::scope(|scope| {
        let real = clients::ALL
            .into_iter()
            .filter(|(name, _)| ["skopeo", "containerd"].contains(name));
        let real: Vec<_> = real
            .map(|client| scope.spawn(move || pull_until(world, behind, client.1, done, pulls)))
            .collect();
        let small = scope.spawn(|| small_until(world, behind, &images, done, pulls));
        let reloaded = reload_often(&seawall, &directory.join("seawall.toml"));
        done.store(true, Relaxed);
        let ended = real.into_iter().chain([small]).map(|pulling| pulling.join());
        let ended: Vec<Result> = ended
            .map(|ended| ended.unwrap_or_else(|_| Err("a client's thread panicked".into())))
            .collect();
        reloaded.and(ended.into_iter().collect::<Result>())
    })?;
    println!(
        "        {} pulls while it was read {RELOADS} times",
        pulls.load(Relaxed)
    );
    seawall.stop()?;
    Ok(Verdict::Passed)
}

/// One client, again and again, each time with an empty store; once at least.
fn pull_until(
    world: &World,
    seawall: &Seawall,
    pull: fn(&Place<'_>, &Image) -> Result<Verdict>,
    done: &AtomicBool,
    pulls: &AtomicUsize,
) -> Result {
    loop {
        let directory = world.directory()?;
        let place = Place {
            directory: directory.clone(),
            seawall,
            images: &world.images,
            falls_back: false,
        };
        pull(&place, &world.images.app)?;
        fs::remove_dir_all(&directory)?;
        pulls.fetch_add(1, Relaxed);
        if done.load(Relaxed) {
            return Ok(());
        }
    }
}

fn small_until(
    world: &World,
    seawall: &Seawall,
    images: &[Image],
    done: &AtomicBool,
    pulls: &AtomicUsize,
) -> Result {
    while !done.load(Relaxed) {
        for image in images {
            pull_by_hand(world, seawall, image)?;
            pulls.fetch_add(1, Relaxed);
        }
    }
    Ok(())
}

/// Writes other configurations and has each of them read.
fn reload_often(seawall: &Seawall, file: &Path) -> Result {
    let usual = fs::read_to_string(file)?;
    for round in 0..RELOADS {
        let wrong = round % 5 == 4;
        let (reads, mebibytes) = (1_000_000 + round, 4096 + round);
        let more = match wrong {
            true => "\n[nothing]\nlike = \"this\"\n".to_owned(),
            false => format!(
                "freshness = {{ ttl = \"{}s\" }}\n\n[tier.loaded]\nread_ops_per_minute = {reads}\n\n\
                 [[client]]\nname = \"round{round}\"\ntier = \"loaded\"\nmatch = {{ cidr = [\"127.0.0.0/8\"] }}\n",
                round % 3
            ),
        };
        let sized = usual.replace(
            "min_free = \"0B\"",
            &format!("min_free = \"0B\"\ncapacity = \"{mebibytes}MiB\""),
        );
        // In one step, as whoever deploys it does: half of a file is another configuration.
        let next = file.with_extension("next");
        fs::write(&next, sized + &more)?;
        fs::rename(&next, file)?;
        let outcome = if wrong { "refused" } else { "applied" };
        let before = reloads(seawall, outcome)?;
        run(command("kill").args(["-HUP", &seawall.id().to_string()]))?;
        wait_until(
            &format!("reload {round} to be counted as {outcome}"),
            Duration::from_secs(10),
            || reloads(seawall, outcome).is_ok_and(|count| count > before),
        )?;
    }
    Ok(())
}

/// How often the configuration was read with this outcome.
fn reloads(seawall: &Seawall, outcome: &str) -> Result<u64> {
    let answer = http::get(&seawall.admin, "/metrics")?;
    let text = String::from_utf8(answer.body)?;
    let wanted = format!("seawall_config_reloads_total{{outcome=\"{outcome}\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(wanted.as_str()));
    Ok(value.unwrap_or("0").trim().parse()?)
}
