//! What the disk is used for.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::files::{File, Files, Named, Once};
use super::repositories::{RepositoryRow, last_used, pulls, rows};
use crate::clock::Time;
use crate::policy::catalog::Catalog;
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

    fn of<'a>(files: impl Iterator<Item = &'a File>) -> Self {
        let mut portion = Self::default();
        files.for_each(|file| portion.add(file.size));
        portion
    }
}

/// What the disk is used for; with the `top` largest repositories, and what goes `next`.
pub fn usage(catalog: &Catalog, top: usize, next: &[Content], now: Time) -> Usage {
    let files = Files::of(catalog);
    let mut repositories = rows(catalog, &files);
    let repositories_total = repositories.len() as u64;
    repositories.sort_by(|one, two| (two.size, &one.repository).cmp(&(one.size, &two.repository)));
    repositories.truncate(top);
    let of = |is: &dyn Fn(&&File) -> bool| Portion::of(files.all.iter().filter(is));
    Usage {
        now: now.as_millis(),
        held: of(&|_| true),
        manifests: of(&|file| file.shelf == Shelf::Manifests),
        blobs: of(&|file| file.shelf == Shelf::Blobs),
        shared: of(&|file| file.repositories > 1),
        orphans: of(&|file| file.repositories == 0 && file.shelf == Shelf::Blobs),
        unnamed: of(&|file| file.repositories == 0 && file.shelf == Shelf::Manifests),
        upstreams: upstreams(&files),
        repositories,
        repositories_total,
        ages: ages(&files.all, now),
        next: next_rows(&files, next),
    }
}

fn upstreams(files: &Files<'_>) -> Vec<UpstreamRow> {
    let registry = |named: &Named<'_>| named.manifests[0].repository.registry.clone();
    let mut once = Once::default();
    let groups = files
        .repositories
        .chunk_by(|one, two| registry(one) == registry(two));
    let mut rows: Vec<UpstreamRow> = groups
        .map(|repositories| {
            once.begin();
            let places = repositories.iter().flat_map(|named| &named.files);
            let places = places.filter(|place| once.is_new(**place));
            UpstreamRow {
                registry: registry(&repositories[0]).to_string(),
                repositories: repositories.len() as u64,
                held: Portion::of(places.map(|place| &files.all[*place])),
                used: repositories
                    .iter()
                    .filter_map(|named| last_used(named.manifests))
                    .max(),
                pulls: repositories.iter().map(|named| pulls(named.manifests)).sum(),
            }
        })
        .collect();
    rows.sort_by(|one, two| (two.held.size, &one.registry).cmp(&(one.held.size, &two.registry)));
    rows
}

fn ages(files: &[File], now: Time) -> Vec<AgeRow> {
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

/// The rows of what goes next; what each repository names is looked through once for all of them.
fn next_rows(files: &Files<'_>, next: &[Content]) -> Vec<NextRow> {
    let mut of: HashMap<usize, Vec<String>> = HashMap::new();
    of.extend(
        next.iter()
            .filter_map(|content| Some((files.find(content)?, Vec::new()))),
    );
    for named in &files.repositories {
        for place in &named.files {
            if let Some(repositories) = of.get_mut(place) {
                repositories.push(named.manifests[0].repository.to_string());
            }
        }
    }
    let rows = next.iter().map(|content| {
        let place = files.find(content);
        let file = place.map(|place| &files.all[place]);
        NextRow {
            digest: content.digest.to_string(),
            manifest: content.shelf == Shelf::Manifests,
            size: file.map_or(0, |file| file.size),
            used: file.map_or(0, |file| file.used.as_millis()),
            repositories: place
                .and_then(|place| of.get(&place))
                .cloned()
                .unwrap_or_default(),
        }
    });
    rows.collect()
}
