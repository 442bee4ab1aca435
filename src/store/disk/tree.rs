//! The tree: what was written down of it at the start, and the walk that finds what is really there.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::aside::modified;
use super::{Disk, adopted, folder_of};
use crate::oci::{Algorithm, Digest};
use crate::policy::eviction::{Content, Facts, Shelf};

/// Both shelves.
const SHELVES: [Shelf; 2] = [Shelf::Blobs, Shelf::Manifests];

/// One folder of the tree: the digests of one shelf and algorithm that begin with the same byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Folder {
    /// The shelf.
    pub shelf: Shelf,
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The byte.
    pub first: u8,
}

impl Folder {
    /// Where some content stands.
    fn of(content: &Content) -> Self {
        Self {
            shelf: content.shelf,
            algorithm: content.digest.algorithm(),
            first: content.digest.as_bytes().first().copied().unwrap_or_default(),
        }
    }

    /// Every folder there can be.
    pub fn all() -> impl Iterator<Item = Self> {
        let shelves = SHELVES
            .into_iter()
            .flat_map(|shelf| Algorithm::ALL.map(|algorithm| (shelf, algorithm)));
        shelves.flat_map(|(shelf, algorithm)| {
            (0..=u8::MAX).map(move |first| Self {
                shelf,
                algorithm,
                first,
            })
        })
    }
}

/// What a walk found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Files that nobody had told of.
    pub adopted: u64,
    /// Files that have gone without a word.
    pub gone: u64,
    /// Files of another length than they had.
    pub changed: u64,
    /// Things that are not ours.
    pub foreign: u64,
}

impl Found {
    /// Both together.
    pub const fn and(self, other: Self) -> Self {
        Self {
            adopted: self.adopted + other.adopted,
            gone: self.gone + other.gone,
            changed: self.changed + other.changed,
            foreign: self.foreign + other.foreign,
        }
    }
}

impl Disk {
    /// Takes on what was written down of the tree, as `read` tells it one by one. It returns whether that is all;
    /// if not, no room is given away before the walk. Blocks.
    pub fn recall(&self, read: impl FnOnce(&mut dyn FnMut(Content, Facts)) -> bool) {
        let mut rows = Vec::new();
        let complete = read(&mut |content, facts| rows.push((content, facts)));
        // The order in which things go.
        rows.sort_unstable_by_key(|(_, facts)| (facts.used, facts.stored));
        let mut state = self.books.lock();
        let walked = state.walked;
        for (content, facts) in rows {
            if walked {
                // The tree was empty: what was written down of it has gone.
                state.note(content);
            } else if state.index.facts(&content).is_none() {
                state.enlist(content, facts);
            }
        }
        state.complete = walked || complete;
    }

