//! What a run of verify tells: how far it is, each damaged object, and in the end what it came to.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cache::check::Damage;
use crate::cache::names::NamedBy;
use crate::cache::scrub::kind;
use crate::policy::eviction::Content;
use crate::policy::scrub::Sample;

/// Most sentences about files that cannot be opened in a summary.
const MOST_UNREADABLE: usize = 100;

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum VerifyEvent {
    /// How far it is.
    Progress(VerifyProgress),
    /// Something is damaged.
    Damaged(DamagedObject),
    /// It is over.
    Summary(VerifySummary),
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyProgress {
    /// Objects that were looked at.
    pub objects: u64,
    /// Bytes that were hashed.
    pub bytes: u64,
    /// Objects there are, as far as is known by now; a sample takes fewer.
    pub of_objects: u64,
    /// Their bytes.
    pub of_bytes: u64,
    /// Bytes per second since the beginning.
    pub rate: u64,
    /// Damaged objects so far.
    pub damaged: u64,
}

/// A damaged object. It is not served any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedObject {
    /// Its name.
    pub digest: String,
    /// `blob` or `manifest`.
    pub kind: String,
    /// The length it was stored with, in bytes; 0 if that is not known any more.
    pub size: u64,
    /// What is wrong, to read after its name.
    pub why: String,
    /// The repositories that name it, as far as is known; at most ten.
    pub named_by: Vec<String>,
    /// What was done.
    pub mended: Mended,
    /// Why it could not be fetched again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// What was done about a damaged object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mended {
    /// It was put aside; the next pull fetches it again.
    Aside,
    /// Its right bytes were in memory, and were written anew.
    Restored,
    /// It was fetched again.
    Fetched,
    /// It was put aside, and could not be fetched again.
    Failed,
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VerifySummary {
    /// Objects that were looked at.
    pub objects: u64,
    /// Bytes that were hashed.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// Damaged objects among them.
    pub damaged: u64,
    /// Those that are held again.
    pub mended: u64,
    /// Why files could not be opened, a sentence each; at most a hundred.
    pub unreadable: Vec<String>,
    /// Bytes that were fetched again.
    pub fetched: u64,
    /// Requests that count against an upstream's budget.
    pub counted: u64,
    /// The part that was looked at (0 to 1), if not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<f64>,
    /// Which part that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// What a run has counted so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) objects: u64,
    pub(super) bytes: u64,
    pub(super) damaged: u64,
    pub(super) fetched: u64,
    pub(super) unreadable: Vec<String>,
    mended: u64,
}

impl Counts {
    pub(super) fn damaged(&mut self, object: &DamagedObject) {
        self.damaged += 1;
        self.mended += u64::from(matches!(object.mended, Mended::Restored | Mended::Fetched));
    }

    pub(super) fn summary(mut self, took: Duration, counted: u64, sample: Option<Sample>) -> VerifySummary {
        self.unreadable.truncate(MOST_UNREADABLE);
        VerifySummary {
            objects: self.objects,
            bytes: self.bytes,
            seconds: took.as_secs_f64(),
            damaged: self.damaged,
            mended: self.mended,
            unreadable: self.unreadable,
            fetched: self.fetched,
            counted,
            part: sample.map(|sample| sample.part),
            seed: sample.map(|sample| sample.seed),
        }
    }
}

impl DamagedObject {
    pub(super) fn new(
        content: &Content,
        damage: &Damage,
        named: Option<&NamedBy>,
        mended: Result<Mended, String>,
    ) -> Self {
        let named = named.into_iter().flat_map(|named| &named.repositories);
        let (mended, failed) = match mended {
            Ok(mended) => (mended, None),
            Err(why) => (Mended::Failed, Some(why)),
        };
        Self {
            digest: content.digest.to_string(),
            kind: kind(content.shelf).to_owned(),
            size: damage.size,
            why: damage.why.clone(),
            named_by: named.map(ToString::to_string).collect(),
            mended,
            failed,
        }
    }
}
