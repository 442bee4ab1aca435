//! Bodies that are too long, too late, or not as long as promised.

use std::net::Ipv4Addr;
use std::sync::Arc;

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use super::*;
use crate::net::client::Client;
use crate::net::dial::{Dialer, Gate, Io, Proxies};
use crate::net::tls;
use crate::net::url::Url;

const LIMIT: u64 = 10;
const IDLE: Duration = Duration::from_secs(20);

/// A head, and a piece of the body after each pause, `times` times.
#[derive(Clone, Copy, Debug)]
struct Sent {
    head: &'static str,
    piece: &'static str,
    pause: Duration,
    times: u32,
}

impl Sent {
    /// This body at once, and the end.
    fn at_once(head: &'static str, piece: &'static str) -> Self {
        Self {
            head,
            piece,
            pause: Duration::ZERO,
            times: 1,
        }
    }
}

/// What comes of reading it whole, and after how long.
async fn read(sent: Sent) -> (Result<Bytes, Refusal>, Duration) {
    let tasks = TaskTracker::new();
    let connect = move |_| {
        let (near, mut far) = tokio::io::duplex(4096);
        tasks.spawn(async move {
            assert!(far.read(&mut [0; 4096]).await.unwrap() > 0);
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{}\r\n", sent.head);
            far.write_all(head.as_bytes()).await.unwrap();
            for _ in 0..sent.times {
                sleep(sent.pause).await;
                // Whoever has heard enough leaves.
                if far.write_all(sent.piece.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        Box::pin(std::future::ready(Ok(Box::new(near) as Box<dyn Io>))) as _
    };
    let dialer = Dialer {
        resolve: Arc::new(|_| Box::pin(std::future::ready(Ok(vec![Ipv4Addr::LOCALHOST.into()])))),
        connect: Arc::new(connect),
        proxies: Proxies::Never,
    };
    let second = Duration::from_secs(1);
    let client = Client::new(dialer, Gate::open(), &tls::client_config(&[]), second, second);
    let url = Url::parse("http://r.example/").unwrap();
    let response = client.send(Method::GET, &url, HeaderMap::new()).await.unwrap();
    let start = Instant::now();
    let reading = read_whole(response, LIMIT, IDLE, "a manifest");
    let ended = timeout(Duration::from_secs(3600), reading).await;
    (ended.expect("reading ends"), start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_body_of_the_limit_is_read_and_one_byte_more_is_not_whatever_was_promised() {
    for (head, body, good) in [
        ("", "0123456789", true),
        ("content-length: 10\r\n", "0123456789", true),
        ("", "0123456789x", false),
        ("content-length: 11\r\n", "0123456789x", false),
        (
            "transfer-encoding: chunked\r\n",
            "a\r\n0123456789\r\n0\r\n\r\n",
            true,
        ),
        (
            "transfer-encoding: chunked\r\n",
            "b\r\n0123456789x\r\n0\r\n\r\n",
            false,
        ),
    ] {
        let (read, _) = read(Sent::at_once(head, body)).await;
        match good {
            true => assert_eq!(read.as_deref(), Ok(&b"0123456789"[..]), "{head}{body}"),
            false => {
                let told = "a manifest of 11 bytes or more; at most 10 are accepted";
                assert_eq!(read, Err(Refusal::Unusable(told.to_owned())), "{head}{body}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_promises_too_much_is_not_waited_for() {
    let sent = Sent {
        pause: Duration::from_secs(3),
        ..Sent::at_once("content-length: 9999\r\n", "x")
    };
    let (read, after) = read(sent).await;
    assert!(matches!(read, Err(Refusal::Unusable(_))), "{read:?}");
    assert_eq!(after, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn one_that_ends_before_what_it_promised_is_not_believed() {
    let (read, _) = read(Sent::at_once("content-length: 9\r\n", "0123")).await;
    let told = read.unwrap_err().to_string();
    assert!(told.contains("4 of 9 bytes"), "{told}");
}

// F004
#[tokio::test(start_paused = true)]
async fn one_that_drips_ends_after_a_minute_and_one_that_stalls_after_its_pause() {
    for (seconds, after, why) in [
        (7, 60, "a manifest did not arrive within 60s"),
        (21, 20, "broke off after 0 bytes: nothing came for 20s"),
    ] {
        let sent = Sent {
            pause: Duration::from_secs(seconds),
            times: u32::MAX,
            ..Sent::at_once("", "x")
        };
        let (read, found) = read(sent).await;
        let told = read.unwrap_err().to_string();
        assert!(told.contains(why), "{told}");
        assert_eq!(found.as_secs(), after, "{told}");
    }
}

// F017
#[test]
fn a_content_range_that_contradicts_itself_is_none() {
    let range = |start, end, total| Some(ContentRange { start, end, total });
    assert_eq!(ContentRange::parse("bytes 5-9/10"), range(5, 9, Some(10)));
    assert_eq!(ContentRange::parse("bytes 5-9/*"), range(5, 9, None));
    for wrong in [
        "",
        "bytes */10",
        "bytes 9-5/10",
        "bytes 5-10/10",
        "lines 5-9/10",
        "bytes 5-9",
        "bytes 0-0/0",
    ] {
        assert_eq!(ContentRange::parse(wrong), None, "{wrong}");
    }
}
