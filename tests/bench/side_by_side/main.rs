//! Every goal of speed, in ratios: Seawall beside nginx and Debian's docker-registry, on the same bytes, in one
//! run: `cargo bench --bench side_by_side [-- [TABLE …] [--rounds N] [--objects N]]`.
//!
//! ```text
//! main ── warm    blobs and manifests that are held      ┐
//!      ├─ tls     the same by TLS                        │
//!      ├─ http2   the same over HTTP/2                   │
//!      ├─ rights  the same where clients are told apart  │
//!      ├─ hidden  what is kept from somebody             │
//!      ├─ cold    what is not held, one client and many  ├─ load (the client) ── table
//!      ├─ paced   the same from slow upstreams           │
//!      ├─ crowd   a cold disk; a thousand readers        │
//!      └─ ready   from exec to ready                     ┘
//! ```
//! Warm servers share one core and the client has another: with free cores one would measure the client. What
//! is cold may use every core, since a download is hashed beside being received. Contestants take turns, so
//! that a slow moment of the machine hits all of them; medians are printed with their spread, and ratios are
//! medians of turns side by side. A goal that is missed is marked, and fails nothing.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "this measures in real time and reports to a terminal; there is no reactor to block"
)]

mod cold;
#[path = "../content.rs"]
#[allow(dead_code, reason = "the other benchmarks use the rest")]
mod content;
mod crowd;
mod hidden;
mod http2;
#[path = "../load.rs"]
mod load;
#[path = "../machine.rs"]
#[allow(dead_code, reason = "the other benchmarks use the rest")]
mod machine;
#[path = "../objects/make.rs"]
mod make;
mod paced;
mod ready;
mod rights;
#[path = "../servers.rs"]
mod servers;
#[path = "../shelf.rs"]
mod shelf;
#[path = "../../e2e/support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the benchmark starts servers as the tests do, and needs none of their comparisons"
)]
mod support;
mod table;
mod tls;
mod warm;

use shelf::Shelf;
use support::Result;
use table::Table;

/// What may be chosen.
pub(crate) struct Options {
    /// Turns of each contestant.
    pub(crate) rounds: usize,
    /// Objects of the large cache that a start is measured with.
    pub(crate) objects: usize,
    /// The tables that are wanted; all if empty.
    tables: Vec<String>,
}

/// A table's name, and what measures it.
type Bench = (&'static str, fn(&Options, &mut Shelf) -> Result<Vec<Table>>);

const TABLES: [Bench; 12] = [
    ("blobs", warm::blobs),
    ("manifests", warm::manifests),
    ("tls", tls::pulls),
    ("http2", http2::pulls),
    ("rights", rights::pulls),
    ("hidden", hidden::answers),
    ("cold", cold::pulls),
    ("paced", paced::pulls),
    ("far", paced::far_pulls),
    ("disk", crowd::beside_a_cold_disk),
    ("readers", crowd::readers),
    ("ready", ready::starts),
];

fn main() -> Result {
    let options = Options::parse(std::env::args().skip(1))?;
    machine::allow_descriptors()?;
    println!("medians of {} turns; {}\n", options.rounds, machine::name()?);
    for (name, measure) in TABLES {
        if !options.tables.is_empty() && !options.tables.iter().any(|wanted| wanted == name) {
            continue;
        }
        // A directory for each: what one leaves on the disk does not crowd the next.
        let directory = tempfile::Builder::new().prefix("seawall-bench-").tempdir()?;
        let mut shelf = Shelf::new(directory.path())?;
        for table in measure(&options, &mut shelf)? {
            println!("{}", table.print());
        }
    }
    Ok(())
}

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            rounds: 5,
            objects: 1_000_000,
            tables: Vec::new(),
        };
        // cargo itself adds `--bench`.
        let mut arguments = arguments.filter(|argument| argument != "--bench");
        while let Some(argument) = arguments.next() {
            let mut number = || -> Result<usize> {
                let value = arguments.next().unwrap_or_default();
                let number = value.parse().ok().filter(|number| *number > 0);
                number.ok_or_else(|| format!("{argument} {value}: expected a number from 1").into())
            };
            match argument.as_str() {
                "--rounds" => options.rounds = number()?,
                "--objects" => options.objects = number()?,
                table if TABLES.iter().any(|(name, _)| *name == table) => options.tables.push(argument),
                other => {
                    let names = TABLES.map(|(name, _)| name).join(", ");
                    return Err(
                        format!("{other}: expected --rounds N, --objects N or a table: {names}").into(),
                    );
                }
            }
        }
        Ok(options)
    }
}
