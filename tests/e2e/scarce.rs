//! What a process can run short of: descriptors, memory, somebody who reads its log. Pulls go on.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::disk::{pull_blob, pull_by_hand};
use crate::ends::ask;
use crate::support::cgroup::Memory;
use crate::support::process::{command, run, wait_until};
use crate::support::relay::Relay;
use crate::support::{Image, Result, Seawall, Verdict, World};
use crate::trouble::{counted, readiness};

/// Descriptors that are left for connections, and connections that come.
const DESCRIPTORS: usize = 60;
const CROWD: usize = 1000;
/// How long the processor is watched while no connection can be accepted.
const WATCHED: Duration = Duration::from_secs(3);
/// Bytes a second of the slow wire.
const RATE: u64 = 4_000_000;
/// Readers who stand still, what each has read before, and what all of them may take, in KiB.
const READERS: usize = 400;
const TASTE: usize = 64 << 10;
const MOST_KIB: u64 = 96 << 10;
/// Bytes of memory of a small container, those who pull in it at once, and what the process may have of it, in KiB.
const CONTAINER: u64 = 256 << 20;
const PULLS: usize = 100;
const MOST_IN_CONTAINER_KIB: u64 = 200 << 10;

/// F094: a thousand connections where there are descriptors for sixty. What is under way arrives, the processor rests,
/// and when they are gone everything is as before.
pub(crate) fn descriptors(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let relay = Relay::start(&world.upstream.address, RATE)?;
    let seawall = world.seawall_on(&relay.address, &world.directory()?)?;
    let (image, layer) = (&world.images.app, &world.images.app.layers[2]);
    let limit = |count: usize| {
        let pid = seawall.id().to_string();
        run(command("prlimit").args(["--pid", &pid, &format!("--nofile={count}:")]))
    };
    thread::scope(|scope| {
        let under_way = scope.spawn(|| pull_blob(world, &seawall, image, layer));
        wait_until("the transfer to be under way", Duration::from_secs(10), || {
            relay.passed() > 1 << 20
        })?;
        limit(descriptors_of(&seawall)? + DESCRIPTORS)?;
        let mut crowd = Vec::new();
        for _ in 0..CROWD {
            let mut stream = TcpStream::connect(&seawall.address)?;
            // The beginning of a head, so that nobody is dropped as a silent one at once.
            stream.write_all(b"GET /v2/ HTTP/1.1\r\n")?;
            crowd.push(stream);
        }
        wait_until("all descriptors to be taken", Duration::from_secs(10), || {
            std::fs::read_to_string(seawall.log()).is_ok_and(|log| log.contains("could not be accepted"))
        })?;
        let busy = processor_seconds(&seawall)?;
        thread::sleep(WATCHED);
        let busy = (processor_seconds(&seawall)? - busy) / WATCHED.as_secs_f64();
        under_way
            .join()
            .unwrap_or_else(|_| Err("the pull panicked".into()))?;
        println!("        {:.0} % of a processor while none was left", busy * 100.0);
        // The transfer is part of it.
        if busy > 0.5 {
            return Err("it accepts again and again without a rest".into());
        }
        drop(crowd);
        limit(4096)?;
        pull_by_hand(world, &seawall, &world.images.platforms[0])
    })?;
    seawall.stop()?;
    Ok(Verdict::Passed)
}

/// F093, F051, F103: hundreds of readers of a large cold blob stand still. They cost a buffer each, not what they have
/// not read.
pub(crate) fn memory(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let seawall = world.seawall()?;
    let (image, layer) = (&world.images.app, world.images.large_layer());
    // What is touched by the first pull of all is no reader's.
    pull_by_hand(world, &seawall, &world.images.platforms[0])?;
    let before = kibibytes(&seawall, "VmRSS:")?;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut stream = TcpStream::connect(&seawall.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let head = format!(
            "GET /v2/{}/blobs/{layer} HTTP/1.1\r\nHost: a\r\n\r\n",
            image.repository
        );
        stream.write_all(head.as_bytes())?;
        readers.push(stream);
    }
    for reader in &mut readers {
        reader.read_exact(&mut vec![0; TASTE])?;
    }
    // One reads all of it meanwhile.
    pull_blob(world, &seawall, image, layer)?;
    let peak = kibibytes(&seawall, "VmHWM:")?;
    println!("        {before} KiB before, {peak} KiB at most with {READERS} readers who stand still");
    if peak - before > MOST_KIB {
        return Err(format!("{READERS} readers took {} KiB", peak - before).into());
    }
    drop(readers);
    pull_blob(world, &seawall, image, layer)?;
    seawall.stop()?;
    Ok(Verdict::Passed)
}

