//! What is sent where, and what of an answer is believed and told.

use std::future::ready;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hyper_util::client::proxy::matcher::Matcher;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::task::TaskTracker;

use super::*;
use crate::net::dial::{Dialer, Io, Proxies};
use crate::net::tls;

/// What comes of a message to a service that gives these answers, one on each connection, and how often it is asked.
async fn sent(answers: &'static [&'static str]) -> (Result<u16, String>, usize) {
    let asked = Arc::new(AtomicUsize::new(0));
    let (count, tasks) = (asked.clone(), TaskTracker::new());
    let connect = move |_| {
        let answer = answers[count.fetch_add(1, Ordering::Relaxed)];
        let (near, mut far) = tokio::io::duplex(4096);
        tasks.spawn(async move {
            assert!(far.read(&mut [0; 4096]).await.unwrap() > 0);
            far.write_all(answer.as_bytes()).await.unwrap();
        });
        Box::pin(ready(Ok(Box::new(near) as Box<dyn Io>))) as _
    };
    let dialer = Dialer {
        resolve: Arc::new(|_| Box::pin(ready(Ok(vec![Ipv4Addr::LOCALHOST.into()])))),
        connect: Arc::new(connect),
        proxies: Proxies::Never,
    };
    let reach = Reach::new(&dialer, &tls::client_config(&[]));
    let web = Web {
        reach: &reach,
        clock: Clock::start(),
    };
    let message = Message::get("it", Url::parse("http://127.0.0.1/x").unwrap());
    let answer = web.send(&message).await.map(|answer| answer.status);
    (answer, asked.load(Ordering::Relaxed))
}

#[tokio::test(start_paused = true)]
async fn what_came_to_nothing_is_sent_again_once_and_what_has_no_end_is_not_read() {
    const GOOD: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    const FAILING: &str = "HTTP/1.1 503 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    const DENIED: &str = "HTTP/1.1 403 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    const LONG: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 262145\r\n\r\n";
    assert_eq!(sent(&[GOOD]).await, (Ok(200), 1));
    assert_eq!(sent(&[FAILING, GOOD]).await, (Ok(200), 2));
    assert_eq!(sent(&[FAILING, FAILING]).await, (Ok(503), 2));
    assert_eq!(sent(&["", GOOD]).await, (Ok(200), 2));
    assert_eq!(sent(&[DENIED]).await, (Ok(403), 1));
    let (told, asked) = sent(&[LONG, LONG]).await;
    let why = told.unwrap_err();
    assert!(
        why.ends_with("at most 262144 are accepted") && asked == 2,
        "{why}"
    );
}

#[test]
fn secrets_are_sent_over_tls_or_not_beyond_this_machine() {
    for (url, good) in [
        ("https://sts.example.com", true),
        ("http://127.0.0.1:9999/x", true),
        ("http://localhost:40342/x", true),
        ("http://169.254.170.23/v1/credentials", true),
        ("http://[fd00:ec2::23]/v1/credentials", true),
        ("http://[::1]/", true),
        ("http://sts.example.com", false),
        ("http://10.0.0.1", false),
        ("http://localhost.example.com", false),
        ("http://[fd00:ec3::23]/", false),
        ("ftp://127.0.0.1", false),
    ] {
        let guarded = guarded("VARIABLE", url);
        assert_eq!(guarded.is_ok(), good, "{url}: {guarded:?}");
        assert!(guarded.err().is_none_or(|why| why.starts_with("VARIABLE: ")));
    }
}

// S014
#[tokio::test(start_paused = true)]
async fn what_only_this_machine_reaches_is_asked_past_the_operators_proxies() {
    const PROXY: &str = "10.0.0.9:3128";
    for (url, address) in [
        ("http://169.254.169.254/latest/api/token", "169.254.169.254:80"),
        ("http://127.0.0.1:40342/x", "127.0.0.1:40342"),
        ("http://[fd00:ec2::23]/v1/credentials", "[fd00:ec2::23]:80"),
        ("https://sts.example.com/", PROXY),
        ("https://9.9.9.9/", PROXY),
    ] {
        let dialled: Arc<Mutex<Vec<String>>> = Arc::default();
        let calls = Arc::clone(&dialled);
        let dialer = Dialer {
            resolve: Arc::new(|name| panic!("the proxy resolves {name}")),
            connect: Arc::new(move |target| {
                calls.lock().unwrap().push(target.to_string());
                Box::pin(ready(Err(std::io::ErrorKind::ConnectionRefused.into())))
            }),
            proxies: Proxies::By(Arc::new(
                Matcher::builder().all(format!("http://{PROXY}")).build(),
            )),
        };
        let reach = Reach::new(&dialer, &tls::client_config(&[]));
        let web = Web {
            reach: &reach,
            clock: Clock::start(),
        };
        let message = Message::get("it", Url::parse(url).unwrap());
        assert!(web.send_once(&message).await.is_err());
        assert_eq!(*dialled.lock().unwrap(), [address], "{url}");
    }
}

#[test]
fn a_refusal_tells_its_status_and_such_a_code_and_words_as_hold_no_secret() {
    let long = "A".repeat(MAX_CODE + 1);
    for (code, said, told) in [
        ("", "", "it answered with status 403"),
        ("AccessDenied", "", "it answered with status 403: AccessDenied"),
        (
            "invalid_grant",
            "no such pool",
            "it answered with status 403: invalid_grant no such pool",
        ),
        (
            "",
            "for eyJhbGciOiJSUzI1NiJ9.CANARY",
            "it answered with status 403: for ***",
        ),
        ("CAN ARY", "no", "it answered with status 403: no"),
        ("CANARY\u{1b}[0m", "no", "it answered with status 403: no"),
        (&long, "no", "it answered with status 403: no"),
    ] {
        let answer = Answer {
            status: 403,
            body: Bytes::from_static(b"CANARY"),
            date: None,
        };
        assert_eq!(answer.refused("it", code, said), told, "{code:?}");
    }
}
