//! The pages of a file: which of them are in memory, and how those that are not get there.
//!
//! The reactor reads and sends only what is in the page cache, so that no disk ever holds it up. The rest is
//! brought in on the blocking pool. There it is only waited for, where the kernel sends the file: threads that
//! copied bytes would take the cores from the reactor, and with them the short answers of others.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{Advice, fadvise};
use rustix::io::ReadWriteFlags;

use super::buffers::Buffer;
use crate::server::sendfile::LONGEST_RUN;
use crate::store::{OpenFile, reading};

/// Bytes brought in at a time, and then sent by one `sendfile`, which bounds how long that keeps the reactor. Asking
/// the disk for 2 MiB at once made eight cold pulls a sixth faster and the hits beside them three times as late.
const BROUGHT_IN: u64 = 512 * 1024;
/// How far apart the bytes are whose arrival is waited for.
const STRIDE: u64 = 64 * 1024;

/// How many bytes from `offset` on the kernel can send without waiting for the disk; none if it would wait for
/// the first. `end` lies behind `offset`.
pub(in crate::server) fn resident(file: &File, offset: u64, end: u64) -> u64 {
    [LONGEST_RUN, BROUGHT_IN]
        .into_iter()
        .map(|most| most.min(end - offset))
        .find(|len| is_resident(file, offset, *len))
        .unwrap_or(0)
}

/// True if the first, middle and last byte of a run are in the page cache.
fn is_resident(file: &File, offset: u64, len: u64) -> bool {
    let is_there = |at| read_now(file, &mut [0], at).is_some();
    [offset, offset + len / 2, offset + len - 1]
        .into_iter()
        .all(is_there)
}

/// Reads what is in the page cache; `None` if the disk would have to be waited for, or the kernel cannot say.
pub(super) fn read_resident(file: &File, offset: u64, len: usize) -> Option<Bytes> {
    let mut buffer = Buffer::new(len);
    let read = read_now(file, buffer.room(), offset)?;
    Some(buffer.filled(read))
}

/// How many bytes were read, if any.
fn read_now(file: &File, buffer: &mut [u8], offset: u64) -> Option<usize> {
    let buffer = IoSliceMut::new(buffer);
    let read = rustix::io::preadv2(file, &mut [buffer], offset, ReadWriteFlags::NOWAIT);
    read.ok().filter(|read| *read > 0)
}

/// Waits until the next bytes before `end` are in the page cache, as many as are brought in at a time.
///
/// # Errors
/// If the disk does not give them, or the file ends before.
pub(super) async fn bring_in(file: Arc<OpenFile>, offset: u64, end: u64) -> io::Result<()> {
    let end = end.min(offset + BROUGHT_IN);
    reading(move || {
        // Advice: where it is not taken, the reads below fetch the pages themselves.
        let _ = fadvise(&**file, offset, NonZeroU64::new(end - offset), Advice::WillNeed);
        let waited_for = (offset..end).step_by(STRIDE as usize).chain([end - 1]);
        for at in waited_for {
            file.read_exact_at(&mut [0], at)?;
        }
        Ok(())
    })
    .await
}

/// Reads bytes, wherever they are.
///
/// # Errors
/// If the disk does not give them, or the file ends before.
pub(super) async fn read(file: Arc<OpenFile>, offset: u64, len: usize) -> io::Result<Bytes> {
    reading(move || {
        let mut buffer = Buffer::new(len);
        file.read_exact_at(buffer.room(), offset)?;
        Ok(buffer.filled(len))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file whose bytes no page holds yet, where the file system tells holes from pages.
    fn hole(len: u64) -> Arc<OpenFile> {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        Arc::new(OpenFile::from(file))
    }

    #[tokio::test]
    async fn reads_have_the_bytes_of_the_file_and_no_others() {
        let bytes: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        let file = Arc::new(OpenFile::from(file));
        for (offset, len) in [(0, 262_144), (1, 262_144), (4095, 16_385), (77, 16_383), (9, 1)] {
            let wanted = &bytes[offset..offset + len];
            let resident = read_resident(&file, offset as u64, len).unwrap();
            let waited_for = read(file.clone(), offset as u64, len).await.unwrap();
            assert!(
                resident == wanted && waited_for == wanted,
                "{len} bytes at {offset}"
            );
        }
        // What is not there is not made up.
        assert_eq!(read_resident(&file, 200_000, 262_144).unwrap(), bytes[200_000..]);
    }

    #[tokio::test]
    async fn what_was_brought_in_is_sent_without_waiting() {
        let (file, len) = (hole(3 << 20), 3 << 20);
        let mut offset = 0;
        while offset < len {
            bring_in(file.clone(), offset, len).await.unwrap();
            let run = resident(&file, offset, len);
            assert!(run >= BROUGHT_IN.min(len - offset), "{run} bytes at {offset}");
            offset += run;
        }
        assert_eq!(offset, len);
    }

    #[tokio::test]
    async fn a_file_that_has_shrunk_is_not_brought_in() {
        let file = hole(100_000);
        file.set_len(99_999).unwrap();
        let short = bring_in(file, 0, 100_000).await.unwrap_err();
        assert_eq!(short.kind(), io::ErrorKind::UnexpectedEof);
    }
}
