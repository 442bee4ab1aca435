//! The lists upstreams gave, and what was found out about digests: small records that somebody's question had written.
//!
//! Anybody's questions do, so there is a bound: past it, whoever has most gives way, see [`sweep`].

use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::{Bytes, Records};
use crate::clock::Time;
use crate::policy::sweep::{self, Row};

const LISTS: Bytes = TableDefinition::new("lists");
/// How many bytes all of them need; changed with them.
const WEIGHT: TableDefinition<'_, (), u64> = TableDefinition::new("weight-of-lists");

/// Most bytes of lists on disk, keys and all: verdicts and first sights of some 150 000 digests, if they were all.
const MOST: u64 = 32 << 20;
/// What a row needs beyond its key and its bytes.
const ROW: usize = 32;

/// A list an upstream gave: a repository's tags, or a digest's referrers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct List {
    /// Milliseconds since the Unix epoch when the upstream gave it.
    pub validated: u64,
    /// What it said.
    pub body: String,
}

/// Makes the tables; what an earlier version wrote is weighed.
pub(super) fn create(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    let lists = transaction.open_table(LISTS)?;
    let mut weight = transaction.open_table(WEIGHT)?;
    if weight.get(())?.is_none() {
        let mut all = 0;
        for row in lists.iter()? {
            let (key, bytes) = row?;
            all += weigh(key.value(), bytes.value());
        }
        weight.insert((), all)?;
    }
    Ok(())
}

impl Records {
    /// A remembered list, as far as memory knows; `None` if the store must be asked.
    pub fn hot_list(&self, key: &str) -> Option<List> {
        self.hot_lists.get(key)
    }

    /// A remembered list. Blocks, unless [`Self::hot_list`] knows.
    pub fn list(&self, key: &str) -> Option<List> {
        let hot = self.hot_list(key);
        hot.or_else(|| serde_json::from_slice(&self.read_bytes(LISTS, key)?).ok())
    }

    /// Remembers a list, under its kind, its repository, and what it is about, with blanks between. Others may be
    /// forgotten for it.
    pub fn put_list(&self, key: &str, list: &List) {
        let bytes = serde_json::to_vec(list).expect("strings and numbers always serialise");
        self.hot_lists.insert(key.to_owned(), list.clone());
        let key = key.to_owned();
        self.change(move |transaction| put(transaction, &key, &bytes, MOST));
    }
}

/// Writes a row; past `most` bytes, others go until there is some room again.
fn put(transaction: &WriteTransaction, key: &str, bytes: &[u8], most: u64) -> Result<(), redb::Error> {
    let mut lists = transaction.open_table(LISTS)?;
    let before = lists
        .insert(key, bytes)?
        .map_or(0, |before| weigh(key, before.value()));
    let mut weight = transaction.open_table(WEIGHT)?;
    let all = weight.get(())?.map_or(0, |all| all.value());
    let mut all = (all + weigh(key, bytes)).saturating_sub(before);
    if all > most {
        // With some room to spare: who looks through all of them does it seldom.
        all = clear(&mut lists, most - most / 8)?;
    }
    weight.insert((), all)?;
    Ok(())
}

fn weigh(key: &str, bytes: &[u8]) -> u64 {
    (key.len() + bytes.len() + ROW) as u64
}

/// Removes what has to go so that the rest needs no more than `room`, and says what that needs.
fn clear(lists: &mut Table<'_, &'static str, &'static [u8]>, room: u64) -> Result<u64, redb::Error> {
    let rows = rows(lists)?;
    let stays = sweep::stays(&rows, room);
    let mut gone = Vec::new();
    for (row, stays) in lists.iter()?.zip(&stays) {
        let (key, _) = row?;
        if !stays {
            gone.push(key.value().to_owned());
        }
    }
    for key in &gone {
        lists.remove(key.as_str())?;
    }
    tracing::info!(
        gone = gone.len(),
        of = rows.len(),
        "lists and verdicts were forgotten: there were too many"
    );
    let kept = rows.iter().zip(stays).filter(|(_, stays)| *stays);
    Ok(kept.map(|(row, _)| row.weight).sum())
}

