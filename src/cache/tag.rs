//! The walk of a tag: record, freshness, HEAD; from there on it is a digest.
//!
//! A tag is resolved by HEAD, which costs no budget, once for everybody who asks at the same time. Whoever
//! can be served something stale does not wait long for an upstream that does not answer.

use std::time::Duration;

use super::holds::record_of;
use super::manifest::{headers_only, served};
use super::resolve::Unresolved;
use super::{Asker, Cache, Failure, From, Kind, Outcome, PATIENCE, Served, Why};
use crate::clock::Time;
use crate::oci::{Repository, Tag};
use crate::policy::budget::PREFETCH;
use crate::policy::freshness::{self, After, Answer, Before, TagRecord};
use crate::policy::naming::Chosen;
use crate::upstream::{LimitKind, Refusal};

/// How long a client that could have a stale tag waits for the upstream: a HEAD with a new token and a new
/// connection takes a few round trips.
const STALE_PATIENCE: Duration = Duration::from_secs(3);

/// How long a client that could have a stale tag waits for what the tag points at now; with the patience above
/// and the time to tell it, no longer than any client waits.
const FETCH_PATIENCE: Duration = Duration::from_secs(18);

impl Cache {
    pub(super) async fn by_tag(
        &self,
        chosen: &Chosen,
        tag: &Tag,
        head: bool,
        asker: &Asker,
    ) -> Result<Served, Failure> {
        let repository = &chosen.repository;
        let rules = self.rules(chosen, Some(tag));
        let now = self.clock.now();
        if let Some(hold) = self.locked(repository, tag) {
            let record = record_of(&hold, now);
            let served = self.by_record(chosen, &record, head, asker, None).await?;
            let outcome = match served.from {
                From::Memory | From::Disk => Outcome::Locked,
                From::Filling | From::Shared | From::Alternate | From::Upstream => served.outcome,
            };
            return Ok(aged(Served { outcome, ..served }, record.validated, now));
        }
        let record = self.recorded(repository, tag).await;
        match (freshness::before(tag, record.as_ref(), rules, now), &record) {
            (Before::Serve, Some(record)) => {
                let served = self.by_record(chosen, record, head, asker, None).await;
                if !served.as_ref().is_err_and(Failure::is_definite) {
                    return served.map(|served| aged(served, record.validated, now));
                }
            }
            (Before::Refresh, Some(record)) => {
                if let Some(served) = self.as_remembered(chosen, record, Outcome::Refreshing).await {
                    self.refresh(chosen, tag, asker);
                    return Ok(served);
                }
            }
            (Before::Offline, _) => return self.offline(chosen, record.as_ref()).await,
            (Before::Ask | Before::Serve | Before::Refresh, _) => {}
        }
        if record.is_none()
            && let Some(failure) = self.still_too_young(chosen, tag, now)
        {
            return Err(failure);
        }
        let patience = match &record {
            Some(record) if freshness::may_be_stale(record, rules, now) => STALE_PATIENCE,
            Some(_) | None => PATIENCE,
        };
        self.validate(chosen, tag, head, asker, patience).await
    }

    /// The record of a tag that memory knows to be fresh, unless the operator holds the tag.
    pub(super) fn fresh_at_hand(&self, chosen: &Chosen, tag: &Tag, now: Time) -> Option<TagRecord> {
        let repository = &chosen.repository;
        let record = self.shelves.records.hot_tag(repository, tag)??;
        let rules = self.rules(chosen, Some(tag));
        let is_fresh = freshness::before(tag, Some(&record), rules, now) == Before::Serve;
        (is_fresh && self.locked(repository, tag).is_none()).then_some(record)
    }

    /// The record of a tag; `None` as well while the disk does not tell: the upstream does.
    pub(super) async fn recorded(&self, repository: &Repository, tag: &Tag) -> Option<TagRecord> {
        if let Some(known) = self.shelves.records.hot_tag(repository, tag) {
            return known;
        }
        let (shelves, repository, tag) = (self.shelves.clone(), repository.clone(), tag.clone());
        let look = move || Ok(shelves.records.tag(&repository, &tag));
        self.shelves.disk.health().looking(look).await.ok().flatten()
    }

