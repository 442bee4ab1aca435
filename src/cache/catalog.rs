//! Everything held at one moment, from the records and the disk.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::{Cache, Shelves};
use crate::clock::Time;
use crate::oci::{Digest, Platform, Repository};
use crate::policy::catalog::{Catalog, HeldBlob, HeldManifest, HeldTag};
use crate::policy::eviction::{Content, Facts, Shelf};
use crate::policy::listing::{Usage, usage};
use crate::store::{ManifestRecord, Pulls, blocking};

/// Most configurations read to find out platforms, each time; what they say is remembered.
const MAX_CONFIGS: usize = 1000;
/// Longest configuration read, in bytes: those of images have a few thousand.
const MAX_CONFIG: u64 = 1 << 20;

impl Cache {
    /// Everything held now. Waits until what was pulled so far is written down.
    ///
    /// Takes time and memory in proportion to what is held: about 1 KiB for a manifest of ten layers, 150 bytes
    /// for a blob. Cancel-safe.
    ///
    /// # Errors
    /// If the disk cannot be listed.
    pub async fn catalog(&self) -> io::Result<Catalog> {
        let shelves = self.shelves.clone();
        blocking(move || shelves.catalog()).await
    }
}

impl Cache {
    /// Looks through a catalog of this moment, off the reactor. One at a time does: others wait.
    ///
    /// Cancel-safe: nothing changes.
    ///
    /// # Errors
    /// If the disk cannot be listed.
    pub async fn survey<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Catalog, Time) -> T + Send + 'static,
    ) -> io::Result<T> {
        let turn = self.turn().await?;
        let (shelves, now) = (self.shelves.clone(), self.clock.now());
        blocking(move || {
            let looked = shelves.catalog().map(|catalog| look(&catalog, now));
            drop(turn);
            looked
        })
        .await
    }

    /// Waits for the turn to look through everything: it takes memory, and a thread. Cancel-safe.
    pub(super) async fn turn(&self) -> io::Result<OwnedSemaphorePermit> {
        let turn = self.surveys.clone().acquire_owned().await;
        turn.map_err(io::Error::other)
    }

    /// What the disk is used for, with the `top` largest repositories, and the `most` that would go first.
    ///
    /// # Errors
    /// If the disk cannot be listed.
    pub async fn usage(&self, top: usize, most: usize) -> io::Result<Usage> {
        let next = self.shelves.disk.next_to_go(most);
        self.survey(move |catalog, now| usage(catalog, top, &next, now))
            .await
    }
}

/// A row of the records, before its platform is known.
type Row = (Repository, Digest, ManifestRecord, Option<Pulls>);

impl Shelves {
    /// Everything held now. Blocks.
    pub(super) fn catalog(self: &Arc<Self>) -> io::Result<Catalog> {
        self.write_down_pulls();
        self.records.flush();
        let (manifests, blobs): (Vec<_>, Vec<_>) = self
            .disk
            .contents()
            .into_iter()
            .partition(|(content, _)| content.shelf == Shelf::Manifests);
        let held: HashSet<Digest> = manifests.iter().map(|(content, _)| content.digest).collect();
        let mut rows: Vec<Row> = Vec::new();
        self.records.each_held(|repository, digest, record, pulls| {
            if held.contains(&digest) {
                rows.push((repository, digest, record, pulls));
            }
        });
        let named: HashSet<Digest> = rows.iter().map(|row| row.1).collect();
        let unnamed = manifests
            .iter()
            .filter(|(content, _)| !named.contains(&content.digest));
        let mut catalog = Catalog {
            unnamed: sorted(unnamed.map(held_blob)),
            blobs: sorted(blobs.iter().map(held_blob)),
            tags: self.held_tags(),
            manifests: self.with_platforms(rows),
        };
        let key = |held: &HeldManifest| (held.repository.clone(), held.digest);
        catalog.manifests.sort_by_cached_key(key);
        Ok(catalog)
    }

    fn held_tags(&self) -> Vec<HeldTag> {
        let mut tags = Vec::new();
        self.records.each_tag(|repository, tag, record| {
            tags.push(HeldTag {
                repository,
                tag,
                digest: record.descriptor.digest,
                validated: record.validated,
            });
        });
        tags.sort_by(|a, b| (&a.repository, &a.tag).cmp(&(&b.repository, &b.tag)));
        tags
    }

    /// Finds the platforms: an index says those of what it lists, a configuration its image's.
    fn with_platforms(&self, rows: Vec<Row>) -> Vec<HeldManifest> {
        let mut listed = HashMap::new();
        for (_, _, record, _) in &rows {
            for (child, platform) in &record.children {
                if let Some(platform) = platform {
                    listed.insert(*child, platform.clone());
                }
            }
        }
        let mut reads = 0;
        let mut found = Vec::with_capacity(rows.len());
        for (repository, digest, mut record, pulls) in rows {
            let mut platform = listed.get(&digest).or(record.platform.as_ref()).cloned();
            if platform.is_none() && record.has_config && reads < MAX_CONFIGS {
                let config = self.read_config(&record);
                reads += usize::from(config.is_some());
                platform = config
                    .and_then(|config| Platform::of_config(&config))
                    .map(|platform| platform.to_string());
                if platform.is_some() {
                    record.platform.clone_from(&platform);
                    self.records.amend_held(&repository, &digest, &record);
                }
            }
            found.push(held_manifest(repository, digest, record, pulls, platform));
        }
        found
    }

    fn read_config(&self, record: &ManifestRecord) -> Option<Vec<u8>> {
        let (config, _) = record.blobs.first()?;
        let stored = self.disk.get(Shelf::Blobs, config)?;
        if stored.size > MAX_CONFIG {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(stored.size).ok()?];
        stored.file.read_exact_at(&mut bytes, 0).ok()?;
        Some(bytes)
    }
}

fn held_manifest(
    repository: Repository,
    digest: Digest,
    record: ManifestRecord,
    pulls: Option<Pulls>,
    platform: Option<String>,
) -> HeldManifest {
    HeldManifest {
        repository,
        digest,
        media_type: record.media_type,
        size: record.size,
        platform,
        stored: record.stored,
        used: pulls.map(|pulls| pulls.last),
        pulls: pulls.map_or(0, |pulls| pulls.count),
        source: record.source,
        children: record.children.into_iter().map(|(child, _)| child).collect(),
        blobs: record.blobs,
        subject: record.subject,
    }
}

fn held_blob((content, facts): &(Content, Facts)) -> HeldBlob {
    HeldBlob {
        digest: content.digest,
        size: facts.size,
        stored: facts.stored,
        used: facts.used,
        pulls: facts.pulls,
    }
}

fn sorted(held: impl Iterator<Item = HeldBlob>) -> Vec<HeldBlob> {
    let mut held: Vec<HeldBlob> = held.collect();
    held.sort_by_key(|blob| blob.digest);
    held
}
