//! Buffers for the bytes of a file that are read to be encrypted. Those of a usual length are used again, on the thread
//! that had them last: they need not be cleared, which took 2.4 % of the time of a large body over TLS.

use std::cell::RefCell;

use bytes::Bytes;

/// Bytes of a page.
const PAGE: usize = 4096;
/// Where in a page the bytes begin. Records begin with a page and five bytes, and some processors (AMD's, by
/// `rep movsb`, which the C library takes) copy to where a page is 1 to 31 bytes further on than it is at the source at
/// 1.1 to 2.0 GB/s, and to anywhere else at 11 to 47 GB/s: measured with 16 KiB.
const BEGINNING: usize = PAGE / 2;
/// Fewer bytes begin anywhere: room for the rest of a page would be much beside them.
const LONG: usize = 16 * 1024;
/// Bytes of a whole read, which one write sends, and wakes the client for. 64 MiB by TLS to 4 clients: 1.85 GB/s in reads of
/// 64 KiB, 2.32 of 128, 2.63 of 256, 2.83 to 2.94 of 512, 3.23 of 1024 (performance.md). A smaller one does not keep so
/// much while its client is slow.
pub(super) const WHOLE: usize = 512 * 1024;
/// Bytes of a read for HTTP/2: half of the window that most clients begin with, who make room in halves. What is read
/// beyond that waits, and what has room waits for it.
pub(super) const HALF_WINDOW: usize = 32 * 1024;
/// Buffers that a thread keeps: 2 MiB at most.
const MOST_SPARE: usize = 4;

thread_local! {
    /// What reads of these two lengths have left.
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Room for bytes that are about to be read.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// Room for so many bytes.
    pub(super) fn new(len: usize) -> Self {
        if len < LONG {
            let bytes = vec![0; len];
            return Self { bytes, start: 0, len };
        }
        let bytes = spare(len + PAGE).unwrap_or_else(|| vec![0; len + PAGE]);
        let start = BEGINNING.wrapping_sub(bytes.as_ptr().addr()) % PAGE;
        Self { bytes, start, len }
    }

    /// Where they go. What was read before may still be there.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }

    /// The first `read` of them.
    pub(super) fn filled(mut self, read: usize) -> Bytes {
        self.len = self.len.min(read);
        Bytes::from_owner(self)
    }
}

/// One of just this size that the thread has kept.
fn spare(size: usize) -> Option<Vec<u8>> {
    SPARE.with_borrow_mut(|spare| {
        let place = spare.iter().rposition(|bytes| bytes.len() == size)?;
        Some(spare.swap_remove(place))
    })
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if ![WHOLE + PAGE, HALF_WINDOW + PAGE].contains(&self.bytes.len()) {
            return;
        }
        let bytes = std::mem::take(&mut self.bytes);
        // A thread that ends keeps nothing.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < MOST_SPARE {
                spare.push(bytes);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the buffer of a read lies, which is dropped then.
    fn place(len: usize) -> usize {
        Buffer::new(len).filled(len).as_ptr().addr()
    }

    #[test]
    fn long_reads_begin_in_the_middle_of_a_page() {
        for len in [LONG, LONG + 1, WHOLE - 1, WHOLE] {
            assert_eq!(place(len) % PAGE, BEGINNING, "{len} bytes");
        }
    }

    #[test]
    fn whole_reads_have_a_buffer_again_that_another_has_left_and_show_nothing_of_it() {
        let mut first = Buffer::new(WHOLE);
        first.room().fill(7);
        let first = first.filled(WHOLE);
        let (before, clone) = (first.as_ptr().addr(), first.clone());
        drop(first);
        assert_ne!(place(WHOLE), before, "somebody still has it");
        drop(clone);
        let mut second = Buffer::new(WHOLE);
        second.room()[..2].copy_from_slice(b"ab");
        let second = second.filled(2);
        assert_eq!((second.as_ptr().addr(), &second[..]), (before, &b"ab"[..]));
    }

    #[test]
    fn what_is_left_is_used_for_reads_of_the_same_length_only() {
        let (short, long) = (place(HALF_WINDOW), place(WHOLE));
        assert_eq!((place(WHOLE), place(HALF_WINDOW)), (long, short));
        assert_eq!((place(HALF_WINDOW), place(WHOLE)), (short, long));
    }

    #[test]
    fn a_thread_keeps_so_many_buffers_and_no_more() {
        let many: Vec<Buffer> = (0..2 * MOST_SPARE).map(|_| Buffer::new(WHOLE)).collect();
        let small: Vec<Buffer> = (0..MOST_SPARE).map(|_| Buffer::new(WHOLE - 1)).collect();
        drop((small, many));
        let kept = SPARE.with_borrow(|spare| spare.iter().map(Vec::len).collect::<Vec<_>>());
        assert_eq!(kept, [WHOLE + PAGE; MOST_SPARE]);
    }
}
