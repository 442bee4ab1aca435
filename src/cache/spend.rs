//! Fetching a manifest that nobody here holds: the one request that costs an upstream's budget.
//!
//! Everybody who wants the same digest of one registry waits for one fetch, which waits for its turn to spend.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::quotas::{Pass, Quotas};
use super::resolve::Unresolved;
use super::{Asker, Cache, Failure, From, Kind, OnExhausted, Outcome, Served, Shelves};
use crate::clock::{Clock, Time};
use crate::oci::{Digest, Manifest, Reference, Repository, RepositoryPath};
use crate::policy::budget;
use crate::policy::naming::Chosen;
use crate::store::{Closing, Held, Shelf, blocking};
use crate::telemetry::metrics::Place;
use crate::telemetry::metrics::spending::Avoided;
use crate::upstream::{Fetched, Refusal, Upstream};

/// Most tags that a client without an answer is told of, and most that are looked through for them.
const MAX_TAGS_TOLD: usize = 10;
const MAX_TAGS_SEEN: usize = 100;

/// What metrics call the tier of what nobody waits for.
const PREFETCHED: &str = "prefetch";

/// Who fetches together: at first everybody; after a refusal that may have been another's, those of one tier
/// and one repository, who would be refused alike.
pub(super) type Rank = Option<(usize, RepositoryPath)>;

/// What one fetch came to, for all who wait for it.
pub(super) type Bought = Result<(Held, From), Refusal>;

impl Cache {
    /// As [`Self::buy`], with what its client is told.
    pub(super) async fn fetch(
        &self,
        chosen: &Chosen,
        digest: Digest,
        asker: &Asker,
    ) -> Result<(Held, From), Failure> {
        match self.buy(chosen, digest, asker).await {
            Ok(bought) => Ok(bought),
            Err(refusal) => Err(self.no_tag(chosen, &refusal, asker).await),
        }
    }

    /// Fetches a manifest that is not held, together with everybody who asks now; and where it came from:
    /// [`From::Filling`] is another's fetch.
    pub(super) async fn buy(
        &self,
        chosen: &Chosen,
        digest: Digest,
        asker: &Asker,
    ) -> Result<(Held, From), Unresolved> {
        let upstream = self.reach(chosen)?;
        let rank = Some((asker.tier, chosen.repository.path.clone()));
        // Nobody is given what was fetched for another repository who is not known to have it; what was begun before it
        // was known is gone on with.
        let is_known = self.belongs(chosen, &digest);
        let mut key = (chosen.repository.registry.clone(), digest, rank.clone());
        if is_known && !self.fetches.has(&key) {
            key.2 = None;
        }
        let reference = Reference::Digest(digest);
        loop {
            // Whoever joins another's fetch needs no pass.
            let join = |pass: &mut Pass| {
                self.fetches.try_join(&key, || {
                    let start = pass.start()?;
                    let order = self.order(chosen, reference.clone(), *asker);
                    let (cache, chosen) = (self.clone(), chosen.clone());
                    Ok(async move {
                        // Another's fetch may have ended between the asker's look and this.
                        if is_known
                            && let Some((held, _)) = cache.held(&digest).await
                            && cache.belongs(&chosen, &digest)
                        {
                            return Ok((held, From::Filling));
                        }
                        let fetched = Box::pin(order.carry_out()).await;
                        drop(start);
                        fetched.map(|(_, held, from)| (held, from))
                    })
                })
            };
            let allowed = self.quotas.when_allowed(asker, join).await;
            let (answer, joined) = allowed.map_err(Unresolved::NotAllowed)?;
            if joined {
                upstream.joined(&chosen.repository.path, &reference, *asker);
            }
            match answer.arrived().await {
                None => return Err(Refusal::Unusable("an internal error".to_owned()).into()),
                // It came for others, and so far only a list says that it is this repository's.
                Some(Ok(_)) if joined && key.2.is_none() && !self.belongs(chosen, &digest) => {
                    key.2.clone_from(&rank);
                }
                Some(Ok((held, _))) if joined => return Ok((held, From::Filling)),
                Some(Ok(bought)) => return Ok(bought),
                // It may have been for another's reason: a lower tier, a tighter quota, a repository it may not see.
                Some(Err(refusal)) if joined && key.2.is_none() && is_personal(&refusal) => {
                    key.2.clone_from(&rank);
                }
                Some(Err(refusal)) => return Err(refusal.into()),
            }
        }
    }

