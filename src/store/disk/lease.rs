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

    /// Its name was taken away.
    pub(super) fn is_unlinked(&self) {
        if let Some(unfinished) = &self.unfinished {
            unfinished.is_unlinked(&self.file);
        }
    }

    /// It was committed.
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

    /// Bytes held, and set aside, in blocks.
    fn blocks(disk: &Disk) -> (u64, u64) {
        let standing = disk.standing();
        (standing.held / BLOCK, standing.reserved / BLOCK)
    }

    #[test]
    fn what_is_removed_counts_until_the_last_reader_has_closed_it() {
        let (_directory, disk) = shelf(16);
        let digest = put(&disk, 1, 7).unwrap();
        let first = disk.get(Shelf::Blobs, &digest).unwrap();
        let second = first.clone();
        disk.remove(&content(Shelf::Blobs, &digest)).unwrap();
        assert_eq!(blocks(&disk), (0, 7));
        disk.measure().unwrap();
        // Nine blocks are left, and what comes first makes room for what comes next.
        let kept = put(&disk, 2, 8).unwrap();
        let other = put(&disk, 3, 5).unwrap();
        assert!(disk.holds(Shelf::Blobs, &other) && !disk.holds(Shelf::Blobs, &kept));
        let read = disk.get(Shelf::Blobs, &other).unwrap();
        assert_eq!(put(&disk, 4, 5), Err(NotKept::InUse));
        drop(first);
        assert_eq!(blocks(&disk), (5, 7));
        drop(second);
        assert_eq!(blocks(&disk), (5, 0));
        put(&disk, 4, 8).unwrap();
        drop(read);
        assert_eq!(blocks(&disk), (13, 0));
    }

    #[test]
    fn what_is_stored_over_counts_until_its_last_reader_has_closed_it() {
        let (_directory, disk) = shelf(16);
        let digest = put(&disk, 1, 4).unwrap();
        let reader = disk.get(Shelf::Blobs, &digest).unwrap();
        put(&disk, 1, 4).unwrap();
        assert_eq!(blocks(&disk), (4, 4));
        drop(reader);
        assert_eq!(blocks(&disk), (4, 0));
    }

    #[test]
    fn what_is_put_aside_while_it_is_read_counts_once() {
        for (blocks_of_all, kept) in [(160, 6), (16, 0)] {
            // There is room for one part in ten of damaged files.
            let (_directory, disk) = shelf(blocks_of_all);
            let digest = put(&disk, 1, 6).unwrap();
            let reader = disk.get(Shelf::Blobs, &digest).unwrap();
            disk.quarantine(Shelf::Blobs, &digest).unwrap();
            assert_eq!(disk.quarantined().bytes, kept * BLOCK);
            assert_eq!(blocks(&disk), (0, 6));
            drop(reader);
            assert_eq!(blocks(&disk), (0, kept));
        }
    }

    #[test]
    fn what_is_given_up_while_it_is_followed_counts_as_far_as_it_was_written() {
        let (_directory, disk) = shelf(16);
        let digest = Digest::sha256(b"unfinished");
        let partial = disk.begin(&digest).unwrap();
        disk.make_room(&partial, 7 * BLOCK).unwrap();
        let piece = bytes::Bytes::from(vec![1; 3 * BLOCK as usize]);
        disk.write(&partial, 0, &[piece]).unwrap();
        let follower = partial.file.clone();
        disk.discard(&partial);
        drop(partial);
        assert_eq!(blocks(&disk), (0, 3));
        // The next fill of it is another file.
        let next = disk.begin(&digest).unwrap();
        disk.make_room(&next, 7 * BLOCK).unwrap();
        assert_eq!(blocks(&disk), (0, 10));
        drop(follower);
        assert_eq!(blocks(&disk), (0, 7));
        disk.discard(&next);
        drop(next);
        assert_eq!(blocks(&disk), (0, 0));
    }

    #[test]
    fn what_is_to_stay_stays_when_it_is_stored_over_or_anew() {
        let (_directory, disk) = shelf(16);
        let digest = put(&disk, 1, 2).unwrap();
        let name = content(Shelf::Blobs, &digest);
        let stay = (disk.stay(name).unwrap(), disk.stay(name).unwrap());
        put(&disk, 1, 2).unwrap();
        disk.remove(&name).unwrap();
        assert!(disk.stay(name).is_none());
        put(&disk, 1, 2).unwrap();
        drop(stay.0);
        for letter in 2..40 {
            put(&disk, letter, 2).unwrap();
        }
        assert!(disk.holds(Shelf::Blobs, &digest));
        drop(stay.1);
        for letter in 2..40 {
            put(&disk, letter, 2).unwrap();
        }
        assert!(!disk.holds(Shelf::Blobs, &digest));
    }
}
