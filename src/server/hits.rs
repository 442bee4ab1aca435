//! Hits, answered beneath hyper.
//!
//! Most requests are for what memory holds: a manifest by its digest or a fresh tag, a small blob, or one that the kernel
//! sends from its pages at one go. What hyper does for any request costs more than such an answer. So a plain request
//! for it is answered where its bytes arrive, and hyper never sees it.
//!
//! ```text
//! socket ── Watched ──> hyper ── gate ── route ── name ── cache ── respond
//!              └── Hits: the same walk, where nothing has to be waited for
//! ```
//! Everything else is left to hyper: a head that is not whole or not alone, a header that could change the answer,
//! and whatever would be refused, fetched or waited for, by the client's own quota too, or asked of an upstream first
//! because not everybody may see it. The answer has the bytes that
//! hyper's would have; a test holds the two against each other.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::io::AsyncWrite;

use super::access::Record;
use super::admit::Regular;
use super::body::resident;
use super::sendfile::{LONGEST_RUN, Runs};
use super::watch::{Active, Signs};
use super::{Inner, Live, gate, respond};
use crate::cache::{Body, Served};
use crate::clock;
use crate::oci::{Digest, Registry, Route};
use crate::policy::naming::Chosen;
use crate::policy::quota::Left;
use crate::store::OpenFile;

/// Most headers of a plain request.
const MOST_HEADERS: usize = 8;
/// Longest body that is copied behind its head, in bytes: one buffer is cheaper to send than two.
const MOST_COPIED: usize = 16 * 1024;

/// What an answer has behind its head.
enum Content {
    Memory(Bytes),
    /// All of a file, which is so long.
    File(Arc<OpenFile>, u64),
}

impl Content {
    fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(_, length) => *length,
        }
    }
}

/// A request whose answer depends on its target and host only.
pub(super) struct Asked<'a> {
    /// GET or HEAD.
    pub(super) method: Method,
    path: &'a str,
    /// `ns=`, if anything.
    query: Option<&'a str>,
    host: &'a str,
    /// The User-Agent.
    pub(super) agent: Option<&'a [u8]>,
}

impl<'a> Asked<'a> {
    /// Reads one whole head with nothing behind it; `None` for any other bytes, and for what is not plain.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let whole = request.parse(bytes) == Ok(httparse::Status::Complete(bytes.len()));
        // As `wire` does, which reads what hyper is given.
        let mut ends = memchr::memchr_iter(b'\n', bytes);
        let tainted = ends.any(|end| !bytes[..end].ends_with(b"\r"));
        if !whole || tainted || request.version != Some(1) {
            return None;
        }
        let method = match request.method? {
            "GET" => Method::GET,
            "HEAD" => Method::HEAD,
            _ => return None,
        };
        let (path, query) = match request.path?.split_once('?') {
            None => (request.path?, None),
            Some((path, query)) => (path, Some(query).filter(|query| is_plain(query))),
        };
        if request.path?.len() > path.len() && query.is_none() {
            return None;
        }
        let (mut host, mut agent) = (None, None);
        for header in request.headers.iter() {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            if is("host") && host.is_none() {
                host = Some(std::str::from_utf8(header.value).ok()?);
            } else if is("user-agent") && agent.is_none() {
                agent = Some(header.value);
            } else if !is("accept") && !is("accept-encoding") {
                return None;
            }
        }
        Some(Self {
            method,
            path,
            query,
            host: host?,
            agent,
        })
    }
}

/// True for a query that names a registry and has nothing to decode.
fn is_plain(query: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-:".contains(&byte);
    query
        .strip_prefix("ns=")
        .is_some_and(|name| name.bytes().all(fits))
}

/// Answers the hits of one connection.
pub(super) struct Hits {
    live: Live,
    peer: SocketAddr,
    /// Where files are noted that the kernel is to send; `None` where it cannot.
    runs: Option<Runs>,
    asker: Known,
    host: Host,
    date: Date,
}