/// F093: in a container with little memory, which the kernel counts with all that is cached of files, a hundred clients
/// pull a large cold blob at once. Each gets every byte, and nobody is killed for it.
pub(crate) fn container(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let group = match Memory::of(CONTAINER) {
        Ok(group) => group,
        Err(error) => {
            return Ok(Verdict::Skipped(format!(
                "no memory can be bounded here: {error}"
            )));
        }
    };
    let serve = group.command(env!("CARGO_BIN_EXE_seawall"));
    let seawall = Seawall::start_by(serve, &world.directory()?, &world.upstream.address, "", "")?;
    world.note_log(seawall.log());
    let (image, layer) = (&world.images.app, world.images.large_layer());
    let expected = std::fs::read(world.images.bytes(layer))?;
    thread::scope(|scope| {
        let pull = || compare(ask(&seawall, image, layer)?, &expected);
        let pulls: Vec<_> = (0..PULLS).map(|_| scope.spawn(pull)).collect();
        let join = |pulling: thread::ScopedJoinHandle<'_, Result>| {
            pulling.join().unwrap_or_else(|_| Err("a pull panicked".into()))
        };
        pulls.into_iter().try_for_each(join)
    })?;
    let peak = kibibytes(&seawall, "VmHWM:")?;
    println!(
        "        {peak} KiB at most for {PULLS} pulls of {} bytes",
        expected.len()
    );
    if peak > MOST_IN_CONTAINER_KIB {
        return Err(format!("{PULLS} pulls took {peak} KiB").into());
    }
    seawall.stop()?;
    Ok(Verdict::Passed)
}

/// Reads an answer to its end: its body is `expected`.
fn compare(mut stream: TcpStream, expected: &[u8]) -> Result {
    let mut buffer = vec![0; 64 << 10];
    let (mut head, mut at) = (Vec::new(), 0);
    loop {
        let read = stream.read(&mut buffer)?;
        let mut body = &buffer[..read];
        if read == 0 {
            return match at == expected.len() {
                true => Ok(()),
                false => Err(format!("the body ended after {at} bytes of {}", expected.len()).into()),
            };
        }
        if !head.ends_with(b"\r\n\r\n") {
            let end = body.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            let end = end.ok_or("the head is not in one piece")? + 4;
            head.extend_from_slice(&body[..end]);
            body = &body[end..];
        }
        if expected.get(at..at + body.len()) != Some(body) {
            return Err(format!("other bytes than those of the blob after {at}").into());
        }
        at += body.len();
    }
}

/// F096: standard output and error are closed, full, gone, or a pipe that nobody reads. Pulls do not notice, and what
/// cannot be written is counted.
pub(crate) fn readers_of_the_log(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let images = world
        .images
        .small(&world.directory()?, &world.upstream.address, 20)?;
    for (place, loses) in [
        (">&- 2>&-", false),
        (">/dev/full 2>/dev/full", true),
        (">pipe 2>pipe", false),
        (">gone 2>gone", true),
    ] {
        let directory = world.directory()?;
        let mut pipes = Vec::new();
        for name in ["pipe", "gone"] {
            run(command("mkfifo").arg(directory.join(name)))?;
            pipes.push(reader_of(&directory.join(name))?);
        }
        let mut serve = command("sh");
        let script = format!("exec \"$0\" \"$@\" {place}");
        serve
            .args(["-c", &script, env!("CARGO_BIN_EXE_seawall")])
            .current_dir(&directory);
        let seawall = Seawall::start_by(
            serve,
            &directory,
            &world.upstream.address,
            "",
            "\n[log]\nlevel = \"debug\"\n",
        )?;
        // From now on nobody reads the second pipe, nor ever will.
        drop(pipes.pop());
        pull_often(world, &seawall, &images).map_err(|error| format!("{place}: {error}"))?;
        let dropped = || counted(&seawall, "seawall_log_lines_dropped_total", "").unwrap_or(0);
        if loses {
            wait_until("lines to be counted as dropped", Duration::from_secs(10), || {
                dropped() > 0
            })
            .map_err(|error| format!("{place}: {error}"))?;
        }
        println!(
            "        {place}: {} lines dropped; {}",
            dropped(),
            readiness(&seawall)?
        );
        seawall.stop().map_err(|error| format!("{place}: {error}"))?;
    }
    Ok(Verdict::Passed)
}

/// Open for reading and writing, so that opening waits for nobody; it is never read.
fn reader_of(pipe: &std::path::Path) -> Result<File> {
    Ok(OpenOptions::new().read(true).write(true).open(pipe)?)
}

/// More lines than a pipe holds.
fn pull_often(world: &World, seawall: &Seawall, images: &[Image]) -> Result {
    for _ in 0..20 {
        for image in images {
            pull_by_hand(world, seawall, image)?;
        }
    }
    Ok(())
}

fn descriptors_of(seawall: &Seawall) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{}/fd", seawall.id()))?.count())
}

/// A figure of the kernel's about its memory, in KiB.
fn kibibytes(seawall: &Seawall, name: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", seawall.id()))?;
    let line = status.lines().find(|line| line.starts_with(name));
    let figure = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    figure.ok_or_else(|| format!("there is no {name} in {status}").into())
}

/// Processor time that it has had, at the kernel's hundred ticks a second.
fn processor_seconds(seawall: &Seawall) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", seawall.id()))?;
    let (_, after_name) = stat.rsplit_once(") ").ok_or("no name in the process's figures")?;
    let mut figures = after_name.split(' ').skip(11).take(2);
    let mut ticks = || -> Result<f64> { Ok(figures.next().unwrap_or_default().parse()?) };
    Ok((ticks()? + ticks()?) / 100.0)
}
