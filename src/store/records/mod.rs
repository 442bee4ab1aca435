//! What a file tree cannot say: tags, media types, which repositories are held, lists,
//! what was spent.
//!
//! Kept in an embedded store that may be lost without losing a verified byte: a tag is asked for again, a
//! media type is read from the manifest. Reads never wait for writes: what is read often stands in a small
//! map, and a thread writes behind, many records in one transaction. Each file beside this one owns its
//! tables.

mod given;
mod held;
mod ledgers;
mod lists;
mod manifests;
mod named;
mod objects;
mod opened;
#[cfg(test)]
mod rot;
mod scrubs;
mod tags;
mod unwritten;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use moka::sync::Cache;
use redb::{ReadTransaction, ReadableDatabase, TableDefinition, WriteTransaction};

use crate::policy::freshness::TagRecord;

pub use held::{ManifestRecord, Pulls};
pub use lists::List;
use opened::{Opened, whole};
pub use scrubs::ScrubRecord;
use writer::{Beside, MAX_WAITING, Write, write_behind};

/// Tags answered without touching the store.
const HOT_TAGS: u64 = 65_536;
/// Bytes of lists answered without touching the store.
const HOT_LISTS: u64 = 16 << 20;
/// Most bytes of the store's own page cache.
const PAGE_CACHE: usize = 16 << 20;

/// Names and bytes.
type Bytes = TableDefinition<'static, &'static str, &'static [u8]>;

/// The records.
pub struct Records {
    opened: Arc<Opened>,
    hot: Cache<String, Option<TagRecord>>,
    hot_lists: Cache<String, List>,
    counted: held::Counted,
    beside: Beside,
    /// The number of the next removal of a tag.
    removal: AtomicU64,
    writes: Option<SyncSender<Write>>,
    writer: Option<JoinHandle<()>>,
}

impl Records {
    /// Opens the records at `path`. Damaged ones are put aside and begun anew; while the disk refuses
    /// altogether, records live in memory only.
    pub fn open(path: &Path) -> Self {
        let opened = Arc::new(Opened::new(path));
        let weigh =
            |key: &String, list: &List| u32::try_from(key.len() + list.body.len()).unwrap_or(u32::MAX);
        let (writes, waiting) = sync_channel(MAX_WAITING);
        let shared = opened.clone();
        let beside = Beside::default();
        let unwritten = beside.clone();
        let writer = std::thread::Builder::new()
            .name("records".to_owned())
            .spawn(move || write_behind(&shared, &waiting, &unwritten))
            .ok();
        Self {
            opened,
            hot: Cache::new(HOT_TAGS),
            hot_lists: Cache::builder().max_capacity(HOT_LISTS).weigher(weigh).build(),
            counted: held::Counted::default(),
            beside,
            removal: AtomicU64::new(0),
            writes: Some(writes),
            writer,
        }
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

    /// Reads what is on disk; `None` if that cannot be done now. What turns out to be damaged is put aside, and the
    /// records begin anew.
    fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Option<T> {
        let database = self.opened.get()?;
        let found = whole(|| read(&database.begin_read()?));
        if let Err(error) = &found
            && self.opened.is_broken(&database, error)
        {
            // Wakes the writer, which begins anew.
            self.change(|_| Ok(()));
        }
        found.ok()
    }

    fn read_bytes(&self, table: Bytes, key: &str) -> Option<Vec<u8>> {
        self.look_up(table, key).flatten()
    }

    /// What stands under a key; `None` if that cannot be read now.
    fn look_up(&self, table: Bytes, key: &str) -> Option<Option<Vec<u8>>> {
        self.read(|read| {
            let value = read.open_table(table)?.get(key)?;
            Ok(value.map(|value| value.value().to_vec()))
        })
    }

    /// Has the writer make a change; see [`writer::Change`]. False if it was dropped.
    fn change(&self, change: impl Fn(&WriteTransaction) -> Result<(), redb::Error> + Send + 'static) -> bool {
        let Some(writes) = &self.writes else { return false };
        let sent = writes.try_send(Write::Change(Box::new(change)));
        if let Err(TrySendError::Full(_)) = sent {
            tracing::debug!("a record was dropped: the disk does not keep up");
        }
        sent.is_ok()
    }

    /// Wakes the writer. Where there is no place for this, it is awake.
    fn wake(&self) {
        if let Some(writes) = &self.writes {
            let _ = writes.try_send(Write::Change(Box::new(|_| Ok(()))));
        }
    }

    /// As [`Self::change`], for what must not be dropped. Blocks while the writer does not keep up.
    fn change_surely(&self, change: impl Fn(&WriteTransaction) -> Result<(), redb::Error> + Send + 'static) {
        if let Some(writes) = &self.writes {
            // The writer lives as long as there is somebody to write for it.
            let _ = writes.send(Write::Change(Box::new(change)));
        }
    }

    /// False if it was dropped.
    fn put_bytes(&self, table: Bytes, key: String, bytes: Vec<u8>) -> bool {
        self.change(move |transaction| {
            transaction
                .open_table(table)?
                .insert(key.as_str(), bytes.as_slice())?;
            Ok(())
        })
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

fn create_tables(begin: &WriteTransaction) -> Result<(), redb::Error> {
    tags::create(begin)?;
    manifests::create(begin)?;
    objects::create(begin)?;
    held::create(begin)?;
    given::create(begin)?;
    named::create(begin)?;
    scrubs::create(begin)?;
    lists::create(begin)?;
    ledgers::create(begin)
}
