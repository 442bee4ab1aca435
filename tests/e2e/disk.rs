//! Disks that are full, read-only, failing, slow, gone: every pull arrives whole, and the cache heals.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::clients::{self, Place, copy};
use crate::support::content::hashes_to_names;
use crate::support::http;
use crate::support::process::{command, run, wait_until};
use crate::support::{Image, Result, Seawall, Verdict, World};
use crate::trouble::{Injection, Mount, counted, readiness, wait_for_disk};

/// Reads that fail: all of them, later ones, and those that the kernel does on its own. What comes instead gets the
/// same name in the end, and then fails as well: a body may be broken off each time.
const READS: [&str; 3] = [
    "preadv2,pread64,sendfile:error=EIO",
    "preadv2,pread64,sendfile:error=EIO:when=3+",
    "sendfile:error=EIO",
];
/// The counter of what failed.
const ERRORS: &str = "seawall_disk_errors_total";

/// F060: real clients pull 200 MB through a disk of 16 MiB. They get all of it, and no rest stays behind.
pub(crate) fn full(world: &World) -> Result<Verdict> {
    with_seawall_on(world, Some("size=16m"), |seawall, _| {
        for (name, pull) in [clients::ALL[1], clients::ALL[2]] {
            let place = place(world, seawall)?;
            pull(&place, &world.images.app).map_err(|error| format!("{name}: {error}"))?;
            std::fs::remove_dir_all(place.directory)?;
        }
        // A layer that does not fit is an error here, or is known to be too long before.
        let errors = counted(seawall, ERRORS, "kind=\"full\"")?;
        println!(
            "        {errors} writes found the disk full; {}",
            readiness(seawall)?
        );
        nothing_unfinished(seawall)?;
        expect_clean(seawall)
    })
}

/// F077: the same when not the bytes but the inodes are used up, and a heal without a restart.
pub(crate) fn no_inodes(world: &World) -> Result<Verdict> {
    let images = world
        .images
        .small(&world.directory()?, &world.upstream.address, 30)?;
    with_seawall_on(world, Some("nr_inodes=64"), |seawall, directory| {
        for image in &images {
            pull_by_hand(world, seawall, image)?;
        }
        wait_for_disk(seawall, "full")?;
        println!("        {}", readiness(seawall)?);
        expect_words(
            seawall,
            directory,
            &["disk         full for", "free space or inodes"],
        )?;
        run(command("mount")
            .args(["-o", "remount,nr_inodes=10000"])
            .arg(directory.join("cache")))?;
        wait_for_disk(seawall, "ok")?;
        pull_by_hand(world, seawall, &images[29])?;
        pull_by_hand(world, seawall, &images[29])?;
        expect_clean(seawall)
    })
}

/// F064: the file system becomes read-only. What is held is a hit, what is not is passed on, a restart works
/// too, and when it can be written again it is.
pub(crate) fn read_only(world: &World) -> Result<Verdict> {
    with_seawall_on(world, Some("size=64m"), |seawall, directory| {
        let [held, cold] = [&world.images.platforms[0], &world.images.platforms[1]];
        pull_by_hand(world, seawall, held)?;
        keep(seawall, [held])?;
        let cache = directory.join("cache");
        let mount = Mount::read_only(&cache, &directory.join("aside"))?;
        pull_by_client(world, seawall, cold, "arm64")?;
        wait_for_disk(seawall, "read-only")?;
        println!("        {}", readiness(seawall)?);
        let before = world.upstream.asked()?.len();
        pull_by_hand(world, seawall, held)?;
        if world.upstream.asked()?.len() > before {
            return Err("what is held was asked for again".into());
        }
        let (home, second) = second_home(world, &cache)?;
        let restarted = world.seawall_on(&world.upstream.address, &home)?;
        wait_for_disk(&restarted, "read-only")?;
        pull_by_hand(world, &restarted, held)?;
        pull_by_hand(world, &restarted, cold)?;
        restarted.stop()?;
        drop((mount, second));
        wait_for_disk(seawall, "ok")?;
        pull_by_hand(world, seawall, cold)?;
        expect_clean(seawall)
    })
}