    /// Says whether content is held, for as long as somebody wants to know.
    pub fn teller(&self) -> impl Fn(&Content) -> bool + Clone + Send + 'static {
        let books = self.books.clone();
        move |content| books.lock().index.facts(content).is_some()
    }

    /// What the index says is held, by the folders of the tree.
    pub fn by_folder(&self) -> HashMap<Folder, Vec<Content>> {
        let mut folders: HashMap<Folder, Vec<Content>> = HashMap::new();
        self.each_page(|content, _| folders.entry(Folder::of(content)).or_default().push(*content));
        folders
    }

    /// True once the index says what the tree holds.
    pub fn is_walked(&self) -> bool {
        self.books.lock().walked
    }

    /// Waits until the directory may have become another one: it has to be walked then. Cancel-safe.
    pub async fn doubted(&self) {
        self.books.doubted().await;
    }

    /// How often that has happened.
    pub fn doubts(&self) -> u64 {
        self.books.lock().doubts
    }

    /// The whole tree was walked; it had become doubtful so often when that began. False if it did meanwhile, and has
    /// to be walked again.
    pub fn walked(&self, doubts: u64) -> bool {
        let mut state = self.books.lock();
        if state.doubts == doubts {
            (state.walked, state.complete) = (true, true);
            if doubts > 0 {
                // What it was written down in may have gone too.
                state.note_all();
            }
        }
        state.walked
    }

    /// Compares one folder with what is known, of which `rows` was written down or is in the index. What differs is set right: the
    /// files are the truth. Blocks.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn compare(&self, folder: Folder, rows: &[Content]) -> io::Result<Found> {
        let mut found = Found::default();
        let mut seen = HashSet::new();
        let entries = match fs::read_dir(self.folder(folder)) {
            Ok(entries) => Some(entries),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => None,
            Err(error) => return Err(error),
        };
        for entry in entries.into_iter().flatten() {
            let entry = entry?;
            match named(folder, &entry) {
                Some(content) => {
                    self.compare_one(&content, &mut found);
                    seen.insert(content);
                }
                None => found.foreign += 1,
            }
        }
        for content in rows.iter().filter(|row| !seen.contains(row)) {
            let _naming = self.books.naming(content);
            let path = self.path(content.shelf, &content.digest);
            let is_gone = match fs::symlink_metadata(path) {
                Ok(metadata) => !metadata.is_file(),
                // What cannot be looked at may be there.
                Err(error) => error.kind() == io::ErrorKind::NotFound,
            };
            if is_gone && self.books.lock().remove(content).is_some() {
                found.gone += 1;
            }
        }
        Ok(found)
    }

    fn compare_one(&self, content: &Content, found: &mut Found) {
        let _naming = self.books.naming(content);
        let metadata = fs::symlink_metadata(self.path(content.shelf, &content.digest));
        let Some(metadata) = metadata.ok().filter(fs::Metadata::is_file) else {
            return;
        };
        let size = metadata.size();
        let mut state = self.books.lock();
        match state.index.facts(content) {
            Some(facts) if facts.size == size => {}
            Some(facts) => {
                drop(state);
                let (expected, digest) = (facts.size, content.digest);
                tracing::warn!(
                    %digest, shelf = ?content.shelf, expected, found = size,
                    "a stored file has another length than it was stored with: put aside"
                );
                self.books.watch.found_damaged();
                if let Err(error) = self.quarantine_named(content) {
                    tracing::warn!(%digest, %error, "the damaged file could not be put aside");
                }
                found.changed += 1;
            }
            None if state.is_hidden(content) => {}
            None => {
                let stored = modified(&metadata).min(self.clock.now());
                state.insert(*content, adopted(size, stored));
                found.adopted += 1;
            }
        }
    }

    /// What stands in one folder, going by the names, sorted. Blocks.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn list(&self, folder: Folder) -> io::Result<Vec<Content>> {
        let entries = match fs::read_dir(self.folder(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut listed = Vec::new();
        for entry in entries {
            listed.extend(named(folder, &entry?));
        }
        listed.sort_unstable();
        Ok(listed)
    }

    /// Counts what stands in the tree above its folders and is not ours. Blocks.
    ///
    /// # Errors
    /// If it cannot be listed.
    pub fn count_foreign(&self) -> io::Result<u64> {
        let mut foreign = 0;
        for shelf in SHELVES {
            let top = self.root.join(folder_of(shelf));
            let ours = Algorithm::ALL.map(Algorithm::name);
            foreign += count_others(&top, |name| ours.contains(&name))?;
            for name in ours {
                let is_byte = |name: &str| name.len() == 2 && u8::from_str_radix(name, 16).is_ok();
                foreign += count_others(&top.join(name), is_byte)?;
            }
        }
        Ok(foreign)
    }

    /// True if the tree has no folder that could hold anything.
    pub(super) fn is_empty(&self) -> bool {
        let mut tops = SHELVES
            .into_iter()
            .flat_map(|shelf| Algorithm::ALL.map(|algorithm| (shelf, algorithm)));
        tops.all(|(shelf, algorithm)| {
            let top = self.root.join(folder_of(shelf)).join(algorithm.name());
            fs::read_dir(top).is_ok_and(|mut entries| entries.next().is_none())
        })
    }

    fn folder(&self, folder: Folder) -> PathBuf {
        let top = self.root.join(folder_of(folder.shelf));
        top.join(folder.algorithm.name())
            .join(format!("{:02x}", folder.first))
    }
}

/// The content an entry of a folder is, going by its name; `None` for what is not ours.
fn named(folder: Folder, entry: &fs::DirEntry) -> Option<Content> {
    let name = entry.file_name();
    let digest: Digest = format!("{}:{}", folder.algorithm.name(), name.to_str()?)
        .parse()
        .ok()?;
    let ours = digest.as_bytes().first() == Some(&folder.first);
    let plain = entry.file_type().is_ok_and(|kind| kind.is_file());
    (ours && plain).then_some(Content {
        shelf: folder.shelf,
        digest,
    })
}

fn count_others(folder: &std::path::Path, is_ours: impl Fn(&str) -> bool) -> io::Result<u64> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut others = 0;
    for entry in entries {
        let entry = entry?;
        let directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !directory || !entry.file_name().to_str().is_some_and(&is_ours) {
            others += 1;
        }
    }
    Ok(others)
}
