//! The downloads under way, for the operator.

use serde::{Deserialize, Serialize};

use super::fill::Phase;
use super::{Cache, lock};

/// The downloads under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FillsStatus {
    /// How many there are.
    pub count: u64,
    /// Those that most wait for, as many as were asked for.
    pub fills: Vec<FillStatus>,
}

/// One download.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FillStatus {
    /// The repository that it is fetched from, with its registry.
    pub repository: String,
    /// The digest of what is fetched.
    pub digest: String,
    /// Bytes that readers may have.
    pub done: u64,
    /// Bytes of the whole, once the upstream has said it.
    pub total: Option<u64>,
    /// Requests that are answered from it.
    pub readers: u64,
}

impl Cache {
    /// The downloads under way, and of them the `most` that have most readers.
    pub fn fills(&self, most: usize) -> FillsStatus {
        // Names are written after the lock is given back: requests wait for it.
        let mut flying: Vec<_> = lock(&self.flights)
            .flying()
            .map(|(readers, fill)| (readers, fill.clone()))
            .collect();
        flying.retain(|(_, fill)| matches!(fill.snapshot().phase, Phase::Running));
        flying.sort_by_key(|(readers, fill)| (std::cmp::Reverse(*readers), fill.digest));
        let count = flying.len() as u64;
        let fills = flying.into_iter().take(most).map(|(readers, fill)| {
            let progress = fill.snapshot();
            FillStatus {
                repository: fill.repository.to_string(),
                digest: fill.digest.to_string(),
                done: progress.visible,
                total: progress.total,
                readers: readers as u64,
            }
        });
        FillsStatus {
            count,
            fills: fills.collect(),
        }
    }
}
