//! Which manifests are held for which repository, and how often each of them was pulled.
//!
//! The first is written once, when a manifest is kept. The second changes with every pull, so it is counted in
//! memory and written behind, in a table of its own: a pull never writes. What was not written down when the
//! power goes is lost; it is only a count.
//!
//! Both tables have the key `digest repository`: what is evicted is forgotten for all its repositories at once. The
//! other way round, [`named`] has them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Bytes, Records, named};
use crate::clock::Time;
use crate::oci::{self, Digest, Manifest, MediaType, Repository};

pub(super) const MANIFESTS: Bytes = TableDefinition::new("manifests");
pub(super) const PULLS: TableDefinition<'_, &str, (u32, u64)> = TableDefinition::new("pulls");

/// Most manifests whose pulls are counted between two times of writing them down; about 10 MiB. Pulls of others
/// are not counted until then.
const MAX_COUNTED: usize = 65_536;
/// Configurations that say which platform an image is for.
const CONFIGS: [&str; 2] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];

/// What is remembered of a manifest that is held for a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestRecord {
    /// The type it is served as.
    pub media_type: MediaType,
    /// Its own length in bytes.
    pub size: u64,
    /// The registry that gave it, or the URL of an alternate.
    pub source: String,
    /// When it was fetched for this repository, or first served to it.
    pub stored: Time,
    /// The manifests it lists, with their platforms where it says them.
    pub children: Vec<(Digest, Option<String>)>,
    /// The blobs it names, with their lengths in bytes.
    pub blobs: Vec<(Digest, u64)>,
    /// True if the first blob is an image's configuration.
    pub has_config: bool,
    /// True once its configuration was read.
    pub looked: bool,
    /// Its platform, as that says.
    pub platform: Option<String>,
    /// When the image was made, as that says.
    pub created: Option<Time>,
    /// The manifest it refers to.
    pub subject: Option<Digest>,
}

/// Pulls of one manifest by one repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulls {
    /// How many.
    pub count: u32,
    /// The last one.
    pub last: Time,
}

/// The pulls that are not written down yet.
#[derive(Debug, Default)]
pub(super) struct Counted(Mutex<HashMap<(Repository, Digest), Pulls>>);

#[derive(Serialize, Deserialize)]
struct StoredManifest<'a> {
    media_type: Cow<'a, str>,
    size: u64,
    source: String,
    stored: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    children: Vec<(Text, Option<String>)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    blobs: Vec<(Text, u64)>,
    #[serde(default)]
    has_config: bool,
    #[serde(default)]
    looked: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Text>,
}

/// A digest, written as its text and read without a copy of that: a list of everything reads a million of them.
struct Text(Digest);

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl de::Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a digest")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
        text.parse().map(Text).map_err(E::custom)
    }
}

impl ManifestRecord {
    /// The record of a manifest that came from `source`.
    pub fn of(manifest: &Manifest, source: String, now: Time) -> Self {
        let listed = match manifest.manifests.is_empty() {
            true => HashMap::new(),
            false => platforms(&manifest.bytes),
        };
        let children = manifest.manifests.iter().map(|child| child.digest);
        let config = manifest.blobs.first().map(|blob| blob.media_type.as_str());
        Self {
            media_type: manifest.media_type.clone(),
            size: manifest.bytes.len() as u64,
            source,
            stored: now,
            children: children
                .map(|child| (child, listed.get(&child).cloned()))
                .collect(),
            blobs: manifest
                .blobs
                .iter()
                .map(|blob| (blob.digest, blob.size))
                .collect(),
            has_config: config.is_some_and(|config| CONFIGS.contains(&config)),
            looked: false,
            platform: None,
            created: None,
            subject: manifest.subject,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let children = self.children.iter().cloned();
        let blobs = self.blobs.iter();
        let stored = StoredManifest {
            media_type: self.media_type.as_str().into(),
            size: self.size,
            source: self.source.clone(),
            stored: self.stored.as_millis(),
            children: children
                .map(|(child, platform)| (Text(child), platform))
                .collect(),
            blobs: blobs.map(|(blob, size)| (Text(*blob), *size)).collect(),
            has_config: self.has_config,
            looked: self.looked,
            platform: self.platform.clone(),
            created: self.created.map(Time::as_millis),
            subject: self.subject.map(Text),
        };
        serde_json::to_vec(&stored).expect("strings and numbers always serialise")
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let stored: StoredManifest<'_> = serde_json::from_slice(bytes).ok()?;
        let children = stored.children.into_iter();
        let blobs = stored.blobs.into_iter();
        Some(Self {
            media_type: MediaType::parse(&stored.media_type)?,
            size: stored.size,
            source: stored.source,
            stored: Time::from_millis(stored.stored),
            children: children.map(|(child, platform)| (child.0, platform)).collect(),
            blobs: blobs.map(|(blob, size)| (blob.0, size)).collect(),
            has_config: stored.has_config,
            looked: stored.looked,
            platform: stored.platform,
            created: stored.created.map(Time::from_millis),
            subject: stored.subject.map(|subject| subject.0),
        })
    }
}

impl Counted {
    fn lock(&self) -> MutexGuard<'_, HashMap<(Repository, Digest), Pulls>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Records {
    /// Counts a pull of a manifest by a repository. Writes nothing.
    pub fn pulled(&self, repository: &Repository, digest: &Digest, now: Time) {
        let mut counted = self.counted.lock();
        let key = (repository.clone(), *digest);
        if counted.len() >= MAX_COUNTED && !counted.contains_key(&key) {
            return;
        }
        let pulls = counted.entry(key).or_insert(Pulls { count: 0, last: now });
        pulls.count = pulls.count.saturating_add(1);
        pulls.last = now;
    }

