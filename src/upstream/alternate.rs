//! Alternate sources: other registries that may have the same digests.
//!
//! They are asked by digest only, never for a tag, and anonymously: each is a small upstream of its own,
//! without any of the credentials of the one it stands in for. What they give is hashed by whoever asked.
//! Only public content goes this way. An upstream without credentials has no other; of one with credentials,
//! a repository is public if the upstream itself shows it to nobody in particular.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::timeout;

use super::{Fetched, Incoming, Options, Refusal, Shown, Upstream, Want, Wants, lock};
use crate::clock::{Clock, Time};
use crate::oci::{Digest, Reference, Registry, RepositoryPath};
use crate::policy::alternate::{Alternate as Record, Outcome};
use crate::policy::naming::Pattern;

/// The longest that all alternates together take before the budget is asked, or until one begins to give a blob.
const ALL: Duration = Duration::from_secs(4);
/// The longest that one of them takes.
const EACH: Duration = Duration::from_secs(2);
/// With less time than this, none is asked.
const LEAST: Duration = Duration::from_millis(100);
/// Where an alternate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlternateOptions {
    /// Its base URL.
    pub url: http::Uri,
    /// What is put in front of every repository's path there.
    pub prefix: Option<RepositoryPath>,
}

/// The alternates of one upstream, in the order in which they are asked.
#[derive(Default)]
pub(super) struct Alternates {
    each: Vec<Alternate>,
}

struct Alternate {
    upstream: Upstream,
    url: String,
    host: String,
    prefix: Option<RepositoryPath>,
    record: Mutex<Record>,
}

impl Alternates {
    /// The alternates of an upstream; `make` makes what it takes to talk to one registry.
    pub(super) fn new(
        options: &Options,
        registry: &Registry,
        make: impl Fn(&Options, &Registry) -> Upstream,
    ) -> Self {
        let nobody = options.anonymous();
        let each = options.alternates.iter().map(|alternate| {
            let host = alternate.url.authority().map_or("", http::uri::Authority::as_str);
            let registry = host.parse().unwrap_or_else(|_| registry.clone());
            let options = Options {
                registry: Pattern::Exact(registry.clone()),
                url: Some(alternate.url.clone()),
                token_hosts: Vec::new(),
                allow_addresses: Vec::new(),
                ca: Vec::new(),
                ..nobody.clone()
            };
            Alternate {
                upstream: make(&options, &registry),
                url: alternate.url.to_string(),
                host: host.to_owned(),
                prefix: alternate.prefix.clone(),
                record: Mutex::default(),
            }
        });
        Self { each: each.collect() }
    }
}

impl Alternate {
    /// Asks for a digest, if it may be asked; and remembers what came of it.
    async fn ask<T>(
        &self,
        digest: &Digest,
        within: Duration,
        clock: Clock,
        question: impl Future<Output = Result<T, Outcome>>,
    ) -> Option<T> {
        if within < LEAST || !lock(&self.record).may_ask(digest, clock.now()) {
            return None;
        }
        let answer = timeout(within, question).await.unwrap_or(Err(Outcome::Failed));
        let outcome = answer.as_ref().err().copied().unwrap_or(Outcome::Gave);
        self.tell(digest, outcome, clock.now());
        answer.ok()
    }

    fn tell(&self, digest: &Digest, outcome: Outcome, now: Time) {
        let mut record = lock(&self.record);
        let before = record.rests_until(now);
        record.tell(digest, outcome, now);
        let host = &self.host;
        tracing::debug!(alternate = %host, %digest, ?outcome, "an alternate was asked");
        if let Some(until) = record.rests_until(now).filter(|_| before.is_none()) {
            tracing::info!(alternate = %host, ?outcome, %until, "an alternate is left alone");
        }
    }

    fn path(&self, path: &RepositoryPath) -> Option<RepositoryPath> {
        match &self.prefix {
            None => Some(path.clone()),
            Some(prefix) => format!("{prefix}/{path}").parse().ok(),
        }
    }
}

