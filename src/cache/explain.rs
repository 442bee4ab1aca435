//! How a pull would be answered now, and why: the steps of the walk, looked at without taking them.
//!
//! Nothing is asked of an upstream, nothing is spent, and nothing is remembered of it.

use serde::{Deserialize, Serialize};

use super::holds::record_of;
use super::trust::Verdict;
use super::{Asker, Cache, UpstreamStatus};
use crate::clock::Time;
use crate::oci::{Digest, Manifest, Reference, Tag};
use crate::policy::access::visibility;
use crate::policy::budget::{Because, Withheld};
use crate::policy::freshness::{self, Before, Rules, TagRecord};
use crate::policy::naming::Chosen;
use crate::policy::outlook::{self, Known, Named, Outlook, Permit};
use crate::store::{SharedStatus, Shelf};
use crate::upstream::{Guard, Refusal, Wants};

/// The word for what is not held.
const NOWHERE: &str = "nowhere";

/// What is known of one pull. Times are milliseconds since the Unix epoch, spans seconds, sizes bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// The moment.
    pub now: u64,
    /// `served`, `refreshing`, `validated`, `fetched`, `stale` or `refused`.
    pub outlook: String,
    /// Whether who asks may have it: `open`: that is no question; `shown`, `hidden`: the upstream said so of late;
    /// `asked`: it is asked first; `login`: it said that it does not show it to who has not logged in.
    pub visibility: String,
    /// What is known of the tag; `None` if it is not named by one, or nothing is known.
    pub record: Option<ExplainedRecord>,
    /// How fresh that is; `None` if it is named by digest.
    pub freshness: Option<ExplainedFreshness>,
    /// What is held of the manifest; `None` if nobody here knows which one it would be.
    pub content: Option<ExplainedContent>,
    /// Whether it is signed as it has to be; `None` if no rule wants that.
    #[serde(default)]
    pub trust: Option<ExplainedTrust>,
    /// What the tag points at and is not served as yet; `None` if that is not known.
    #[serde(default)]
    pub young: Option<ExplainedYoung>,
    /// The upstream that would be asked.
    pub upstream: UpstreamStatus,
    /// The shared shelf, which is asked before a manifest is bought; `None` if there is none.
    #[serde(default)]
    pub shared: Option<SharedStatus>,
    /// Why a manifest cannot be bought now; `None` if it can.
    pub withheld: Option<ExplainedWithheld>,
}

/// What a tag points at, as far as is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExplainedRecord {
    /// The manifest.
    pub digest: String,
    /// When the upstream last said so.
    pub validated: u64,
    /// True if the operator has locked the tag there.
    pub locked: bool,
}

/// What freshness says of a tag, and the rules by which it does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExplainedFreshness {
    /// `fresh`, `refresh`, `ask` or `offline`.
    pub verdict: String,
    /// How long a tag is served without asking.
    pub ttl: u64,
    /// How long after that it is served while the upstream is asked.
    pub stale_while_revalidate: u64,
    /// How long it may be served if the upstream does not answer.
    pub stale_if_error: u64,
    /// True if the tag is one of those that never move.
    pub immutable: bool,
}

/// Where the bytes of a manifest and of what follows it are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExplainedContent {
    /// The manifest.
    pub digest: String,
    /// `memory`, `disk` or `nowhere`.
    pub manifest: String,
    /// True if all that must follow it is held.
    pub complete: bool,
    /// The blobs that it names.
    pub blobs: ExplainedParts,
    /// The manifests that it lists, if it is an index.
    pub manifests: ExplainedParts,
}

/// What a manifest names, and how much of it is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExplainedParts {
    /// How many there are.
    pub count: u64,
    /// Their size.
    pub size: u64,
    /// How many are on disk.
    pub held: u64,
    /// The size of those.
    pub held_size: u64,
}

/// What is known of the signatures of a manifest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExplainedTrust {
    /// `trusted`, `refused` or `unknown`: they would have to be looked for.
    pub verdict: String,
    /// Who signed it, or why it is refused; empty if nothing is known.
    pub because: String,
}

/// What a tag points at that is too young to be served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExplainedYoung {
    /// The manifest.
    pub digest: String,
    /// When it was first seen in the repository.
    pub first: u64,
    /// When it may be served.
    pub until: u64,
}

/// Why nothing can be bought.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExplainedWithheld {
    /// `exhausted`, `reserved`, `paced`, `parked` or `queued`.
    pub because: String,
    /// When it can, as far as is known.
    pub until: u64,
}

