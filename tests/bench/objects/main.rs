//! A cache of many small objects: how soon a start is ready, what the index costs in memory, how long a walk of
//! the tree takes, lists, and a purge: `cargo bench --bench objects [-- NUMBER]`.
//!
//! A million objects by default, in a temporary directory that is removed afterwards; ten thousand are quick.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "this measures in real time and reports to a terminal; there is no reactor to block"
)]

mod make;
mod operator;

use std::error::Error;
use std::time::{Duration, Instant};

use seawall::store::{Disk, Folder, Records};

use self::make::{content, make, start};

type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Objects, unless a number is given.
const USUAL: usize = 1_000_000;

fn main() -> Result {
    let number = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok());
    let number: usize = number.unwrap_or(USUAL);
    let directory = tempfile::Builder::new().prefix("seawall-bench-").tempdir()?;
    let made = Instant::now();
    make(directory.path(), number)?;
    println!("made {number} objects in {:.1} s", made.elapsed().as_secs_f64());
    let before = resident()?;
    let started = Instant::now();
    let (disk, records) = start(directory.path())?;
    let ready = started.elapsed();
    let grown = resident()?.saturating_sub(before);
    println!("start to ready        {:>8} ms", ready.as_millis());
    println!(
        "memory                {:>8} bytes an object",
        grown / number.max(1) as u64
    );
    let standing = disk.standing();
    let known: u64 = standing.shelves.iter().map(|shelf| shelf.objects).sum();
    println!("known at once         {known:>8} objects");
    let listed = Instant::now();
    let mut count = 0;
    records.objects(|_, _| count += 1);
    println!(
        "list of all           {:>8} ms ({count} objects)",
        listed.elapsed().as_millis()
    );
    walk(&disk, &records)?;
    hits(&disk, number);
    operator::ask(directory.path(), disk, records)
}

fn walk(disk: &Disk, records: &Records) -> Result {
    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    for folder in Folder::all() {
        let step = Instant::now();
        let rows = records.objects_of(folder.shelf, folder.algorithm, folder.first);
        disk.compare(folder, &rows)?;
        longest = longest.max(step.elapsed());
    }
    println!(
        "walk of the tree      {:>8} ms, its longest step {} ms",
        begun.elapsed().as_millis(),
        longest.as_millis()
    );
    Ok(())
}

/// What a hit costs: look up, open, close.
fn hits(disk: &Disk, number: usize) {
    let rounds = number.min(100_000);
    let begun = Instant::now();
    let found = (0..rounds).filter(|index| {
        let index = index * 7919 % number;
        let content = content(index);
        disk.pull(content.shelf, &content.digest).is_some()
    });
    let found = found.count();
    let each = begun.elapsed().as_nanos() / rounds.max(1) as u128;
    println!("a hit                 {each:>8} ns ({found} of {rounds})");
    let missed = Instant::now();
    let found = (0..rounds).filter(|index| disk.facts(&content(number + index)).is_some());
    let found = found.count();
    let each = missed.elapsed().as_nanos() / rounds.max(1) as u128;
    println!("a miss, with its hash {each:>8} ns ({found} of {rounds})");
}

/// Bytes of memory that this process has.
fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let figure = line.and_then(|line| line.split_whitespace().next());
    Ok(figure.ok_or("no VmRSS")?.parse::<u64>()? * 1024)
}
