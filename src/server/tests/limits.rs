//! Time and ends: readers that stand still, peers that stay, drains.

use std::sync::OnceLock;

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;

/// More than the pipe of a test and the buffers of a loopback connection hold.
pub(in crate::server) fn content() -> Vec<u8> {
    static CONTENT: OnceLock<Vec<u8>> = OnceLock::new();
    let make = || (0..16u32 << 20).map(|index| (index % 251) as u8).collect();
    CONTENT.get_or_init(make).clone()
}

/// Another blob that is held, which the kernel sends at one go.
pub(in crate::server) fn short_content() -> Vec<u8> {
    content()[7..1_000_010].to_vec()
}

fn blob_path() -> String {
    format!("/v2/library/app/blobs/{}", Digest::sha256(&content()))
}

pub(in crate::server) fn get_blob() -> Vec<u8> {
    format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", blob_path()).into_bytes()
}

/// Seconds until every connection has ended; ten minutes if one never does.
async fn seconds_until_closed(tasks: &TaskTracker) -> u64 {
    let began = Instant::now();
    tasks.close();
    let _ = tokio::time::timeout(Duration::from_secs(600), tasks.wait()).await;
    began.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stands_still_is_dropped() {
    // S105, S113
    let directory = tempfile::tempdir().unwrap();
    let (server, tasks) = (server(directory.path()), TaskTracker::new());
    let mut client = connect(&server, &tasks);
    client.write_all(&get_blob()).await.unwrap();
    let seconds = seconds_until_closed(&tasks).await;
    assert!((60..63).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_merely_slow_gets_everything() {
    let directory = tempfile::tempdir().unwrap();
    let (server, tasks) = (server(directory.path()), TaskTracker::new());
    let mut client = connect(&server, &tasks);
    client.write_all(&get_blob()).await.unwrap();
    let (mut found, mut buffer) = (Vec::new(), vec![0; 1 << 20]);
    while found.len() < content().len() {
        tokio::time::sleep(Duration::from_secs(30)).await;
        let count = client.read(&mut buffer).await.unwrap();
        assert!(count > 0, "cut after {} bytes", found.len());
        found.extend_from_slice(&buffer[..count]);
    }
    assert!(String::from_utf8_lossy(&found[..200]).starts_with("HTTP/1.1 200"));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_connects_and_sends_nothing_is_dropped() {
    // S104
    let directory = tempfile::tempdir().unwrap();
    let (server, tasks) = (server(directory.path()), TaskTracker::new());
    let _client = connect(&server, &tasks);
    let seconds = seconds_until_closed(&tasks).await;
    assert!((10..12).contains(&seconds), "{seconds}");
}

type H2 = SendRequest<Empty<bytes::Bytes>>;

/// An HTTP/2 client that takes `window` bytes of a body unread, and sends a PING every five seconds.
async fn connect_h2(server: &Server, tasks: &TaskTracker, window: u32) -> H2 {
    let pipe = connect(server, tasks);
    let (client, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(window)
        .keep_alive_interval(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(pipe))
        .await
        .unwrap();
    // Not one of the connections that a test waits for.
    TaskTracker::new().spawn(connection);
    client
}

async fn send(client: &mut H2, method: Method, path: &str) -> http::Response<Incoming> {
    let uri = format!("http://a{path}");
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .body(Empty::new())
        .unwrap();
    client.send_request(request).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_keeps_its_window_shut_is_dropped_though_it_sends_pings() {
    // S113
    let directory = tempfile::tempdir().unwrap();
    let (server, tasks) = (server(directory.path()), TaskTracker::new());
    let mut client = connect_h2(&server, &tasks, 0).await;
    let _unread = send(&mut client, Method::GET, &blob_path()).await;
    let seconds = seconds_until_closed(&tasks).await;
    assert!((60..63).contains(&seconds), "{seconds}");
    server.now().streams.close();
    let ended = tokio::time::timeout(Duration::from_secs(1), server.now().streams.wait()).await;
    assert!(ended.is_ok(), "the request outlives its connection");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_only_sends_pings_is_idle() {
    let directory = tempfile::tempdir().unwrap();
    let (server, tasks) = (server(directory.path()), TaskTracker::new());
    let mut client = connect_h2(&server, &tasks, 65_535).await;
    assert_eq!(send(&mut client, Method::GET, "/v2/").await.status(), 200);
    let seconds = seconds_until_closed(&tasks).await;
    assert!((75..79).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_head_has_no_body_over_http_2_whatever_the_answer() {
    // S100: frames of data after a HEAD are a protocol error.
    let directory = tempfile::tempdir().unwrap();
    let (server, tasks) = (server(directory.path()), TaskTracker::new());
    let mut client = connect_h2(&server, &tasks, 65_535).await;
    for (path, status) in [
        ("/v2/", StatusCode::OK),
        ("/nowhere", StatusCode::NOT_FOUND),
        ("/v2/x/blobs/sha256:0", StatusCode::BAD_REQUEST),
        (
            "/v2/unknown.test/x/manifests/t?ns=unknown.test",
            StatusCode::NOT_FOUND,
        ),
        (&blob_path(), StatusCode::OK),
    ] {
        let answer = send(&mut client, Method::HEAD, path).await;
        assert_eq!(answer.status(), status, "{path}");
        assert!(answer.headers().contains_key("content-length"), "{path}");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(body.is_empty(), "{path}");
    }
}

/// Two listeners of the kernel's choice, and a server that runs on them until the token is cancelled.
pub(in crate::server) async fn running(
    server: &Server,
    tasks: &TaskTracker,
) -> ([std::net::SocketAddr; 2], CancellationToken) {
    let data = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = [data.local_addr().unwrap(), admin.local_addr().unwrap()];
    let (server, shutdown, inner) = (server.clone(), CancellationToken::new(), tasks.clone());
    let stop = shutdown.clone();
    tasks.spawn(async move { server.run(data, admin, stop, inner).await });
    (addresses, shutdown)
}

async fn fetch(address: std::net::SocketAddr, path: &str) -> String {
    let mut client = TcpStream::connect(address).await.unwrap();
    // The server has taken the connection before it knows what is asked.
    tokio::time::sleep(Duration::from_millis(10)).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(start_paused = true)]
async fn each_listener_serves_its_own_paths_only() {
    // S072
    let directory = tempfile::tempdir().unwrap();
    let (server, tasks) = (server(directory.path()), TaskTracker::new());
    let ([data, admin], shutdown) = running(&server, &tasks).await;
    for (address, path, status) in [
        (data, "/v2/", "200"),
        (data, "/metrics", "404"),
        (data, "/livez", "404"),
        (data, "/", "404"),
        (admin, "/livez", "200"),
        (admin, "/readyz", "200"),
        (admin, "/metrics", "200"),
        (admin, "/v2/", "404"),
        (admin, "/debug", "404"),
    ] {
        let answer = fetch(address, path).await;
        assert_eq!(answer.get(9..12), Some(status), "{path}");
    }
    shutdown.cancel();
    assert!(seconds_until_closed(&tasks).await < 2);
}

#[tokio::test(start_paused = true)]
async fn a_crowd_at_the_operators_door_keeps_no_client_out() {
    // F097: more than there are places, and none of them reads.
    let directory = tempfile::tempdir().unwrap();
    let (server, tasks) = (server(directory.path()), TaskTracker::new());
    let ([data, admin], shutdown) = running(&server, &tasks).await;
    let mut crowd = Vec::new();
    for _ in 0..100 {
        let mut scraper = TcpStream::connect(admin).await.unwrap();
        scraper
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            .await
            .unwrap();
        crowd.push(scraper);
    }
    assert!(fetch(data, "/v2/").await.starts_with("HTTP/1.1 200"));
    drop(crowd);
    assert!(fetch(admin, "/livez").await.starts_with("HTTP/1.1 200"));
    shutdown.cancel();
}

#[tokio::test(start_paused = true)]
async fn who_comes_when_all_places_are_taken_waits_for_one_and_the_operator_does_not() {
    // F110: eight places, taken by peers who have the time of a head.
    let directory = tempfile::tempdir().unwrap();
    let (server, tasks) = (server(directory.path()), TaskTracker::new());
    let ([data, admin], shutdown) = running(&server, &tasks).await;
    let began = Instant::now();
    let mut crowd = Vec::new();
    for _ in 0..8 {
        let mut peer = TcpStream::connect(data).await.unwrap();
        peer.write_all(b"GET /v2/ HTTP/1.1\r\n").await.unwrap();
        crowd.push(peer);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let late = fetch(data, "/v2/");
    let operator = async {
        let answer = fetch(admin, "/livez").await;
        (answer, began.elapsed())
    };
    let (late, (operator, soon)) = tokio::join!(late, operator);
    assert!(operator.starts_with("HTTP/1.1 200") && soon < Duration::from_secs(9));
    assert!(late.starts_with("HTTP/1.1 200"), "{late}");
    assert!(began.elapsed() >= Duration::from_secs(9), "{:?}", began.elapsed());
    shutdown.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_drain_says_so_to_the_operator_and_cuts_what_does_not_end() {
    let directory = tempfile::tempdir().unwrap();
    let (server, tasks) = (server(directory.path()), TaskTracker::new());
    let ([data, admin], shutdown) = running(&server, &tasks).await;
    let mut reader = TcpStream::connect(data).await.unwrap();
    reader.write_all(&get_blob()).await.unwrap();
    let mut first = [0; 12];
    reader.read_exact(&mut first).await.unwrap();
    shutdown.cancel();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(TcpStream::connect(data).await.is_err(), "still listening");
    assert!(fetch(admin, "/readyz").await.starts_with("HTTP/1.1 503"));
    assert!(
        seconds_until_closed(&tasks).await <= 2,
        "the drain lasts one second"
    );
    let mut rest = Vec::new();
    let _ = reader.read_to_end(&mut rest).await;
    assert!(
        rest.len() < content().len(),
        "the test needs an answer that does not end"
    );
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_no_handshake_but_for_the_operators() {
    let directory = tempfile::tempdir().unwrap();
    let (serving, _) = certified(directory.path());
    let server = server_by_tls(directory.path(), serving);
    let [clients, operators] = [(); 2].map(|()| TaskTracker::new());
    let mut client = connect(&server, &clients);
    let (mut operator, far) = tokio::io::duplex(1 << 20);
    let serves = server.clone();
    operators.spawn(async move { serves.serve_operator(far, ([127, 0, 0, 1], 9).into()).await });
    for begins in [&mut client, &mut operator] {
        begins.write_all(&[22, 3, 1]).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.now().draining.cancel();
    assert_eq!(seconds_until_closed(&clients).await, 0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(operators.len(), 1);
    server.now().cut.cancel();
    assert_eq!(seconds_until_closed(&operators).await, 0);
}

#[tokio::test(start_paused = true)]
async fn the_page_and_the_probe_tell_the_operator_of_a_stop() {
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path());
    let asked = async |path: &str| {
        let (mut near, far) = tokio::io::duplex(1 << 20);
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
        near.write_all(request.as_bytes()).await.unwrap();
        server.serve_operator(far, ([127, 0, 0, 1], 9).into()).await;
        let mut text = String::new();
        near.read_to_string(&mut text).await.unwrap();
        text
    };
    for (path, words) in [("/", "Seawall is stopping"), ("/readyz", "draining")] {
        assert!(!asked(path).await.contains(words), "{path}");
    }
    server.now().draining.cancel();
    for (path, words) in [("/", "Seawall is stopping"), ("/readyz", "draining")] {
        let text = asked(path).await;
        assert!(text.contains(words), "{text}");
    }
}
