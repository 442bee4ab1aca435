//! One connection: protocol, bounds, end.
//!
//! hyper's own limit for heads also counts the time between two requests, so it is off: the watchdog times
//! heads and idleness apart.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::TaskTracker;

use super::hits::Hits;
use super::http::From;
use super::sendfile::Runs;
use super::watch::{Signs, Verdict, Watchdog};
use super::wire::Watched;
use super::{Inner, Live, admin, handshake, http, preface};
use crate::net::serving;

/// Bytes of headers an HTTP/2 peer may send for one request, decompressed (S112).
const H2_HEADER_BYTES: u32 = 16 * 1024;
/// Requests an HTTP/2 peer may have open.
const H2_STREAMS: u32 = 64;
/// What hyper needs at least to read a head.
const MIN_BUFFER: usize = 8192;

/// Whom a connection serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Clients that pull.
    Pull,
    /// The operator.
    Admin,
}

/// Serves a connection until it ends. Dropping the future drops the connection.
pub(super) async fn serve<I>(live: &Live, mut io: I, peer: SocketAddr, kind: Kind, runs: Option<Runs>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let inner = live.load_full();
    let _counted = inner.metrics.connected();
    let peer = match kind {
        Kind::Pull => preface::client(&inner, &mut io, peer).await,
        Kind::Admin => Some(peer),
    };
    let Some(peer) = peer else { return };
    let (tls, over) = match kind {
        Kind::Pull => (&inner.options.tls, &inner.draining),
        // The operator is served to the end.
        Kind::Admin => (&inner.options.operators.tls, &inner.cut),
    };
    match tls {
        Some(tls) => {
            if let Some(io) = handshake::shake(&inner, tls, io, peer, over).await {
                drop(inner);
                let certificate = serving::names(&io);
                talk(live, io, From { peer, certificate }, kind, None).await;
            }
        }
        None => {
            drop(inner);
            let certificate = Arc::default();
            talk(live, io, From { peer, certificate }, kind, runs).await;
        }
    }
}

/// Speaks HTTP with a peer until the connection ends.
async fn talk<I>(live: &Live, io: I, from: From, kind: Kind, runs: Option<Runs>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (peer, from) = (from.peer, Arc::new(from));
    // Kept no longer than a request: a connection outlives configurations.
    let now = live.load_full();
    let (builder, bounds) = (builder(&now), now.options.bounds);
    let (draining, cut) = (now.draining.clone(), now.cut.clone());
    drop(now);
    let signs = Arc::new(Signs::default());
    // They know a client by where it comes from only.
    let plain = kind == Kind::Pull && from.certificate.is_empty();
    let hits = plain.then(|| Hits::new(live.clone(), peer, runs.clone()));
    let io = Watched::new(io, signs.clone(), hits);
    let (live, answer_signs) = (live.clone(), signs.clone());
    let service = service_fn(move |request| {
        let (inner, signs, runs) = (live.load_full(), answer_signs.clone(), runs.clone());
        let from = from.clone();
        async move {
            match kind {
                Kind::Pull => http::answer(inner, request, from, signs, runs).await,
                Kind::Admin => admin::answer(inner, request, from, signs).await,
            }
        }
    });
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service));
    // The operator is served while clients are drained: that is when /readyz has something to say.
    let mut drains = kind == Kind::Pull;
    let mut watchdog = Watchdog::new(signs, bounds);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, error = %error, "connection ended");
                }
                return;
            }
            () = draining.cancelled(), if drains => {
                drains = false;
                connection.as_mut().graceful_shutdown();
            }
            () = cut.cancelled() => return,
            verdict = watchdog.look() => match verdict {
                Verdict::Well => {}
                Verdict::Idle => connection.as_mut().graceful_shutdown(),
                Verdict::Stalled => {
                    tracing::debug!(%peer, "the peer stands still: connection dropped");
                    return;
                }
            }
        }
    }
}

fn builder(inner: &Inner) -> Builder<Streams> {
    let bounds = &inner.options.bounds;
    let mut builder = Builder::new(Streams(inner.streams.clone()));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(bounds.header_count)
        .max_buf_size(bounds.header_bytes.max(MIN_BUFFER))
        .pipeline_flush(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(H2_HEADER_BYTES)
        .max_concurrent_streams(H2_STREAMS);
    builder
}

/// Runs the requests of HTTP/2 connections, each a task that ends with its connection.
#[derive(Clone)]
struct Streams(TaskTracker);

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}