    /// Reads the budgets of the upstreams that tell them for free, unless they are not to be asked.
    ///
    /// Cancel-safe: what was read is known.
    pub async fn read_budgets(&self) {
        let freshness = &self.options.freshness;
        self.upstreams
            .read_budgets(|entry| freshness[entry].usual.offline)
            .await;
    }

    /// What it takes to fetch one manifest.
    pub(super) fn order(&self, chosen: &Chosen, reference: Reference, asker: budget::Asker) -> Order {
        Order {
            shelves: self.shelves.clone(),
            upstream: self.upstreams.get(chosen),
            label: self.upstreams.label(chosen),
            repository: chosen.repository.clone(),
            closing: match &reference {
                Reference::Digest(digest) => self.closing(chosen, digest),
                Reference::Tag(_) => None,
            },
            open: self.is_open(chosen),
            reference,
            asker,
            quotas: self.quotas.clone(),
            clock: self.clock,
            spent: self.spent.clone(),
        }
    }

    /// What a client is told when a manifest cannot be had: where the budget is at fault, the figures and
    /// what is held instead.
    pub(super) async fn no_manifest(&self, chosen: &Chosen, refusal: &Refusal, asker: &Asker) -> Failure {
        let failure = Failure::of_manifest(chosen.repository.registry.as_str(), refusal);
        let withheld = match refusal {
            Refusal::Withheld(withheld) => Some(withheld.clone()),
            // The budget knows more than the answer told: the figures, and until when.
            Refusal::Limited { .. } => self.withheld(chosen, asker),
            _ => return failure,
        };
        let (shelves, repository) = (self.shelves.clone(), chosen.repository.clone());
        let tags = blocking(move || Ok(held_tags(&shelves, &repository)));
        let tags = tags.await.unwrap_or_default();
        let told = match withheld {
            Some(withheld) => Failure::withheld(&chosen.repository, &withheld, &tags, self.clock.now()),
            None => failure.with_held(&chosen.repository, &tags),
        };
        self.sent_on(chosen, told, Failure::unavailable)
    }

    /// A refusal of the upstream's as the operator wants it told: `onward` sends clients to the registry itself.
    pub(super) fn sent_on(
        &self,
        chosen: &Chosen,
        failure: Failure,
        onward: impl FnOnce(Failure) -> Failure,
    ) -> Failure {
        let sent_on = self.options.on_exhausted[chosen.entry] == OnExhausted::FallThrough;
        match failure.kind {
            Kind::Limited(_) if sent_on => onward(failure),
            _ => failure,
        }
    }

    /// Why a manifest of this repository cannot be bought for this asker in time, if it cannot.
    fn withheld(&self, chosen: &Chosen, asker: &Asker) -> Option<budget::Withheld> {
        let upstream = self.reach(chosen).ok()?;
        match upstream.would_sell(&chosen.repository.path, *asker) {
            Err(Refusal::Withheld(withheld)) => Some(withheld),
            Ok(()) | Err(_) => None,
        }
    }

