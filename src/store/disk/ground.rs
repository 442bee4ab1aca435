//! The directory itself: is it there, is it ours, and does it take files.

use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use super::Disk;
use super::aside::FILLING;
use crate::policy::disk::Trouble;
use crate::store::files;
use crate::store::health::{Health, trouble_of};
use crate::store::layout::{self, OpenError};

/// The file that finds out whether the disk takes files.
const PROBE: &str = "probe";
/// Its bytes: some pages, so that a file system which keeps small files in its inodes is asked for space too.
const PROBE_BYTES: usize = 64 * 1024;

impl Disk {
    /// Finds out at the start whether the directory can be used, and what stands beside the index.
    pub(super) fn begin_on(&self, directory: &Path) -> Result<(), OpenError> {
        match self.probe() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(OpenError::InUse(directory.to_owned()));
            }
            Err(error) if self.root.is_dir() && is_passing(&error) => self.health.begin_ailing(&error),
            Err(error) => return Err(layout::explain(directory, error)),
        }
        match self.find_asides() {
            Err(error) if self.health.may_write() => Err(layout::explain(directory, error)),
            // What cannot be listed now counts from the next start on.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Makes the folders that are missing, and locks the directory if the lock is not held or is gone. What a
    /// directory that had gone held has gone with it: the tree has to be walked anew then.
    ///
    /// # Errors
    /// If the disk refuses; [`io::ErrorKind::AddrInUse`] if another process has the lock.
    pub(super) fn prepare(&self) -> io::Result<()> {
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
            Ok(Some(locked)) => {
                if lock.replace(locked).is_some() {
                    self.books.lock().doubt();
                }
            }
            Ok(None) => {
                let why = "another process uses the cache directory";
                return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
            }
            Err(error) => return made.and(Err(error)),
        }
        made
    }

    /// How the disk does.
    pub fn health(&self) -> &Arc<Health> {
        &self.health
    }

    /// Reports what came of a write, and passes it on. A disk that is full although there should be room is
    /// measured again.
    pub(super) fn wrote<T>(&self, operation: &'static str, outcome: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &outcome
            && trouble_of(error) == Trouble::Full
        {
            self.books.lock().stir();
        }
        self.health.wrote(operation, outcome)
    }

    /// Finds out whether the disk takes files: makes what is missing of the directory, then writes, syncs and
    /// removes a small file.
    ///
    /// # Errors
    /// Why it does not.
    pub fn probe(&self) -> io::Result<()> {
        let name = format!("{FILLING}/{PROBE}");
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "an earlier probe has not come back");
        let _claim = self.claims.claim(&name).map_err(late)?;
        self.prepare()?;
        let path = self.root.join(&name);
        let written = files::make(&path).and_then(|file| {
            files::write(&file, &path, &[0; PROBE_BYTES], 0)?;
            files::sync(&file, &path)
        });
        match files::remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => written.and(Err(error)),
            _ => written,
        }
    }
}

/// True for what may get better while we run.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        trouble_of(error),
        Trouble::Full | Trouble::Failing | Trouble::ReadOnly
    )
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::oci::Digest;
    use crate::store::Shelf;

    #[tokio::test(start_paused = true)]
    async fn f060_a_disk_that_is_full_against_the_figures_is_measured_again() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let waits = || tokio::time::timeout(std::time::Duration::from_secs(1), disk.stirred());
        assert!(waits().await.is_err(), "nothing has happened");
        drop(disk.wrote::<()>("write", Err(Errno::IO.into())));
        assert!(waits().await.is_err(), "a failing disk need not be measured");
        drop(disk.wrote::<()>("write", Err(Errno::NOSPC.into())));
        assert!(waits().await.is_ok());
    }

    #[test]
    fn a_directory_that_was_made_anew_is_doubted_until_it_was_walked() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        assert!(disk.is_walked() && disk.doubts() == 0);
        disk.probe().unwrap();
        assert!(disk.is_walked(), "nothing was missing");
        std::fs::remove_dir_all(directory.path().join("v1")).unwrap();
        disk.probe().unwrap();
        assert!(!disk.is_walked() && disk.doubts() == 1);
        assert!(!disk.walked(0), "that walk began before");
        assert!(disk.walked(1));
    }

    #[test]
    fn f063_a_damaged_file_that_cannot_be_moved_is_not_held_and_is_moved_when_it_can_be() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let digest = Digest::sha256(b"bytes");
        disk.put(Shelf::Blobs, &digest, b"bytes").unwrap();
        let quarantine = directory.path().join("v1/quarantine");
        std::fs::remove_dir(&quarantine).unwrap();
        std::fs::write(&quarantine, "in the way").unwrap();
        assert!(disk.quarantine(Shelf::Blobs, &digest).is_err());
        let held = || disk.get(Shelf::Blobs, &digest).is_some() || disk.holds(Shelf::Blobs, &digest);
        assert!(!held());
        // A walk finds the file, and is not taken in by it.
        for folder in crate::store::Folder::all() {
            disk.compare(folder, &[]).unwrap();
        }
        assert!(!held());
        std::fs::remove_file(&quarantine).unwrap();
        disk.put_hidden_away();
        assert_eq!(std::fs::read_dir(&quarantine).unwrap().count(), 1);
        assert!(!held());
        // What is stored anew is held again.
        disk.put(Shelf::Blobs, &digest, b"bytes").unwrap();
        disk.put_hidden_away();
        assert!(held());
    }
}
