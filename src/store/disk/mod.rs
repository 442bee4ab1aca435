//! Content on disk, one plain file per digest.
//!
//! ```text
//! <directory>/v1/
//!   lock                             held by the one process that uses the directory
//!   blobs/sha256/ab/abcdef…          verified before it got this name
//!   manifests/sha256/ab/abcdef…      likewise
//!   filling/sha256-abcdef…           unfinished; resumed by the next fill of that digest
//!   quarantine/sha256-abcdef…        did not hash to its name any more
//!   records.redb                     tags and media types; may be lost
//!   records.new                      a copy of them that is being made, after a sync that failed
//!   records.opened                   how often in a row it was not closed in good order
//!   holds.json                       what the operator locked and pinned
//!   private                          which registries were asked with credentials
//! ```
//! `ls` and `sha256sum` are enough to understand it. The one rule: *a file under `blobs/` or `manifests/`
//! was hashed, and its bytes were on stable storage, before it got that name.* A lost rename is a miss, so
//! directories are not synced; a failed sync is never tried again on the same file, since the kernel
//! forgets which pages were bad.
//!
//! What is held is also known by heart ([`books`]): a hit asks the tree for the file only, a miss not at all.
//!
//! Everything here blocks, but for what is at hand ([`at_hand`]): async callers go through [`Disk::health`], which knows
//! how long a disk may take.
//! What is written reports there how it went.

mod aside;
mod at_hand;
mod books;
mod closed;
mod damage;
mod ground;
mod kept;
mod lease;
mod leftovers;
mod noted;
mod reserve;
mod room;
mod tree;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::OFlags;

use super::claims::Claims;
use super::health::Health;
use super::layout::{self, OpenError};
use crate::clock::{Clock, Time};
use crate::oci::Digest;
use crate::policy::eviction::{Content, Facts, Shelf};

pub use aside::Partial;
use books::{Books, Known};
pub use books::{NotKept, Tally};
pub use closed::Closing;
pub use damage::{Look, Quarantined};
use lease::Lease;
pub use lease::OpenFile;
pub use room::Standing;
pub use tree::{Folder, Found};

/// How much the shelf may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Space {
    /// Most bytes of content, fills under way included.
    pub capacity: u64,
    /// Part of the capacity above which room is made before it is needed.
    pub high: f64,
    /// Part of the capacity at which enough room was made.
    pub low: f64,
    /// Bytes of the file system that are left alone.
    pub min_free: u64,
}

impl Space {
    /// No bound at all.
    pub const UNBOUNDED: Self = Self {
        capacity: u64::MAX >> 1,
        high: 1.0,
        low: 1.0,
        min_free: 0,
    };
}

/// A file that holds the content of a digest.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The open file. Its content is not evicted while it lives.
    pub file: Arc<OpenFile>,
    /// Its length in bytes.
    pub size: u64,
    /// True if it was hashed since the start, and had this length.
    pub verified: bool,
}

/// The disk shelf.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    books: Arc<Books>,
    space: Mutex<Space>,
    clock: Clock,
    /// Numbers the files that are written in one go.
    puts: AtomicU64,
    /// Who writes which unfinished file.
    claims: Claims,
    health: Arc<Health>,
    /// Keeps other processes out; `None` while the directory cannot be written.
    lock: Mutex<Option<File>>,
}