/// Who asks, and when and where that was looked up: a connection rarely changes hands.
#[derive(Default)]
struct Known {
    /// The configuration, which may have ended: no connection keeps it.
    inner: Weak<Inner>,
    /// The second of the clock. A record of quotas that is asked for once a second is not forgotten.
    second: u64,
    /// `None` for somebody whom hyper answers.
    regular: Option<Regular>,
    /// The repository that was asked for last and may be shown to them. That is looked up once a second: it costs as
    /// much as a tenth of the answer.
    shown: Option<Chosen>,
}

/// The host that was asked last: a connection rarely asks another.
#[derive(Default)]
struct Host {
    text: String,
    /// The registry that it reads as, if it does.
    registry: Option<Registry>,
}

/// The date of HTTP, and the second in which it was read.
#[derive(Default)]
struct Date {
    second: Option<u64>,
    text: String,
}

impl Hits {
    /// Answers whoever is behind a connection, with files too if there are `runs`.
    pub(super) fn new(live: Live, peer: SocketAddr, runs: Option<Runs>) -> Self {
        Self {
            live,
            peer,
            runs: runs.filter(|_| Runs::are_possible()),
            asker: Known::default(),
            host: Host::default(),
            date: Date::default(),
        }
    }

    /// The answer to the request that `bytes` are; `None` if it is hyper's to answer.
    pub(super) fn answer(&mut self, bytes: &[u8]) -> Option<Sending> {
        // What panics here panics there as well, where it is counted and told.
        let answering = AssertUnwindSafe(|| self.find(&Asked::read(bytes)?));
        std::panic::catch_unwind(answering).ok().flatten()
    }

    fn find(&mut self, asked: &Asked<'_>) -> Option<Sending> {
        let inner = self.live.load_full();
        let began = inner.clock.elapsed();
        if !self.asker.read(&inner, self.peer, began) {
            return None;
        }
        let route = Route::parse(asked.path, asked.query).ok()?;
        let host = self.host.read(asked.host)?;
        let chosen = inner.names.choose(route.target()?, host.registry.as_ref()).ok()?;
        let regular = self.asker.shown(&inner, &chosen)?;
        let (now, head) = (inner.clock.at(began), asked.method == Method::HEAD);
        let (served, content) = match &route {
            Route::Manifest(_, reference) => {
                in_memory(inner.cache.manifest_at_hand(&chosen, reference, now)?)?
            }
            Route::Blob(_, digest) if !head => match inner.cache.blob_at_hand(&chosen, digest) {
                Some(served) => in_memory(served)?,
                None if self.runs.is_some() => in_file(&inner, &chosen, digest)?,
                None => return None,
            },
            _ => return None,
        };
        let sent = if head { 0 } else { content.len() };
        // From here on it is answered: it has been counted.
        let left = regular.admit(inner.cache.quotas(), sent, began).ok()?;
        match &route {
            Route::Blob(_, digest) => inner.cache.blob_pulled(digest, now),
            Route::Manifest(_, reference) if !head => {
                inner.cache.manifest_pulled(&chosen, reference, &served, now);
            }
            _ => {}
        }
        let left = left.filter(|_| matches!(route, Route::Manifest(..)));
        self.send(inner, asked, began, (route, chosen), (&served, content, left))
    }

    fn send(
        &mut self,
        inner: Arc<Inner>,
        asked: &Asked<'_>,
        began: Duration,
        (route, chosen): (Route, Chosen),
        (served, content, left): (&Served, Content, Option<Left>),
    ) -> Option<Sending> {
        let (length, date) = (content.len(), self.date.read(began));
        let (mut body, copied) = match content {
            Content::Memory(_) if asked.method == Method::HEAD => (Bytes::new(), 0),
            Content::Memory(body) if body.len() <= MOST_COPIED => (body, length),
            Content::Memory(body) => (body, 0),
            // Its bytes stand for those of the file: nobody may look at them.
            Content::File(file, end) => (self.runs.as_ref()?.stand_in(&file, 0, end, end)?, 0),
        };
        let copied = usize::try_from(copied).unwrap_or(0);
        let namespace = route.target().and_then(|target| target.namespace.as_ref());
        let figures = respond::Figures { length, left };
        let mut text = respond::write_hit(served, namespace, &figures, date, copied);
        let head = text.len();
        text.extend_from_slice(&body.split_to(copied));
        let who = (self.peer, began);
        Some(Sending {
            head,
            text,
            body,
            sent: 0,
            record: Record::hit(inner, asked, who, (route, chosen.repository), served),
            active: None,
        })
    }
}