/// F061, F062: writes and syncs fail one after the other, at every place of a pull until none is left that
/// could. A file whose sync failed is synced once and not kept.
pub(crate) fn failing_writes(world: &World) -> Result<Verdict> {
    with_seawall_on(world, Some("size=512m"), |seawall, directory| {
        let image = &world.images.app;
        let layer = &image.layers[2];
        let name = layer.replace(':', "-");
        let filling = seawall.shelves().join("filling").join(name);
        let mut fired = 0;
        for call in ["pwritev", "ftruncate", "fdatasync", "rename"] {
            for time in 1..10 {
                forget(seawall, layer)?;
                let what = format!("{call}:error=EIO:when={time}+");
                let injection = Injection::begin(seawall, &what, Some(&filling), directory)?;
                pull_blob(world, seawall, image, layer)?;
                // The commit comes after the client's last byte; the first time there is one to wait for.
                let limit = Duration::from_secs(if time == 1 { 10 } else { 1 });
                let touched = wait_until("a call to fail", limit, || !injection.fired().is_empty());
                if time == 1 {
                    touched.map_err(|error| format!("{what}: {error}"))?;
                }
                thread::sleep(Duration::from_millis(200));
                let count = injection.fired().len();
                drop(injection);
                wait_for_disk(seawall, "ok")?;
                if count == 0 {
                    break;
                }
                fired += count;
                if blob(seawall, layer).exists() {
                    return Err(format!("{what}: the layer was kept all the same").into());
                }
                if call == "fdatasync" && count != 1 {
                    return Err(format!("{what}: {count} syncs of one file").into());
                }
                nothing_unfinished(seawall)?;
            }
        }
        println!("        {fired} calls failed");
        if fired < 4 {
            return Err("next to nothing failed: this shows nothing".into());
        }
        expect_clean(seawall)
    })
}

/// F063: a held layer cannot be read. The client gets it all the same, or sees a broken transfer.
pub(crate) fn failing_reads(world: &World) -> Result<Verdict> {
    // Memory has no `sendfile` without waiting: this one takes a disk.
    with_seawall_on(world, None, |seawall, directory| {
        let (image, mut broken) = (&world.images.app, 0);
        let layer = &image.layers[2];
        let target = format!("/v2/{}/blobs/{layer}", image.repository);
        let expected = std::fs::read(world.images.bytes(layer))?;
        for what in READS {
            http::get(&seawall.address, &target)?;
            let held = blob(seawall, layer);
            wait_until("the layer to be kept", Duration::from_secs(10), || held.exists())?;
            let injection = Injection::begin(seawall, what, Some(&held), directory)?;
            let answer = http::get(&seawall.address, &target);
            let fired = injection.fired().len();
            drop(injection);
            match answer {
                Ok(answer) if answer.status == 200 && answer.body == expected => {}
                Ok(answer) => return Err(format!("{what}: status {}, wrong bytes", answer.status).into()),
                Err(_) => broken += 1,
            }
            if fired == 0 {
                return Err(format!("{what}: nothing failed").into());
            }
        }
        println!("        {broken} of 3 transfers were broken off");
        pull_by_hand(world, seawall, image)
    })
}

/// F065, F066: every write takes a minute. No pull waits that long, health answers, and later pulls do not
/// touch the disk at all.
pub(crate) fn slow(world: &World) -> Result<Verdict> {
    let images = world
        .images
        .small(&world.directory()?, &world.upstream.address, 20)?;
    with_seawall_on(world, Some("size=64m"), |seawall, directory| {
        let injection = Injection::begin(
            seawall,
            "pwrite64,pwritev,fdatasync:delay_enter=60000000",
            None,
            directory,
        )?;
        let start = Instant::now();
        let pulled: Vec<Result> = thread::scope(|scope| {
            let pulls = images
                .iter()
                .map(|image| scope.spawn(|| pull_by_hand(world, seawall, image)));
            let pulls: Vec<_> = pulls.collect();
            readiness(seawall)
                .map(drop)
                .unwrap_or_else(|error| println!("        {error}"));
            let join = |pull: thread::ScopedJoinHandle<'_, Result>| {
                pull.join().unwrap_or_else(|_| Err("a pull panicked".into()))
            };
            pulls.into_iter().map(join).collect()
        });
        pulled.into_iter().collect::<Result<Vec<()>>>()?;
        let first = start.elapsed();
        wait_for_disk(seawall, "slow")?;
        println!(
            "        20 pulls in {:.1} s; {}",
            first.as_secs_f64(),
            readiness(seawall)?
        );
        let start = Instant::now();
        pull_by_hand(world, seawall, &world.images.platforms[0])?;
        let later = start.elapsed();
        println!("        then one in {:.2} s", later.as_secs_f64());
        if first > Duration::from_secs(45) || later > Duration::from_secs(4) {
            return Err("pulls waited for the disk".into());
        }
        drop(injection);
        wait_for_disk(seawall, "ok")?;
        expect_clean(seawall)
    })
}

