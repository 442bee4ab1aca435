//! An object store in memory that speaks as much of S3 as Seawall asks of one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use seawall::net::dial::{Dialer, Io};
use seawall::oci::Digest;

use super::registry::Registry;

/// Where it is, and the one bucket that it has.
pub(crate) const HOST: &str = "store.test";
pub(crate) const BUCKET: &str = "sea";

/// What it does to requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mood {
    Well,
    /// It answers everything with this status.
    Refuses(u16),
    /// It answers after this time.
    Slow(Duration),
    /// It sends so many bytes of an object, and then nothing.
    Stalls(usize),
}

struct State {
    objects: BTreeMap<String, (Option<String>, Bytes)>,
    parts: BTreeMap<String, Vec<u8>>,
    journal: Vec<(Method, String)>,
    mood: Mood,
}

/// The object store. Clones share everything.
#[derive(Clone)]
pub(crate) struct ObjectStore(Arc<Mutex<State>>);

type Body = BoxBody<Bytes, std::io::Error>;

impl ObjectStore {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            objects: BTreeMap::new(),
            parts: BTreeMap::new(),
            journal: Vec::new(),
            mood: Mood::Well,
        })))
    }

    /// A dialer that leads here by [`HOST`], and to the registry by every other name.
    pub(crate) fn dialer(&self, registry: &Registry) -> Dialer {
        let (others, store) = (registry.dialer(), self.clone());
        let (resolve, connect) = (others.resolve.clone(), others.connect.clone());
        let own = std::net::IpAddr::from([9, 9, 9, 9]);
        Dialer {
            resolve: Arc::new(move |name| match name == HOST {
                true => Box::pin(async move { Ok(vec![own]) }),
                false => resolve(name),
            }),
            connect: Arc::new(move |address| match address.ip() == own {
                true => {
                    let (near, far) = tokio::io::duplex(256 * 1024);
                    tokio::spawn(store.clone().serve(far));
                    Box::pin(async move { Ok(Box::new(near) as Box<dyn Io>) })
                }
                false => connect(address),
            }),
            ..others
        }
    }

    pub(crate) fn feel(&self, mood: Mood) {
        self.0.lock().unwrap().mood = mood;
    }

    /// The names and types of all objects.
    pub(crate) fn names(&self) -> Vec<(String, Option<String>)> {
        let state = self.0.lock().unwrap();
        let each = state.objects.iter();
        each.map(|(name, (kind, _))| (name.clone(), kind.clone()))
            .collect()
    }

    /// The bytes of a blob, or of a manifest.
    pub(crate) fn bytes_of(&self, digest: &Digest) -> Option<Bytes> {
        let state = self.0.lock().unwrap();
        let mut objects = state.objects.iter();
        let found = objects.find(|(name, _)| name.ends_with(&digest.hex()));
        found.map(|(_, (_, bytes))| bytes.clone())
    }

    /// Turns one bit of everything.
    pub(crate) fn spoil(&self) {
        for (_, bytes) in self.0.lock().unwrap().objects.values_mut() {
            let mut wrong = bytes.to_vec();
            wrong[0] ^= 1;
            *bytes = wrong.into();
        }
    }

    /// How often it was asked by a method.
    pub(crate) fn asked(&self, method: &Method) -> usize {
        let journal = &self.0.lock().unwrap().journal;
        journal.iter().filter(|(asked, _)| asked == method).count()
    }

    async fn serve(self, io: impl Io) {
        let service = hyper::service::service_fn(|request| {
            let store = self.clone();
            async move { store.answer(request).await }
        });
        // A connection that ends with an error has ended.
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(io), service)
            .await;
    }

    async fn answer(&self, request: Request<Incoming>) -> hyper::Result<Response<Body>> {
        let (head, body) = request.into_parts();
        let name = head
            .uri
            .path()
            .strip_prefix("/sea/")
            .unwrap_or_default()
            .to_owned();
        let query = head.uri.query().unwrap_or_default().to_owned();
        let signed = head.headers.get(header::AUTHORIZATION).is_some_and(|value| {
            let value = value.to_str().unwrap();
            value.starts_with("AWS4-HMAC-SHA256 Credential=AKID/")
                && value.contains("/eu-west-1/s3/aws4_request")
        });
        let mood = {
            let mut state = self.0.lock().unwrap();
            state.journal.push((head.method.clone(), name.clone()));
            state.mood
        };
        let body = body.collect().await?.to_bytes();
        match mood {
            Mood::Slow(time) => tokio::time::sleep(time).await,
            Mood::Refuses(status) => return Ok(plain(status, "")),
            Mood::Well | Mood::Stalls(_) => {}
        }
        if !signed {
            return Ok(plain(403, "<Error><Code>AccessDenied</Code></Error>"));
        }
        let kind = head.headers.get(header::CONTENT_TYPE);
        let kind = kind.map(|value| value.to_str().unwrap().to_owned());
        Ok(self.act(&head, (name, query), (kind, body), mood))
    }

    fn act(
        &self,
        head: &http::request::Parts,
        (name, query): (String, String),
        (kind, body): (Option<String>, Bytes),
        mood: Mood,
    ) -> Response<Body> {
        let mut state = self.0.lock().unwrap();
        match (head.method.as_str(), query.as_str()) {
            ("POST", query) if query.starts_with("uploads") => {
                state.parts.insert(name, Vec::new());
                plain(
                    200,
                    "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>",
                )
            }
            ("PUT", query) if query.contains("partNumber") => {
                state.parts.get_mut(&name).unwrap().extend_from_slice(&body);
                plain(200, "")
            }
            ("POST", _) => {
                let whole = state.parts.remove(&name).unwrap();
                state.objects.insert(name, (kind, whole.into()));
                plain(
                    200,
                    "<CompleteMultipartUploadResult><ETag>\"x\"</ETag></CompleteMultipartUploadResult>",
                )
            }
            ("PUT", _) => {
                state.objects.insert(name, (kind, body));
                plain(200, "")
            }
            (method, _) => match state.objects.get(&name) {
                None => plain(404, "<Error><Code>NoSuchKey</Code></Error>"),
                Some((kind, bytes)) => given(head, method, kind.as_deref(), bytes, mood),
            },
        }
    }
}

