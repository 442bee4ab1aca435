//! A scripted upstream registry, reached through the dialer instead of the network.
//!
//! Faithful by default; a [`Script`] per path makes it slow, short, wrong or refusing. It keeps a journal of
//! every request, which is what most tests assert on.

mod answering;
mod script;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use seawall::net::dial::{Dialer, Io, Proxies};
use seawall::oci::Digest;

pub(crate) use self::answering::Bounds;
#[cfg(feature = "shared")]
pub(super) use self::answering::Pieces;
pub(crate) use self::script::{Chunks, Script};

/// The address every name resolves to: a public one, which the dial filter lets pass; it is never dialled.
pub(crate) const ADDRESS: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::new(1, 2, 3, 4));

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
    /// Whether it refuses HEAD.
    no_head: bool,
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

    /// Answers HEAD by 405 from now on.
    pub(crate) fn answer_no_head(&self) {
        self.0.lock().unwrap().no_head = true;
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

/// The address of a name: one of its own if it stands beside the registry.
fn address_of(others: &HashMap<String, Registry>, name: &str) -> std::net::IpAddr {
    let mut names: Vec<&String> = others.keys().collect();
    names.sort();
    match (5..).zip(names).find(|(_, known)| *known == name) {
        Some((place, _)) => std::net::Ipv4Addr::new(1, 2, 3, place).into(),
        None => ADDRESS,
    }
}
