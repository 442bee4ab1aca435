//! Counting instructions by cachegrind, and the figures that are kept of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::work::Operation;

/// Times that an operation is done in a short run; a long one does it [`MORE`] times more, so that what a start
/// costs falls out of the difference. Parsing is done more often, since it is so little beside a start.
const HITS: usize = 1000;
const PARSES: usize = 2000;

/// How often a long run does what a short one does once more. Hash maps and the allocator are seeded anew in every
/// process, so that two starts differ by half a million instructions: with ten times 1000 hits between them, six
/// counts of one build lay within 1.2 % of each other; with twice 1000 they had lain within 7 %.
const MORE: usize = 10;

/// The part by which a figure may rise unnoticed.
const TOLERANCE: f64 = 0.05;

/// Instructions of each operation.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Figures(BTreeMap<String, u64>);

impl Figures {
    /// Counts every operation.
    pub(crate) fn count() -> Result<Self> {
        let mut figures = BTreeMap::new();
        for operation in Operation::ALL {
            let times = match operation {
                Operation::RouteByTag | Operation::RouteOfBlob => PARSES,
                Operation::ManifestByDigest
                | Operation::ManifestByTag
                | Operation::ManifestCounted
                | Operation::ManifestHead
                | Operation::SmallBlob => HITS,
            };
            let more = times * MORE;
            let (short, long) = (
                instructions(operation, times)?,
                instructions(operation, times + more)?,
            );
            figures.insert(
                operation.name().to_owned(),
                long.saturating_sub(short) / more as u64,
            );
        }
        Ok(Self(figures))
    }

    /// What is recorded for this processor.
    pub(crate) fn recorded() -> Result<Option<Self>> {
        Ok(read()?.remove(std::env::consts::ARCH))
    }

    /// Writes them down for this processor.
    pub(crate) fn record(self) -> Result<ExitCode> {
        for (name, count) in &self.0 {
            println!("{name:<22}{count:>10}");
        }
        let mut all = read()?;
        all.insert(std::env::consts::ARCH.to_owned(), self);
        let text = format!("{HEAD}\n{}", toml::to_string(&all)?);
        fs::write(path(), text)?;
        println!("recorded in {}", path().display());
        Ok(ExitCode::SUCCESS)
    }

    /// Prints them beside what is recorded; the names of those that rose too much.
    pub(crate) fn compare(&self, recorded: &Self) -> Vec<&str> {
        println!(
            "{:<22}{:>10}{:>10}{:>9}",
            "instructions", "recorded", "now", "change"
        );
        let mut risen = Vec::new();
        for (name, now) in &self.0 {
            let Some(before) = recorded.0.get(name) else {
                println!("{name:<22}{:>10}{now:>10}  not recorded yet: --record", "");
                continue;
            };
            let change = *now as f64 / *before as f64 - 1.0;
            let words = if change > TOLERANCE {
                risen.push(name.as_str());
                "ROSE"
            } else if change < -TOLERANCE {
                "fell: --record keeps it there"
            } else {
                ""
            };
            println!(
                "{name:<22}{before:>10}{now:>10}{:>+8.1}%  {words}",
                change * 100.0
            );
        }
        risen
    }
}

/// What stands above the figures in their file.
const HEAD: &str = "# Instructions of one operation on the hit path, counted by cachegrind; `tests/bench/instructions` compares\n\
    # with them and fails on what rose by more than 5 %, `tests/bench/instructions --record` writes them.\n";

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/bench/instructions.toml")
}

/// The figures of every processor; none if the file is not there.
fn read() -> Result<BTreeMap<String, Figures>> {
    match fs::read_to_string(path()) {
        Ok(text) => Ok(toml::from_str(&text)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error.into()),
    }
}

/// The instructions of a whole run of this program.
fn instructions(operation: Operation, times: usize) -> Result<u64> {
    let output = Command::new("valgrind")
        .args([
            "--tool=cachegrind",
            "--cache-sim=no",
            "--cachegrind-out-file=/dev/null",
        ])
        .arg(std::env::current_exe()?)
        .args(["--run", operation.name(), &times.to_string()])
        .output()
        .map_err(|error| {
            format!("valgrind does not start ({error}); is it installed? `tests/run` does it")
        })?;
    let report = String::from_utf8_lossy(&output.stderr);
    // ==123== I   refs:      1,234,567
    let counted = report
        .lines()
        .find(|line| line.contains("refs:"))
        .and_then(|line| line.rsplit(' ').next())
        .and_then(|count| count.replace(',', "").parse().ok());
    match counted {
        Some(count) if output.status.success() => Ok(count),
        _ => Err(format!("{} failed ({}):\n{report}", operation.name(), output.status).into()),
    }
}
