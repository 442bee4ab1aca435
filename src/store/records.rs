//! What a file tree cannot say: tags, media types, which repositories are held, lists,
//! what was spent.
//!
//! Kept in an embedded store that may be lost without losing a verified byte: a tag is asked for again, a
//! media type is read from the manifest. Reads never wait for writes: what is read often stands in a small
//! map, and a thread writes behind, many records in one transaction.

use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use moka::sync::Cache;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use super::crash::{self, Point};
use crate::clock::Time;
use crate::oci::{Descriptor, Digest, MediaType, Registry, Repository, Tag};
use crate::policy::budget::Ledger;
use crate::policy::freshness::TagRecord;

const TAGS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("tags");
const TYPES: TableDefinition<'_, &str, &str> = TableDefinition::new("media-types");
const SIZES: TableDefinition<'_, &str, u64> = TableDefinition::new("sizes");
const REPOSITORIES: TableDefinition<'_, &str, u64> = TableDefinition::new("repositories");
const LISTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("lists");
const LEDGERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("ledgers");

/// Records waiting to be written. Past it the newest are dropped: a lost record costs one free request.
const MAX_WAITING: usize = 8192;
/// Tags answered without touching the store.
const HOT_TAGS: u64 = 65_536;
/// Bytes of lists answered without touching the store.
const HOT_LISTS: u64 = 16 << 20;
/// Most bytes of the store's own page cache.
const PAGE_CACHE: usize = 16 << 20;
/// Most names of one catalogue.
const MAX_CATALOG: usize = 100_000;
/// Most ledgers read back: one for each upstream that was ever asked.
const MAX_LEDGERS: usize = 4096;

/// A list an upstream gave: a repository's tags, or a digest's referrers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct List {
    /// Milliseconds since the Unix epoch when the upstream gave it.
    pub validated: u64,
    /// What it said.
    pub body: String,
}

enum Write {
    Tag(String, Option<Vec<u8>>),
    Type(String, String),
    Size(String, u64),
    Repository(String, u64),
    List(String, Vec<u8>),
    Ledger(String, Vec<u8>),
    /// Tells when everything before it is on disk.
    Flush(SyncSender<()>),
}

/// The records.
pub struct Records {
    database: Option<std::sync::Arc<Database>>,
    hot: Cache<String, Option<TagRecord>>,
    hot_lists: Cache<String, List>,
    writes: Option<SyncSender<Write>>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Serialize, Deserialize)]
struct StoredTag {
    digest: String,
    media_type: String,
    size: u64,
    validated: u64,
}

impl Records {
    /// Opens the records at `path`. Damaged ones are put aside and begun anew; where the disk refuses
    /// altogether, records live in memory only.
    pub fn open(path: &Path) -> Self {
        let database = open_or_renew(path).map(std::sync::Arc::new);
        let hot = Cache::new(HOT_TAGS);
        let weigh =
            |key: &String, list: &List| u32::try_from(key.len() + list.body.len()).unwrap_or(u32::MAX);
        let hot_lists = Cache::builder().max_capacity(HOT_LISTS).weigher(weigh).build();
        let Some(database) = database else {
            return Self {
                database: None,
                hot,
                hot_lists,
                writes: None,
                writer: None,
            };
        };
        let (writes, waiting) = sync_channel(MAX_WAITING);
        let shared = database.clone();
        let writer = std::thread::Builder::new()
            .name("records".to_owned())
            .spawn(move || write_behind(&shared, &waiting))
            .ok();
        Self {
            database: Some(database),
            hot,
            hot_lists,
            writes: Some(writes),
            writer,
        }
    }

    /// What a tag pointed at.
    pub fn tag(&self, repository: &Repository, tag: &Tag) -> Option<TagRecord> {
        let key = tag_key(repository, tag);
        if let Some(known) = self.hot.get(&key) {
            return known;
        }
        let record = self.read_bytes(TAGS, &key).and_then(|bytes| decode_tag(&bytes));
        self.hot.insert(key, record.clone());
        record
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
        self.write(Write::Tag(key, Some(bytes)));
    }

    /// Forgets a tag.
    pub fn remove_tag(&self, repository: &Repository, tag: &Tag) {
        let key = tag_key(repository, tag);
        self.hot.insert(key.clone(), None);
        self.write(Write::Tag(key, None));
    }

