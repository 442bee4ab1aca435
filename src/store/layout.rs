//! Which layout a cache directory has, and making the folders of ours.
//!
//! Each layout has a version directory of its own, `v1` by now. A directory that holds only a later one, or
//! something in that place that nobody knows, is refused: what a later version wrote is never misread. There
//! is no layout older than `v1`, so nothing is migrated yet; where that would be done is [`migrate`].

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::oci::Algorithm;

/// The layout that is understood.
const VERSION: u32 = 1;
/// Entries of a cache directory looked at: it holds a handful.
const MAX_ENTRIES: usize = 10_000;

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
    /// It is somebody else's.
    #[error(
        "{path} belongs to user {owner} and group {group} (mode {mode:o}), and this process runs as user {user}, \
         which may not write there ({error}); give it away with: chown -R {user}:{user_group} {path}"
    )]
    Denied {
        /// The first thing on the way that denies it.
        path: String,
        /// Its owner.
        owner: u32,
        /// Its group.
        group: u32,
        /// Its permissions.
        mode: u32,
        /// Who we are.
        user: u32,
        /// Our group.
        user_group: u32,
        /// What the system said.
        error: io::Error,
    },
    /// A later version of Seawall wrote it.
    #[error(
        "the cache directory {directory} has layout {found}, and this version of Seawall understands v1 only; run \
         the version that wrote it, or give this one another directory with [cache] directory"
    )]
    Newer {
        /// The directory.
        directory: String,
        /// The layout found.
        found: String,
    },
    /// An earlier version of Seawall wrote it, and nobody knows how to take it over.
    #[error(
        "the cache directory {directory} has layout {found}, which cannot be migrated to v1; remove \
         {directory}/{found} (what it held is fetched again), or give Seawall another directory with [cache] \
         directory"
    )]
    Older {
        /// The directory.
        directory: String,
        /// The layout found.
        found: String,
    },
    /// Something else stands where a layout would.
    #[error(
        "{path} is not a layout of Seawall: expected a folder named v1, found {found}; move it away, or give \
         Seawall another directory with [cache] directory"
    )]
    Unknown {
        /// The path.
        path: String,
        /// What it is.
        found: &'static str,
    },
}

/// Fails unless a directory is new or has the layout that is understood, after a migration where need be.
pub(super) fn check(directory: &Path) -> Result<(), OpenError> {
    let entries = match fs::read_dir(directory) {
        // It will be made, or the making says what is wrong.
        Err(_) => return Ok(()),
        Ok(entries) => entries.take(MAX_ENTRIES),
    };
    let (mut versions, mut odd) = (Vec::new(), None);
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(number) = name.strip_prefix('v') else {
            continue;
        };
        let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        match (number.parse::<u32>(), folder) {
            (Ok(version), true) => versions.push(version),
            (Ok(_), false) => odd = Some((entry.path(), "something that is not a folder")),
            (Err(_), _) if number.starts_with(|c: char| c.is_ascii_digit()) => {
                odd = Some((entry.path(), "a version that nobody knows"));
            }
            (Err(_), _) => {}
        }
    }
    judge(directory, &versions, odd)
}

