//! From exec to the first "ready", with an empty cache and with many objects.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::Options;
use crate::machine::{resident, unpin};
use crate::make::make;
use crate::servers::new_directory;
use crate::shelf::Shelf;
use crate::support::process::{Process, command, free_address};
use crate::support::{Result, http};
use crate::table::{Goal, Row, Table};

/// Between two questions.
const POLL: Duration = Duration::from_micros(500);

/// Longer than this is no start.
const LONGEST: Duration = Duration::from_secs(120);

/// Starts of the binary, as an operator's machine would start it.
pub(crate) fn starts(options: &Options, shelf: &mut Shelf) -> Result<Vec<Table>> {
    unpin()?;
    let (empty, full) = (
        new_directory(shelf.root(), "empty")?,
        new_directory(shelf.root(), "full")?,
    );
    make(&full, options.objects)?;
    let objects = options.objects;
    let mut rows = [
        Row::new("empty cache, ms", 1, 1).itself(Goal::AtMost(50.0)),
        Row::new("empty cache, RSS MB", 1, 1).itself(Goal::AtMost(30.0)),
        Row::new(format!("{objects} objects, ms"), 0, 1).itself(Goal::AtMost(2000.0)),
        Row::new(format!("{objects} objects, RSS MB"), 0, 1),
    ];
    for _ in 0..options.rounds {
        fs::remove_dir_all(&empty)?;
        fs::create_dir(&empty)?;
        for (place, directory) in [&empty, &full].into_iter().enumerate() {
            let (milliseconds, megabytes) = start(directory)?;
            rows[place * 2].push(0, milliseconds);
            rows[place * 2 + 1].push(0, megabytes);
        }
    }
    let mut table = Table::new("Start to ready", &["seawall"]);
    table.add(rows);
    Ok(vec![table])
}

/// Milliseconds until a Seawall on `directory` is ready, and the megabytes that it has then.
fn start(directory: &Path) -> Result<(f64, f64)> {
    let (listen, admin) = (free_address()?, free_address()?);
    let mut serve = command(env!("CARGO_BIN_EXE_seawall"));
    serve
        .arg("serve")
        .env("SEAWALL_SERVER__LISTEN", listen)
        .env("SEAWALL_SERVER__ADMIN", &admin)
        .env("SEAWALL_CACHE__DIRECTORY", directory)
        .env("SEAWALL_CACHE__MIN_FREE", "0B");
    let logs = directory.parent().unwrap_or(directory);
    let begun = Instant::now();
    let process = Process::start("start", serve, logs)?;
    while !http::get(&admin, "/readyz").is_ok_and(|answer| answer.status == 200) {
        if begun.elapsed() > LONGEST {
            return Err(format!(
                "not ready after {LONGEST:?}; see its log: {}",
                process.log().display()
            )
            .into());
        }
        thread::sleep(POLL);
    }
    Ok((begun.elapsed().as_secs_f64() * 1e3, resident(process.id())?))
}
