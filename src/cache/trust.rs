//! Whether content is signed as the operator wants it: found out once for each digest, and remembered.
//!
//! ```text
//! manifest ── rule? ── verdict remembered? ── the tag of its signatures ── its referrers ── judged
//! ```
//! What is attached to an image is fetched as anybody would fetch it, through the same shelves and budgets, by whoever
//! asks first; the others wait for the same verdict. "Signed" holds as long as the rule does, and is written down;
//! "not signed" is asked about again soon. If nobody can tell, nothing is served and clients are to ask again.

mod search;
mod text;

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lru::LruCache;
use tokio_util::task::TaskTracker;

use self::search::{Found, Search};
use super::coalesce::Coalesce;
use super::lists;
use super::{Asker, Body, Cache, Failure, Kind, Served};
use crate::clock::{Clock, Time};
use crate::oci::{Code, Digest, Manifest, MediaType, Reference, Repository};
use crate::policy::naming::Chosen;
use crate::policy::trust::{self, Rule, Signed};
use crate::store::List;
use crate::telemetry::metrics::trust::Judged;

/// Verdicts that are remembered in memory; those that content is signed are on disk as well.
const MOST_VERDICTS: NonZeroUsize = NonZeroUsize::new(16 * 1024).expect("it is not zero");
/// How long "not signed" is repeated without looking: a signature may follow its image.
const REFUSED_FOR: Duration = Duration::from_secs(30);
/// Most manifests of an index for which it vouches.
const MOST_LISTED: usize = 256;
/// When to ask again if nobody could tell.
const RETRY_SOON: Duration = Duration::from_secs(5);

/// What a manifest is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Signed by this key or certificate, or vouched for by this index, and until when that holds if it ends.
    Trusted(Arc<str>, Option<Time>),
    /// Not signed, for this reason, which is looked for again after a while.
    Refused(Arc<str>, Time),
}

impl Verdict {
    /// True until it has to be looked for again.
    fn holds(&self, now: Time) -> bool {
        match self {
            Self::Refused(_, until) | Self::Trusted(_, Some(until)) => now < *until,
            Self::Trusted(_, None) => true,
        }
    }
}

#[derive(Clone)]
struct Known {
    verdict: Verdict,
    /// True once the manifests that it lists, if any, are known to be trusted, too.
    settled: bool,
}

type Answer = Result<Verdict, Failure>;
/// The last part is a client that asks for itself, after another was refused what it takes to find out.
type Key = (Repository, Digest, Option<u64>);

/// What is remembered, under one set of rules.
pub(super) struct Verdicts {
    known: Mutex<LruCache<(Repository, Digest), Known>>,
    asked: Coalesce<Key, Answer>,
}

impl Verdicts {
    pub(super) fn new(tasks: TaskTracker, clock: Clock) -> Self {
        Self {
            known: Mutex::new(LruCache::new(MOST_VERDICTS)),
            asked: Coalesce::new("trust", tasks, clock),
        }
    }

    fn recall(&self, repository: &Repository, digest: &Digest, now: Time) -> Option<Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(&(repository.clone(), *digest))?;
        found.verdict.holds(now).then(|| found.clone())
    }

    fn note(&self, repository: &Repository, digest: &Digest, verdict: Verdict, settled: bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.put((repository.clone(), *digest), Known { verdict, settled });
    }
}

impl Cache {
    /// The rule by which a repository's content has to be signed, if there is one.
    fn trust_rule(&self, chosen: &Chosen) -> Option<&Rule> {
        let rule = self.options.trust.of(&chosen.repository)?;
        rule.wants_signature().then_some(rule)
    }

    /// True if a manifest may be served without looking anything up. Costs nothing without rules.
    pub(super) fn is_trusted_at_hand(&self, chosen: &Chosen, digest: &Digest, now: Time) -> bool {
        self.trust_rule(chosen).is_none() || {
            let known = self.trust.recall(&chosen.repository, digest, now);
            known.is_some_and(|known| known.settled && matches!(known.verdict, Verdict::Trusted(..)))
        }
    }

