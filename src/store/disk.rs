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
//!   holds.json                       what the operator locked and pinned
//! ```
//! `ls` and `sha256sum` are enough to understand it. The one rule: *a file under `blobs/` or `manifests/`
//! was hashed, and its bytes were on stable storage, before it got that name.* A lost rename is a miss, so
//! directories are not synced; a failed sync is never tried again on the same file, since the kernel
//! forgets which pages were bad.
//!
//! Everything here blocks; async callers go through [`blocking`].

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FlockOperation, OFlags};

use crate::oci::{Algorithm, Digest};
use crate::policy::eviction::{Content, Shelf};

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

/// A file that grows until it is committed or discarded.
#[derive(Debug)]
pub struct Partial {
    /// The open file, for readers that follow it.
    pub file: Arc<File>,
    /// Bytes an earlier process or an abandoned fill left in it.
    pub held: u64,
    path: PathBuf,
}

/// Why a cache directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses it.
    #[error(
        "the cache directory {0} is in use by another process; stop that process, or give this one another \
         directory with [cache] directory"
    )]
    InUse(PathBuf),
    /// It cannot be created or written.
    #[error(
        "the cache directory {0} cannot be used: {1}; choose a writable one with [cache] directory or \
         $CACHE_DIRECTORY"
    )]
    Io(PathBuf, io::Error),
}

/// The disk shelf.
#[derive(Debug)]
pub struct Disk {
    pub(super) root: PathBuf,
    /// Sizes of what was hashed since the start, by the first 16 bytes of its digest: an index of our own
    /// files needs no more than that to be unambiguous.
    verified: Mutex<HashMap<u128, u64>>,
    /// What must not be evicted.
    pub(super) kept: Mutex<HashSet<Content>>,
    _lock: File,
}

/// Runs blocking file work off the reactor.
///
/// Not cancel-safe in effect: the work goes on when the caller goes away.
///
/// # Errors
/// What `work` returns; a panic in it becomes an error.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| Err(io::Error::other(panic)))
}

impl Disk {
    /// Opens a cache directory, creating it where it is missing. Takes time that does not depend on how
    /// much it holds.
    ///
    /// # Errors
    /// [`OpenError::InUse`] if another process holds it, [`OpenError::Io`] if it cannot be written.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Io(directory.to_owned(), error);
        let root = directory.join("v1");
        for folder in ["blobs", "manifests"] {
            for algorithm in Algorithm::ALL {
                fs::create_dir_all(root.join(folder).join(algorithm.name())).map_err(failed)?;
            }
        }
        for folder in ["filling", "quarantine"] {
            fs::create_dir_all(root.join(folder)).map_err(failed)?;
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(root.join("lock"));
        let lock = lock.map_err(failed)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self {
                root,
                verified: Mutex::default(),
                kept: Mutex::default(),
                _lock: lock,
            }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse(directory.to_owned())),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// Where the records are kept.
    pub fn records_path(&self) -> PathBuf {
        self.root.join("records.redb")
    }

    /// Opens the content of a digest; `None` if it is not held, or what stands under its name is not a
    /// plain file.
    pub fn get(&self, shelf: Shelf, digest: &Digest) -> Option<Stored> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(self.path(shelf, digest))
            .ok()?;
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
    /// If the disk refuses.
    pub fn begin(&self, digest: &Digest) -> io::Result<Partial> {
        let path = self.root.join("filling").join(flat_name(digest));
        let open = || {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
                .open(&path)
        };
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(self.root.join("filling"))?;
                open()?
            }
            other => other?,
        };
        let held = file.metadata()?.size();
        Ok(Partial {
            file: Arc::new(file),
            held,
            path,
        })
    }

    /// Begins a file of its own for content that comes another way than by a fill, which may be under way at the
    /// same time: whichever is committed last has the name, and the bytes are the same.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn begin_apart(&self, digest: &Digest) -> io::Result<Partial> {
        let number: u64 = rand::random();
        let name = format!("{}.{number:016x}", flat_name(digest));
        let path = self.root.join("filling").join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok(Partial {
            file: Arc::new(file),
            held: 0,
            path,
        })
    }

    /// Gives a finished file its name. The caller has hashed its `size` bytes. They are on stable storage
    /// before the name appears.
    ///
    /// # Errors
    /// If the disk refuses; the unfinished file is removed then.
    pub fn commit(&self, partial: &Partial, shelf: Shelf, digest: &Digest, size: u64) -> io::Result<()> {
        let path = self.path(shelf, digest);
        let place = || -> io::Result<()> {
            partial.file.set_len(size)?;
            partial.file.sync_data()?;
            fs::create_dir_all(path.parent().expect("content lives in a folder"))?;
            fs::rename(&partial.path, &path)
        };
        match place() {
            Ok(()) => {
                self.mark_verified(digest, size);
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
        if let Err(error) = fs::remove_file(&partial.path) {
            tracing::debug!(%error, "an unfinished file could not be removed");
        }
    }

    /// Stores small content whose digest the caller has verified.
    ///
    /// # Errors
    /// If the disk refuses; nothing is left behind then.
    pub fn put(&self, shelf: Shelf, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        let partial = self.begin(digest)?;
        let written = partial
            .file
            .set_len(0)
            .and_then(|()| partial.file.write_all_at(bytes, 0));
        if let Err(error) = written {
            self.discard(&partial);
            return Err(error);
        }
        self.commit(&partial, shelf, digest, bytes.len() as u64)
    }

    /// Puts a file that does not hash to its name out of the way. What was read of it is not trusted again.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn quarantine(&self, shelf: Shelf, digest: &Digest) -> io::Result<()> {
        self.forget_verified(digest);
        fs::rename(
            self.path(shelf, digest),
            self.root.join("quarantine").join(flat_name(digest)),
        )
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

    pub(super) fn forget_verified(&self, digest: &Digest) {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified.remove(&key(digest));
    }

    pub(super) fn path(&self, shelf: Shelf, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let folder = self.root.join(folder_of(shelf)).join(digest.algorithm().name());
        folder.join(&hex[..2]).join(hex)
    }
}

pub(super) const fn folder_of(shelf: Shelf) -> &'static str {
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
