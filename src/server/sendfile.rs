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
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Version;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::{SendAncillaryBuffer, SendFlags};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::frames::Frames;
use super::lock;
use crate::store::OpenFile;

/// Address space reserved for stand-ins. They only have to be distinct within one connection, whose queue
/// holds a few megabytes.
const RESERVED: usize = 1 << 30;
/// Longest run handed to hyper at a time: longer ones gain nothing (performance.md), shorter ones let the
/// scheduler take its turn.
pub(super) const LONGEST_RUN: u64 = 2 << 20;

/// Bytes of files that a connection sends before others have their turn, and no run is cut for it. A reader that is as
/// fast as the kernel keeps its socket empty, and would else be sent whole layers while the others stand still: 16 of
/// them for 64 MiB each had a p99 of 330 ms instead of 140.
const LONGEST_TURN: u64 = LONGEST_RUN;

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

#[derive(Default)]
struct Shared {
    noted: Mutex<Noted>,
    /// The connection speaks HTTP/2.
    framed: AtomicBool,
    /// More of the file is at hand behind the last stand-in.
    goes_on: AtomicBool,
}

/// The stand-ins of one connection that hyper has not written yet.
#[derive(Clone, Default)]
pub(super) struct Runs(Arc<Shared>);

impl Runs {
    /// True if the kernel sends files here.
    pub(super) fn are_possible() -> bool {
        reserved().is_some()
    }

    /// Where an answer of this version notes its stand-ins: nowhere if it is HTTP/2, whose frames the socket gathers
    /// from then on.
    pub(super) fn of(self, version: Version) -> Option<Self> {
        let framed = version == Version::HTTP_2;
        if framed {
            self.0.framed.store(true, Ordering::Relaxed);
        }
        (!framed).then_some(self)
    }

    /// Bytes that stand for a run of a file that ends before `end`; `None` if that cannot be done here.
    pub(super) fn stand_in(&self, file: &Arc<OpenFile>, offset: u64, len: u64, end: u64) -> Option<Bytes> {
        let base = reserved()?;
        let len = usize::try_from(len.min(LONGEST_RUN)).ok()?;
        self.0
            .goes_on
            .store(offset + (len as u64) < end, Ordering::Relaxed);
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

    /// True if what follows the last stand-in is at hand, so that nothing has to go before it does.
    fn go_on(&self) -> bool {
        self.0.goes_on.load(Ordering::Relaxed)
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        lock(&self.0.noted)
    }
}

/// Whose turn it is to send from files.
enum Turn {
    /// This connection's, for so many bytes more.
    Has(u64),
    /// Everybody's who is ready, and then theirs whom the kernel has named since.
    Over,
}

impl Turn {
    const NEW: Self = Self::Has(LONGEST_TURN);

    /// Pending, twice, when the turn is over: once until all that is ready has gone and the kernel was asked what has
    /// become so, and once to go behind that. Waking the task itself would do only the second, and whoever waits to be
    /// told of room by the kernel would see dozens of turns of others go by; yielding would do only the first, and the
    /// task would be the next to go (p99 of 64 connections 1137 ms instead of 599).
    fn poll_begin(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match *self {
            Self::Has(0) => {
                *self = Self::Over;
                pin!(tokio::task::yield_now()).poll(context)
            }
            Self::Has(_) => Poll::Ready(()),
            Self::Over => {
                *self = Self::NEW;
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn took(&mut self, bytes: u64) {
        if let Self::Has(left) = self {
            *left = left.saturating_sub(bytes);
        }
    }
}

/// A TCP connection that knows stand-ins.
pub(super) struct Socket {
    stream: TcpStream,
    runs: Runs,
    turn: Turn,
    frames: Frames,
    /// The kernel sends full packets only.
    corked: bool,
}

impl Socket {
    /// Wraps a connection.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            runs: Runs::default(),
            turn: Turn::NEW,
            frames: Frames::default(),
            corked: false,
        }
    }

    /// Has the kernel send full packets only, or whatever it has. A file of which each 64 KiB were sent at once fell into
    /// one packet of the loopback and one of 53 bytes, and half of these stayed so.
    fn cork(&mut self, corked: bool) -> io::Result<()> {
        if self.corked != corked {
            rustix::net::sockopt::set_tcp_cork(&self.stream, corked)?;
            self.corked = corked;
        }
        Ok(())
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

    /// Sends ordinary bytes.
    fn poll_send(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.runs.0.goes_on.store(false, Ordering::Relaxed);
        if !self.runs.0.framed.load(Ordering::Relaxed) {
            return Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        }
        let waits = self.frames.may_wait(slices.iter().map(|slice| slice.len()).sum());
        let more = if waits {
            SendFlags::MORE
        } else {
            SendFlags::empty()
        };
        let outcome = self.poll_call(context, || {
            let none = &mut SendAncillaryBuffer::default();
            Ok(rustix::net::sendmsg(
                &self.stream,
                slices,
                none,
                more | SendFlags::NOSIGNAL,
            )?)
        });
        let sent = ready!(outcome)?;
        self.frames.wrote(sent, waits);
        Poll::Ready(Ok(sent))
    }

    fn poll_send_file(
        &mut self,
        context: &mut Context<'_>,
        slice: &[u8],
        file: &File,
        offset: u64,
    ) -> Poll<io::Result<usize>> {
        ready!(self.turn.poll_begin(context));
        self.cork(true)?;
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
            self.turn = Turn::NEW;
        }
        let sent = ready!(outcome)?;
        if sent == 0 {
            // The file was cut short behind our back; ending the body cleanly would be a lie.
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.turn.took(sent as u64);
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
            return self.poll_send(context, slices);
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
        if !self.runs.go_on() {
            self.cork(false)?;
        }
        if self.frames.flushed() {
            // Set once more, it makes the kernel send what it has kept back.
            self.stream.set_nodelay(true)?;
        }
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
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.frames.heard();
        }
        outcome
    }
}

#[cfg(test)]
mod tests;
