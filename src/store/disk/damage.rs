//! Files that are not what they were stored as, and what becomes of them.
//!
//! A file of another length than it was stored with is damaged at once: a digest has one length. It is put aside
//! and counts as taken room, but not for ever and not without bound.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;

use super::aside::{Aside, QUARANTINE};
use super::{Disk, Stored, content, flat_name};
use crate::clock::Time;
use crate::oci::Digest;
use crate::policy::eviction::{Content, Shelf};
use crate::store::crash::{self, Point};
use crate::store::files;

/// Most bytes of damaged files that are kept: enough to look at a few large layers.
const MOST_QUARANTINED: u64 = 1 << 30;
/// And one part in so many of the capacity at most: they are of no use to clients.
const QUARANTINE_PART: u64 = 10;
/// How long a damaged file is kept: an operator has been back from holidays by then.
const QUARANTINE_KEPT: Duration = Duration::from_secs(30 * 86_400);
/// Most files that cannot be opened of which the operator is told one by one.
const MOST_TOLD: usize = 1000;

/// What stands under a name.
#[derive(Debug)]
pub enum Look {
    /// A file of the right length.
    Open(Stored),
    /// Nothing, or nothing that is ours.
    Missing,
    /// A file of another length than it was stored with. It has been put aside.
    Damaged {
        /// The length it was stored with.
        expected: u64,
        /// The length it had.
        found: u64,
    },
    /// A file that cannot be opened. It stays.
    Unreadable(io::Error),
}

/// Damaged files that are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quarantined {
    /// How many.
    pub objects: u64,
    /// What they take, in whole blocks.
    pub bytes: u64,
}

/// What happens to the files of the shelf.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// How many are open, to be read or filled.
    users: AtomicUsize,
    /// Files of another length than they were stored with, found since somebody asked.
    damaged: AtomicU64,
    /// Files that cannot be opened, of which the operator was told.
    told: Mutex<HashSet<Content>>,
}

impl Watch {
    /// Somebody has opened a file.
    pub(super) fn opened(&self) {
        self.users.fetch_add(1, Ordering::Relaxed);
    }

    /// Somebody has closed a file.
    pub(super) fn closed(&self) {
        self.users.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn found_damaged(&self) {
        self.damaged.fetch_add(1, Ordering::Relaxed);
    }

    /// True if this was not told before.
    fn is_news(&self, content: &Content) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.len() < MOST_TOLD && told.insert(*content)
    }
}

impl Disk {
    /// How many files are open, to be read or filled.
    pub fn users(&self) -> usize {
        self.books.watch.users.load(Ordering::Relaxed)
    }

    /// Damaged files that pulls and walks found since this was last asked for.
    pub fn take_damaged(&self) -> u64 {
        self.books.watch.damaged.swap(0, Ordering::Relaxed)
    }

