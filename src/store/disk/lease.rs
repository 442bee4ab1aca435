//! Files that are open: while somebody has one, its content is not evicted.

use std::fs::File;
use std::io::IoSliceMut;
use std::num::NonZeroU64;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use rustix::fs::Advice;
use rustix::io::{Errno, ReadWriteFlags};

use super::aside::Unfinished;
use super::books::Books;
use crate::policy::eviction::Content;

/// Somebody reads content that is held. Dropping it says that they have read enough.
#[derive(Debug)]
pub(super) struct Lease {
    books: Arc<Books>,
    content: Content,
    /// Which file of this name is read.
    generation: u32,
}

impl Lease {
    /// For whoever has entered.
    pub(super) fn new(books: Arc<Books>, content: Content, generation: u32) -> Self {
        books.watch.opened();
        Self {
            books,
            content,
            generation,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.books.lock().index.leave(&self.content, self.generation);
        self.books.watch.closed();
    }
}

/// An open file of the cache. It stays readable when its name goes away, and keeps its content from being
/// evicted for as long as it lives.
#[derive(Debug)]
pub struct OpenFile {
    file: File,
    /// Set at once for what is held, at the commit for what is being filled.
    lease: OnceLock<Lease>,
    unfinished: Option<Unfinished>,
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if let Some(unfinished) = &self.unfinished {
            unfinished.set_down(&self.file);
        }
    }
}

impl OpenFile {
    pub(super) fn new(file: File, lease: Option<Lease>) -> Self {
        let lease = lease.map_or_else(OnceLock::new, OnceLock::from);
        Self {
            file,
            lease,
            unfinished: None,
        }
    }

    pub(super) fn unfinished(file: File, unfinished: Unfinished) -> Self {
        Self {
            file,
            lease: OnceLock::new(),
            unfinished: Some(unfinished),
        }
    }

    /// It was committed or discarded.
    pub(super) fn is_over(&self) {
        if let Some(unfinished) = &self.unfinished {
            unfinished.is_over();
        }
    }

    /// True if the first, middle and last byte of a stretch are in memory already; also if the kernel cannot say.
    /// Touches no disk.
    pub fn is_resident(&self, at: u64, len: u64) -> bool {
        let probes = [at, at + len / 2, at + len.saturating_sub(1)];
        probes.into_iter().all(|at| {
            let mut byte = [0];
            let buffers = &mut [IoSliceMut::new(&mut byte)];
            let read = rustix::io::preadv2(&self.file, buffers, at, ReadWriteFlags::NOWAIT);
            !matches!(read, Err(Errno::AGAIN))
        })
    }

    /// Reads nothing ahead: what is asked for is all that is wanted. For this opening of the file only.
    pub fn read_plainly(&self) {
        // A file system that knows no such thing reads ahead, and nothing else follows.
        let _ = rustix::fs::fadvise(&self.file, 0, None, Advice::Random);
    }

    /// The pages of a stretch that was read are of no use any more. Others lose nothing but time by it.
    pub fn let_go(&self, at: u64, len: u64) {
        // As above.
        let _ = rustix::fs::fadvise(&self.file, at, NonZeroU64::new(len), Advice::DontNeed);
    }

    /// What was filled is held from now on.
    pub(super) fn keep(&self, lease: Lease) {
        // One that is there already is for the same content; this one leaves again.
        drop(self.lease.set(lease));
    }
}

impl From<File> for OpenFile {
    /// A file that is no content of the cache.
    fn from(file: File) -> Self {
        Self::new(file, None)
    }
}

impl Deref for OpenFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Disk, NotKept, Space, content};
    use crate::clock::Clock;
    use crate::oci::Digest;
    use crate::policy::eviction::{BLOCK, Shelf};

    /// A shelf of so many blocks.
    fn shelf(blocks: u64) -> (tempfile::TempDir, Disk) {
        let directory = tempfile::tempdir().unwrap();
        let mut disk = Disk::open(directory.path()).unwrap();
        let space = Space {
            capacity: blocks * BLOCK,
            ..Space::UNBOUNDED
        };
        disk.govern(space, Clock::start());
        (directory, disk)
    }

    /// Stores so many blocks that begin with a letter; answers their digest, or why there is no room.
    fn put(disk: &Disk, letter: u8, blocks: u64) -> Result<Digest, NotKept> {
        let bytes = vec![letter; (blocks * BLOCK) as usize];
        let digest = Digest::sha256(&bytes);
        match disk.put(Shelf::Blobs, &digest, &bytes) {
            Ok(()) => Ok(digest),
            Err(error) => Err(NotKept::of(&error).expect("the disk works")),
        }
    }

    #[test]
    fn who_reads_what_was_removed_does_not_leave_for_who_reads_what_was_stored_anew() {
        let (_directory, disk) = shelf(16);
        let digest = put(&disk, 1, 2).unwrap();
        let name = content(Shelf::Blobs, &digest);
        for removed in [true, false] {
            let first = disk.get(Shelf::Blobs, &digest).unwrap();
            match removed {
                true => assert!(disk.remove(&name).unwrap()),
                false => disk.quarantine(Shelf::Blobs, &digest).unwrap(),
            }
            put(&disk, 1, 2).unwrap();
            let second = disk.get(Shelf::Blobs, &digest).unwrap();
            drop(first);
            for letter in 2..40 {
                put(&disk, letter, 2).unwrap();
                assert!(
                    disk.holds(Shelf::Blobs, &digest),
                    "evicted by {letter} while it is read"
                );
            }
            drop(second);
        }
    }
}