impl Cache {
    /// What a pull of this reference would come to for this asker.
    ///
    /// Cancel-safe: it changes nothing.
    pub async fn explain(&self, chosen: &Chosen, reference: &Reference, asker: &Asker) -> Explained {
        let now = self.clock.now();
        let rules = match reference {
            Reference::Tag(tag) => self.rules(chosen, Some(tag)),
            Reference::Digest(_) => self.rules(chosen, None),
        };
        let (named, record) = match reference {
            Reference::Digest(_) => (Named::Digest, None),
            Reference::Tag(tag) => self.tagged(chosen, tag, now).await,
        };
        let digest = match reference {
            Reference::Digest(digest) => Some(*digest),
            Reference::Tag(_) => record.as_ref().map(|record| record.descriptor.digest),
        };
        let content = match digest {
            Some(digest) => Some(self.content_of(&digest).await),
            None => None,
        };
        let upstream = self.upstreams.get(chosen);
        let offline = self.rules(chosen, None).offline;
        let would = upstream.would_sell(&chosen.repository.path, *asker);
        let affordable = would.is_ok();
        let withheld = match would {
            Err(Refusal::Withheld(withheld)) => Some(withheld),
            Ok(()) | Err(_) => None,
        };
        let verdict = match digest {
            Some(digest) => self.known_verdict(chosen, &digest).await,
            None => None,
        };
        let reachable = !offline && upstream.left_alone().is_none() && !upstream.is_parked();
        let silent = !reachable || upstream.is_not_asked();
        let permit = self.foreseen(chosen, reference, silent && !offline, now);
        let reachable = reachable && !(permit == Permit::Asked && silent);
        let outlook = outlook::of(Known {
            permit,
            named,
            held: content
                .as_ref()
                .is_some_and(|content| content.manifest != NOWHERE),
            follows: content.as_ref().is_some_and(|content| content.complete),
            reachable,
            affordable,
        });
        let outlook = judged(outlook, verdict.as_ref(), named);
        let young = match (reference, named) {
            (Reference::Tag(tag), Named::Tag { .. }) => self.waits(chosen, tag, now),
            _ => None,
        };
        let outlook = match (young, digest) {
            (Some(_), None) => Outlook::Refused,
            _ => outlook,
        };
        Explained {
            now: now.as_millis(),
            outlook: outlook.name().to_owned(),
            visibility: permit.name().to_owned(),
            record: record.map(|record| explained_record(&record, named)),
            freshness: explained_freshness(reference, named, rules),
            content,
            trust: self.wants_signatures(chosen).then(|| explained_trust(verdict)),
            young: young.map(|waits| ExplainedYoung {
                digest: waits.digest.to_string(),
                first: waits.first.as_millis(),
                until: waits.until.as_millis(),
            }),
            upstream: self.status_of(
                chosen.repository.registry.to_string(),
                &self.upstreams.label(chosen),
                &upstream,
                offline,
            ),
            shared: self.shelves.shared.get().map(|sharing| sharing.shelf.status()),
            withheld: withheld.map(|withheld| explained_withheld(&withheld)),
        }
    }

    /// Whether somebody who has not logged in may have this, as far as is known without asking the upstream, which
    /// may be `silent`.
    fn foreseen(&self, chosen: &Chosen, reference: &Reference, silent: bool, now: Time) -> Permit {
        let hidden = match self.guard(chosen) {
            Guard::Nobody => return Permit::Open,
            Guard::Client => Permit::Login,
            Guard::Everybody => Permit::Hidden,
        };
        let upstream = self.upstreams.get(chosen);
        let wants = Wants::Manifest(reference.clone());
        match upstream.said_of(&chosen.repository.path, &wants, now) {
            (visibility::Known::Shown, _) => Permit::Shown,
            (visibility::Known::Hidden, _) => hidden,
            // It does not answer, and that it was shown is believed meanwhile.
            (visibility::Known::Ask, true) if silent => Permit::Shown,
            (visibility::Known::Ask, _) => Permit::Asked,
        }
    }

    /// How a tag stands, and what it points at.
    async fn tagged(&self, chosen: &Chosen, tag: &Tag, now: Time) -> (Named, Option<TagRecord>) {
        let repository = &chosen.repository;
        if let Some(hold) = self.locked(repository, tag) {
            return (Named::Locked, Some(record_of(&hold, now)));
        }
        let (record, rules) = (
            self.recorded(repository, tag).await,
            self.rules(chosen, Some(tag)),
        );
        let may_be_stale = |record: &TagRecord| freshness::may_be_stale(record, rules, now);
        let named = Named::Tag {
            before: freshness::before(tag, record.as_ref(), rules, now),
            known: record.is_some(),
            may_be_stale: record.as_ref().is_some_and(may_be_stale),
        };
        (named, record)
    }

