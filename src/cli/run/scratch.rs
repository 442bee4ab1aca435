//! The directory that `seawall run` has for as long as its command takes, and those that are left of runs that were
//! killed.
//!
//! It is locked by whoever uses it: by us, and by what we start, which inherits the lock. The kernel lets go of a lock
//! when the last of them is gone, however it ended, so that a directory which can be locked belongs to nobody. A process
//! number would not say that: it may be another process's by now, or one of another container that shares the directory.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::geteuid;
use tempfile::TempDir;

/// What the names begin with.
const PREFIX: &str = "seawall-run-";
/// Directories that are tried: each that is taken away was taken by another run in the moment before it was locked.
const TRIES: usize = 16;

/// A directory that is removed when this is dropped, and by the next run if we are killed.
pub(super) struct Scratch {
    directory: TempDir,
    _lock: File,
}

impl Scratch {
    /// A directory below `parent` for us and for all that we start.
    pub(super) fn new(parent: &Path) -> io::Result<Self> {
        for _ in 0..TRIES {
            let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
            match opened(directory.path()) {
                Ok(lock) if is_ours(&lock, directory.path())? => {
                    // What we start inherits it, and with it the lock.
                    fcntl_setfd(&lock, FdFlags::empty())?;
                    return Ok(Self {
                        directory,
                        _lock: lock,
                    });
                }
                // Another run took it for one that was left.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("others remove what is made there"))
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Locks a directory. True unless somebody else has, or it is another by now than the one that was opened. Where
/// nothing can be locked, nobody removes anything either.
fn is_ours(directory: &File, path: &Path) -> io::Result<bool> {
    let locked = flock(directory, FlockOperation::NonBlockingLockExclusive);
    if locked == Err(Errno::WOULDBLOCK) {
        return Ok(false);
    }
    is_at(directory, path)
}

fn is_at(directory: &File, path: &Path) -> io::Result<bool> {
    let opened = directory.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A directory, and never what a link leads to.
fn opened(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    File::options()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
        .open(path)
}

/// Removes what is left below `parent` of runs of ours that are over. What cannot be removed stays; that is no reason
/// not to run.
pub(super) fn sweep(parent: &Path) {
    for path in left(parent, geteuid().as_raw()) {
        // Whoever has the lock is the only one who removes it.
        let removable = opened(&path).and_then(|lock| Ok((is_left(&lock, &path)?, lock)));
        if let Ok((true, _lock)) = removable {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

/// True if a directory belongs to no process. Whether one does has to be known for certain.
fn is_left(directory: &File, path: &Path) -> io::Result<bool> {
    flock(directory, FlockOperation::NonBlockingLockExclusive)?;
    is_at(directory, path)
}

/// The directories below `parent` that a run of the user `owner` has made.
fn left(parent: &Path, owner: u32) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    let is_own =
        |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|entry| entry.is_dir() && entry.uid() == owner);
    named.map(|entry| entry.path()).filter(is_own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }

    #[test]
    fn what_is_left_of_a_run_goes_and_what_somebody_uses_stays() {
        let parent = tempfile::tempdir().unwrap();
        let used = Scratch::new(parent.path()).unwrap();
        write(&used.path().join("bin/skopeo"));
        let left = parent.path().join("seawall-run-left");
        write(&left.join("cache/v1/blobs/sha256/aa"));
        sweep(parent.path());
        assert!(used.path().join("bin/skopeo").exists(), "somebody uses it");
        assert!(!left.exists(), "nobody uses it");
        let path = used.path().to_owned();
        drop(used);
        assert!(!path.exists());
    }

    #[test]
    fn a_directory_is_kept_by_whoever_has_inherited_its_lock() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(parent.path()).unwrap();
        // As after a fork: another descriptor of the same lock, and ours is gone without a word.
        let inherited = scratch._lock.try_clone().unwrap();
        let path = scratch.path().to_owned();
        let Scratch { directory, _lock } = scratch;
        let _ = directory.keep();
        drop(_lock);
        sweep(parent.path());
        assert!(path.exists(), "a command goes on in it");
        drop(inherited);
        sweep(parent.path());
        assert!(!path.exists(), "the command has ended");
    }

    #[test]
    fn nothing_else_is_removed_and_no_link_is_followed() {
        let parent = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        write(&elsewhere.path().join("precious"));
        std::os::unix::fs::symlink(elsewhere.path(), parent.path().join("seawall-run-link")).unwrap();
        write(&parent.path().join("seawall-run-file"));
        write(&parent.path().join("seawall-runs/precious"));
        let within = parent.path().join("seawall-run-left");
        fs::create_dir(&within).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), within.join("link")).unwrap();
        sweep(parent.path());
        for stays in ["seawall-run-link", "seawall-run-file", "seawall-runs/precious"] {
            assert!(fs::symlink_metadata(parent.path().join(stays)).is_ok(), "{stays}");
        }
        assert!(!within.exists());
        assert!(elsewhere.path().join("precious").exists());
    }

    #[test]
    fn what_is_another_users_stays() {
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir(parent.path().join("seawall-run-left")).unwrap();
        let own = geteuid().as_raw();
        assert_eq!(left(parent.path(), own).len(), 1);
        assert_eq!(left(parent.path(), own + 1), Vec::<PathBuf>::new());
    }
}
