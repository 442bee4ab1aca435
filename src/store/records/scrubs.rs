//! How far the scrub of everything held has come.

use redb::{TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::{Bytes, Records};

const SCRUBS: Bytes = TableDefinition::new("scrubs");
/// The one row there is.
const KEY: &str = "scrub";

/// How far the scrub has come. Times are in milliseconds since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScrubRecord {
    /// When the pass began.
    pub began: u64,
    /// When the last pass ended; 0 if none has.
    pub ended: u64,
    /// `blobs` or `manifests`, and the digest that was looked at last, with a blank between; empty at the beginning.
    pub cursor: String,
    /// Weight that was looked at in this pass.
    pub weight: f64,
    /// How far it is ahead of time, and when that was so.
    pub owed: f64,
    /// See `owed`.
    pub at: u64,
    /// Damaged objects found in this pass.
    pub damaged: u64,
}

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(SCRUBS)?;
    Ok(())
}

impl Records {
    /// How far the scrub had come, as it was written down last. Blocks.
    pub fn scrub(&self) -> Option<ScrubRecord> {
        serde_json::from_slice(&self.read_bytes(SCRUBS, KEY)?).ok()
    }

    /// Writes down how far the scrub has come.
    pub fn put_scrub(&self, record: &ScrubRecord) {
        let bytes = serde_json::to_vec(record).expect("strings and numbers always serialise");
        self.put_bytes(SCRUBS, KEY.to_owned(), bytes);
    }
}
