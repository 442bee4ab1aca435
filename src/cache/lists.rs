//! Lists an upstream gives: the tags of a repository, the referrers of a digest; and what is held here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Asker, Body, Cache, Failure, From, Listing, Outcome, PATIENCE, Served, Why, in_time};
use crate::oci::{Digest, MediaType, Registry, Repository, Tag};
use crate::policy::freshness::Rules;
use crate::policy::naming::Chosen;
use crate::store::{List, blocking};
use crate::upstream::Refusal;

/// A list, and how it was come by.
#[derive(Clone)]
pub(super) struct Listed {
    body: Arc<str>,
    outcome: Outcome,
    age: Duration,
}

impl Cache {
    /// The tags of a repository, sorted.
    ///
    /// # Errors
    /// [`Failure`], after 25 s at most.
    pub async fn tags(&self, chosen: &Chosen) -> Result<Listing, Failure> {
        let upstream = self.reach(chosen);
        let path = chosen.repository.path.clone();
        let ask = async move {
            let mut tags = upstream?.tags(&path).await?;
            tags.sort_unstable();
            tags.dedup();
            Ok(Some(
                serde_json::to_string(&tags).expect("strings always serialise"),
            ))
        };
        let listed = in_time(
            &chosen.repository.registry,
            Box::pin(self.list(chosen, ("tags", ""), self.rules(chosen, None).ttl, ask)),
        )
        .await?;
        let listed = listed.ok_or_else(Failure::internal)?;
        let names: Vec<String> = serde_json::from_str(&listed.body).map_err(|_| Failure::internal())?;
        Ok(Listing {
            names: names.into(),
            outcome: listed.outcome,
        })
    }

    /// The referrers of a digest: an image index, unfiltered. Where the upstream has no referrers API, the
    /// index its clients keep under the tag of the digest.
    ///
    /// # Errors
    /// [`Failure`], after 25 s at most; a 404 lets clients look for that tag themselves.
    pub async fn referrers(
        &self,
        chosen: &Chosen,
        digest: &Digest,
        asker: &Asker,
    ) -> Result<Served, Failure> {
        let ttl = self.rules(chosen, None).ttl;
        let listing = self.referrers_within(chosen, digest, asker, ttl);
        in_time(&chosen.repository.registry, Box::pin(listing)).await
    }

    /// As [`Self::referrers`], but never a list, or a tag, that is older than this question, unless no other can be
    /// had.
    pub(super) async fn referrers_now(
        &self,
        chosen: &Chosen,
        digest: &Digest,
        asker: &Asker,
    ) -> Result<Served, Failure> {
        self.referrers_within(chosen, digest, asker, Duration::ZERO).await
    }

    async fn referrers_within(
        &self,
        chosen: &Chosen,
        digest: &Digest,
        asker: &Asker,
        ttl: Duration,
    ) -> Result<Served, Failure> {
        let upstream = self.reach(chosen);
        let (path, subject) = (chosen.repository.path.clone(), *digest);
        let ask = async move {
            let index = upstream?.referrers(&path, &subject).await?;
            Ok(index.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
        };
        let (subject, tag) = (digest.to_string(), Tag::of_referrers(digest));
        match self.list(chosen, ("referrers", &subject), ttl, ask).await? {
            Some(listed) => Ok(index_served(&listed)),
            None if ttl.is_zero() => self.validate(chosen, &tag, false, asker, PATIENCE).await,
            None => self.by_tag(chosen, &tag, false, asker).await,
        }
    }

    /// The repositories held here: of one registry by their own names, of all with the registry in front.
    ///
    /// # Errors
    /// [`Failure`] if the disk does not tell within 25 s.
    pub async fn repositories(&self, registry: Option<&Registry>) -> Result<Vec<String>, Failure> {
        let (shelves, registry) = (self.shelves.clone(), registry.cloned());
        let read = blocking(move || Ok(shelves.records.repositories(registry.as_ref())));
        let read = tokio::time::timeout(PATIENCE, read).await;
        read.ok().and_then(Result::ok).ok_or_else(Failure::internal)
    }

    /// A list from the records; `None` as well while the disk does not tell: the upstream does.
    pub(super) async fn recorded_list(&self, key: &str) -> Option<List> {
        if let Some(list) = self.shelves.records.hot_list(key) {
            return Some(list);
        }
        let (shelves, key) = (self.shelves.clone(), key.to_owned());
        let look = move || Ok(shelves.records.list(&key));
        self.shelves.disk.health().looking(look).await.ok().flatten()
    }

    /// A list from the records if it is younger than `ttl`, else from the upstream, else the stale one. `None` if the
    /// upstream keeps no such list.
    async fn list(
        &self,
        chosen: &Chosen,
        (kind, of): (&str, &str),
        ttl: Duration,
        ask: impl Future<Output = Result<Option<String>, Refusal>> + Send + 'static,
    ) -> Result<Option<Listed>, Failure> {
        let key = key(kind, &chosen.repository, of);
        let registry = chosen.repository.registry.to_string();
        let rules = self.rules(chosen, None);
        let (shelves, clock) = (self.shelves.clone(), self.clock);
        let record = self.recorded_list(&key).await;
        let now = clock.now();
        let age = |list: &List| now.since(crate::clock::Time::from_millis(list.validated));
        if let Some(list) = record.as_ref().filter(|list| age(list) < ttl) {
            return Ok(Some(listed(list, Outcome::Hit, age(list))));
        }
        let stored = key.clone();
        let question = move || async move {
            match ask.await {
                Ok(Some(body)) => {
                    let list = List {
                        validated: clock.now().as_millis(),
                        body,
                    };
                    shelves.records.put_list(&stored, &list);
                    Ok(Some(listed(&list, Outcome::Miss, Duration::ZERO)))
                }
                Ok(None) => Ok(None),
                Err(refusal) => Err(Failure::of_manifest(&registry, &refusal)),
            }
        };
        let (answer, _) = self.listings.ask(&key, question).await;
        answer
            .unwrap_or_else(|| Err(Failure::internal()))
            .or_else(|failure| {
                let stale = stale(record.as_ref(), &failure, rules, age);
                stale
                    .map(Some)
                    .ok_or_else(|| self.sent_on(chosen, failure, Failure::unavailable))
            })
    }
}

/// What a list is remembered under.
pub(super) fn key(kind: &str, repository: &Repository, of: &str) -> String {
    format!("{kind} {repository} {of}")
}

fn listed(list: &List, outcome: Outcome, age: Duration) -> Listed {
    Listed {
        body: list.body.as_str().into(),
        outcome,
        age,
    }
}

fn stale(
    record: Option<&List>,
    failure: &Failure,
    rules: &Rules,
    age: impl Fn(&List) -> Duration,
) -> Option<Listed> {
    let why: Why = failure.why?;
    let list = record.filter(|list| rules.offline || age(list) <= rules.stale_if_error)?;
    Some(listed(list, Outcome::Stale(why), age(list)))
}

fn index_served(listed: &Listed) -> Served {
    let bytes = Bytes::copy_from_slice(listed.body.as_bytes());
    Served {
        media_type: MediaType::OCI_INDEX,
        digest: Digest::sha256(&bytes),
        length: Some(bytes.len() as u64),
        body: Body::Memory(bytes),
        from: From::Upstream,
        outcome: listed.outcome,
        age: listed.age,
    }
}
