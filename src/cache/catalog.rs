//! Everything held at one moment, or everything of one repository, from the records and the disk.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::{Cache, NotHeld, Shelves};
use crate::clock::Time;
use crate::oci::{Digest, Platform, Repository, Tag};
use crate::policy::catalog::{Catalog, HeldBlob, HeldManifest, HeldTag};
use crate::policy::eviction::{Content, Facts, Shelf};
use crate::policy::freshness::TagRecord;
use crate::policy::listing::{Usage, near, usage};
use crate::store::{ManifestRecord, Pulls, blocking};

/// Most configurations read at a time; what they say is remembered.
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

    /// As [`Self::survey`], through a catalog of what is held of one repository: its tags, its manifests, and the blobs
    /// they name. Nothing of others is read.
    ///
    /// # Errors
    /// [`NotHeld`], with names that look like it, if nothing is known of the repository.
    pub async fn survey_of<T: Send + 'static>(
        &self,
        repository: &Repository,
        look: impl FnOnce(&Catalog, Time) -> T + Send + 'static,
    ) -> io::Result<Result<T, NotHeld>> {
        let turn = self.turn().await?;
        let (shelves, now, repository) = (self.shelves.clone(), self.clock.now(), repository.clone());
        blocking(move || {
            let catalog = shelves.catalog_of(&repository);
            let looked = match catalog.manifests.is_empty() && catalog.tags.is_empty() {
                true => Err(shelves.no_repository(&repository)),
                false => Ok(look(&catalog, now)),
            };
            drop(turn);
            Ok(looked)
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
        let held = self.disk.contents().into_iter();
        let (manifests, blobs): (Vec<_>, Vec<_>) =
            held.partition(|(content, _)| content.shelf == Shelf::Manifests);
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
            manifests: self.with_configs(rows),
        };
        let manifests = &mut catalog.manifests;
        manifests.sort_unstable_by(|a, b| (&a.repository, &a.digest).cmp(&(&b.repository, &b.digest)));
        Ok(catalog)
    }

    /// Everything held of one repository now: its manifests, its tags, and the blobs they name. Blocks.
    pub(super) fn catalog_of(self: &Arc<Self>, repository: &Repository) -> Catalog {
        self.write_down_pulls();
        self.records.flush();
        let mut rows: Vec<Row> = Vec::new();
        self.records.each_held_for(repository, |digest, record, pulls| {
            let shelf = Shelf::Manifests;
            if self.disk.facts(&Content { shelf, digest }).is_some() {
                rows.push((repository.clone(), digest, record, pulls));
            }
        });
        let blobs = rows.iter().flat_map(|(_, _, record, _)| &record.blobs);
        let blobs: BTreeSet<Digest> = blobs.map(|(blob, _)| *blob).collect();
        let blobs = blobs.into_iter().filter_map(|digest| {
            let shelf = Shelf::Blobs;
            let content = Content { shelf, digest };
            Some((content, self.disk.facts(&content)?))
        });
        let mut tags = Vec::new();
        self.records.each_tag_of(repository, |tag, record| {
            tags.push(held_tag(repository.clone(), tag, &record));
        });
        Catalog {
            unnamed: Vec::new(),
            blobs: blobs.map(|held| held_blob(&held)).collect(),
            tags,
            manifests: self.with_configs(rows),
        }
    }

    /// Nothing is held of a repository; those of which something is that look like it. Blocks.
    pub(super) fn no_repository(&self, repository: &Repository) -> NotHeld {
        let names = self.records.repositories_of(|digest| {
            let (shelf, digest) = (Shelf::Manifests, *digest);
            self.disk.facts(&Content { shelf, digest }).is_some()
        });
        let near = near(&repository.to_string(), names.iter().map(String::as_str));
        NotHeld::Repository(near.into_iter().map(str::to_owned).collect())
    }

    fn held_tags(&self) -> Vec<HeldTag> {
        let mut tags = Vec::new();
        self.records.each_tag(|repository, tag, record| {
            tags.push(held_tag(repository, tag, &record));
        });
        tags.sort_unstable_by(|a, b| (&a.repository, &a.tag).cmp(&(&b.repository, &b.tag)));
        tags
    }

    /// Finds the platforms, and when images were made: an index says the platforms of what it lists, a configuration both.
    fn with_configs(&self, rows: Vec<Row>) -> Vec<HeldManifest> {
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
            if record.has_config && !record.looked && reads < MAX_CONFIGS && self.look_into(&mut record) {
                reads += 1;
                self.records.amend_held(&repository, &digest, &record);
            }
            let platform = listed.get(&digest).or(record.platform.as_ref()).cloned();
            found.push(held_manifest(repository, digest, record, pulls, platform));
        }
        found
    }

    /// Remembers what the configuration of an image says, if it is held.
    fn look_into(&self, record: &mut ManifestRecord) -> bool {
        let Some(config) = self.read_config(record) else {
            return false;
        };
        record.looked = true;
        record.created = Platform::made(&config).and_then(|made| Time::parse(&made));
        let platform = Platform::of_config(&config).map(|platform| platform.to_string());
        record.platform = platform.or(record.platform.take());
        true
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
        created: record.created,
        stored: record.stored,
        used: pulls.map(|pulls| pulls.last),
        pulls: pulls.map_or(0, |pulls| pulls.count),
        source: record.source,
        children: record.children.into_iter().map(|(child, _)| child).collect(),
        blobs: record.blobs,
        subject: record.subject,
    }
}

fn held_tag(repository: Repository, tag: Tag, record: &TagRecord) -> HeldTag {
    HeldTag {
        repository,
        tag,
        digest: record.descriptor.digest,
        validated: record.validated,
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
    held.sort_unstable_by_key(|blob| blob.digest);
    held
}
