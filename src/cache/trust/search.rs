//! Looking for a signature that holds: in what is attached to a manifest, one after the other.

use bytes::Bytes;

use super::super::{Asker, Body, Cache, Failure, PATIENCE, Served};
use crate::oci::{Digest, Tag};
use crate::policy::naming::Chosen;
use crate::policy::trust::{self, Flaw, Rule, Signed, cosign};

/// A search for who signed a manifest, and what it has found.
pub(super) struct Search<'a> {
    pub(super) cache: &'a Cache,
    pub(super) chosen: &'a Chosen,
    pub(super) rule: &'a Rule,
    pub(super) digest: &'a Digest,
    pub(super) asker: &'a Asker,
    pub(super) found: Found,
}

/// What was found of signatures that do not hold.
#[derive(Default)]
pub(super) struct Found {
    attached: usize,
    flaw: Option<Flaw>,
    pub(super) trouble: Option<Failure>,
}

impl Found {
    /// One that does not hold; the one that comes closest is told.
    fn flawed(&mut self, flaw: Flaw) {
        self.attached += 1;
        self.flaw = self.flaw.take().max(Some(flaw));
    }

    /// What could be had; what could not is noted, unless it is not there.
    fn had<T>(&mut self, answer: Result<T, Failure>) -> Option<T> {
        match answer {
            Ok(had) => return Some(had),
            Err(failure) if failure.is_definite() => {}
            Err(failure) => self.trouble = Some(failure),
        }
        None
    }

    /// The bytes of a manifest that may be a signature, or hold one.
    fn content(&mut self, served: Result<Served, Failure>) -> Option<Bytes> {
        match self.had(served)?.body {
            Body::Memory(bytes) => Some(bytes),
            Body::Empty | Body::File(..) | Body::Filling(_) => None,
        }
    }

    pub(super) fn why(&self) -> String {
        match &self.flaw {
            None => "no signature is attached to it".to_owned(),
            Some(flaw) if self.attached == 1 => format!("one signature is attached to it, but {flaw}"),
            Some(flaw) => format!(
                "{} signatures are attached to it, and none holds: of one, {flaw}",
                self.attached
            ),
        }
    }
}

impl Search<'_> {
    /// Who signed the manifest.
    pub(super) async fn signer(&mut self) -> Option<Signed> {
        match self.by_tag().await {
            None => self.by_referrer().await,
            signed => signed,
        }
    }

    /// By what stands under the tag of its signatures, where only cosign's do.
    async fn by_tag(&mut self) -> Option<Signed> {
        let (rule, digest) = (self.rule, self.digest);
        let tag = Tag::of_signatures(digest)
            .next()
            .filter(|_| rule.wants_cosign())?;
        // Whatever is remembered of the tag: a signature may have been added since.
        let asked = self
            .cache
            .validate(self.chosen, &tag, false, self.asker, PATIENCE);
        let manifest = self.found.content(Box::pin(asked).await)?;
        for attached in cosign::attached(&manifest) {
            let judge = |text: &[u8]| trust::judge_text(rule, &attached, text, digest);
            if let Some(signed) = self.weigh(&attached.payload, judge).await {
                return Some(signed);
            }
        }
        None
    }

    /// By what refers to it.
    async fn by_referrer(&mut self) -> Option<Signed> {
        let (rule, digest) = (self.rule, self.digest);
        let asked = self.cache.referrers_now(self.chosen, digest, self.asker);
        let referrers = self.found.content(Box::pin(asked).await)?;
        for referrer in trust::candidates(&referrers, rule) {
            let asked = self.cache.by_digest(self.chosen, &referrer, false, self.asker);
            let Some(manifest) = self.found.content(Box::pin(asked).await) else {
                continue;
            };
            let envelope = match trust::envelope(&manifest, digest) {
                Ok(envelope) => envelope,
                Err(flaw) => {
                    self.found.flawed(flaw);
                    continue;
                }
            };
            let now = self.cache.clock.now();
            let judge = |bytes: &[u8]| trust::judge(rule, envelope, bytes, digest, now);
            if let Some(signed) = self.weigh(envelope.blob(), judge).await {
                return Some(signed);
            }
        }
        None
    }

    /// Who made a signature, if it holds: what it takes to know is in a blob.
    async fn weigh(
        &mut self,
        blob: &Digest,
        judge: impl FnOnce(&[u8]) -> Result<Signed, Flaw>,
    ) -> Option<Signed> {
        let text = self.cache.signed_text(self.chosen, blob, self.asker).await;
        let judged = judge(&self.found.had(text)?);
        judged.map_err(|flaw| self.found.flawed(flaw)).ok()
    }
}
