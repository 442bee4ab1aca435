//! Files beside the index: unfinished ones, which grow until they are committed or discarded, and damaged
//! ones. They take room as well.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;

use super::books::Books;
use super::lease::{Lease, OpenFile};
use super::{Disk, flat_name};
use crate::clock::{Clock, Time};
use crate::oci::Digest;
use crate::policy::eviction::{Content, Facts, Shelf};

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
}

impl Default for Aside {
    fn default() -> Self {
        Self {
            reserved: 0,
            open: 0,
            damaged: false,
            since: Time::from_millis(0),
        }
    }
}

/// A file that grows until it is committed or discarded. Dropped before, it stays for the next fill; so it does
/// while writes go on that nobody waits for.
#[derive(Debug)]
pub struct Partial {
    /// The open file, for readers that follow it.
    pub file: Arc<OpenFile>,
    /// Bytes an earlier process or an abandoned fill left in it.
    pub held: u64,
    name: String,
    path: PathBuf,
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
}

impl Unfinished {
    pub(super) fn is_over(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Nobody has it open any more.
    pub(super) fn set_down(&self, file: &File) {
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
}

impl Disk {
    /// Opens the unfinished file of a digest, or begins one.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn begin(&self, digest: &Digest) -> io::Result<Partial> {
        self.begin_as(format!("{FILLING}/{}", flat_name(digest)))
    }

    /// Begins a file of its own for content that comes another way than by a fill, which may be under way at the
    /// same time: whichever is committed last has the name, and the bytes are the same. Nobody goes on with it.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn begin_apart(&self, digest: &Digest) -> io::Result<Partial> {
        let number = self.puts.fetch_add(1, Ordering::Relaxed);
        let partial = self.begin_as(format!("{FILLING}/{}.{number}{AT_ONCE}", flat_name(digest)))?;
        partial.file.set_len(0)?;
        Ok(Partial { held: 0, ..partial })
    }

    fn begin_as(&self, name: String) -> io::Result<Partial> {
        let path = self.root.join(&name);
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
                fs::create_dir_all(self.root.join(FILLING))?;
                open()?
            }
            other => other?,
        };
        let held = file.metadata()?.size();
        self.books.lock().asides.entry(name.clone()).or_default().open += 1;
        let unfinished = Unfinished {
            name: name.clone(),
            books: self.books.clone(),
            clock: self.clock,
            over: AtomicBool::new(false),
        };
        let file = Arc::new(OpenFile::unfinished(file, unfinished));
        let mut partial = Partial {
            file,
            held,
            name,
            path,
        };
        if self.make_room(&partial, held).is_err() {
            partial.file.set_len(0)?;
            partial.held = 0;
        }
        Ok(partial)
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
        let place = || -> io::Result<()> {
            self.make_room(partial, size)?;
            partial.file.set_len(size)?;
            partial.file.sync_data()?;
            fs::create_dir_all(path.parent().expect("content lives in a folder"))?;
            let _naming = self.books.naming();
            fs::rename(&partial.path, &path)?;
            let mut state = self.books.lock();
            state.release(&partial.name);
            partial.file.is_over();
            let facts = Facts {
                size,
                stored: self.clock.now(),
                used: None,
                pulls: 0,
            };
            state.insert(content, facts);
            state.mark_verified(&content, size);
            state.index.enter(&content);
            Ok(())
        };
        match place() {
            Ok(()) => {
                partial.file.keep(Lease::new(self.books.clone(), content));
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
        partial.file.is_over();
        self.remove_aside(&partial.name);
    }

    /// Stores small content whose digest the caller has verified.
    ///
    /// # Errors
    /// If the disk refuses, or there is no room ([`super::NotKept::of`]); nothing is left behind then.
    pub fn put(&self, shelf: Shelf, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        let partial = self.begin_apart(digest)?;
        let written = || -> io::Result<()> {
            self.make_room(&partial, bytes.len() as u64)?;
            partial.file.write_all_at(bytes, 0)
        };
        if let Err(error) = written() {
            self.discard(&partial);
            return Err(error);
        }
        self.commit(&partial, shelf, digest, bytes.len() as u64)
    }

    /// Puts a file that does not hash to its name out of the way, where there is room for it. What was read of
    /// it is not trusted again.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn quarantine(&self, shelf: Shelf, digest: &Digest) -> io::Result<()> {
        let content = Content {
            shelf,
            digest: *digest,
        };
        let (path, name) = (
            self.path(shelf, digest),
            format!("{QUARANTINE}/{}", flat_name(digest)),
        );
        let _naming = self.books.naming();
        let size = fs::symlink_metadata(&path).map_or(0, |metadata| metadata.size());
        let aside = Aside {
            reserved: size,
            damaged: true,
            since: self.clock.now(),
            ..Aside::default()
        };
        let there_is_room = {
            let mut state = self.books.lock();
            state.remove(&content);
            state.release(&name);
            state.set_aside(name.clone(), aside)
        };
        if !there_is_room {
            return fs::remove_file(path);
        }
        let put_aside = || fs::rename(&path, self.root.join(&name));
        let put_aside = put_aside().or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                fs::create_dir_all(self.root.join(QUARANTINE)).and_then(|()| put_aside())
            }
            _ => Err(error),
        });
        put_aside.inspect_err(|_| self.books.lock().release(&name))
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

    /// Removes a file beside the index.
    pub(super) fn remove_aside(&self, name: &str) {
        match fs::remove_file(self.root.join(name)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::debug!(%error, name, "a file could not be removed"),
        }
        self.books.lock().release(name);
    }

    /// Finds the files beside the index, and sets aside what they take.
    pub(super) fn find_asides(&self) -> io::Result<()> {
        for folder in [FILLING, QUARANTINE] {
            for entry in fs::read_dir(self.root.join(folder))? {
                let entry = entry?;
                let (Ok(metadata), Ok(file)) = (entry.metadata(), entry.file_name().into_string()) else {
                    continue;
                };
                let aside = Aside {
                    reserved: metadata.size(),
                    damaged: folder == QUARANTINE,
                    since: modified(&metadata),
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

/// When a file was last changed.
pub(super) fn modified(metadata: &fs::Metadata) -> Time {
    let since = metadata.modified().ok().map(|at| at.duration_since(UNIX_EPOCH));
    let since = since.and_then(Result::ok).unwrap_or(Duration::ZERO);
    Time::from_millis(0) + since
}
