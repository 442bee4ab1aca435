//! Signals that end or stop the process while clients pull: what is under way is finished, or cut when it is time, and
//! nothing half-written gets a name.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::disk::{blob, pull_blob, pull_by_hand};
use crate::support::content::hashes_to_names;
use crate::support::process::{command, run, wait_until};
use crate::support::relay::Relay;
use crate::support::{Image, Result, Seawall, Verdict, World, http};

/// Transfers under way when the signal comes.
const TRANSFERS: usize = 20;
/// Bytes a second of the slow wire: the layer that is pulled takes some seconds.
const RATE: u64 = 2_000_000;
/// What a busy machine may add to a deadline.
const SLACK: Duration = Duration::from_secs(5);
/// How long a process stands still: longer than a head may take.
const STOPPED: Duration = Duration::from_secs(12);

/// F088: with twenty transfers under way nobody new is let in, the operator is told, all twenty arrive whole, and the
/// process ends well.
pub(crate) fn drained(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let relay = Relay::start(&world.upstream.address, RATE)?;
    let seawall = world.seawall_on(&relay.address, &world.directory()?)?;
    let (image, layer) = layer(world);
    let expected = std::fs::read(world.images.bytes(layer))?;
    let mut transfers = Vec::new();
    for _ in 0..TRANSFERS {
        transfers.push(ask(&seawall, image, layer)?);
    }
    // Each has an answer, and none all of it.
    for transfer in &mut transfers {
        transfer.read_exact(&mut [0; 12])?;
    }
    signal(&seawall, "TERM")?;
    wait_until("the door to be closed", SLACK, || {
        TcpStream::connect(&seawall.address).is_err()
    })?;
    let ready = http::get(&seawall.admin, "/readyz")?.status;
    if ready != 503 {
        return Err(format!("/readyz is {ready} during the drain").into());
    }
    for mut transfer in transfers {
        let mut rest = Vec::new();
        transfer.read_to_end(&mut rest)?;
        if !rest.ends_with(&expected) {
            return Err(format!("a transfer ended after {} bytes", rest.len()).into());
        }
    }
    let status = seawall.ended(SLACK)?;
    match status.success() {
        true => Ok(Verdict::Passed),
        false => Err(format!("after the drain it ended with {status}").into()),
    }
}

/// F089: who never reads is cut off when the drain is over, and the process ends well.
pub(crate) fn cut_off(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let directory = world.directory()?;
    let drain = Duration::from_secs(2);
    let seawall = Seawall::start_with(&directory, &world.upstream.address, "drain = \"2s\"", "")?;
    world.note_log(seawall.log());
    let log = seawall.log().to_owned();
    let mut stuck = ask(&seawall, &world.images.app, world.images.large_layer())?;
    stuck.read_exact(&mut [0; 12])?;
    let start = Instant::now();
    signal(&seawall, "TERM")?;
    let status = seawall.ended(drain + SLACK)?;
    let took = start.elapsed();
    if !status.success() || took < drain {
        return Err(format!("it ended with {status} after {took:?}").into());
    }
    let told = std::fs::read_to_string(log)?;
    match told.contains("connections were cut at the drain deadline") {
        true => Ok(Verdict::Passed),
        false => Err("nobody was told that a connection was cut".into()),
    }
}

/// F090: a second signal ends it at once. Nothing half-written has a name, and the next start pulls all of it.
pub(crate) fn second_signal(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    for second in ["TERM", "INT"] {
        let directory = world.directory()?;
        let relay = Relay::start(&world.upstream.address, RATE)?;
        let seawall = world.seawall_on(&relay.address, &directory)?;
        let (image, layer) = layer(world);
        let mut transfer = ask(&seawall, image, layer)?;
        transfer.read_exact(&mut [0; 12])?;
        let kept = blob(&seawall, layer);
        signal(&seawall, "TERM")?;
        wait_until("the drain to begin", SLACK, || {
            TcpStream::connect(&seawall.address).is_err()
        })?;
        signal(&seawall, second)?;
        let status = seawall.ended(SLACK)?;
        if status.code() != Some(130) || kept.exists() {
            return Err(format!("{second}: it ended with {status}").into());
        }
        expect_names(&directory)?;
        let seawall = world.seawall_on(&world.upstream.address, &directory)?;
        pull_blob(world, &seawall, image, layer)?;
        seawall.stop()?;
    }
    Ok(Verdict::Passed)
}

/// F100: a process that stood still for a while goes on as if nothing had been: every pull arrives, and the upstream is
/// not asked more often for it.
pub(crate) fn stopped(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let images = world
        .images
        .small(&world.directory()?, &world.upstream.address, 8)?;
    let relay = Relay::start(&world.upstream.address, RATE)?;
    let seawall = world.seawall_on(&relay.address, &world.directory()?)?;
    let (image, layer) = layer(world);
    let before = world.upstream.asked()?.len();
    let (done, pulls) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let cold = scope.spawn(|| pull_blob(world, &seawall, image, layer));
        let warm = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for image in &images {
                    pull_by_hand(world, &seawall, image)?;
                    pulls.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(())
        });
        let outcome = stand_still(&seawall, &pulls);
        done.store(true, Ordering::Relaxed);
        let join = |pulling: thread::ScopedJoinHandle<'_, Result>| {
            pulling.join().unwrap_or_else(|_| Err("a pull panicked".into()))
        };
        outcome.and(join(cold)).and(join(warm))
    })?;
    let mut asked = world.upstream.asked()?.split_off(before);
    asked.retain(|asked| asked.method == "GET");
    let most = 1 + images.len() * 3;
    if asked.len() > most {
        return Err(format!("{} questions where {most} are enough: {asked:#?}", asked.len()).into());
    }
    seawall.stop()?;
    Ok(Verdict::Passed)
}

/// Stops it amid the pulls, and waits until they go on.
fn stand_still(seawall: &Seawall, pulls: &AtomicUsize) -> Result {
    wait_until("the first pulls", SLACK, || pulls.load(Ordering::Relaxed) > 8)?;
    signal(seawall, "STOP")?;
    thread::sleep(STOPPED);
    let before = pulls.load(Ordering::Relaxed);
    signal(seawall, "CONT")?;
    wait_until("pulls to go on", SLACK, || {
        pulls.load(Ordering::Relaxed) > before + 8
    })?;
    let ready = http::get(&seawall.admin, "/readyz")?.status;
    match ready {
        200 => Ok(()),
        _ => Err(format!("/readyz is {ready} afterwards").into()),
    }
}

/// A layer of some megabytes.
fn layer(world: &World) -> (&Image, &str) {
    (&world.images.app, &world.images.app.layers[2])
}

/// Asks for a blob on a connection that ends after it.
pub(crate) fn ask(seawall: &Seawall, image: &Image, blob: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(&seawall.address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let head = format!(
        "GET /v2/{}/blobs/{blob} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        image.repository, seawall.address
    );
    stream.write_all(head.as_bytes())?;
    Ok(stream)
}

fn signal(seawall: &Seawall, name: &str) -> Result {
    run(command("kill").args([&format!("-{name}"), &seawall.id().to_string()])).map(drop)
}

fn expect_names(directory: &Path) -> Result {
    for shelf in ["blobs", "manifests"] {
        hashes_to_names(&directory.join("cache/v1").join(shelf))?;
    }
    Ok(())
}
