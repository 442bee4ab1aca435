//! What quotas cost a client that stays within them, and how exactly the pacer holds a rate:
//! `cargo bench --bench quotas`.
//!
//! One Seawall per setting, all on one core and the client on the other, warm. Settings that are compared take
//! turns, so that a slow moment of the machine hits all of them, and medians are printed. It takes two minutes.

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

/// Times that each setting has its turn.
const ROUNDS: usize = 9;
/// Connections that fetch the blob: a node's parallel layer downloads.
const BLOB_CONNECTIONS: usize = 4;
/// Connections that fetch the manifest.
const MANIFEST_CONNECTIONS: usize = 16;
/// Rates asked of the pacer, in MB/s, and the connections that share each.
const RATES: [(u64, usize); 4] = [(5, 1), (200, 4), (1000, 1), (1000, 4)];

/// Bytes of the blob.
const BLOB_BYTES: usize = 64 << 20;

/// On top of all quotas, a link that is never full.
const LINK: &str = "bandwidth = \"100GB/s\"\n";

fn main() -> Result {
    pin("0")?;
    let directory = tempfile::Builder::new().prefix("seawall-bench-").tempdir()?;
    let registry = Upstream::start(directory.path())?;
    let (blob, manifest) = store(&registry.address, BLOB_BYTES)?;
    let start = |name: &str, server: &str, tiers: &str| -> Result<Measured> {
        let path = directory.path().join(name);
        std::fs::create_dir(&path)?;
        Measured::start(&path, &registry.address, server, tiers, [&blob, &manifest])
    };
    let mut settings = [
        start("off", "", "")?,
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
    for _ in 0..ROUNDS {
        for setting in &mut settings {
            setting.take_turn(&blob, &manifest)?;
        }
    }
    print_costs(&settings);
    print_rates(&settings[0], &paced, &blob)
}

/// One Seawall, and what it did, a value per turn.
struct Measured {
    seawall: Seawall,
    gigabytes: Vec<f64>,
    cpu: Vec<f64>,
    manifests: Vec<f64>,
}

impl Measured {
    /// Starts one with more lines in `[server]` and more tables, and warms it.
    fn start(
        directory: &Path,
        upstream: &str,
        server: &str,
        tables: &str,
        paths: [&String; 2],
    ) -> Result<Self> {
        let more = format!("\n[log]\nrequests = false\n{tables}");
        let seawall = Seawall::start_with(directory, upstream, server, &more)?;
        for path in paths {
            // Twice: it keeps what the first one brought, and verifies it on the second.
            for _ in 0..2 {
                let answer = http::request(&seawall.address, "GET", path, &[("Accept", MANIFEST)], &[])?;
                if answer.status != 200 {
                    return Err(format!("{path}: {}", answer.status).into());
                }
            }
        }
        Ok(Self {
            seawall,
            gigabytes: Vec::new(),
            cpu: Vec::new(),
            manifests: Vec::new(),
        })
    }

    fn server(&self) -> Server {
        Server {
            address: self.seawall.address.clone(),
            id: self.seawall.id(),
        }
    }

    fn take_turn(&mut self, blob: &str, manifest: &str) -> Result {
        let blobs = Run::of(&self.server(), blob, BLOB_CONNECTIONS)?;
        let gigabytes = blobs.bytes as f64 / 1e9;
        self.gigabytes.push(gigabytes / blobs.seconds);
        self.cpu.push(blobs.cpu_seconds / gigabytes);
        let manifests = Run::of(&self.server(), manifest, MANIFEST_CONNECTIONS)?;
        self.manifests.push(manifests.answers as f64 / manifests.seconds);
        Ok(())
    }
}

fn print_costs(settings: &[Measured; 3]) {
    println!(
        "medians of {ROUNDS} turns, ratios of turns side by side; servers on one core, client on another\n"
    );
    println!(
        "{:<34}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "quotas", "off", "on", "on, link", "on/off", "link/off"
    );
    let row = |name: String, digits: usize, of: fn(&Measured) -> &Vec<f64>| {
        let [off, on, link] = settings.each_ref().map(of);
        let ratio = |these: &[f64]| median(these.iter().zip(off).map(|(this, off)| this / off));
        let (on_ratio, link_ratio) = (ratio(on), ratio(link));
        let [off, on, link] = [off, on, link].map(|values| median(values.iter().copied()));
        println!(
            "{name:<34}{off:>10.digits$}{on:>10.digits$}{link:>10.digits$}{on_ratio:>10.3}{link_ratio:>10.3}"
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
        let speed = |server: &Measured| -> Result<f64> {
            let turn = Run::of(&server.server(), blob, *connections)?;
            Ok(turn.bytes as f64 / 1e6 / turn.seconds)
        };
        let (mut got, mut free) = (Vec::new(), Vec::new());
        // One turn of a slow rate is long enough.
        for _ in 0..if *rate < 100 { 1 } else { ROUNDS } {
            got.push(speed(measured)?);
            free.push(speed(off)?);
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