    /// What is about to be served where a rule wants signatures, if it is signed as that says.
    pub(super) async fn vouched(
        &self,
        chosen: &Chosen,
        reference: &Reference,
        served: Served,
        asker: &Asker,
    ) -> Result<Served, Failure> {
        let (repository, digest) = (&chosen.repository, served.digest);
        let beside = matches!(reference, Reference::Tag(tag) if tag.stands_beside());
        let content = match &served.body {
            Body::Memory(bytes) => Some(bytes),
            Body::Empty | Body::File(..) | Body::Filling(_) => None,
        };
        match content {
            Some(bytes) if trust::is_attachment(bytes) => {
                let verdict = Verdict::Trusted("it is attached to an image".into(), None);
                self.trust.note(repository, &digest, verdict, true);
                return Ok(served);
            }
            // A list of referrers under the tag of what they refer to: what it lists is judged when it is asked for.
            Some(_) if beside && served.media_type.is_index() => return Ok(served),
            None if beside => return Ok(served),
            Some(_) | None => {}
        }
        match self.verdict(chosen, &digest, asker).await? {
            Verdict::Trusted(by, until) => {
                if let Some(bytes) = content {
                    self.settle(repository, &digest, &served.media_type, bytes, (by, until));
                }
                Ok(served)
            }
            Verdict::Refused(why, _) => Err(Failure::not_signed(repository, &digest, &why)),
        }
    }

    /// What is known of a manifest's signatures without looking for them; `None` if nothing is, or no rule wants any.
    pub(super) async fn known_verdict(&self, chosen: &Chosen, digest: &Digest) -> Option<Verdict> {
        let rule = self.trust_rule(chosen)?;
        let known = self.trust.recall(&chosen.repository, digest, self.clock.now());
        if let Some(known) = known {
            return Some(known.verdict);
        }
        let written = self.recorded_list(&key(&chosen.repository, digest)).await?;
        let verdict = read(&written.body, rule)?;
        verdict.holds(self.clock.now()).then_some(())?;
        self.trust
            .note(&chosen.repository, digest, verdict.clone(), false);
        Some(verdict)
    }

    /// True if content of a repository has to be signed.
    pub(super) fn wants_signatures(&self, chosen: &Chosen) -> bool {
        self.trust_rule(chosen).is_some()
    }

    async fn verdict(&self, chosen: &Chosen, digest: &Digest, asker: &Asker) -> Answer {
        if let Some(known) = self.known_verdict(chosen, digest).await {
            return Ok(known);
        }
        let mut alone = None;
        loop {
            let question = || {
                let (cache, chosen, digest, asker) = (self.clone(), chosen.clone(), *digest, *asker);
                async move { Box::pin(cache.examine(&chosen, &digest, &asker)).await }
            };
            let key = (chosen.repository.clone(), *digest, alone);
            let (answer, joined) = self.trust.asked.ask(&key, question).await;
            match answer {
                // What another may not spend, this one may.
                Some(Err(failure)) if joined && alone.is_none() && is_personal(&failure) => {
                    alone = Some(asker.client);
                }
                Some(answer) => return answer,
                None => return Err(Failure::internal()),
            }
        }
    }

    /// Looks for a signature that holds.
    async fn examine(&self, chosen: &Chosen, digest: &Digest, asker: &Asker) -> Answer {
        let repository = &chosen.repository;
        let Some(rule) = self.trust_rule(chosen) else {
            return Err(Failure::internal());
        };
        let mut search = Search {
            cache: self,
            chosen,
            rule,
            digest,
            asker,
            found: Found::default(),
        };
        let signed = search.signer().await;
        let mut found = search.found;
        let metrics = &self.shelves.metrics.trust;
        match (signed, found.trouble.take()) {
            (Some(signed), _) => {
                metrics.judged(Judged::Trusted);
                tracing::info!(%repository, %digest, by = signed.by, "signed");
                Ok(self.believe(repository, digest, rule, &signed))
            }
            (None, Some(trouble)) => {
                metrics.judged(Judged::Unknown);
                Err(trouble.untold(repository, digest))
            }
            (None, None) => {
                metrics.judged(Judged::Refused);
                let why: Arc<str> = found.why().into();
                tracing::warn!(%repository, %digest, why = %why, "not signed as it has to be: refused");
                let verdict = Verdict::Refused(why, self.clock.now() + REFUSED_FOR);
                self.trust.note(repository, digest, verdict.clone(), false);
                Ok(verdict)
            }
        }
    }