    /// Asks the upstream about a tag, serves what it points at now, and remembers that. If there is no answer
    /// within `patience`, it is served stale and the answer is waited for behind its back.
    pub(super) async fn validate(
        &self,
        chosen: &Chosen,
        tag: &Tag,
        head: bool,
        asker: &Asker,
        patience: Duration,
    ) -> Result<Served, Failure> {
        let (repository, rules) = (&chosen.repository, self.rules(chosen, Some(tag)));
        let resolved = tokio::time::timeout(patience, self.resolve(chosen, tag, asker)).await;
        let resolved = resolved.unwrap_or_else(|_| {
            self.refresh(chosen, tag, asker);
            Err(self.silence(chosen).into())
        });
        let (answer, refusal) = match resolved {
            Ok(descriptor) => (Answer::Found(descriptor), Refusal::NotFound.into()),
            Err(Unresolved::Refused(Refusal::NotFound)) => (Answer::Gone, Refusal::NotFound.into()),
            Err(refusal) => (Answer::None, refusal),
        };
        let now = self.clock.now();
        let old = self.recorded(repository, tag).await;
        match freshness::after(old.clone(), answer, rules, now) {
            After::Remember(new) => {
                let found = &new.descriptor.digest;
                match self.too_young(chosen, tag, old.as_ref(), found).await {
                    None => self.moved(chosen, tag, head, asker, old, new).await,
                    Some(waits) => Box::pin(self.older(chosen, tag, head, asker, old, waits)).await,
                }
            }
            After::Forget => {
                // Unless it was locked while its upstream was being asked.
                if self.locked(repository, tag).is_none() {
                    self.shelves.records.remove_tag(repository, tag);
                }
                Err(self.no_tag(chosen, &refusal, asker).await)
            }
            After::ServeStale(record) => {
                let outcome = Outcome::Stale(refusal.reason());
                let stale = self.as_remembered(chosen, &record, outcome).await;
                match stale {
                    Some(stale) => Ok(stale),
                    None => Err(self.no_tag(chosen, &refusal, asker).await.blobs_missing()),
                }
            }
            After::Fail => Err(self.no_tag(chosen, &refusal, asker).await),
        }
    }

    /// What a client is told when nobody said what a tag points at.
    pub(super) async fn no_tag(&self, chosen: &Chosen, refusal: &Unresolved, asker: &Asker) -> Failure {
        match refusal {
            Unresolved::Refused(refusal) => self.no_manifest(chosen, refusal, asker).await,
            Unresolved::NotAllowed(failure) => failure.clone(),
        }
    }

    /// The upstream said what a tag points at now. Only what can be had is remembered: until then, what it
    /// pointed at before is better than nothing.
    async fn moved(
        &self,
        chosen: &Chosen,
        tag: &Tag,
        head: bool,
        asker: &Asker,
        old: Option<TagRecord>,
        new: TagRecord,
    ) -> Result<Served, Failure> {
        let (rules, now) = (self.rules(chosen, Some(tag)), self.clock.now());
        let known = old.is_some();
        let spare = old.filter(|old| {
            old.descriptor.digest != new.descriptor.digest && freshness::may_be_stale(old, rules, now)
        });
        let served = match (
            self.by_record(chosen, &new, head, asker, spare.as_ref()).await,
            spare,
        ) {
            (Ok(served), _) => served,
            (Err(failure), None) => return Err(failure),
            (Err(failure), Some(old)) => {
                let outcome = Outcome::Stale(reason(&failure));
                return self.as_remembered(chosen, &old, outcome).await.ok_or(failure);
            }
        };
        // The answer to a HEAD is no content: what was remembered stays until there is some.
        if !known || !matches!(served.outcome, Outcome::Bypass) {
            self.remember_tag(&chosen.repository, tag, new);
        }
        Ok(Served {
            outcome: if known {
                Outcome::Revalidated
            } else {
                served.outcome
            },
            ..served
        })
    }

