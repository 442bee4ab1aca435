//! Which requests are answered here, and which are left to hyper.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::Path;

use ipnet::IpNet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::oci::Digest;
use crate::policy::access::{Anonymous, Scope};
use crate::policy::clients::{Clients, Rule, Tier};
use crate::policy::proxies::Proxies;
use crate::policy::quota::Quota;
use crate::server::tests::limits::{content, running, short_content};
use crate::server::tests::{MANIFEST, connect, read_statuses, server, server_behind, server_for};
use crate::server::{Server, Telling};
use crate::telemetry::trace::{Tracer, Tracing};

/// A request for the head of a manifest that is held.
fn request(headers: &str) -> String {
    let digest = Digest::sha256(MANIFEST);
    format!("HEAD /v2/library/app/manifests/{digest} HTTP/1.1\r\n{headers}\r\n")
}

/// Has memory hold the manifest.
async fn warm(server: Server) -> Server {
    let tasks = TaskTracker::new();
    let mut client = connect(&server, &tasks);
    let request = request("Host: a\r\nConnection: close\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(read_statuses(&mut client).await, [200]);
    server
}

async fn warm_server(directory: &Path) -> Server {
    warm(server(directory)).await
}

/// True if this request is answered here.
fn is_answered(server: &Server, request: &str) -> bool {
    is_answered_from([127, 0, 0, 1], server, request)
}

fn is_answered_from(peer: [u8; 4], server: &Server, request: &str) -> bool {
    let mut hits = Hits::new(server.live.clone(), (peer, 9).into(), None);
    hits.answer(request.as_bytes()).is_some()
}

/// A request for a blob.
fn blob_request(method: &str, content: &[u8], headers: &str) -> String {
    let digest = Digest::sha256(content);
    format!("{method} /v2/library/app/blobs/{digest} HTTP/1.1\r\nHost: a\r\n{headers}\r\n")
}

#[tokio::test(start_paused = true)]
async fn a_file_that_the_kernel_sends_at_one_go_is_answered_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path());
    // Both have been pulled, and so hashed, since the start.
    for content in [short_content(), content()] {
        let mut client = connect(&server, &TaskTracker::new());
        let request = blob_request("GET", &content, "Connection: close\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        client.read_to_end(&mut Vec::new()).await.unwrap();
    }
    let is_answered = |method: &str, content: &[u8], runs: Option<Runs>| {
        let mut hits = Hits::new(server.live.clone(), ([127, 0, 0, 1], 9).into(), runs);
        let request = blob_request(method, content, "");
        hits.answer(request.as_bytes()).is_some()
    };
    let (short, runs) = (short_content(), Some(Runs::default()));
    assert!(is_answered("GET", &short, runs.clone()));
    assert!(!is_answered("GET", &short, None), "TLS, or HTTP/2");
    assert!(!is_answered("HEAD", &short, runs.clone()));
    assert!(
        !is_answered("GET", &content(), runs.clone()),
        "more than one turn"
    );
    assert!(!is_answered("GET", b"not held", runs.clone()));
    // What the kernel has not in memory is for others to wait for. Some file systems are memory.
    let hex = Digest::sha256(&short).hex();
    let path = directory
        .path()
        .join("v1/blobs/sha256")
        .join(&hex[..2])
        .join(&hex);
    let file = std::fs::File::open(path).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let stayed = resident(&file, 0, short.len() as u64) > 0;
    assert_eq!(is_answered("GET", &short, runs), stayed);
}

/// The head without its date, and the body, of the next answer.
async fn answer(client: &mut TcpStream) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let told = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    let mut body = vec![0; told("content-length: ").unwrap().parse().unwrap()];
    client.read_exact(&mut body).await.unwrap();
    let date = told("date: ").unwrap();
    (head.replace(date, "…"), body)
}

#[tokio::test]
async fn a_file_has_the_bytes_that_hyper_would_send_also_amid_other_requests() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = TaskTracker::new();
    let server = server(directory.path());
    let ([address, _], shutdown) = running(&server, &tasks).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut asks = async |request: String| {
        client.write_all(request.as_bytes()).await.unwrap();
        answer(&mut client).await
    };
    let short = short_content();
    let (wanted, body) = asks(blob_request("GET", &short, "x-plain: no\r\n")).await;
    assert!(
        body == short && wanted.contains("cache-status: seawall; hit"),
        "{wanted}"
    );
    for _ in 0..3 {
        let (head, body) = asks(blob_request("GET", &short, "")).await;
        assert_eq!(head, wanted);
        assert!(body == short);
        let (_, body) = asks(blob_request("GET", &content(), "")).await;
        assert!(body == content());
        let (_, body) = asks(blob_request("GET", &short, "range: bytes=5-9\r\n")).await;
        assert!(body == short[5..10]);
    }
    shutdown.cancel();
}

