//! How purges and holds are told: what `/api/v1/` answers and the commands draw.

use serde::{Deserialize, Serialize};

use super::Purged;
use crate::clock::Time;
use crate::policy::holds::Holds;
use crate::policy::retention::{Going, Item, Plan, Staying, Why};

/// Most rows of each list; more are only counted. 100,000 of them have about 20 MB.
const MOST_ROWS: usize = 100_000;

/// What a purge removes, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeReport {
    /// The moment it was planned, in milliseconds since the Unix epoch, as all times here are.
    pub now: u64,
    /// True if nothing was removed.
    pub dry_run: bool,
    /// The name of the plan: it is the same for as long as the same would go.
    pub fingerprint: String,
    /// Repositories that the filters match.
    pub repositories: usize,
    /// How many tags, manifests and blobs go.
    pub tags: usize,
    /// Manifests that go.
    pub manifests: usize,
    /// Blobs that go.
    pub blobs: usize,
    /// Copies that go and that nobody is served from: damaged, unfinished, or only in memory.
    #[serde(default)]
    pub leftovers: usize,
    /// Bytes won.
    pub bytes: u64,
    /// What goes; at most 100,000 of it.
    pub goes: Vec<GoesRow>,
    /// How much stays of what was looked at.
    pub kept: usize,
    /// What stays of it and why; at most 100,000 of it.
    pub stays: Vec<StaysRow>,
    /// Tags and files that could not be removed; the log says why.
    pub failed: usize,
    /// How much stayed that was to go, because it came to be wanted after the plan was made.
    #[serde(default)]
    pub spared_count: usize,
    /// What that was and why; at most 100,000 of it.
    #[serde(default)]
    pub spared: Vec<StaysRow>,
    /// How much it had not come to when it was stopped.
    #[serde(default)]
    pub left: usize,
}

/// Something that goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoesRow {
    /// `tag`, `manifest` or `blob`; of what else is left of any: `damaged`, `partial` or `memory`.
    pub kind: String,
    /// Its full name.
    pub name: String,
    /// Bytes won.
    pub bytes: u64,
}

/// Something that stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaysRow {
    /// `tag`, `manifest` or `blob`; of what else is left of any: `damaged`, `partial` or `memory`.
    pub kind: String,
    /// Its full name.
    pub name: String,
    /// `locked`, `pinned`, `newest`, `used`, `tagged`, `listed`, `refers`, `shared` or `filling`; of what was
    /// spared also `moved` or `named`.
    pub reason: String,
    /// The reason in words.
    pub detail: String,
    /// When it was last used, if that is the reason.
    pub used: Option<u64>,
}

/// What the operator holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldsReport {
    /// The moment.
    pub now: u64,
    /// Locks and pins, by name.
    pub holds: Vec<HoldRow>,
    /// What came of each reference that was to be held or released, in the order in which they were given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ChangeRow>,
}

/// What came of a reference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeRow {
    /// Its full name.
    pub name: String,
    /// Why nothing has changed for it; `None` if it was done.
    pub error: Option<String>,
}

/// A lock or a pin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldRow {
    /// `locked` or `pinned`.
    pub kind: String,
    /// What is held.
    pub name: String,
    /// The manifest that is kept.
    pub digest: String,
    /// Since when.
    pub since: u64,
}

impl PurgeReport {
    /// What a plan would remove.
    pub fn of_plan(plan: &Plan, now: Time) -> Self {
        let count = |kind: &str| plan.goes.iter().filter(|going| going.item.kind() == kind).count();
        Self {
            now: now.as_millis(),
            dry_run: true,
            fingerprint: plan.fingerprint(),
            repositories: plan.repositories,
            tags: count("tag"),
            manifests: count("manifest"),
            blobs: count("blob"),
            leftovers: plan
                .goes
                .iter()
                .filter(|going| matches!(going.item, Item::Left(..)))
                .count(),
            bytes: plan.bytes(),
            goes: plan.goes.iter().take(MOST_ROWS).map(GoesRow::of).collect(),
            kept: plan.stays.len(),
            stays: plan.stays.iter().take(MOST_ROWS).map(StaysRow::of).collect(),
            failed: 0,
            spared_count: 0,
            spared: Vec::new(),
            left: 0,
        }
    }

    /// What was removed.
    pub fn of_purged(purged: &Purged, now: Time) -> Self {
        Self {
            dry_run: false,
            fingerprint: purged.plan.fingerprint(),
            failed: purged.failed,
            spared_count: purged.spared.len(),
            spared: purged.spared.iter().take(MOST_ROWS).map(StaysRow::of).collect(),
            left: purged.left.len(),
            ..Self::of_plan(&purged.removed(), now)
        }
    }
}

impl GoesRow {
    fn of(going: &Going) -> Self {
        Self {
            kind: going.item.kind().to_owned(),
            name: going.item.to_string(),
            bytes: going.won.unwrap_or(0),
        }
    }
}

impl StaysRow {
    fn of(staying: &Staying) -> Self {
        let used = match staying.why {
            Why::Used(time) => Some(time.as_millis()),
            _ => None,
        };
        Self {
            kind: staying.item.kind().to_owned(),
            name: staying.item.to_string(),
            reason: staying.why.word().to_owned(),
            detail: staying.why.to_string(),
            used,
        }
    }
}

impl HoldsReport {
    /// All of them.
    pub fn of(holds: &Holds, now: Time) -> Self {
        let rows = holds.iter().map(|(name, kind, hold)| HoldRow {
            kind: kind.to_string(),
            name: name.to_string(),
            digest: hold.descriptor.digest.to_string(),
            since: hold.since.as_millis(),
        });
        Self {
            now: now.as_millis(),
            holds: rows.collect(),
            changes: Vec::new(),
        }
    }
}
