//! What is measured for each panel.

use std::path::{Path, PathBuf};

use seawall::policy::eviction::Shelf as Kind;

use crate::Options;
use crate::content::{MEASURED, QUOTAS};
use crate::load::{Run, request};
use crate::machine::{Server, cores_online, median, pin, unpin};
use crate::make::{content, make};
use crate::plot::{Line, Panel};
use crate::servers::{Nginx, QUIET, Running, new_directory, nginx, seawall, seawall_in};
use crate::shelf::{Shelf, warm};
use crate::support::Result;

/// Connections of manifests and small blobs, where connections are not what varies.
const CONNECTIONS: usize = 16;
/// Connections of a large blob, and its bytes.
const LARGE_CONNECTIONS: usize = 4;
const LARGE: u64 = 64 << 20;
/// Connections at once.
const MANY: [usize; 7] = [1, 4, 16, 64, 256, 1024, 4096];
/// Objects of the caches, as far as they are wanted.
const OBJECTS: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Different objects that are asked for.
const ASKED: usize = 20_000;

/// Who is measured, in this order everywhere.
const NAMES: [&str; 2] = ["Seawall", "nginx"];

/// All four panels.
pub(crate) fn measure(options: &Options, root: &Path) -> Result<[Panel; 4]> {
    let mut shelf = Shelf::new(root)?;
    let manifest = shelf.manifest()?[0].clone();
    let large = shelf.blob(LARGE, 0)?;
    let paths = [manifest.clone(), large.clone()];
    let mut manifests = panel(
        "Manifests of 2 KiB, 16 connections",
        "thousand requests/s",
        "cores",
        false,
    );
    let mut blobs = panel("Blobs of 64 MiB, 4 connections", "GB/s", "cores", false);
    for cores in 1..=cores_online()?.min(2) {
        let pair = start(&shelf, cores)?;
        warm(&shelf, pair.each_ref().map(|running| &running.server), &paths)?;
        let rate = turns(options, &pair, |server| {
            Ok(Run::of(server, &manifest, CONNECTIONS)?.answers_a_second() / 1e3)
        })?;
        add(&mut manifests, cores, rate);
        let speed = turns(options, &pair, |server| {
            Ok(Run::of(server, &large, LARGE_CONNECTIONS)?.gigabytes_a_second())
        })?;
        add(&mut blobs, cores, speed);
    }
    let mut connections = panel("Manifests of 2 KiB", "thousand requests/s", "connections", true);
    let pair = start(&shelf, 1)?;
    warm(&shelf, pair.each_ref().map(|running| &running.server), &paths)?;
    for count in MANY {
        let rate = turns(options, &pair, |server| {
            Ok(Run::of(server, &manifest, count)?.answers_a_second() / 1e3)
        })?;
        add(&mut connections, count, rate);
    }
    drop(pair);
    let mut objects = panel(
        "Blobs of 8 bytes, 16 connections",
        "thousand requests/s",
        "objects",
        true,
    );
    for count in OBJECTS.into_iter().filter(|count| *count <= options.objects) {
        add(&mut objects, count, all_over(options, root, count)?);
    }
    Ok([manifests, blobs, connections, objects])
}

fn panel(title: &'static str, unit: &'static str, against: &'static str, logarithmic: bool) -> Panel {
    let line = |name| Line {
        name,
        points: Vec::new(),
    };
    Panel {
        title,
        unit,
        against,
        logarithmic,
        lines: NAMES.map(line).into(),
    }
}

fn add(panel: &mut Panel, x: usize, figures: [f64; 2]) {
    for (line, figure) in panel.lines.iter_mut().zip(figures) {
        line.points.push((x as f64, figure));
    }
}

/// Both on that many cores; the client has the second, whoever else has it.
fn start(shelf: &Shelf, cores: usize) -> Result<[Running; 2]> {
    if cores == 1 { pin("0") } else { unpin() }?;
    let how = Nginx {
        workers: cores,
        ..Nginx::default()
    };
    let nginx = nginx(shelf.root(), &shelf.files(), &how)?;
    let more = format!("{QUIET}{QUOTAS}");
    let seawall = seawall(shelf.root(), &nginx.server.address, MEASURED, &more)?;
    pin("1")?;
    Ok([seawall, nginx])
}

/// The medians of both.
fn turns(
    options: &Options,
    pair: &[Running; 2],
    mut turn: impl FnMut(&Server) -> Result<f64>,
) -> Result<[f64; 2]> {
    let mut figures = [const { Vec::new() }; 2];
    for _ in 0..options.rounds {
        for (running, figures) in pair.iter().zip(&mut figures) {
            figures.push(turn(&running.server)?);
        }
    }
    Ok(figures.map(median))
}

/// Both on the same files of a cache of so many objects, asked for them without order.
fn all_over(options: &Options, root: &Path, count: usize) -> Result<[f64; 2]> {
    let directory = new_directory(root, "objects")?;
    make(&directory.join("cache"), count)?;
    let files = directory.join("cache/v1");
    pin("0")?;
    let nginx = nginx(root, &files, &Nginx::default())?;
    let seawall = seawall_in(directory, &nginx.server.address, "", QUIET)?;
    pin("1")?;
    let pair = [seawall, nginx];
    // Spread over all of them by a step that shares no factor with a power of ten.
    let chosen = (0..ASKED.min(count)).map(|number| content(number * 7919 % count));
    let blobs: Vec<_> = chosen
        .filter(|content| matches!(content.shelf, Kind::Blobs))
        .map(|content| content.digest)
        .collect();
    let host = |place: usize| pair[place].server.address.as_str();
    let requests = [
        blobs
            .iter()
            .map(|digest| request(host(0), "GET", &format!("/v2/team/app/blobs/{digest}")))
            .collect::<Vec<_>>(),
        blobs
            .iter()
            .map(|digest| {
                let hex = digest.hex();
                let path: PathBuf = ["/blobs/sha256", &hex[..2], &hex].iter().collect();
                request(host(1), "GET", &path.display().to_string())
            })
            .collect(),
    ];
    let mut both = requests.iter().cycle();
    // A turn before those that count: what was never served is verified.
    let mut turn = |server: &Server| -> Result<f64> {
        let requests = both.next().map_or(&[][..], Vec::as_slice);
        Ok(Run::each(server, requests, CONNECTIONS, true)?.answers_a_second() / 1e3)
    };
    for running in &pair {
        turn(&running.server)?;
    }
    turns(options, &pair, turn)
}
