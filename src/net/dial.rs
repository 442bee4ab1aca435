//! How a connection to the outside is opened: resolve, filter, connect.
//!
//! The seam at which tests replace the world: both steps are functions in a [`Dialer`], so a test gives
//! names any address and answers any address from memory, and the address filter in between still decides.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep, timeout};

pub use super::gate::{Gate, is_public};
use super::near::{self, Turn};

/// Time one address gets before the next one is tried beside it (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// A byte stream to a peer.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A future that is sent between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// Turns a host name into its addresses.
pub type Resolve = Arc<dyn Fn(String) -> BoxFuture<io::Result<Vec<IpAddr>>> + Send + Sync>;
/// Opens a connection to an address.
pub type Connect = Arc<dyn Fn(SocketAddr) -> BoxFuture<io::Result<Box<dyn Io>>> + Send + Sync>;

/// How to reach the outside.
#[derive(Clone)]
pub struct Dialer {
    /// Turns a host name into its addresses.
    pub resolve: Resolve,
    /// Opens a connection to an address.
    pub connect: Connect,
    /// Which requests go through the operator's proxies.
    pub proxies: Proxies,
}

/// Which requests go through proxies.
#[derive(Clone)]
pub enum Proxies {
    /// None.
    Never,
    /// Those that these rules say.
    By(Arc<Matcher>),
}

impl Proxies {
    /// What `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say.
    fn of_environment() -> Self {
        Self::By(Arc::new(Matcher::from_env()))
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address.
    #[error("{0} could not be resolved: {1}")]
    Unresolved(String, io::Error),
    /// Every address lies where upstreams may not lead.
    #[error(
        "{host} leads to {address}, which is not a public address; add it to the upstream's \
         allow_addresses if that is meant"
    )]
    Forbidden {
        /// The name.
        host: String,
        /// One of the addresses.
        address: IpAddr,
    },
    /// No address could be connected to.
    #[error("{0} could not be connected to: {1}")]
    Unconnected(String, io::Error),
    /// The operator's proxy did not open a way.
    #[error("the proxy did not connect to {0}: {1}")]
    Proxy(String, String),
}

impl Dialer {
    /// The machine's resolver and network, and the environment's proxies.
    pub fn system() -> Self {
        let turn = Turn::of_machine();
        Self {
            resolve: Arc::new(|host| Box::pin(resolve(host))),
            connect: Arc::new(move |address| Box::pin(connect(address, turn.clone()))),
            proxies: Proxies::of_environment(),
        }
    }

    /// Connects to `host` (a name or an IP literal) by the first of its addresses that answers and that
    /// `admits` lets through. `limit` bounds resolving, and each address on its own.
    ///
    /// Cancel-safe: dropping the future drops what it opened.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn dial(
        &self,
        host: &str,
        port: u16,
        admits: impl Fn(IpAddr) -> bool,
        limit: Duration,
    ) -> Result<Box<dyn Io>, DialError> {
        let unresolved = |error| DialError::Unresolved(host.to_owned(), error);
        let found = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => timeout(limit, (self.resolve)(host.to_owned()))
                .await
                .unwrap_or_else(|_| Err(late("no answer", limit)))
                .map_err(unresolved)?,
        };
        let Some(first) = found.first().copied() else {
            return Err(unresolved(io::Error::other("the name has no address")));
        };
        // Checked here, on the very addresses that are connected to: a name that is resolved twice may
        // answer twice differently.
        let admitted = found
            .into_iter()
            .filter(|address| admits(*address))
            .take(MAX_ADDRESSES);
        let targets: Vec<_> = admitted.map(|address| SocketAddr::new(address, port)).collect();
        if targets.is_empty() {
            return Err(DialError::Forbidden {
                host: host.to_owned(),
                address: first,
            });
        }
        let raced = self.race(targets, limit).await;
        raced.map_err(|error| DialError::Unconnected(host.to_owned(), error))
    }

    /// Tries the addresses in order, each a little after the one before, and takes the first connection.
    async fn race(&self, targets: Vec<SocketAddr>, limit: Duration) -> io::Result<Box<dyn Io>> {
        let mut waiting = targets.into_iter();
        let mut tried: Vec<BoxFuture<io::Result<Box<dyn Io>>>> = Vec::new();
        let mut last = io::Error::other("no address");
        loop {
            match waiting.next() {
                Some(target) => tried.push(attempt((self.connect)(target), limit)),
                None if tried.is_empty() => return Err(last),
                None => {}
            }
            let patience = if waiting.len() == 0 { limit } else { HEAD_START };
            let answer = timeout(patience, poll_fn(|context| first_ready(&mut tried, context)));
            match answer.await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => {}
            }
        }
    }
}

