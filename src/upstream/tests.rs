//! The whole client against servers in memory, in virtual time.

mod alternates;
mod answers;
mod auth;
mod blobs;
mod changed;
mod clients;
mod identity;
mod limits;
mod login;
mod probe;
mod spends;
mod upstreams;

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_util::task::TaskTracker;

use super::*;
use crate::clock::Clock;
use crate::net::dial::{Dialer, Io, Proxies};
use crate::oci::{Digest, Reference, Repository, RepositoryPath};
use crate::policy::budget::Ledger;
use crate::policy::naming::Chosen;

/// What the servers got: the host and head of each request.
type Seen = Arc<Mutex<Vec<String>>>;

/// Answers a host's request, of which it sees the first line and all of the head, with a response byte for
/// byte. An answer without `content-length` closes the connection.
type Script = fn(host: &str, line: &str, head: &str) -> String;

/// Names, addresses and servers.
struct World {
    seen: Seen,
    dialled: Arc<Mutex<Vec<IpAddr>>>,
    upstreams: Upstreams,
    upstream: Arc<Upstream>,
    options: Options,
    dialer: Dialer,
    /// The ledger that was written down last.
    ledger: Arc<Mutex<Option<Ledger>>>,
}

/// A world in which every host is served by `script` at 9.9.9.9, apart from those with another address;
/// nobody listens at that of refused.example.
fn world(script: Script, edit: impl FnOnce(&mut Options)) -> World {
    let seen = Seen::default();
    let dialled: Arc<Mutex<Vec<IpAddr>>> = Arc::default();
    let (log, calls, tasks) = (Arc::clone(&seen), Arc::clone(&dialled), TaskTracker::new());
    let dialer = Dialer {
        resolve: Arc::new(|host| Box::pin(std::future::ready(Ok(vec![address_of(&host)])))),
        connect: Arc::new(move |address| {
            calls.lock().unwrap().push(address.ip());
            if address.ip() == address_of("refused.example") {
                return Box::pin(std::future::ready(Err(io::ErrorKind::ConnectionRefused.into())));
            }
            let (near, far) = tokio::io::duplex(64 << 10);
            tasks.spawn(serve(far, script, Arc::clone(&log)));
            Box::pin(std::future::ready(io::Result::Ok(Box::new(near) as Box<dyn Io>)))
        }),
        proxies: Proxies::Never,
    };
    let second = Duration::from_secs(1);
    let mut options = Options {
        registry: Pattern::parse("r.example").unwrap(),
        url: Some(http::Uri::from_static("http://r.example")),
        credentials: vec![login("robot", "hunter2")],
        sharing: Sharing::Shared,
        access_ttl: Duration::from_secs(300),
        alternates: Vec::new(),
        token_hosts: Vec::new(),
        lanes: None,
        allow_addresses: Vec::new(),
        ca: Vec::new(),
        manifest_limit: 100,
        negative_ttl: Duration::ZERO,
        timeouts: Timeouts {
            connect: 5 * second,
            headers: 10 * second,
            idle: 10 * second,
        },
    };
    edit(&mut options);
    let mut budgets = Budgets::default();
    budgets.rules.reserves = vec![0.0];
    let upstreams = Upstreams::new(vec![options.clone()], budgets, &dialer, Clock::start());
    let ledger = Arc::default();
    keep(&upstreams, &ledger);
    World {
        upstream: upstreams.get(&chosen()),
        upstreams,
        dialer,
        ledger,
        options,
        seen,
        dialled,
    }
}

/// An account with a user and a password.
fn login(username: &str, password: &str) -> Account {
    let credential = Credential {
        username: username.to_owned(),
        password: Secret::new(password.to_owned()),
    };
    credential.into()
}

fn keep(upstreams: &Upstreams, ledger: &Arc<Mutex<Option<Ledger>>>) {
    let ledger = Arc::clone(ledger);
    upstreams.keep_ledgers(move |_, told| *ledger.lock().unwrap() = Some(told.clone()));
}

fn address_of(host: &str) -> IpAddr {
    let text = match host {
        "inside.example" => "127.0.0.1",
        "refused.example" => "9.9.9.8",
        "mapped.example" => "::ffff:10.0.0.1",
        _ => "9.9.9.9",
    };
    text.parse().unwrap()
}

async fn serve(mut stream: DuplexStream, script: Script, seen: Seen) {
    let mut head = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        head.push(byte);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let mut text = String::from_utf8(std::mem::take(&mut head)).unwrap();
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body).await.unwrap();
        text += std::str::from_utf8(&body).unwrap();
        let host = text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
        let line = text.lines().next().unwrap().trim_end_matches(" HTTP/1.1");
        let answer = script(host, line, &text);
        seen.lock().unwrap().push(format!("{host} {text}"));
        if stream.write_all(answer.as_bytes()).await.is_err() || !answer.contains("content-length") {
            return;
        }
    }
}

impl World {
    /// The process ends and starts again, knowing what was written down.
    fn restart(&mut self) {
        let mut budgets = Budgets::default();
        budgets.rules.reserves = vec![0.0];
        let ledger = self.ledger.lock().unwrap().clone();
        budgets
            .ledgers
            .extend(ledger.map(|ledger| ("r.example".to_owned(), ledger)));
        let clock = self.upstream.exchange().unwrap().clock;
        self.upstreams = Upstreams::new(vec![self.options.clone()], budgets, &self.dialer, clock);
        keep(&self.upstreams, &self.ledger);
        self.upstream = self.upstreams.get(&chosen());
    }

    fn count(&self, part: &str) -> usize {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .filter(|head| head.contains(part))
            .count()
    }

    /// Fetches a manifest as a client's request does.
    async fn buy(&self, path: &str) -> Result<Fetched, Refusal> {
        let asker = crate::policy::budget::Asker {
            tier: 0,
            client: 0,
            deadline: self.now() + Duration::from_secs(20),
        };
        self.upstream
            .buy(&path.parse().unwrap(), &tag(), asker, |_, _| {})
            .await
    }

    fn now(&self) -> crate::clock::Time {
        self.upstream.exchange().unwrap().clock.now()
    }

    async fn read(&self, want: Want) -> Result<(u64, Vec<u8>), Refusal> {
        let mut incoming = self.upstream.blob(&path(), &digest(), want).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = incoming.chunk().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok((incoming.start, bytes))
    }
}

fn chosen() -> Chosen {
    let registry = "r.example".parse().unwrap();
    Chosen {
        entry: 0,
        repository: Repository {
            registry,
            path: path(),
        },
    }
}

fn path() -> RepositoryPath {
    "a/b".parse().unwrap()
}

fn digest() -> Digest {
    Digest::sha256(b"0123456789")
}

fn tag() -> Reference {
    Reference::Tag("latest".parse().unwrap())
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn to(location: &str) -> String {
    answer("307 Temporary Redirect", &format!("location: {location}\r\n"), "")
}

fn challenge(realm: &str) -> String {
    let header = format!("www-authenticate: Bearer realm=\"{realm}\",service=\"r\"\r\n");
    answer("401 Unauthorized", &header, "")
}

fn unusable<T>(result: Result<T, Refusal>) -> String {
    match result {
        Err(Refusal::Unusable(text)) => text,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was used"),
    }
}
