//! The file of what the operator holds: `v1/holds.json`.
//!
//! Plain and small, and apart from the records, which may be lost: what an operator said must not be. It is
//! replaced whole, and on stable storage before the old one goes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::health::Health;
use super::replaced::replace;
use crate::policy::holds::Holds;

/// Most bytes read: a hundred thousand holds.
const MAX_FILE: u64 = 64 << 20;
/// Most files put aside.
const MAX_ASIDE: u32 = 1000;

/// The file.
#[derive(Debug)]
pub struct HoldsFile {
    path: PathBuf,
    /// Why it must not be written over: what is in it was neither understood nor put aside.
    barred: Mutex<Option<String>>,
}

impl HoldsFile {
    /// Reads the file at `path`; no file is no holds. One that cannot be understood is put aside, and told. Blocks.
    pub fn open(path: &Path) -> (Self, Holds) {
        let file = Self {
            path: path.to_owned(),
            barred: Mutex::default(),
        };
        let holds = match file.read() {
            Ok(holds) => holds,
            Err(why) => {
                file.put_aside(&why);
                Holds::default()
            }
        };
        (file, holds)
    }

    fn read(&self) -> Result<Holds, String> {
        let length = match fs::metadata(&self.path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Holds::default()),
            Err(error) => return Err(error.to_string()),
        };
        if length > MAX_FILE {
            return Err(format!("it has {length} bytes, more than {MAX_FILE}"));
        }
        let text = fs::read_to_string(&self.path).map_err(|error| error.to_string())?;
        Holds::from_text(&text).map_err(|error| error.to_string())
    }

    fn put_aside(&self, why: &str) {
        let path = self.path.display();
        let aside = (1..=MAX_ASIDE).map(|number| self.path.with_extension(format!("damaged-{number}")));
        let aside = aside
            .into_iter()
            .find(|aside| fs::symlink_metadata(aside).is_err());
        let moved = aside.ok_or_else(|| io::Error::other("too many are put aside already"));
        let moved = moved.and_then(|aside| fs::rename(&self.path, &aside).map(|()| aside));
        match moved {
            Ok(aside) => tracing::error!(
                "{path} cannot be used: {why}; it is kept as {}, and NOTHING IS LOCKED OR PINNED now: put it right \
                 and start again, or lock and pin anew",
                aside.display()
            ),
            Err(error) => {
                tracing::error!(
                    "{path} cannot be used: {why}; nor put aside: {error}; nothing is locked or pinned now, and \
                     nothing can be"
                );
                let mut barred = self.barred.lock().unwrap_or_else(PoisonError::into_inner);
                *barred = Some(format!("{path} is there and cannot be used: {why}"));
            }
        }
    }

    /// Replaces the file. It is on stable storage when this returns. What the disk makes of it is reported to its
    /// `health`, which is not asked first: what the operator says is written down if it can be. Blocks.
    ///
    /// # Errors
    /// If the disk refuses, or the file must not be written over; the old file is still there then.
    pub fn save(&self, holds: &Holds, health: &Health) -> io::Result<()> {
        let barred = self.barred.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(why) = barred {
            return Err(io::Error::other(why));
        }
        health.wrote("hold", replace(&self.path, holds.to_text().as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Time;
    use crate::oci::{Descriptor, Digest, MediaType, Reference, Repository};
    use crate::policy::disk::Trouble;
    use crate::policy::holds::{Kind, Name};

    fn some() -> Holds {
        let name = Name {
            repository: Repository {
                registry: "a.io".parse().unwrap(),
                path: "b".parse().unwrap(),
            },
            reference: Reference::Tag("c".parse().unwrap()),
        };
        let descriptor = Descriptor {
            media_type: MediaType::OCI_MANIFEST,
            digest: Digest::sha256(b"x"),
            size: 1,
        };
        let mut holds = Holds::default();
        holds.hold(name, Kind::Lock, descriptor, Time::from_millis(1));
        holds
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_saved_is_there_at_the_next_start_and_nothing_is_left_lying_about() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("holds.json");
        let (file, holds) = HoldsFile::open(&path);
        assert!(holds.is_empty());
        file.save(&some(), &Health::new()).unwrap();
        file.save(&some(), &Health::new()).unwrap();
        assert_eq!(HoldsFile::open(&path).1, some());
        assert_eq!(names(folder.path()), ["holds.json"]);
    }

    #[test]
    fn a_new_file_that_was_not_finished_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("holds.json");
        let save = |holds: &Holds| HoldsFile::open(&path).0.save(holds, &Health::new()).unwrap();
        save(&some());
        fs::write(path.with_extension("json.new"), "{".repeat(5000)).unwrap();
        assert_eq!(HoldsFile::open(&path).1, some());
        // Nothing of it stays behind what is saved next, which is shorter.
        save(&some());
        assert_eq!(HoldsFile::open(&path).1, some());
        save(&Holds::default());
        assert!(HoldsFile::open(&path).1.is_empty());
    }

    #[test]
    fn a_file_that_is_not_understood_is_kept_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("holds.json");
        for text in ["{", "not even"] {
            fs::write(&path, text).unwrap();
            let (file, holds) = HoldsFile::open(&path);
            assert!(holds.is_empty());
            file.save(&some(), &Health::new()).unwrap();
        }
        assert_eq!(
            names(folder.path()),
            ["holds.damaged-1", "holds.damaged-2", "holds.json"]
        );
        let kept = fs::read_to_string(folder.path().join("holds.damaged-2")).unwrap();
        assert_eq!(kept, "not even");
    }

    #[test]
    fn a_file_that_can_be_neither_understood_nor_put_aside_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("holds.json");
        fs::write(&path, "{").unwrap();
        for number in 1..=MAX_ASIDE {
            fs::write(path.with_extension(format!("damaged-{number}")), "").unwrap();
        }
        let (file, _) = HoldsFile::open(&path);
        let health = Health::new();
        for _ in 0..5 {
            let error = file.save(&some(), &health).unwrap_err().to_string();
            assert!(error.contains("cannot be used"), "{error}");
        }
        assert_eq!(health.ailing(), None, "that is no fault of the disk");
        assert_eq!(fs::read_to_string(&path).unwrap(), "{");
    }

    #[test]
    fn a_disk_that_refuses_is_reported_to_its_health() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gone/holds.json");
        let (file, _) = HoldsFile::open(&path);
        let health = Health::new();
        // As many as no file's own bad luck explains.
        for _ in 0..3 {
            file.save(&some(), &health).unwrap_err();
        }
        let ailing = health.ailing().unwrap();
        assert_eq!(ailing.trouble, Trouble::Missing);
        assert!(!health.may_write());
    }
}