    /// What is held of a manifest.
    async fn content_of(&self, digest: &Digest) -> ExplainedContent {
        let in_memory = self.shelves.memory.get(digest);
        let nowhere = ExplainedContent {
            digest: digest.to_string(),
            manifest: NOWHERE.to_owned(),
            ..ExplainedContent::default()
        };
        let Some((held, _)) = self.held(digest).await else {
            return nowhere;
        };
        let manifest = if in_memory.is_some() { "memory" } else { "disk" };
        let complete = self.blobs_follow(&held).await;
        let shelves = self.shelves.clone();
        let count = move || {
            let parsed = Manifest::parse(held.bytes.clone(), held.manifest.as_ref()).ok();
            let (mut blobs, mut manifests) = (ExplainedParts::default(), ExplainedParts::default());
            for named in parsed.iter().flat_map(|parsed| &parsed.blobs) {
                blobs.add(named.size, shelves.disk.holds(Shelf::Blobs, &named.digest));
            }
            for named in parsed.iter().flat_map(|parsed| &parsed.manifests) {
                manifests.add(named.size, shelves.disk.holds(Shelf::Manifests, &named.digest));
            }
            Ok((blobs, manifests))
        };
        // While the disk does not answer, nothing of it is held.
        let counted = self.shelves.disk.health().looking(count).await;
        let (blobs, manifests) = counted.unwrap_or_default();
        ExplainedContent {
            manifest: manifest.to_owned(),
            complete,
            blobs,
            manifests,
            ..nowhere
        }
    }
}

impl ExplainedParts {
    fn add(&mut self, size: u64, held: bool) {
        self.count += 1;
        self.size = self.size.saturating_add(size);
        if held {
            self.held += 1;
            self.held_size = self.held_size.saturating_add(size);
        }
    }
}

fn explained_record(record: &TagRecord, named: Named) -> ExplainedRecord {
    ExplainedRecord {
        digest: record.descriptor.digest.to_string(),
        validated: record.validated.as_millis(),
        locked: named == Named::Locked,
    }
}

fn explained_freshness(reference: &Reference, named: Named, rules: &Rules) -> Option<ExplainedFreshness> {
    let (Reference::Tag(tag), Named::Tag { before, .. }) = (reference, named) else {
        return None;
    };
    let verdict = match before {
        Before::Serve => "fresh",
        Before::Refresh => "refresh",
        Before::Ask => "ask",
        Before::Offline => "offline",
    };
    Some(ExplainedFreshness {
        verdict: verdict.to_owned(),
        ttl: rules.ttl.as_secs(),
        stale_while_revalidate: rules.stale_while_revalidate.as_secs(),
        stale_if_error: rules.stale_if_error.as_secs(),
        immutable: rules.immutable.matches(tag.as_str()),
    })
}

/// What a pull comes to, by what is known of the signatures of what it would be served.
fn judged(outlook: Outlook, verdict: Option<&Verdict>, named: Named) -> Outlook {
    // A tag that is asked about first may have moved to what is signed.
    let may_move = matches!(named, Named::Tag { before, .. } if before == Before::Ask);
    match verdict {
        Some(Verdict::Refused(..)) if !may_move => Outlook::Refused,
        Some(Verdict::Refused(..) | Verdict::Trusted(..)) | None => outlook,
    }
}

fn explained_trust(verdict: Option<Verdict>) -> ExplainedTrust {
    let (verdict, because) = match verdict {
        Some(Verdict::Trusted(by, _)) => ("trusted", by),
        Some(Verdict::Refused(why, _)) => ("refused", why),
        None => ("unknown", "".into()),
    };
    ExplainedTrust {
        verdict: verdict.to_owned(),
        because: because.to_string(),
    }
}

fn explained_withheld(withheld: &Withheld) -> ExplainedWithheld {
    let because = match withheld.because {
        Because::Exhausted => "exhausted",
        Because::Reserved => "reserved",
        Because::Paced => "paced",
        Because::Parked => "parked",
        Because::Queued => "queued",
    };
    ExplainedWithheld {
        because: because.to_owned(),
        until: withheld.until.as_millis(),
    }
}