impl Disk {
    /// Opens a cache directory, creating it where it is missing. Takes time that does not depend on how
    /// much it holds. One that was used before and cannot be written now is opened all the same: what it
    /// holds is served. It has no bound before [`Self::govern`].
    ///
    /// # Errors
    /// [`OpenError`] if another process holds it, it cannot be written or has a layout that is not ours.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        layout::check(directory)?;
        let disk = Self {
            root: directory.join("v1"),
            books: Arc::new(Books::new(&Space::UNBOUNDED)),
            space: Mutex::new(Space::UNBOUNDED),
            clock: Clock::start(),
            puts: AtomicU64::default(),
            claims: Claims::default(),
            health: Arc::new(Health::new()),
            lock: Mutex::default(),
        };
        disk.begin_on(directory)?;
        let empty = disk.is_empty();
        let mut state = disk.books.lock();
        (state.walked, state.complete) = (empty, empty);
        drop(state);
        Ok(disk)
    }

    /// Bounds the shelf, which takes its time from `clock` from now on. What was written down of it before is
    /// told by [`Self::recall`].
    pub fn govern(&mut self, space: Space, clock: Clock) {
        (self.space, self.clock) = (Mutex::new(space), clock);
        self.books.lock().govern(&space);
        self.measure_or_tell();
    }

    /// Bounds the shelf otherwise. What is too much goes when room is next made. Blocks.
    pub fn change_space(&self, space: Space) {
        *self.space.lock().unwrap_or_else(PoisonError::into_inner) = space;
        self.books.lock().change_space(&space);
        self.measure_or_tell();
    }

    /// How the shelf is bounded.
    pub fn space(&self) -> Space {
        *self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn measure_or_tell(&self) {
        if let Err(error) = self.measure() {
            tracing::warn!(%error, "the file system does not say how much is free");
        }
    }

    /// Where the records are kept.
    pub fn records_path(&self) -> PathBuf {
        self.root.join("records.redb")
    }

    /// Opens the content of a digest; `None` if it is not held, or what stands under its name is not a
    /// plain file.
    pub fn get(&self, shelf: Shelf, digest: &Digest) -> Option<Stored> {
        self.look(shelf, digest, None)
    }

    /// As [`Self::get`], for somebody who pulls it.
    pub fn pull(&self, shelf: Shelf, digest: &Digest) -> Option<Stored> {
        self.look(shelf, digest, Some(self.clock.now()))
    }

    /// Counts a pull of what came from elsewhere; touches no file.
    pub fn pulled(&self, shelf: Shelf, digest: &Digest, now: Time) {
        self.books.lock().pull(&content(shelf, digest), now);
    }

    fn look(&self, shelf: Shelf, digest: &Digest, pull: Option<Time>) -> Option<Stored> {
        let content = content(shelf, digest);
        match self.open_known(content, pull) {
            Look::Open(stored) => Some(stored),
            Look::Missing => None,
            Look::Damaged { expected, found } => {
                tracing::warn!(
                    %digest, ?shelf, expected, found,
                    "a stored file has another length than it was stored with: put aside, and to be fetched again"
                );
                self.books.watch.found_damaged();
                None
            }
            Look::Unreadable(error) => {
                self.tell_unreadable(&content, &error);
                // Counted; for who asks it is not there.
                let _: io::Result<()> = self.health.read("open", Err(error));
                None
            }
        }
    }

    /// As [`Self::get`], but says why there is nothing to open. Counts and logs nothing.
    pub fn inspect(&self, content: Content) -> Look {
        self.open_known(content, None)
    }

    fn open_known(&self, content: Content, pull: Option<Time>) -> Look {
        let known = self.books.lock().enter(&content, pull);
        let (known, verified, generation) = match known {
            Known::Held {
                size,
                verified,
                generation,
            } => (size, verified, generation),
            Known::Unsure => return self.adopt(content, pull).map_or(Look::Missing, Look::Open),
            Known::Missing => return Look::Missing,
        };
        let lease = Lease::new(self.books.clone(), content, generation);
        let (file, size) = match self.open_plain(&content) {
            Ok(Some(opened)) => opened,
            Ok(None) => return Look::Missing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.miss(&content);
                return Look::Missing;
            }
            Err(error) => return Look::Unreadable(error),
        };
        if size != known {
            drop(lease);
            return match self.reject(&content, &file) {
                true => Look::Damaged {
                    expected: known,
                    found: size,
                },
                false => Look::Missing,
            };
        }
        Look::Open(Stored {
            file: Arc::new(OpenFile::new(file, Some(lease))),
            size,
            verified,
        })
    }

    /// Takes on a file that nobody has told of yet.
    fn adopt(&self, content: Content, pull: Option<Time>) -> Option<Stored> {
        let _naming = self.books.naming(&content);
        let (file, size) = self.health.read("open", self.open_plain(&content)).ok()??;
        let stored = file
            .metadata()
            .map_or(self.clock.now(), |metadata| aside::modified(&metadata));
        let mut state = self.books.lock();
        if state.is_hidden(&content) {
            return None;
        }
        if state.index.facts(&content).is_none() {
            state.insert(content, adopted(size, stored));
        }
        // Whether it was hashed since is not asked: this happens at most once for each file.
        let Known::Held { generation, .. } = state.enter(&content, pull) else {
            return None;
        };
        drop(state);
        let lease = Lease::new(self.books.clone(), content, generation);
        Some(Stored {
            file: Arc::new(OpenFile::new(file, Some(lease))),
            size,
            verified: false,
        })
    }

    /// The file of some content, and its length; `None` if something else stands there.
    fn open_plain(&self, content: &Content) -> io::Result<Option<(File, u64)>> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(self.path(content.shelf, &content.digest))?;
        let metadata = file.metadata()?;
        Ok(metadata.is_file().then_some((file, metadata.size())))
    }

    /// A file that should be there is not: somebody else removed it.
    fn miss(&self, content: &Content) {
        let _naming = self.books.naming(content);
        let gone = fs::symlink_metadata(self.path(content.shelf, &content.digest));
        if gone.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            tracing::info!(digest = %content.digest, "a file of the cache was removed by somebody else");
            self.books.lock().remove(content);
        }
    }

    /// True if the content of a digest is known not to be held. Touches no file.
    pub fn lacks(&self, shelf: Shelf, digest: &Digest) -> bool {
        let state = self.books.lock();
        state.walked && state.index.facts(&content(shelf, digest)).is_none()
    }

    /// True if the content of a digest is held, going by its name.
    pub fn holds(&self, shelf: Shelf, digest: &Digest) -> bool {
        let content = content(shelf, digest);
        let (listed, walked) = {
            let state = self.books.lock();
            let known = state.walked || state.is_hidden(&content);
            (state.index.facts(&content).is_some(), known)
        };
        let is_there =
            || fs::symlink_metadata(self.path(shelf, digest)).is_ok_and(|metadata| metadata.is_file());
        match (listed || !walked) && is_there() {
            true => true,
            false => {
                if listed {
                    self.miss(&content);
                }
                false
            }
        }
    }

    /// Everything held, in no order: each once, but what comes or goes meanwhile may be left out. Touches no file, and
    /// keeps nobody waiting.
    pub fn contents(&self) -> Vec<(Content, Facts)> {
        let mut held = Vec::new();
        self.each_page(|content, facts| held.push((*content, *facts)));
        held.sort_unstable_by_key(|(content, _)| *content);
        held.dedup_by_key(|(content, _)| *content);
        held
    }

    /// Hands over everything held, page by page: nobody waits for more than one.
    fn each_page(&self, mut each: impl FnMut(&Content, &Facts)) {
        for number in 0.. {
            let state = self.books.lock();
            let Some(page) = state.index.page(number) else {
                return;
            };
            page.for_each(|(content, facts)| each(content, facts));
        }
    }

    /// What is known of some content that is held. Touches no file.
    pub fn facts(&self, content: &Content) -> Option<Facts> {
        self.books.lock().index.facts(content)
    }

    /// Remembers that the content of a digest was hashed since the start.
    pub fn mark_verified(&self, digest: &Digest, size: u64) {
        let content = content(Shelf::Blobs, digest);
        self.books.lock().mark_verified(&content, size);
    }

    fn path(&self, shelf: Shelf, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let folder = self.root.join(folder_of(shelf)).join(digest.algorithm().name());
        folder.join(&hex[..2]).join(hex)
    }
}

const fn folder_of(shelf: Shelf) -> &'static str {
    match shelf {
        Shelf::Blobs => "blobs",
        Shelf::Manifests => "manifests",
    }
}

fn flat_name(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm().name(), digest.hex())
}

const fn content(shelf: Shelf, digest: &Digest) -> Content {
    Content {
        shelf,
        digest: *digest,
    }
}

/// What is known of a file that was only found: not for whom it came.
const fn adopted(size: u64, stored: Time) -> Facts {
    Facts {
        size,
        stored,
        used: None,
        pulls: 0,
        closed: true,
    }
}
