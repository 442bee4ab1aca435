//! Crash states of the shelf, the records and the operator's holds together, over several lives of one directory.
//!
//! Whatever a crash leaves: no wrong byte has a name, and nothing that had one is lost by the opening; the records
//! are those of some moment, not before the last that was reported to be on disk; what was spent is not forgotten;
//! and the holds are the last that were saved, or those that were being saved.
//!
//! A seed gives the work and the moments; which changes share a transaction is the writer's doing. So a state that
//! is wrong is kept.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use super::content::{check, step};
use super::history::{History, Put, Told};
use super::model::{Files, Model};
use super::{Step, directory, done_or_failed, recorded, recorded_failing, so_far, states, write_out};
use crate::clock::Time;
use crate::oci::{Descriptor, Digest, MediaType, Repository, Tag};
use crate::policy::budget::Ledger;
use crate::policy::eviction::{Content, Facts};
use crate::policy::freshness::TagRecord;
use crate::policy::holds::{Holds, Kind, Name};
use crate::store::{Disk, Health, HoldsFile, Records, Shelf};

/// Tags that are worked with: few, so that each is written many times.
const TAGS: u64 = 6;
/// Rows of what is held: enough for a table of several pages.
const ROWS: u64 = 300;
/// Lives of one directory, each on a state that the crash before has left.
const LIVES: usize = 3;
/// States tried of each life.
const STATES_OF_A_LIFE: usize = 10;

/// All that one directory holds.
struct Open {
    disk: Disk,
    records: Records,
    file: HoldsFile,
    holds: Holds,
}

fn open(root: &Path) -> Open {
    let disk = super::open_when_free(root);
    // As if all of it was written down: what is put there has room.
    disk.recall(|_| true);
    let records = Records::open(&disk.records_path());
    let (file, holds) = HoldsFile::open(&disk.holds_path());
    Open {
        disk,
        records,
        file,
        holds,
    }
}

fn repository() -> Repository {
    "docker.io/library/app".parse().unwrap()
}

fn descriptor(number: u64) -> Descriptor {
    Descriptor {
        media_type: MediaType::OCI_MANIFEST,
        digest: Digest::sha256(&number.to_le_bytes()),
        size: number,
    }
}

fn tag(number: u64) -> Tag {
    format!("t{number}").parse().unwrap()
}

fn put(records: &Records, put: &Put) {
    match put {
        Put::Tag(name, number) => {
            let record = TagRecord {
                descriptor: descriptor(*number),
                validated: Time::from_millis(1),
            };
            records.put_tag(&repository(), &tag(*name), record);
        }
        Put::NoTag(name) => records.remove_tag(&repository(), &tag(*name)),
        Put::Rows(rows) => {
            let facts = |size| Facts {
                size,
                stored: Time::from_millis(1),
                used: None,
                pulls: 0,
                closed: false,
            };
            let rows = rows
                .iter()
                .map(|(content, number)| (*content, Some(facts(*number))));
            records.put_objects(rows.collect(), |_| false);
        }
    }
}

fn some_put(number: u64, random: &mut StdRng) -> Put {
    match random.random_range(0..5) {
        0 => Put::NoTag(random.random_range(0..TAGS)),
        1 => {
            let rows = (0..random.random_range(1..ROWS)).map(|_| {
                let content = Content {
                    shelf: Shelf::Blobs,
                    digest: descriptor(random.random_range(0..ROWS)).digest,
                };
                (content, number)
            });
            Put::Rows(rows.collect())
        }
        _ => Put::Tag(random.random_range(0..TAGS), number),
    }
}

/// What the records and the file of holds say.
fn told(open: &Open) -> Told {
    let mut told = Told::default();
    open.records.each_tag(|_, tag, record| {
        told.tags.insert(tag.to_string(), record.descriptor.size);
    });
    open.records.objects(|content, facts| {
        told.rows.insert(content, facts.size);
    });
    let ledger = open.records.ledgers().remove("r.example");
    let ledger = ledger.and_then(|ledger| serde_json::to_value(ledger).ok());
    told.spent = ledger.and_then(|ledger| ledger["parked"].as_u64()).unwrap_or(0);
    told.holds = open.holds.clone();
    told
}

/// A life of the directory: it is opened, worked with, and sometimes closed in good order.
fn live(root: &Path, first: Told, number: &mut u64, random: &mut StdRng) -> History {
    let open = open(root);
    let mut holds = open.holds.clone();
    let mut history = History {
        first,
        ..History::default()
    };
    for _ in 0..random.random_range(5..30) {
        *number += 1;
        match random.random_range(0..10) {
            0 | 1 => step(&open.disk, random),
            2 => {
                let ledger = serde_json::json!({ "buckets": [], "accounts": [], "parked": *number });
                let ledger: Ledger = serde_json::from_value(ledger).unwrap();
                history.spent.push((so_far(root), *number));
                open.records.put_ledger(&"r.example".parse().unwrap(), &ledger);
            }
            3 => {
                let name = Name::of_tag(&repository(), &tag(random.random_range(0..TAGS)));
                let mut next = holds.clone();
                if !next.release(&name, Kind::Pin) {
                    next.hold(name, Kind::Pin, descriptor(*number), Time::from_millis(1));
                }
                let begun = so_far(root);
                if done_or_failed(open.file.save(&next, &Health::new())).is_some() {
                    history.saved.push((begun, so_far(root), next.clone()));
                    holds = next;
                }
            }
            4 | 5 => {
                open.records.flush();
                let spent = history
                    .spent
                    .last()
                    .map_or(history.first.spent, |(_, spent)| *spent);
                history.flushed.push((so_far(root), history.puts.len(), spent));
            }
            _ => {
                let some = some_put(*number, random);
                history.puts.push((so_far(root), some.clone()));
                put(&open.records, &some);
            }
        }
    }
    history
}