#[tokio::test]
async fn a_file_is_sent_whole_to_a_reader_who_takes_his_time_also_when_the_server_ends() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = TaskTracker::new();
    let server = server(directory.path());
    // The kernel takes a small part of it at a time.
    let [data, admin] = [0, 1].map(|_| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(1 << 16).unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        socket.listen(1).unwrap()
    });
    let (address, shutdown) = (data.local_addr().unwrap(), CancellationToken::new());
    let (stop, inner) = (shutdown.clone(), tasks.clone());
    tasks.spawn(async move { server.run(data, admin, stop, inner).await });
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = socket.connect(address).await.unwrap();
    let (short, request) = (short_content(), blob_request("GET", &short_content(), ""));
    // The first is hyper's to answer: nobody knows yet which protocol is spoken.
    client.write_all(request.as_bytes()).await.unwrap();
    let (head, body) = answer(&mut client).await;
    assert!(body == short);
    client.write_all(request.as_bytes()).await.unwrap();
    let mut begun = [0; 100];
    client.read_exact(&mut begun).await.unwrap();
    assert!(head.starts_with(std::str::from_utf8(&begun).unwrap()), "{head}");
    shutdown.cancel();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(&short) && rest.len() < short.len() + 1000);
}

#[tokio::test(start_paused = true)]
async fn what_is_told_of_an_answer_is_what_has_gone() {
    let directory = tempfile::tempdir().unwrap();
    let server = warm_server(directory.path()).await;
    let mut hits = Hits::new(server.live.clone(), ([127, 0, 0, 1], 9).into(), None);
    let request = request("Host: a\r\n").replace("HEAD", "GET");
    let mut sending = hits.answer(request.as_bytes()).unwrap();
    let (mut near, mut far) = tokio::io::duplex(sending.head + 3);
    let (signs, mut context) = (Arc::default(), Context::from_waker(std::task::Waker::noop()));
    let mut send = || sending.poll_send(&mut near, &signs, &mut context).is_ready();
    assert!(!send(), "there is room for three bytes of the body");
    far.read_exact(&mut [0; 3]).await.unwrap();
    assert!(!send(), "and for three more");
    assert_eq!(sending.record.bytes, 6);
    drop(far);
}

