//! The gate, over in-memory pipes and in virtual time: every payload is followed by a good request on the
//! same connection, which must never be answered from the payload's bytes.

pub(super) mod limits;
mod proxies;
mod quotas;

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_util::task::TaskTracker;

use super::issuers::Issuers;
use super::{AccessLog, Bounds, Operators, Options, Server};
use crate::cache::{self, Cache};
use crate::clock::Clock;
use crate::net::dial::Dialer;
use crate::net::serving::Serving;
use crate::oci::{Digest, Registry};
use crate::policy::access::Offer;
use crate::policy::access::visibility::Sharing;
use crate::policy::clients::Clients;
use crate::policy::naming::{Entry, Names, Pattern};
use crate::policy::proxies::Proxies;
use crate::policy::{flight, freshness};
use crate::store::{Disk, Shelf};
use crate::telemetry::metrics::Metrics;
use crate::upstream::{self, Budgets, Timeouts, Upstreams};

/// A manifest that is held.
pub(super) const MANIFEST: &[u8] =
    br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}"#;

const FOLLOW: &str = "GET /v2/ HTTP/1.1\r\nHost: cache.test\r\nConnection: close\r\n\r\n";

/// What a test may choose.
struct Chosen {
    clients: Clients,
    /// The link that they share, in bytes per second.
    bandwidth: Option<u64>,
    drain: Duration,
    proxies: Proxies,
    requests: Option<AccessLog>,
    tls: Option<Serving>,
}

impl Default for Chosen {
    fn default() -> Self {
        Self {
            clients: Clients::default(),
            bandwidth: None,
            drain: Duration::from_secs(1),
            proxies: Proxies::default(),
            requests: None,
            tls: None,
        }
    }
}

pub(super) fn server(directory: &std::path::Path) -> Server {
    server_with(directory, Chosen::default())
}

/// A server behind these proxies, with a log of its requests.
pub(super) fn server_behind(
    directory: &std::path::Path,
    proxies: Proxies,
    requests: Option<AccessLog>,
) -> Server {
    let chosen = Chosen {
        proxies,
        requests,
        ..Chosen::default()
    };
    server_with(directory, chosen)
}

