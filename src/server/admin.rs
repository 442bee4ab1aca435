//! The admin listener: health, metrics, and the API that the commands use.
//!
//! What only looks is a GET; what changes something is a POST with a JSON body, and is refused to browsers:
//! a page that the operator has open somewhere must not reach it.

mod browsers;
mod bundle;
mod entry;
mod explain;
mod inspect;
mod purge;
mod reload;
mod verify;
mod warm;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HeaderValue;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use tokio::sync::mpsc::{Receiver, channel};

use super::body::PullBody;
use super::http::{From, Tracked, headers_only};
use super::watch::Signs;
use super::{Inner, health, page};
use browsers::{GUARDS, comes_from_a_site, is_addressed, is_json};
use entry::Who;

pub use explain::{ExplainedClient, ExplainedMark, ExplainedQuota, Explanation};

/// Most bytes of a request's body.
const MAX_BODY: usize = 16 << 20;
/// Events, and lines, that wait for their reader.
const LINES: usize = 16;
/// What the paths of the API begin with.
const API: &str = "/api/v1/";

/// A request of the operator.
pub(super) struct Ask {
    pub(super) method: Method,
    /// What stands behind `/api/v1/`, or the whole path.
    pub(super) path: String,
    /// The query, decoded.
    pub(super) query: Vec<(String, String)>,
    /// The body; empty for a GET.
    pub(super) body: Bytes,
}

impl Ask {
    /// The last value under a key of the query.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.values(key).next_back()
    }

    /// All values under a key of the query.
    pub(super) fn values(&self, key: &str) -> impl DoubleEndedIterator<Item = &str> {
        let pairs = self.query.iter().filter(move |(name, _)| name == key);
        pairs.map(|(_, value)| value.as_str())
    }
}

/// An answer to the operator.
pub(super) struct Reply {
    status: StatusCode,
    kind: &'static str,
    body: PullBody,
    length: Option<usize>,
}

impl Reply {
    /// Text for people, or for Prometheus.
    pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            status,
            kind: "text/plain; version=0.0.4; charset=utf-8",
            length: Some(text.len()),
            body: PullBody::bytes(text.into()),
        }
    }

    /// A page for people.
    pub(super) fn page(status: StatusCode, html: String) -> Self {
        Self {
            status,
            kind: "text/html; charset=utf-8",
            length: Some(html.len()),
            body: PullBody::bytes(html.into()),
        }
    }

    /// A file that is part of this program.
    pub(super) fn asset(kind: &'static str, text: &'static str) -> Self {
        Self {
            status: StatusCode::OK,
            kind,
            length: Some(text.len()),
            body: PullBody::bytes(Bytes::from_static(text.as_bytes())),
        }
    }

    /// A value as JSON.
    pub(super) fn json(value: &impl Serialize) -> Self {
        Self::json_as(StatusCode::OK, value)
    }

    /// Why something cannot be done, in a sentence for the operator.
    pub(super) fn error(status: StatusCode, message: impl Into<String>) -> Self {
        Self::json_as(status, &serde_json::json!({ "error": message.into() }))
    }

    /// What was named is not held; with names that look like it.
    pub(super) fn not_held(message: &str, near: &[String]) -> Self {
        let value = serde_json::json!({ "error": message, "near": near });
        Self::json_as(StatusCode::NOT_FOUND, &value)
    }

    /// One JSON value a line, as they come. The last line tells the outcome: the status is 200 either way.
    pub(super) fn lines(lines: Receiver<Bytes>) -> Self {
        Self {
            status: StatusCode::OK,
            kind: "application/x-ndjson",
            length: None,
            body: PullBody::lines(lines, None),
        }
    }

    /// A file that a task writes, of a known length in bytes. If it ends early, the connection breaks.
    pub(super) fn archive(kind: &'static str, length: u64, pieces: Receiver<Bytes>) -> Self {
        Self {
            status: StatusCode::OK,
            kind,
            length: usize::try_from(length).ok(),
            body: PullBody::lines(pieces, Some(length)),
        }
    }

    fn json_as(status: StatusCode, value: &impl Serialize) -> Self {
        let text = serde_json::to_vec(value).expect("names and numbers always serialise");
        Self {
            status,
            kind: "application/json",
            length: Some(text.len()),
            body: PullBody::bytes(text.into()),
        }
    }
}

/// Answers a request of the operator. Nothing of `/v2/` is served here.
pub(super) async fn answer(
    inner: Arc<Inner>,
    request: Request<Incoming>,
    from: Arc<From>,
    signs: Arc<Signs>,
) -> Result<Response<Tracked>, Infallible> {
    let (head, body) = request.into_parts();
    let reply = match entry::enter(&inner, &head, &from).await {
        Err(refused) => refused,
        Ok(who) => {
            let reply = act(&inner, &head, body, &who).await;
            if head.method == Method::POST {
                let (path, status) = (head.uri.path(), reply.status.as_u16());
                let peer = from.peer;
                tracing::info!(by = ?who.name, %peer, ?path, status, "the operator's pages were asked to change something");
            }
            reply
        }
    };
    let mut response = Response::new(reply.body);
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(reply.kind));
    for (name, value) in GUARDS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Some(length) = reply.length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    if reply.status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Basic realm=\"seawall\", charset=\"UTF-8\"");
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    if reply.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
    }
    let (parts, body) = headers_only(&head.method, response).into_parts();
    Ok(Response::from_parts(parts, Tracked::unlogged(body, signs)))
}

