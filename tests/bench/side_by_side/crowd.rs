//! What many do to each other: small hits beside pulls from a cold disk, and a thousand readers of one blob.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};

use crate::Options;
use crate::load::{Run, Wire, request};
use crate::machine::{Server, each_in_a_thread, forget_peak, peak, pin, resident, unpin};
use crate::servers::{Nginx, QUIET, nginx, seawall};
use crate::shelf::{Shelf, warm};
use crate::support::Result;
use crate::table::{Goal, Row, Table};

/// Pulls at once from the cold disk, and the bytes of each.
const COLD: u8 = 8;
const COLD_BYTES: u64 = 64 << 20;
/// Connections of small hits, and the bytes of each.
const HITS: usize = 4;
const HIT_BYTES: u64 = 1 << 10;

/// All readers of one blob, and how many of them are slow.
const READERS: usize = 1000;
const SLOW: usize = 200;
/// Bytes that a slow reader takes at a time, and how often: 50 kB/s.
const SLOW_BYTES: u64 = 5000;
const SLOW_PAUSE: Duration = Duration::from_millis(100);
/// Turns of the readers.
const READER_ROUNDS: usize = 3;

/// Small hits while eight large pulls miss the page cache.
pub(crate) fn beside_a_cold_disk(options: &Options, shelf: &mut Shelf) -> Result<Vec<Table>> {
    let hit = shelf.blob(HIT_BYTES, 0)?;
    let mut cold = Vec::new();
    for number in 0..COLD {
        cold.push(shelf.blob(COLD_BYTES, number)?);
    }
    unpin()?;
    let nginx = nginx(shelf.root(), &shelf.files(), &Nginx::default())?;
    let seawall = seawall(shelf.root(), &nginx.server.address, "", QUIET)?;
    let all: Vec<String> = cold.iter().chain([&hit]).cloned().collect();
    warm(shelf, [&seawall.server, &nginx.server], &all)?;
    let kept: Vec<PathBuf> = cold.iter().map(|path| kept(&seawall.directory, path)).collect();
    let files: Vec<PathBuf> = cold.iter().map(|path| shelf.file(path)).collect();
    let mut p99 = Row::new("hits, p99 ms", 3, 2).to(1, Goal::AtMost(0.1));
    let mut rate = Row::new("hits/s", 0, 2);
    let mut speed = Row::new("cold pulls, GB/s", 2, 2);
    for _ in 0..options.rounds {
        let contestants = [(&seawall.server, &kept), (&nginx.server, &files)];
        for (contestant, (server, files)) in contestants.into_iter().enumerate() {
            let (run, cold_speed) = hits_beside(server, &hit, &cold, files)?;
            p99.push(contestant, run.p99());
            rate.push(contestant, run.answers_a_second());
            speed.push(contestant, cold_speed);
        }
    }
    let mut table = Table::new(
        "1 KiB hits on 4 connections beside 8 pulls of 64 MiB from a cold disk",
        &["seawall", "nginx sendfile"],
    );
    table.add([p99, rate, speed]);
    Ok(vec![table])
}

/// Where Seawall keeps the blob of a path.
fn kept(directory: &Path, path: &str) -> PathBuf {
    let hex = path.rsplit(':').next().unwrap_or_default();
    directory.join("cache/v1/blobs/sha256").join(&hex[..2]).join(hex)
}

/// A turn of hits while each of `cold` is pulled again and again, its pages dropped before each pull; and the
/// gigabytes a second of those pulls.
fn hits_beside(server: &Server, hit: &str, cold: &[String], files: &[PathBuf]) -> Result<(Run, f64)> {
    let stop = AtomicBool::new(false);
    let begun = Instant::now();
    thread::scope(|scope| {
        let pulls = scope.spawn(|| {
            each_in_a_thread(cold.iter().zip(files), |(path, file)| {
                // What is measured is how long the server keeps the hits waiting, not how long these threads do.
                rustix::process::nice(10)?;
                let (file, request) = (File::open(file)?, request(&server.address, "GET", path));
                // Only what is written down can be dropped.
                file.sync_all()?;
                let (mut wire, mut bytes) = (Wire::connect(&server.address)?, 0);
                while !stop.load(Ordering::Relaxed) {
                    fadvise(&file, 0, None, Advice::DontNeed)?;
                    wire.send(&request)?;
                    bytes += wire.receive(true)?.bytes;
                }
                Ok(bytes)
            })
        });
        let run = Run::of(server, hit, HITS);
        stop.store(true, Ordering::Relaxed);
        let bytes = pulls.join().map_err(|_| "a client thread panicked")??;
        let sum: u64 = bytes.iter().sum();
        Ok((run?, sum as f64 / 1e9 / begun.elapsed().as_secs_f64()))
    })
}

/// The memory that a thousand readers of one blob cost, held and while it is fetched.
pub(crate) fn readers(options: &Options, shelf: &mut Shelf) -> Result<Vec<Table>> {
    let path = shelf.blob(COLD_BYTES, 0)?;
    let mut idle = Row::new("RSS when idle, MB", 1, 1).itself(Goal::AtMost(30.0));
    let above = |name: &str| Row::new(name, 1, 1).itself(Goal::AtMost(150.0));
    let mut rows = [
        above("held: peak above idle, MB"),
        above("fetched: peak above idle, MB"),
    ];
    for _ in 0..options.rounds.min(READER_ROUNDS) {
        for (place, row) in rows.iter_mut().enumerate() {
            pin("0")?;
            let upstream = nginx(shelf.root(), &shelf.files(), &Nginx::default())?;
            let seawall = seawall(shelf.root(), &upstream.server.address, "", QUIET)?;
            pin("1")?;
            let server = &seawall.server;
            if place == 0 {
                idle.push(0, resident(server.id)?);
                warm(shelf, [server], std::slice::from_ref(&path))?;
            }
            let before = resident(server.id)?;
            forget_peak(server.id)?;
            read_all(server, &path)?;
            row.push(0, peak(server.id)? - before);
        }
    }
    let mut table = Table::new(
        "64 MiB, 1,000 readers at once, 200 of them at 50 kB/s",
        &["seawall"],
    );
    table.add([idle]);
    table.add(rows);
    Ok(vec![table])
}

/// Fast readers take everything; slow ones leave when those are done.
fn read_all(server: &Server, path: &str) -> Result {
    let request = request(&server.address, "GET", path);
    let mut wires = Vec::new();
    for _ in 0..READERS {
        wires.push(Wire::connect(&server.address)?);
    }
    let fast = wires.split_off(SLOW);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let slow = scope.spawn(|| {
            each_in_a_thread(wires, |mut wire| {
                wire.send(&request)?;
                while !stop.load(Ordering::Relaxed) {
                    wire.drop_some(SLOW_BYTES)?;
                    thread::sleep(SLOW_PAUSE);
                }
                Ok(())
            })
        });
        let done = each_in_a_thread(fast, |mut wire| {
            wire.send(&request)?;
            wire.receive(true).map(drop)
        });
        stop.store(true, Ordering::Relaxed);
        slow.join().map_err(|_| "a client thread panicked")??;
        done.map(drop)
    })
}
