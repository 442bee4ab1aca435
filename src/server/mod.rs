//! HTTP towards clients: listeners, connections, drain.
//!
//! ```text
//! accept ── preface ── handshake ── connection ── gate ── route ── name ── cache ── respond ── body ── sendfile
//!                                       └─ wire ── hits: what memory holds, without hyper
//! ```

mod access;
mod admin;
mod admit;
mod body;
mod connection;
mod frames;
mod gate;
mod handshake;
mod health;
mod hits;
mod http;
pub mod issuers;
mod login;
mod operators;
mod page;
mod permit;
mod preface;
mod pull;
mod refusal;
mod reload;
mod respond;
mod sendfile;
#[cfg(test)]
mod tests;
mod tokens;
mod watch;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache::Cache;
use crate::clock::Clock;
use crate::net::serving::Serving;
use crate::policy::clients::Clients;
use crate::policy::naming::Names;
use crate::policy::proxies::Proxies;
use crate::telemetry::log::RequestLog;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::trace::Tracing;
use crate::upstream::Secret;
pub use admin::{ExplainedClient, ExplainedMark, ExplainedQuota, Explanation};
use connection::Kind;
use issuers::{Issuers, Source};
use login::{Keys, Logins, Trust};
pub use operators::{Operator, Operators};
pub use reload::{Reload, ReloadRequest, Reloads};
use sendfile::Socket;

/// The first wait after an accept that failed (out of descriptors); doubled from then on.
const ACCEPT_WAIT: Duration = Duration::from_millis(50);
/// The longest wait after an accept that failed.
const ACCEPT_WAIT_MOST: Duration = Duration::from_secs(1);
/// Connections to the admin listener at once.
const ADMIN_CONNECTIONS: usize = 64;

/// Held for microseconds, never across an await; no code panics while it holds one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What may be chosen about the server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where clients are served.
    pub listen: SocketAddr,
    /// Where the operator is served: health and metrics.
    pub admin: SocketAddr,
    /// How long connections may finish after a SIGTERM.
    pub drain: Duration,
    /// Bounds on what a client may take.
    pub bounds: Bounds,
    /// The certificate that clients are shown; `None`: they speak without TLS.
    pub tls: Option<Serving>,
    /// Who may ask, and in which tier.
    pub clients: Clients,
    /// Who may say for whom they ask.
    pub proxies: Proxies,
    /// What the tokens of clients are signed with: the first signs, all are believed. None: a key is made for
    /// this process, and lost with it.
    pub token_keys: Vec<Secret>,
    /// How the operator is served.
    pub operators: Operators,
    /// Where the keys of other issuers are, for each of those in `clients`.
    pub issuers: Vec<Source>,
}

/// Bounds on what clients may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at once.
    pub connections: usize,
    /// Time for a request's head to arrive whole.
    pub header_timeout: Duration,
    /// Time a connection may stand idle between requests.
    pub idle_timeout: Duration,
    /// Time a response may stand still because its reader does not read.
    pub stall_timeout: Duration,
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// Headers of a request.
    pub header_count: usize,
}

/// The log of requests, a line each.
#[derive(Clone)]
pub struct AccessLog {
    /// Where the lines go.
    pub lines: RequestLog,
    /// JSON instead of text.
    pub json: bool,
}

/// What is told of requests.
#[derive(Clone, Default)]
pub struct Telling {
    /// The log of them, if there is one.
    pub log: Option<AccessLog>,
    /// What is done about their traces.
    pub traces: Tracing,
}

impl From<Option<AccessLog>> for Telling {
    fn from(log: Option<AccessLog>) -> Self {
        Self {
            log,
            traces: Tracing::default(),
        }
    }
}

/// Serves clients and the operator. Clones share everything.
#[derive(Clone)]
pub struct Server {
    live: Live,
}

/// What is served with at the moment. A request ends with what it began with.
type Live = Arc<ArcSwap<Inner>>;

/// One configuration, and what it is served with. Never changed: another one takes its place.
struct Inner {
    options: Options,
    cache: Arc<Cache>,
    names: Arc<Names>,
    metrics: Arc<Metrics>,
    telling: Telling,
    logins: Arc<Logins>,
    keys: Arc<Keys>,
    issuers: Arc<Issuers>,
    clock: Clock,
    /// Cancelled when a drain begins: connections finish their request and close.
    draining: CancellationToken,
    /// Cancelled when a drain is over: connections are dropped.
    cut: CancellationToken,
    /// The requests of HTTP/2 connections.
    streams: TaskTracker,
    /// What is remembered for the operator's page.
    seen: Arc<page::Seen>,
    /// Where reloads are asked for; empty where nobody listens.
    reloads: Arc<OnceLock<Reloads>>,
}

impl Inner {
    /// Whom to believe.
    fn trust(&self) -> Trust<'_> {
        Trust {
            access: &self.options.clients.access,
            keys: &self.keys,
            issuers: &self.issuers,
        }
    }
}

impl Server {
    /// A server that is not listening yet.
    pub fn new(
        options: Options,
        cache: Arc<Cache>,
        names: Arc<Names>,
        metrics: Arc<Metrics>,
        telling: Telling,
        issuers: Arc<Issuers>,
        clock: Clock,
    ) -> Self {
        let inner = Inner {
            logins: Arc::new(Logins::new(clock)),
            keys: Arc::new(Keys::new(options.token_keys.iter().map(Secret::expose))),
            issuers,
            options,
            cache,
            names,
            metrics,
            telling,
            clock,
            draining: CancellationToken::new(),
            cut: CancellationToken::new(),
            streams: TaskTracker::new(),
            seen: Arc::new(page::Seen::new(clock.now())),
            reloads: Arc::default(),
        };
        Self {
            live: Arc::new(ArcSwap::from_pointee(inner)),
        }
    }

