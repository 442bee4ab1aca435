//! Throughput against cores, connections and cache size, Seawall beside nginx, as one picture:
//! `cargo bench --bench scaling [-- --objects N] [--rounds N]` draws `target/scaling.svg`.
//!
//! ```text
//! main ── panels   what is measured ── load (the client)
//!      └─ plot     axes, lines, colours for light and dark
//! ```
//! What matters is the shape: no line may fall off a cliff. Except for the first two panels, servers have one
//! core and the client another. A million objects (the largest cache, unless `--objects` says less) take some
//! minutes to make.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "this measures in real time and reports to a terminal; there is no reactor to block"
)]

#[path = "../content.rs"]
#[allow(dead_code, reason = "the other benchmarks use the rest")]
mod content;
#[path = "../load.rs"]
#[allow(dead_code, reason = "the other benchmarks use the rest")]
mod load;
#[path = "../machine.rs"]
#[allow(dead_code, reason = "the other benchmarks use the rest")]
mod machine;
#[path = "../objects/make.rs"]
mod make;
mod panels;
mod plot;
#[path = "../servers.rs"]
#[allow(dead_code, reason = "the other benchmarks use the rest")]
mod servers;
#[path = "../shelf.rs"]
#[allow(dead_code, reason = "the other benchmarks use the rest")]
mod shelf;
#[path = "../../e2e/support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the benchmark starts servers as the tests do, and needs none of their comparisons"
)]
mod support;

use std::path::Path;

use plot::Panel;
use support::Result;

/// What may be chosen.
pub(crate) struct Options {
    /// Turns of each server at each point.
    pub(crate) rounds: usize,
    /// Objects of the largest cache.
    pub(crate) objects: usize,
}

fn main() -> Result {
    let options = Options::parse(std::env::args().skip(1))?;
    machine::allow_descriptors()?;
    let directory = tempfile::Builder::new().prefix("seawall-bench-").tempdir()?;
    let panels = panels::measure(&options, directory.path())?;
    for panel in &panels {
        print(panel);
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/scaling.svg");
    let note = format!("medians of {} turns; {}", options.rounds, machine::name()?);
    std::fs::write(&file, plot::draw(&panels, &note))?;
    println!("drawn: {}", file.display());
    Ok(())
}

fn print(panel: &Panel) {
    println!("{}, {} against {}", panel.title, panel.unit, panel.against);
    for line in &panel.lines {
        print!("  {:<10}", line.name);
        for (x, y) in &line.points {
            print!("  {x}: {y:.2}");
        }
        println!();
    }
}

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            rounds: 5,
            objects: 1_000_000,
        };
        // cargo itself adds `--bench`.
        let mut arguments = arguments.filter(|argument| argument != "--bench");
        while let Some(argument) = arguments.next() {
            let place = match argument.as_str() {
                "--rounds" => &mut options.rounds,
                "--objects" => &mut options.objects,
                other => return Err(format!("{other}: expected --rounds N or --objects N").into()),
            };
            let value = arguments.next().unwrap_or_default();
            let number = value.parse().ok().filter(|number| *number > 0);
            *place = number.ok_or_else(|| format!("{argument} {value}: expected a number from 1"))?;
        }
        Ok(options)
    }
}
