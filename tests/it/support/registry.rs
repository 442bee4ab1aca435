//! A scripted upstream registry, reached through the dialer instead of the network.
//!
//! Faithful by default; a [`Script`] per path makes it slow, short, wrong or refusing. It keeps a journal of
//! every request, which is what most tests assert on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use seawall::net::dial::{Dialer, Io, Proxies};
use seawall::oci::{ByteRange, Digest, RangeSet, Selected};

/// The address every name resolves to: a public one, which the dial filter lets pass; it is never dialled.
pub(crate) const ADDRESS: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::new(1, 2, 3, 4));

/// How bounded ranges (`bytes=1-2`) are answered. Others are answered faithfully.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Chunks {
    /// As they should be.
    #[default]
    Given,
    /// With 200 and everything.
    Ignored,
    /// With this status and nothing else.
    Refused(u16),
    /// The connection breaks after this many bytes.
    Cut(usize),
    /// One byte is another: the one at this offset of the blob, if it is among them.
    Flipped(u64),
    /// The header tells a range that begins one byte later.
    Shifted,
    /// The header tells another length of the whole.
    OfLength(u64),
}

/// How the answers to one path differ from faithful ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    /// Answer with this status and nothing else.
    pub(crate) status: Option<StatusCode>,
    /// More headers.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// Wait before answering.
    pub(crate) delay: Duration,
    /// Bytes sent at a time; 64 KiB if zero.
    pub(crate) chunk: usize,
    /// Wait before each piece of the body.
    pub(crate) pace: Duration,
    /// Break the connection after this many bytes of the body.
    pub(crate) cut_after: Option<usize>,
    /// Send nothing more after this many bytes of the body, and leave the connection open.
    pub(crate) stall_after: Option<usize>,
    /// Flip one bit of the byte at this offset.
    pub(crate) flip: Option<usize>,
    /// Answer a Range request with 200 and everything.
    pub(crate) ignore_range: bool,
    /// How chunks are answered.
    pub(crate) chunks: Chunks,
    /// Leave these headers out.
    pub(crate) without: Vec<&'static str>,
    /// Serve this body instead of the real one.
    pub(crate) body: Option<Bytes>,
    /// How many requests this holds for; `None` means all.
    pub(crate) times: Option<usize>,
}

impl Script {
    /// An answer that says how much is left of a hundred in an hour.
    pub(crate) fn told(remaining: u64) -> Self {
        Self {
            headers: vec![
                ("ratelimit-limit", "100;w=3600".to_owned()),
                ("ratelimit-remaining", format!("{remaining};w=3600")),
            ],
            ..Self::default()
        }
    }

    /// A mebibyte at a time, each after a pause.
    pub(crate) fn paced(pace: Duration) -> Self {
        Self {
            chunk: 1 << 20,
            pace,
            ..Self::default()
        }
    }
}

/// One request as the registry saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) version: http::Version,
}

#[derive(Default)]
struct State {
    content: HashMap<String, (String, Bytes)>,
    scripts: HashMap<String, Script>,
    journal: Vec<Seen>,
    sent: u64,
    down: bool,
    /// How many requests a second it takes, and when it took the last ones.
    rate: Option<usize>,
    taken: std::collections::VecDeque<tokio::time::Instant>,
    others: HashMap<String, Registry>,
    /// How long it takes for each answer.
    latency: Duration,
    /// Repositories that it shows to some only, by what those log in with.
    closed: HashMap<String, Vec<String>>,
}

/// The registry. Clones share everything.
#[derive(Clone, Default)]
pub(crate) struct Registry(Arc<Mutex<State>>);

impl Registry {
    /// Puts a blob into a repository; returns its digest.
    pub(crate) fn blob(&self, repository: &str, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::sha256(&bytes);
        self.put(
            format!("/v2/{repository}/blobs/{digest}"),
            "application/octet-stream",
            bytes,
        );
        digest
    }