/// Opens everything on a crash state and looks at it; then it can be worked with.
fn recover(state: &Files, root: &Path) -> Result<Told, String> {
    write_out(state, root);
    let named = |path: &&std::path::PathBuf| path.starts_with("v1/blobs") || path.starts_with("v1/manifests");
    let before = state.keys().filter(named).count();
    let open = open(root);
    let after = check(root)?;
    if before != after {
        return Err(format!("{before} files had a name before, {after} after"));
    }
    let told = told(&open);
    let mut later = told.clone();
    let some = Put::Tag(0, u64::MAX);
    later.change(&some);
    put(&open.records, &some);
    drop(open);
    let found = self::told(&self::open(root));
    if found != later {
        return Err(format!("{found:?} after a good end, not {later:?}"));
    }
    Ok(told)
}

/// A state that is wrong.
struct Wrong {
    why: String,
    /// Where everything was opened on it.
    left: TempDir,
}

/// What came of a try: states, and those in which something of the records was found.
#[derive(Debug, Default)]
struct Tried {
    states: usize,
    with_records: usize,
    /// Syncs that failed.
    failed: usize,
}

/// How the steps of some work below a directory are recorded.
type Record = fn(&Path, u64, &mut dyn FnMut()) -> Vec<Step>;

/// As they come.
fn as_they_come(root: &Path, _: u64, work: &mut dyn FnMut()) -> Vec<Step> {
    recorded(root, work)
}

/// Tries `wanted` crash states. Gives the first that is wrong.
fn try_out(
    seed: u64,
    wanted: usize,
    record: Record,
    spoil: impl Fn(Vec<Step>) -> Vec<Step>,
) -> Result<Tried, Wrong> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut tried = Tried::default();
    while tried.states < wanted {
        let (mut files, mut first, mut number) = (Files::new(), Told::default(), 0);
        for life in 0..LIVES {
            let worked = directory();
            write_out(&files, worked.path());
            let mut history = History::default();
            let failing = random.random();
            let steps = record(worked.path(), failing, &mut || {
                history = live(worked.path(), first.clone(), &mut number, &mut random);
            });
            tried.failed += steps
                .iter()
                .filter(|step| matches!(step, Step::FailSync(_)))
                .count();
            let steps = spoil(steps);
            let (mut last, before) = (Files::new(), files);
            for _ in 0..STATES_OF_A_LIFE {
                let cut = random.random_range(0..=steps.len());
                let state = Model::played(&before, &steps[..cut]).after_crash(&mut random);
                let root = directory();
                let found = catch_unwind(AssertUnwindSafe(|| recover(&state, root.path())));
                let found = found.unwrap_or_else(|_| Err("a panic".to_owned()));
                let found = found.and_then(|found| history.expect(cut, &found).map(|()| found));
                first = found.map_err(|wrong| Wrong {
                    why: format!(
                        "seed {seed}, life {life}, {cut} of {} steps: {wrong}",
                        steps.len()
                    ),
                    left: root,
                })?;
                tried.states += 1;
                tried.with_records += usize::from(!first.tags.is_empty());
                last = state;
            }
            files = last;
        }
    }
    Ok(tried)
}

#[test]
fn f087_whatever_a_crash_loses_the_records_are_those_of_one_moment_and_what_was_reported_is_there() {
    let seed = rand::random();
    println!("seed {seed}");
    let tried = try_out(seed, states(500), as_they_come, |steps| steps);
    let tried =
        tried.unwrap_or_else(|wrong| panic!("{}; left in {}", wrong.why, wrong.left.keep().display()));
    assert!(
        tried.with_records * 2 > tried.states,
        "{tried:?}: this shows little"
    );
}

#[test]
fn f062_whatever_a_crash_loses_after_syncs_that_failed_nothing_that_was_reported_is_lost_with_it() {
    let seed = rand::random();
    println!("seed {seed}");
    let failing: Record = |root, seed, work| recorded_failing(root, seed, work);
    let tried = try_out(seed, states(500), failing, |steps| steps);
    let tried =
        tried.unwrap_or_else(|wrong| panic!("{}; left in {}", wrong.why, wrong.left.keep().display()));
    assert!(tried.failed * 10 > tried.states, "{tried:?}: this shows little");
}

/// What is found when some steps do not happen.
fn without(spoil: impl Fn(&Step) -> bool) -> String {
    let spoilt = |mut steps: Vec<Step>| {
        steps.retain(|step| !spoil(step));
        steps
    };
    let wrong = try_out(1, 2000, as_they_come, spoilt).expect_err("nothing wrong was found");
    wrong.why
}

#[test]
fn f087_without_the_syncs_of_the_records_the_simulation_finds_a_broken_promise() {
    let wrong = without(|step| matches!(step, Step::Sync(path) if path.ends_with("records.redb")));
    println!("{wrong}");
}

#[test]
fn f087_without_the_sync_of_their_folder_the_simulation_finds_records_that_are_lost() {
    let wrong = without(|step| matches!(step, Step::SyncFolder(_)));
    assert!(
        wrong.contains(" of no moment") || wrong.contains("spent "),
        "{wrong}"
    );
}
