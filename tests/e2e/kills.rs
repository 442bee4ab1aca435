//! SIGKILL at random moments while clients pull what is not held, and while a counted answer is on its way.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::Value;

use crate::disk::pull_by_hand;
use crate::support::content::hashes_to_names;
use crate::support::http;
use crate::support::limited::{HOUR, Limited};
use crate::support::process::wait_until;
use crate::support::{Image, Result, Seawall, Verdict, World};

/// Kills, unless `SEAWALL_E2E_KILLS` says how many.
const KILLS: u32 = 30;
/// Restarts while clients go on, how long it is up between them, and the clients.
const RESTARTS: usize = 10;
const UP: Duration = Duration::from_secs(1);
const NODES: usize = 4;
/// The latest moment of a kill: by then the small images have been pulled.
const LATEST: Duration = Duration::from_millis(600);

/// F084: what has a name hashes to it, what had one is still there, and in the end everything can be pulled.
pub(crate) fn again_and_again(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let (kills, seed) = (
        number("SEAWALL_E2E_KILLS", KILLS),
        number("SEAWALL_E2E_SEED", rand::random()),
    );
    println!("        {kills} kills, seed {seed} (SEAWALL_E2E_KILLS, SEAWALL_E2E_SEED)");
    let mut random = StdRng::seed_from_u64(u64::from(seed));
    let (directory, upstream) = (world.directory()?, &world.upstream.address);
    let images = world.images.small(&world.directory()?, upstream, 20)?;
    let (mut named, mut kept) = (BTreeSet::new(), 0);
    for kill in 0..kills {
        let seawall = world.seawall_on(upstream, &directory)?;
        let moment = LATEST.mul_f64(random.random::<f64>());
        pull_until(world, seawall, &images, moment, random.random())
            .map_err(|error| format!("kill {kill}: {error}"))?;
        let after = expect_right(&directory, &named).map_err(|error| format!("kill {kill}: {error}"))?;
        kept += after.difference(&named).count();
        // Half of it goes, so that the next pulls are cold again.
        named = forget_half(after, &mut random)?;
    }
    println!("        {kept} files got their names meanwhile");
    if kept == 0 {
        return Err("nothing was ever kept: this shows nothing".into());
    }
    let seawall = world.seawall_on(upstream, &directory)?;
    for image in images.iter().chain([&world.images.app]) {
        pull_by_hand(world, &seawall, image)?;
    }
    seawall.stop()?;
    Ok(Verdict::Passed)
}

/// F111: it is restarted every second or so, by SIGTERM and by SIGKILL in turn, while clients go on that try again as a
/// node does. Each of their pulls ends well.
pub(crate) fn while_clients_go_on(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let (directory, upstream) = (world.directory()?, &world.upstream.address);
    let images = world.images.small(&world.directory()?, upstream, 20)?;
    let nodes = Nodes {
        world,
        images: &images,
        seawall: Mutex::default(),
        pulls: AtomicUsize::new(0),
        tries: AtomicUsize::new(0),
        over: AtomicBool::new(false),
    };
    let outcome = thread::scope(|scope| {
        let pulling: Vec<_> = (0..NODES)
            .map(|node| {
                let nodes = &nodes;
                scope.spawn(move || nodes.pull(node))
            })
            .collect();
        let outcome = nodes.restart(&directory);
        nodes.over.store(true, Relaxed);
        let join = |node: thread::ScopedJoinHandle<'_, Result>| {
            node.join().unwrap_or_else(|_| Err("a client panicked".into()))
        };
        let pulled = pulling.into_iter().try_for_each(join);
        let last = outcome?;
        pulled?;
        last.stop()
    });
    let (pulls, tries) = (nodes.pulls.into_inner(), nodes.tries.into_inner());
    println!("        {RESTARTS} restarts, {pulls} pulls, {tries} tries that failed");
    outcome?;
    if tries == 0 {
        return Err("no try failed: this shows nothing".into());
    }
    expect_right(&directory, &BTreeSet::new())?;
    Ok(Verdict::Passed)
}