    /// Puts a manifest into a repository, under its digest and perhaps a tag; returns the digest.
    pub(crate) fn manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        body: &str,
    ) -> Digest {
        let bytes = Bytes::copy_from_slice(body.as_bytes());
        let digest = Digest::sha256(&bytes);
        self.put(
            format!("/v2/{repository}/manifests/{digest}"),
            media_type,
            bytes.clone(),
        );
        if let Some(tag) = tag {
            self.put(format!("/v2/{repository}/manifests/{tag}"), media_type, bytes);
        }
        digest
    }

    /// Serves anything at a path.
    pub(crate) fn put(&self, path: String, media_type: &str, bytes: Bytes) {
        self.0
            .lock()
            .unwrap()
            .content
            .insert(path, (media_type.to_owned(), bytes));
    }

    /// What is served at a path.
    pub(crate) fn bytes_of(&self, path: &str) -> Bytes {
        self.0.lock().unwrap().content[path].1.clone()
    }

    /// What is served at a path, if anything is.
    pub(crate) fn content_at(&self, path: &str) -> Option<Bytes> {
        self.0
            .lock()
            .unwrap()
            .content
            .get(path)
            .map(|(_, bytes)| bytes.clone())
    }

    /// Takes a path away.
    pub(crate) fn remove(&self, path: &str) {
        self.0.lock().unwrap().content.remove(path);
    }

    /// Changes how a path is answered.
    pub(crate) fn script(&self, path: impl Into<String>, script: Script) {
        self.0.lock().unwrap().scripts.insert(path.into(), script);
    }

    /// Shows a repository only to those who log in with one of these, as headers have them.
    pub(crate) fn close(&self, repository: &str, logins: &[&str]) {
        let logins = logins.iter().map(|login| (*login).to_owned()).collect();
        self.0
            .lock()
            .unwrap()
            .closed
            .insert(repository.to_owned(), logins);
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

    /// Answers faithfully again.
    pub(crate) fn heal(&self) {
        let mut state = self.0.lock().unwrap();
        state.scripts.clear();
        state.down = false;
    }

    /// Takes so many requests a second from now on, and answers 429 in plain words to more.
    pub(crate) fn allow_a_second(&self, rate: usize) {
        self.0.lock().unwrap().rate = Some(rate);
    }

    /// Takes so long for each answer from now on.
    pub(crate) fn take(&self, latency: Duration) {
        self.0.lock().unwrap().latency = latency;
    }

    /// Refuses every connection from now on, until healed.
    pub(crate) fn go_down(&self) {
        self.0.lock().unwrap().down = true;
    }

    /// The requests seen so far, of one method, whose path ends with `suffix`.
    pub(crate) fn seen(&self, method: &Method, suffix: &str) -> Vec<Seen> {
        let state = self.0.lock().unwrap();
        let wanted = |seen: &&Seen| seen.method == *method && seen.path.ends_with(suffix);
        state.journal.iter().filter(wanted).cloned().collect()
    }

    /// Every request seen so far.
    pub(crate) fn journal(&self) -> Vec<Seen> {
        self.0.lock().unwrap().journal.clone()
    }

    /// Body bytes handed to connections so far.
    pub(crate) fn sent(&self) -> u64 {
        self.0.lock().unwrap().sent
    }

    /// Lets a name lead to another registry.
    pub(crate) fn beside(&self, name: &str, other: &Self) {
        let mut state = self.0.lock().unwrap();
        state.others.insert(name.to_owned(), other.clone());
    }

    /// The registry at an address.
    fn at(&self, address: std::net::IpAddr) -> Self {
        let others = &self.0.lock().unwrap().others;
        let found = others
            .iter()
            .find(|(name, _)| address_of(others, name) == address);
        found.map_or_else(|| self.clone(), |(_, other)| other.clone())
    }

    /// A dialer that reaches this registry under every name, but for those of others beside it.
    pub(crate) fn dialer(&self) -> Dialer {
        let (registry, names) = (self.clone(), self.clone());
        Dialer {
            proxies: Proxies::Never,
            resolve: Arc::new(move |name| {
                let address = address_of(&names.0.lock().unwrap().others, &name);
                Box::pin(async move { Ok(vec![address]) })
            }),
            connect: Arc::new(move |address| {
                let registry = registry.at(address.ip());
                Box::pin(async move {
                    if registry.0.lock().unwrap().down {
                        return Err(std::io::ErrorKind::ConnectionRefused.into());
                    }
                    let (near, far) = tokio::io::duplex(256 * 1024);
                    tokio::spawn(registry.serve(far));
                    Ok(Box::new(near) as Box<dyn Io>)
                })
            }),
        }
    }
}

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

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        self.0.lock().unwrap().journal.push(Seen {
            method: request.method().clone(),
            path: path.clone(),
            headers: request.headers().clone(),
            version: request.version(),
        });
        let latency = self.0.lock().unwrap().latency;
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        if self.is_too_much() {
            let refusal = Response::builder().status(StatusCode::TOO_MANY_REQUESTS);
            let words = Bytes::from_static(b"Rate exceeded");
            return refusal
                .body(body(words, &Script::default(), self.clone()))
                .unwrap();
        }
        if let Some(status) = self.refusal(&path, request.headers()) {
            let refusal = Response::builder()
                .status(status)
                .header("www-authenticate", "Basic realm=\"hub\"");
            return refusal
                .body(body(Bytes::new(), &Script::default(), self.clone()))
                .unwrap();
        }
        let mut script = self.script_of(&path);
        tokio::time::sleep(script.delay).await;
        let mut response = Response::builder();
        for (name, value) in &script.headers {
            response = response.header(*name, value);
        }
        let bounded = request
            .headers()
            .get(header::RANGE)
            .is_some_and(|range| !range.as_bytes().ends_with(b"-"));
        let chunks = if bounded { script.chunks } else { Chunks::Given };
        match chunks {
            Chunks::Ignored => script.ignore_range = true,
            Chunks::Refused(status) => script.status = StatusCode::from_u16(status).ok(),
            Chunks::Cut(bytes) => script.cut_after = Some(bytes),
            Chunks::Flipped(at) => script.flip = usize::try_from(at).ok(),
            Chunks::Given | Chunks::Shifted | Chunks::OfLength(_) => {}
        }
        if let Some(status) = script.status {
            return response
                .status(status)
                .body(body(Bytes::new(), &script, self.clone()))
                .unwrap();
        }
        if path == "/v2/" {
            return response
                .body(body(Bytes::from_static(b"{}"), &script, self.clone()))
                .unwrap();
        }
        let Some((media_type, mut bytes)) = self.0.lock().unwrap().content.get(&path).cloned() else {
            let status = response.status(StatusCode::NOT_FOUND);
            return status.body(body(Bytes::new(), &script, self.clone())).unwrap();
        };
        if let Some(other) = &script.body {
            bytes = other.clone();
        }
        let digest = path
            .rsplit('/')
            .next()
            .filter(|last| last.starts_with("sha"))
            .map(str::to_owned);
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
        let range = request
            .headers()
            .get(header::RANGE)
            .filter(|_| !script.ignore_range);
        if let Some(range) = range.and_then(|range| RangeSet::parse(range.to_str().ok()?)) {
            match range.select(total) {
                Selected::One(ByteRange { start, end }) => {
                    bytes = bytes.slice(start as usize..=end as usize);
                    let content_range = match chunks {
                        Chunks::Shifted => format!("bytes {}-{}/{total}", start + 1, end + 1),
                        Chunks::OfLength(other) => format!("bytes {start}-{end}/{other}"),
                        _ => format!("bytes {start}-{end}/{total}"),
                    };
                    response = response.status(206).header(header::CONTENT_RANGE, content_range);
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
        let bytes = if request.method() == Method::HEAD {
            Bytes::new()
        } else {
            bytes
        };
        response.body(body(bytes, &script, self.clone())).unwrap()
    }
}

/// The address of a name: one of its own if it stands beside the registry.
fn address_of(others: &HashMap<String, Registry>, name: &str) -> std::net::IpAddr {
    let mut names: Vec<&String> = others.keys().collect();
    names.sort();
    match (5..).zip(names).find(|(_, known)| *known == name) {
        Some((place, _)) => std::net::Ipv4Addr::new(1, 2, 3, place).into(),
        None => ADDRESS,
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

struct Pieces(tokio::sync::mpsc::Receiver<Result<Frame<Bytes>, std::io::Error>>);

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