    /// The type a manifest was served with.
    pub fn media_type(&self, digest: &Digest) -> Option<MediaType> {
        let database = self.database.as_ref()?;
        let read = database.begin_read().ok()?;
        let text = read
            .open_table(TYPES)
            .ok()?
            .get(digest.to_string().as_str())
            .ok()??;
        MediaType::parse(text.value())
    }

    /// Remembers a manifest's type and the repository it was held for.
    pub fn put_manifest(&self, repository: &Repository, digest: &Digest, media_type: &MediaType, now: Time) {
        self.write(Write::Type(digest.to_string(), media_type.to_string()));
        self.write(Write::Repository(repository.to_string(), now.as_millis()));
    }

    /// The length a blob had when it was committed.
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        let read = self.database.as_ref()?.begin_read().ok()?;
        let size = read
            .open_table(SIZES)
            .ok()?
            .get(digest.to_string().as_str())
            .ok()??;
        Some(size.value())
    }

    /// Remembers the length of a blob.
    pub fn put_size(&self, digest: &Digest, size: u64) {
        self.write(Write::Size(digest.to_string(), size));
    }

    /// A remembered list.
    pub fn list(&self, key: &str) -> Option<List> {
        let hot = self.hot_lists.get(key);
        hot.or_else(|| serde_json::from_slice(&self.read_bytes(LISTS, key)?).ok())
    }

    /// Remembers a list.
    pub fn put_list(&self, key: &str, list: &List) {
        let bytes = serde_json::to_vec(list).expect("strings and numbers always serialise");
        self.hot_lists.insert(key.to_owned(), list.clone());
        self.write(Write::List(key.to_owned(), bytes));
    }

    /// Some tags of a repository whose records are kept, sorted, at most `most`. Blocks.
    pub fn tags_of(&self, repository: &Repository, most: usize) -> Vec<String> {
        let prefix = format!("{repository}:");
        let collect = || -> Option<Vec<String>> {
            let read = self.database.as_ref()?.begin_read().ok()?;
            let table = read.open_table(TAGS).ok()?;
            let keys = table.range(prefix.as_str()..).ok()?.map_while(Result::ok);
            let keys = keys.map(|(key, _)| key.value().to_owned());
            let tags = keys.map_while(|key| key.strip_prefix(&prefix).map(str::to_owned));
            Some(tags.take(most).collect())
        };
        collect().unwrap_or_default()
    }

    /// What was spent at each upstream, as it was written down last, by registry. Blocks.
    pub fn ledgers(&self) -> HashMap<String, Ledger> {
        let collect = || -> Option<HashMap<String, Ledger>> {
            let read = self.database.as_ref()?.begin_read().ok()?;
            let table = read.open_table(LEDGERS).ok()?;
            let rows = table.iter().ok()?.map_while(Result::ok);
            let ledgers = rows.filter_map(|(registry, bytes)| {
                let ledger = serde_json::from_slice(bytes.value()).ok()?;
                Some((registry.value().to_owned(), ledger))
            });
            Some(ledgers.take(MAX_LEDGERS).collect())
        };
        collect().unwrap_or_default()
    }

    /// Writes down what was spent at an upstream.
    pub fn put_ledger(&self, registry: &Registry, ledger: &Ledger) {
        let bytes = serde_json::to_vec(ledger).expect("strings and numbers always serialise");
        self.write(Write::Ledger(registry.to_string(), bytes));
    }

    /// The repositories held: of one registry by their own names, of all with the registry in front;
    /// sorted, at most 100,000. Blocks.
    pub fn repositories(&self, registry: Option<&Registry>) -> Vec<String> {
        let prefix = registry
            .map(|registry| format!("{registry}/"))
            .unwrap_or_default();
        let collect = || -> Option<Vec<String>> {
            let read = self.database.as_ref()?.begin_read().ok()?;
            let table = read.open_table(REPOSITORIES).ok()?;
            let names = table.range(prefix.as_str()..).ok()?.map_while(Result::ok);
            let names = names.map(|(name, _)| name.value().to_owned());
            let names = names.map_while(|name| name.strip_prefix(&prefix).map(str::to_owned));
            Some(names.take(MAX_CATALOG).collect())
        };
        collect().unwrap_or_default()
    }

    /// Waits until everything remembered so far is on disk, or cannot be. Blocks.
    pub fn flush(&self) {
        let (written, on_disk) = sync_channel(1);
        if let Some(writes) = &self.writes
            && writes.send(Write::Flush(written)).is_ok()
        {
            // An error means that the writer is gone: there is nothing to wait for.
            let _ = on_disk.recv();
        }
    }

    fn read_bytes(&self, table: TableDefinition<'_, &str, &[u8]>, key: &str) -> Option<Vec<u8>> {
        let read = self.database.as_ref()?.begin_read().ok()?;
        let value = read.open_table(table).ok()?.get(key).ok()??;
        Some(value.value().to_vec())
    }

    fn write(&self, write: Write) {
        let Some(writes) = &self.writes else { return };
        if let Err(TrySendError::Full(_)) = writes.try_send(write) {
            tracing::debug!("a record was dropped: the disk does not keep up");
        }
    }
}