/// Does what is asked for.
async fn act(inner: &Arc<Inner>, head: &Parts, body: Incoming, who: &Who) -> Reply {
    if bundle::is_import(head) {
        return Box::pin(bundle::import(inner, head, body)).await;
    }
    match read(head, body, who).await {
        Ok(ask) => dispatch(inner, &ask).await,
        Err(refused) => refused,
    }
}

/// Reads a request whole, unless it is not one for this listener.
async fn read(head: &Parts, body: Incoming, who: &Who) -> Result<Ask, Reply> {
    let path = head.uri.path();
    let writes = head.method == Method::POST;
    if !writes && head.method != Method::GET && head.method != Method::HEAD {
        return Err(Reply::text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET, HEAD and POST\n",
        ));
    }
    if writes && !path.starts_with(API) {
        return Err(Reply::text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n"));
    }
    if writes && (head.headers.contains_key(header::ORIGIN) || !is_json(head)) {
        return Err(Reply::error(
            StatusCode::FORBIDDEN,
            "what changes something is asked with Content-Type: application/json, and not by a browser",
        ));
    }
    let is_told = matches!(path, "/livez" | "/readyz" | "/metrics");
    let is_free = is_told || who.is_proven || is_addressed(head);
    if !is_free || comes_from_a_site(head) {
        return Err(Reply::error(
            StatusCode::FORBIDDEN,
            "the operator's pages are asked for by the address of the admin listener, or as localhost: by another name \
             a web page could reach them",
        ));
    }
    let body = match writes {
        false => Bytes::new(),
        true => match Limited::new(body, MAX_BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                let why = format!("the body cannot be read: {error}; at most {MAX_BODY} bytes are");
                return Err(Reply::error(StatusCode::BAD_REQUEST, why));
            }
        },
    };
    Ok(Ask {
        method: head.method.clone(),
        path: path.strip_prefix(API).unwrap_or(path).to_owned(),
        query: pairs(head.uri.query().unwrap_or_default()),
        body,
    })
}

/// The pairs of a query, decoded.
pub(super) fn pairs(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
        .collect()
}

/// What a task of the cache tells, as lines of JSON.
fn lines<T: Serialize + Send + 'static>(inner: &Inner, mut events: Receiver<T>) -> Receiver<Bytes> {
    let (sender, lines) = channel(LINES);
    inner.streams.spawn(async move {
        loop {
            // What is told to nobody is not made: dropping the events ends the task that makes them.
            let event = tokio::select! {
                event = events.recv() => event,
                () = sender.closed() => None,
            };
            let Some(event) = event else { return };
            let mut line = serde_json::to_vec(&event).expect("names and numbers always serialise");
            line.push(b'\n');
            if sender.send(line.into()).await.is_err() {
                return;
            }
        }
    });
    lines
}

async fn dispatch(inner: &Arc<Inner>, ask: &Ask) -> Reply {
    if let Some(reply) = health::answer(inner, ask) {
        return reply;
    }
    if let Some(reply) = page::answer(inner, ask).await {
        return reply;
    }
    if let Some(reply) = inspect::answer(inner, ask).await {
        return reply;
    }
    if let Some(reply) = explain::answer(inner, ask).await {
        return reply;
    }
    if let Some(reply) = purge::answer(inner, ask).await {
        return reply;
    }
    if let Some(reply) = warm::answer(inner, ask).await {
        return reply;
    }
    if let Some(reply) = bundle::answer(inner, ask).await {
        return reply;
    }
    if let Some(reply) = verify::answer(inner, ask).await {
        return reply;
    }
    if let Some(reply) = reload::answer(inner, ask).await {
        return reply;
    }
    Reply::error(
        StatusCode::NOT_FOUND,
        "here are / (the status page), /livez, /readyz, /metrics and /api/v1/…: status, repositories, tags, manifests, \
         show, explain, usage, purge, holds, lock, unlock, pin, unpin, warm, export, import, verify, reload",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_and_its_last_value_counts() {
        let ask = Ask {
            method: Method::GET,
            path: String::new(),
            query: pairs("sort=size&a%3Ab=c%20d+e&&sort=name&bare"),
            body: Bytes::new(),
        };
        assert_eq!(ask.value("sort"), Some("name"));
        assert_eq!(ask.value("a:b"), Some("c d e"));
        assert_eq!(ask.value("bare"), Some(""));
        assert_eq!(ask.value("none"), None);
    }
}
