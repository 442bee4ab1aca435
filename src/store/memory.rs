//! Small content in memory: manifests, configs and other small blobs, weighed by their bytes.
//!
//! moka is used for capacity only: nothing here expires, since what a digest names never changes.

use bytes::Bytes;
use moka::sync::Cache;

use crate::oci::{Digest, Manifest, MediaType};

/// What an entry costs besides its bytes: key, type, and moka's own bookkeeping (338 bytes an entry,
/// measured with one million).
const ENTRY_OVERHEAD: usize = 512;

/// Content held in memory.
#[derive(Clone, Debug)]
pub struct Held {
    /// The bytes, verified.
    pub bytes: Bytes,
    /// The type a manifest is served as; `None` for a blob.
    pub manifest: Option<MediaType>,
}

impl Held {
    /// A verified manifest.
    pub fn manifest(manifest: Manifest) -> Self {
        Self {
            bytes: manifest.bytes,
            manifest: Some(manifest.media_type),
        }
    }

    /// A verified blob.
    pub fn blob(bytes: Bytes) -> Self {
        Self {
            bytes,
            manifest: None,
        }
    }
}

/// The memory shelf: what is held, and whether it came for a repository that not everybody may see.
#[derive(Clone, Debug)]
pub struct Memory(Cache<Digest, (Held, bool)>);

impl Memory {
    /// A shelf that holds at most `capacity` bytes.
    pub fn new(capacity: u64) -> Self {
        let weigh = |_: &Digest, (held, _): &(Held, bool)| {
            u32::try_from(held.bytes.len() + ENTRY_OVERHEAD).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(capacity).weigher(weigh).build())
    }

    /// The content of a digest, if held.
    pub fn get(&self, digest: &Digest) -> Option<Held> {
        self.0.get(digest).map(|(held, _)| held)
    }

    /// Keeps verified content for as long as there is room; `closed` if it came for a repository that not everybody may
    /// see.
    pub fn put(&self, digest: Digest, held: Held, closed: bool) {
        self.0.insert(digest, (held, closed));
    }

    /// True if what is held came for a repository that not everybody may see; `None` if nothing is.
    pub fn is_closed(&self, digest: &Digest) -> Option<bool> {
        self.0.get(digest).map(|(_, closed)| closed)
    }

    /// A repository that everybody may see has this.
    pub fn open_up(&self, digest: &Digest) {
        if let Some((held, true)) = self.0.get(digest) {
            self.put(*digest, held, false);
        }
    }

    /// How many bytes are held, with what keeping them costs, and how many objects.
    pub fn size(&self) -> (u64, u64) {
        // What came or went a moment ago is counted by then.
        self.0.run_pending_tasks();
        (self.0.weighted_size(), self.0.entry_count())
    }

    /// Forgets the content of a digest.
    pub fn remove(&self, digest: &Digest) {
        self.0.invalidate(digest);
    }
}
