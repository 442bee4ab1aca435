//! One simulated upstream from the inside: what it holds, what goes wrong, and the way of a request through it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use rand::RngExt;
use rand::rngs::StdRng;
use seawall::oci::Digest;

use super::content::Content;
use super::identities::Identities;
use super::journal::{About, Entry, Role};
use super::limits::Limits;
use super::switches::Switches;
use super::tripwires::Tripwires;
use super::{store, token};

/// What the way to every host takes.
const LATENCY: Duration = Duration::from_millis(5);

/// Everything that changes.
pub(super) struct State {
    pub(super) switches: Switches,
    pub(super) content: Content,
    pub(super) limits: Limits,
    pub(super) tokens: HashMap<String, token::Issued>,
    pub(super) signatures: Vec<store::Signature>,
    pub(super) faults: Faults,
    pub(super) identities: Identities,
    pub(super) journal: Vec<Entry>,
    /// The last answer to a HEAD, by path.
    pub(super) heads: HashMap<String, u16>,
    /// Entries that are of no interest any more.
    pub(super) forgotten: usize,
    pub(super) trips: Tripwires,
    pub(super) random: StdRng,
}

/// What goes wrong, by host, until it is healed.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) down: HashSet<Role>,
    pub(super) slow: HashMap<Role, Duration>,
    /// This status, this many times.
    pub(super) burst: HashMap<Role, (u16, u32)>,
    pub(super) body: HashMap<Role, BodyFault>,
}

/// How bodies of blobs are spoilt.
#[derive(Clone, Debug, Default)]
pub(crate) struct BodyFault {
    /// Flip one bit of the byte at this offset.
    pub(crate) flip: Option<usize>,
    /// Break the connection after this many bytes.
    pub(crate) cut_after: Option<usize>,
    /// Send this in its place.
    pub(crate) instead: Option<&'static str>,
    /// Claim this Content-Encoding.
    pub(crate) claims: Option<&'static str>,
    /// Send this many bytes at a time, each after a pause.
    pub(crate) pace: Option<(usize, Duration)>,
    /// How often; `None` is always.
    pub(crate) times: Option<u32>,
}

/// A request as a host sees it.
pub(super) struct Request {
    pub(super) at: u64,
    pub(super) role: Role,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Request {
    /// A header's text.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        let value = self.headers.get(name)?.to_str().ok()?;
        Some(value.to_owned())
    }
}

/// What is answered.
#[derive(Default)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
    pub(super) delay: Duration,
    /// Break off without a word.
    pub(super) hang_up: bool,
    /// As old proxies write it: bare line feeds, no length.
    pub(super) bare: bool,
    pub(super) fault: BodyFault,
    /// Where in the digest the body begins.
    pub(super) start: u64,
    pub(super) charged: Option<(String, u64)>,
    /// What was asked for at a token service, and for how long (ms) it was told to be good.
    pub(super) token: Option<(String, Option<u64>)>,
}

impl Reply {
    pub(super) fn new(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn text(self, media_type: &str, body: impl Into<Bytes>) -> Self {
        let mut reply = self.with("content-type", media_type);
        reply.body = body.into();
        reply
    }

    /// An error in the registry's form.
    pub(super) fn error(status: u16, code: &str, message: &str) -> Self {
        let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
        Self::new(status).text("application/json", body)
    }
}

impl State {
    /// Notes a request and decides what is answered; the number names it in the journal.
    pub(super) fn handle(&mut self, request: &Request) -> (usize, Reply) {
        let scheme = request.headers.get("authorization");
        let scheme = scheme.and_then(|value| value.to_str().ok()?.split(' ').next());
        let (user, password) = self.shown(request);
        let range = request.headers.get("range").and_then(|value| value.to_str().ok());
        let mut entry = Entry {
            at: request.at,
            role: request.role,
            method: request.method.clone(),
            path: request.path.clone(),
            scheme: scheme.map(str::to_owned),
            user,
            password,
            range: range.map(str::to_owned),
            about: self.about(request),
            status: 0,
            sent: 0,
            ended: None,
            charged: None,
        };
        let head_tells = self.head_tells(&entry.path);
        self.trips.arrived(&entry, &request.headers, head_tells);
        let mut reply = self
            .mishap(request.role)
            .unwrap_or_else(|| self.answer(request, &entry.about));
        reply.delay += LATENCY + self.faults.slow.get(&request.role).copied().unwrap_or_default();
        entry.status = if reply.hang_up { 0 } else { reply.status };
        entry.charged.clone_from(&reply.charged);
        if let Some(digest) = entry.digest().filter(|_| entry.is_whole()) {
            let by_tag = matches!(entry.about, About::Manifest { by_tag: true, .. });
            let line = format!("{} at {:?}, {} ms", entry.path, entry.role, entry.at);
            self.trips.begins(digest, by_tag, &line);
        }
        if entry.method == Method::HEAD {
            self.heads.insert(entry.path.clone(), entry.status);
        }
        if let About::Manifest { repository, .. } = &entry.about
            && entry.method == Method::HEAD
            && entry.status == 200
        {
            let reference = entry.path.rsplit('/').next().unwrap_or_default();
            self.content.headed(repository, reference);
        }
        self.journal.push(entry);
        (self.journal.len() - 1, reply)
    }

