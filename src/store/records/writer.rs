//! The thread that writes behind: many changes in one transaction.

use std::sync::mpsc::{Receiver, SyncSender};

use redb::{Database, WriteTransaction};

use super::ledgers::Unwritten;
use super::opened::{Opened, whole};
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

/// Writes what waits, as one transaction each time, until nobody is left who could ask for more.
pub(super) fn write_behind(opened: &Opened, waiting: &Receiver<Write>, ledgers: &Unwritten) {
    while let Ok(first) = waiting.recv() {
        let batch: Vec<Write> = std::iter::once(first)
            .chain(waiting.try_iter().take(MAX_WAITING))
            .collect();
        write(opened, &batch, ledgers);
        for write in batch {
            if let Write::Flush(written) = write {
                // Who asked may have gone.
                let _ = written.send(());
            }
        }
    }
}

/// Writes a batch; a second time if the first failed, since one error makes the store refuse all that follows.
fn write(opened: &Opened, batch: &[Write], ledgers: &Unwritten) {
    let Some(database) = opened.renewed() else { return };
    let Err(error) = whole(|| write_batch(&database, batch, ledgers)) else {
        return;
    };
    tracing::warn!(%error, records = batch.len(), "records could not be written: opening them again");
    let again = opened
        .after_failure(database, &error)
        .map(|database| whole(|| write_batch(&database, batch, ledgers)));
    if !matches!(again, Some(Ok(()))) {
        tracing::warn!(records = batch.len(), "records were lost: the disk refuses them");
    }
}

fn write_batch(database: &Database, batch: &[Write], ledgers: &Unwritten) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    for write in batch {
        if let Write::Change(change) = write {
            change(&transaction)?;
        }
    }
    let written = ledgers.write(&transaction)?;
    crash::point(Point::RecordsWritten);
    transaction.commit()?;
    ledgers.written(written);
    crash::point(Point::RecordsCommitted);
    Ok(())
}