impl Drop for Records {
    /// Waits until everything remembered is on disk.
    fn drop(&mut self) {
        self.writes = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of records panicked");
        }
    }
}

fn tag_key(repository: &Repository, tag: &Tag) -> String {
    format!("{repository}:{tag}")
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

fn open_or_renew(path: &Path) -> Option<Database> {
    let open = || {
        let database = Database::builder().set_cache_size(PAGE_CACHE).create(path)?;
        let mut begin = database.begin_write()?;
        begin.set_quick_repair(true);
        begin.open_table(TAGS)?;
        begin.open_table(TYPES)?;
        begin.open_table(SIZES)?;
        begin.open_table(REPOSITORIES)?;
        begin.open_table(LISTS)?;
        begin.open_table(LEDGERS)?;
        begin.commit()?;
        Ok::<_, redb::Error>(database)
    };
    open()
        .or_else(|error| {
            tracing::warn!(%error, "the records are damaged or unreadable: beginning anew; content is kept");
            if let Err(error) = std::fs::rename(path, path.with_extension("damaged")) {
                tracing::warn!(%error, "the damaged records could not be put aside");
            }
            open()
        })
        .inspect_err(
            |error| tracing::error!(%error, "no records on disk: tags are remembered in memory only"),
        )
        .ok()
}

/// Writes what waits, as one transaction each time.
fn write_behind(database: &Database, waiting: &Receiver<Write>) {
    while let Ok(first) = waiting.recv() {
        let batch: Vec<Write> = std::iter::once(first)
            .chain(waiting.try_iter().take(MAX_WAITING))
            .collect();
        if let Err(error) = write_batch(database, &batch) {
            tracing::warn!(%error, records = batch.len(), "records could not be written");
        }
        for write in batch {
            if let Write::Flush(written) = write {
                // Who asked may have gone.
                let _ = written.send(());
            }
        }
    }
}

fn write_batch(database: &Database, batch: &[Write]) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    {
        let mut tags = transaction.open_table(TAGS)?;
        let mut types = transaction.open_table(TYPES)?;
        let mut sizes = transaction.open_table(SIZES)?;
        let mut repositories = transaction.open_table(REPOSITORIES)?;
        let mut lists = transaction.open_table(LISTS)?;
        let mut ledgers = transaction.open_table(LEDGERS)?;
        for write in batch {
            match write {
                Write::Tag(key, Some(bytes)) => drop(tags.insert(key.as_str(), bytes.as_slice())?),
                Write::Tag(key, None) => drop(tags.remove(key.as_str())?),
                Write::Type(key, text) => drop(types.insert(key.as_str(), text.as_str())?),
                Write::Size(key, size) => drop(sizes.insert(key.as_str(), size)?),
                Write::Repository(name, at) => drop(repositories.insert(name.as_str(), at)?),
                Write::List(key, bytes) => drop(lists.insert(key.as_str(), bytes.as_slice())?),
                Write::Ledger(key, bytes) => drop(ledgers.insert(key.as_str(), bytes.as_slice())?),
                Write::Flush(_) => {}
            }
        }
    }
    crash::point(Point::RecordsWritten);
    transaction.commit()?;
    crash::point(Point::RecordsCommitted);
    Ok(())
}
