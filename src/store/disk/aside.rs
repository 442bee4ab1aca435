//! Files beside the index: unfinished ones, which grow until they are committed or discarded, and damaged
//! ones. They take room as well.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::books::Books;
use super::damage::renamed;
use super::lease::{Lease, OpenFile};
use super::{Disk, flat_name};
use crate::clock::{Clock, Time};
use crate::oci::Digest;
use crate::policy::eviction::{Content, Entered, Facts, Shelf};
use crate::store::claims::Claim;
use crate::store::crash::{self, Point};
use crate::store::files;

/// Unfinished files.
pub(super) const FILLING: &str = "filling";
/// Files that did not hash to their names.
pub(super) const QUARANTINE: &str = "quarantine";
/// What the name of a file ends with that nobody resumes.
const AT_ONCE: &str = ".put";

/// A file beside the index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aside {
    /// Bytes set aside for it.
    pub(super) reserved: u64,
    /// How many write it.
    pub(super) open: u32,
    /// True if it did not hash to its name.
    pub(super) damaged: bool,
    /// Since when nobody writes it.
    pub(super) since: Time,
    /// The generation it had while it was held: whoever reads it still.
    pub(super) generation: Option<u32>,
}

impl Default for Aside {
    fn default() -> Self {
        Self {
            reserved: 0,
            open: 0,
            damaged: false,
            since: Time::from_millis(0),
            generation: None,
        }
    }
}

/// A file that grows until it is committed or discarded. One at a time for a digest. Dropped before, it stays for the
/// next fill; so it does while writes go on that nobody waits for.
#[derive(Debug)]
pub struct Partial {
    /// The open file, for readers that follow it.
    pub file: Arc<OpenFile>,
    /// Bytes an earlier process or an abandoned fill left in it.
    pub held: u64,
    name: String,
    path: PathBuf,
    claim: Claim,
}

/// That an unfinished file is open. When the last who reads or writes it lets go of it before it is committed or
/// discarded, it stays for the next fill.
#[derive(Debug)]
pub(super) struct Unfinished {
    name: String,
    books: Arc<Books>,
    clock: Clock,
    /// True once it has become something else, or nothing.
    over: AtomicBool,
    /// Bytes it takes without a name.
    unlinked: AtomicU64,
}

impl Drop for Unfinished {
    /// After the file is closed.
    fn drop(&mut self) {
        let unlinked = *self.unlinked.get_mut();
        if unlinked > 0 {
            self.books.lock().closed(unlinked);
        }
    }
}

impl Unfinished {
    pub(super) fn is_over(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Its name has gone; its bytes have not before everybody has closed it.
    pub(super) fn is_unlinked(&self, file: &File) {
        let written = file.metadata().map_or(0, |metadata| metadata.size());
        let bytes = self.books.lock().unlinked(&self.name, written);
        self.unlinked.fetch_add(bytes, Ordering::Relaxed);
        self.is_over();
    }

    /// Nobody has it open any more.
    pub(super) fn set_down(&self, file: &File) {
        self.books.watch.closed();
        if !self.over.load(Ordering::Relaxed) {
            let written = file.metadata().map_or(0, |metadata| metadata.size());
            self.books.lock().set_down(&self.name, written, self.clock.now());
        }
    }
}

impl Partial {
    /// What it is called among the files beside the index.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Has the name go as soon as the last who writes to it has come back, which may be long after everybody
    /// else has given it up. Until then nobody else begins this digest.
    pub fn give_up(&self) {
        self.claim.give_up();
    }

