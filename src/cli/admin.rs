//! Asks a running Seawall by its admin listener.
//!
//! Exit codes of what asks are listed in [`super`].

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::operator::{Encrypted, Listener, Shown};
use super::patience::{LIVES, patiently, watched};
use super::progress::Progress;
use super::words::span;
use crate::net::dial::Io;
use crate::net::tls;
use crate::upstream::Secret;

/// Most bytes of an answer.
const MAX_ANSWER: usize = 64 << 20;
/// Most bytes of one line of an answer that comes line by line.
const MAX_LINE: usize = 1 << 20;
/// Longest text of a refusal that is shown as it is, in bytes.
const MAX_LINE_SHOWN: usize = 200;
/// How often it is told how far an upload is.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// The type of what most requests carry.
const JSON: &str = "application/json";

/// A running Seawall, and what is shown to it of who asks.
#[derive(Clone)]
pub(super) struct Admin {
    listener: Listener,
    tls: Option<Encrypted>,
    token: Option<Secret>,
}

/// Why there is no answer to go on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// Nobody is there, or it is no Seawall.
    Unreachable(String),
    /// It said why not, with this status.
    Refused(StatusCode, String),
    /// Who asked does not wait for it.
    Left,
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(why) | Self::Refused(_, why) => f.write_str(why),
            Self::Left => f.write_str(
                "the answer is not waited for; what was begun goes on, or stops if that was asked for",
            ),
        }
    }
}

impl Admin {
    /// The one at an address of this machine, which asks nobody who they are.
    pub(super) fn at(address: SocketAddr) -> Self {
        Self {
            listener: Listener::at(address, false),
            tls: None,
            token: None,
        }
    }

    /// The one at this listener.
    pub(super) fn with(listener: Listener, shown: Shown) -> Self {
        Self {
            listener,
            tls: shown.tls,
            token: shown.token,
        }
    }

    /// What `path` answers to a GET; however long that takes, while Seawall lives.
    pub(super) fn get(&self, path: &str) -> Result<Bytes, NoAnswer> {
        self.run(whole(self, Method::GET, path, Bytes::new()), || true)
    }

    /// What `path` answers to a POST of `value`; however long that takes, while Seawall lives.
    pub(super) fn post(&self, path: &str, value: &impl Serialize) -> Result<Bytes, NoAnswer> {
        self.run(whole(self, Method::POST, path, json(value)), || true)
    }

    /// Posts `value`, and meanwhile hands over what `path` answers to a GET now and then. Ctrl-C posts `stop` below that
    /// path, and the answer is waited for all the same; a second one ends that.
    pub(super) fn watched(
        &self,
        path: &str,
        value: &impl Serialize,
        stop: &impl Serialize,
        mut look: impl FnMut(&[u8]),
    ) -> Result<Bytes, NoAnswer> {
        let stopping = format!("{path}/stop");
        let exchange = async {
            let lost = |error: io::Error| NoAnswer::Unreachable(error.to_string());
            let mut interrupts = signal(SignalKind::interrupt()).map_err(lost)?;
            let asking = whole(self, Method::POST, path, json(value));
            let pressed = async || {
                interrupts.recv().await;
            };
            let stopped = async || {
                let asked = whole(self, Method::POST, &stopping, json(stop));
                asked.await.is_ok()
            };
            let look = async || {
                if let Ok(body) = whole(self, Method::GET, path, Bytes::new()).await {
                    look(&body);
                }
            };
            watched(asking, pressed, stopped, look).await
        };
        self.run(exchange, || false)
    }

