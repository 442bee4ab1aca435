//! The bytes of a connection, watched: what moves, where heads begin and end, and bare line feeds.
//!
//! hyper accepts a line of a head that ends with a line feed alone; proxies in front may not, and then the
//! two disagree about where a request ends. Pulls have no bodies, so everything an HTTP/1 peer sends is
//! heads, and every line feed must follow a carriage return.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

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
}

impl<I> Watched<I> {
    /// Watches `io`, whose first byte has not been read.
    pub(super) fn new(io: I, signs: Arc<Signs>) -> Self {
        Self {
            io,
            signs,
            scan: Scan::Preface(0),
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
        }
    }
}

impl Lines {
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

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut this.io).poll_read(context, buffer);
        this.scan.read(&buffer.filled()[before..], &this.signs);
        outcome
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(context, bytes);
        self.wrote(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.wrote(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
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
