//! A whole Seawall on in-memory pipes, and a client in front of it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use seawall::app::Running;
use seawall::cache::{self, Cache, OnExhausted};
use seawall::clock::Clock;
use seawall::net::dial::Dialer;
use seawall::net::serving::Serving;
use seawall::policy::access::Offer;
use seawall::policy::access::visibility::Sharing;
use seawall::policy::budget::Rules;
use seawall::policy::clients::Clients;
use seawall::policy::naming::{Entry, Names, Pattern};
use seawall::policy::proxies::Proxies;
use seawall::policy::{flight, freshness, trust};
use seawall::server::issuers::Issuers;
use seawall::server::{Bounds, Server, Telling};
use seawall::store::{Disk, OpenError, Records, Space};
use seawall::telemetry::metrics::Metrics;
use seawall::upstream::{self, Budgets, Timeouts, Upstreams};
use tokio::io::DuplexStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::registry::Registry;

/// The configuration's own figures.
pub(crate) fn usual_freshness() -> freshness::Rules {
    freshness::Rules {
        ttl: Duration::from_secs(300),
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::from_secs(7 * 24 * 3600),
        immutable: freshness::Patterns::default(),
        offline: false,
    }
}

/// What a test may choose.
#[derive(Clone)]
pub(crate) struct Choices {
    /// Where the upstream is.
    pub(crate) url: String,
    /// Registries besides docker.io, each at its own name.
    pub(crate) others: Vec<&'static str>,
    pub(crate) credentials: Vec<upstream::Account>,
    pub(crate) sharing: Sharing,
    pub(crate) access_ttl: Duration,
    pub(crate) alternates: Vec<upstream::AlternateOptions>,
    pub(crate) clients: Clients,
    pub(crate) proxies: Proxies,
    pub(crate) bandwidth: Option<u64>,
    pub(crate) tls: Option<Serving>,
    pub(crate) token_keys: Vec<upstream::Secret>,
    pub(crate) operators: seawall::server::Operators,
    pub(crate) on_exhausted: OnExhausted,
    pub(crate) freshness: freshness::Policy,
    pub(crate) trust: trust::Rules,
    /// Of every registry.
    pub(crate) offer: Offer,
    pub(crate) lanes: Option<usize>,
    pub(crate) negative_ttl: Duration,
    pub(crate) flights: flight::Rules,
    pub(crate) memory: u64,
    pub(crate) space: Space,
    pub(crate) verify_first_serve: bool,
    pub(crate) scrub: Option<Duration>,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            url: "http://hub.test".to_owned(),
            others: Vec::new(),
            credentials: Vec::new(),
            sharing: Sharing::Shared,
            access_ttl: Duration::from_secs(300),
            alternates: Vec::new(),
            clients: Clients::default(),
            proxies: Proxies::default(),
            bandwidth: None,
            tls: None,
            token_keys: Vec::new(),
            operators: seawall::server::Operators::default(),
            on_exhausted: OnExhausted::Refuse,
            freshness: freshness::Policy::plain(usual_freshness()),
            trust: trust::Rules::default(),
            offer: Offer::default(),
            lanes: None,
            negative_ttl: Duration::from_secs(10),
            flights: flight::Rules {
                cooling: Duration::from_millis(500),
                finish_below: 1 << 30,
            },
            memory: 64 << 20,
            space: Space::UNBOUNDED,
            verify_first_serve: true,
            scrub: None,
        }
    }
}

/// An account with a user and a password.
pub(crate) fn login(username: &str, password: &str) -> upstream::Account {
    let credential = upstream::Credential {
        username: username.to_owned(),
        password: upstream::Secret::new(password.to_owned()),
    };
    credential.into()
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// What arrived; and whether the body ended as it should.
    pub(crate) body: Bytes,
    pub(crate) complete: bool,
}

impl Answer {
    /// True for a complete answer that is no error. A fault that is found before the first byte left is told
    /// by the status, one found later by a broken body: which of the two is a matter of scheduling.
    pub(crate) fn is_good(&self) -> bool {
        self.status.is_success() && self.complete
    }