fn given(
    head: &http::request::Parts,
    method: &str,
    kind: Option<&str>,
    bytes: &Bytes,
    mood: Mood,
) -> Response<Body> {
    let range = head.headers.get(header::RANGE);
    let from = range.map(|range| {
        let range = range.to_str().unwrap().strip_prefix("bytes=").unwrap();
        range.trim_end_matches('-').parse::<usize>().unwrap()
    });
    let rest = bytes.slice(from.unwrap_or(0)..);
    let mut response = Response::builder()
        .header(header::ETAG, "\"x\"")
        .header(header::LAST_MODIFIED, "Thu, 01 Jan 2026 00:00:00 GMT")
        .header(header::CONTENT_LENGTH, rest.len());
    if let Some(kind) = kind {
        response = response.header(header::CONTENT_TYPE, kind);
    }
    if let Some(from) = from {
        let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
        response = response
            .status(StatusCode::PARTIAL_CONTENT)
            .header(header::CONTENT_RANGE, range);
    }
    let body = match (method, mood) {
        ("HEAD", _) => whole(Bytes::new()),
        (_, Mood::Stalls(at)) if at < rest.len() => {
            let (sender, receiver) = tokio::sync::mpsc::channel(1);
            let piece = rest.slice(..at);
            tokio::spawn(async move {
                if sender.send(Ok(Frame::data(piece))).await.is_ok() {
                    sender.closed().await;
                }
            });
            BoxBody::new(super::registry::Pieces(receiver))
        }
        _ => whole(rest),
    };
    response.body(body).unwrap()
}

fn plain(status: u16, text: &'static str) -> Response<Body> {
    let response = Response::builder().status(status).header(header::ETAG, "\"x\"");
    response.body(whole(text.into())).unwrap()
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}