/// Clients that pull image after image, wherever Seawall is by then, and try each blob again until it comes.
struct Nodes<'a> {
    world: &'a World,
    images: &'a [Image],
    /// Where it listens now.
    seawall: Mutex<String>,
    pulls: AtomicUsize,
    tries: AtomicUsize,
    over: AtomicBool,
}

impl Nodes<'_> {
    fn address(&self) -> MutexGuard<'_, String> {
        self.seawall.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pull(&self, node: usize) -> Result {
        for image in self.images.iter().cycle().skip(node * self.images.len() / NODES) {
            if self.over.load(Relaxed) {
                break;
            }
            for blob in image.blobs() {
                self.insist(image, blob)?;
            }
            self.pulls.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    /// Gets a blob, by as many tries as it takes in a time in which every restart is over.
    fn insist(&self, image: &Image, blob: &str) -> Result {
        let target = format!("/v2/{}/blobs/{blob}", image.repository);
        let expected = std::fs::read(self.world.images.bytes(blob))?;
        let got = || {
            let address = self.address().clone();
            match http::get(&address, &target) {
                Ok(answer) if answer.status == 200 => Some(answer.body == expected),
                Ok(_) | Err(_) => {
                    self.tries.fetch_add(1, Relaxed);
                    None
                }
            }
        };
        let mut right = None;
        wait_until(
            &format!("GET {target} to end well"),
            Duration::from_secs(30),
            || {
                right = got();
                right.is_some()
            },
        )?;
        match right {
            Some(true) => Ok(()),
            _ => Err(format!("{target} was complete and wrong").into()),
        }
    }

    /// Restarts it over and over; the last one stays, and is given back once everybody has pulled some more.
    fn restart(&self, directory: &Path) -> Result<Seawall> {
        let start = || -> Result<Seawall> {
            let seawall = self.world.seawall_on(&self.world.upstream.address, directory)?;
            self.address().clone_from(&seawall.address);
            Ok(seawall)
        };
        for number in 0..RESTARTS {
            let seawall = start()?;
            // Half of what is held goes, so that some of it is cold.
            forget_half(expect_right(directory, &BTreeSet::new())?, &mut rand::rng())?;
            thread::sleep(UP);
            match number % 2 {
                0 => seawall.stop()?,
                _ => seawall.kill()?,
            }
        }
        let seawall = start()?;
        let wanted = self.pulls.load(Relaxed) + 2 * self.images.len();
        wait_until("pulls after the last restart", Duration::from_secs(60), || {
            self.pulls.load(Relaxed) >= wanted
        })?;
        Ok(seawall)
    }
}

/// SIGKILL while the answer to a counted request is on its way, and its spend was written down: the next start has
/// counted it, and does not spend it again.
pub(crate) fn spend_on_its_way(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let directory = world.directory()?;
    let images = world
        .images
        .small(&world.directory()?, &world.upstream.address, 3)?;
    let upstream = Limited::start(&world.upstream.address, 2, HOUR)?;
    let seawall = world.seawall_on(&upstream.address, &directory)?;
    // The figures are known from the first answer.
    expect_status(&seawall, &images[0], 200)?;
    expect_own(&seawall, 1)?;
    upstream.hold(true)?;
    let address = seawall.address.clone();
    let target = manifest(&images[1]);
    let client = thread::spawn(move || http::get(&address, &target).map(|answer| answer.status));
    wait_until(
        "the second request to be counted",
        Duration::from_secs(10),
        || upstream.counts().is_ok_and(|counts| counts.remaining == 0),
    )?;
    // Records are written behind, however slow the disk is: usage is told when what waited is on it.
    http::get(&seawall.admin, "/api/v1/usage")?;
    seawall.kill()?;
    if let Ok(Ok(status)) = client.join() {
        return Err(format!("there was an answer of {status} before the kill").into());
    }
    upstream.hold(false)?;

    let before = upstream.counts()?;
    let seawall = world.seawall_on(&upstream.address, &directory)?;
    for image in &images[1..] {
        expect_status(&seawall, image, 429)?;
    }
    // Both were its own: the figures alone would call the second a neighbour's.
    expect_own(&seawall, 2)?;
    expect_status(&seawall, &images[0], 200)?;
    if upstream.counts()? != before {
        return Err(format!("asked again: {:?} after {before:?}", upstream.counts()?).into());
    }
    seawall.stop()?;
    Ok(Verdict::Passed)
}

fn manifest(image: &Image) -> String {
    format!("/v2/{}/manifests/{}", image.repository, image.manifest)
}

fn expect_status(seawall: &Seawall, image: &Image, status: u16) -> Result {
    let answer = http::get(&seawall.address, &manifest(image))?;
    if answer.status == status {
        return Ok(());
    }
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    Err(format!(
        "{}: status {}, not {status}: {body}",
        image.repository, answer.status
    )
    .into())
}

/// As many spends of its own does it know of.
fn expect_own(seawall: &Seawall, own: u64) -> Result {
    let answer = http::get(&seawall.admin, "/api/v1/status")?;
    let status: Value = serde_json::from_slice(&answer.body)?;
    let found = &status["upstreams"][0]["buckets"][0]["own"];
    if *found == own {
        return Ok(());
    }
    Err(format!("{found} spends of its own, not {own}: {}", status["upstreams"][0]).into())
}

fn number(name: &str, usual: u32) -> u32 {
    let chosen = std::env::var(name).ok();
    chosen.and_then(|chosen| chosen.parse().ok()).unwrap_or(usual)
}

/// Pulls everything from four sides until the kill. Who gets a whole answer gets the right one.
fn pull_until(world: &World, seawall: Seawall, images: &[Image], moment: Duration, start: u32) -> Result {
    let mut blobs: Vec<(&Image, &String)> = images
        .iter()
        .chain(&world.images.platforms)
        .chain([&world.images.app])
        .flat_map(|image| image.blobs().map(move |blob| (image, blob)))
        .collect();
    let from = start as usize % blobs.len();
    blobs.rotate_left(from);
    thread::scope(|scope| {
        let sides: Vec<_> = (0..4)
            .map(|side| {
                let (blobs, address) = (&blobs, seawall.address.clone());
                scope.spawn(move || {
                    for (image, blob) in blobs.iter().skip(side).step_by(4) {
                        let target = format!("/v2/{}/blobs/{blob}", image.repository);
                        // A broken answer is what a kill looks like; a whole one must be right.
                        let Ok(answer) = http::get(&address, &target) else {
                            return Ok(());
                        };
                        if answer.status == 200 && answer.body != std::fs::read(world.images.bytes(blob))? {
                            return Err(format!("{target} was complete and wrong").into());
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        thread::sleep(moment);
        seawall.kill()?;
        let join = |side: thread::ScopedJoinHandle<'_, Result>| {
            side.join().unwrap_or_else(|_| Err("a client panicked".into()))
        };
        sides.into_iter().try_for_each(join)
    })
}

/// The names below both shelves, after every file was hashed. Those of `before` must be among them.
fn expect_right(directory: &Path, before: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for shelf in ["blobs", "manifests"] {
        let shelf = directory.join("cache/v1").join(shelf);
        hashes_to_names(&shelf)?;
        names(&shelf, &mut found)?;
    }
    match before.difference(&found).next() {
        Some(lost) => Err(format!("{lost} was verified and named, and is lost").into()),
        None => Ok(found),
    }
}

fn names(directory: &Path, found: &mut BTreeSet<String>) -> Result {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            names(&path, found)?;
        } else {
            found.insert(path.display().to_string());
        }
    }
    Ok(())
}

/// Removes about half of the files; gives the others.
fn forget_half(all: BTreeSet<String>, random: &mut impl Rng) -> Result<BTreeSet<String>> {
    let (gone, kept): (BTreeSet<_>, BTreeSet<_>) = all.into_iter().partition(|_| random.random_bool(0.5));
    gone.iter().try_for_each(std::fs::remove_file)?;
    Ok(kept)
}