/// F069: no descriptor is left while clients pull what is held. Nobody gets wrong bytes, and it passes.
pub(crate) fn no_descriptors(world: &World) -> Result<Verdict> {
    with_seawall_on(world, Some("size=512m"), |seawall, _| {
        let image = &world.images.app;
        pull_by_hand(world, seawall, image)?;
        let open = std::fs::read_dir(format!("/proc/{}/fd", seawall.id()))?.count();
        let limit = |count: usize| {
            let pid = seawall.id().to_string();
            run(command("prlimit").args(["--pid", &pid, &format!("--nofile={count}:")]))
        };
        limit(open + 6)?;
        let target = format!("/v2/{}/blobs/{}", image.repository, image.layers[1]);
        let expected = std::fs::read(world.images.bytes(&image.layers[1]))?;
        let answers: Vec<_> = thread::scope(|scope| {
            let pulls: Vec<_> = (0..30)
                .map(|_| scope.spawn(|| http::get(&seawall.address, &target)))
                .collect();
            // The limit goes while they wait: connections that were not accepted yet are then.
            thread::sleep(Duration::from_secs(2));
            let limited = limit(4096);
            let answers = pulls
                .into_iter()
                .map(|pull| pull.join().map_err(|_| "a pull panicked"));
            limited.and_then(|_| Ok(answers.collect::<std::result::Result<Vec<_>, _>>()?))
        })?;
        let wrong = |answer: &&Result<http::Answer>| {
            answer
                .as_ref()
                .is_ok_and(|answer| answer.status == 200 && answer.body != expected)
        };
        if answers.iter().any(|answer| wrong(&answer)) {
            return Err("wrong bytes".into());
        }
        let good = answers
            .iter()
            .filter(|answer| answer.as_ref().is_ok_and(|answer| answer.status == 200));
        println!("        {} of 30 pulls arrived", good.count());
        wait_for_disk(seawall, "ok")?;
        pull_by_hand(world, seawall, image)
    })
}