fn judge(directory: &Path, versions: &[u32], odd: Option<(PathBuf, &'static str)>) -> Result<(), OpenError> {
    if versions.contains(&VERSION) {
        return Ok(());
    }
    if let Some((path, found)) = odd {
        let path = path.display().to_string();
        return Err(OpenError::Unknown { path, found });
    }
    match versions.iter().max() {
        None => Ok(()),
        Some(found) if *found > VERSION => Err(OpenError::Newer {
            directory: directory.display().to_string(),
            found: format!("v{found}"),
        }),
        Some(found) => migrate(directory, *found),
    }
}

/// Takes an older layout over. There is none: the first released layout is `v1`. One that comes to be gets
/// its arm here, from each version to the next.
fn migrate(directory: &Path, found: u32) -> Result<(), OpenError> {
    Err(OpenError::Older {
        directory: directory.display().to_string(),
        found: format!("v{found}"),
    })
}

/// Makes the folders below `root` that are missing.
pub(super) fn make_folders(root: &Path) -> io::Result<()> {
    for folder in ["blobs", "manifests"] {
        for algorithm in Algorithm::ALL {
            fs::create_dir_all(root.join(folder).join(algorithm.name()))?;
        }
    }
    for folder in ["filling", "quarantine"] {
        fs::create_dir_all(root.join(folder))?;
    }
    Ok(())
}

/// Locks the directory for this process; `None` if another has it. Where nothing can be written, a lock file
/// that is there serves as well.
pub(super) fn lock(root: &Path) -> io::Result<Option<File>> {
    let path = root.join("lock");
    let writable = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = match writable {
        Err(error) => File::open(&path).map_err(|_| error)?,
        Ok(file) => file,
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// True if `lock` is still the file by that name, so that it keeps others out.
pub(super) fn still_locks(lock: &File, root: &Path) -> bool {
    let id = |metadata: Metadata| (metadata.dev(), metadata.ino());
    let named = fs::metadata(root.join("lock")).map(id);
    let held = lock.metadata().map(id);
    matches!((named, held), (Ok(named), Ok(held)) if named == held)
}

/// Says who owns what stood in the way, if that is what was wrong.
pub(super) fn explain(directory: &Path, error: io::Error) -> OpenError {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return OpenError::Io(directory.to_owned(), error);
    }
    let inside = ["v1/lock", "v1/filling", "v1"].map(|name| directory.join(name));
    let on_the_way = inside.iter().map(PathBuf::as_path).chain(directory.ancestors());
    let denied = |path: &&Path| {
        rustix::fs::access(*path, rustix::fs::Access::WRITE_OK).is_err() && fs::metadata(path).is_ok()
    };
    let path = on_the_way.into_iter().find(denied);
    let Some((path, metadata)) = path.and_then(|path| Some((path, fs::metadata(path).ok()?))) else {
        return OpenError::Io(directory.to_owned(), error);
    };
    OpenError::Denied {
        path: path.display().to_string(),
        owner: metadata.uid(),
        group: metadata.gid(),
        mode: metadata.mode() & 0o7777,
        user: rustix::process::geteuid().as_raw(),
        user_group: rustix::process::getegid().as_raw(),
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What opening a directory with these folders and files comes to.
    fn opened(folders: &[&str], files: &[&str]) -> Result<(), String> {
        let directory = tempfile::tempdir().unwrap();
        for folder in folders {
            fs::create_dir(directory.path().join(folder)).unwrap();
        }
        for file in files {
            fs::write(directory.path().join(file), "").unwrap();
        }
        let opened = crate::store::Disk::open(directory.path());
        opened.map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn f101_a_newer_layout_is_refused_and_says_what_was_found_and_what_is_understood() {
        let refused = opened(&["v2"], &[]).unwrap_err();
        assert!(
            refused.contains("has layout v2") && refused.contains("understands v1 only"),
            "{refused}"
        );
        assert!(refused.contains("run the version that wrote it"), "{refused}");
        // One that holds ours as well is ours: somebody went forth and came back.
        assert_eq!(opened(&["v2", "v1"], &[]), Ok(()));
    }

    #[test]
    fn f101_an_older_layout_is_refused_as_long_as_there_is_no_migration() {
        let refused = opened(&["v0"], &[]).unwrap_err();
        assert!(
            refused.contains("has layout v0, which cannot be migrated to v1"),
            "{refused}"
        );
        assert!(
            refused.contains("remove") && refused.contains("fetched again"),
            "{refused}"
        );
    }

    #[test]
    fn f101_what_stands_in_the_place_of_a_layout_and_is_none_is_refused() {
        for (folders, files) in [(&[][..], &["v1"][..]), (&["v1-beta"], &[]), (&[], &["v7"])] {
            let refused = opened(folders, files).unwrap_err();
            assert!(refused.contains("is not a layout of Seawall"), "{refused}");
        }
        assert_eq!(opened(&["videos", "lost+found"], &["notes", "vault"]), Ok(()));
    }
}
