//! Seawall beside nginx and Debian's docker-registry, warm, on the same bytes, in one run:
//! `cargo bench --bench side_by_side`.
//!
//! The servers share one core and the client has another, as in a pull over loopback nothing else is
//! comparable: with free cores one would measure the client. Runs of the three take turns, so that a slow
//! moment of the machine hits all of them, and medians are printed. It takes about a minute.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "this measures in real time and reports to a terminal; there is no reactor to block"
)]

mod load;
mod servers;
#[path = "../e2e/support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the benchmark starts servers as the tests do, and needs none of their comparisons"
)]
mod support;

use load::Run;
use servers::Servers;
use support::Result;
use support::process::{command, run};

/// Times that each server has its turn.
const ROUNDS: usize = 5;

/// Connections that fetch the blob: a node's parallel layer downloads.
const BLOB_CONNECTIONS: usize = 4;

/// Connections that fetch the manifest.
const MANIFEST_CONNECTIONS: usize = 16;

/// What one server did, a value per round.
#[derive(Default)]
struct Measured {
    gigabytes: Vec<f64>,
    cpu: Vec<f64>,
    manifests: Vec<f64>,
}

fn main() -> Result {
    pin(0)?;
    let servers = Servers::start()?;
    pin(1)?;
    servers.expect_equal_answers()?;
    let mut measured: [Measured; 3] = Default::default();
    for _ in 0..ROUNDS {
        for (server, measured) in servers.all().iter().zip(&mut measured) {
            let blobs = Run::of(server, &servers.blob, BLOB_CONNECTIONS)?;
            let gigabytes = blobs.bytes as f64 / 1e9;
            measured.gigabytes.push(gigabytes / blobs.seconds);
            measured.cpu.push(blobs.cpu_seconds / gigabytes);
            let manifests = Run::of(server, &servers.manifest, MANIFEST_CONNECTIONS)?;
            measured
                .manifests
                .push(manifests.answers as f64 / manifests.seconds);
        }
    }
    print_table(&mut measured);
    Ok(())
}

/// Keeps this process, and those it starts from now on, on one core, where there is more than one.
fn pin(core: usize) -> Result {
    let online = run(command("nproc").arg("--all"))?;
    if online.trim().parse::<usize>()? < 2 {
        return Ok(());
    }
    let this = std::process::id().to_string();
    run(command("taskset").args(["-cp", &core.to_string(), &this])).map(drop)
}

fn print_table(measured: &mut [Measured; 3]) {
    println!("medians of {ROUNDS} turns; servers on one core, client on another\n");
    println!(
        "{:<34}{:>10}{:>10}{:>10}{:>16}{:>18}",
        "", "seawall", "nginx", "registry", "seawall/nginx", "seawall/registry"
    );
    let blob = format!("64 MiB blob x{BLOB_CONNECTIONS}, GB/s");
    let manifest = format!("2 KiB manifest x{MANIFEST_CONNECTIONS}, GET/s");
    print_row(
        &blob,
        2,
        measured.each_mut().map(|one| median(&mut one.gigabytes)),
    );
    print_row(
        "server CPU seconds per GB",
        3,
        measured.each_mut().map(|one| median(&mut one.cpu)),
    );
    print_row(
        &manifest,
        0,
        measured.each_mut().map(|one| median(&mut one.manifests)),
    );
}

fn print_row(name: &str, digits: usize, [seawall, nginx, registry]: [f64; 3]) {
    let (to_nginx, to_registry) = (seawall / nginx, seawall / registry);
    println!(
        "{name:<34}{seawall:>10.digits$}{nginx:>10.digits$}{registry:>10.digits$}{to_nginx:>16.2}{to_registry:>18.2}"
    );
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
