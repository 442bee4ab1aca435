//! The file of the records: opened at the start, and opened again when it has failed or is another one.
//!
//! After one error the embedded store takes nothing more until it is opened anew. A directory that went away and
//! was made again has a new file, or none.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use redb::Database;
use redb::backends::FileBackend;

use super::PAGE_CACHE;
use crate::store::files;

/// The database, for as long as it can be used.
pub(super) struct Opened {
    path: PathBuf,
    /// With the file it is in. The lock is held for moments.
    current: RwLock<Option<(Arc<Database>, FileId)>>,
}

/// Device and number.
type FileId = (u64, u64);

impl Opened {
    /// Opens the records. Damaged ones are put aside and begun anew.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            current: RwLock::new(open_or_renew(path)),
        }
    }

    /// The database; `None` while the disk refuses it.
    pub(super) fn get(&self) -> Option<Arc<Database>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().map(|(database, _)| database.clone())
    }

    /// The database that is in the file by that name now, opened if it has to be; `None` if it cannot be. Blocks.
    pub(super) fn renewed(&self) -> Option<Arc<Database>> {
        let held = {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            current.clone()
        };
        match held {
            Some((database, file)) if file_id(&self.path) == Some(file) => Some(database),
            // Until there is another one, what was open answers.
            _ => self.open_again(),
        }
    }

    /// It has failed: it is closed, and opened again. Blocks.
    pub(super) fn after_failure(&self) -> Option<Arc<Database>> {
        self.set(None);
        self.open_again()
    }

    fn open_again(&self) -> Option<Arc<Database>> {
        match open(&self.path) {
            Ok(opened) => {
                tracing::info!("the records are written again");
                self.set(Some(opened));
            }
            Err(error) => tracing::debug!(%error, "the records cannot be opened again now"),
        }
        self.get()
    }

    fn set(&self, to: Option<(Arc<Database>, FileId)>) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *current, to);
        drop(current);
        // Closing it may take a while.
        drop(before);
    }
}

fn file_id(path: &Path) -> Option<FileId> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

fn open(path: &Path) -> Result<(Arc<Database>, FileId), redb::Error> {
    let file = files::make(path)?;
    let is_new = file.metadata()?.len() == 0;
    let backend = FileBackend::new(file)?;
    #[cfg(test)]
    let backend = crate::store::simulation::Noted::new(backend, path);
    let database = Database::builder()
        .set_cache_size(PAGE_CACHE)
        .create_with_backend(backend)?;
    let mut begin = database.begin_write()?;
    begin.set_quick_repair(true);
    super::create_tables(&begin)?;
    begin.commit()?;
    if is_new && let Some(folder) = path.parent() {
        // What is reported to be on disk is there only as long as the file has its name.
        files::sync_folder(folder)?;
    }
    let file = file_id(path).ok_or(redb::Error::Io(std::io::ErrorKind::NotFound.into()))?;
    Ok((Arc::new(database), file))
}

/// True if it is the disk that refuses, or whoever it belongs to: the records may be well.
fn is_of_the_disk(error: &redb::Error) -> bool {
    let redb::Error::Io(error) = error else {
        return false;
    };
    // What a file has that is cut short or is none of ours.
    !matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
}

fn open_or_renew(path: &Path) -> Option<(Arc<Database>, FileId)> {
    open(path)
        .or_else(|error| {
            if is_of_the_disk(&error) {
                return Err(error);
            }
            tracing::warn!(%error, "the records are damaged or unreadable: beginning anew; content is kept");
            if let Err(error) = files::rename(path, &path.with_extension("damaged")) {
                tracing::warn!(%error, "the damaged records could not be put aside");
            }
            open(path)
        })
        .inspect_err(
            |error| tracing::error!(%error, "no records on disk: tags are remembered in memory only"),
        )
        .ok()
}

#[cfg(test)]
mod tests {
    use crate::clock::Time;
    use crate::oci::{Digest, MediaType};
    use crate::store::Records;

    #[test]
    fn records_whose_file_went_away_are_written_to_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let (inner, path) = (folder.path().join("v1"), folder.path().join("v1/records.redb"));
        std::fs::create_dir(&inner).unwrap();
        let records = Records::open(&path);
        let repository = "docker.io/library/app".parse().unwrap();
        let put = |number: u8| {
            let digest = Digest::sha256(&[number]);
            records.put_manifest(
                &repository,
                &digest,
                &MediaType::OCI_MANIFEST,
                Time::from_millis(1),
            );
            records.flush();
            digest
        };
        let first = put(1);
        std::fs::remove_dir_all(&inner).unwrap();
        // As long as there is no folder for another file, what is open answers.
        let second = put(2);
        assert!(records.media_type(&first).is_some() && records.media_type(&second).is_some());
        std::fs::create_dir(&inner).unwrap();
        let third = put(3);
        assert!(records.media_type(&first).is_none() && records.media_type(&third).is_some());
        drop(records);
        assert!(Records::open(&path).media_type(&third).is_some());
    }

    #[test]
    fn records_that_could_not_be_opened_at_the_start_are_opened_when_they_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("v1");
        let records = Records::open(&inner.join("records.redb"));
        let digest = Digest::sha256(b"x");
        let repository = "docker.io/library/app".parse().unwrap();
        let put = || {
            records.put_manifest(
                &repository,
                &digest,
                &MediaType::OCI_MANIFEST,
                Time::from_millis(1),
            );
            records.flush();
        };
        put();
        assert!(records.media_type(&digest).is_none());
        std::fs::create_dir(&inner).unwrap();
        put();
        assert!(records.media_type(&digest).is_some());
    }
}