    /// Counts what a served manifest did not cost.
    pub(super) fn count_avoided(&self, chosen: &Chosen, reference: &Reference, served: &Served) {
        let held = matches!(served.from, From::Memory | From::Disk);
        let why = match (served.outcome, reference) {
            (Outcome::Stale(_), _) => Avoided::Stale,
            (Outcome::Collapsed, _) => Avoided::Collapsed,
            (Outcome::Hit, Reference::Digest(_)) => Avoided::Held,
            (Outcome::Hit | Outcome::Locked | Outcome::Refreshing, Reference::Tag(_)) => Avoided::Fresh,
            (Outcome::Revalidated, _) if held => Avoided::Unchanged,
            _ => return,
        };
        let spending = &self.shelves.metrics.spending;
        spending.avoided(&self.upstreams.label(chosen), why);
    }
}

/// Some tags of a repository whose manifests are held: a tag that was only asked about is known as well.
fn held_tags(shelves: &Shelves, repository: &Repository) -> Vec<String> {
    let tags = shelves.records.tags_of(repository, MAX_TAGS_SEEN);
    let is_held = |tag: &String| {
        let record = tag
            .parse()
            .ok()
            .and_then(|tag| shelves.records.tag(repository, &tag));
        record.is_some_and(|record| {
            let digest = &record.descriptor.digest;
            shelves.memory.get(digest).is_some() || shelves.disk.holds(Shelf::Manifests, digest)
        })
    };
    tags.into_iter().filter(is_held).take(MAX_TAGS_TOLD).collect()
}

/// True if another client could fare better with the same question.
fn is_personal(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Withheld(_) | Refusal::NotFound | Refusal::Denied(_)
    )
}

/// A manifest to be fetched, and all it takes.
pub(super) struct Order {
    pub(super) shelves: Arc<Shelves>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) label: Arc<str>,
    pub(super) repository: Repository,
    /// True if everybody may see that.
    pub(super) open: bool,
    /// What it brings is marked otherwise, from the moment that its digest is known.
    pub(super) closing: Option<Closing>,
    pub(super) reference: Reference,
    pub(super) asker: budget::Asker,
    pub(super) quotas: Arc<Quotas>,
    pub(super) clock: Clock,
    /// Counts what it cost, for who wants to know.
    pub(super) spent: Arc<AtomicU64>,
}

impl Order {
    /// Fetches, verifies and keeps it.
    pub(super) async fn carry_out(self) -> Result<(Digest, Held, From), Refusal> {
        let shared = Box::pin(self.shared_manifest())
            .await
            .map(|found| (found, From::Shared));
        let found = match shared {
            Some(found) => Some(found),
            None => self.elsewhere().await.map(|found| (found, From::Alternate)),
        };
        let ((digest, held, source), from) = match found {
            Some(found) => found,
            None => {
                let (digest, held) = self.verified(self.buy().await?)?;
                let source = self.repository.registry.to_string();
                ((digest, held, source), From::Upstream)
            }
        };
        let closing = self.closing.or_else(|| {
            let mark = || self.shelves.disk.closing(&digest, Some(&self.repository));
            (!self.open).then(mark)
        });
        self.shelves
            .keep(&self.repository, digest, &held, source, self.clock.now())
            .await;
        drop(closing);
        if from != From::Shared {
            self.shelves
                .offer(Shelf::Manifests, digest, held.manifest.clone());
        }
        Ok((digest, held, from))
    }

    /// As [`Self::carry_out`], for an order that nobody has a pass for: only now it is known to be needed.
    pub(super) async fn carry_out_with_pass(self) -> Result<(Digest, Held, From), Unresolved> {
        let pass = self.quotas.when_allowed(&self.asker, Pass::start).await;
        let start = pass.map_err(Unresolved::NotAllowed)?;
        let fetched = self.carry_out().await;
        drop(start);
        Ok(fetched?)
    }

