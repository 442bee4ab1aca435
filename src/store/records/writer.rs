//! The thread that writes behind: many changes in one transaction.

use std::sync::mpsc::{Receiver, SyncSender};

use redb::{Database, WriteTransaction};

use super::opened::{Opened, whole};
use super::unwritten::Unwritten;
use super::{ledgers, tags};
use crate::store::crash::{self, Point};

/// Changes waiting to be written. Past it the newest are dropped: a lost record costs one free request.
pub(super) const MAX_WAITING: usize = 8192;

/// Changes some tables. It may run again if the transaction it was part of failed.
pub(super) type Change = Box<dyn Fn(&WriteTransaction) -> Result<(), redb::Error> + Send>;

/// What the writer is asked for.
pub(super) enum Write {
    /// To change some tables.
    Change(Change),
    /// To tell when everything before it is on disk.
    Flush(SyncSender<()>),
}

/// What is written with the next batch, however many changes wait.
#[derive(Clone, Default)]
pub(super) struct Beside {
    /// Ledgers, by registry.
    pub(super) ledgers: Unwritten<Vec<u8>>,
    /// Tags to be forgotten, by their keys, each with a number of its own.
    pub(super) removals: Unwritten<u64>,
}

/// Writes what waits, as one transaction each time, until nobody is left who could ask for more.
pub(super) fn write_behind(opened: &Opened, waiting: &Receiver<Write>, beside: &Beside) {
    while let Ok(first) = waiting.recv() {
        let batch: Vec<Write> = std::iter::once(first)
            .chain(waiting.try_iter().take(MAX_WAITING))
            .collect();
        write(opened, &batch, beside);
        for write in batch {
            if let Write::Flush(written) = write {
                // Who asked may have gone.
                let _ = written.send(());
            }
        }
    }
}

/// Writes a batch; a second time if the first failed, since one error makes the store refuse all that follows.
fn write(opened: &Opened, batch: &[Write], beside: &Beside) {
    let Some(database) = opened.renewed() else { return };
    let Err(error) = whole(|| write_batch(&database, batch, beside)) else {
        return;
    };
    tracing::warn!(%error, records = batch.len(), "records could not be written: opening them again");
    let again = opened
        .after_failure(database, &error)
        .map(|database| whole(|| write_batch(&database, batch, beside)));
    if !matches!(again, Some(Ok(()))) {
        tracing::warn!(records = batch.len(), "records were lost: the disk refuses them");
    }
}

fn write_batch(database: &Database, batch: &[Write], beside: &Beside) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    for write in batch {
        if let Write::Change(change) = write {
            change(&transaction)?;
        }
    }
    let (spent, removed) = (beside.ledgers.all(), beside.removals.all());
    ledgers::write(&transaction, &spent)?;
    tags::remove(&transaction, &removed)?;
    crash::point(Point::RecordsWritten);
    transaction.commit()?;
    beside.ledgers.written(&spent);
    beside.removals.written(&removed);
    crash::point(Point::RecordsCommitted);
    Ok(())
}
