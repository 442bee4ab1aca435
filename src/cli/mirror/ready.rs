//! Does Seawall answer where programs would ask it?

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use tokio::time::{Instant, sleep};

use crate::net::client::Client;
use crate::net::dial::{Dialer, Gate};
use crate::net::tls;
use crate::net::url::Url;
use crate::policy::mirrors::Address;

/// How long a connection, and an answer, may take: a mirror that is slower than this slows its programs down.
const CONNECT: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(5);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(250);

/// Asks one address.
pub(in crate::cli) struct Probe {
    client: Client,
    url: Url,
}

impl Probe {
    /// Asks `address` by `dialer`.
    pub(super) fn new(dialer: Dialer, address: &Address) -> Result<Self, String> {
        let url = Url::parse(&format!("{address}/v2/")).map_err(|error| format!("{address}: {error}"))?;
        let gate = Gate::new(Some(&url), Vec::new());
        let client = Client::new(dialer, gate, &tls::client_config(&[]), CONNECT, ANSWER);
        Ok(Self { client, url })
    }

    /// Whether a registry answers; if not, why.
    pub(in crate::cli) async fn answers(&self) -> Result<(), String> {
        let answer = self.client.send(Method::GET, &self.url, HeaderMap::new()).await;
        let status = answer.map_err(|error| error.to_string())?.status();
        // A registry may ask who one is.
        match status {
            StatusCode::OK | StatusCode::UNAUTHORIZED => Ok(()),
            status => Err(format!("{} answered with status {status}", self.url)),
        }
    }

    /// Waits until it answers, for `limit` at most; asks once at least.
    pub(in crate::cli) async fn wait(&self, limit: Duration) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let Err(why) = self.answers().await else {
                return Ok(());
            };
            if start.elapsed() + PAUSE > limit {
                return Err(why);
            }
            sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::net::dial::{Io, Proxies};

    /// A probe of a server that refuses connections `refusals` times, then answers with `status`.
    fn probe(refusals: u32, status: &'static str) -> (Probe, Arc<AtomicU32>) {
        let tries = Arc::new(AtomicU32::new(0));
        let (counted, tasks) = (tries.clone(), TaskTracker::new());
        let dialer = Dialer {
            resolve: Arc::new(|_| Box::pin(async { Err(io::Error::other("no names here")) })),
            connect: Arc::new(move |_| {
                let number = counted.fetch_add(1, Ordering::Relaxed);
                let (ours, mut theirs) = tokio::io::duplex(4096);
                tasks.spawn(async move {
                    let _ = theirs.read(&mut [0; 4096]).await;
                    let head = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                    let _ = theirs.write_all(head.as_bytes()).await;
                });
                Box::pin(async move {
                    let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
                    let open = (number >= refusals).then(|| Box::new(ours) as Box<dyn Io>);
                    open.ok_or(refused)
                })
            }),
            proxies: Proxies::Never,
        };
        let address = "127.0.0.1:5000".parse().unwrap();
        (Probe::new(dialer, &address).unwrap(), tries)
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_waited_for_until_it_answers() {
        let (probe, tries) = probe(5, "200 OK");
        assert_eq!(probe.wait(Duration::from_secs(2)).await, Ok(()));
        assert_eq!(tries.load(Ordering::Relaxed), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_answer_in_time_is_not_written_down() {
        let (probe, tries) = probe(u32::MAX, "200 OK");
        let start = Instant::now();
        let why = probe.wait(Duration::from_secs(2)).await.unwrap_err();
        assert!(why.contains("127.0.0.1"), "{why}");
        assert!(start.elapsed() <= Duration::from_secs(2));
        assert_eq!(tries.load(Ordering::Relaxed), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_wait_it_is_asked_once_and_must_be_a_registry() {
        for (status, good) in [
            ("200 OK", true),
            ("401 Unauthorized", true),
            ("404 Not Found", false),
            ("503 Gone", false),
        ] {
            let (probe, tries) = probe(0, status);
            assert_eq!(probe.wait(Duration::ZERO).await.is_ok(), good, "{status}");
            assert_eq!(tries.load(Ordering::Relaxed), 1, "{status}");
        }
    }
}
