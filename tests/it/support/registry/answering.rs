//! The registry's side of a connection: what it refuses, what it gives, and how the bytes leave.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::response::Builder;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use seawall::net::dial::Io;
use seawall::oci::{Digest, RangeSet, Selected};

use super::{Registry, Script, Seen};

/// What one connection is good for.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// Its client is told to go away once so many requests have come: by GOAWAY over HTTP/2.
    pub(crate) requests: usize,
    /// What is more at a time is refused over HTTP/2, until the client has heard of it (REFUSED_STREAM).
    pub(crate) streams: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            requests: usize::MAX,
            streams: 200,
        }
    }
}

impl Registry {
    /// Serves one connection, HTTP/1.1 or HTTP/2, until it ends.
    pub(crate) async fn serve<I: Io>(self, io: I) {
        self.serve_some(io, Bounds::default()).await;
    }

    /// Serves one connection, within these bounds.
    pub(crate) async fn serve_some<I: Io>(self, io: I, Bounds { requests, streams }: Bounds) {
        let (enough, came) = (tokio::sync::Notify::new(), AtomicUsize::new(0));
        let service = hyper::service::service_fn(|request| {
            let registry = self.clone();
            if came.fetch_add(1, Ordering::Relaxed) + 1 == requests {
                enough.notify_one();
            }
            async move {
                // An upstream that is down also breaks the connections it had.
                if registry.0.lock().unwrap().down {
                    return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
                }
                Ok(registry.answer(request).await)
            }
        });
        let mut server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        server.http1().timer(TokioTimer::new());
        server.http2().max_concurrent_streams(streams);
        let mut serving = std::pin::pin!(server.serve_connection(TokioIo::new(io), service));
        tokio::select! {
            // A connection the test breaks on purpose ends with an error; nothing follows from it.
            _ = serving.as_mut() => return,
            () = enough.notified() => serving.as_mut().graceful_shutdown(),
        }
        let _ = serving.await;
    }

    /// True if this request is one too many in this second.
    fn is_too_much(&self) -> bool {
        let mut state = self.0.lock().unwrap();
        let Some(rate) = state.rate else { return false };
        let now = tokio::time::Instant::now();
        state.taken.retain(|at| now - *at < Duration::from_secs(1));
        if state.taken.len() >= rate {
            return true;
        }
        state.taken.push_back(now);
        false
    }

    /// The script for a path, counted down.
    fn script_of(&self, path: &str) -> Script {
        let mut state = self.0.lock().unwrap();
        let Some(script) = state.scripts.get_mut(path) else {
            return Script::default();
        };
        let now = script.clone();
        if let Some(times) = &mut script.times {
            *times -= 1;
            if *times == 0 {
                state.scripts.remove(path);
            }
        }
        now
    }

    /// The refusal of who may not see what is at a path: 401 for whoever is not known, 403 for the others.
    fn refusal(&self, path: &str, headers: &HeaderMap) -> Option<StatusCode> {
        let state = self.0.lock().unwrap();
        let login = headers
            .get(header::AUTHORIZATION)
            .and_then(|login| login.to_str().ok());
        let has = |logins: &Vec<String>| logins.iter().any(|known| Some(known.as_str()) == login);
        let is_below = |repository: &String| path.starts_with(&format!("/v2/{repository}/"));
        let mut closed = state.closed.iter();
        let (_, logins) = closed.find(|(repository, _)| is_below(repository))?;
        match (has(logins), state.closed.values().any(has)) {
            (true, _) => None,
            (false, true) => Some(StatusCode::FORBIDDEN),
            (false, false) => Some(StatusCode::UNAUTHORIZED),
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, _) = request.into_parts();
        let path = head.uri.path();
        let latency = {
            let mut state = self.0.lock().unwrap();
            state.journal.push(Seen {
                method: head.method.clone(),
                path: path.to_owned(),
                headers: head.headers.clone(),
                version: head.version,
            });
            state.latency
        };
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        if self.is_too_much() {
            let refusal = Response::builder().status(StatusCode::TOO_MANY_REQUESTS);
            return self.send(refusal, Bytes::from_static(b"Rate exceeded"), &Script::default());
        }
        if head.method == Method::HEAD && self.0.lock().unwrap().no_head {
            let refusal = Response::builder().status(StatusCode::METHOD_NOT_ALLOWED);
            return self.send(refusal, Bytes::new(), &Script::default());
        }
        if let Some(status) = self.refusal(path, &head.headers) {
            let refusal = Response::builder().status(status);
            let refusal = refusal.header("www-authenticate", "Basic realm=\"hub\"");
            return self.send(refusal, Bytes::new(), &Script::default());
        }
        let script = self.script_of(path).for_request(&head.headers);
        tokio::time::sleep(script.delay).await;
        let mut response = Response::builder();
        for (name, value) in &script.headers {
            response = response.header(*name, value);
        }
        if let Some(status) = script.status {
            return self.send(response.status(status), Bytes::new(), &script);
        }
        if path == "/v2/" {
            return self.send(response, Bytes::from_static(b"{}"), &script);
        }
        let content = self.0.lock().unwrap().content.get(path).cloned();
        match content {
            None => self.send(response.status(StatusCode::NOT_FOUND), Bytes::new(), &script),
            Some(content) => self.give(&head, response, content, &script),
        }
    }

