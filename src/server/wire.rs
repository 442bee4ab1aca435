//! The bytes of a connection, watched: what moves, where heads begin and end, and bare line feeds. Hits are answered
//! here, between the requests that hyper is given.
//!
//! hyper accepts a line of a head that ends with a line feed alone; proxies in front may not, and then the
//! two disagree about where a request ends. Pulls have no bodies, so everything an HTTP/1 peer sends is
//! heads, and every line feed must follow a carriage return.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::hits::{Hits, Sending};
use super::watch::Signs;

/// How an HTTP/2 connection begins (RFC 9113, section 3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A write of an HTTP/2 connection up to this long may be answers to PING and SETTINGS frames only. Those
/// go out while a body stands still, so they are no progress. h2 answers them one at a time, in 17 bytes.
const H2_CONTROL_BYTES: usize = 256;

/// A byte stream that leaves signs.
pub(super) struct Watched<I> {
    io: I,
    signs: Arc<Signs>,
    scan: Scan,
    /// Answers hits; `None` if hyper answers everything.
    hits: Option<Hits>,
    /// A hit that has not gone yet.
    sending: Option<Sending>,
    /// How many requests hyper had answered when it last had nothing left to write.
    settled: u64,
}

impl<I> Watched<I> {
    /// Watches `io`, whose first byte has not been read.
    pub(super) fn new(io: I, signs: Arc<Signs>, hits: Option<Hits>) -> Self {
        Self {
            io,
            signs,
            scan: Scan::Preface(0),
            hits,
            sending: None,
            settled: 0,
        }
    }

    /// Makes the answer to a hit. Only where hyper has answered every request that it was given, and has sent it,
    /// and has no part of another: answers keep the order of their requests.
    fn answer(&mut self, bytes: &[u8]) -> Option<Sending> {
        let hits = self.hits.as_mut()?;
        match &self.scan {
            Scan::Lines(lines) if lines.ended_heads() == Some(self.settled) => hits.answer(bytes),
            Scan::Preface(_) | Scan::Lines(_) | Scan::Off => None,
        }
    }

    fn wrote(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let least = match self.scan {
            Scan::Preface(_) | Scan::Lines(_) => 0,
            Scan::Off => H2_CONTROL_BYTES,
        };
        if matches!(outcome, Poll::Ready(Ok(count)) if count > least) {
            self.signs.moved();
        }
        outcome
    }
}

/// What the peer speaks, as far as it is known.
enum Scan {
    /// So many bytes agree with the beginning of HTTP/2; a head is under way.
    Preface(usize),
    /// HTTP/1.
    Lines(Lines),
    /// HTTP/2: nothing to scan.
    Off,
}

impl Scan {
    fn read(&mut self, bytes: &[u8], signs: &Signs) {
        match self {
            Self::Off => {}
            Self::Lines(lines) => lines.read(bytes, signs),
            Self::Preface(agreed) => {
                let left = &H2_PREFACE[*agreed..];
                let count = bytes
                    .iter()
                    .zip(left)
                    .take_while(|(byte, wanted)| byte == wanted)
                    .count();
                *agreed += count;
                if *agreed == H2_PREFACE.len() {
                    signs.head_turned();
                    *self = Self::Off;
                } else if count < bytes.len() {
                    let mut lines = Lines::default();
                    lines.read(&H2_PREFACE[..*agreed], signs);
                    lines.read(&bytes[count..], signs);
                    *self = Self::Lines(lines);
                }
            }
        }
    }
}

/// Where in a head an HTTP/1 peer is.
struct Lines {
    /// The last byte was a carriage return.
    carriage: bool,
    /// The line has a byte other than its end.
    filled: bool,
    /// A head has begun and not ended. Signs say the same of the very first head before its first byte.
    head: Head,
    /// Heads that have ended.
    ended: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Head {
    First,
    Between,
    Begun,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            carriage: false,
            filled: false,
            head: Head::First,
            ended: 0,
        }
    }
}

impl Lines {
    /// How many heads have ended, if nothing came behind the last.
    fn ended_heads(&self) -> Option<u64> {
        let between = self.head == Head::Between && !self.filled && !self.carriage;
        between.then_some(self.ended)
    }

