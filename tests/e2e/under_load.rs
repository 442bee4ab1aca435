//! A disk that fails one way after the other while real clients pull all the time: no pull fails, and it heals.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::clients::copy;
use crate::disk::{expect_clean, with_seawall_on};
use crate::support::process::{command, wait_until};
use crate::support::{Image, Result, Seawall, Verdict, World};
use crate::trouble::{Injection, Mount, wait_for_disk};

/// Clients that pull at a time.
const CLIENTS: usize = 2;
/// Images that are pulled for the first time, in turn. Those that were not kept are cold again.
const IMAGES: usize = 40;
/// Pulls that must come and go well in every state of the disk.
const PULLS: usize = 4;

/// Clients that pull until they are told to stop.
struct Load<'a> {
    world: &'a World,
    seawall: &'a Seawall,
    images: &'a [Image],
    next: AtomicUsize,
    done: AtomicUsize,
    over: AtomicBool,
    failed: Mutex<Option<String>>,
}

impl Load<'_> {
    /// Pulls image after image with skopeo, and compares every byte.
    fn pull(&self) {
        while !self.over.load(Ordering::Relaxed) {
            let next = self.next.fetch_add(1, Ordering::Relaxed) % self.images.len();
            let Err(error) = self.pull_one(&self.images[next]) else {
                self.done.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let mut failed = self
                .failed
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            failed.get_or_insert(error.to_string());
            return;
        }
    }

    fn pull_one(&self, image: &Image) -> Result {
        let (repository, manifest) = (&image.repository, &image.manifest);
        let source = format!("docker://{}/{repository}@{manifest}", self.seawall.location);
        let target = self.world.directory()?.join("copy");
        copy(command("skopeo"), &source, &target, &self.world.images, image)
    }

    /// Lets some more pulls begin and end. A pull that has failed is an error, whatever the disk was by then.
    fn go_on(&self, when: &str) -> Result {
        let wanted = self.done.load(Ordering::Relaxed) + PULLS + CLIENTS;
        let failed = || {
            self.failed
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner())
                .clone()
        };
        let limit = Duration::from_secs(60);
        wait_until(&format!("pulls {when}"), limit, || {
            self.done.load(Ordering::Relaxed) >= wanted || failed().is_some()
        })?;
        failed().map_or(Ok(()), |error| Err(format!("{when}: {error}").into()))
    }
}

/// F060, F061, F062, F064.
pub(crate) fn disk_fails(world: &World) -> Result<Verdict> {
    let directory = world.directory()?;
    let images = world.images.small(&directory, &world.upstream.address, IMAGES)?;
    with_seawall_on(world, Some("size=64m"), |seawall, directory| {
        let load = Load {
            world,
            seawall,
            images: &images,
            next: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            failed: Mutex::new(None),
        };
        let outcome = thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| load.pull());
            }
            let outcome = troubles(&load, directory);
            load.over.store(true, Ordering::Relaxed);
            outcome
        });
        println!("        {} pulls", load.done.load(Ordering::Relaxed));
        outcome?;
        expect_clean(seawall)
    })
}

/// One trouble after the other, each with pulls while it lasts and after it.
fn troubles(load: &Load<'_>, directory: &Path) -> Result {
    let (seawall, cache) = (load.seawall, directory.join("cache"));
    load.go_on("before any trouble")?;
    forget_all(seawall)?;
    let filler = cache.join("filler");
    // It ends when the file system is full.
    let _ = std::fs::write(&filler, vec![1; 64 << 20]);
    wait_for_disk(seawall, "full")?;
    load.go_on("with a full disk")?;
    std::fs::remove_file(&filler)?;
    wait_for_disk(seawall, "ok")?;
    load.go_on("with room again")?;
    forget_all(seawall)?;
    let mount = Mount::read_only(&cache, &directory.join("aside"))?;
    wait_for_disk(seawall, "read-only")?;
    load.go_on("with a read-only disk")?;
    drop(mount);
    wait_for_disk(seawall, "ok")?;
    load.go_on("with a disk to be written again")?;
    for what in ["pwrite64,pwritev:error=EIO", "fdatasync:error=EIO"] {
        forget_all(seawall)?;
        let injection = Injection::begin(seawall, what, None, directory)?;
        wait_until(&format!("{what} to fail"), Duration::from_secs(20), || {
            !injection.fired().is_empty()
        })?;
        load.go_on(what)?;
        drop(injection);
        wait_for_disk(seawall, "ok")?;
        load.go_on("with a disk that works again")?;
    }
    Ok(())
}

/// Removes what is kept of layers behind Seawall's back, so that there is something to be written.
fn forget_all(seawall: &Seawall) -> Result {
    for folder in std::fs::read_dir(seawall.shelves().join("blobs/sha256"))?.flatten() {
        for file in std::fs::read_dir(folder.path())?.flatten() {
            match std::fs::remove_file(file.path()) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
    }
    Ok(())
}