/// The result of whichever attempt is done first; it is taken out of the list.
fn first_ready<T>(tried: &mut Vec<BoxFuture<T>>, context: &mut std::task::Context<'_>) -> Poll<T> {
    let done =
        tried
            .iter_mut()
            .enumerate()
            .find_map(|(index, attempt)| match attempt.as_mut().poll(context) {
                Poll::Ready(result) => Some((index, result)),
                Poll::Pending => None,
            });
    let Some((index, result)) = done else {
        return Poll::Pending;
    };
    drop(tried.swap_remove(index));
    Poll::Ready(result)
}

fn attempt(
    connect: BoxFuture<io::Result<Box<dyn Io>>>,
    limit: Duration,
) -> BoxFuture<io::Result<Box<dyn Io>>> {
    Box::pin(async move {
        tokio::select! {
            biased;
            result = connect => result,
            () = sleep(limit) => Err(late("no connection", limit)),
        }
    })
}

fn late(what: &str, limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} within {limit:?}"))
}

async fn resolve(host: String) -> io::Result<Vec<IpAddr>> {
    Ok(lookup_host((host, 0)).await?.map(|found| found.ip()).collect())
}

async fn connect(address: SocketAddr, turn: Option<Arc<Turn>>) -> io::Result<Box<dyn Io>> {
    let began = Instant::now();
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(near::looked_at(stream, began.elapsed(), turn))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    /// What came of dialling a name, after how long, and which addresses were dialled.
    struct Dialled {
        result: Result<(), DialError>,
        after: Duration,
        order: Vec<&'static str>,
    }

    /// Addresses whose last byte is odd connect, those with 0 are silent, the others refuse; after as many seconds as
    /// the third byte says.
    async fn answer(address: IpAddr) -> io::Result<Box<dyn Io>> {
        let IpAddr::V4(v4) = address else { panic!() };
        let [.., seconds, last] = v4.octets();
        sleep(Duration::from_secs(seconds.into())).await;
        match last {
            0 => std::future::pending().await,
            odd if odd % 2 == 1 => Ok(Box::new(tokio::io::duplex(1).0)),
            _ => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    /// Dials a name that has these addresses.
    async fn dial(addresses: &'static [&'static str]) -> Dialled {
        let order: Arc<Mutex<Vec<&str>>> = Arc::default();
        let seen = Arc::clone(&order);
        let dialer = Dialer {
            resolve: Arc::new(|_| {
                let parsed = addresses.iter().map(|address| address.parse().unwrap()).collect();
                Box::pin(std::future::ready(Ok(parsed)))
            }),
            connect: Arc::new(move |target| {
                let known = addresses.iter().find(|known| **known == target.ip().to_string());
                seen.lock().unwrap().extend(known);
                Box::pin(answer(target.ip()))
            }),
            proxies: Proxies::Never,
        };
        let start = Instant::now();
        let dialling = dialer.dial("r.example", 443, is_public, LIMIT);
        let dialled = timeout(Duration::from_secs(3600), dialling).await;
        let order = order.lock().unwrap().clone();
        Dialled {
            result: dialled.expect("dialling ends").map(drop),
            after: start.elapsed(),
            order,
        }
    }

    /// A millisecond more or less is the timer's.
    fn is_about(found: Duration, expected: Duration) -> bool {
        found.abs_diff(expected) <= Duration::from_millis(2)
    }

    // F026
    #[tokio::test(start_paused = true)]
    async fn addresses_are_tried_in_turn_and_the_next_one_little_after_one_that_is_silent() {
        for (addresses, tried, after) in [
            (&["9.9.0.1", "9.9.0.3"][..], 1, Duration::ZERO),
            // One that refuses makes way at once.
            (&["9.9.0.2", "9.9.0.4", "9.9.0.1", "9.9.0.3"], 3, Duration::ZERO),
            (&["9.9.0.0", "9.9.0.2", "9.9.0.1"], 3, HEAD_START),
            (&["9.9.0.0", "9.8.0.0", "9.9.0.1"], 3, 2 * HEAD_START),
            // One that is late is still waited for beside the others.
            (&["9.9.1.1", "9.9.0.0", "9.8.0.0"], 3, Duration::from_secs(1)),
            (&["9.9.4.1", "9.9.0.2"], 2, Duration::from_secs(4)),
        ] {
            let dialled = dial(addresses).await;
            assert!(dialled.result.is_ok(), "{addresses:?}");
            assert_eq!(dialled.order, addresses[..tried], "{addresses:?}");
            assert!(
                is_about(dialled.after, after),
                "{addresses:?}: {:?}",
                dialled.after
            );
        }
    }

    // F024
    #[tokio::test(start_paused = true)]
    async fn silence_everywhere_ends_when_the_last_address_had_its_time() {
        for (addresses, tried, after) in [
            (&["9.9.0.0"][..], 1, LIMIT),
            (&["9.9.0.0", "9.8.0.0", "9.7.0.0"], 3, LIMIT + 2 * HEAD_START),
            // Each has no more than its own.
            (&["9.9.6.1", "9.9.0.2"], 2, LIMIT),
            (
                // A name may have more addresses than are tried.
                &[
                    "9.9.0.0", "9.8.0.0", "9.7.0.0", "9.6.0.0", "9.5.0.0", "9.4.0.0", "9.3.0.0", "9.2.0.0",
                    "9.9.0.1",
                ],
                MAX_ADDRESSES,
                LIMIT + 7 * HEAD_START,
            ),
        ] {
            let dialled = dial(addresses).await;
            let result = &dialled.result;
            assert!(matches!(result, Err(DialError::Unconnected(..))), "{result:?}");
            assert_eq!(dialled.order, addresses[..tried]);
            assert!(
                is_about(dialled.after, after),
                "{addresses:?}: {:?}",
                dialled.after
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_without_an_answer_or_an_address_is_not_resolved() {
        let nowhere = Dialer {
            resolve: Arc::new(|_| Box::pin(std::future::pending())),
            connect: Arc::new(|_| panic!("nothing is dialled")),
            proxies: Proxies::Never,
        };
        let start = Instant::now();
        let dialling = nowhere.dial("r.example", 443, |_| true, LIMIT);
        let late = timeout(Duration::from_secs(3600), dialling).await.unwrap();
        assert!(matches!(late, Err(DialError::Unresolved(..))));
        assert!(is_about(start.elapsed(), LIMIT));
        let none = dial(&[]).await.result;
        assert!(matches!(none, Err(DialError::Unresolved(..))), "{none:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_the_filter_refuses_are_not_dialled() {
        for addresses in [&["127.0.0.1", "10.0.0.1"][..], &["127.0.0.1"]] {
            let dialled = dial(addresses).await;
            assert!(matches!(dialled.result, Err(DialError::Forbidden { .. })));
            assert!(dialled.order.is_empty());
        }
        let dialled = dial(&["127.0.0.1", "9.9.0.1"]).await;
        assert!(dialled.result.is_ok());
        assert_eq!(dialled.order, ["9.9.0.1"]);
        let literal = Dialer {
            resolve: Arc::new(|_| panic!("an address is no name")),
            connect: Arc::new(|target| Box::pin(answer(target.ip()))),
            proxies: Proxies::Never,
        };
        let refused = literal.dial("127.0.0.1", 443, is_public, LIMIT).await;
        assert!(matches!(refused, Err(DialError::Forbidden { .. })));
        assert!(literal.dial("9.9.0.1", 443, is_public, LIMIT).await.is_ok());
    }
}