    /// Takes the pulls that were counted since this was last asked, for [`Self::put_pulls`].
    pub fn take_pulls(&self) -> Vec<(Repository, Digest, Pulls)> {
        let counted = std::mem::take(&mut *self.counted.lock());
        let each = counted.into_iter();
        each.map(|((repository, digest), pulls)| (repository, digest, pulls))
            .collect()
    }

    /// Adds pulls to those that are written down.
    pub fn put_pulls(&self, pulls: &[(Repository, Digest, Pulls)]) {
        let each = pulls.iter();
        let each = each.map(|(repository, digest, pulls)| (key(repository, digest), *pulls));
        let each: Vec<(String, Pulls)> = each.collect();
        self.change(move |transaction| {
            let mut table = transaction.open_table(PULLS)?;
            for (key, new) in &each {
                let old = table.get(key.as_str())?.map_or(0, |old| old.value().0);
                let sum = (old.saturating_add(new.count), new.last.as_millis());
                table.insert(key.as_str(), sum)?;
            }
            Ok(())
        });
    }

    /// Remembers that a manifest is held for a repository; pulls of what was held before are forgotten.
    pub fn put_held(&self, repository: &Repository, digest: &Digest, record: &ManifestRecord) {
        let (key, bytes) = (key(repository, digest), record.encode());
        let named = named::key(repository, digest);
        self.change(move |transaction| {
            transaction
                .open_table(MANIFESTS)?
                .insert(key.as_str(), bytes.as_slice())?;
            transaction.open_table(PULLS)?.remove(key.as_str())?;
            named::add(transaction, &named)
        });
    }

    /// Remembers more of a manifest that is still held for a repository.
    pub fn amend_held(&self, repository: &Repository, digest: &Digest, record: &ManifestRecord) {
        let (key, bytes) = (key(repository, digest), record.encode());
        self.change(move |transaction| {
            let mut table = transaction.open_table(MANIFESTS)?;
            if table.get(key.as_str())?.is_some() {
                table.insert(key.as_str(), bytes.as_slice())?;
            }
            Ok(())
        });
    }

    /// Forgets for good that manifests are held for a repository each, with their pulls. Blocks while the writer does
    /// not keep up.
    pub fn remove_held(&self, manifests: &[(&Repository, &Digest)]) {
        {
            let mut counted = self.counted.lock();
            for (repository, digest) in manifests {
                // They would be written down as those of nothing.
                counted.remove(&((*repository).clone(), **digest));
            }
        }
        let keys = manifests.iter();
        let keys: Vec<String> = keys.map(|(repository, digest)| key(repository, digest)).collect();
        self.change_surely(move |transaction| {
            {
                let mut manifests = transaction.open_table(MANIFESTS)?;
                let mut pulls = transaction.open_table(PULLS)?;
                for key in &keys {
                    manifests.remove(key.as_str())?;
                    pulls.remove(key.as_str())?;
                }
            }
            named::remove(transaction, keys.iter().map(String::as_str))
        });
    }

