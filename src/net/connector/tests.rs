//! The way through an operator's proxy, which answers from memory.

use std::net::SocketAddr;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use super::*;

const LIMIT: Duration = Duration::from_secs(5);
/// Where the proxy is: an operator's own network.
const PROXY: &str = "10.0.0.9:3128";

/// How the proxy answers a request to open a way; `None`: not at all.
type Answers = Option<&'static str>;

/// What came of connecting to a URL, after how long, what was dialled, and what the proxy was told.
struct Connected {
    /// True of a connection on which requests name the whole URL.
    result: Result<bool, DialError>,
    after: Duration,
    dialled: Vec<SocketAddr>,
    told: String,
}

/// Connects to a URL where everything goes through the proxy at this URL.
async fn connect(proxy: &str, answers: Answers, url: &str) -> Connected {
    let dialled: Arc<Mutex<Vec<SocketAddr>>> = Arc::default();
    let told: Arc<Mutex<String>> = Arc::default();
    let (calls, heard, tasks) = (Arc::clone(&dialled), Arc::clone(&told), TaskTracker::new());
    let dialer = Dialer {
        resolve: Arc::new(|name| panic!("the proxy resolves {name}")),
        connect: Arc::new(move |target| {
            calls.lock().unwrap().push(target);
            let (near, mut far) = tokio::io::duplex(4096);
            let heard = Arc::clone(&heard);
            tasks.spawn(async move {
                let mut text = [0; 4096];
                let length = far.read(&mut text).await.unwrap();
                *heard.lock().unwrap() += std::str::from_utf8(&text[..length]).unwrap();
                match answers {
                    Some(answer) => far.write_all(answer.as_bytes()).await.unwrap(),
                    None => std::future::pending().await,
                }
            });
            Box::pin(std::future::ready(Ok(Box::new(near) as Box<dyn Io>)))
        }),
        proxies: Proxies::By(Arc::new(Matcher::builder().all(proxy).build())),
    };
    let start = Instant::now();
    let mut connector = Connector::new(dialer, Gate::default(), LIMIT);
    let connecting = connector.call(Uri::try_from(url).unwrap());
    let ended = timeout(Duration::from_secs(3600), connecting).await;
    let result = ended.expect("connecting ends");
    let dialled = dialled.lock().unwrap().clone();
    let told = told.lock().unwrap().clone();
    Connected {
        result: result.map(|stream| stream.proxied),
        after: start.elapsed(),
        dialled,
        told,
    }
}

fn open() -> String {
    format!("http://user:word@{PROXY}")
}

const OPENED: Answers = Some("HTTP/1.1 200 Connected\r\n\r\n");

#[tokio::test(start_paused = true)]
async fn the_proxy_is_asked_for_a_way_to_a_name_it_resolves_itself_and_with_its_login() {
    let connected = connect(&open(), OPENED, "https://r.example/v2/").await;
    assert!(!connected.result.unwrap());
    assert_eq!(connected.dialled, [PROXY.parse().unwrap()]);
    let told = connected.told.to_ascii_lowercase();
    assert!(told.starts_with("connect r.example:443 http/1.1\r\n"), "{told}");
    assert!(
        told.contains("proxy-authorization: basic dxnlcjp3b3jk\r\n"),
        "{told}"
    );
    // What needs no secrecy is asked of the proxy itself.
    let plain = connect(&open(), None, "http://r.example/v2/").await;
    assert!(plain.result.unwrap());
    assert_eq!(
        (plain.dialled, plain.told.as_str()),
        (vec![PROXY.parse().unwrap()], "")
    );
}

// F024
#[tokio::test(start_paused = true)]
async fn a_proxy_that_opens_no_way_is_told_and_a_silent_one_has_a_limit() {
    for (proxy, answers, after, why) in [
        (open(), None, 2 * LIMIT, "no answer in time"),
        (open(), Some("HTTP/1.1 403 No\r\n\r\n"), Duration::ZERO, ""),
        (open(), Some("nonsense\r\n\r\n"), Duration::ZERO, ""),
        (
            format!("https://{PROXY}"),
            OPENED,
            Duration::ZERO,
            "only proxies with an http:// URL are supported",
        ),
    ] {
        let connected = connect(&proxy, answers, "https://r.example/").await;
        let Err(DialError::Proxy(host, reason)) = connected.result else {
            panic!("{answers:?}: {:?}", connected.result);
        };
        assert_eq!(host, "r.example");
        assert!(reason.contains(why), "{answers:?}: {reason}");
        let late = connected.after.abs_diff(after);
        assert!(
            late <= Duration::from_millis(2),
            "{answers:?}: {:?}",
            connected.after
        );
    }
}

// S014
#[tokio::test(start_paused = true)]
async fn no_proxy_is_asked_for_an_address_that_may_not_be_dialled() {
    for host in ["169.254.169.254", "127.0.0.1", "[::1]", "[::ffff:10.0.0.1]"] {
        for scheme in ["http", "https"] {
            let connected = connect(&open(), OPENED, &format!("{scheme}://{host}/")).await;
            let refused = matches!(connected.result, Err(DialError::Forbidden { .. }));
            assert!(refused && connected.dialled.is_empty(), "{scheme}://{host}");
        }
    }
    let public = connect(&open(), OPENED, "https://9.9.9.9/").await;
    assert!(public.result.is_ok());
    assert!(public.told.starts_with("CONNECT 9.9.9.9:443 "), "{}", public.told);
}
