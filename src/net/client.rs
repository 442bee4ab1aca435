//! The HTTP client: a pool of HTTP/1.1 and HTTP/2 connections over our own dial.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::header::{ACCEPT_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

use super::connector::Connector;
use super::dial::{DialError, Dialer, Gate};
use super::tls;
use super::url::Url;

/// Most idle connections kept to one host: as many as one node's pull opens, a few times over.
const IDLE_PER_HOST: usize = 32;

/// How long an idle connection is kept; load balancers commonly drop theirs after 60 s.
const IDLE_TIME: Duration = Duration::from_secs(50);

/// Receive windows of HTTP/2, one stream and all of a connection: 100 ms at 160 Mbit/s and 1.3 Gbit/s.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// How often a silent HTTP/2 connection is asked whether it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Most tries of a request that a server gives back unread. The first tells us how many it takes at a time, the second
/// is for what others sent meanwhile; then it has too much to do, and is left to those who know how to wait.
const MAX_TRIES: u32 = 3;

/// What every request says of us.
const AGENT: &str = concat!("seawall/", env!("CARGO_PKG_VERSION"));

/// Sends requests and gives back responses as they come: no redirect followed, no status judged.
pub struct Client {
    pool: legacy::Client<HttpsConnector<Connector>, Full<Bytes>>,
    headers: Duration,
}

/// Why there is no response. The texts hold host names and reasons, never a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The address filter refused.
    #[error("{0}")]
    Forbidden(String),
    /// No connection, or no TLS: nothing was sent.
    #[error("{0}")]
    Unconnected(String),
    /// The server gave the request back unread (REFUSED_STREAM), each time: nothing was done about it.
    #[error("{0}")]
    Unread(String),
    /// The connection broke while the request was under way.
    #[error("{0}")]
    Broken(String),
    /// No response head in time.
    #[error("{0}")]
    Late(String),
}

impl Client {
    /// A client with its own pool. `connect` bounds resolving and connecting to one address, `headers` the
    /// whole time until the response's head is there.
    pub fn new(
        dialer: Dialer,
        gate: Gate,
        tls: &Arc<rustls::ClientConfig>,
        connect: Duration,
        headers: Duration,
    ) -> Self {
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(rustls::ClientConfig::clone(tls))
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(Connector::new(dialer, gate, connect));
        let pool = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .build(https);
        Self { pool, headers }
    }

    /// Sends one request without a body.
    ///
    /// Cancel-safe: dropping the future abandons the request.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
    ) -> Result<Response<Incoming>, SendError> {
        self.send_with(method, url, headers, Bytes::new()).await
    }

    /// As [`Self::send`], with a body.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send_with(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, SendError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = url.uri().clone();
        *request.headers_mut() = headers;
        let set = request.headers_mut();
        set.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        // Bodies are hashed: a compressed one would be another body.
        set.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        match timeout(self.headers, self.ask(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(classify(url.host(), &error, error.is_connect())),
            Err(_) => Err(SendError::Late(format!(
                "{} did not answer within {:?}",
                url.host(),
                self.headers
            ))),
        }
    }

    /// Sends a request, and at once again where its server gave it back.
    async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, legacy::Error> {
        let mut tries = 1;
        loop {
            let asked = self.pool.request(request.clone()).await;
            match asked {
                Err(error) if tries < MAX_TRIES && is_given_back(&error, request.method()) => tries += 1,
                asked => return asked,
            }
        }
    }
}

/// True if a server of HTTP/2 gave a request back (RFC 9113, 8.7): it refused the stream, or said that it goes away in
/// order while the stream was open. The latter may also be what a request is told that was begun, so only those are
/// sent again that may be sent twice.
fn is_given_back(error: &(dyn Error + 'static), method: &Method) -> bool {
    let Some(told) = told(error) else { return false };
    is_refused(told) || told.is_go_away() && told.reason() == Some(Reason::NO_ERROR) && method.is_safe()
}

fn is_refused(told: &h2::Error) -> bool {
    told.is_reset() && told.reason() == Some(Reason::REFUSED_STREAM)
}

/// What the server itself said of a stream or connection of HTTP/2, if an error is that.
fn told<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a h2::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        match error.downcast_ref::<h2::Error>() {
            Some(told) => return Some(told).filter(|told| told.is_remote()),
            None => next = error.source(),
        }
    }
    None
}

fn classify(host: &str, error: &(dyn Error + 'static), unsent: bool) -> SendError {
    let mut deepest = error;
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(dial) = error.downcast_ref::<DialError>() {
            return match dial {
                DialError::Forbidden { .. } => SendError::Forbidden(dial.to_string()),
                DialError::Unresolved(..) | DialError::Unconnected(..) | DialError::Proxy(..) => {
                    SendError::Unconnected(dial.to_string())
                }
            };
        }
        deepest = error;
        // An io::Error shows its cause's cause as its source, not the cause itself.
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    let text = format!("the connection to {host} failed: {}", tls::why(deepest));
    let refused = told(error).is_some_and(is_refused);
    match unsent {
        true => SendError::Unconnected(text),
        false if refused => SendError::Unread(text),
        false => SendError::Broken(text),
    }
}
