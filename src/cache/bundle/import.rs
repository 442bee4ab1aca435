//! Reading a bundle as it comes: every blob is hashed on the way, and has its name before it is kept.
//!
//! What could be a manifest is small, and waits in memory until the list of the layout has said what it is
//! ([`super::settle`]); everything else goes to the disk at once, beside the fills, which go on undisturbed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{INDEX, LAYOUT};
use crate::cache::{Cache, Shelves};
use crate::oci::tar::{Item, TarError, TarReader};
use crate::oci::{Digest, Hasher, Manifest};
use crate::policy::eviction::Content;
use crate::store::{NotKept, Partial, Shelf, blocking};

/// Longest manifest, in bytes: what upstreams are allowed by default.
const MAX_MANIFEST: u64 = 4 << 20;
/// Most bytes of manifests that wait in memory: those of some ten thousand images.
const MAX_WAITING: usize = 64 << 20;
/// Longest list of a layout, in bytes.
const MAX_INDEX: u64 = 16 << 20;
/// Bytes written and hashed at a time.
const STEP: usize = 1 << 20;

/// Why a bundle cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is no archive that is read here.
    #[error("{0}")]
    Archive(#[from] TarError),
    /// It is an archive of something else.
    #[error("{0}")]
    NotALayout(String),
    /// Some bytes are not what their name says.
    #[error("the bundle is damaged: `{0}` does not hash to its name; nothing that was named is changed")]
    Damaged(String),
    /// Something belongs into it and is not there.
    #[error("the bundle is not whole: {0}")]
    Lacks(String),
    /// An image has no name, or one that means nothing here.
    #[error("{0}")]
    Name(String),
    /// It would move a tag that is locked.
    #[error("{0}: `seawall unlock` it first, or give another name with --as")]
    Locked(String),
    /// The disk refuses.
    #[error("the cache cannot keep it: {0}")]
    Disk(#[from] std::io::Error),
}

/// Keeps some content from being evicted.
pub(super) type Stay = Box<dyn Send + Sync>;

/// The file that is being read.
enum Current {
    /// None, or one of no interest.
    Nothing,
    /// One that is read whole: the layout's own, or a small blob.
    Small(Place, BytesMut),
    /// A blob on its way to the disk.
    Large(Box<Large>),
}

enum Place {
    Layout,
    Index,
    Blob(Digest),
}

struct Large {
    digest: Digest,
    hasher: Hasher,
    /// `None` if it is held already: then it is only hashed.
    partial: Option<Arc<Partial>>,
    gathered: BytesMut,
    at: u64,
}

/// A bundle that is being read.
pub struct Importer {
    pub(super) cache: Cache,
    reader: TarReader,
    current: Current,
    /// Bytes of the current file that are still to come.
    left: u64,
    pub(super) layout: Option<Bytes>,
    pub(super) index: Option<Bytes>,
    /// What could be a manifest.
    pub(super) waiting: HashMap<Digest, Bytes>,
    waiting_bytes: usize,
    /// The blobs of the bundle that are held by now.
    pub(super) blobs: HashSet<Digest>,
    /// Those that were not held before: marked, until it is known whose they are.
    pub(super) new: HashSet<Digest>,
    /// What is held of it stays until the import has ended: none of it makes room for the rest.
    pub(super) stays: HashMap<Content, Stay>,
    /// True if it has what an archive of Docker's own form has.
    docker: bool,
    pub(super) written: u64,
    pub(super) held: u64,
}

impl Cache {
    /// Begins to read a bundle.
    pub fn import(&self) -> Importer {
        Importer {
            cache: self.clone(),
            reader: TarReader::default(),
            current: Current::Nothing,
            left: 0,
            layout: None,
            index: None,
            waiting: HashMap::new(),
            waiting_bytes: 0,
            blobs: HashSet::new(),
            new: HashSet::new(),
            stays: HashMap::new(),
            docker: false,
            written: 0,
            held: 0,
        }
    }
}

impl Importer {
    /// Takes the next bytes of the archive.
    ///
    /// Not cancel-safe: an importer whose future was dropped must be dropped too. Then nothing unfinished stays.
    ///
    /// # Errors
    /// [`ImportError`]; the importer is of no use after that. Blobs that were whole stay, and belong to nothing.
    pub async fn take(&mut self, mut bytes: Bytes) -> Result<(), ImportError> {
        while let Some(item) = self.reader.next(&mut bytes)? {
            match item {
                Item::File { name, size } => {
                    self.left = size;
                    self.current = self.open(&name, size).await?;
                }
                Item::Data(data) => {
                    self.left -= data.len() as u64;
                    match &mut self.current {
                        Current::Nothing => {}
                        Current::Small(_, gathered) => gathered.extend_from_slice(&data),
                        Current::Large(large) => {
                            large.gathered.extend_from_slice(&data);
                            if large.gathered.len() >= STEP {
                                large.write(self.cache.shelves.clone()).await?;
                            }
                        }
                    }
                }
                Item::End => continue,
            }
            if self.left == 0 {
                self.close().await?;
            }
        }
        Ok(())
    }

    /// Checks that the archive has ended where it should, and is a layout.
    pub(super) fn ended(&self) -> Result<(), ImportError> {
        self.reader.finish()?;
        match (&self.layout, &self.index) {
            (Some(_), Some(_)) => Ok(()),
            _ if self.docker => Err(ImportError::NotALayout(
                "this is an archive in Docker's own form, whose layers have no digests that a registry knows; save \
                 the image with `skopeo copy docker://… oci-archive:FILE:NAME` or `podman save --format oci-archive` \
                 instead"
                    .to_owned(),
            )),
            _ => Err(ImportError::NotALayout(format!(
                "this is no OCI image layout: the archive has no `{LAYOUT}` or no `{INDEX}` at its top"
            ))),
        }
    }

    /// Begins a file of the archive.
    async fn open(&mut self, name: &str, size: u64) -> Result<Current, ImportError> {
        if let Some(blob) = name.strip_prefix("blobs/") {
            let digest = blob.replacen('/', ":", 1).parse::<Digest>().map_err(|error| {
                let why = format!("`{name}` in the archive is named after no digest: {error}");
                ImportError::NotALayout(why)
            })?;
            return self.open_blob(digest, size).await;
        }
        let place = match name {
            LAYOUT => Place::Layout,
            INDEX => Place::Index,
            "manifest.json" | "repositories" => {
                self.docker = true;
                return Ok(Current::Nothing);
            }
            _ => return Ok(Current::Nothing),
        };
        if size > MAX_INDEX {
            let why = format!("`{name}` in the archive has {size} bytes; at most {MAX_INDEX} are read");
            return Err(ImportError::NotALayout(why));
        }
        let again = match place {
            Place::Layout => self.layout.is_some(),
            Place::Index | Place::Blob(_) => self.index.is_some(),
        };
        match again {
            true => Err(ImportError::NotALayout(format!(
                "the archive has two files `{name}`"
            ))),
            false => Ok(Current::Small(place, BytesMut::new())),
        }
    }

    async fn open_blob(&mut self, digest: Digest, size: u64) -> Result<Current, ImportError> {
        if size <= MAX_MANIFEST {
            return Ok(Current::Small(Place::Blob(digest), BytesMut::new()));
        }
        let shelves = self.cache.shelves.clone();
        let begun = blocking(move || {
            if let Some(stay) = shelves.disk.stay(blob(digest)) {
                return Ok((None, Some(stay)));
            }
            let partial = shelves.disk.begin_apart(&digest)?;
            let room = patiently(|| Ok(shelves.disk.make_room(&partial, size)?));
            if let Err(why) = room {
                shelves.disk.discard(&partial);
                return Err(why);
            }
            Ok((Some(Arc::new(partial)), None))
        });
        let (partial, stay) = begun.await.map_err(|error| not_kept(&digest, error))?;
        self.stays.extend(stay.map(|stay| (blob(digest), stay)));
        Ok(Current::Large(Box::new(Large {
            digest,
            hasher: Hasher::new(digest.algorithm()),
            partial,
            gathered: BytesMut::new(),
            at: 0,
        })))
    }

    /// A file of the archive is here whole.
    async fn close(&mut self) -> Result<(), ImportError> {
        match std::mem::replace(&mut self.current, Current::Nothing) {
            Current::Nothing => Ok(()),
            Current::Small(Place::Layout, bytes) => {
                self.layout = Some(bytes.freeze());
                Ok(())
            }
            Current::Small(Place::Index, bytes) => {
                self.index = Some(bytes.freeze());
                Ok(())
            }
            Current::Small(Place::Blob(digest), bytes) => self.close_small(digest, bytes.freeze()).await,
            Current::Large(large) => {
                // Until it is settled it stands where a drop finds it.
                self.current = Current::Large(large);
                self.close_large().await
            }
        }
    }

    async fn close_small(&mut self, digest: Digest, bytes: Bytes) -> Result<(), ImportError> {
        if Digest::of(digest.algorithm(), &bytes) != digest {
            return Err(ImportError::Damaged(digest.to_string()));
        }
        if Manifest::parse(bytes.clone(), None).is_err() {
            return self.keep_blob(digest, bytes).await;
        }
        self.waiting_bytes += bytes.len();
        if self.waiting_bytes > MAX_WAITING {
            let why = format!("the archive has more than {MAX_WAITING} bytes of manifests; split it");
            return Err(ImportError::NotALayout(why));
        }
        self.waiting.insert(digest, bytes);
        Ok(())
    }

    async fn close_large(&mut self) -> Result<(), ImportError> {
        let Current::Large(large) = &mut self.current else {
            return Ok(());
        };
        large.write(self.cache.shelves.clone()).await?;
        let (digest, size) = (large.digest, large.at);
        if large.hasher.clone().finish() != digest {
            return Err(ImportError::Damaged(digest.to_string()));
        }
        match large.partial.take() {
            None => self.held += size,
            Some(partial) => {
                let shelves = self.cache.shelves.clone();
                let commit = move || {
                    let _closing = shelves.disk.closing(&digest, None);
                    shelves.disk.commit(&partial, Shelf::Blobs, &digest, size)?;
                    // Before the file that was filled goes, and lets go of it.
                    Ok(shelves.disk.stay(blob(digest)))
                };
                let stay = blocking(commit).await.map_err(|error| not_kept(&digest, error))?;
                self.stays.extend(stay.map(|stay| (blob(digest), stay)));
                self.cache.shelves.records.put_size(&digest, size);
                self.written += size;
                self.new.insert(digest);
            }
        }
        self.current = Current::Nothing;
        self.blobs.insert(digest);
        Ok(())
    }

    /// Keeps a small blob that was verified.
    pub(super) async fn keep_blob(&mut self, digest: Digest, bytes: Bytes) -> Result<(), ImportError> {
        let size = bytes.len() as u64;
        let shelves = self.cache.shelves.clone();
        let kept = blocking(move || {
            if let Some(stay) = shelves.disk.stay(blob(digest)) {
                return Ok((false, Some(stay)));
            }
            let _closing = shelves.disk.closing(&digest, None);
            patiently(|| shelves.disk.put(Shelf::Blobs, &digest, &bytes))?;
            shelves.records.put_size(&digest, size);
            Ok((true, shelves.disk.stay(blob(digest))))
        });
        let (new, stay) = kept.await.map_err(|error| not_kept(&digest, error))?;
        self.stays.extend(stay.map(|stay| (blob(digest), stay)));
        match new {
            true => {
                self.written += size;
                self.new.insert(digest);
            }
            false => self.held += size,
        }
        self.blobs.insert(digest);
        Ok(())
    }
}

pub(super) fn blob(digest: Digest) -> Content {
    Content {
        shelf: Shelf::Blobs,
        digest,
    }
}

/// Keeps something, however long it takes to make room for it: no client waits for it. Blocks.
pub(super) fn patiently<T>(mut keep: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    loop {
        match keep() {
            Err(error) if NotKept::of(&error) == Some(NotKept::Making) => {}
            kept => return kept,
        }
    }
}

/// Something could not be kept: where there is no room for it, what helps is told.
fn not_kept(digest: &Digest, error: std::io::Error) -> ImportError {
    match NotKept::of(&error) {
        Some(why @ (NotKept::TooLong | NotKept::InUse)) => no_room(digest, &why.to_string()),
        Some(NotKept::Rebuilding | NotKept::Making) | None => error.into(),
    }
}

/// The cache is too small for what is imported.
pub(super) fn no_room(digest: &Digest, why: &str) -> ImportError {
    let why = format!("there is no room for {digest}: {why}; raise [cache] capacity; no name is changed");
    ImportError::Disk(std::io::Error::other(why))
}

impl Large {
    /// Writes and hashes what has gathered.
    async fn write(&mut self, shelves: Arc<Shelves>) -> Result<(), ImportError> {
        let bytes = self.gathered.split().freeze();
        let (mut hasher, at) = (self.hasher.clone(), self.at);
        let partial = self.partial.clone();
        self.at += bytes.len() as u64;
        let written = blocking(move || {
            if let Some(partial) = partial {
                shelves.disk.write(&partial, at, std::slice::from_ref(&bytes))?;
            }
            hasher.update(&bytes);
            Ok(hasher)
        });
        self.hasher = written.await?;
        Ok(())
    }
}

impl Drop for Importer {
    /// What is unfinished goes.
    fn drop(&mut self) {
        if let Current::Large(large) = &mut self.current
            && let Some(partial) = large.partial.take()
        {
            let shelves = self.cache.shelves.clone();
            self.cache.tasks.spawn(async move {
                let gone = blocking(move || {
                    shelves.disk.discard(&partial);
                    Ok(())
                });
                // It cannot fail: what cannot be removed is told in the log, and swept later.
                let _ = gone.await;
            });
        }
    }
}
