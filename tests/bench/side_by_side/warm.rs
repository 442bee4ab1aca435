//! What is held already: blobs of four sizes, and a manifest by every name and method.

use crate::Options;
use crate::content::{MEASURED, QUOTAS};
use crate::load::Run;
use crate::machine::{Server, pin};
use crate::servers::{Nginx, QUIET, Running, nginx, registry, seawall};
use crate::shelf::{Shelf, warm};
use crate::support::Result;
use crate::table::{Goal, Row, Table};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Sizes, and the connections that pull each at once.
const BLOBS: [(&str, u64, &[usize]); 4] = [
    ("1 GiB", GIB, &[1, 16, 64]),
    ("64 MiB", 64 * MIB, &[1, 16, 64]),
    ("1 MiB", MIB, &[16, 64]),
    ("64 KiB", 64 * KIB, &[16, 64]),
];

/// A body this large is a matter of throughput, a smaller one of requests.
const LARGE: u64 = 64 * MIB;

/// Connections that ask for manifests.
const MANIFEST_CONNECTIONS: usize = 16;

/// Cached blobs.
pub(crate) fn blobs(options: &Options, shelf: &mut Shelf) -> Result<Vec<Table>> {
    let mut paths = Vec::new();
    for (_, size, _) in BLOBS {
        paths.push(shelf.blob(size, 0)?);
    }
    pin("0")?;
    let contestants = side_by_side(shelf, &paths, &[], "", QUIET)?;
    pin("1")?;
    let servers = contestants.each_ref().map(|running| &running.server);
    warm(shelf, servers, &paths)?;
    let mut table = Table::new(
        "Cached blobs, HTTP/1.1",
        &["seawall", "nginx sendfile", "docker-registry"],
    );
    for ((name, size, connections), path) in BLOBS.into_iter().zip(&paths) {
        for count in connections {
            // Sixty-four gigabytes from docker-registry take half a minute a turn, and say nothing new.
            let few = if size == GIB && *count == 64 { 2 } else { 3 };
            let title = format!("{name} ×{count}");
            table.add(blob_rows(&title, size, options, &servers[..few], path, *count)?);
        }
    }
    Ok(vec![table])
}

/// Seawall, nginx and docker-registry on the same content; Seawall's upstream is the registry.
fn side_by_side(
    shelf: &Shelf,
    blobs: &[String],
    manifests: &[String],
    server: &str,
    more: &str,
) -> Result<[Running; 3]> {
    let registry = registry(shelf.root(), None)?;
    shelf.push(&registry.server.address, blobs, manifests)?;
    let seawall = seawall(shelf.root(), &registry.server.address, server, more)?;
    let nginx = nginx(shelf.root(), &shelf.files(), &Nginx::default())?;
    Ok([seawall, nginx, registry])
}

fn blob_rows(
    title: &str,
    size: u64,
    options: &Options,
    servers: &[&Server],
    path: &str,
    connections: usize,
) -> Result<Vec<Row>> {
    let new = |what: &str, digits| Row::new(format!("{title}, {what}"), digits, 3);
    let large = size >= LARGE;
    let mut speed = new(
        if large { "GB/s" } else { "requests/s" },
        if large { 2 } else { 0 },
    )
    .to(1, Goal::AtLeast(1.0))
    .to(2, Goal::AtLeast(3.0));
    let (mut cpu, mut p99) = (new("CPU s per GB", 3), new("p99 ms", 2));
    if large {
        cpu = cpu.to(1, Goal::AtMost(1.05));
        p99 = p99.to(1, Goal::AtMost(1.0));
    }
    for _ in 0..options.rounds {
        for (contestant, server) in servers.iter().enumerate() {
            let run = Run::of(server, path, connections)?;
            let fast = if large {
                run.gigabytes_a_second()
            } else {
                run.answers_a_second()
            };
            speed.push(contestant, fast);
            cpu.push(contestant, run.cpu_per_gigabyte());
            p99.push(contestant, run.p99());
        }
    }
    Ok(vec![speed, cpu, p99])
}

/// Manifests, without access logs and with them; metrics and quotas are on.
pub(crate) fn manifests(options: &Options, shelf: &mut Shelf) -> Result<Vec<Table>> {
    let blob = shelf.blob(KIB, 0)?;
    let paths = shelf.manifest()?;
    pin("0")?;
    let quiet = side_by_side(shelf, &[blob], &paths, MEASURED, &format!("{QUIET}{QUOTAS}"))?;
    let upstream = &quiet[2].server.address;
    let logging = [
        seawall(shelf.root(), upstream, MEASURED, QUOTAS)?,
        nginx(shelf.root(), &shelf.files(), &logging_nginx(shelf))?,
    ];
    pin("1")?;
    let quiet = quiet.each_ref().map(|running| &running.server);
    let logging = logging.each_ref().map(|running| &running.server);
    warm(shelf, quiet.into_iter().chain(logging), &paths)?;
    let mut off = Table::new(
        "Manifests of 2 KiB, 16 connections, no access log",
        &["seawall", "nginx static", "docker-registry"],
    );
    let mut on = Table::new(
        "Manifests of 2 KiB, 16 connections, access log on",
        &["seawall", "nginx with its log"],
    );
    for (name, path) in ["digest", "tag"].into_iter().zip(&paths) {
        for method in ["GET", "HEAD"] {
            let title = format!("{method} by {name}");
            off.add(manifest_rows(&title, 1.25, options, &quiet, method, path)?);
            on.add(manifest_rows(&title, 1.1, options, &logging, method, path)?);
        }
    }
    Ok(vec![off, on])
}

/// An nginx that writes its usual line for each request into a file.
fn logging_nginx(shelf: &Shelf) -> Nginx {
    Nginx {
        http: format!(
            "access_log {} combined;",
            shelf.root().join("access.log").display()
        ),
        ..Nginx::default()
    }
}

fn manifest_rows(
    title: &str,
    goal: f64,
    options: &Options,
    servers: &[&Server],
    method: &str,
    path: &str,
) -> Result<[Row; 2]> {
    let new = |what: &str, digits| Row::new(format!("{title}, {what}"), digits, servers.len());
    let mut rate = new("requests/s", 0).to(1, Goal::AtLeast(goal));
    if servers.len() > 2 {
        rate = rate.to(2, Goal::AtLeast(50.0));
    }
    let mut p99 = new("p99 ms", 3).to(1, Goal::AtMost(1.0));
    for _ in 0..options.rounds {
        for (contestant, server) in servers.iter().enumerate() {
            let run = Run::of_small(server, method, path, MANIFEST_CONNECTIONS)?;
            rate.push(contestant, run.answers_a_second());
            p99.push(contestant, run.p99());
        }
    }
    Ok([rate, p99])
}
