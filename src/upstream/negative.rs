//! Definite refusals, repeated for a short while to those who ask again: a crash loop that pulls what does
//! not exist asks the upstream once in a while, not once in a second.
//!
//! Each is remembered for the account that was refused. Another account may be told something else. That there is no
//! referrers API is said of the registry, and remembered for longer.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::time::Duration;

use lru::LruCache;

use super::exchange::Exchange;
use super::{Refusal, lock};
use crate::clock::{Clock, Time};
use crate::oci::{Digest, Reference, RepositoryPath};

/// Most refusals remembered of one upstream; strangers choose the names (S120).
const MAX_REFUSALS: NonZeroUsize = NonZeroUsize::new(4096).expect("is not zero");

/// How long a registry that has no referrers API is taken to have none.
const NO_REFERRERS: Duration = Duration::from_secs(3600);

/// What of a repository was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Asked {
    Manifest(Reference),
    Blob(Digest),
    /// All of its tags.
    Tags,
    /// The referrers of a digest.
    Referrers(Digest),
}

impl From<&Reference> for Asked {
    fn from(reference: &Reference) -> Self {
        Self::Manifest(reference.clone())
    }
}

/// An account, and what it asked for.
type Key = (usize, RepositoryPath, Asked);

/// The refusals of one upstream.
pub(super) struct Negatives {
    refusals: Mutex<LruCache<Key, (Refusal, Time)>>,
    /// Until when it is not asked for referrers at all.
    no_referrers: Mutex<Option<Time>>,
    ttl: Duration,
    clock: Clock,
}

impl Negatives {
    pub(super) fn new(ttl: Duration, clock: Clock) -> Self {
        Self {
            refusals: Mutex::new(LruCache::new(MAX_REFUSALS)),
            no_referrers: Mutex::default(),
            ttl,
            clock,
        }
    }

    /// What was answered of late; an error if that was a definite refusal.
    pub(super) fn recall(
        &self,
        account: usize,
        path: &RepositoryPath,
        asked: impl Into<Asked>,
    ) -> Result<(), Refusal> {
        let refusals = lock(&self.refusals);
        match refusals.peek(&(account, path.clone(), asked.into())) {
            Some((refusal, until)) if self.clock.now() < *until => Err(refusal.clone()),
            Some(_) | None => Ok(()),
        }
    }

    /// False for a while after the registry has shown that it has no referrers API.
    pub(super) fn may_have_referrers(&self) -> bool {
        let until = *lock(&self.no_referrers);
        until.is_none_or(|until| until <= self.clock.now())
    }

    /// The registry has no referrers API.
    pub(super) fn note_no_referrers(&self) {
        if !self.ttl.is_zero() {
            let until = self.clock.now() + NO_REFERRERS;
            *lock(&self.no_referrers) = Some(until);
        }
    }

    /// Remembers an answer, if it is a definite refusal.
    pub(super) fn note<T>(
        &self,
        account: usize,
        path: &RepositoryPath,
        asked: impl Into<Asked>,
        answer: &Result<T, Refusal>,
    ) {
        let Err(refusal @ (Refusal::NotFound | Refusal::Denied(_))) = answer else {
            return;
        };
        if self.ttl.is_zero() {
            return;
        }
        let until = self.clock.now() + self.ttl;
        let mut refusals = lock(&self.refusals);
        let key = (account, path.clone(), asked.into());
        refusals.put(key, (refusal.clone(), until));
    }
}

impl Exchange {
    /// As [`Negatives::note`], unless the account was refused whatever it asked for.
    pub(super) fn note<T>(
        &self,
        account: usize,
        path: &RepositoryPath,
        asked: impl Into<Asked>,
        answer: &Result<T, Refusal>,
    ) {
        if self
            .accounts
            .get(account)
            .is_some_and(|account| account.parked().is_none())
        {
            self.negatives.note(account, path, asked, answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negatives() -> (Negatives, RepositoryPath, Reference) {
        let negatives = Negatives::new(Duration::from_secs(10), Clock::start());
        let tag = Reference::Tag("latest".parse().unwrap());
        (negatives, "library/app".parse().unwrap(), tag)
    }

    #[tokio::test(start_paused = true)]
    async fn f038_a_refusal_is_repeated_for_a_while_and_to_its_account_only() {
        let (negatives, path, tag) = negatives();
        negatives.note::<()>(0, &path, &tag, &Err(Refusal::NotFound));
        assert_eq!(negatives.recall(0, &path, &tag), Err(Refusal::NotFound));
        assert_eq!(negatives.recall(1, &path, &tag), Ok(()));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(negatives.recall(0, &path, &tag), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn only_definite_refusals_are_remembered() {
        let (negatives, path, tag) = negatives();
        for answer in [
            Ok(()),
            Err(Refusal::Failing(503)),
            Err(Refusal::Unreachable("gone".to_owned())),
        ] {
            negatives.note(0, &path, &tag, &answer);
            assert_eq!(negatives.recall(0, &path, &tag), Ok(()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn s120_strangers_cannot_make_it_grow() {
        let (negatives, path, _) = negatives();
        for number in 0..2 * MAX_REFUSALS.get() {
            let tag = Reference::Tag(format!("t{number}").parse().unwrap());
            negatives.note::<()>(0, &path, &tag, &Err(Refusal::NotFound));
        }
        assert_eq!(negatives.refusals.lock().unwrap().len(), MAX_REFUSALS.get());
    }
}
