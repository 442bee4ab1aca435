//! Disks that are slow all the time, or stand still for a while: pulls go past them, and the cache heals.

use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::disk::{blob, expect_clean, pull_blob, pull_by_hand, with_seawall_on};
use crate::support::process::wait_until;
use crate::support::{Image, Result, Seawall, Verdict, World, http};
use crate::trouble::{Injection, readiness, wait_for_disk};

/// How long each write takes: less than what a single one is given up after.
const WRITE: Duration = Duration::from_millis(300);
/// The most that one pull may lose to the disk before it goes past it.
const LOST: Duration = Duration::from_secs(12);
/// System calls that touch the disk. What the page cache answers is not among them, nor is `openat`, with which the C
/// library counts processors: an open file is looked at before anything comes of it.
const FROZEN: &str = "statx,newfstatat,getdents64,pread64,pwrite64,ftruncate,fdatasync,rename,unlink,mkdir";

/// F065: every write takes 0.3 s, so that the layer of 200 MB would take minutes. The client is served at the
/// network's pace: few of the writes are waited for.
pub(crate) fn slow_writes(world: &World) -> Result<Verdict> {
    with_seawall_on(world, Some("size=512m"), |seawall, directory| {
        let (image, layer) = (&world.images.app, world.images.large_layer());
        let length = std::fs::metadata(world.images.bytes(layer))?.len();
        let what = format!("pwrite64:delay_enter={}", WRITE.as_micros());
        let injection = Injection::begin(seawall, &what, None, directory)?;
        pull_blob(world, seawall, image, layer)?;
        let waited = WRITE * u32::try_from(injection.fired().len())?;
        // A write is one mebibyte at most.
        let whole = WRITE * u32::try_from(length >> 20)?;
        println!(
            "        {:.1} s of delays; the whole layer would have had {:.0} s or more",
            waited.as_secs_f64(),
            whole.as_secs_f64()
        );
        if waited > LOST || whole < LOST * 2 {
            return Err("the client waited for the disk".into());
        }
        drop(injection);
        wait_for_disk(seawall, "ok")?;
        pull_blob(world, seawall, image, layer)?;
        let kept = blob(seawall, layer);
        wait_until("the layer to be kept", Duration::from_secs(30), || kept.exists())?;
        expect_clean(seawall)
    })
}

/// F066: nothing that touches the disk comes back. Cold pulls go past it, what memory holds is a hit, health and
/// metrics answer, threads are bounded, and afterwards what was held is held.
pub(crate) fn frozen(world: &World) -> Result<Verdict> {
    let images = world
        .images
        .small(&world.directory()?, &world.upstream.address, 40)?;
    with_seawall_on(world, Some("size=64m"), |seawall, directory| {
        let (held, cold) = images.split_at(5);
        for image in held {
            pull_by_hand(world, seawall, image)?;
        }
        keep(seawall, held)?;
        let before = world.upstream.asked()?.len();
        let injection = Injection::begin(
            seawall,
            &format!("{FROZEN}:delay_enter=60000000"),
            None,
            directory,
        )?;
        // Small blobs and manifests are in memory.
        for image in held {
            pull_by_hand(world, seawall, image)?;
        }
        if world.upstream.asked()?.len() > before {
            return Err("what memory holds was asked for again".into());
        }
        thread::scope(|scope| {
            let pulls = cold.iter().cycle().take(4 * cold.len());
            let pulls: Vec<_> = pulls
                .map(|image| scope.spawn(|| pull_by_hand(world, seawall, image)))
                .collect();
            let mut most = 0;
            while !pulls.iter().all(thread::ScopedJoinHandle::is_finished) {
                for target in ["/livez", "/readyz", "/metrics"] {
                    let status = http::get(&seawall.admin, target)?.status;
                    if status != 200 {
                        return Err(format!("{target} is {status}").into());
                    }
                }
                most = most.max(threads(seawall)?);
                thread::sleep(Duration::from_millis(100));
            }
            println!("        {most} threads at most for {} pulls", pulls.len());
            if most > 300 {
                return Err(format!("{most} threads").into());
            }
            let join = |pull: thread::ScopedJoinHandle<'_, Result>| {
                pull.join().unwrap_or_else(|_| Err("a pull panicked".into()))
            };
            pulls.into_iter().try_for_each(join)
        })?;
        wait_for_disk(seawall, "slow")?;
        println!("        {}", readiness(seawall)?);
        drop(injection);
        wait_for_disk(seawall, "ok")?;
        for image in &images {
            pull_by_hand(world, seawall, image)?;
        }
        keep(seawall, &images)?;
        expect_clean(seawall)
    })
}

/// Waits until every blob of these has its name.
fn keep(seawall: &Seawall, images: &[Image]) -> Result {
    let kept = || {
        images
            .iter()
            .flat_map(Image::blobs)
            .all(|digest| blob(seawall, digest).exists())
    };
    wait_until("the images to be kept", Duration::from_secs(30), kept)
}

/// How many threads it has.
fn threads(seawall: &Seawall) -> Result<usize> {
    let tasks = Path::new("/proc").join(seawall.id().to_string()).join("task");
    Ok(std::fs::read_dir(tasks)?.count())
}
