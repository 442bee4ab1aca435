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
//! ```
//! `ls` and `sha256sum` are enough to understand it. The one rule: *a file under `blobs/` or `manifests/`
//! was hashed, and its bytes were on stable storage, before it got that name.* A lost rename is a miss, so
//! directories are not synced; a failed sync is never tried again on the same file, since the kernel
//! forgets which pages were bad.
//!
//! Everything here blocks: async callers go through [`Disk::health`], which knows how long a disk may take.
//! What is written reports there how it went.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rustix::fs::OFlags;

use super::claims::{Claim, Claims};
use super::crash::{self, Point};
use super::files;
use super::health::{Health, trouble_of};
use super::layout::{self, OpenError};
use crate::oci::Digest;
use crate::policy::disk::Trouble;
use crate::policy::eviction::Shelf;

/// The name of the file that finds out whether the disk takes files.
const PROBE: &str = "probe";
/// What stands for it among digests.
const PROBE_KEY: u128 = 0;
/// Its bytes: some pages, so that a file system which keeps small files in its inodes is asked for space too.
const PROBE_BYTES: usize = 64 * 1024;
/// Most damaged files remembered that cannot be moved away; past it they are found out anew.
const MAX_HIDDEN: usize = 4096;
/// Most verified digests remembered; past it, all are forgotten and hashed again when next served.
/// 32 bytes each, so 32 MiB.
const MAX_VERIFIED: usize = 1 << 20;

/// A file that holds the content of a digest.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The open file. It stays readable when its name goes away.
    pub file: Arc<File>,
    /// Its length in bytes.
    pub size: u64,
}

/// A file that grows until it is committed or discarded. One at a time for a digest.
#[derive(Debug)]
pub struct Partial {
    /// The open file, for readers that follow it.
    pub file: Arc<File>,
    /// Bytes an earlier process or an abandoned fill left in it.
    pub held: u64,
    path: PathBuf,
    claim: Claim,
}

impl Partial {
    /// Has the name go as soon as the last who writes to it has come back, which may be long after everybody
    /// else has given it up. Until then nobody else begins this digest.
    pub fn give_up(&self) {
        self.claim.give_up();
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.claim.is_given_up() {
            crash::point(Point::Discarding);
            // What is left behind is swept at the start.
            let _ = files::remove(&self.path);
        }
    }
}

/// The disk shelf.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    /// Sizes of what was hashed since the start, by the first 16 bytes of its digest: an index of our own
    /// files needs no more than that to be unambiguous.
    verified: Mutex<HashMap<u128, u64>>,
    /// What is wrong and could not be put out of the way: as good as not held.
    hidden: Mutex<HashSet<u128>>,
    /// Who writes which unfinished file.
    claims: Claims,
    health: Health,
    /// Keeps other processes out; `None` while the directory cannot be written.
    lock: Mutex<Option<File>>,
}