    /// Takes the name away. If the disk refuses, the file stays, and keeps what was set aside for it.
    fn remove(&self) -> io::Result<()> {
        remove(&self.path)?;
        self.file.is_unlinked();
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.claim.is_given_up()
            && let Err(error) = self.remove()
        {
            tracing::debug!(%error, name = self.name, "an unfinished file could not be removed");
        }
    }
}

/// Takes the name of a file beside the index away; it may have gone already.
fn remove(path: &Path) -> io::Result<()> {
    crash::point(Point::Discarding);
    match files::remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Disk {
    /// Opens the unfinished file of a digest, or begins one.
    ///
    /// # Errors
    /// If the disk refuses; [`io::ErrorKind::ResourceBusy`] if somebody still writes to it.
    pub fn begin(&self, digest: &Digest) -> io::Result<Partial> {
        let begun = self.begin_as(unfinished_name(digest));
        self.wrote("begin", begun)
    }

    /// Begins a file of its own for content that comes another way than by a fill, which may be under way at the
    /// same time: whichever is committed last has the name, and the bytes are the same. Nobody goes on with it.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn begin_apart(&self, digest: &Digest) -> io::Result<Partial> {
        let number = self.puts.fetch_add(1, Ordering::Relaxed);
        let name = format!("{FILLING}/{}.{number}{AT_ONCE}", flat_name(digest));
        let begun = self.begin_as(name).and_then(|mut partial| {
            files::set_len(&partial.file, &partial.path, 0)?;
            partial.held = 0;
            Ok(partial)
        });
        self.wrote("begin", begun)
    }

    fn begin_as(&self, name: String) -> io::Result<Partial> {
        let claim = self.claims.claim(&name)?;
        let path = self.root.join(&name);
        let file = match files::make(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.prepare()?;
                files::make(&path)
            }
            other => other,
        }?;
        let held = file.metadata()?.size();
        self.books.lock().asides.entry(name.clone()).or_default().open += 1;
        self.books.watch.opened();
        let unfinished = Unfinished {
            name: name.clone(),
            books: self.books.clone(),
            clock: self.clock,
            over: AtomicBool::new(false),
            unlinked: AtomicU64::new(0),
        };
        let mut partial = Partial {
            file: Arc::new(OpenFile::unfinished(file, unfinished)),
            held,
            name,
            path,
            claim,
        };
        crash::point(Point::Begun);
        if self.make_room(&partial, held).is_err() {
            files::set_len(&partial.file, &partial.path, 0)?;
            partial.held = 0;
        }
        Ok(partial)
    }

    /// Writes pieces to an unfinished file, one behind the other from an offset on.
    ///
    /// # Errors
    /// If the disk refuses; some of it may be written then.
    pub fn write(&self, partial: &Partial, at: u64, pieces: &[impl AsRef<[u8]>]) -> io::Result<()> {
        let written = files::write_pieces(&partial.file, &partial.path, pieces, at);
        self.wrote("write", written)?;
        crash::point(Point::Written);
        Ok(())
    }

