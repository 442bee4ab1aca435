//! Sees when a file of the configuration is another: the file itself, secrets, certificates and keys.
//!
//! Looked at every two seconds instead of being told by inotify: what Kubernetes mounts is swapped by a symlink above
//! the file, what is mounted from elsewhere (NFS, a path of a volume) tells nothing at all, and a look costs a few
//! system calls a file.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::policy::settling::{Settling, Step};
use crate::store::blocking;

/// How often the files are looked at. What has changed holds after two looks that see the same.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What tells a file from another, and from itself once it was written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Where the symlinks on the way lead.
    resolved: PathBuf,
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Renaming and writing set this, whatever becomes of the time above.
    changed: (i64, i64),
}

/// What is seen of each file; `None` if it is not there.
pub(super) type Sight = BTreeMap<PathBuf, Option<Seen>>;

/// Looks at the files. Blocks on the disk.
pub(super) fn look(files: &[PathBuf]) -> Sight {
    files.iter().map(|file| (file.clone(), see(file))).collect()
}

fn see(file: &Path) -> Option<Seen> {
    let resolved = file.canonicalize().ok()?;
    let metadata = resolved.metadata().ok()?;
    Some(Seen {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
        resolved,
    })
}

/// The files of a configuration, as they were when it was read.
#[derive(Debug)]
pub(super) struct Watch(Settling<Sight>);

impl Watch {
    /// They were seen like this before they were read.
    pub(super) fn new(seen: Sight) -> Self {
        Self(Settling::new(seen))
    }

    /// Waits, and looks; the files that are others and have come to rest, if there are any. Cancel-safe.
    pub(super) async fn next(&mut self) -> Vec<PathBuf> {
        tokio::time::sleep(LOOK_EVERY).await;
        let files: Vec<PathBuf> = self.0.holds().keys().cloned().collect();
        let Ok(seen) = blocking(move || Ok(look(&files))).await else {
            return Vec::new();
        };
        let others = self
            .0
            .holds()
            .iter()
            .filter(|(file, was)| seen.get(*file) != Some(*was));
        let others: Vec<PathBuf> = others.map(|(file, _)| file.clone()).collect();
        match self.0.look(seen) {
            Step::Settled => others,
            Step::Still | Step::Changing => Vec::new(),
        }
    }
}