    /// Posts `value`, and hands over each line of the answer as it comes; however long that takes, while Seawall
    /// lives.
    pub(super) fn follow(
        &self,
        path: &str,
        value: &impl Serialize,
        mut line: impl FnMut(&[u8]),
    ) -> Result<(), NoAnswer> {
        let silent = Cell::new(true);
        let exchange = async {
            let mut open = open(self, Method::POST, path, JSON, Full::new(json(value))).await?;
            let mut waiting = Vec::new();
            while let Some(frame) = open.body.frame().await {
                let frame = frame.map_err(|error| NoAnswer::Unreachable(error.to_string()))?;
                silent.set(false);
                waiting.extend_from_slice(&frame.into_data().unwrap_or_default());
                while let Some(end) = waiting.iter().position(|byte| *byte == b'\n') {
                    line(&waiting[..end]);
                    waiting.drain(..=end);
                }
                if waiting.len() > MAX_LINE {
                    return Err(NoAnswer::Unreachable(
                        "a line of the answer is too long".to_owned(),
                    ));
                }
            }
            Ok(())
        };
        self.run(exchange, || silent.get())
    }

    /// Hands over each piece of what `path` answers to a GET, with the length of the whole, until `piece` says no;
    /// however long that takes, while Seawall lives.
    pub(super) fn download(
        &self,
        path: &str,
        mut piece: impl FnMut(u64, &[u8]) -> bool,
    ) -> Result<(), NoAnswer> {
        let silent = Cell::new(true);
        let exchange = async {
            // What is asked for is collected before the head of the answer comes.
            let mut open = open(self, Method::GET, path, JSON, Full::new(Bytes::new())).await?;
            let length = open.body.size_hint().exact().unwrap_or(0);
            while let Some(frame) = open.body.frame().await {
                let frame = frame.map_err(|error| NoAnswer::Unreachable(error.to_string()))?;
                silent.set(false);
                if !piece(length, &frame.into_data().unwrap_or_default()) {
                    break;
                }
            }
            Ok(())
        };
        self.run(exchange, || silent.get())
    }

    /// Posts an archive piece by piece, as `pieces` gives them, and tells how far it is; however long that takes,
    /// while Seawall lives.
    pub(super) fn upload(
        &self,
        path: &str,
        mut pieces: impl FnMut() -> io::Result<Option<Bytes>> + Send + 'static,
        mut done: impl FnMut(u64),
    ) -> Result<Bytes, NoAnswer> {
        let exchange = async {
            let (sender, receiver) = mpsc::channel(2);
            let read = Arc::new(AtomicU64::new(0));
            let (count, mut reading) = (read.clone(), tokio::task::JoinSet::new());
            reading.spawn_blocking(move || {
                while let Some(piece) = pieces().transpose() {
                    let len = piece.as_ref().map_or(0, Bytes::len);
                    count.fetch_add(len as u64, Ordering::Relaxed);
                    if sender.blocking_send(piece).is_err() {
                        return;
                    }
                }
            });
            let mut answer = Box::pin(open(
                self,
                Method::POST,
                path,
                "application/x-tar",
                Pieces(receiver),
            ));
            let open = loop {
                tokio::select! {
                    open = &mut answer => break open?,
                    () = tokio::time::sleep(TELL_EVERY) => done(read.load(Ordering::Relaxed)),
                }
            };
            collect(open.body).await
        };
        // How far it is is shown already.
        self.run(exchange, || false)
    }

    /// Runs `asking` for as long as Seawall lives, and says whom it asked if nobody answers. If it takes long, a
    /// person at a terminal is told, as long as `is_silent`: nothing else is shown then.
    fn run<T>(
        &self,
        asking: impl Future<Output = Result<T, NoAnswer>>,
        is_silent: impl Fn() -> bool,
    ) -> Result<T, NoAnswer> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| NoAnswer::Unreachable(format!("the runtime cannot start: {error}")))?;
        let mut shown = Progress::on_stderr();
        let late = |waited: Duration| {
            if is_silent() {
                shown.say(&format!(
                    "no answer for {} yet; Seawall is alive and at work on it",
                    span(waited)
                ));
            }
        };
        let lives = async || {
            let alive = whole(self, Method::GET, LIVES, Bytes::new());
            alive.await.map(drop)
        };
        let answered = runtime.block_on(patiently(asking, lives, late));
        shown.end();
        answered.map_err(|no_answer| match no_answer {
            NoAnswer::Unreachable(why) => NoAnswer::Unreachable(format!(
                "the admin listener at {} cannot be asked: {why}; is `seawall serve` running, with this address \
                 as [server] admin?",
                self.listener.authority()
            )),
            other @ (NoAnswer::Refused(..) | NoAnswer::Left) => other,
        })
    }
}