    /// Forgets a manifest for all repositories: its file is gone.
    pub fn remove_manifest(&self, digest: &Digest) {
        let digest = *digest;
        self.change(move |transaction| forget(transaction, [&digest].into_iter()));
    }

    /// What is remembered of a manifest of a repository. Blocks.
    pub fn held(&self, repository: &Repository, digest: &Digest) -> Option<ManifestRecord> {
        ManifestRecord::decode(&self.read_bytes(MANIFESTS, &key(repository, digest))?)
    }

    /// What is remembered of a manifest, whichever repository it is held for. Blocks.
    pub fn held_anywhere(&self, digest: &Digest) -> Option<ManifestRecord> {
        let (from, to) = keys_of(digest);
        let found = self.read(|read| {
            let table = read.open_table(MANIFESTS)?;
            let first = table.range(from.as_str()..to.as_str())?.next().transpose()?;
            Ok(first.and_then(|(_, bytes)| ManifestRecord::decode(bytes.value())))
        });
        found.flatten()
    }

    /// Hands over every manifest that is remembered, with its pulls; sorted by digest, then repository. Blocks.
    pub fn each_held(&self, mut each: impl FnMut(Repository, Digest, ManifestRecord, Option<Pulls>)) {
        self.scan(|key, bytes, pulls| {
            if let Some((digest, repository)) = split(key)
                && let Some(record) = ManifestRecord::decode(bytes)
            {
                each(repository, digest, record, pulls());
            }
        });
    }

    /// Every key of the manifests, with its value and what reads its pulls.
    fn scan(&self, mut each: impl FnMut(&str, &[u8], &dyn Fn() -> Option<Pulls>)) {
        let scanned = self.read(|read| {
            let pulls = read.open_table(PULLS)?;
            for row in read.open_table(MANIFESTS)?.iter()? {
                let (key, bytes) = row?;
                let pulls = || Some(Pulls::read(pulls.get(key.value()).ok()??.value()));
                each(key.value(), bytes.value(), &pulls);
            }
            Ok(())
        });
        if scanned.is_none() {
            tracing::debug!("the records of manifests cannot be read");
        }
    }
}

/// The platforms of what an index lists, where they are a machine's.
fn platforms(index: &[u8]) -> HashMap<Digest, String> {
    let named = oci::children(index).into_iter().filter_map(|child| {
        let platform = child.platform.filter(|platform| !platform.is_unknown())?;
        Some((child.digest, platform.to_string()))
    });
    named.collect()
}

impl Pulls {
    pub(super) fn read((count, last): (u32, u64)) -> Self {
        Self {
            count,
            last: Time::from_millis(last),
        }
    }
}

pub(super) fn key(repository: &Repository, digest: &Digest) -> String {
    format!("{digest} {repository}")
}

fn split(key: &str) -> Option<(Digest, Repository)> {
    let (digest, repository) = key.split_once(' ')?;
    Some((digest.parse().ok()?, repository.parse().ok()?))
}

/// Where the keys of a manifest's records begin, and where they have ended: `!` comes after the space.
pub(super) fn keys_of(digest: &Digest) -> (String, String) {
    (format!("{digest} "), format!("{digest}!"))
}

/// Forgets manifests for all repositories.
pub(super) fn forget<'a>(
    transaction: &WriteTransaction,
    digests: impl Iterator<Item = &'a Digest>,
) -> Result<(), redb::Error> {
    let mut gone = Vec::new();
    {
        let mut manifests = transaction.open_table(MANIFESTS)?;
        let mut pulls = transaction.open_table(PULLS)?;
        for digest in digests {
            let (from, to) = keys_of(digest);
            let range = from.as_str()..to.as_str();
            manifests.retain_in(range.clone(), |key, _| {
                gone.push(key.to_owned());
                false
            })?;
            pulls.retain_in(range, |_, _| false)?;
        }
    }
    named::remove(transaction, gone.iter().map(String::as_str))
}

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(MANIFESTS)?;
    transaction.open_table(PULLS)?;
    Ok(())
}

#[cfg(test)]
mod tests;
