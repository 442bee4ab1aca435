//! What the disk is used for.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::reach::{Reach, Sizes, blobs_held};
use super::repositories::{Naming, RepositoryRow, rows};
use crate::clock::Time;
use crate::oci::{Digest, Registry};
use crate::policy::catalog::{Catalog, HeldManifest};
use crate::policy::eviction::{Content, Shelf};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The ages told: what was used within so many days, and not within fewer.
const AGES: [u32; 4] = [1, 7, 30, 90];

/// Some of what is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Portion {
    /// Files.
    pub count: u64,
    /// Bytes.
    pub size: u64,
}

/// What one upstream's repositories use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamRow {
    /// Its registry's name.
    pub registry: String,
    /// Repositories held.
    pub repositories: u64,
    /// What they name, each file once.
    pub held: Portion,
    /// When a manifest was pulled last.
    pub used: Option<u64>,
    /// How often manifests were pulled.
    pub pulls: u64,
}

/// What was last used some time ago; or stored, if never used since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgeRow {
    /// Within so many days, and not within those of the row before; `None` for what is older than all.
    pub days: Option<u32>,
    /// How much that is.
    pub held: Portion,
}

/// Something that goes when room is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextRow {
    /// Its digest.
    pub digest: String,
    /// True for a manifest.
    pub manifest: bool,
    /// Bytes.
    pub size: u64,
    /// When it was used last, or stored.
    pub used: u64,
    /// The repositories that name it.
    pub repositories: Vec<String>,
}

/// What the disk is used for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The moment, in milliseconds since the Unix epoch, as all times here are.
    pub now: u64,
    /// Everything on disk.
    pub held: Portion,
    /// Of that, manifests.
    pub manifests: Portion,
    /// Of that, blobs.
    pub blobs: Portion,
    /// Of that, what more than one repository names. It counts once in what is held, and for each of them below.
    pub shared: Portion,
    /// Blobs that no manifest held names.
    pub orphans: Portion,
    /// Manifests that no repository is known for.
    pub unnamed: Portion,
    /// By upstream, the largest first.
    pub upstreams: Vec<UpstreamRow>,
    /// The repositories that use most, the largest first.
    pub repositories: Vec<RepositoryRow>,
    /// How many there are in all.
    pub repositories_total: u64,
    /// By age of the last use.
    pub ages: Vec<AgeRow>,
    /// What goes next when room is needed, in that order.
    pub next: Vec<NextRow>,
}

impl Portion {
    fn add(&mut self, size: u64) {
        self.count += 1;
        self.size += size;
    }

    fn of(sizes: impl Iterator<Item = u64>) -> Self {
        let mut portion = Self::default();
        sizes.for_each(|size| portion.add(size));
        portion
    }
}

/// A file, and when it was used last.
struct File {
    digest: Digest,
    size: u64,
    used: Time,
}

/// What the disk is used for; with the `top` largest repositories, and what goes `next`.
pub fn usage(catalog: &Catalog, top: usize, next: &[Content], now: Time) -> Usage {
    let (blobs, naming) = (blobs_held(catalog), Naming::of(catalog));
    let (manifests, blob_files) = (manifest_files(catalog), blob_files(catalog));
    let files = || manifests.iter().chain(&blob_files);
    let mut repositories = rows(catalog);
    let repositories_total = repositories.len() as u64;
    repositories.sort_by(|one, two| (two.size, &one.repository).cmp(&(one.size, &two.repository)));
    repositories.truncate(top);
    let shared = files().filter(|file| naming.count(&file.digest) > 1);
    let orphans = blob_files.iter().filter(|file| naming.count(&file.digest) == 0);
    Usage {
        now: now.as_millis(),
        held: Portion::of(files().map(|file| file.size)),
        manifests: Portion::of(manifests.iter().map(|file| file.size)),
        blobs: Portion::of(blob_files.iter().map(|file| file.size)),
        shared: Portion::of(shared.map(|file| file.size)),
        orphans: Portion::of(orphans.map(|file| file.size)),
        unnamed: Portion::of(catalog.unnamed.iter().map(|held| held.size)),
        upstreams: upstreams(catalog, &blobs),
        repositories,
        repositories_total,
        ages: ages(files(), now),
        next: next
            .iter()
            .map(|content| next_row(catalog, content, files()))
            .collect(),
    }
}