/// F067: everything below the directory is removed while clients pull. Nothing has to be restarted.
pub(crate) fn emptied(world: &World) -> Result<Verdict> {
    with_seawall_on(world, Some("size=512m"), |seawall, directory| {
        let image = &world.images.platforms[0];
        for _ in 0..3 {
            pull_by_client(world, seawall, image, "amd64")?;
            // All at once: what is still being written does not get in the way of the removal.
            let gone = directory.join("cache/gone");
            match std::fs::rename(directory.join("cache/v1"), &gone) {
                Ok(()) => std::fs::remove_dir_all(&gone)?,
                // On a slow disk the client was given what is still to be kept, and nothing was made anew.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        let blobs = seawall.shelves().join("blobs");
        wait_until("anything to be kept", Duration::from_secs(10), || {
            let pulled = pull_by_hand(world, seawall, image);
            pulled.is_ok() && hashes_to_names(&blobs).is_ok_and(|kept| kept > 0)
        })
    })
}

/// Runs `test` with a Seawall whose cache is a file system of its own with these limits, if there are any.
pub(crate) fn with_seawall_on(
    world: &World,
    limits: Option<&str>,
    test: impl FnOnce(&Seawall, &Path) -> Result,
) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let directory = world.directory()?;
    let cache = directory.join("cache");
    let mount = limits.map(|limits| Mount::small(&cache, limits)).transpose()?;
    let seawall = world.seawall_on(&world.upstream.address, &directory)?;
    test(&seawall, &directory)?;
    seawall.stop()?;
    drop(mount);
    Ok(Verdict::Passed)
}

/// A directory for another Seawall over the same content, read-only: a copy, since the first has its lock.
fn second_home(world: &World, cache: &Path) -> Result<(PathBuf, Mount)> {
    let home = world.directory()?;
    run(command("cp").arg("-a").arg(cache).arg(home.join("cache")))?;
    let mount = Mount::read_only(&home.join("cache"), &home.join("aside"))?;
    Ok((home, mount))
}

fn place<'a>(world: &'a World, seawall: &'a Seawall) -> Result<Place<'a>> {
    Ok(Place {
        directory: world.directory()?,
        seawall,
        images: &world.images,
        falls_back: false,
    })
}

/// Pulls an image of the index with skopeo, and compares every byte.
fn pull_by_client(world: &World, seawall: &Seawall, image: &Image, tag: &str) -> Result {
    let source = format!("docker://{}/{}:{tag}", seawall.location, image.repository);
    copy(
        command("skopeo"),
        &source,
        &world.directory()?.join("copy"),
        &world.images,
        image,
    )
}

/// Gets manifest and blobs of an image, and compares every byte.
pub(crate) fn pull_by_hand(world: &World, seawall: &Seawall, image: &Image) -> Result {
    let manifest = ("manifests", &image.manifest);
    let blobs = image.blobs().map(|blob| ("blobs", blob));
    [manifest]
        .into_iter()
        .chain(blobs)
        .try_for_each(|(kind, digest)| pull_content(world, seawall, image, kind, digest))
}

pub(crate) fn pull_blob(world: &World, seawall: &Seawall, image: &Image, blob: &str) -> Result {
    pull_content(world, seawall, image, "blobs", blob)
}

fn pull_content(world: &World, seawall: &Seawall, image: &Image, kind: &str, digest: &str) -> Result {
    let target = format!("/v2/{}/{kind}/{digest}", image.repository);
    let answer = http::get(&seawall.address, &target).map_err(|error| format!("GET {target}: {error}"))?;
    if answer.status != 200 || answer.body != std::fs::read(world.images.bytes(digest))? {
        let length = answer.body.len();
        return Err(format!("GET {target}: status {}, {length} bytes", answer.status).into());
    }
    Ok(())
}

/// What `seawall status` prints must have these words in it.
pub(crate) fn expect_words(seawall: &Seawall, directory: &Path, words: &[&str]) -> Result {
    let mut status = command(env!("CARGO_BIN_EXE_seawall"));
    status
        .args(["status", "--admin", &seawall.admin])
        .current_dir(directory);
    let text = run(&mut status)?;
    match words.iter().find(|word| !text.contains(**word)) {
        Some(word) => Err(format!("{word:?} is not in: {text}").into()),
        None => Ok(()),
    }
}

/// Where a blob is kept.
pub(crate) fn blob(seawall: &Seawall, digest: &str) -> PathBuf {
    let hex = digest.trim_start_matches("sha256:");
    seawall.shelves().join("blobs/sha256").join(&hex[..2]).join(hex)
}

/// Waits until every blob of these images has its name: that comes after the client's last byte.
pub(crate) fn keep<'a>(seawall: &Seawall, images: impl IntoIterator<Item = &'a Image>) -> Result {
    for digest in images.into_iter().flat_map(Image::blobs) {
        let kept = blob(seawall, digest);
        wait_until("the images to be kept", Duration::from_secs(30), || kept.exists())?;
    }
    Ok(())
}

/// Removes a blob from the shelf behind Seawall's back.
fn forget(seawall: &Seawall, digest: &str) -> Result {
    match std::fs::remove_file(blob(seawall, digest)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Nothing unfinished is left, and nothing with a name is wrong.
pub(crate) fn nothing_unfinished(seawall: &Seawall) -> Result {
    let left: Vec<_> = std::fs::read_dir(seawall.shelves().join("filling"))?
        .flatten()
        .collect();
    match left.first() {
        Some(entry) => Err(format!("{} is left behind", entry.path().display()).into()),
        None => Ok(()),
    }
}

pub(crate) fn expect_clean(seawall: &Seawall) -> Result {
    hashes_to_names(&seawall.shelves().join("blobs"))?;
    hashes_to_names(&seawall.shelves().join("manifests"))?;
    Ok(())
}
