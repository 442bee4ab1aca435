//! Whom the server takes a client for: by headers, by the PROXY protocol, and neither from strangers.

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::limits::{content, get_blob, running};
use super::*;
use crate::telemetry::Paper;
use crate::telemetry::log::LogGuard;

/// An address of a proxy, and of somebody else.
const PROXY: [u8; 4] = [10, 0, 0, 1];
const STRANGER: [u8; 4] = [203, 0, 113, 5];

const V1: &[u8] = b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 5000\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\x0a\0\0\x01\xdc\x04\x13\x88";

fn behind(protocol: bool) -> Proxies {
    Proxies {
        trusted: vec!["10.0.0.0/8".parse().unwrap(), "127.0.0.0/8".parse().unwrap()],
        protocol,
    }
}

/// Sends `preface` and a request with `headers` from a peer; returns the statuses, and whom the log names.
async fn seen(protocol: bool, peer: [u8; 4], preface: &[u8], headers: &str) -> (Vec<u16>, String) {
    let (statuses, log) = logged(protocol, peer, preface, headers).await;
    let named = log
        .split(" peer=")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    (statuses, named.unwrap_or_default().to_owned())
}

/// As [`seen`], with the whole log.
async fn logged(protocol: bool, peer: [u8; 4], preface: &[u8], headers: &str) -> (Vec<u16>, String) {
    let directory = tempfile::tempdir().unwrap();
    let paper = Paper::default();
    let guard = LogGuard::writing_to(paper.clone());
    let requests = AccessLog {
        lines: guard.requests(),
        json: false,
    };
    let server = server_behind(directory.path(), behind(protocol), Some(requests));
    let tasks = TaskTracker::new();
    let mut client = connect_from(peer, &server, &tasks);
    let request = format!("GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n");
    client
        .write_all(&[preface, request.as_bytes()].concat())
        .await
        .unwrap();
    let statuses = read_statuses(&mut client).await;
    drop(guard);
    (statuses, paper.text())
}

#[tokio::test(start_paused = true)]
async fn the_line_of_a_request_says_which_trace_it_belongs_to() {
    let parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n";
    let (_, log) = logged(false, STRANGER, b"", parent).await;
    assert!(
        log.ends_with(" trace_id=0af7651916cd43dd8448eb211c80319c\n"),
        "{log}"
    );
    let (_, log) = logged(false, STRANGER, b"", "traceparent: 00-x\r\n").await;
    assert!(!log.contains("trace_id"), "{log}");
}