impl Upstream {
    /// A manifest from the first alternate that has it, if the repository is public; and the alternate's URL.
    /// `verify` makes of what came what is wanted, or refuses it. Takes a few seconds at most, and never longer than until `deadline`.
    ///
    /// Cancel-safe.
    pub async fn manifest_elsewhere<T>(
        &self,
        path: &RepositoryPath,
        digest: &Digest,
        deadline: Time,
        verify: impl Fn(Fetched) -> Option<T>,
    ) -> Option<(T, &str)> {
        let clock = self.exchange().ok()?.clock;
        let end = deadline.min(clock.now() + ALL);
        let left = || end.since(clock.now());
        if self.alternates.each.is_empty() || left() < LEAST {
            return None;
        }
        if !self.is_public(path, digest, EACH.min(left()), clock).await {
            return None;
        }
        let reference = Reference::Digest(*digest);
        for alternate in &self.alternates.each {
            let Some(path) = alternate.path(path) else {
                continue;
            };
            let question = async {
                let fetched = alternate.upstream.manifest(&path, &reference, 0).await;
                verify(fetched.map_err(|refusal| outcome(&refusal))?).ok_or(Outcome::Wrong)
            };
            let found = alternate.ask(digest, EACH.min(left()), clock, Box::pin(question));
            if let Some(found) = found.await {
                return Some((found, &alternate.url));
            }
        }
        None
    }

    /// A blob from the first alternate that has it, where the upstream refused it for a reason that says
    /// nothing of the blob, if the repository is known to be public.
    ///
    /// Cancel-safe.
    pub async fn blob_elsewhere(
        &self,
        path: &RepositoryPath,
        digest: &Digest,
        want: Want,
        refused: &Refusal,
    ) -> Option<Incoming> {
        let exchange = self.exchange().ok()?;
        let clock = exchange.clock;
        let passing = match refused {
            Refusal::Unreachable(_)
            | Refusal::Failing(_)
            | Refusal::LeftAlone { .. }
            | Refusal::Limited { .. } => true,
            Refusal::Denied(_) => exchange.shut_out(path).is_some(),
            Refusal::NotFound | Refusal::Withheld(_) | Refusal::Unusable(_) | Refusal::Offline => false,
        };
        let end = clock.now() + ALL;
        if !passing || !self.is_known_public(path, clock.now()) {
            return None;
        }
        for (index, alternate) in self.alternates.each.iter().enumerate() {
            let Some(path) = alternate.path(path) else {
                continue;
            };
            let question = async {
                let opened = alternate.upstream.blob(&path, digest, want).await;
                opened.map_err(|refusal| outcome(&refusal))
            };
            let within = EACH.min(end.since(clock.now()));
            if let Some(incoming) = alternate.ask(digest, within, clock, Box::pin(question)).await {
                tracing::debug!(alternate = %alternate.host, %digest, "an alternate gives a blob");
                return Some(Incoming {
                    alternate: Some(index),
                    ..incoming
                });
            }
        }
        None
    }

    /// True if others may learn that this repository is asked for.
    async fn is_public(
        &self,
        path: &RepositoryPath,
        digest: &Digest,
        within: Duration,
        clock: Clock,
    ) -> bool {
        let Some(witness) = &self.witness else {
            return true;
        };
        let now = clock.now();
        // An upstream that wants to be left alone is, and so is one that did not answer a moment ago.
        let is_left_alone = self.exchange().is_ok_and(|own| own.shield.parked().is_some());
        if !witness.is_public(path, now) && (is_left_alone || witness.rests(path, now)) {
            return false;
        }
        let wants = Wants::Manifest(Reference::Digest(*digest));
        witness.shows(path, &wants, within).await == Shown::Yes
    }

    /// The alternate of this number, as an upstream.
    pub(super) fn alternate(&self, index: usize) -> Option<&Self> {
        self.alternates
            .each
            .get(index)
            .map(|alternate| &alternate.upstream)
    }

    /// What a repository is called at the alternate of this number.
    pub(super) fn path_at(&self, index: usize, path: &RepositoryPath) -> Option<RepositoryPath> {
        self.alternates.each.get(index)?.path(path)
    }

    /// Bytes that an alternate gave are not what they should be, or broke off.
    pub fn alternate_failed(&self, alternate: usize, digest: &Digest, wrong: bool) {
        let outcome = if wrong { Outcome::Wrong } else { Outcome::Failed };
        if let (Some(alternate), Ok(exchange)) = (self.alternates.each.get(alternate), self.exchange()) {
            alternate.tell(digest, outcome, exchange.clock.now());
        }
    }
}

/// What a refusal says of an alternate.
fn outcome(refusal: &Refusal) -> Outcome {
    match refusal {
        Refusal::NotFound | Refusal::Denied(_) => Outcome::Lacks,
        Refusal::Limited { retry_after, .. } => Outcome::Limited {
            retry_after: *retry_after,
        },
        Refusal::Withheld(_)
        | Refusal::Unreachable(_)
        | Refusal::Failing(_)
        | Refusal::LeftAlone { .. }
        | Refusal::Offline
        | Refusal::Unusable(_) => Outcome::Failed,
    }
}