    /// Puts a file that does not hash to its name, or cannot be read, out of the way, where there is room for it.
    /// What was read of it is not trusted again. A file that cannot be moved is not held any more all the same.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn quarantine(&self, shelf: Shelf, digest: &Digest) -> io::Result<()> {
        let content = content(shelf, digest);
        let _naming = self.books.naming(&content);
        self.quarantine_named(&content)
    }

    /// Tries anew to put away what could not be moved, now that the disk takes changes again. Blocks.
    pub fn put_hidden_away(&self) {
        let hidden = self.books.lock().hidden();
        for content in hidden {
            let _naming = self.books.naming(&content);
            // Somebody may have stored it anew.
            let is_hidden = self.books.lock().is_hidden(&content);
            if is_hidden && self.quarantine_named(&content).is_ok() {
                tracing::info!(digest = %content.digest, "a damaged file was put aside at last");
            }
        }
    }

    /// As [`Self::quarantine`], unless another file than the open one stands under the name by now. False if so.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn quarantine_file(&self, content: &Content, file: &File) -> io::Result<bool> {
        let _naming = self.books.naming(content);
        match self.is_named(content, file) {
            true => self.quarantine_named(content).map(|()| true),
            false => Ok(false),
        }
    }

    /// True if an error of a read says that the file itself is damaged: it ends too soon, or the disk cannot give
    /// its bytes (EIO). Any other, above all that the disk is slow, says nothing about what stands there.
    pub fn blames_file(error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::UnexpectedEof || Errno::from_io_error(error) == Some(Errno::IO)
    }

    /// As [`Self::quarantine_file`], if `is_damaged` says so, which is asked once for a file, however many read it.
    /// False if the file stays.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn judge_file(
        &self,
        content: &Content,
        file: &File,
        is_damaged: impl FnOnce() -> bool,
    ) -> io::Result<bool> {
        let _naming = self.books.naming(content);
        if !self.is_named(content, file) {
            return Ok(true);
        }
        if !is_damaged() {
            return Ok(false);
        }
        self.quarantine_named(content).map(|()| true)
    }

    /// Puts aside an open file if it still has another length than it was stored with. False if another stands
    /// there by now.
    pub(super) fn reject(&self, content: &Content, file: &File) -> bool {
        let _naming = self.books.naming(content);
        let known = self.books.lock().index.facts(content).map(|facts| facts.size);
        let size = file.metadata().map_or(0, |metadata| metadata.size());
        if known == Some(size) || !self.is_named(content, file) {
            return false;
        }
        if let Err(error) = self.quarantine_named(content) {
            tracing::warn!(digest = %content.digest, %error, "the damaged file could not be put aside");
        }
        true
    }

    fn is_named(&self, content: &Content, file: &File) -> bool {
        let named = fs::symlink_metadata(self.path(content.shelf, &content.digest));
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        match (named.map(identity), file.metadata().map(identity)) {
            (Ok(named), Ok(open)) => named == open,
            (Err(_), _) | (_, Err(_)) => false,
        }
    }

    /// As [`Self::quarantine`], for who holds the names.
    pub(super) fn quarantine_named(&self, content: &Content) -> io::Result<()> {
        let size = match fs::symlink_metadata(self.path(content.shelf, &content.digest)) {
            Ok(metadata) => metadata.size(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.books.lock().remove(content);
                return Err(error);
            }
            Err(_) => 0,
        };
        let moved = self.move_away(content, size);
        crash::point(Point::Quarantined);
        match moved {
            Ok(()) => self.tidy_quarantine(),
            Err(_) => self.books.lock().hide(*content),
        }
        self.wrote("quarantine", moved)
    }

    fn move_away(&self, content: &Content, size: u64) -> io::Result<()> {
        let path = self.path(content.shelf, &content.digest);
        let name = format!("{QUARANTINE}/{}", flat_name(&content.digest));
        // One that was put aside before makes room for this one.
        self.remove_aside(&name);
        let aside = Aside {
            reserved: size,
            damaged: true,
            since: self.clock.now(),
            ..Aside::default()
        };
        let there_is_room = {
            let mut state = self.books.lock();
            // Whoever reads it reads the same file on: it is counted once.
            let generation = state.index.generation(content);
            let aside = Aside { generation, ..aside };
            state.remove(content);
            state.set_aside(name.clone(), aside)
        };
        if !there_is_room {
            return files::remove(&path);
        }
        let moved = match files::rename(&path, &self.root.join(&name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.prepare()?;
                files::rename(&path, &self.root.join(&name))
            }
            moved => moved,
        };
        moved.inspect_err(|_| self.books.lock().release(&name))
    }

    /// Removes the damaged files that are too old or too many, oldest first. Blocks.
    pub fn tidy_quarantine(&self) {
        let now = self.clock.now();
        let too_many = {
            let state = self.books.lock();
            let most = MOST_QUARANTINED.min(state.capacity / QUARANTINE_PART);
            let damaged = state.asides.iter().filter(|(_, aside)| aside.damaged);
            let mut damaged: Vec<_> = damaged
                .map(|(name, aside)| (aside.since, name.clone(), aside.reserved))
                .collect();
            damaged.sort_unstable();
            let mut bytes: u64 = damaged.iter().map(|(.., reserved)| reserved).sum();
            let goes = |(since, _, reserved): &(Time, String, u64)| {
                let goes = bytes > most || now.since(*since) > QUARANTINE_KEPT;
                bytes -= if goes { *reserved } else { 0 };
                goes
            };
            damaged
                .into_iter()
                .filter(goes)
                .map(|(_, name, _)| name)
                .collect::<Vec<_>>()
        };
        for name in too_many {
            tracing::info!(name, "a damaged file was kept long enough");
            self.remove_aside(&name);
        }
    }

    /// Damaged files that are kept.
    pub fn quarantined(&self) -> Quarantined {
        let state = self.books.lock();
        let damaged = state.asides.values().filter(|aside| aside.damaged);
        damaged.fold(Quarantined::default(), |sum, aside| Quarantined {
            objects: sum.objects + 1,
            bytes: sum.bytes + aside.reserved,
        })
    }

    /// The length of the damaged file of this digest, if one is kept. Blocks.
    pub fn quarantined_size(&self, digest: &Digest) -> Option<u64> {
        let name = format!("{QUARANTINE}/{}", flat_name(digest));
        if !self.books.lock().asides.contains_key(&name) {
            return None;
        }
        let metadata = fs::symlink_metadata(self.root.join(name));
        metadata.ok().map(|metadata| metadata.size())
    }

    /// Why a file cannot be opened, for the operator: its path, its owner, and the next step.
    fn unreadable(&self, content: &Content, error: &io::Error) -> String {
        let path = self.path(content.shelf, &content.digest);
        let owner = fs::symlink_metadata(&path).map_or_else(
            |_| "an unknown owner".to_owned(),
            |metadata| format!("user {} and mode {:o}", metadata.uid(), metadata.mode() & 0o7777),
        );
        let ours = fs::metadata(&self.root).map_or_else(
            |_| String::new(),
            |metadata| {
                format!(
                    "chown -R {}:{} {}, or ",
                    metadata.uid(),
                    metadata.gid(),
                    self.root.display()
                )
            },
        );
        format!(
            "{} of {owner} cannot be opened: {error}; {ours}leave it: it counts as missing, and the next pull \
             puts a new file in its place",
            path.display()
        )
    }

    /// Tells the operator once why a file cannot be opened; returns what there is to tell. Blocks.
    pub fn tell_unreadable(&self, content: &Content, error: &io::Error) -> String {
        let why = self.unreadable(content, error);
        if self.books.watch.is_news(content) {
            tracing::warn!("{why}");
        }
        why
    }
}

/// When a file got its name: renaming changes this, and not when its content was changed.
pub(super) fn renamed(metadata: &fs::Metadata) -> Time {
    let seconds = u64::try_from(metadata.ctime()).unwrap_or(0);
    Time::from_millis(seconds.saturating_mul(1000))
}