impl Disk {
    /// Opens a cache directory, creating it where it is missing. Takes time that does not depend on how
    /// much it holds. One that was used before and cannot be written now is opened all the same: what it
    /// holds is served.
    ///
    /// # Errors
    /// [`OpenError`] if another process holds it, it cannot be written or has a layout that is not ours.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        layout::check(directory)?;
        let disk = Self {
            root: directory.join("v1"),
            verified: Mutex::default(),
            hidden: Mutex::default(),
            claims: Claims::default(),
            health: Health::new(),
            lock: Mutex::default(),
        };
        match disk.probe() {
            Ok(()) => Ok(disk),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                Err(OpenError::InUse(directory.to_owned()))
            }
            Err(error) if disk.root.is_dir() && is_passing(&error) => {
                disk.health.begin_ailing(&error);
                Ok(disk)
            }
            Err(error) => Err(layout::explain(directory, error)),
        }
    }

    /// Makes the folders that are missing, and locks the directory if the lock is not held or is gone.
    ///
    /// # Errors
    /// If the disk refuses; [`io::ErrorKind::AddrInUse`] if another process has the lock.
    fn prepare(&self) -> io::Result<()> {
        let made = layout::make_folders(&self.root);
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if lock
            .as_ref()
            .is_some_and(|lock| layout::still_locks(lock, &self.root))
        {
            return made;
        }
        // A folder that cannot be made is the better thing to tell, but no reason to let others in.
        match layout::lock(&self.root) {
            Ok(Some(locked)) => *lock = Some(locked),
            Ok(None) => {
                let why = "another process uses the cache directory";
                return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
            }
            Err(error) => return made.and(Err(error)),
        }
        made
    }

    /// How the disk does.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Finds out whether the disk takes files: makes what is missing of the directory, then writes, syncs and
    /// removes a small file.
    ///
    /// # Errors
    /// Why it does not.
    pub fn probe(&self) -> io::Result<()> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "an earlier probe has not come back");
        let _claim = self.claims.claim(PROBE_KEY).map_err(late)?;
        self.prepare()?;
        let path = self.root.join("filling").join(PROBE);
        let written = files::make(&path).and_then(|file| {
            files::write(&file, &path, &[0; PROBE_BYTES], 0)?;
            files::sync(&file, &path)
        });
        match files::remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => written.and(Err(error)),
            _ => written,
        }
    }

    /// Where the records are kept.
    pub fn records_path(&self) -> PathBuf {
        self.root.join("records.redb")
    }

    /// Opens the content of a digest; `None` if it is not held, or what stands under its name is not a
    /// plain file or cannot be opened.
    pub fn get(&self, shelf: Shelf, digest: &Digest) -> Option<Stored> {
        if self.hidden().contains(&key(digest)) {
            return None;
        }
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(self.path(shelf, digest));
        let file = self.health.read("open", opened).ok()?;
        let metadata = file.metadata().ok()?;
        metadata.is_file().then(|| Stored {
            file: Arc::new(file),
            size: metadata.size(),
        })
    }

    /// True if the content of a digest is held, going by its name.
    pub fn holds(&self, shelf: Shelf, digest: &Digest) -> bool {
        fs::symlink_metadata(self.path(shelf, digest)).is_ok_and(|metadata| metadata.is_file())
    }

    /// Removes the names of everything unfinished that nobody has touched since `deadline`.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn sweep(&self, deadline: std::time::SystemTime) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join("filling"))? {
            let entry = entry?;
            let old = entry.metadata().and_then(|metadata| metadata.modified());
            if old.is_ok_and(|modified| modified < deadline) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Opens the unfinished file of a digest, or begins one.
    ///
    /// # Errors
    /// If the disk refuses; [`io::ErrorKind::ResourceBusy`] if somebody still writes to it.
    pub fn begin(&self, digest: &Digest) -> io::Result<Partial> {
        let claim = self.claims.claim(key(digest))?;
        let path = self.root.join("filling").join(flat_name(digest));
        let open = || {
            let file = match files::make(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.prepare()?;
                    files::make(&path)
                }
                other => other,
            }?;
            let held = file.metadata()?.size();
            Ok((Arc::new(file), held))
        };
        let (file, held) = self.health.wrote("begin", open())?;
        crash::point(Point::Begun);
        Ok(Partial {
            file,
            held,
            path,
            claim,
        })
    }

    /// Writes pieces to an unfinished file, one behind the other from an offset on.
    ///
    /// # Errors
    /// If the disk refuses; some of it may be written then.
    pub fn write(&self, partial: &Partial, at: u64, pieces: &[Bytes]) -> io::Result<()> {
        let mut position = at;
        for piece in pieces {
            self.write_piece(partial, position, piece)?;
            position += piece.len() as u64;
        }
        Ok(())
    }

    fn write_piece(&self, partial: &Partial, at: u64, piece: &[u8]) -> io::Result<()> {
        let written = files::write(&partial.file, &partial.path, piece, at);
        self.health.wrote("write", written)?;
        crash::point(Point::Written);
        Ok(())
    }

    /// Gives a finished file its name. The caller has hashed its `size` bytes. They are on stable storage
    /// before the name appears.
    ///
    /// # Errors
    /// If the disk refuses; the unfinished file is removed then.
    pub fn commit(&self, partial: &Partial, shelf: Shelf, digest: &Digest, size: u64) -> io::Result<()> {
        let path = self.path(shelf, digest);
        let place = || -> io::Result<()> {
            files::set_len(&partial.file, &partial.path, size)?;
            crash::point(Point::CommitSized);
            files::sync(&partial.file, &partial.path)?;
            crash::point(Point::CommitSynced);
            fs::create_dir_all(path.parent().expect("content lives in a folder"))?;
            files::rename(&partial.path, &path)?;
            crash::point(Point::CommitNamed);
            Ok(())
        };
        match self.health.wrote("commit", place()) {
            Ok(()) => {
                self.mark_verified(digest, size);
                self.hidden().remove(&key(digest));
                Ok(())
            }
            Err(error) => {
                self.discard(partial);
                Err(error)
            }
        }
    }

    /// Removes an unfinished file's name. Readers that have it open go on reading.
    pub fn discard(&self, partial: &Partial) {
        crash::point(Point::Discarding);
        if let Err(error) = files::remove(&partial.path) {
            tracing::debug!(%error, "an unfinished file could not be removed");
        }
    }

    /// Stores small content whose digest the caller has verified. What somebody else is about to store is
    /// left to them.
    ///
    /// # Errors
    /// If the disk refuses; nothing is left behind then.
    pub fn put(&self, shelf: Shelf, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        let partial = match self.begin(digest) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => return Ok(()),
            begun => begun?,
        };
        let emptied = files::set_len(&partial.file, &partial.path, 0);
        let written = self
            .health
            .wrote("write", emptied)
            .and_then(|()| self.write_piece(&partial, 0, bytes));
        if let Err(error) = written {
            self.discard(&partial);
            return Err(error);
        }
        self.commit(&partial, shelf, digest, bytes.len() as u64)
    }

    /// Puts a file that does not hash to its name, or cannot be read, out of the way. What was read of it is
    /// not trusted again.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn quarantine(&self, shelf: Shelf, digest: &Digest) -> io::Result<()> {
        self.verified
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&key(digest));
        let aside = self.root.join("quarantine").join(flat_name(digest));
        let moved = files::rename(&self.path(shelf, digest), &aside);
        crash::point(Point::Quarantined);
        if moved.is_err() {
            let mut hidden = self.hidden();
            if hidden.len() >= MAX_HIDDEN {
                hidden.clear();
            }
            hidden.insert(key(digest));
        }
        self.health.wrote("quarantine", moved)
    }

    fn hidden(&self) -> MutexGuard<'_, HashSet<u128>> {
        self.hidden.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that the content of a digest was hashed since the start.
    pub fn mark_verified(&self, digest: &Digest, size: u64) {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= MAX_VERIFIED {
            verified.clear();
        }
        verified.insert(key(digest), size);
    }

    /// True if the content of a digest was hashed since the start, and had this size.
    pub fn is_verified(&self, digest: &Digest, size: u64) -> bool {
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified.get(&key(digest)) == Some(&size)
    }

    fn path(&self, shelf: Shelf, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let folder = self.root.join(folder_of(shelf)).join(digest.algorithm().name());
        folder.join(&hex[..2]).join(hex)
    }
}

/// True for what may get better while we run.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        trouble_of(error),
        Trouble::Full | Trouble::Failing | Trouble::ReadOnly
    )
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

fn key(digest: &Digest) -> u128 {
    let mut first = [0; 16];
    first.copy_from_slice(&digest.as_bytes()[..16]);
    u128::from_le_bytes(first)
}
