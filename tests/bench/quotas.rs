//! What quotas cost a client that stays within them, and how exactly the pacer holds a rate:
//! `cargo bench --bench quotas`.
//!
//! All servers on one core and the client on the other, warm. Settings that are compared take turns, each time in
//! another order, so that a slow moment of the machine hits all of them, and medians are printed. Two processes
//! that do the same differ by some parts in a hundred, by where their memory happens to lie: each setting is
//! measured on several, and "off" once more beside itself, which shows what a ratio is worth. It takes some minutes.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "this measures in real time and reports to a terminal; there is no reactor to block"
)]

#[allow(dead_code, reason = "side_by_side measures more, with the same parts")]
mod content;
#[allow(dead_code, reason = "side_by_side measures more, with the same parts")]
mod load;
#[allow(dead_code, reason = "side_by_side measures more, with the same parts")]
mod machine;
#[path = "../e2e/support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the benchmark starts servers as the tests do, and needs none of their comparisons"
)]
mod support;

use std::path::Path;

use content::{MEASURED, QUOTAS, store};
use load::{MANIFEST, Run};
use machine::{Server, median, pin};
use support::{Result, Seawall, Upstream, http};

/// Times that each setting has its turn, on the next of its processes.
const ROUNDS: usize = 10;
/// Processes of each setting.
const PROCESSES: usize = 5;
/// Connections that fetch the blob: a node's parallel layer downloads.
const BLOB_CONNECTIONS: usize = 4;
/// Connections that fetch the manifest.
const MANIFEST_CONNECTIONS: usize = 16;
/// Rates asked of the pacer, in MB/s, and the connections that share each.
const RATES: [(u64, usize); 4] = [(5, 1), (200, 4), (1000, 1), (1000, 4)];

/// Bytes of the blob.
const BLOB_BYTES: usize = 64 << 20;

/// Off, off again, on, and on with a link.
const SETTINGS: usize = 4;

/// On top of all quotas, a link that is never full.
const LINK: &str = "bandwidth = \"100GB/s\"\n";

fn main() -> Result {
    pin("0")?;
    let directory = tempfile::Builder::new().prefix("seawall-bench-").tempdir()?;
    let registry = Upstream::start(directory.path())?;
    let (blob, manifest) = store(&registry.address, BLOB_BYTES)?;
    let start = |name: &str, server: &str, tiers: &str| -> Result<Measured> {
        let path = directory.path().join(name);
        Measured::start(&path, &registry.address, server, tiers, [&blob, &manifest])
    };
    let mut settings = [
        start("off", "", "")?,
        start("again", "", "")?,
        start("on", MEASURED, QUOTAS)?,
        start("link", &format!("{MEASURED}{LINK}"), QUOTAS)?,
    ];
    let mut paced = Vec::new();
    for (index, (rate, connections)) in RATES.into_iter().enumerate() {
        let tier = format!("\n[tier.measured]\nbandwidth = \"{rate}MB/s\"\n");
        paced.push((
            rate,
            connections,
            start(&format!("paced-{index}"), MEASURED, &tier)?,
        ));
    }
    pin("1")?;
    for round in 0..ROUNDS {
        for place in 0..SETTINGS {
            let setting = &mut settings[(place + round) % SETTINGS];
            setting.take_turn(round, &blob, &manifest)?;
        }
    }
    print_costs(&settings);
    print_rates(&settings[0], &paced, &blob)
}

/// Seawalls of one setting, and what they did, a value per turn.
struct Measured {
    seawalls: Vec<Seawall>,
    gigabytes: Vec<f64>,
    cpu: Vec<f64>,
    manifests: Vec<f64>,
}