/// What there is, in the order of the keys: those of one kind and repository are a group, and stand together.
fn rows(lists: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Vec<Row>, redb::Error> {
    /// When a list was made: its body is not read.
    #[derive(Deserialize)]
    struct Made {
        validated: u64,
    }
    let (mut rows, mut group, mut before) = (Vec::<Row>::new(), 0, String::new());
    for row in lists.iter()? {
        let (key, bytes) = row?;
        let (key, bytes) = (key.value(), bytes.value());
        let owner = key.rsplit_once(' ').map_or(key, |(owner, _)| owner);
        if owner != before {
            group += usize::from(!rows.is_empty());
            owner.clone_into(&mut before);
        }
        let made = serde_json::from_slice(bytes).map_or(0, |Made { validated }| validated);
        rows.push(Row {
            group,
            made: Time::from_millis(made),
            weight: weigh(key, bytes),
        });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use redb::Database;
    use redb::backends::InMemoryBackend;

    use super::*;

    fn list(validated: u64, length: usize) -> List {
        List {
            validated,
            body: "x".repeat(length),
        }
    }

    #[test]
    fn however_many_lists_strangers_have_written_they_need_no_more_than_their_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        let records = Records::open(&path);
        // Of those whose names stand before all others', and behind.
        let mine = ["seen a.io/mine sha256:1", "trust z.io/mine sha256:2"];
        for key in mine {
            records.put_list(key, &list(1, 100));
        }
        for number in 0..80 {
            let key = format!("referrers q.io/strangers sha256:{number}");
            records.put_list(&key, &list(2 + number, 1 << 20));
        }
        drop(records);
        let records = Records::open(&path);
        let held = records.read(|read| {
            let table = read.open_table(LISTS)?;
            let rows = rows(&table)?;
            Ok(rows.iter().map(|row| row.weight).sum::<u64>())
        });
        assert!(held.unwrap() <= MOST, "{held:?} bytes");
        assert!(mine.iter().all(|key| records.list(key).is_some()));
        assert!(records.list("referrers q.io/strangers sha256:79").is_some());
        assert!(records.list("referrers q.io/strangers sha256:0").is_none());
    }

    #[test]
    fn lists_that_an_earlier_version_wrote_are_weighed_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        let records = Records::open(&path);
        records.put_list("tags a.io/app ", &list(1, 100));
        records.change_surely(|transaction| {
            transaction.delete_table(WEIGHT)?;
            Ok(())
        });
        drop(records);
        let weight = Records::open(&path).read(|read| {
            let weight = read.open_table(WEIGHT)?.get(())?;
            Ok(weight.map(|weight| weight.value()))
        });
        assert!(weight.flatten().is_some_and(|weight| weight > 100), "{weight:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn after_each_that_is_written_all_fit_and_are_what_was_written_last(
            writes in prop::collection::vec((0_u8..3, 0_u8..12, 0_usize..400), 1..120),
        ) {
            const ROOM: u64 = 4096;
            let database = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
            let transaction = database.begin_write().unwrap();
            create(&transaction).unwrap();
            let mut written = BTreeMap::new();
            for (now, (owner, of, length)) in (1_u64..).zip(writes) {
                let (key, list) = (format!("seen a.io/{owner} {of}"), list(now, length));
                put(&transaction, &key, &serde_json::to_vec(&list).unwrap(), ROOM).unwrap();
                written.insert(key.clone(), now);
                let table = transaction.open_table(LISTS).unwrap();
                let found = rows(&table).unwrap();
                let all: u64 = found.iter().map(|row| row.weight).sum();
                let told = transaction.open_table(WEIGHT).unwrap().get(()).unwrap().unwrap().value();
                prop_assert_eq!(told, all);
                prop_assert!(all <= ROOM);
                for row in table.iter().unwrap() {
                    let (key, bytes) = row.unwrap();
                    let kept: List = serde_json::from_slice(bytes.value()).unwrap();
                    prop_assert_eq!(written.get(key.value()), Some(&kept.validated));
                }
                // The newest of all is small enough for any part.
                prop_assert!(table.get(key.as_str()).unwrap().is_some());
            }
        }
    }
}