#[tokio::test(start_paused = true)]
async fn headers_name_the_client_if_a_proxy_sends_them() {
    // S082
    for (peer, headers, status, named) in [
        (PROXY, "", 200, "10.0.0.1:9"),
        (
            PROXY,
            "X-Forwarded-For: 198.51.100.7, 192.0.2.1\r\n",
            200,
            "192.0.2.1",
        ),
        (
            PROXY,
            "X-Forwarded-For: 192.0.2.1:7, 10.0.0.3\r\nX-Forwarded-For: 10.0.0.2\r\n",
            200,
            "192.0.2.1:7",
        ),
        (
            PROXY,
            "Forwarded: for=\"[2001:db8::1]\";proto=https\r\n",
            200,
            "2001:db8::1",
        ),
        (PROXY, "X-Real-IP: 192.0.2.1\r\n", 200, "10.0.0.1:9"),
        (
            PROXY,
            "Forwarded: for=198.51.100.7\r\nX-Forwarded-For: 192.0.2.1\r\n",
            400,
            "10.0.0.1:9",
        ),
        (STRANGER, "X-Forwarded-For: 192.0.2.1\r\n", 200, "203.0.113.5:9"),
        (STRANGER, "Forwarded: for=192.0.2.1\r\n", 200, "203.0.113.5:9"),
        (
            STRANGER,
            "Forwarded: for=198.51.100.7\r\nX-Forwarded-For: 192.0.2.1\r\n",
            200,
            "203.0.113.5:9",
        ),
    ] {
        let found = seen(false, peer, b"", headers).await;
        assert_eq!(found, (vec![status], named.to_owned()), "{headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_proxy_header_names_the_client_if_a_proxy_sends_it() {
    // S082
    let unknown = b"PROXY UNKNOWN\r\n";
    let by_proxy = b"PROXY TCP4 10.0.0.9 10.0.0.1 56324 5000\r\n";
    let spoofed = "X-Forwarded-For: 198.51.100.7\r\n";
    for (protocol, peer, preface, headers, statuses, named) in [
        (true, PROXY, V1, "", vec![200], "192.0.2.1:56324"),
        (true, PROXY, V2, "", vec![200], "192.0.2.1:56324"),
        (true, PROXY, V2, spoofed, vec![200], "192.0.2.1:56324"),
        (true, PROXY, by_proxy, spoofed, vec![200], "198.51.100.7"),
        (true, PROXY, unknown, "", vec![200], "10.0.0.1:9"),
        // Without its header the connection is dropped.
        (true, PROXY, b"", spoofed, vec![], ""),
        // A second one is no request.
        (true, PROXY, &[V1, V1].concat(), "", vec![400], ""),
        // Nobody asked for it, or nobody trusts its sender.
        (false, PROXY, V1, "", vec![400], ""),
        (false, PROXY, V2, "", vec![400], ""),
        (true, STRANGER, V1, "", vec![400], ""),
        (true, STRANGER, V2, "", vec![400], ""),
        (true, STRANGER, unknown, "", vec![400], ""),
        (true, STRANGER, b"", spoofed, vec![200], "203.0.113.5:9"),
    ] {
        let found = seen(protocol, peer, preface, headers).await;
        let sent = String::from_utf8_lossy(preface);
        assert_eq!(
            found,
            (statuses, named.to_owned()),
            "{protocol} {peer:?} {sent:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_proxy_header_may_come_in_pieces_but_not_for_ever() {
    // S104
    for header in [V1, V2] {
        let directory = tempfile::tempdir().unwrap();
        let server = server_behind(directory.path(), behind(true), None);
        let tasks = TaskTracker::new();
        let mut client = connect_from(PROXY, &server, &tasks);
        for byte in header {
            client.write_all(&[*byte]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        client.write_all(FOLLOW.as_bytes()).await.unwrap();
        assert_eq!(read_statuses(&mut client).await, [200]);

        let mut client = connect_from(PROXY, &server, &tasks);
        let began = Instant::now();
        let mut answer = Vec::new();
        for byte in header {
            if client.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let _ = client.read_to_end(&mut answer).await;
        assert!(answer.is_empty());
        assert!(
            began.elapsed() <= Duration::from_secs(12),
            "{:?}",
            began.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_a_proxy_header() {
    let directory = tempfile::tempdir().unwrap();
    let server = server_behind(directory.path(), behind(true), None);
    let tasks = TaskTracker::new();
    let _client = connect_from(PROXY, &server, &tasks);
    tokio::time::sleep(Duration::from_millis(1)).await;
    server.now().draining.cancel();
    let began = Instant::now();
    tasks.close();
    tasks.wait().await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_file_is_sent_behind_a_proxy_header_as_without() {
    let directory = tempfile::tempdir().unwrap();
    let server = server_behind(directory.path(), behind(true), None);
    let tasks = TaskTracker::new();
    let ([data, admin], shutdown) = running(&server, &tasks).await;
    let mut client = TcpStream::connect(data).await.unwrap();
    let requests = [V1, &get_blob(), FOLLOW.as_bytes()].concat();
    client.write_all(&requests).await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    let body = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    assert!(answer[body..].starts_with(&content()), "the blob differs");
    let next = String::from_utf8_lossy(&answer[body + content().len()..]).into_owned();
    assert!(next.starts_with("HTTP/1.1 200"), "{next}");

    // The operator's listener speaks HTTP only.
    let mut operator = TcpStream::connect(admin).await.unwrap();
    let request = "GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    operator.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    operator.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    shutdown.cancel();
    tasks.close();
    tasks.wait().await;
}
