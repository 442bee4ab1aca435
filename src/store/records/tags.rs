//! What each tag pointed at when its upstream was last asked.

use std::sync::atomic::Ordering;

use moka::ops::compute::{CompResult, Op};
use redb::{ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::{Bytes, Records};
use crate::clock::Time;
use crate::oci::{Descriptor, Digest, MediaType, Repository, Tag};
use crate::policy::freshness::TagRecord;

const TAGS: Bytes = TableDefinition::new("tags");

/// Most tags that wait to be forgotten, some 10 MB: as many come in hours only if the disk hangs all the time.
const MAX_REMOVALS: usize = 65_536;

#[derive(Serialize, Deserialize)]
struct StoredTag {
    digest: String,
    media_type: String,
    size: u64,
    validated: u64,
}

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(TAGS)?;
    Ok(())
}

/// Forgets tags as part of a transaction, by their keys.
pub(super) fn remove(transaction: &WriteTransaction, tags: &[(String, u64)]) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(TAGS)?;
    for (key, _) in tags {
        table.remove(key.as_str())?;
    }
    Ok(())
}

impl Records {
    /// What a tag pointed at, as far as memory knows; `None` if the store must be asked.
    pub fn hot_tag(&self, repository: &Repository, tag: &Tag) -> Option<Option<TagRecord>> {
        self.hot.get(&tag_key(repository, tag))
    }

    /// What a tag pointed at. Blocks, unless [`Self::hot_tag`] knows.
    pub fn tag(&self, repository: &Repository, tag: &Tag) -> Option<TagRecord> {
        let key = tag_key(repository, tag);
        if let Some(known) = self.hot.get(&key) {
            return known;
        }
        if self.beside.removals.has(&key) {
            return None;
        }
        // What cannot be read now is not remembered as missing: the disk may heal.
        let record = self.look_up(TAGS, &key)?.and_then(|bytes| decode_tag(&bytes));
        // What was remembered or forgotten since it was read is newer.
        self.hot.entry(key).or_insert(record).into_value()
    }

    /// Remembers what a tag points at.
    pub fn put_tag(&self, repository: &Repository, tag: &Tag, record: TagRecord) {
        let key = tag_key(repository, tag);
        let stored = StoredTag {
            digest: record.descriptor.digest.to_string(),
            media_type: record.descriptor.media_type.to_string(),
            size: record.descriptor.size,
            validated: record.validated.as_millis(),
        };
        let bytes = serde_json::to_vec(&stored).expect("strings and numbers always serialise");
        self.hot.insert(key.clone(), Some(record));
        // A removal that waits is older than this. If this is dropped, what is on disk is still wrong.
        let removals = &self.beside.removals;
        removals.give_way(&key, || self.put_bytes(TAGS, key.clone(), bytes));
    }

    /// Forgets a tag. Never waits, and is not lost: however many changes wait, it is written with the next of them,
    /// and until then the tag is not known here.
    pub fn remove_tag(&self, repository: &Repository, tag: &Tag) {
        let key = tag_key(repository, tag);
        self.hot.insert(key.clone(), None);
        let number = self.removal.fetch_add(1, Ordering::Relaxed);
        if self.beside.removals.put(&key, number, MAX_REMOVALS) {
            self.wake();
        } else {
            tracing::warn!(%repository, %tag, "too many tags wait to be forgotten: after a restart this one may be known");
        }
    }

    /// Forgets tags for good, unless they point elsewhere than at their digest by now: then says where, and all of
    /// them that do stay. Blocks while the writer does not keep up.
    pub fn remove_tags(&self, tags: &[(&Repository, &Tag, &Digest)]) -> Vec<Option<Digest>> {
        let mut forgotten = Vec::with_capacity(tags.len());
        let moved = tags.iter().map(|(repository, tag, digest)| {
            let moved = self.forget_hot(repository, tag, digest);
            if moved.is_none() {
                forgotten.push((tag_key(repository, tag), **digest));
            }
            moved
        });
        let moved = moved.collect();
        self.change_surely(move |transaction| {
            let mut table = transaction.open_table(TAGS)?;
            for (key, digest) in &forgotten {
                // What was remembered meanwhile may stand here already.
                let stored = table.get(key.as_str())?.and_then(|row| decode_tag(row.value()));
                if stored.is_none_or(|record| record.descriptor.digest == *digest) {
                    table.remove(key.as_str())?;
                }
            }
            Ok(())
        });
        moved
    }