    /// Asks about a tag without letting anybody wait; once, however many want it. It costs budget only where
    /// that would expire unused: if the tag has moved, somebody who asks for it later pays.
    fn refresh(&self, chosen: &Chosen, tag: &Tag, asker: &Asker) {
        let key = (chosen.repository.clone(), tag.clone());
        let (cache, chosen, tag) = (self.clone(), chosen.clone(), tag.clone());
        let asker = Asker {
            tier: PREFETCH,
            deadline: self.clock.now(),
            ..*asker
        };
        let refresh = || async move {
            // What it found is remembered, and what failed is told by what asks next.
            let refreshed = Box::pin(cache.validate(&chosen, &tag, false, &asker, PATIENCE)).await;
            if let Err(failure) = refreshed {
                tracing::debug!(repository = %chosen.repository, %tag, why = %failure.public, "not refreshed");
            }
        };
        let _ = self.refreshes.join(&key, refresh);
    }

    /// What is held of a tag whose upstream is not to be asked.
    async fn offline(&self, chosen: &Chosen, record: Option<&TagRecord>) -> Result<Served, Failure> {
        let failure = self.refused(chosen, &Refusal::Offline);
        let Some(record) = record else {
            return Err(failure);
        };
        let stale = self
            .as_remembered(chosen, record, Outcome::Stale(Why::Offline))
            .await;
        stale.ok_or_else(|| failure.blobs_missing())
    }

    /// The content a tag record points at; for a HEAD the record is enough, if its client can have the content
    /// next. Where an older one could be served instead, neither takes longer than that is worth.
    pub(super) async fn by_record(
        &self,
        chosen: &Chosen,
        record: &TagRecord,
        head: bool,
        asker: &Asker,
        spare: Option<&TagRecord>,
    ) -> Result<Served, Failure> {
        let digest = &record.descriptor.digest;
        self.note_belongs(chosen, digest);
        if head && self.held(digest).await.is_none() {
            let refusal = match spare {
                Some(_) => self
                    .reach(chosen)
                    .and_then(|upstream| upstream.would_sell(&chosen.repository.path, *asker)),
                None => Ok(()),
            };
            return match refusal {
                Ok(()) => Ok(headers_only(record.descriptor.clone())),
                Err(refusal) => Err(self.no_manifest(chosen, &refusal, asker).await),
            };
        }
        let content = Box::pin(self.by_digest(chosen, digest, false, asker));
        match spare {
            None => content.await,
            Some(_) => {
                let content = tokio::time::timeout(FETCH_PATIENCE, content).await;
                content.unwrap_or_else(|_| Err(Failure::timeout(chosen.repository.registry.as_str())))
            }
        }
    }

    /// A tag as it is remembered, if everything that must follow its manifest is held: a client that gets a
    /// manifest here asks nobody else for its blobs.
    async fn as_remembered(&self, chosen: &Chosen, record: &TagRecord, outcome: Outcome) -> Option<Served> {
        let now = self.clock.now();
        let digest = record.descriptor.digest;
        let (held, from) = self.held(&digest).await?;
        if !self.blobs_follow(&held).await {
            return None;
        }
        self.note_parts(chosen, &digest, &held);
        Some(aged(served(digest, held, from, outcome), record.validated, now))
    }

    /// Why there is no answer so far.
    fn silence(&self, chosen: &Chosen) -> Refusal {
        match self.reach(chosen) {
            Ok(upstream) if upstream.is_parked() => Refusal::Limited {
                kind: LimitKind::Abuse,
                retry_after: None,
            },
            Ok(_) => Refusal::Unreachable("no answer so far".to_owned()),
            Err(refusal) => refusal,
        }
    }
}

/// Why an older record is served instead of what could not be had.
pub(super) fn reason(failure: &Failure) -> Why {
    match failure.kind {
        Kind::OverQuota(_) => Why::OverQuota,
        _ => failure.why.unwrap_or(Why::Failing),
    }
}

fn aged(served: Served, validated: Time, now: Time) -> Served {
    Served {
        age: now.since(validated),
        ..served
    }
}
