//! What a crash may leave of the disk shelf's work, tried out on a model.
//!
//! The real shelf works in a real directory while [`note`] records its steps. A crash state is what a disk may
//! hold when power goes: of the steps up to some moment, any change of a name may be lost on its own, and of a
//! file whatever was not synced may be there, missing, or torn. The state is written out, the real shelf is
//! opened on it, and what stands under a digest must hash to it (F086, F087).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Disk, Shelf};
use crate::oci::Digest;
use crate::policy::eviction::Content;

/// Contents that are worked with: few, so that downloads meet what earlier ones left.
const CONTENTS: usize = 4;

/// One change of the file system.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Make(PathBuf),
    Write(PathBuf, u64, Vec<u8>),
    SetLen(PathBuf, u64),
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

thread_local! {
    static STEPS: RefCell<Option<Vec<Step>>> = const { RefCell::new(None) };
}

/// Records a step, if this thread wants that.
pub(super) fn note(step: Step) {
    STEPS.with_borrow_mut(|steps| {
        if let Some(steps) = steps {
            steps.push(step);
        }
    });
}

/// The steps of some work.
fn recorded(work: impl FnOnce()) -> Vec<Step> {
    STEPS.set(Some(Vec::new()));
    work();
    STEPS.take().unwrap()
}

/// A file of the model: what is safe, and what was done since.
#[derive(Clone, Default)]
struct Inode {
    safe: Vec<u8>,
    since: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>, take: usize) {
        match self {
            Self::Write(at, written) => {
                let (at, end) = (*at as usize, *at as usize + written.len());
                bytes.resize(bytes.len().max(end), 0);
                let take = take.min(written.len());
                bytes[at..at + take].copy_from_slice(&written[..take]);
            }
            Self::SetLen(len) => bytes.resize(*len as usize, 0),
        }
    }
}

impl Inode {
    fn sync(&mut self) {
        for change in std::mem::take(&mut self.since) {
            change.apply(&mut self.safe, usize::MAX);
        }
    }

    /// What a crash leaves: each unsynced change is there, torn (its length without all of its bytes), or lost.
    fn after_crash(&self, random: &mut StdRng) -> Vec<u8> {
        let mut bytes = self.safe.clone();
        for change in &self.since {
            match random.random_range(0..4) {
                0 => change.apply(&mut bytes, usize::MAX),
                1 => change.apply(&mut bytes, random.random_range(0..4096)),
                2 => change.apply(&mut bytes, 0),
                _ => {}
            }
        }
        bytes
    }
}

/// The model: files by number, and every change of a name so far, oldest first.
#[derive(Default)]
struct Model {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    renames: Vec<NameChange>,
}

enum NameChange {
    Give(PathBuf, usize),
    Take(PathBuf, usize),
}

impl Model {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Make(path) => {
                if !self.names.contains_key(path) {
                    self.inodes.push(Inode::default());
                    self.give(path, self.inodes.len() - 1);
                }
            }
            Step::Write(path, at, bytes) => self.change(path, Change::Write(*at, bytes.clone())),
            Step::SetLen(path, len) => self.change(path, Change::SetLen(*len)),
            Step::Sync(path) => {
                let inode = self.names[path];
                self.inodes[inode].sync();
            }
            Step::Rename(from, to) => {
                let inode = self.names[from];
                self.take(from);
                self.give(to, inode);
            }
            Step::Remove(path) => self.take(path),
        }
    }

    fn change(&mut self, path: &Path, change: Change) {
        let inode = self.names[path];
        self.inodes[inode].since.push(change);
    }

    fn give(&mut self, path: &Path, inode: usize) {
        self.names.insert(path.to_owned(), inode);
        self.renames.push(NameChange::Give(path.to_owned(), inode));
    }

    fn take(&mut self, path: &Path) {
        let inode = self.names.remove(path).unwrap();
        self.renames.push(NameChange::Take(path.to_owned(), inode));
    }

    /// One of the states that a crash now may leave: the names' changes up to some moment are safe, and of the
    /// later ones each is there or lost, whatever the others are.
    fn after_crash(&self, random: &mut StdRng) -> BTreeMap<PathBuf, Vec<u8>> {
        let safe = random.random_range(0..=self.renames.len());
        let mut names = BTreeMap::new();
        for (number, change) in self.renames.iter().enumerate() {
            if number >= safe && random.random_bool(0.4) {
                continue;
            }
            match change {
                NameChange::Give(path, inode) => drop(names.insert(path.clone(), *inode)),
                NameChange::Take(path, inode) => {
                    if names.get(path) == Some(inode) {
                        names.remove(path);
                    }
                }
            }
        }
        let content = |inode: usize| self.inodes[inode].after_crash(&mut *random);
        let mut content = content;
        names
            .into_iter()
            .map(|(path, inode)| (path, content(inode)))
            .collect()
    }
}

/// The bytes of a number below [`CONTENTS`].
fn content(number: usize) -> Bytes {
    static ALL: LazyLock<[Bytes; CONTENTS]> = LazyLock::new(|| {
        let mut random = StdRng::seed_from_u64(7);
        std::array::from_fn(|_| {
            let mut bytes = vec![0; random.random_range(1..20_000)];
            random.fill(&mut bytes[..]);
            bytes.into()
        })
    });
    ALL[number].clone()
}