impl Measured {
    /// Starts them with more lines in `[server]` and more tables, and warms them.
    fn start(
        directory: &Path,
        upstream: &str,
        server: &str,
        tables: &str,
        paths: [&String; 2],
    ) -> Result<Self> {
        let more = format!("\n[log]\nrequests = false\n{tables}");
        let mut seawalls = Vec::new();
        for number in 0..PROCESSES {
            let own = directory.join(number.to_string());
            std::fs::create_dir_all(&own)?;
            let seawall = Seawall::start_with(&own, upstream, server, &more)?;
            for path in paths {
                // Twice: it keeps what the first one brought, and verifies it on the second.
                for _ in 0..2 {
                    let answer = http::request(&seawall.address, "GET", path, &[("Accept", MANIFEST)], &[])?;
                    if answer.status != 200 {
                        return Err(format!("{path}: {}", answer.status).into());
                    }
                }
            }
            seawalls.push(seawall);
        }
        Ok(Self {
            seawalls,
            gigabytes: Vec::new(),
            cpu: Vec::new(),
            manifests: Vec::new(),
        })
    }

    /// The one whose turn it is in this round.
    fn server(&self, round: usize) -> Server {
        let seawall = &self.seawalls[round % PROCESSES];
        Server {
            address: seawall.address.clone(),
            id: seawall.id(),
        }
    }

    fn take_turn(&mut self, round: usize, blob: &str, manifest: &str) -> Result {
        let server = self.server(round);
        let blobs = Run::of(&server, blob, BLOB_CONNECTIONS)?;
        let gigabytes = blobs.bytes as f64 / 1e9;
        self.gigabytes.push(gigabytes / blobs.seconds);
        self.cpu.push(blobs.cpu_seconds / gigabytes);
        let manifests = Run::of(&server, manifest, MANIFEST_CONNECTIONS)?;
        self.manifests.push(manifests.answers as f64 / manifests.seconds);
        Ok(())
    }
}

fn print_costs(settings: &[Measured; SETTINGS]) {
    println!(
        "medians of {ROUNDS} turns of {PROCESSES} processes, ratios of turns side by side; servers on one core, client on another\n"
    );
    println!(
        "{:<34}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "quotas", "off", "on", "on, link", "off/off", "on/off", "link/off"
    );
    let row = |name: String, digits: usize, of: fn(&Measured) -> &Vec<f64>| {
        let [off, again, on, link] = settings.each_ref().map(of);
        let ratio = |these: &[f64]| median(these.iter().zip(off).map(|(this, off)| this / off));
        let [again, on_ratio, link_ratio] = [again, on, link].map(|these| ratio(these));
        let [off, on, link] = [off, on, link].map(|values| median(values.iter().copied()));
        println!(
            "{name:<34}{off:>10.digits$}{on:>10.digits$}{link:>10.digits$}{again:>10.3}{on_ratio:>10.3}{link_ratio:>10.3}"
        );
    };
    row(format!("64 MiB blob x{BLOB_CONNECTIONS}, GB/s"), 2, |one| {
        &one.gigabytes
    });
    row("server CPU seconds per GB".to_owned(), 3, |one| &one.cpu);
    row(
        format!("2 KiB manifest x{MANIFEST_CONNECTIONS}, GET/s"),
        0,
        |one| &one.manifests,
    );
}

/// What each rate came to, beside what the machine sends unpaced at that moment: no pacer can hold more.
fn print_rates(off: &Measured, paced: &[(u64, usize, Measured)], blob: &str) -> Result {
    println!(
        "\n{:<34}{:>10}{:>10}{:>10}{:>10}",
        "paced, MB/s", "asked", "got", "got/asked", "unpaced"
    );
    for (rate, connections, measured) in paced {
        let speed = |measured: &Measured, round| -> Result<f64> {
            let turn = Run::of(&measured.server(round), blob, *connections)?;
            Ok(turn.bytes as f64 / 1e6 / turn.seconds)
        };
        let (mut got, mut free) = (Vec::new(), Vec::new());
        // One turn of a slow rate is long enough.
        for round in 0..if *rate < 100 { 1 } else { ROUNDS } {
            got.push(speed(measured, round)?);
            free.push(speed(off, round)?);
        }
        let (got, free) = (median(got), median(free));
        let name = format!("64 MiB blob x{connections}");
        println!(
            "{name:<34}{rate:>10}{got:>10.1}{:>10.3}{free:>10.0}",
            got / *rate as f64
        );
    }
    Ok(())
}