    /// A header's text; empty if it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Seawall.
pub(crate) struct Seawall {
    pub(super) server: Arc<Server>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) tasks: TaskTracker,
    pub(crate) metrics: Arc<Metrics>,
    /// Dropped, it stops what is done behind the clients' backs.
    stopping: DropGuard,
}

impl Seawall {
    /// Starts over a directory, in front of a registry that is `docker.io` and the default.
    pub(crate) fn start(directory: &Path, registry: &Registry, choices: Choices) -> Self {
        Self::start_over(directory, &registry.dialer(), choices)
    }

    /// Starts over a directory, in front of whatever is dialled.
    pub(crate) fn start_over(directory: &Path, dialer: &Dialer, choices: Choices) -> Self {
        let clock = Clock::start();
        let tasks = TaskTracker::new();
        let metrics = Arc::new(Metrics::new());
        let pattern = Pattern::Exact("docker.io".parse().unwrap());
        let upstreams = upstream::Options {
            registry: pattern.clone(),
            url: Some(choices.url.parse().unwrap()),
            credentials: choices.credentials.clone(),
            sharing: choices.sharing,
            access_ttl: choices.access_ttl,
            alternates: choices.alternates.clone(),
            token_hosts: Vec::new(),
            lanes: choices.lanes,
            allow_addresses: Vec::new(),
            ca: Vec::new(),
            manifest_limit: 4 << 20,
            negative_ttl: choices.negative_ttl,
            timeouts: Timeouts {
                connect: Duration::from_secs(5),
                headers: Duration::from_secs(20),
                idle: Duration::from_secs(30),
            },
        };
        let disk = open_when_free(directory);
        let records = Records::open(&disk.records_path());
        let budgets = Budgets {
            rules: Rules {
                reserves: choices.clients.reserves(),
            },
            ledgers: records.ledgers(),
        };
        let named = |name: &&str| Pattern::Exact(name.parse().unwrap());
        let others: Vec<Pattern> = choices.others.iter().map(named).collect();
        let beside = others.iter().zip(&choices.others);
        let beside = beside.map(|(pattern, name)| upstream::Options {
            registry: pattern.clone(),
            url: Some(format!("http://{name}").parse().unwrap()),
            credentials: Vec::new(),
            sharing: Sharing::Public,
            alternates: Vec::new(),
            ..upstreams.clone()
        });
        let upstreams: Vec<_> = beside.chain([upstreams.clone()]).rev().collect();
        let entries = upstreams.len();
        let upstreams =
            Arc::new(Upstreams::new(upstreams, budgets, dialer, clock).counting(metrics.upstreams.clone()));
        let options = cache::Options {
            directory: directory.to_owned(),
            space: choices.space,
            memory: choices.memory,
            freshness: vec![choices.freshness; entries],
            on_exhausted: vec![choices.on_exhausted; entries],
            clients: choices.clients.clone(),
            bandwidth: choices.bandwidth,
            trust: choices.trust,
            flights: choices.flights,
            verify_first_serve: choices.verify_first_serve,
            scrub: choices.scrub,
        };
        let cache = Cache::new(
            options,
            disk,
            records,
            upstreams,
            metrics.clone(),
            tasks.clone(),
            clock,
        );
        let entry = |(place, pattern)| Entry {
            pattern,
            hosts: Vec::new(),
            default: place == 0,
            offer: choices.offer.clone(),
        };
        let patterns = std::iter::once(pattern).chain(others.into_iter().rev());
        let names = Names::new(patterns.enumerate().map(entry).collect());
        let options = seawall::server::Options {
            listen: ([127, 0, 0, 1], 0).into(),
            admin: ([127, 0, 0, 1], 0).into(),
            drain: Duration::from_secs(30),
            tls: choices.tls,
            bounds: Bounds {
                connections: 1024,
                header_timeout: Duration::from_secs(10),
                idle_timeout: Duration::from_secs(75),
                stall_timeout: Duration::from_secs(60),
                header_bytes: 32 * 1024,
                header_count: 100,
            },
            clients: choices.clients,
            proxies: choices.proxies,
            token_keys: choices.token_keys,
            operators: choices.operators,
            issuers: Vec::new(),
        };
        let cache = Arc::new(cache);
        let server = Server::new(
            options,
            cache.clone(),
            Arc::new(names),
            metrics.clone(),
            Telling::default(),
            Arc::new(Issuers::new(&[], None, dialer, clock)),
            clock,
        );
        let stopping = CancellationToken::new();
        let (tended, stop) = (cache.clone(), stopping.clone());
        tasks.spawn(async move { tended.tend(&stop).await });
        let (healing, stop) = (cache.clone(), stopping.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = healing.heal_disk() => {}
                () = stop.cancelled() => {}
            }
        });
        let (scrubbed, stop) = (cache.clone(), stopping.clone());
        tasks.spawn(async move { scrubbed.scrub(&stop).await });
        Self {
            server: Arc::new(server),
            cache,
            tasks,
            metrics,
            stopping: stopping.drop_guard(),
        }
    }

    /// What runs under a configuration, whose tasks end with `stopping`.
    pub(super) fn of(running: &Running, tasks: TaskTracker, stopping: CancellationToken) -> Self {
        Self {
            server: Arc::new(running.server().clone()),
            cache: running.cache().clone(),
            metrics: running.metrics().clone(),
            tasks,
            stopping: stopping.drop_guard(),
        }
    }

    /// Stops as a clean stop does: everything under way is finished and written down.
    pub(crate) async fn stop(self) {
        drop(self.stopping);
        self.tasks.close();
        self.tasks.wait().await;
        drop((self.server, self.cache));
    }

    /// Sends a request and returns as soon as the head of the answer is there.
    pub(crate) async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Response<Incoming> {
        self.open_from([127, 0, 0, 1], method, path, headers).await
    }

    /// As [`Self::open`], from another address.
    pub(crate) async fn open_from(
        &self,
        address: [u8; 4],
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Response<Incoming> {
        let near = self.connect((address, 9).into());
        Self::send(near, method, path, headers).await.unwrap()
    }

    /// A connection on which nothing has been sent, from this peer.
    pub(crate) fn connect(&self, peer: SocketAddr) -> DuplexStream {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let server = self.server.clone();
        tokio::spawn(async move { server.serve_connection(far, peer).await });
        near
    }

    /// As [`Self::connect`], on the admin side.
    pub(crate) fn connect_operator(&self, peer: SocketAddr) -> DuplexStream {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let server = self.server.clone();
        tokio::spawn(async move { server.serve_operator(far, peer).await });
        near
    }

    /// Sends the first request of a connection. An error if the connection ends without an answer.
    pub(crate) async fn send(
        near: DuplexStream,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> hyper::Result<Response<Incoming>> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await?;
        tokio::spawn(async move {
            // A broken body shows in the body; the connection's own error adds nothing.
            let _ = connection.await;
        });
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "cache.test");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        sender
            .send_request(request.body(Empty::<Bytes>::new()).unwrap())
            .await
    }

    /// Sends a request and reads the answer to its end.
    pub(crate) async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        read(self.open(method, path, headers).await).await
    }

    /// A plain GET.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[]).await
    }
}

/// Reads an answer to its end.
pub(crate) async fn read(response: Response<Incoming>) -> Answer {
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    let mut complete = true;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
            Err(_) => {
                complete = false;
                break;
            }
        }
    }
    Answer {
        status: head.status,
        headers: head.headers,
        body: bytes.into(),
        complete,
    }
}

/// Opens a cache directory. What one that was stopped had under way on its disk ends by itself, a moment later.
fn open_when_free(directory: &Path) -> Disk {
    for _ in 0..10_000 {
        match Disk::open(directory) {
            Err(OpenError::InUse(_)) => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
    Disk::open(directory).unwrap()
}
