//! A file system that loses what was not synced: of the steps up to some moment, any change of a name may be lost
//! on its own, and of a file whatever was not synced may be there, missing, or torn.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::rngs::StdRng;

use super::Step;

/// Files by their paths.
pub(super) type Files = BTreeMap<PathBuf, Vec<u8>>;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// A file of the model: what is safe, and what was done since.
#[derive(Clone, Default)]
struct Inode {
    safe: Vec<u8>,
    since: Vec<(Change, Fate)>,
    /// A sync of it has failed.
    failed: bool,
}

/// What is known of a change.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Unsynced,
    /// It is on the disk, and stands behind something that may not be.
    Sure,
    /// Its sync failed. The kernel takes it for written: no later sync writes it.
    Doubtful,
}

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

impl Change {
    /// Applies it, but of what it writes only the parts of which `is_there` says so, by the byte in the file.
    fn apply(&self, bytes: &mut Vec<u8>, mut is_there: impl FnMut(usize) -> bool) {
        match self {
            Self::Write(at, written) => {
                let at = *at as usize;
                bytes.resize(bytes.len().max(at + written.len()), 0);
                // In pieces that end where the disk's sectors do.
                let (mut from, end) = (at, at + written.len());
                while from < end {
                    let to = ((from / SECTOR + 1) * SECTOR).min(end);
                    if is_there(from) {
                        bytes[from..to].copy_from_slice(&written[from - at..to - at]);
                    }
                    from = to;
                }
            }
            Self::SetLen(len) => bytes.resize(*len as usize, 0),
        }
    }
}

impl Inode {
    fn sync(&mut self) {
        self.settle(Fate::Sure);
        let sure = self.since.iter().take_while(|(_, fate)| *fate == Fate::Sure);
        let sure = sure.count();
        for (change, _) in self.since.drain(..sure) {
            change.apply(&mut self.safe, |_| true);
        }
    }

    fn fail_sync(&mut self) {
        self.failed = true;
        self.settle(Fate::Doubtful);
    }

    fn settle(&mut self, to: Fate) {
        let unsynced = self.since.iter_mut().filter(|(_, fate)| *fate == Fate::Unsynced);
        unsynced.for_each(|(_, fate)| *fate = to);
    }

    /// What a crash leaves: each unsynced change is there, torn (its length without all of its bytes), or lost.
    fn after_crash(&self, random: &mut StdRng) -> Vec<u8> {
        let mut bytes = self.safe.clone();
        for (change, fate) in &self.since {
            match random.random_range(0..5) {
                _ if *fate == Fate::Sure => change.apply(&mut bytes, |_| true),
                0 => change.apply(&mut bytes, |_| true),
                1 => {
                    let until = random.random_range(0..64 * SECTOR);
                    let mut written = 0;
                    change.apply(&mut bytes, |_| {
                        written += SECTOR;
                        written <= until
                    });
                }
                2 => change.apply(&mut bytes, |_| random.random_bool(0.5)),
                3 => change.apply(&mut bytes, |_| false),
                _ => {}
            }
        }
        bytes
    }
}

/// The model: files by number, and every change of a name so far, oldest first.
#[derive(Default)]
pub(super) struct Model {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    renames: Vec<NameChange>,
}

/// A change of a name.
struct NameChange {
    path: PathBuf,
    inode: usize,
    /// Whether the file gets the name, or loses it.
    gives: bool,
    /// Its folder was synced since.
    is_safe: bool,
}

impl Model {
    /// The model of a disk that held `files`, all of them safe, after some steps.
    pub(super) fn played(files: &Files, steps: &[Step]) -> Self {
        let mut model = Self::default();
        for (path, bytes) in files {
            model.inodes.push(Inode {
                safe: bytes.clone(),
                ..Inode::default()
            });
            model.change_name(path, model.inodes.len() - 1, true);
        }
        for change in &mut model.renames {
            change.is_safe = true;
        }
        for step in steps {
            model.apply(step);
        }
        model
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Make(path) => {
                if !self.names.contains_key(path) {
                    self.inodes.push(Inode::default());
                    self.change_name(path, self.inodes.len() - 1, true);
                }
            }
            Step::Write(path, at, bytes) => self.change(path, Change::Write(*at, bytes.clone())),
            Step::SetLen(path, len) => self.change(path, Change::SetLen(*len)),
            Step::Sync(path) => {
                let inode = &mut self.inodes[self.names[path]];
                assert!(!inode.failed, "{} is synced once more", path.display());
                inode.sync();
            }
            Step::FailSync(path) => self.inodes[self.names[path]].fail_sync(),
            Step::SyncFolder(folder) => {
                let inside = |change: &&mut NameChange| change.path.parent() == Some(folder);
                for change in self.renames.iter_mut().filter(inside) {
                    change.is_safe = true;
                }
            }
            Step::Rename(from, to) => {
                let inode = self.names[from];
                self.change_name(from, inode, false);
                self.change_name(to, inode, true);
            }
            Step::Remove(path) => self.change_name(path, self.names[path], false),
        }
    }

    fn change(&mut self, path: &Path, change: Change) {
        let inode = self.names[path];
        self.inodes[inode].since.push((change, Fate::Unsynced));
    }

    fn change_name(&mut self, path: &Path, inode: usize, gives: bool) {
        if gives {
            self.names.insert(path.to_owned(), inode);
        } else {
            self.names.remove(path);
        }
        self.renames.push(NameChange {
            path: path.to_owned(),
            inode,
            gives,
            is_safe: false,
        });
    }

    /// One of the states that a crash now may leave: the names' changes up to some moment are safe, and of the
    /// later ones each is there or lost, whatever the others are, unless its folder was synced.
    pub(super) fn after_crash(&self, random: &mut StdRng) -> Files {
        let safe = random.random_range(0..=self.renames.len());
        let mut names = BTreeMap::new();
        for (number, change) in self.renames.iter().enumerate() {
            if number >= safe && !change.is_safe && random.random_bool(0.4) {
                continue;
            }
            if change.gives {
                names.insert(change.path.clone(), change.inode);
            } else if names.get(&change.path) == Some(&change.inode) {
                names.remove(&change.path);
            }
        }
        let mut content = |inode: usize| self.inodes[inode].after_crash(random);
        names
            .into_iter()
            .map(|(path, inode)| (path, content(inode)))
            .collect()
    }
}