    /// Remembers, and writes down, that a manifest may be served.
    fn believe(&self, repository: &Repository, digest: &Digest, rule: &Rule, signed: &Signed) -> Verdict {
        let written = List {
            validated: self.clock.now().as_millis(),
            body: written(rule, signed),
        };
        self.shelves.records.put_list(&key(repository, digest), &written);
        let verdict = Verdict::Trusted(signed.by.as_str().into(), signed.until);
        self.trust.note(repository, digest, verdict.clone(), false);
        verdict
    }

    /// Has an index that is trusted vouch for the manifests that it lists, for as long as it is.
    fn settle(
        &self,
        repository: &Repository,
        digest: &Digest,
        media_type: &MediaType,
        bytes: &Bytes,
        (by, until): (Arc<str>, Option<Time>),
    ) {
        let known = self.trust.recall(repository, digest, self.clock.now());
        if known.is_some_and(|known| known.settled) {
            return;
        }
        if media_type.is_index()
            && let Ok(index) = Manifest::parse(bytes.clone(), Some(media_type))
            && let Some(rule) = self.options.trust.of(repository)
        {
            let signed = Signed {
                by: format!("{digest}, which lists it"),
                until,
            };
            for child in index.manifests.iter().take(MOST_LISTED) {
                self.believe(repository, &child.digest, rule, &signed);
            }
        }
        self.trust
            .note(repository, digest, Verdict::Trusted(by, until), true);
    }
}

/// A verdict as it is written down: by which rule, until when, and who signed.
fn written(rule: &Rule, signed: &Signed) -> String {
    let until = signed
        .until
        .map_or_else(|| "-".to_owned(), |until| until.as_millis().to_string());
    format!("{} {until} {}", rule.fingerprint(), signed.by)
}

/// A verdict that was written down; `None` for that of another rule.
fn read(text: &str, rule: &Rule) -> Option<Verdict> {
    let text = text.strip_prefix(&rule.fingerprint())?.strip_prefix(' ')?;
    let (until, by) = text.split_once(' ')?;
    let until = match until {
        "-" => None,
        until => Some(Time::from_millis(until.parse().ok()?)),
    };
    Some(Verdict::Trusted(by.into(), until))
}

/// What a verdict is written down under.
fn key(repository: &Repository, digest: &Digest) -> String {
    lists::key("trust", repository, &digest.to_string())
}

/// True if another client could fare better.
const fn is_personal(failure: &Failure) -> bool {
    matches!(failure.kind, Kind::Limited(_) | Kind::OverQuota(_))
}

impl Failure {
    /// Content that is not signed as it has to be.
    fn not_signed(repository: &Repository, digest: &Digest, why: &str) -> Self {
        let public =
            format!("{repository}@{digest} is not signed as the operator of this cache requires: {why}");
        Self {
            kind: Kind::Denied,
            code: Code::Denied,
            public: public.into(),
            retry_after: None,
            why: None,
        }
    }

    /// Nobody can tell now whether content is signed: for what cannot be had, clients are to ask again.
    fn untold(self, repository: &Repository, digest: &Digest) -> Self {
        let public = format!(
            "whether {repository}@{digest} is signed cannot be told now: {}",
            self.public
        );
        let failure = Self {
            public: public.into(),
            ..self
        };
        match failure.kind {
            Kind::Limited(_) | Kind::OverQuota(_) => failure,
            Kind::NotFound | Kind::Denied | Kind::Unavailable | Kind::Timeout | Kind::BadUpstream => Self {
                kind: Kind::Unavailable,
                code: Code::Unavailable,
                retry_after: failure.retry_after.or(Some(RETRY_SOON)),
                ..failure
            },
        }
    }
}