    /// Gives a finished file its name. The caller has hashed its `size` bytes. They are on stable storage
    /// before the name appears. What was set aside for it becomes what is held.
    ///
    /// # Errors
    /// If the disk refuses, or there is no room ([`super::NotKept::of`]); the unfinished file is removed then.
    pub fn commit(&self, partial: &Partial, shelf: Shelf, digest: &Digest, size: u64) -> io::Result<()> {
        let content = Content {
            shelf,
            digest: *digest,
        };
        let path = self.path(shelf, digest);
        let place = || -> io::Result<Option<Entered>> {
            self.make_room(partial, size)?;
            files::set_len(&partial.file, &partial.path, size)?;
            crash::point(Point::CommitSized);
            files::sync(&partial.file, &partial.path)?;
            crash::point(Point::CommitSynced);
            fs::create_dir_all(path.parent().expect("content lives in a folder"))?;
            let _naming = self.books.naming(&content);
            files::rename(&partial.path, &path)?;
            crash::point(Point::CommitNamed);
            let mut state = self.books.lock();
            state.release(&partial.name);
            partial.file.is_over();
            let facts = Facts {
                size,
                stored: self.clock.now(),
                used: None,
                pulls: 0,
                closed: false,
            };
            state.insert(content, facts);
            state.mark_verified(&content, size);
            Ok(state.index.enter(&content))
        };
        match self.wrote("commit", place()) {
            Ok(entered) => {
                crash::point(Point::CommitListed);
                if let Some(Entered { generation, .. }) = entered {
                    let lease = Lease::new(self.books.clone(), content, generation);
                    partial.file.keep(lease);
                }
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
        if let Err(error) = self.wrote("remove", partial.remove()) {
            tracing::debug!(%error, name = partial.name, "an unfinished file could not be removed");
        }
    }

    /// Stores small content whose digest the caller has verified.
    ///
    /// # Errors
    /// If the disk refuses, or there is no room ([`super::NotKept::of`]); nothing is left behind then.
    pub fn put(&self, shelf: Shelf, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        let partial = self.begin_apart(digest)?;
        let written = || -> io::Result<()> {
            self.make_room(&partial, bytes.len() as u64)?;
            self.write(&partial, 0, &[bytes])
        };
        if let Err(error) = written() {
            self.discard(&partial);
            return Err(error);
        }
        self.commit(&partial, shelf, digest, bytes.len() as u64)
    }

    /// Removes the names of everything unfinished that nobody has touched since `deadline`, and of what nobody
    /// will ever go on with.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn sweep(&self, deadline: SystemTime) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join(FILLING))? {
            let entry = entry?;
            let Ok(metadata) = entry.metadata() else { continue };
            let Ok(file) = entry.file_name().into_string() else {
                continue;
            };
            let name = format!("{FILLING}/{file}");
            let writes = self.books.lock().asides.get(&name).map(|aside| aside.open);
            let old = metadata.modified().is_ok_and(|modified| modified < deadline);
            let stale = old || (file.ends_with(AT_ONCE) && writes.is_some());
            if stale && writes.unwrap_or(0) == 0 && !metadata.is_dir() {
                self.remove_aside(&name);
            }
        }
        Ok(())
    }

    /// Removes a file beside the index, unless somebody has begun to write it. If the disk refuses, it stays, and
    /// keeps what was set aside for it.
    pub(super) fn remove_aside(&self, name: &str) {
        let Ok(_claim) = self.claims.claim(name) else {
            return;
        };
        match self.wrote("remove", remove(&self.root.join(name))) {
            Ok(()) => self.books.lock().release(name),
            Err(error) => tracing::debug!(%error, name, "a file could not be removed"),
        }
    }

    /// Finds the files beside the index, and sets aside what they take.
    pub(super) fn find_asides(&self) -> io::Result<()> {
        for folder in [FILLING, QUARANTINE] {
            let entries = match fs::read_dir(self.root.join(folder)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let (Ok(metadata), Ok(file)) = (entry.metadata(), entry.file_name().into_string()) else {
                    continue;
                };
                let damaged = folder == QUARANTINE;
                let aside = Aside {
                    reserved: metadata.size(),
                    damaged,
                    since: if damaged {
                        renamed(&metadata)
                    } else {
                        modified(&metadata)
                    },
                    ..Aside::default()
                };
                if metadata.is_file() {
                    self.books.lock().set_aside(format!("{folder}/{file}"), aside);
                }
            }
        }
        Ok(())
    }

    /// Bytes that the files beside the index take on the disk now.
    pub(super) fn aside_bytes(&self) -> u64 {
        let names: Vec<String> = self.books.lock().asides.keys().cloned().collect();
        let size = |name: &String| fs::symlink_metadata(self.root.join(Path::new(name)));
        let sizes = names
            .iter()
            .filter_map(|name| size(name).ok())
            .map(|found| found.size());
        sizes.sum()
    }
}

pub(super) fn unfinished_name(digest: &Digest) -> String {
    format!("{FILLING}/{}", flat_name(digest))
}

/// When a file was last changed.
pub(super) fn modified(metadata: &fs::Metadata) -> Time {
    let since = metadata.modified().ok().map(|at| at.duration_since(UNIX_EPOCH));
    let since = since.and_then(Result::ok).unwrap_or(Duration::ZERO);
    Time::from_millis(0) + since
}
