//! What a tag points at: asked of its upstream by HEAD, which costs no budget, once for everybody who asks at the
//! same time; and where HEAD does not tell, by the manifest itself.

use super::failure::why;
use super::tag::reason;
use super::{Asker, Cache, Failure, PATIENCE, Why};
use crate::oci::{Descriptor, MediaType, Reference, Tag};
use crate::policy::budget::PREFETCH;
use crate::policy::naming::Chosen;
use crate::upstream::{LimitKind, Refusal, Upstream};

/// What the upstream said a tag points at.
pub(super) type Resolved = Descriptor;

/// Who asks together: at first everybody; after a refusal that may have been another's, those of one tier; after
/// one for a quota, one client alone.
pub(super) type Rank = Option<(usize, Option<u64>)>;

/// Why nobody said what a tag points at.
#[derive(Clone, Debug)]
pub(super) enum Unresolved {
    /// The upstream did not, or was not asked.
    Refused(Refusal),
    /// Saying it would have taken more than the asker's own quota.
    NotAllowed(Failure),
}

impl std::convert::From<Refusal> for Unresolved {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Unresolved {
    /// Why an older record is served instead.
    pub(super) fn reason(&self) -> Why {
        match self {
            Self::Refused(refusal) => why(refusal).unwrap_or(Why::Failing),
            Self::NotAllowed(failure) => reason(failure),
        }
    }

    /// The rank to ask in once more, if one of another was refused in this one.
    fn next_rank(&self, rank: Rank, asker: &Asker) -> Option<Rank> {
        match (self, rank) {
            (Self::Refused(refusal), None) if is_of_rank(refusal) => Some(Some((asker.tier, None))),
            (Self::NotAllowed(_), None | Some((_, None))) => Some(Some((asker.tier, Some(asker.client)))),
            _ => None,
        }
    }
}

impl Cache {
    /// Asks what a tag points at, together with everybody who asks now.
    pub(super) async fn resolve(
        &self,
        chosen: &Chosen,
        tag: &Tag,
        asker: &Asker,
    ) -> Result<Resolved, Unresolved> {
        let (repository, upstream) = (&chosen.repository, self.reach(chosen)?);
        let mut rank: Rank = None;
        loop {
            let question = || {
                let (cache, upstream) = (self.clone(), upstream.clone());
                let (chosen, tag, asker) = (chosen.clone(), tag.clone(), *asker);
                async move { cache.ask_tag(&upstream, &chosen, tag, asker).await }
            };
            let key = (repository.clone(), tag.clone(), rank);
            let (answer, joined) = self.questions.ask(&key, question).await;
            let Some(answer) = answer else {
                return Err(Refusal::Unusable("an internal error".to_owned()).into());
            };
            let refusal = answer.as_ref().err().filter(|_| joined);
            match refusal.and_then(|refusal| refusal.next_rank(rank, asker)) {
                Some(next) => rank = next,
                None => return answer,
            }
        }
    }

    /// HEAD, or GET where the upstream does not answer HEAD properly.
    async fn ask_tag(
        &self,
        upstream: &Upstream,
        chosen: &Chosen,
        tag: Tag,
        buyer: Asker,
    ) -> Result<Resolved, Unresolved> {
        // A refresh spends nothing later than now, but a HEAD is no spend and nobody waits for it.
        let mut asker = buyer;
        if asker.tier == PREFETCH {
            asker.deadline = self.clock.now() + PATIENCE;
        }
        let (repository, reference) = (&chosen.repository, Reference::Tag(tag));
        let told = upstream.head_for(&repository.path, &reference, Some(asker)).await;
        let (digest, held) = match told {
            Ok(told) if told.media_type.is_manifest() => return Ok(told),
            // It tells which, but not what: the manifest itself does.
            Ok(told) => {
                self.note_belongs(chosen, &told.digest);
                match self.held(&told.digest).await {
                    Some((held, _)) => (told.digest, held),
                    None => (told.digest, self.buy(chosen, told.digest, &buyer).await?.0),
                }
            }
            Err(Refusal::Unusable(reason)) => {
                tracing::debug!(%repository, %reference, reason, "HEAD is of no use here: falling back to GET");
                let order = self.order(chosen, reference, buyer);
                let (digest, held, _) = order.carry_out_with_pass().await?;
                (digest, held)
            }
            Err(refusal) => return Err(refusal.into()),
        };
        Ok(Descriptor {
            media_type: held.manifest.unwrap_or(MediaType::OCI_MANIFEST),
            digest,
            size: held.bytes.len() as u64,
        })
    }
}

/// True if another rank, or somebody who waits longer, may be told something else.
fn is_of_rank(refusal: &Refusal) -> bool {
    let abuse = LimitKind::Abuse;
    matches!(refusal, Refusal::Withheld(_))
        || matches!(refusal, Refusal::Limited { kind, .. } if *kind == abuse)
}