    fn read(&mut self, bytes: &[u8], signs: &Signs) {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            self.take(&bytes[start..end], signs);
            if !self.carriage {
                signs.taint();
            }
            // An empty line ends a head; before one it means nothing (RFC 9112, section 2.2).
            if !self.filled && self.head == Head::Begun {
                self.head = Head::Between;
                self.ended += 1;
                signs.head_turned();
            }
            (self.filled, self.carriage) = (false, false);
            start = end + 1;
        }
        self.take(&bytes[start..], signs);
    }

    /// Part of a line, without its end.
    fn take(&mut self, part: &[u8], signs: &Signs) {
        let Some(last) = part.last() else { return };
        self.carriage = *last == b'\r';
        if self.filled || part.iter().all(|byte| *byte == b'\r') {
            return;
        }
        self.filled = true;
        match self.head {
            Head::First => self.head = Head::Begun,
            Head::Between => {
                self.head = Head::Begun;
                signs.head_turned();
            }
            Head::Begun => {}
        }
    }
}

impl<I: AsyncWrite + Unpin> Watched<I> {
    /// Ready when no hit is left to send.
    fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(sending) = &mut self.sending {
            ready!(sending.poll_send(&mut self.io, &self.signs, context))?;
            self.sending = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        loop {
            ready!(this.poll_sent(context))?;
            ready!(Pin::new(&mut this.io).poll_read(context, buffer))?;
            let bytes = &buffer.filled()[before..];
            this.sending = this.answer(bytes);
            if this.sending.is_none() {
                this.scan.read(bytes, &this.signs);
                return Poll::Ready(Ok(()));
            }
            buffer.set_filled(before);
        }
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_sent(context))?;
        let outcome = Pin::new(&mut self.io).poll_write(context, bytes);
        self.wrote(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_sent(context))?;
        let outcome = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.wrote(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// hyper flushes when it has written everything that it has.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(context))?;
        self.settled = self.signs.settled().unwrap_or(self.settled);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_sent(context))?;
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the signs say after these reads: a bare line feed was seen, a head is under way.
    fn scan(reads: &[&[u8]]) -> (bool, bool) {
        let (signs, mut scan) = (Signs::default(), Scan::Preface(0));
        for read in reads {
            scan.read(read, &signs);
        }
        (signs.is_tainted(), signs.is_head_under_way())
    }

    #[test]
    fn a_head_is_under_way_until_its_empty_line() {
        assert_eq!(scan(&[]), (false, true));
        assert_eq!(scan(&[b"G"]), (false, true));
        assert_eq!(scan(&[b"GET / HTTP/1.1\r\nHost: a\r\n"]), (false, true));
        assert_eq!(scan(&[b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"]), (false, false));
        assert_eq!(scan(&[b"GET / HTTP/1.1\r\n\r\nGET"]), (false, true));
        assert_eq!(scan(&[b"GET / HTTP/1.1\r\n\r\n\r\n"]), (false, false));
        assert_eq!(scan(&[b"\r\n\r\n"]), (false, true));
    }

    #[test]
    fn a_bare_line_feed_is_seen_wherever_the_reads_end() {
        // S101
        let head: &[u8] = b"PRI / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n";
        for split in 0..head.len() {
            let (first, second) = head.split_at(split);
            assert_eq!(scan(&[first, second]), (true, false), "split at {split}");
        }
        let sound: &[u8] = b"PRI / HTTP/1.1\r\nHost: a\r\n\r\n";
        for split in 0..sound.len() {
            let (first, second) = sound.split_at(split);
            assert_eq!(scan(&[first, second]), (false, false), "split at {split}");
        }
    }

    #[test]
    fn what_follows_the_beginning_of_http_2_is_not_read_as_lines() {
        for split in 0..H2_PREFACE.len() {
            let (first, second) = H2_PREFACE.split_at(split);
            assert_eq!(
                scan(&[first, second, b"\0\0\n\n"]),
                (false, false),
                "split at {split}"
            );
        }
    }
}