/// Every manifest's file, once; used when any of its repositories used it.
fn manifest_files(catalog: &Catalog) -> Vec<File> {
    let mut files: HashMap<Digest, File> = HashMap::new();
    for held in &catalog.manifests {
        let used = held.used.unwrap_or(held.stored);
        let file = files.entry(held.digest).or_insert(File {
            digest: held.digest,
            size: held.size,
            used,
        });
        file.used = file.used.max(used);
    }
    let unnamed = catalog.unnamed.iter().map(|held| File {
        digest: held.digest,
        size: held.size,
        used: held.used.unwrap_or(held.stored),
    });
    files.into_values().chain(unnamed).collect()
}

fn blob_files(catalog: &Catalog) -> Vec<File> {
    let files = catalog.blobs.iter().map(|blob| File {
        digest: blob.digest,
        size: blob.size,
        used: blob.used.unwrap_or(blob.stored),
    });
    files.collect()
}

fn upstreams(catalog: &Catalog, blobs: &Sizes) -> Vec<UpstreamRow> {
    let registry = |held: &HeldManifest| held.repository.registry.clone();
    let groups = catalog
        .manifests
        .chunk_by(|one, two| one.repository.registry == two.repository.registry);
    let mut rows: Vec<UpstreamRow> = groups
        .map(|manifests| upstream(&registry(&manifests[0]), manifests, blobs))
        .collect();
    rows.sort_by(|one, two| (two.held.size, &one.registry).cmp(&(one.held.size, &two.registry)));
    rows
}

fn upstream(registry: &Registry, manifests: &[HeldManifest], blobs: &Sizes) -> UpstreamRow {
    let reach = Reach::of_all(manifests);
    let named = reach.blobs.keys().filter_map(|blob| blobs.get(blob));
    let repositories: HashSet<&str> = manifests
        .iter()
        .map(|held| held.repository.path.as_str())
        .collect();
    UpstreamRow {
        registry: registry.to_string(),
        repositories: repositories.len() as u64,
        held: Portion::of(reach.manifests.values().chain(named).copied()),
        used: manifests
            .iter()
            .filter_map(|held| held.used)
            .map(Time::as_millis)
            .max(),
        pulls: manifests.iter().map(|held| u64::from(held.pulls)).sum(),
    }
}

fn ages<'a>(files: impl Iterator<Item = &'a File>, now: Time) -> Vec<AgeRow> {
    let ages = AGES.map(Some).into_iter().chain([None]);
    let mut rows: Vec<AgeRow> = ages
        .map(|days| AgeRow {
            days,
            held: Portion::default(),
        })
        .collect();
    for file in files {
        let age = now.since(file.used);
        let row = rows
            .iter_mut()
            .find(|row| row.days.is_none_or(|days| age <= DAY * days));
        if let Some(row) = row {
            row.held.add(file.size);
        }
    }
    rows
}

fn next_row<'a>(catalog: &Catalog, content: &Content, mut files: impl Iterator<Item = &'a File>) -> NextRow {
    let file = files.find(|file| file.digest == content.digest);
    let names = |held: &&HeldManifest| {
        held.digest == content.digest || held.blobs.iter().any(|(blob, _)| *blob == content.digest)
    };
    let mut repositories: Vec<String> = catalog
        .manifests
        .iter()
        .filter(names)
        .map(|held| held.repository.to_string())
        .collect();
    repositories.dedup();
    NextRow {
        digest: content.digest.to_string(),
        manifest: content.shelf == Shelf::Manifests,
        size: file.map_or(0, |file| file.size),
        used: file.map_or(0, |file| file.used.as_millis()),
        repositories,
    }
}
