//! File systems of every kind that this machine can make.

use std::path::Path;

use crate::disk::{expect_clean, keep, nothing_unfinished, pull_by_hand};
use crate::support::{Result, Seawall, Verdict, World};
use crate::trouble::{Mount, counted, readiness};

/// Kinds of file systems besides the one in memory.
const KINDS: [&str; 4] = ["ext4", "xfs", "btrfs", "overlay"];

/// F081: on every kind of file system that this machine can make, what is pulled is kept, by a restart after a SIGKILL
/// too, and nothing that the disk is asked for fails.
pub(crate) fn of_file_systems(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let mut tried = Vec::new();
    for kind in KINDS {
        let directory = world.directory()?;
        let Some(mount) = Mount::of_kind(kind, &directory.join("cache"), &directory.join("aside"))? else {
            continue;
        };
        on_one(world, &directory).map_err(|error| format!("{kind}: {error}"))?;
        drop(mount);
        tried.push(kind);
    }
    println!("        on {}", tried.join(", "));
    match tried.is_empty() {
        true => Ok(Verdict::Skipped(
            "no other file system can be made here".to_owned(),
        )),
        false => Ok(Verdict::Passed),
    }
}

fn on_one(world: &World, directory: &Path) -> Result {
    let images = [&world.images.app, &world.images.platforms[0]];
    let pull = |seawall: &Seawall| {
        images
            .iter()
            .try_for_each(|image| pull_by_hand(world, seawall, image))
    };
    let seawall = world.seawall_on(&world.upstream.address, directory)?;
    pull(&seawall)?;
    keep(&seawall, images)?;
    seawall.kill()?;
    let seawall = world.seawall_on(&world.upstream.address, directory)?;
    let before = blobs_asked(world)?;
    pull(&seawall)?;
    if blobs_asked(world)? > before {
        return Err("what is held was asked for again".into());
    }
    match counted(&seawall, "seawall_disk_errors_total", "")? {
        0 => {}
        errors => return Err(format!("{errors} calls failed; {}", readiness(&seawall)?).into()),
    }
    nothing_unfinished(&seawall)?;
    expect_clean(&seawall)?;
    seawall.stop()
}

/// How often the upstream was asked for a blob.
fn blobs_asked(world: &World) -> Result<usize> {
    let asked = world.upstream.asked()?;
    Ok(asked.iter().filter(|one| one.target.contains("/blobs/")).count())
}