/// A body that is read elsewhere.
struct Pieces(mpsc::Receiver<io::Result<Bytes>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = std::task::ready!(self.0.poll_recv(context));
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }
}

/// An answer whose head has come. Dropping it ends the connection.
struct Open {
    body: Incoming,
    _driver: tokio::task::JoinSet<()>,
}

fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value)
        .expect("names and numbers always serialise")
        .into()
}

async fn whole(admin: &Admin, method: Method, path: &str, body: Bytes) -> Result<Bytes, NoAnswer> {
    let open = open(admin, method, path, JSON, Full::new(body)).await?;
    collect(open.body).await
}

async fn collect(body: Incoming) -> Result<Bytes, NoAnswer> {
    let body = Limited::new(body, MAX_ANSWER).collect().await;
    let body = body.map_err(|error| NoAnswer::Unreachable(error.to_string()))?;
    Ok(body.to_bytes())
}

async fn connect(admin: &Admin) -> io::Result<Box<dyn Io>> {
    let listener = &admin.listener;
    let socket = TcpStream::connect((listener.host.as_str(), listener.port)).await?;
    let Some(tls) = &admin.tls else {
        return Ok(Box::new(socket));
    };
    let connector = tokio_rustls::TlsConnector::from(tls.config.clone());
    let stream = connector.connect(tls.name.clone(), socket).await;
    let failed = |error: io::Error| {
        let why = match error.get_ref() {
            Some(inner) => tls::why(inner),
            None => error.to_string(),
        };
        let why = format!("{why}; --ca FILE says whose certificates to trust, --admin by which name to ask");
        io::Error::new(error.kind(), why)
    };
    Ok(Box::new(stream.map_err(failed)?))
}

/// Sends a request and waits for the head of its answer.
async fn open<B>(admin: &Admin, method: Method, path: &str, kind: &str, body: B) -> Result<Open, NoAnswer>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let lost = |error: &dyn std::fmt::Display| NoAnswer::Unreachable(error.to_string());
    let io = connect(admin).await.map_err(|error| lost(&error))?;
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(io)).await;
    let (mut sender, connection) = shaken.map_err(|error| lost(&error))?;
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(async move {
        // What breaks the connection is told to who reads the answer.
        let _ = connection.await;
    });
    let mut request = Request::builder().method(&method).uri(path);
    request = request.header(header::HOST, admin.listener.authority());
    if let Some(token) = &admin.token {
        let value = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
        let mut value = value.map_err(|_| NoAnswer::Unreachable("the token is none".to_owned()))?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    if method == Method::POST {
        request = request.header(header::CONTENT_TYPE, kind);
    }
    let request = request.body(body).map_err(|error| lost(&error))?;
    let response = sender.send_request(request).await.map_err(|error| lost(&error))?;
    let (head, body) = response.into_parts();
    if head.status.is_success() {
        return Ok(Open {
            body,
            _driver: driver,
        });
    }
    let body = collect(body).await?;
    Err(NoAnswer::Refused(head.status, reason(path, head.status, &body)))
}

/// What a refusal says: the API's `error`, or a line of text, or the status; and what may help.
pub(super) fn reason(path: &str, status: StatusCode, body: &[u8]) -> String {
    let value: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let error = value.as_ref().and_then(|value| value.get("error")?.as_str());
    let why = match (error, std::str::from_utf8(body)) {
        (Some(error), _) => error.to_owned(),
        (None, Ok(text))
            if status == StatusCode::BAD_REQUEST && (1..MAX_LINE_SHOWN).contains(&text.trim().len()) =>
        {
            text.trim().to_owned()
        }
        (None, _) => format!("it answered {path} with status {status}"),
    };
    match status {
        StatusCode::UNAUTHORIZED => format!(
            "{why}; a token is shown by --token-file FILE or SEAWALL_ADMIN_TOKEN, a certificate by --certificate and --key"
        ),
        _ => why,
    }
}
