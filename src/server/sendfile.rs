//! Sends files without touching their bytes, underneath hyper.
//!
//! hyper parses and frames; its queued, vectored writes pass large buffers on with their addresses
//! unchanged. So a file-backed body hands hyper a *stand-in*: a slice of one large read-only mapping that
//! nobody writes and nobody reads. The stand-in's address is noted beside file and offset in the
//! connection's [`Runs`]; [`Socket`] recognises the address when hyper writes it, and calls `sendfile(2)`
//! instead.
//!
//! ```text
//! PullBody ── Runs::stand_in(file, offset, len) ──> Bytes at 0x7f…000 ──> hyper ──> Socket
//!                     └── notes 0x7f…000 → file, offset ──────────────────────────────┘ sendfile
//! ```
//! The mapping is private, anonymous, read-only and never populated: it costs address space, not memory.
//! Reading it by mistake yields zeros, not undefined behaviour; to keep such zeros from ever reaching a
//! client, stand-ins are made only for plain HTTP/1 connections that end in a [`Socket`], and a stand-in the
//! socket does not know is an error.
#![expect(
    unsafe_code,
    reason = "one mapping and one slice of it; each block says why it is sound"
)]

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::SendFlags;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::lock;
use crate::store::OpenFile;

/// Address space reserved for stand-ins. They only have to be distinct within one connection, whose queue
/// holds a few megabytes.
const RESERVED: usize = 1 << 30;
/// Longest run handed to hyper at a time: longer ones gain nothing (performance.md), shorter ones let the
/// scheduler take its turn.
pub(super) const LONGEST_RUN: u64 = 2 << 20;

/// Bytes of files that a connection sends before others have their turn. A reader that is as fast as the kernel keeps
/// its socket empty, and would else be sent whole layers while the others stand still: with 16 of them for 64 MiB each,
/// p99 is 468 ms instead of 835 (505 with turns of 2 MiB, 620 with 8), at 3.7 GB/s instead of 3.2.
const LONGEST_TURN: u64 = 4 << 20;

/// The address of the mapping; `None` if the kernel refused it, and files are read instead.
fn reserved() -> Option<usize> {
    static BASE: OnceLock<Option<usize>> = OnceLock::new();
    *BASE.get_or_init(|| {
        // SAFETY: a new anonymous mapping at an address of the kernel's choice aliases nothing.
        let mapped = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                RESERVED,
                ProtFlags::READ,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        };
        mapped.ok().map(|address| address.expose_provenance())
    })
}

struct Run {
    address: usize,
    len: usize,
    file: Arc<OpenFile>,
    offset: u64,
}

#[derive(Default)]
struct Noted {
    runs: VecDeque<Run>,
    cursor: usize,
}

/// The stand-ins of one connection that hyper has not written yet.
#[derive(Clone, Default)]
pub(super) struct Runs(Arc<Mutex<Noted>>);

impl Runs {
    /// Bytes that stand for a run of a file; `None` if that cannot be done here.
    pub(super) fn stand_in(&self, file: &Arc<OpenFile>, offset: u64, len: u64) -> Option<Bytes> {
        let base = reserved()?;
        let len = usize::try_from(len.min(LONGEST_RUN)).ok()?;
        let mut noted = self.noted();
        if noted.cursor + len > RESERVED {
            noted.cursor = 0;
        }
        let address = base + noted.cursor;
        noted.cursor += len;
        noted.runs.push_back(Run {
            address,
            len,
            file: file.clone(),
            offset,
        });
        // SAFETY: the range lies within the mapping, which is readable, never written and never unmapped.
        let slice =
            unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(address), len) };
        Some(Bytes::from_static(slice))
    }

    /// The file and offset that `slice` stands for; `None` for ordinary bytes.
    fn find(&self, slice: &[u8]) -> Option<io::Result<(Arc<OpenFile>, u64)>> {
        let base = reserved()?;
        let address = slice.as_ptr().addr();
        if !(base..base + RESERVED).contains(&address) {
            return None;
        }
        let noted = self.noted();
        let run = noted
            .runs
            .iter()
            .find(|run| (run.address..run.address + run.len).contains(&address));
        Some(match run {
            Some(run) => Ok((run.file.clone(), run.offset + (address - run.address) as u64)),
            None => Err(io::Error::other("a stand-in of another connection")),
        })
    }

    /// `sent` bytes from `slice` on have been written.
    fn sent(&self, slice: &[u8], sent: usize) {
        let end = slice.as_ptr().addr() + sent;
        let mut noted = self.noted();
        if noted.runs.front().is_some_and(|run| run.address + run.len == end) {
            noted.runs.pop_front();
        }
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        lock(&self.0)
    }
}

/// A TCP connection that knows stand-ins.
pub(super) struct Socket {
    stream: TcpStream,
    runs: Runs,
    /// Bytes of files since it last let others have their turn, or had to wait.
    turn: u64,
}

impl Socket {
    /// Wraps a connection.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            runs: Runs::default(),
            turn: 0,
        }
    }

    /// Where bodies note their stand-ins.
    pub(super) fn runs(&self) -> Runs {
        self.runs.clone()
    }

    /// Runs a system call that writes, waiting until the socket takes something.
    fn poll_call(
        &self,
        context: &mut Context<'_>,
        mut call: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            match self.stream.try_io(Interest::WRITABLE, &mut call) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    /// Pending once, when the turn is over. Then all that is ready goes first, and what has become so: waking the
    /// task itself would put it before whoever only waits to be told of room by the kernel, for dozens of turns.
    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.turn < LONGEST_TURN {
            return Poll::Ready(());
        }
        self.turn = 0;
        pin!(tokio::task::yield_now()).poll(context)
    }

    fn poll_send_file(
        &mut self,
        context: &mut Context<'_>,
        slice: &[u8],
        file: &File,
        offset: u64,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(context));
        let outcome = self.poll_call(context, || {
            let mut offset = offset;
            Ok(rustix::fs::sendfile(
                &self.stream,
                file,
                Some(&mut offset),
                slice.len(),
            )?)
        });
        if outcome.is_pending() {
            self.turn = 0;
        }
        let sent = ready!(outcome)?;
        if sent == 0 {
            // The file was cut short behind our back; ending the body cleanly would be a lie.
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.turn += sent as u64;
        self.runs.sent(slice, sent);
        Poll::Ready(Ok(sent))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Some(first) = slices.iter().find(|slice| !slice.is_empty()) else {
            return Poll::Ready(Ok(0));
        };
        match self.runs.find(first) {
            Some(Ok((file, offset))) => return self.poll_send_file(context, first, &file, offset),
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => {}
        }
        let ordinary = slices
            .iter()
            .take_while(|slice| self.runs.find(slice).is_none())
            .count();
        if ordinary == slices.len() {
            return Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        }
        // A head before a file: the kernel waits for the first bytes of the file to fill the packet.
        self.poll_call(context, || {
            Ok(rustix::net::send(
                &self.stream,
                first,
                SendFlags::MORE | SendFlags::NOSIGNAL,
            )?)
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests;
