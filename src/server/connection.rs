//! One connection: protocol, bounds, watchdog.
//!
//! hyper's own limit for heads also counts the time between two requests, so it is set to the idle limit,
//! and heads are timed here. The watchdog looks once a second. A head that does not arrive whole in time
//! ends the connection. A connection without a request is closed when it has been idle too
//! long; one whose responses have not moved for too long is dropped, which also ends an HTTP/2 peer that
//! keeps its window shut (S113).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::sendfile::Runs;
use super::{Inner, health, http};

/// How often the watchdog looks.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Bytes of headers an HTTP/2 peer may send for one request.
const H2_HEADER_BYTES: u32 = 16 * 1024;
/// Requests an HTTP/2 peer may have open.
const H2_STREAMS: u32 = 64;
/// What hyper needs at least to read a head.
const MIN_BUFFER: usize = 8192;
/// How an HTTP/2 connection begins.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// Whom a connection serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Clients that pull.
    Pull,
    /// The operator.
    Admin,
}

/// What a connection's parts tell each other.
#[derive(Default)]
pub(super) struct Signs {
    /// A line of the peer's ended with a bare line feed.
    pub(super) tainted: AtomicBool,
    /// Part of a request's head has arrived, and no request is being answered.
    pub(super) partial: AtomicBool,
    /// Requests being answered.
    pub(super) active: AtomicUsize,
    /// Counts up with everything that moves.
    pub(super) moved: AtomicU64,
}

impl Signs {
    pub(super) fn note(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
    }
}

/// Serves a connection until it ends.
pub(super) async fn serve<I>(inner: Arc<Inner>, io: I, peer: SocketAddr, kind: Kind, runs: Option<Runs>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let signs = Arc::new(Signs::default());
    let io = Watched {
        io,
        signs: signs.clone(),
        scan: Scan::Start,
    };
    let (answering, answer_signs) = (inner.clone(), signs.clone());
    let service = service_fn(move |request| {
        let (inner, signs, runs) = (answering.clone(), answer_signs.clone(), runs.clone());
        async move {
            match kind {
                Kind::Pull => http::answer(inner, request, peer, signs, runs).await,
                Kind::Admin => health::answer(&inner, &request),
            }
        }
    });
    let builder = builder(&inner);
    inner.metrics.connected();
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service));
    let mut draining = false;
    let mut watchdog = Watchdog::new(&inner, signs);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, error = %error, "connection ended");
                }
                break;
            }
            () = inner.draining.cancelled(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            verdict = watchdog.look() => match verdict {
                Verdict::Well => {}
                Verdict::Idle => connection.as_mut().graceful_shutdown(),
                Verdict::Stalled => {
                    tracing::debug!(%peer, "the peer stands still: connection dropped");
                    break;
                }
            }
        }
    }
    inner.metrics.disconnected();
}

fn builder(inner: &Inner) -> Builder<TokioExecutor> {
    let bounds = &inner.options.bounds;
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.idle_timeout)
        .max_headers(bounds.header_count)
        .max_buf_size(bounds.header_bytes.max(MIN_BUFFER))
        .pipeline_flush(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(H2_HEADER_BYTES)
        .max_concurrent_streams(H2_STREAMS)
        .keep_alive_interval(Some(bounds.idle_timeout))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

enum Verdict {
    Well,
    Idle,
    Stalled,
}

struct Watchdog {
    signs: Arc<Signs>,
    seen: u64,
    still: Duration,
    partial: Duration,
    header_timeout: Duration,
    idle_timeout: Duration,
    stall_timeout: Duration,
}

impl Watchdog {
    fn new(inner: &Inner, signs: Arc<Signs>) -> Self {
        let bounds = &inner.options.bounds;
        Self {
            signs,
            seen: 0,
            still: Duration::ZERO,
            partial: Duration::ZERO,
            header_timeout: bounds.header_timeout,
            idle_timeout: bounds.idle_timeout,
            stall_timeout: bounds.stall_timeout,
        }
    }

    async fn look(&mut self) -> Verdict {
        tokio::time::sleep(WATCH_EVERY).await;
        if self.signs.partial.load(Ordering::Relaxed) {
            self.partial += WATCH_EVERY;
            if self.partial >= self.header_timeout {
                return Verdict::Stalled;
            }
        } else {
            self.partial = Duration::ZERO;
        }
        let moved = self.signs.moved.load(Ordering::Relaxed);
        if moved != self.seen {
            self.seen = moved;
            self.still = Duration::ZERO;
            return Verdict::Well;
        }
        self.still += WATCH_EVERY;
        let active = self.signs.active.load(Ordering::Relaxed) > 0;
        match active {
            true if self.still >= self.stall_timeout => Verdict::Stalled,
            false if self.still >= self.idle_timeout => Verdict::Idle,
            _ => Verdict::Well,
        }
    }
}

/// How far the scan for bare line feeds is.
enum Scan {
    /// Nothing read yet: the peer may speak HTTP/2.
    Start,
    /// HTTP/1; true if the last byte read was a carriage return.
    Lines(bool),
    /// HTTP/2: nothing to scan.
    Off,
}

/// Counts what moves, and scans the heads of HTTP/1 requests: pulls have no bodies, so every line feed must
/// follow a carriage return.
struct Watched<I> {
    io: I,
    signs: Arc<Signs>,
    scan: Scan,
}

impl<I> Watched<I> {
    fn scan(&mut self, bytes: &[u8]) {
        if let Scan::Start = self.scan {
            let shared = bytes.len().min(H2_PREFACE.len());
            let preface = !bytes.is_empty() && bytes[..shared] == H2_PREFACE[..shared];
            self.scan = if preface { Scan::Off } else { Scan::Lines(false) };
        }
        let Scan::Lines(carriage) = &mut self.scan else {
            return;
        };
        for byte in bytes {
            if *byte == b'\n' && !*carriage {
                self.signs.tainted.store(true, Ordering::Relaxed);
            }
            *carriage = *byte == b'\r';
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.io).poll_read(context, buffer);
        let read = buffer.filled().len();
        if read > before {
            self.scan(&buffer.filled()[before..]);
            if self.signs.active.load(Ordering::Relaxed) == 0 {
                // HTTP/2 frames between requests are no heads.
                self.signs
                    .partial
                    .store(matches!(self.scan, Scan::Lines(_)), Ordering::Relaxed);
                self.signs.note();
            }
        }
        outcome
    }
}

impl<I: AsyncWrite + Unpin> Watched<I> {
    fn wrote(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        // HTTP/2 writes control frames while a body stands still, so only HTTP/1 bytes count here.
        if matches!(outcome, Poll::Ready(Ok(1..))) && !matches!(self.scan, Scan::Off) {
            self.signs.note();
        }
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