/// A certificate of its own for `cache.test`, in files below a directory; and its bytes.
pub(super) fn certified(directory: &std::path::Path) -> (Serving, Vec<u8>) {
    let at = |name| directory.join(name);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["cache.test".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(at("tls.crt"), certificate.pem()).unwrap();
    std::fs::write(at("tls.key"), key.serialize_pem()).unwrap();
    let serving = Serving::read(at("tls.crt"), at("tls.key"), None).unwrap();
    (serving, certificate.der().to_vec())
}

/// A server that shows this certificate, to operators as well.
pub(super) fn server_by_tls(directory: &std::path::Path, serving: Serving) -> Server {
    let chosen = Chosen {
        tls: Some(serving),
        ..Chosen::default()
    };
    server_with(directory, chosen)
}

/// A server for these clients, who share a link of so many bytes per second if there is one.
pub(super) fn server_for(
    directory: &std::path::Path,
    clients: Clients,
    bandwidth: Option<u64>,
    drain: Duration,
) -> Server {
    let chosen = Chosen {
        clients,
        bandwidth,
        drain,
        ..Chosen::default()
    };
    server_with(directory, chosen)
}

fn server_with(directory: &std::path::Path, chosen: Chosen) -> Server {
    let clock = Clock::start();
    let metrics = Arc::new(Metrics::new());
    let upstreams = Arc::new(Upstreams::new(
        vec![upstream()],
        Budgets::default(),
        &Dialer::system(),
        clock,
    ));
    let cache = cache::Options {
        directory: directory.to_owned(),
        space: crate::store::Space::UNBOUNDED,
        memory: 1 << 20,
        freshness: vec![freshness::Policy::plain(freshness::Rules {
            ttl: Duration::ZERO,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            immutable: freshness::Patterns::default(),
            offline: false,
        })],
        on_exhausted: vec![cache::OnExhausted::default()],
        clients: chosen.clients.clone(),
        bandwidth: chosen.bandwidth,
        flights: flight::Rules {
            cooling: Duration::ZERO,
            finish_below: 0,
        },
        trust: Default::default(),
        verify_first_serve: true,
        scrub: None,
    };
    let disk = Disk::open(directory).unwrap();
    for content in [limits::content(), limits::short_content()] {
        let digest = Digest::sha256(&content);
        disk.put(Shelf::Blobs, &digest, &content).unwrap();
        disk.mark_verified(&digest, content.len() as u64);
    }
    disk.put(Shelf::Manifests, &Digest::sha256(MANIFEST), MANIFEST)
        .unwrap();
    let hub = Entry {
        pattern: Pattern::parse(Registry::DOCKER_HUB).unwrap(),
        hosts: Vec::new(),
        default: true,
        offer: Offer::default(),
    };
    let records = crate::store::Records::open(&disk.records_path());
    let cache = Cache::new(
        cache,
        disk,
        records,
        upstreams,
        metrics.clone(),
        TaskTracker::new(),
        clock,
    );
    let bounds = Bounds {
        connections: 8,
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
        stall_timeout: Duration::from_secs(60),
        header_bytes: 32 * 1024,
        header_count: 100,
    };
    let local = ([127, 0, 0, 1], 0).into();
    let options = Options {
        listen: local,
        admin: local,
        drain: chosen.drain,
        tls: chosen.tls.clone(),
        bounds,
        clients: chosen.clients,
        proxies: chosen.proxies,
        token_keys: Vec::new(),
        operators: Operators {
            tls: chosen.tls,
            ..Operators::default()
        },
        issuers: Vec::new(),
    };
    Server::new(
        options,
        Arc::new(cache),
        Arc::new(Names::new(vec![hub])),
        metrics,
        chosen.requests.into(),
        Arc::new(Issuers::new(&[], None, &Dialer::system(), clock)),
        clock,
    )
}

/// An upstream that is never asked.
fn upstream() -> upstream::Options {
    let second = Duration::from_secs(1);
    upstream::Options {
        registry: Pattern::Exact("docker.io".parse().unwrap()),
        url: None,
        credentials: Vec::new(),
        sharing: Sharing::Public,
        access_ttl: 300 * second,
        alternates: Vec::new(),
        token_hosts: Vec::new(),
        allow_addresses: Vec::new(),
        ca: Vec::new(),
        manifest_limit: 4 << 20,
        lanes: None,
        negative_ttl: second,
        timeouts: Timeouts {
            connect: second,
            headers: second,
            idle: second,
        },
    }
}

pub(super) fn connect(server: &Server, tasks: &TaskTracker) -> DuplexStream {
    connect_from([127, 0, 0, 1], server, tasks)
}

/// A connection from this address.
fn connect_from(peer: [u8; 4], server: &Server, tasks: &TaskTracker) -> DuplexStream {
    let (near, far) = tokio::io::duplex(1 << 20);
    let server = server.clone();
    tasks.spawn(async move { server.serve_connection(far, (peer, 9).into()).await });
    near
}

/// Sends bytes and returns the statuses of all answers until the connection closes.
async fn statuses(payload: &[u8]) -> Vec<u16> {
    let directory = tempfile::tempdir().unwrap();
    let (server, tasks) = (server(directory.path()), TaskTracker::new());
    let mut client = connect(&server, &tasks);
    client.write_all(payload).await.unwrap();
    read_statuses(&mut client).await
}

/// The statuses of all answers until the connection closes.
pub(super) async fn read_statuses(client: &mut DuplexStream) -> Vec<u16> {
    let mut answers = Vec::new();
    // A connection that is closed early may be reset while we still read.
    let _ = client.read_to_end(&mut answers).await;
    let text = String::from_utf8_lossy(&answers).into_owned();
    let heads = text.split("HTTP/1.").skip(1);
    heads.filter_map(|head| head.get(2..5)?.parse().ok()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_request_that_two_readers_could_read_differently_is_refused_and_ends_the_connection() {
    // S011, S091–S094, S096, S101
    for head in [
        "GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /v2/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "GET /v2/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /v2/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        "GET /v2/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
        "GET /v2/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        "GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 01\r\n\r\na",
        "GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        "GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
        "GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
        "GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
        "GET /v2/ HTTP/1.1\r\n\r\n",
        "GET /v2/ HTTP/1.1\r\nHost:\r\n\r\n",
        "GET /v2/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET /v2/ HTTP/1.1\r\nHost: a/b@c\r\n\r\n",
        "GET http://evil.test/v2/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /v2/ HTTP/1.1\nHost: a\n\n",
        "GET /v2/ HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
        "GET /v2/ HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
        "GET /v2/ HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
    ] {
        let found = statuses(format!("{head}{FOLLOW}").as_bytes()).await;
        assert_eq!(found, [400], "{head:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_method_but_get_and_head_is_refused_and_ends_the_connection() {
    // S012, S070, S097, S098
    for head in [
        "POST /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\n",
        "PUT /v2/ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 10737418240\r\n\r\n",
        "get /v2/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n",
        "PROPFIND /v2/ HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let found = statuses(format!("{head}{FOLLOW}").as_bytes()).await;
        assert_eq!(found.first(), Some(&405), "{head:?}");
        assert!(found.len() == 1, "{head:?} {found:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_is_ignored_and_the_next_request_is_answered() {
    // S099
    let head = "GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n";
    assert_eq!(statuses(format!("{head}{FOLLOW}").as_bytes()).await, [200, 200]);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_too_large_is_refused() {
    // S106
    let many: String = (0..120).map(|index| format!("X-{index}: y\r\n")).collect();
    let long = format!("X: {}\r\n", "y".repeat(64 * 1024));
    for headers in [many, long] {
        let request = format!("GET /v2/ HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        assert_eq!(statuses(request.as_bytes()).await, [431]);
    }
    let path = format!(
        "GET /v2/{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "a".repeat(9000)
    );
    assert_eq!(statuses(path.as_bytes()).await, [414]);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_arrive_in_time_ends_the_connection() {
    // S104
    let directory = tempfile::tempdir().unwrap();
    let (server, tasks) = (server(directory.path()), TaskTracker::new());
    let mut client = connect(&server, &tasks);
    client.write_all(b"GET /v2/ HTTP/1.1\r\nHo").await.unwrap();
    let began = tokio::time::Instant::now();
    let mut answers = Vec::new();
    let _ = client.read_to_end(&mut answers).await;
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_connection_may_stand_idle_between_requests_but_not_for_ever() {
    // F104: containerd reuses connections for 30 s.
    let directory = tempfile::tempdir().unwrap();
    let (server, tasks) = (server(directory.path()), TaskTracker::new());
    let mut client = connect(&server, &tasks);
    let request = b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut buffer = vec![0; 4096];
    client.write_all(request).await.unwrap();
    assert!(client.read(&mut buffer).await.unwrap() > 0);
    tokio::time::sleep(Duration::from_secs(40)).await;
    client.write_all(request).await.unwrap();
    assert!(
        client.read(&mut buffer).await.unwrap() > 0,
        "closed while a client would still reuse it"
    );
    let began = tokio::time::Instant::now();
    while client.read(&mut buffer).await.unwrap() > 0 {}
    assert!(began.elapsed() < Duration::from_secs(90), "{:?}", began.elapsed());
}
