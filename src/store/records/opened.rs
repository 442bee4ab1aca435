//! The file of the records: opened at the start, and opened again when it has failed or is another one.
//!
//! After one error the embedded store takes nothing more until it is opened anew. A directory that went away and
//! was made again has a new file, or none. A file that is damaged is put aside, whenever that is found.

use std::fs::File;
use std::io::ErrorKind;
use std::ops::Deref;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use redb::Database;
use redb::backends::FileBackend;

use super::PAGE_CACHE;
use crate::policy::disk::Trouble;
use crate::store::files;
use crate::store::health::trouble_of;

/// Deaths in a row after which the whole file is checked at the next start: the store takes it for sound otherwise, and
/// some damage ends the process, whatever is done about it. A check reads all of it: some 200 MB for a million objects.
const CHECKED_AFTER: u32 = 2;

/// Bytes copied at a time.
const PIECE: usize = 1 << 20;

/// The database, for as long as it can be used.
pub(super) struct Opened {
    path: PathBuf,
    /// With the file it is in. The lock is held for moments.
    current: RwLock<Option<(Arc<Open>, FileId)>>,
    /// What is in the file has turned out to be damaged.
    broken: AtomicBool,
}

/// A database that is open. Whoever used it last closes it, and closing one that is damaged may fail where it would not
/// be expected: no answer is lost by that.
pub(super) struct Open(Option<Database>);

impl Deref for Open {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.0.as_ref().expect("it is there until it is closed")
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let closed = whole(|| {
            self.0 = None;
            Ok(())
        });
        if let Err(error) = closed {
            tracing::debug!(%error, "the records were not closed in good order");
        }
    }
}

/// Device and number.
type FileId = (u64, u64);

impl Opened {
    /// Opens the records. Damaged ones are put aside and begun anew. Where the last two to open them were not there
    /// to close them, all of what is in the file is checked first: it may be what they died of.
    pub(super) fn new(path: &Path) -> Self {
        // A copy that was not finished is of no use.
        let _: std::io::Result<()> = files::remove(&path.with_extension("new"));
        let deaths = deaths(path);
        note_deaths(path, deaths.saturating_add(1));
        let opened = open_or_renew(path, deaths >= CHECKED_AFTER).inspect_err(
            |error| tracing::error!(%error, "no records on disk: tags are remembered in memory only"),
        );
        Self {
            path: path.to_owned(),
            current: RwLock::new(opened.ok()),
            broken: AtomicBool::new(false),
        }
    }

    /// The database; `None` while the disk refuses it.
    pub(super) fn get(&self) -> Option<Arc<Open>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().map(|(database, _)| database.clone())
    }

    /// The database that is in the file by that name now, opened if it has to be; `None` if it cannot be. Blocks.
    pub(super) fn renewed(&self) -> Option<Arc<Open>> {
        if self.broken.swap(false, Ordering::Relaxed) {
            put_aside(&self.path);
        }
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

    /// The database has failed: it is closed, and opened again; begun anew if it was damaged. Blocks.
    pub(super) fn after_failure(&self, database: Arc<Open>, error: &redb::Error) -> Option<Arc<Open>> {
        let is_broken = self.is_broken(&database, error);
        drop(database);
        self.set(None);
        if !is_broken && is_failing(error) {
            renew(&self.path);
        }
        self.renewed()
    }

    /// True if an error of this database says that what is in the file is damaged: it is not used any more, and the
    /// next that is written begins anew.
    pub(super) fn is_broken(&self, database: &Arc<Open>, error: &redb::Error) -> bool {
        // Another that has taken its place since is well.
        let is_used = self.get().is_some_and(|used| Arc::ptr_eq(&used, database));
        let is_broken = is_used && is_damage(error);
        if is_broken {
            tracing::warn!(%error, "the records are damaged: beginning anew; content is kept");
            self.broken.store(true, Ordering::Relaxed);
            self.set(None);
        }
        is_broken
    }

    fn open_again(&self) -> Option<Arc<Open>> {
        match open_or_renew(&self.path, false) {
            Ok(opened) => {
                tracing::info!("the records are written again");
                self.set(Some(opened));
            }
            Err(error) => tracing::debug!(%error, "the records cannot be opened again now"),
        }
        self.get()
    }

    fn set(&self, to: Option<(Arc<Open>, FileId)>) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *current, to);
        // Closing it may take a while.
        drop(current);
        drop(before);
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.set(None);
        note_deaths(&self.path, 0);
    }
}