    /// Waits for its turn and spends.
    async fn buy(&self) -> Result<Fetched, Refusal> {
        let records = &self.shelves.records;
        let (began, waits) = (self.clock.now(), AtomicBool::new(true));
        let write_down = |ledger: &budget::Ledger, left: bool| {
            if waits.swap(false, Ordering::Relaxed) {
                self.count_wait(began);
            }
            records.put_ledger(&self.repository.registry, ledger);
            if left {
                self.shelves.metrics.spending.spent(&self.label);
                self.spent.fetch_add(1, Ordering::Relaxed);
            }
        };
        let path = &self.repository.path;
        let bought = self
            .upstream
            .buy(path, &self.reference, self.asker, write_down)
            .await;
        let fetched = bought?;
        self.count_received(fetched.bytes.len());
        Ok(fetched)
    }

    /// Counts what came.
    pub(super) fn count_received(&self, bytes: usize) {
        let received = self.shelves.metrics.upstreams.received(&self.label);
        received.inc_by(bytes as u64);
    }

    /// Counts how long it waited for its turn.
    fn count_wait(&self, began: Time) {
        let tier = match self.asker.tier {
            budget::PREFETCH => PREFETCHED,
            tier => self.quotas.tier_name(tier),
        };
        let spending = &self.shelves.metrics.spending;
        spending.waited(&self.label, tier, self.clock.now().since(began));
    }

    /// Holds what came against what was asked for.
    fn verified(&self, fetched: Fetched) -> Result<(Digest, Held), Refusal> {
        let digest = match &self.reference {
            Reference::Tag(_) => Digest::sha256(&fetched.bytes),
            Reference::Digest(wanted) if Digest::of(wanted.algorithm(), &fetched.bytes) == *wanted => *wanted,
            Reference::Digest(wanted) => {
                let repository = &self.repository;
                tracing::warn!(%repository, digest = %wanted, "the upstream sent another manifest than was asked for");
                self.shelves.metrics.integrity_failure(Place::Manifest);
                return Err(Refusal::Unusable(
                    "the manifest does not hash to its digest".to_owned(),
                ));
            }
        };
        let manifest = Manifest::parse(fetched.bytes, fetched.label.as_ref())
            .map_err(|error| Refusal::Unusable(error.to_string()))?;
        Ok((digest, Held::manifest(manifest)))
    }
}

impl Failure {
    /// A manifest that could be had if there were budget. `leave` tells clients to ask somebody else now
    /// instead of waiting.
    fn withheld(repository: &Repository, withheld: &budget::Withheld, tags: &[String], now: Time) -> Self {
        let registry = &repository.registry;
        let figures = match withheld.reading {
            Some(reading) => {
                let window = reading
                    .window
                    .map_or(String::new(), |window| format!(" per {} s", window.as_secs()));
                format!(
                    "{registry} allows this cache {} pulls{window}, and {} are left",
                    reading.limit, reading.remaining
                )
            }
            None => format!("{registry} limits the pulls of this cache"),
        };
        let wait = withheld.until.since(now).max(Duration::from_secs(1));
        let public = format!(
            "{figures}; {}; ask again in {} s, at {}",
            because(withheld.because),
            wait.as_secs_f64().ceil(),
            withheld.until,
        );
        let failure = Self {
            public: public.into(),
            retry_after: Some(wait),
            ..Self::of_manifest(registry.as_str(), &Refusal::Withheld(withheld.clone()))
        };
        failure.with_held(repository, tags)
    }

    /// Adds what is held of the repository instead.
    fn with_held(self, repository: &Repository, tags: &[String]) -> Self {
        let path = &repository.path;
        let held = if tags.is_empty() {
            format!("no tag of {path} is held here")
        } else {
            format!("held here: {path}:{}", tags.join(", "))
        };
        Self {
            public: format!("{}; {held}", self.public).into(),
            ..self
        }
    }
}

const fn because(because: budget::Because) -> &'static str {
    match because {
        budget::Because::Exhausted => "all of them are spent",
        budget::Because::Reserved => "what is left is reserved for higher tiers",
        budget::Because::Paced => "this client's tier is paced so that they last",
        budget::Because::Parked => "it asked to be left alone for a while",
        budget::Because::Queued => "too many wait already",
    }
}
