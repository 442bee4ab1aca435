//! Pulls of manifests: counted as they are served, written down now and then.
//!
//! A pull only counts in memory. When the counts are written down it shows which manifests were served to a
//! repository that they were not fetched for, or whose record was lost: these are remembered then.

use super::Shelves;
use crate::clock::Time;
use crate::oci::{Digest, Manifest, Repository};
use crate::store::{Held, ManifestRecord};

/// Where a manifest came from whose record was lost.
const FORGOTTEN: &str = "unknown";

impl Shelves {
    /// Remembers where a manifest came from and what it names.
    pub(super) fn remember(
        &self,
        repository: &Repository,
        digest: &Digest,
        held: &Held,
        source: String,
        now: Time,
    ) {
        if let Ok(manifest) = Manifest::parse(held.bytes.clone(), held.manifest.as_ref()) {
            let record = ManifestRecord::of(&manifest, source, now);
            self.records.put_held(repository, digest, &record);
        }
    }

    /// Hands the pulls counted so far to the writer of records, for the janitor and the end. Blocks.
    pub(super) fn write_down_pulls(&self) {
        let pulls = self.records.take_pulls();
        if pulls.is_empty() {
            return;
        }
        // What was kept before it was pulled may still wait to be written.
        self.records.flush();
        for (repository, digest, pulls) in &pulls {
            if self.records.held(repository, digest).is_none() {
                self.learn(repository, digest, pulls.last);
            }
        }
        self.records.put_pulls(&pulls);
    }

    /// Remembers a manifest for a repository that it was served to: as another's, or as its bytes say.
    fn learn(&self, repository: &Repository, digest: &Digest, now: Time) {
        if let Some(record) = self.records.held_anywhere(digest) {
            let record = ManifestRecord {
                stored: now,
                ..record
            };
            self.records.put_held(repository, digest, &record);
        } else if let Some(held) = self.read_manifest(digest) {
            self.remember(repository, digest, &held, FORGOTTEN.to_owned(), now);
        }
    }
}
