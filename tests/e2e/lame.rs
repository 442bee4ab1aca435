//! Disks that are slow all the time, stand still, or are closed to us, and records that fail: pulls go past them,
//! and the cache heals.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::disk::{blob, expect_clean, expect_words, keep, pull_blob, pull_by_hand, with_seawall_on};
use crate::support::images::TAG;
use crate::support::process::wait_until;
use crate::support::{Image, Result, Seawall, Verdict, World, http};
use crate::trouble::{Injection, readiness, wait_for_disk};

/// How long each write takes: less than what a single one is given up after.
const WRITE: Duration = Duration::from_millis(300);
/// The most that one pull may lose to the disk before it goes past it.
const LOST: Duration = Duration::from_secs(12);
/// System calls that touch the disk. What the page cache answers is not among them.
const FROZEN: &str = "openat,statx,newfstatat,getdents64,pread64,pwrite64,pwritev,ftruncate,fdatasync,\
    fsync,rename,unlink,mkdir";

/// F065: every write takes 0.3 s, so that the layer of 200 MB would take minutes. The client is served at the
/// network's pace: few of the writes are waited for.
pub(crate) fn slow_writes(world: &World) -> Result<Verdict> {
    with_seawall_on(world, Some("size=512m"), |seawall, directory| {
        let (image, layer) = (&world.images.app, world.images.large_layer());
        let length = std::fs::metadata(world.images.bytes(layer))?.len();
        let what = format!("pwrite64,pwritev:delay_enter={}", WRITE.as_micros());
        let injection = Injection::begin(seawall, &what, None, directory)?;
        pull_blob(world, seawall, image, layer)?;
        let waited = WRITE * u32::try_from(injection.fired().len())?;
        // A write is about one mebibyte.
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

/// F068: an account that owns nothing but the cache runs it, and the directory is closed to it (mode 000).
pub(crate) fn denied(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let images = world
        .images
        .small(&world.directory()?, &world.upstream.address, 6)?;
    let home = tempfile::Builder::new().prefix("seawall-nobody-").tempdir()?;
    let cache = home.path().join("cache");
    std::fs::create_dir(&cache)?;
    std::os::unix::fs::chown(&cache, Some(65534), Some(65534))?;
    set_mode(home.path(), 0o755)?;
    let seawall = Seawall::start_as_nobody(home.path(), &world.upstream.address)?;
    world.note_log(seawall.log());
    let layer = &world.images.app.layers[2];
    pull_by_hand(world, &seawall, &images[0])?;
    pull_blob(world, &seawall, &world.images.app, layer)?;
    keep(&seawall, &images[..1])?;
    wait_until("the layer to be kept", Duration::from_secs(30), || {
        blob(&seawall, layer).exists()
    })?;
    set_mode(&cache, 0)?;
    for image in &images[..4] {
        pull_by_hand(world, &seawall, image)?;
    }
    // A file that is held and cannot be opened comes from the upstream.
    pull_blob(world, &seawall, &world.images.app, layer)?;
    wait_for_disk(&seawall, "denied")?;
    println!("        {}", readiness(&seawall)?);
    expect_words(
        &seawall,
        home.path(),
        &["disk         denied for", "give the cache directory back"],
    )?;
    set_mode(&cache, 0o755)?;
    wait_for_disk(&seawall, "ok")?;
    let before = world.upstream.asked()?.len();
    pull_blob(world, &seawall, &world.images.app, layer)?;
    if world.upstream.asked()?.len() > before {
        return Err("what was held all the time was asked for again".into());
    }
    pull_by_hand(world, &seawall, &images[5])?;
    keep(&seawall, &images[5..])?;
    expect_clean(&seawall)?;
    seawall.stop()?;
    Ok(Verdict::Passed)
}

/// The file of the records fails at every read, write and sync. Pulls go on, what had a name is there after a
/// restart, and so is what was recorded before and after.
pub(crate) fn failing_records(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let (directory, upstream) = (world.directory()?, &world.upstream.address);
    let images = world.images.small(&world.directory()?, upstream, 6)?;
    let seawall = world.seawall_on(upstream, &directory)?;
    let records = seawall.shelves().join("records.redb");
    pull_by_tag(world, &seawall, &images[0])?;
    wait_until("the record to be written", Duration::from_secs(10), || {
        listed(&seawall, &images[0])
    })?;
    for (number, calls) in ["pwrite64,fdatasync", "pread64,pwrite64,fdatasync"]
        .iter()
        .enumerate()
    {
        let what = format!("{calls}:error=EIO");
        let injection = Injection::begin(&seawall, &what, Some(&records), &directory)?;
        pull_by_tag(world, &seawall, &images[1 + 2 * number])?;
        let fired = || !injection.fired().is_empty();
        wait_until("the records to fail", Duration::from_secs(10), fired)?;
        pull_by_tag(world, &seawall, &images[0])?;
        println!(
            "        {} calls failed; {}",
            injection.fired().len(),
            readiness(&seawall)?
        );
        drop(injection);
        let healed = &images[2 + 2 * number];
        pull_by_tag(world, &seawall, healed)?;
        wait_until("the records to be written again", Duration::from_secs(10), || {
            listed(&seawall, healed)
        })?;
    }
    keep(&seawall, &images[..5])?;
    seawall.stop()?;
    let before = world.upstream.asked()?.len();
    let seawall = world.seawall_on(upstream, &directory)?;
    for image in &images[..5] {
        pull_by_hand(world, &seawall, image)?;
    }
    if world.upstream.asked()?.len() > before {
        return Err("what had a name was asked for again".into());
    }
    for image in [&images[0], &images[2], &images[4]] {
        if !listed(&seawall, image) {
            return Err(format!("the record of {} is lost", image.repository).into());
        }
    }
    if records.with_extension("damaged").exists() {
        return Err("records that only failed were taken for damaged".into());
    }
    expect_clean(&seawall)?;
    seawall.stop()?;
    Ok(Verdict::Passed)
}

/// Pulls an image by its tag, which is written down.
fn pull_by_tag(world: &World, seawall: &Seawall, image: &Image) -> Result {
    let target = format!("/v2/{}/manifests/{TAG}", image.repository);
    let answer = http::get(&seawall.address, &target)?;
    if answer.status != 200 || answer.body != std::fs::read(world.images.bytes(&image.manifest))? {
        return Err(format!("GET {target}: status {}", answer.status).into());
    }
    pull_by_hand(world, seawall, image)
}

/// True if the records tell of its repository.
fn listed(seawall: &Seawall, image: &Image) -> bool {
    let catalog = http::get(&seawall.address, "/v2/_catalog");
    let name = format!("{}\"", image.repository);
    catalog.is_ok_and(|answer| String::from_utf8_lossy(&answer.body).contains(&name))
}

fn set_mode(path: &Path, mode: u32) -> Result {
    Ok(std::fs::set_permissions(path, Permissions::from_mode(mode))?)
}

/// How many threads it has.
fn threads(seawall: &Seawall) -> Result<usize> {
    let tasks = Path::new("/proc").join(seawall.id().to_string()).join("task");
    Ok(std::fs::read_dir(tasks)?.count())
}
