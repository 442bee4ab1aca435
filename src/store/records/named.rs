//! The manifests that each repository names: the keys of their records turned round, so that who asks for one
//! repository reads no other.

use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

use super::Records;
use super::held::{MANIFESTS, PULLS};
use super::held::{ManifestRecord, Pulls, key as record_key};
use crate::oci::{Digest, Repository};

/// Keys are `repository digest`.
const NAMED: TableDefinition<'_, &str, ()> = TableDefinition::new("manifests-by-repository");

/// Makes the table; from the records, where an earlier version wrote these without it.
pub(super) fn create(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    let manifests = transaction.open_table(MANIFESTS)?;
    let mut named = transaction.open_table(NAMED)?;
    if named.len()? == manifests.len()? {
        return Ok(());
    }
    named.retain(|_, ()| false)?;
    for row in manifests.iter()? {
        let (key, _) = row?;
        if let Some(turned) = turned(key.value()) {
            named.insert(turned.as_str(), ())?;
        }
    }
    Ok(())
}

/// The key of a manifest of a repository.
pub(super) fn key(repository: &Repository, digest: &Digest) -> String {
    format!("{repository} {digest}")
}

/// Adds a key.
pub(super) fn add(transaction: &WriteTransaction, key: &str) -> Result<(), redb::Error> {
    transaction.open_table(NAMED)?.insert(key, ())?;
    Ok(())
}

/// Removes the manifests that have these keys among the records.
pub(super) fn remove<'a>(
    transaction: &WriteTransaction,
    keys: impl Iterator<Item = &'a str>,
) -> Result<(), redb::Error> {
    let mut named = transaction.open_table(NAMED)?;
    for turned in keys.filter_map(turned) {
        named.remove(turned.as_str())?;
    }
    Ok(())
}

fn turned(key: &str) -> Option<String> {
    let (digest, repository) = key.split_once(' ')?;
    Some(format!("{repository} {digest}"))
}

impl Records {
    /// As [`Self::each_held`], for one repository; sorted by digest. Reads no other. Blocks.
    pub fn each_held_for(
        &self,
        repository: &Repository,
        mut each: impl FnMut(Digest, ManifestRecord, Option<Pulls>),
    ) {
        let (from, to) = (format!("{repository} "), format!("{repository}!"));
        let read = self.read(|read| {
            let (manifests, pulls) = (read.open_table(MANIFESTS)?, read.open_table(PULLS)?);
            for row in read.open_table(NAMED)?.range(from.as_str()..to.as_str())? {
                let (named, _) = row?;
                let Ok(digest) = named.value()[from.len()..].parse() else {
                    continue;
                };
                let key = record_key(repository, &digest);
                let record = manifests.get(key.as_str())?;
                if let Some(record) = record.and_then(|bytes| ManifestRecord::decode(bytes.value())) {
                    let pulls = pulls.get(key.as_str())?;
                    each(digest, record, pulls.map(|pulls| Pulls::read(pulls.value())));
                }
            }
            Ok(())
        });
        if read.is_none() {
            tracing::debug!("the records of manifests cannot be read");
        }
    }

    /// The repositories that a manifest is held for of which `is_held` says so; sorted. Reads no more of each than it
    /// takes to know. Blocks.
    pub fn repositories_of(&self, is_held: impl Fn(&Digest) -> bool) -> Vec<String> {
        let found = self.read(|read| {
            let table = read.open_table(NAMED)?;
            let (mut found, mut from) = (Vec::new(), String::new());
            loop {
                let mut rows = table.range(from.as_str()..)?;
                let Some(first) = rows.next().transpose()? else {
                    break;
                };
                let name = first.0.value().split(' ').next().unwrap_or_default().to_owned();
                let mut row = Some(first);
                while let Some((key, _)) = row {
                    let digest = match key.value().split_once(' ') {
                        Some((of, digest)) if of == name => digest.parse(),
                        _ => break,
                    };
                    if digest.is_ok_and(|digest| is_held(&digest)) {
                        found.push(name.clone());
                        break;
                    }
                    row = rows.next().transpose()?;
                }
                // `!` comes after the space.
                from = name + "!";
            }
            Ok(found)
        });
        found.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Time;
    use crate::oci::MediaType;

    fn record() -> ManifestRecord {
        ManifestRecord {
            media_type: MediaType::OCI_MANIFEST,
            size: 1,
            source: "docker.io".to_owned(),
            stored: Time::from_millis(1),
            children: Vec::new(),
            blobs: Vec::new(),
            has_config: false,
            looked: false,
            platform: None,
            created: None,
            subject: None,
        }
    }

    fn held_for(records: &Records, repository: &str) -> Vec<Digest> {
        records.flush();
        let mut held = Vec::new();
        records.each_held_for(&repository.parse().unwrap(), |digest, _, _| held.push(digest));
        held
    }

    #[test]
    fn the_manifests_of_a_repository_are_those_that_are_remembered_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.redb");
        let records = Records::open(&path);
        let (one, two) = (Digest::sha256(b"one"), Digest::sha256(b"two"));
        // Names that begin alike.
        let names = ["r.io/a", "r.io/a-b", "r.io/a/b"];
        for name in names {
            records.put_held(&name.parse().unwrap(), &one, &record());
        }
        records.put_held(&"r.io/a".parse().unwrap(), &two, &record());
        let mut both = vec![one, two];
        both.sort();
        assert_eq!(held_for(&records, "r.io/a"), both);
        assert_eq!(held_for(&records, "r.io/a-b"), [one]);
        assert!(held_for(&records, "r.io/b").is_empty());
        assert_eq!(records.repositories_of(|_| true), names);
        assert_eq!(records.repositories_of(|digest| *digest == two), ["r.io/a"]);
        records.remove_held(&[(&"r.io/a-b".parse().unwrap(), &one)]);
        assert!(held_for(&records, "r.io/a-b").is_empty());
        records.remove_manifest(&one);
        assert_eq!(held_for(&records, "r.io/a"), [two]);
        assert_eq!(records.repositories_of(|_| true), ["r.io/a"]);
    }

    #[test]
    fn records_that_an_earlier_version_wrote_are_turned_round_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.redb");
        let records = Records::open(&path);
        let one = Digest::sha256(b"one");
        records.put_held(&"r.io/a".parse().unwrap(), &one, &record());
        records.change_surely(|transaction| {
            transaction.delete_table(NAMED)?;
            Ok(())
        });
        drop(records);
        assert_eq!(held_for(&Records::open(&path), "r.io/a"), [one]);
    }
}