/// Does as fills, manifests and scrubs do, in a random order.
fn work(disk: &Disk, random: &mut StdRng) {
    for _ in 0..random.random_range(3..12) {
        let bytes = content(random.random_range(0..CONTENTS));
        let digest = Digest::sha256(&bytes);
        match random.random_range(0..10) {
            0 => disk.put(Shelf::Manifests, &digest, &bytes).unwrap(),
            1 => drop(disk.quarantine(Shelf::Blobs, &digest)),
            2 => disk.probe().unwrap(),
            3 => disk.discard(&disk.begin(&digest).unwrap()),
            4 => {
                let partial = disk.begin(&digest).unwrap();
                disk.write(&partial, 0, &[bytes]).unwrap();
                partial.give_up();
            }
            5 => drop(disk.remove(&Content {
                shelf: Shelf::Blobs,
                digest,
            })),
            // A fill that breaks off, or goes on where another one did, and ends well.
            which => {
                let partial = disk.begin(&digest).unwrap();
                let from = usize::try_from(partial.held).unwrap().min(bytes.len());
                let from = random.random_range(0..=from);
                let half = random.random_range(from..=bytes.len());
                disk.write(&partial, from as u64, &[bytes.slice(from..half)])
                    .unwrap();
                if which > 6 {
                    disk.write(&partial, half as u64, &[bytes.slice(half..)]).unwrap();
                    disk.commit(&partial, Shelf::Blobs, &digest, bytes.len() as u64)
                        .unwrap();
                }
            }
        }
    }
}

/// Every file under a digest's name hashes to it; gives how many there are.
fn check(root: &Path) -> Result<usize, String> {
    let mut count = 0;
    let mut folders = vec![root.join("v1/blobs"), root.join("v1/manifests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            if Digest::sha256(&bytes).hex() != path.file_name().unwrap().to_str().unwrap() {
                return Err(format!("{} has {} wrong bytes", path.display(), bytes.len()));
            }
            count += 1;
        }
    }
    Ok(count)
}

/// Writes a crash state out below `root`, opens the shelf on it, and checks what it holds.
fn recover(state: &BTreeMap<PathBuf, Vec<u8>>, worked: &Path, root: &Path) -> Result<usize, String> {
    for (path, bytes) in state {
        let path = root.join(path.strip_prefix(worked).unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let disk = Disk::open(root).unwrap();
    // As if all of it was written down: what is put there has room.
    disk.recall(|_| true);
    let count = check(root)?;
    // What is unfinished is gone on with, and ends well.
    let bytes = content(0);
    disk.put(Shelf::Blobs, &Digest::sha256(&bytes), &bytes).unwrap();
    check(root)?;
    Ok(count)
}

/// A directory in memory, where there is such a thing: what a sync means is the model's to say.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// Tries `states` crash states, some for each of many runs. Gives how many files under a digest were found in
/// all, or the first state that is wrong.
fn try_out(seed: u64, states: usize, spoil: impl Fn(Vec<Step>) -> Vec<Step>) -> Result<usize, String> {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut tried, mut found) = (0, 0);
    while tried < states {
        let worked = directory();
        let disk = Disk::open(worked.path()).unwrap();
        let steps = spoil(recorded(|| work(&disk, &mut random)));
        for _ in 0..20 {
            let mut model = Model::default();
            let until = random.random_range(0..=steps.len());
            steps[..until].iter().for_each(|step| model.apply(step));
            let state = model.after_crash(&mut random);
            let root = directory();
            let recovered = recover(&state, worked.path(), root.path());
            found += recovered.map_err(|wrong| format!("seed {seed}, state {tried}: {wrong}"))?;
            tried += 1;
        }
    }
    Ok(found)
}

/// States tried: as many as `SEAWALL_CRASH_STATES` says, or enough for every change.
fn states() -> usize {
    let wanted = std::env::var("SEAWALL_CRASH_STATES").ok();
    wanted.and_then(|wanted| wanted.parse().ok()).unwrap_or(10_000)
}

#[test]
fn f087_whatever_unsynced_writes_and_names_a_crash_loses_a_name_means_its_bytes() {
    let seed = rand::random();
    println!("seed {seed}");
    let found = try_out(seed, states(), |steps| steps).unwrap();
    assert!(
        found > 1000,
        "so few files survived ({found}) that nothing was shown"
    );
}

#[test]
fn f087_without_the_sync_the_simulation_finds_wrong_bytes_at_once() {
    let unsynced = |mut steps: Vec<Step>| {
        steps.retain(|step| !matches!(step, Step::Sync(_)));
        steps
    };
    assert!(try_out(1, 1000, unsynced).is_err());
}

#[test]
fn f087_with_the_name_before_the_sync_the_simulation_finds_wrong_bytes_at_once() {
    let hasty = |steps: Vec<Step>| {
        let mut hasty: Vec<Step> = Vec::new();
        for step in steps {
            match (&step, hasty.last()) {
                (Step::Rename(from, to), Some(Step::Sync(synced))) if from == synced => {
                    let (sync, to) = (hasty.len() - 1, to.clone());
                    hasty.insert(sync, step);
                    hasty[sync + 1] = Step::Sync(to);
                }
                _ => hasty.push(step),
            }
        }
        hasty
    };
    assert!(try_out(1, 1000, hasty).is_err());
}
