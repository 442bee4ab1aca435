//! Tags that have moved of late: what they point at is served once it has been seen here for long enough.
//!
//! ```text
//! asked ── a digest that is served already? ── seen first when? ── old enough: as ever
//!                                                              └── too young: what the tag was served as, or 403
//! ```
//! When a digest was first seen in a repository is written down, so that a restart begins nothing anew.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;

use super::lists;
use super::{Asker, Cache, Failure, Kind, Outcome, Served, Why};
use crate::clock::Time;
use crate::oci::{Code, Digest, Repository, Tag};
use crate::policy::freshness::TagRecord;
use crate::policy::naming::Chosen;
use crate::policy::trust::age;
use crate::store::List;
use crate::telemetry::metrics::trust::Instead;

/// Tags that are remembered to wait; of others, their upstream is asked at every request.
const MOST_WAITING: NonZeroUsize = NonZeroUsize::new(4096).expect("it is not zero");

/// What a tag points at, and is not served as yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waits {
    /// The manifest.
    pub(super) digest: Digest,
    /// When it was first seen in its repository.
    pub(super) first: Time,
    /// Until when it waits.
    pub(super) until: Time,
    /// When its upstream last said so.
    asked: Time,
}

/// The tags that wait, for those who ask again and for the operator.
pub(super) struct Waiting(Mutex<LruCache<(Repository, Tag), Waits>>);

impl Default for Waiting {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MOST_WAITING)))
    }
}

impl Waiting {
    fn put(&self, repository: &Repository, tag: &Tag, waits: Waits) -> Option<Waits> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.put((repository.clone(), tag.clone()), waits)
    }

    fn get(&self, repository: &Repository, tag: &Tag) -> Option<Waits> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.get(&(repository.clone(), tag.clone())).copied()
    }

    fn take(&self, repository: &Repository, tag: &Tag) -> Option<Waits> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.pop(&(repository.clone(), tag.clone()))
    }
}

impl Cache {
    /// How long what a tag points at has to have been seen; `None` without such a rule, and for tags of signatures and
    /// referrers: they move whenever something is attached, and hold nothing that runs.
    fn minimum_age(&self, chosen: &Chosen, tag: &Tag) -> Option<Duration> {
        let minimum = self.options.trust.of(&chosen.repository)?.minimum_age?;
        (!minimum.is_zero() && !tag.stands_beside()).then_some(minimum)
    }

    /// What was found of a tag that may not be served as that yet; `None` if it may. `served` is what it is served as.
    pub(super) async fn too_young(
        &self,
        chosen: &Chosen,
        tag: &Tag,
        served: Option<&TagRecord>,
        found: &Digest,
    ) -> Option<Waits> {
        let minimum = self.minimum_age(chosen, tag)?;
        let (repository, now) = (&chosen.repository, self.clock.now());
        let served = served.map(|record| &record.descriptor.digest);
        let first = match served == Some(found) {
            true => now,
            false => self.first_seen(repository, found, now).await,
        };
        let Some(until) = age::waits_until(minimum, served, found, first, now) else {
            if self
                .waiting
                .take(repository, tag)
                .is_some_and(|waits| waits.digest == *found)
            {
                tracing::info!(%repository, %tag, digest = %found, "old enough: the tag is served as this from now on");
                self.shelves.metrics.trust.waited(Instead::Released);
            }
            return None;
        };
        let waits = Waits {
            digest: *found,
            first,
            until,
            asked: now,
        };
        let before = self.waiting.put(repository, tag, waits);
        if before.is_none_or(|before| before.digest != *found) {
            tracing::info!(%repository, %tag, digest = %found, %until, "too young: the tag is not served as this yet");
        }
        Some(waits)
    }

    /// When a digest was first seen in a repository, which is written down if it is now.
    async fn first_seen(&self, repository: &Repository, digest: &Digest, now: Time) -> Time {
        let key = lists::key("seen", repository, &digest.to_string());
        let seen = self.recorded_list(&key).await;
        let seen = seen.map(|seen| Time::from_millis(seen.validated));
        let (shelves, held) = (self.shelves.clone(), (repository.clone(), *digest));
        let look = move || Ok(shelves.records.held(&held.0, &held.1).map(|held| held.stored));
        let stored = self.shelves.disk.health().looking(look).await;
        let first = age::first_seen(seen.into_iter().chain(stored.ok().flatten()), now);
        if seen != Some(first) {
            let seen = List {
                validated: first.as_millis(),
                body: String::new(),
            };
            self.shelves.records.put_list(&key, &seen);
        }
        first
    }

    /// What is served of a tag that points at what is too young: what it was served as, if it was.
    pub(super) async fn older(
        &self,
        chosen: &Chosen,
        tag: &Tag,
        head: bool,
        asker: &Asker,
        old: Option<TagRecord>,
        waits: Waits,
    ) -> Result<Served, Failure> {
        let refused = || {
            self.shelves.metrics.trust.waited(Instead::Refused);
            Failure::too_young(&chosen.repository, tag, waits)
        };
        let Some(old) = old else {
            return Err(refused());
        };
        // As of now: the upstream was asked, and this is what its answer comes to.
        let record = TagRecord {
            validated: waits.asked,
            ..old
        };
        match self.by_record(chosen, &record, head, asker, None).await {
            Ok(served) => {
                self.shelves.metrics.trust.waited(Instead::Older);
                self.remember_tag(&chosen.repository, tag, record);
                Ok(Served {
                    outcome: Outcome::Stale(Why::Young),
                    ..served
                })
            }
            // It was taken away, and is not held.
            Err(failure) if failure.is_definite() => Err(refused()),
            Err(failure) => Err(failure),
        }
    }

    /// What who asks for a tag is told again without asking its upstream: it was too young a short while ago.
    pub(super) fn still_too_young(&self, chosen: &Chosen, tag: &Tag, now: Time) -> Option<Failure> {
        self.minimum_age(chosen, tag)?;
        let waits = self.waits(chosen, tag, now)?;
        let is_fresh = now.since(waits.asked) < self.rules(chosen, Some(tag)).ttl;
        is_fresh.then(|| Failure::too_young(&chosen.repository, tag, waits))
    }

    /// What a tag pointed at when its upstream was last asked, if that is too young by the present rule.
    pub(super) fn waits(&self, chosen: &Chosen, tag: &Tag, now: Time) -> Option<Waits> {
        let minimum = self.minimum_age(chosen, tag)?;
        let waits = self.waiting.get(&chosen.repository, tag)?;
        let until = age::waits_until(minimum, None, &waits.digest, waits.first, now)?;
        Some(Waits { until, ..waits })
    }
}

impl Failure {
    /// A tag that points at what was first seen a short while ago, and was served as nothing else.
    pub(super) fn too_young(repository: &Repository, tag: &Tag, waits: Waits) -> Self {
        let Waits {
            digest, first, until, ..
        } = waits;
        let public = format!(
            "{repository}:{tag} points at {digest}, which is too young for this cache: it was first seen at {first}, and \
             the operator has new tags wait until {until}"
        );
        Self {
            kind: Kind::Denied,
            code: Code::Denied,
            public: public.into(),
            retry_after: None,
            why: Some(Why::Young),
        }
    }
}