    /// Serves with these from the next request on; with another certificate from the next connection on. Where it
    /// listens, and how many connections it takes, stays as it was.
    pub fn change(
        &self,
        options: Options,
        cache: Arc<Cache>,
        names: Arc<Names>,
        telling: Telling,
        issuers: Arc<Issuers>,
    ) {
        let now = self.now();
        // A key that was made for this process stays with it: tokens outlive a reload.
        let keys = match options.token_keys == now.options.token_keys {
            true => now.keys.clone(),
            false => Arc::new(Keys::new(options.token_keys.iter().map(Secret::expose))),
        };
        self.live.store(Arc::new(Inner {
            logins: now.logins.clone(),
            keys,
            issuers,
            options,
            cache,
            names,
            telling,
            metrics: now.metrics.clone(),
            clock: now.clock,
            draining: now.draining.clone(),
            cut: now.cut.clone(),
            streams: now.streams.clone(),
            seen: now.seen.clone(),
            reloads: now.reloads.clone(),
        }));
    }

    /// Has reloads asked for there from now on; only the first call counts.
    pub fn take_reloads(&self, reloads: Reloads) {
        // Whoever is second asks the same.
        let _ = self.now().reloads.set(reloads);
    }

    fn now(&self) -> Arc<Inner> {
        self.live.load_full()
    }

    /// Serves until `shutdown`, then lets connections finish until the drain deadline and cuts what is left.
    /// The operator is served to the end. Not cancel-safe: a drain needs it to be polled.
    pub async fn run(
        &self,
        listener: TcpListener,
        admin: TcpListener,
        shutdown: CancellationToken,
        tasks: TaskTracker,
    ) {
        let (clients, operators) = (TaskTracker::new(), TaskTracker::new());
        let (server, connections) = (self.clone(), operators.clone());
        let now = self.now();
        let cut = now.cut.clone();
        tasks.spawn(async move {
            server
                .accept(admin, Kind::Admin, ADMIN_CONNECTIONS, cut, &connections)
                .await;
        });
        let (noting, end) = (self.clone(), now.cut.clone());
        tasks.spawn(async move { end.run_until_cancelled(noting.note()).await });
        let most = now.options.bounds.connections;
        let closed = CancellationToken::new();
        // Whoever finds the door closed is to find us not ready as well, and not a moment later.
        let closing = async {
            shutdown.cancelled().await;
            now.draining.cancel();
            closed.cancel();
        };
        let accepting = self.accept(listener, Kind::Pull, most, closed.clone(), &clients);
        tokio::join!(accepting, closing);
        self.drain(&clients).await;
        for ending in [clients, operators, now.streams.clone()] {
            ending.close();
            ending.wait().await;
        }
    }

    /// Notes every minute what was served. Never ends.
    async fn note(&self) {
        loop {
            tokio::time::sleep(page::NOTE_EVERY).await;
            page::note(&self.now());
        }
    }

    /// Lets clients finish what they asked for, but not for ever.
    async fn drain(&self, clients: &TaskTracker) {
        tracing::info!(connections = clients.len(), "draining");
        let now = self.now();
        clients.close();
        let finished = tokio::time::timeout(now.options.drain, clients.wait()).await;
        if finished.is_err() {
            let cut = clients.len();
            tracing::warn!(connections = cut, "connections were cut at the drain deadline");
        }
        now.cut.cancel();
    }

    /// Serves one connection to its end: the seam at which tests stand in for the network.
    pub async fn serve_connection<I>(&self, io: I, peer: SocketAddr)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        connection::serve(&self.live, io, peer, Kind::Pull, None).await;
    }

    /// Serves one connection of the operator to its end: the same seam on the admin side.
    pub async fn serve_operator<I>(&self, io: I, peer: SocketAddr)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        connection::serve(&self.live, io, peer, Kind::Admin, None).await;
    }

    async fn accept(
        &self,
        listener: TcpListener,
        kind: Kind,
        most: usize,
        stop: CancellationToken,
        connections: &TaskTracker,
    ) {
        let places = Arc::new(Semaphore::new(most));
        let mut wait = ACCEPT_WAIT;
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = next(&listener, &places) => accepted,
            };
            let (socket, peer, place) = match accepted {
                Ok(accepted) => accepted,
                // The client went away between the handshake and now; the next one is no worse for it.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(wait) => {}
                    }
                    wait = (wait * 2).min(ACCEPT_WAIT_MOST);
                    continue;
                }
            };
            wait = ACCEPT_WAIT;
            let live = self.live.clone();
            connections.spawn(async move {
                let socket = Socket::new(socket);
                let runs = socket.runs();
                connection::serve(&live, socket, peer, kind, Some(runs)).await;
                drop(place);
            });
        }
    }
}

/// Waits for a free place, then for a client.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(
    tokio::net::TcpStream,
    SocketAddr,
    tokio::sync::OwnedSemaphorePermit,
)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (socket, peer) = listener.accept().await?;
    // It fails only if the client is gone already, which reading from it will tell.
    let _ = socket.set_nodelay(true);
    Ok((socket, peer, place))
}
