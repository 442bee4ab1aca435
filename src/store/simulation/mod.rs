//! What a crash may leave of the work of the disk shelf and of the records, tried out on a model.
//!
//! The real shelf and the real records work in a real directory while [`note`] records their steps. A crash state
//! is what a disk may hold when power goes ([`model`]): it is written out, the real ones are opened on it, and what
//! they hold must be right.

mod backend;
mod content;
mod history;
mod model;
mod whole;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Disk, OpenError};
pub(super) use backend::Noted;
use model::Files;

/// One change of the file system.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Make(PathBuf),
    Write(PathBuf, u64, Vec<u8>),
    SetLen(PathBuf, u64),
    Sync(PathBuf),
    /// A sync that failed.
    FailSync(PathBuf),
    /// The names in a folder are safe.
    SyncFolder(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl Step {
    fn path(&self) -> &Path {
        match self {
            Self::Make(path)
            | Self::Write(path, ..)
            | Self::SetLen(path, _)
            | Self::Sync(path)
            | Self::FailSync(path)
            | Self::SyncFolder(path)
            | Self::Rename(path, _)
            | Self::Remove(path) => path,
        }
    }

    /// The same, its paths taken from below `root`.
    fn below(mut self, root: &Path) -> Self {
        let shorten = |path: &mut PathBuf| *path = path.strip_prefix(root).unwrap().to_owned();
        match &mut self {
            Self::Rename(from, to) => {
                shorten(from);
                shorten(to);
            }
            Self::Make(path)
            | Self::Write(path, ..)
            | Self::SetLen(path, _)
            | Self::Sync(path)
            | Self::FailSync(path)
            | Self::SyncFolder(path)
            | Self::Remove(path) => shorten(path),
        }
        self
    }
}

/// The steps below each directory that is recorded. Not by thread: the records have a writer of their own.
static RECORDINGS: Mutex<BTreeMap<PathBuf, Vec<Step>>> = Mutex::new(BTreeMap::new());

fn recordings() -> MutexGuard<'static, BTreeMap<PathBuf, Vec<Step>>> {
    RECORDINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Records a step, if somebody wants those below its directory.
pub(super) fn note(step: Step) {
    let mut recordings = recordings();
    let recording = recordings
        .iter_mut()
        .find(|(root, _)| step.path().starts_with(root));
    if let Some((_, steps)) = recording {
        steps.push(step);
    }
}

/// The steps of some work below `root`, with paths from there.
fn recorded(root: &Path, work: impl FnOnce()) -> Vec<Step> {
    recordings().insert(root.to_owned(), Vec::new());
    work();
    let steps = recordings().remove(root).unwrap_or_default();
    steps.into_iter().map(|step| step.below(root)).collect()
}

/// Syncs that go well after one that failed, of the same file: what is tried twice is not tried in vain.
const CALM: u32 = 16;

/// How many syncs of each file will go well.
type Calms = BTreeMap<PathBuf, u32>;

/// The directories below which syncs fail now and then.
static FAILING: Mutex<BTreeMap<PathBuf, (StdRng, Calms)>> = Mutex::new(BTreeMap::new());

/// Whether a sync of the file at `path` is to fail. Notes it then.
pub(super) fn fails(path: &Path) -> bool {
    let fails = {
        let mut failing = FAILING.lock().unwrap_or_else(PoisonError::into_inner);
        let below = failing.iter_mut().find(|(root, _)| path.starts_with(root));
        below.is_some_and(|(_, (random, calm))| {
            let calm = calm.entry(path.to_owned()).or_default();
            // Where the copy of a file whose sync failed fails as well, nothing is promised.
            let may = *calm == 0 && !path.ends_with("records.new");
            let fails = may && random.random_bool(0.15);
            *calm = if fails { CALM } else { calm.saturating_sub(1) };
            fails
        })
    };
    if fails {
        note(Step::FailSync(path.to_owned()));
    }
    fails
}

/// The error of a sync that is to fail.
pub(super) fn failure() -> std::io::Error {
    rustix::io::Errno::IO.into()
}

/// As [`recorded`], while syncs fail now and then.
fn recorded_failing(root: &Path, seed: u64, work: impl FnOnce()) -> Vec<Step> {
    let failing = || FAILING.lock().unwrap_or_else(PoisonError::into_inner);
    failing().insert(root.to_owned(), (StdRng::seed_from_u64(seed), Calms::new()));
    let steps = recorded(root, work);
    failing().remove(root);
    steps
}

/// What came of a change of the disk: done, or not because a sync failed.
fn done_or_failed<T>(done: std::io::Result<T>) -> Option<T> {
    match done {
        Ok(done) => Some(done),
        Err(error) if error.raw_os_error() == failure().raw_os_error() => None,
        Err(error) => panic!("{error}"),
    }
}

/// How many steps were recorded below `root` so far.
fn so_far(root: &Path) -> usize {
    recordings().get(root).map_or(0, Vec::len)
}

/// A directory in memory, where there is such a thing: what a sync means is the model's to say.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// Puts the files of a crash state below `root`.
fn write_out(state: &Files, root: &Path) {
    for (path, bytes) in state {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// States tried: as many as `SEAWALL_CRASH_STATES` says, or the usual number: enough for every change.
fn states(usual: usize) -> usize {
    let wanted = std::env::var("SEAWALL_CRASH_STATES").ok();
    wanted.and_then(|wanted| wanted.parse().ok()).unwrap_or(usual)
}

/// Opens a directory that was in use until a moment ago. A process that another test starts at that moment has the lock
/// too, until it is the program that it is to be.
fn open_when_free(root: &Path) -> Disk {
    for _ in 0..10_000 {
        match Disk::open(root) {
            Err(OpenError::InUse(_)) => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
    Disk::open(root).unwrap()
}