    /// Forgets a tag in memory, unless it points elsewhere: then says where.
    fn forget_hot(&self, repository: &Repository, tag: &Tag, digest: &Digest) -> Option<Digest> {
        // Known from here on, if it is at all.
        let _ = self.tag(repository, tag);
        let key = tag_key(repository, tag);
        let forgotten = self.hot.entry(key).and_compute_with(|entry| {
            let record = entry.and_then(moka::Entry::into_value);
            match record {
                Some(record) if record.descriptor.digest != *digest => Op::Nop,
                Some(_) | None => Op::Put(None),
            }
        });
        match forgotten {
            CompResult::Unchanged(entry) => entry.into_value().map(|record| record.descriptor.digest),
            _ => None,
        }
    }

    /// For each of these tags, true if what is on disk says that it points at its digest, or cannot be read. Blocks.
    pub fn have_written(&self, tags: &[(&Repository, &Tag, &Digest)]) -> Vec<bool> {
        let written = self.read(|read| {
            let table = read.open_table(TAGS)?;
            let points = |(repository, tag, digest): &(&Repository, &Tag, &Digest)| {
                let row = table.get(tag_key(repository, tag).as_str()).ok()?;
                let record = row.and_then(|row| decode_tag(row.value()));
                Some(record.is_some_and(|record| record.descriptor.digest == **digest))
            };
            Ok(tags.iter().map(|tag| points(tag).unwrap_or(true)).collect())
        });
        written.unwrap_or_else(|| vec![true; tags.len()])
    }

    /// Some tags of a repository whose records are kept, sorted, at most `most`. Blocks.
    pub fn tags_of(&self, repository: &Repository, most: usize) -> Vec<String> {
        let prefix = format!("{repository}:");
        let mut tags = Vec::new();
        self.scan_tags(&prefix, most, |key, _| tags.push(key[prefix.len()..].to_owned()));
        tags
    }

    /// Hands over every tag whose record is kept; sorted by repository, then tag. Blocks.
    pub fn each_tag(&self, mut each: impl FnMut(Repository, Tag, TagRecord)) {
        self.scan_tags("", usize::MAX, |key, bytes| {
            let name = key.rsplit_once(':');
            let name = name.and_then(|(at, tag)| Some((at.parse().ok()?, tag.parse().ok()?)));
            if let (Some((repository, tag)), Some(record)) = (name, decode_tag(bytes)) {
                each(repository, tag, record);
            }
        });
    }

    /// As [`Self::each_tag`], for one repository; reads no others. Blocks.
    pub fn each_tag_of(&self, repository: &Repository, mut each: impl FnMut(Tag, TagRecord)) {
        let prefix = format!("{repository}:");
        self.scan_tags(&prefix, usize::MAX, |key, bytes| {
            if let Ok(tag) = key[prefix.len()..].parse()
                && let Some(record) = decode_tag(bytes)
            {
                each(tag, record);
            }
        });
    }

    /// Every key of the tags that begins so, with its value; at most `most`.
    fn scan_tags(&self, prefix: &str, most: usize, mut each: impl FnMut(&str, &[u8])) {
        let scanned = self.read(|read| {
            let table = read.open_table(TAGS)?;
            for row in table.range(prefix..)?.take(most) {
                let (key, bytes) = row?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                each(key.value(), bytes.value());
            }
            Ok(())
        });
        if scanned.is_none() {
            tracing::debug!("the records of tags cannot be read");
        }
    }
}

fn tag_key(repository: &Repository, tag: &Tag) -> String {
    // Every request for a tag asks for it: without the machinery of formatting.
    let (registry, path) = (repository.registry.as_str(), repository.path.as_str());
    [registry, "/", path, ":", tag.as_str()].concat()
}

fn decode_tag(bytes: &[u8]) -> Option<TagRecord> {
    let stored: StoredTag = serde_json::from_slice(bytes).ok()?;
    Some(TagRecord {
        descriptor: Descriptor {
            media_type: MediaType::parse(&stored.media_type)?,
            digest: stored.digest.parse().ok()?,
            size: stored.size,
        },
        validated: Time::from_millis(stored.validated),
    })
}

#[cfg(test)]
mod tests;