    /// True unless it has shown that HEAD is of no use here.
    fn head_tells(&self, path: &str) -> bool {
        let last = self.heads.get(path);
        let refused = last.is_some_and(|status| matches!(status, 400 | 401 | 403 | 405 | 501));
        self.switches.head_tells() && !refused
    }

    fn answer(&mut self, request: &Request, about: &About) -> Reply {
        match request.role {
            Role::Registry if request.path == "/oauth2/exchange" => self.identities.exchange(request),
            Role::Registry => self.registry(request, about),
            Role::Tokens => self.issue(request),
            Role::Store(_) => self.store(request),
            Role::Alternate => self.alternate(request, about),
            Role::Metadata | Role::Agent | Role::Cloud => self.identities.answer(request),
            Role::Stranger => Reply::new(200).text("application/json", r#"{"token":"stolen"}"#),
        }
    }

    /// What goes wrong with this request, if anything.
    fn mishap(&mut self, role: Role) -> Option<Reply> {
        if let Some((status, times)) = self.faults.burst.get_mut(&role)
            && *times > 0
        {
            *times -= 1;
            return Some(Reply::new(*status).text("text/plain", "it is not you, it is us"));
        }
        if self.switches.chaos <= 0.0 || self.random.random::<f64>() >= self.switches.chaos {
            return None;
        }
        match self.random.random_range(0..4) {
            0 => Some(Reply::new(503).text("text/html", "<html>later</html>")),
            1 => Some(Reply {
                hang_up: true,
                ..Reply::default()
            }),
            2 => Some(Reply::new(429).with("retry-after", "0.000880092")),
            _ => {
                let cut = BodyFault {
                    cut_after: Some(self.random.random_range(0..10_000)),
                    times: Some(1),
                    ..BodyFault::default()
                };
                self.faults.body.insert(role, cut);
                None
            }
        }
    }

    /// How the next body of a host is spoilt.
    pub(super) fn body_fault(&mut self, role: Role) -> BodyFault {
        let Some(fault) = self.faults.body.get_mut(&role) else {
            return BodyFault::default();
        };
        let now = fault.clone();
        if let Some(times) = &mut fault.times {
            *times -= 1;
            if *times == 0 {
                self.faults.body.remove(&role);
            }
        }
        now
    }

    /// What a request is about.
    fn about(&self, request: &Request) -> About {
        let path = request.path.as_str();
        if request.role == Role::Registry && self.switches.token_path() == Some(path) {
            return About::Token;
        }
        let rest = match request.role {
            Role::Registry => path.strip_prefix(self.switches.prefix),
            Role::Alternate => path.strip_prefix("/v2/artifacts/images").map(|_| path),
            Role::Tokens | Role::Store(_) | Role::Stranger | Role::Metadata | Role::Agent | Role::Cloud => {
                None
            }
        };
        let Some(rest) = rest.and_then(|rest| rest.strip_prefix("/v2/")) else {
            let signed = ["/blobs/", "/manifests/"]
                .into_iter()
                .find_map(|kind| path.strip_prefix(kind));
            let digest = signed.and_then(|text| text.parse::<Digest>().ok());
            return match digest {
                Some(digest) if path.starts_with("/blobs/") => About::Blob(digest),
                Some(digest) => About::Manifest {
                    repository: String::new(),
                    by_tag: true,
                    digest: Some(digest),
                },
                None if request.role == Role::Tokens => About::Token,
                None => About::Other,
            };
        };
        if rest.is_empty() {
            return About::Ping;
        }
        let rest = rest.strip_prefix("artifacts/images/").unwrap_or(rest);
        if let Some((repository, reference)) = rest.rsplit_once("/manifests/") {
            return About::Manifest {
                repository: repository.to_owned(),
                by_tag: !reference.starts_with("sha256:"),
                digest: self
                    .content
                    .resolve(repository, reference)
                    .map(|(digest, _)| digest),
            };
        }
        if let Some(repository) = rest.strip_suffix("/tags/list") {
            return About::Tags(repository.to_owned());
        }
        let blob = rest.rsplit_once("/blobs/");
        blob.and_then(|(_, digest)| digest.parse().ok())
            .map_or(About::Other, About::Blob)
    }
}