/// What is served out of memory.
fn in_memory(mut served: Served) -> Option<(Served, Content)> {
    match std::mem::replace(&mut served.body, Body::Empty) {
        Body::Memory(bytes) => Some((served, Content::Memory(bytes))),
        _ => None,
    }
}

/// A blob's file of which the kernel has all in memory, as far as can be told, and which takes one turn.
fn in_file(inner: &Inner, chosen: &Chosen, digest: &Digest) -> Option<(Served, Content)> {
    let (served, file) = inner.cache.blob_file_at_hand(chosen, digest, LONGEST_RUN)?;
    let length = served.length.filter(|length| *length > 0)?;
    (resident(&file, 0, length) == length).then_some((served, Content::File(file, length)))
}

impl Known {
    /// Looks up who asks from `peer`, when the clock has run for `elapsed`; false if it is somebody whom hyper answers.
    fn read(&mut self, inner: &Arc<Inner>, peer: SocketAddr, elapsed: Duration) -> bool {
        let second = elapsed.as_secs();
        if self.second != second || !std::ptr::eq(self.inner.as_ptr(), Arc::as_ptr(inner)) {
            *self = Self {
                inner: Arc::downgrade(inner),
                second,
                regular: Regular::at(inner, peer),
                shown: None,
            };
        }
        self.regular.is_some()
    }

    /// Who asks, if what is of this repository may be shown to them without asking anybody.
    fn shown(&mut self, inner: &Inner, chosen: &Chosen) -> Option<&Regular> {
        let regular = self.regular.as_ref()?;
        if self.shown.as_ref() != Some(chosen) {
            let granted = inner.names.offers(chosen) && regular.may_pull(inner, &chosen.repository);
            if !granted || !inner.cache.is_known_public(chosen) {
                return None;
            }
            self.shown = Some(chosen.clone());
        }
        Some(regular)
    }
}

impl Host {
    /// Reads the Host header; `None` if it is malformed.
    fn read(&mut self, text: &str) -> Option<&Self> {
        if self.text.is_empty() || self.text != text {
            *self = gate::is_well_formed(text).then(|| Self {
                text: text.to_owned(),
                registry: text.parse().ok(),
            })?;
        }
        Some(self)
    }
}

impl Date {
    /// The date, when the clock has run for `elapsed`.
    fn read(&mut self, elapsed: Duration) -> &str {
        let second = Some(elapsed.as_secs());
        if self.second != second {
            (self.second, self.text) = (second, clock::http_date());
        }
        &self.text
    }
}

/// An answer on its way.
pub(super) struct Sending {
    /// Bytes of the text that are no body.
    head: usize,
    text: Vec<u8>,
    /// What follows the text.
    body: Bytes,
    /// Bytes of both that have gone.
    sent: usize,
    /// Logs it, when it has gone.
    record: Record,
    /// While the reader does not take it at once.
    active: Option<Active>,
}

impl Sending {
    /// Sends what is left, and leaves signs of what its reader takes. Ready when all has gone.
    pub(super) fn poll_send<I>(
        &mut self,
        io: &mut I,
        signs: &Arc<Signs>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>>
    where
        I: AsyncWrite + Unpin,
    {
        while self.sent < self.text.len() + self.body.len() {
            let text = &self.text[self.sent.min(self.text.len())..];
            let body = &self.body[self.sent.saturating_sub(self.text.len())..];
            let io = Pin::new(&mut *io);
            let polled = match body.is_empty() {
                true => io.poll_write(context, text),
                false => io.poll_write_vectored(context, &[IoSlice::new(text), IoSlice::new(body)]),
            };
            if polled.is_pending() && self.active.is_none() {
                self.active = Some(Active::made(signs.clone()));
            }
            let sent = ready!(polled)?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            signs.moved();
            self.sent += sent;
            self.record.bytes = self.sent.saturating_sub(self.head) as u64;
        }
        Pin::new(io).poll_flush(context)
    }
}

#[cfg(test)]
mod tests;