/// How often in a row the records were opened and not closed.
fn deaths(path: &Path) -> u32 {
    let text = std::fs::read_to_string(path.with_extension("opened")).ok();
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Writes that down. It need not survive more than a death of the process: nothing is lost with it.
fn note_deaths(path: &Path, deaths: u32) {
    let note = path.with_extension("opened");
    let noted = match deaths {
        0 => std::fs::remove_file(note),
        deaths => std::fs::write(note, deaths.to_string()),
    };
    if let Err(error) = noted {
        tracing::debug!(%error, "how the records were closed is not noted");
    }
}

/// Works on the store. It takes a file that was closed in good order for sound, and panics at what it does not expect
/// there: that is damage as well.
///
/// # Errors
/// What `work` returns.
pub(super) fn whole<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, redb::Error> {
    let panicked = |_| {
        Err(redb::Error::Corrupted(
            "what is in the file makes no sense".to_owned(),
        ))
    };
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(panicked)
}

fn file_id(path: &Path) -> Option<FileId> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

fn open(path: &Path, is_checked: bool) -> Result<(Arc<Open>, FileId), redb::Error> {
    let file = files::make(path)?;
    let is_new = file.metadata()?.len() == 0;
    let opened = open_file(path, file, is_new, is_checked);
    if opened.is_err() && is_new {
        // Nothing is lost with it; and if it was its sync that failed, it is not to be gone on with.
        let _: std::io::Result<()> = files::remove(path);
    }
    opened
}

fn open_file(
    path: &Path,
    file: File,
    is_new: bool,
    is_checked: bool,
) -> Result<(Arc<Open>, FileId), redb::Error> {
    let backend = FileBackend::new(file)?;
    #[cfg(test)]
    let backend = crate::store::simulation::Noted::new(backend, path);
    let database = Database::builder()
        .set_cache_size(PAGE_CACHE)
        .set_check_integrity_on_open(is_checked)
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
    Ok((Arc::new(Open(Some(database))), file))
}

/// Goes on in a copy of the file, which is synced for the first time. What a sync that failed has left unwritten,
/// the kernel takes for written: reads find it, no later sync writes it, and the next power cut loses it.
fn copy_over(path: &Path) -> std::io::Result<()> {
    let new = path.with_extension("new");
    match files::remove(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (old, copy) = (File::open(path)?, files::make(&new)?);
    let (mut at, mut piece) = (0, vec![0; PIECE]);
    loop {
        let read = old.read_at(&mut piece, at)?;
        if read == 0 {
            break;
        }
        files::write(&copy, &new, &piece[..read], at)?;
        at += read as u64;
    }
    files::sync(&copy, &new)?;
    files::rename(&new, path)?;
    match path.parent() {
        Some(folder) => files::sync_folder(folder),
        None => Ok(()),
    }
}

/// As [`copy_over`], if that can be done: the old file is better than none.
fn renew(path: &Path) {
    match copy_over(path) {
        Ok(()) => tracing::info!("the records go on in a new file: a sync of the old one may have failed"),
        Err(error) => tracing::warn!(%error, "the records go on in a file whose sync may have failed"),
    }
}

/// True if the disk fails, and not only has no room: a sync may have failed.
fn is_failing(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Io(error) if trouble_of(error) == Trouble::Failing)
}

/// True if it is not the disk that refuses, nor somebody else who has it: the records are not well.
fn is_damage(error: &redb::Error) -> bool {
    match error {
        // What a file has that is cut short or is none of ours.
        redb::Error::Io(error) => matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof),
        redb::Error::DatabaseAlreadyOpen
        | redb::Error::DatabaseClosed
        | redb::Error::PreviousIo
        | redb::Error::WouldBlock => false,
        _ => true,
    }
}

fn open_or_renew(path: &Path, is_checked: bool) -> Result<(Arc<Open>, FileId), redb::Error> {
    let opened = whole(|| open(path, is_checked));
    match opened {
        Err(error) if is_damage(&error) => {
            tracing::warn!(%error, "the records are damaged or unreadable: beginning anew; content is kept");
            put_aside(path);
            whole(|| open(path, false))
        }
        Err(error) if is_failing(&error) => {
            renew(path);
            whole(|| open(path, is_checked))
        }
        opened => opened,
    }
}

fn put_aside(path: &Path) {
    if let Err(error) = files::rename(path, &path.with_extension("damaged")) {
        tracing::warn!(%error, "the damaged records could not be put aside");
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::Time;
    use crate::oci::{Digest, MediaType};
    use crate::store::Records;

    /// Writes down that a manifest is there, one for each number.
    fn put(records: &Records, number: u8) -> Digest {
        let digest = Digest::sha256(&[number]);
        let repository = "docker.io/library/app".parse().unwrap();
        records.put_manifest(
            &repository,
            &digest,
            &MediaType::OCI_MANIFEST,
            Time::from_millis(1),
        );
        records.flush();
        digest
    }

    #[test]
    fn records_whose_file_went_away_are_written_to_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let (inner, path) = (folder.path().join("v1"), folder.path().join("v1/records.redb"));
        std::fs::create_dir(&inner).unwrap();
        let records = Records::open(&path);
        let first = put(&records, 1);
        std::fs::remove_dir_all(&inner).unwrap();
        // As long as there is no folder for another file, what is open answers.
        let second = put(&records, 2);
        assert!(records.media_type(&first).is_some() && records.media_type(&second).is_some());
        std::fs::create_dir(&inner).unwrap();
        let third = put(&records, 3);
        assert!(records.media_type(&first).is_none() && records.media_type(&third).is_some());
        drop(records);
        assert!(Records::open(&path).media_type(&third).is_some());
    }

    #[test]
    fn records_that_could_not_be_opened_at_the_start_are_opened_when_they_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("v1");
        let records = Records::open(&inner.join("records.redb"));
        let digest = put(&records, 1);
        assert!(records.media_type(&digest).is_none());
        std::fs::create_dir(&inner).unwrap();
        put(&records, 1);
        assert!(records.media_type(&digest).is_some());
    }
}