#[tokio::test(start_paused = true)]
async fn a_plain_request_for_what_memory_holds_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let server = warm_server(directory.path()).await;
    for headers in [
        "Host: a\r\n",
        "host: A.test:5000\r\n",
        "Host: a\r\nUser-Agent: containerd/v2.1.4\r\nAccept: a/b, */*\r\nAccept: c/d\r\nAccept-Encoding: gzip\r\n",
    ] {
        assert!(is_answered(&server, &request(headers)), "{headers:?}");
    }
    let named = request("Host: a\r\n").replace(" HTTP", "?ns=docker.io HTTP");
    assert!(is_answered(&server, &named));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_anything_else_could_matter_to_is_left_to_hyper() {
    // S011, S091–S101
    let directory = tempfile::tempdir().unwrap();
    let server = warm_server(directory.path()).await;
    let plain = request("Host: a\r\n");
    assert!(is_answered(&server, &plain));
    for header in [
        "Host: a",
        "Host: b",
        "Authorization: Basic eDp5",
        "Range: bytes=0-1",
        "If-None-Match: *",
        "If-Range: x",
        "Content-Length: 0",
        "Transfer-Encoding: chunked",
        "Connection: close",
        "Connection: upgrade",
        "Upgrade: h2c",
        "Expect: 100-continue",
        "Forwarded: for=10.0.0.1",
        "X-Forwarded-For: 10.0.0.1",
        "User-Agent: a\r\nUser-Agent: b",
        "X-Any: thing",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        " folded",
        "Accept : a/b",
    ] {
        let request = request(&format!("Host: a\r\n{header}\r\n"));
        assert!(!is_answered(&server, &request), "{header}");
    }
    let many = "Accept: a/b\r\n".repeat(MOST_HEADERS);
    for request in [
        request(""),
        request("Host:\r\n"),
        request("Host: a/b@c\r\n"),
        request(&format!("Host: a\r\n{many}")),
        plain.replace("HTTP/1.1", "HTTP/1.0"),
        plain.replace("HEAD", "POST"),
        plain.replace("HEAD", "head"),
        plain.replace("HEAD ", "HEAD http://a"),
        plain.replace(" HTTP", "? HTTP"),
        plain.replace(" HTTP", "?n=1 HTTP"),
        plain.replace(" HTTP", "?ns=docker.io&ns=docker.io HTTP"),
        plain.replace(" HTTP", "?ns=docker.io#x HTTP"),
        plain.replace(" HTTP", "?ns=docker%2eio HTTP"),
        plain.replace(" HTTP", "?ns=other.test HTTP"),
        plain.replace(" HTTP", "#x HTTP"),
        plain.replace("manifests", "blobs"),
        plain.replace("sha256:", "sha256:0"),
        plain.replace("\r\nHost", "\nHost"),
        plain.replace("\r\n\r\n", "\r\n\n"),
        plain[..plain.len() - 1].to_owned(),
        format!("{plain}H"),
        format!("{plain}{plain}"),
        format!("\n{plain}"),
    ] {
        assert!(!is_answered(&server, &request), "{request:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_memory_does_not_hold_is_left_to_hyper() {
    let directory = tempfile::tempdir().unwrap();
    assert!(!is_answered(&server(directory.path()), &request("Host: a\r\n")));
}

#[tokio::test(start_paused = true)]
async fn who_speaks_for_others_is_left_to_hyper() {
    let directory = tempfile::tempdir().unwrap();
    let proxies = Proxies {
        trusted: vec!["127.0.0.0/8".parse().unwrap()],
        ..Proxies::default()
    };
    let server = warm(server_behind(directory.path(), proxies, None)).await;
    assert!(!is_answered(&server, &request("Host: a\r\n")));
}

#[tokio::test(start_paused = true)]
async fn who_may_pull_some_repositories_is_answered_for_those_and_left_to_hyper_for_others() {
    let directory = tempfile::tempdir().unwrap();
    let mut clients = Clients::default();
    let mut named = |last: u8, allow: &[&str], deny: &[&str]| {
        let scopes = |texts: &[&str]| texts.iter().map(|text| Scope::parse(text).unwrap()).collect();
        let mut rule = Rule::at("team", 0, vec![IpNet::from(IpAddr::from([127, 0, 0, last]))]);
        (rule.grant.allow, rule.grant.deny) = (scopes(allow), scopes(deny));
        clients.rules.push(rule);
    };
    named(2, &["docker.io/library/*"], &["docker.io/library/other"]);
    named(3, &["docker.io/other/*"], &[]);
    named(4, &[], &["docker.io/library/app"]);
    clients.access.anonymous = Anonymous::From(vec!["127.0.0.1/32".parse().unwrap()]);
    let server = warm(server_for(directory.path(), clients, None, Duration::ZERO)).await;
    let request = request("Host: a\r\n");
    let answered = [1, 2, 3, 4, 5].map(|last| is_answered_from([127, 0, 0, last], &server, &request));
    assert_eq!(answered, [true, true, false, false, false]);
}

/// A server whose only tier has this quota, on a link of so many bytes per second if there is one.
async fn limited(directory: &Path, quota: Quota, link: Option<u64>) -> Server {
    let clients = Clients {
        tiers: vec![Tier {
            name: "basic".to_owned(),
            reserve: 0.0,
            quota,
        }],
        ..Clients::default()
    };
    warm(server_for(directory, clients, link, Duration::ZERO)).await
}

#[tokio::test(start_paused = true)]
async fn who_has_a_quota_is_answered_until_it_is_used_up() {
    let directory = tempfile::tempdir().unwrap();
    let quota = Quota {
        reads: NonZeroU32::new(8),
        ..Quota::UNLIMITED
    };
    let server = limited(directory.path(), quota, None).await;
    let request = request("Host: a\r\n");
    let answered = (0..20).filter(|_| is_answered(&server, &request)).count();
    // The request that brought it into memory is counted too.
    assert_eq!(answered, 7);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_has_to_wait_for_its_turn_is_left_to_hyper_and_costs_nothing_here() {
    let paced = Quota {
        bandwidth: Some(1),
        reads: NonZeroU32::new(100),
        ..Quota::UNLIMITED
    };
    let unpaced = Quota {
        bandwidth: None,
        ..paced
    };
    // More than any lease of a slow one; then one that makes the next wait; what has no body never does.
    let bodies = [100_000, 1000, 1000, 0, 1000];
    let waits = [None, Some(98), None, Some(97), None];
    for (quota, link, wanted) in [
        (paced, None, waits),
        (unpaced, Some(1), waits),
        (paced, Some(1 << 30), waits),
        (unpaced, Some(1 << 30), [98, 97, 96, 95, 94].map(Some)),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let server = limited(directory.path(), quota, link).await;
        let inner = server.now();
        let regular = Regular::at(&inner, ([127, 0, 0, 1], 9).into()).unwrap();
        let admit = |bytes| {
            regular
                .admit(inner.cache.quotas(), bytes, inner.clock.elapsed())
                .ok()
        };
        let left = bodies.map(|bytes| admit(bytes).map(|left| left.unwrap().remaining));
        assert_eq!(left, wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hit_that_begins_a_trace_is_answered_here_as_any_other_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let server = warm_server(directory.path()).await;
    let dropped = crate::telemetry::metrics::IntCounter::new("dropped", "Dropped.").unwrap();
    let (tracer, mut spans) = Tracer::new(1.0, dropped);
    let inner = server.now();
    server.change(
        inner.options.clone(),
        inner.cache.clone(),
        inner.names.clone(),
        Telling {
            traces: Tracing::new(Some(tracer), true),
            ..Telling::default()
        },
        inner.issuers.clone(),
    );
    assert!(is_answered(
        &server,
        &request("Host: a\r\nUser-Agent: containerd\r\n")
    ));
    let span = format!("{:?}", spans.try_recv().unwrap());
    for part in ["HEAD manifest", "containerd", "docker.io/library/app", "memory"] {
        assert!(span.contains(part), "{part} is not in {span}");
    }
}