    /// Answers with content, all or a part of it.
    fn give(
        &self,
        head: &Parts,
        mut response: Builder,
        (media_type, mut bytes): (String, Bytes),
        script: &Script,
    ) -> Response<Body> {
        if let Some(other) = &script.body {
            bytes = other.clone();
        }
        let last = head.uri.path().rsplit('/').next();
        let digest = last.filter(|last| last.starts_with("sha")).map(str::to_owned);
        let digest = digest.unwrap_or_else(|| Digest::sha256(&bytes).to_string());
        if let Some(at) = script.flip {
            let mut wrong = bytes.to_vec();
            wrong[at] ^= 1;
            bytes = wrong.into();
        }
        response = response
            .header(header::CONTENT_TYPE, media_type)
            .header("docker-content-digest", digest);
        let total = bytes.len() as u64;
        let range = head.headers.get(header::RANGE).filter(|_| !script.ignore_range);
        if let Some(range) = range.and_then(|range| RangeSet::parse(range.to_str().ok()?)) {
            match range.select(total) {
                Selected::One(range) => {
                    bytes = bytes.slice(range.start as usize..=range.end as usize);
                    let told = script.content_range(range, total);
                    response = response.status(206).header(header::CONTENT_RANGE, told);
                }
                _ => response = response.status(416),
            }
        }
        response = response.header(header::CONTENT_LENGTH, bytes.len());
        if let Some(headers) = response.headers_mut() {
            for name in &script.without {
                headers.remove(*name);
            }
        }
        let bytes = match head.method == Method::HEAD {
            true => Bytes::new(),
            false => bytes,
        };
        self.send(response, bytes, script)
    }

    /// An answer whose body is sent as the script says.
    fn send(&self, response: Builder, bytes: Bytes, script: &Script) -> Response<Body> {
        response.body(body(bytes, script, self.clone())).unwrap()
    }
}

type Body = BoxBody<Bytes, std::io::Error>;

/// A body sent as the script says.
fn body(bytes: Bytes, script: &Script, registry: Registry) -> Body {
    let chunk = if script.chunk == 0 {
        64 * 1024
    } else {
        script.chunk
    };
    let (pace, cut_after, stall_after) = (script.pace, script.cut_after, script.stall_after);
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        let mut sent = 0;
        for piece in bytes.chunks(chunk) {
            tokio::time::sleep(pace).await;
            if stall_after.is_some_and(|at| sent >= at) {
                return sender.closed().await;
            }
            let room = cut_after.map_or(piece.len(), |cut| cut.saturating_sub(sent).min(piece.len()));
            sent += room;
            registry.0.lock().unwrap().sent += room as u64;
            let frame = Frame::data(Bytes::copy_from_slice(&piece[..room]));
            if sender.send(Ok(frame)).await.is_err() {
                return;
            }
            if room < piece.len() {
                // The pause lets what was sent arrive before the connection breaks.
                tokio::time::sleep(Duration::from_millis(1)).await;
                let _ = sender.send(Err(std::io::ErrorKind::ConnectionReset.into())).await;
                return;
            }
        }
    });
    BoxBody::new(Pieces(receiver))
}

pub(in crate::support) struct Pieces(
    pub(in crate::support) tokio::sync::mpsc::Receiver<Result<Frame<Bytes>, std::io::Error>>,
);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.0.poll_recv(context)
    }
}
