//! What a hit costs in instructions, which say the same on every day and beside any load: `tests/bench/instructions`.
//!
//! ```text
//! main ── count   runs this very program under cachegrind, N and 11N times each; reads and writes the figures
//!      └─ work    the operations: a whole Seawall on an in-memory connection, one thread, virtual time
//! ```
//! Without `--run` it counts every operation, prints the table and compares it with what is recorded for this
//! processor in `tests/bench/instructions.toml`: an operation that rose by more than the tolerance is an error.
//! `--record` writes the figures down instead. `--run OPERATION COUNT` only does the work, for any profiler.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "this reports to a terminal, its tasks end with it, and the tests' support that it stands on unwraps"
)]

mod count;
#[path = "../../it/support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the benchmark starts Seawall as the tests do, and needs little else of theirs"
)]
mod support;
mod work;

use std::process::ExitCode;

use count::Figures;
use work::Operation;

/// The allocator of the binary: its instructions are part of a hit.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What everything here returns: an error is a sentence for the person at the terminal.
pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<ExitCode> {
    // cargo itself adds `--bench`.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => compare(),
        ["--record"] => Figures::count()?.record(),
        ["--run", name, count] => {
            let operation = Operation::named(name).ok_or("no such operation")?;
            operation.run(count.parse()?);
            Ok(ExitCode::SUCCESS)
        }
        other => Err(format!("{other:?}: expected nothing, --record, or --run OPERATION COUNT").into()),
    }
}

/// Counts and compares with what is recorded. A processor that nothing is recorded for is recorded.
fn compare() -> Result<ExitCode> {
    let recorded = Figures::recorded()?;
    let counted = Figures::count()?;
    let Some(recorded) = recorded else {
        println!("nothing is recorded for {} yet", std::env::consts::ARCH);
        return counted.record();
    };
    let risen = counted.compare(&recorded);
    if risen.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "\nMore instructions than recorded: {}.\n\
         If it is not meant, look where they go:\n  \
         valgrind --tool=callgrind {} --run {} 2000 && callgrind_annotate --inclusive=yes callgrind.out.*\n\
         If it is meant, say why in the commit and record it: tests/bench/instructions --record",
        risen.join(", "),
        std::env::current_exe()?.display(),
        risen[0],
    );
    Ok(ExitCode::FAILURE)
}
