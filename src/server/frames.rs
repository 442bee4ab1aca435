//! When the kernel may keep a frame of HTTP/2 back, to send it with the next.
//!
//! h2 writes a body in frames of 16 KiB, each by a system call of its own, and each wakes the reader at the other end.
//! Told that more follows (`MSG_MORE`), the kernel sends four at once: 64 MiB by windows of 4 MiB take 31 ms in place
//! of 41 (in pairs 35, in sixteens 36).
//!
//! A reader with small windows loses by it, since it works on the first frame while the next is on its way (64 MiB by
//! windows of 64 KiB: 101 ms in place of 87). Whoever has such windows is heard after each half of one, so frames are
//! kept back only when much has gone since the peer was last heard.

/// A shorter write is no full frame of a body: it ends one, or answers the peer.
const SHORTEST: usize = 8 << 10;
/// Bytes that go at once; also those that a peer gets, frame by frame, before it is taken for one with large windows.
const GATHERED: usize = 64 << 10;

/// What a connection has written.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Bytes since the peer was last heard.
    unheard: usize,
    /// Bytes that the kernel may have kept back.
    held: usize,
    /// Something was written since the last flush.
    wrote: bool,
}

impl Frames {
    /// The peer has sent something.
    pub(super) fn heard(&mut self) {
        self.unheard = 0;
    }

    /// Whether the kernel may keep back a write of so many bytes until the next.
    pub(super) fn may_wait(&self, len: usize) -> bool {
        len >= SHORTEST && self.unheard >= GATHERED && self.held + len < GATHERED
    }

    /// The kernel took so many bytes, and was told that it may keep them back or not.
    pub(super) fn wrote(&mut self, len: usize, waits: bool) {
        self.unheard = self.unheard.saturating_add(len);
        self.held = if waits { self.held + len } else { 0 };
        self.wrote = true;
    }

    /// h2 flushes. Whether what was kept back has to go now: h2 flushes after every frame, and once more when it has no
    /// other to write.
    pub(super) fn flushed(&mut self) -> bool {
        let done = !std::mem::take(&mut self.wrote);
        done && std::mem::take(&mut self.held) > 0
    }
}

#[cfg(test)]
mod tests;
