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
        let (mut next, mut flushes) = (vec![first], Vec::new());
        loop {
            let removals = collect(&mut next, waiting, beside);
            write(opened, &next, beside, &removals);
            // Every removal that is older than these was told by now.
            answer(&mut flushes);
            flushes.append(&mut next);
            if !beside.removals.has_others(&removals) {
                break;
            }
        }
        answer(&mut flushes);
    }
}

/// Adds what waits to a batch, and says which tags are to be forgotten with it. They are told before the last of the
/// batch is taken, which is all that waits then: no change that is older than a removal is written after it. Where
/// nothing comes meanwhile, a batch and its removals are those of one moment; who never stops is not waited for.
fn collect(batch: &mut Vec<Write>, waiting: &Receiver<Write>, beside: &Beside) -> Vec<(String, u64)> {
    loop {
        let (removals, before) = (beside.removals.all(), batch.len());
        batch.extend(waiting.try_iter().take(MAX_WAITING));
        if batch.len() == before {
            return removals;
        }
        if batch.len() > MAX_WAITING {
            // A tag that has come back may be in the batch.
            return beside.removals.still(&removals);
        }
    }
}

/// Tells those who asked for it that what came before is on disk.
fn answer(batch: &mut Vec<Write>) {
    for write in batch.drain(..) {
        if let Write::Flush(written) = write {
            // Who asked may have gone.
            let _ = written.send(());
        }
    }
}

/// Writes a batch; a second time if the first failed, since one error makes the store refuse all that follows.
fn write(opened: &Opened, batch: &[Write], beside: &Beside, removals: &[(String, u64)]) {
    let Some(database) = opened.renewed() else { return };
    let Err(error) = whole(|| write_batch(&database, batch, beside, removals)) else {
        return;
    };
    tracing::warn!(%error, records = batch.len(), "records could not be written: opening them again");
    let again = opened
        .after_failure(database, &error)
        .map(|database| whole(|| write_batch(&database, batch, beside, removals)));
    if !matches!(again, Some(Ok(()))) {
        tracing::warn!(records = batch.len(), "records were lost: the disk refuses them");
    }
}

fn write_batch(
    database: &Database,
    batch: &[Write],
    beside: &Beside,
    removals: &[(String, u64)],
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    for write in batch {
        if let Write::Change(change) = write {
            change(&transaction)?;
        }
    }
    let spent = beside.ledgers.all();
    ledgers::write(&transaction, &spent)?;
    tags::remove(&transaction, removals)?;
    crash::point(Point::RecordsWritten);
    transaction.commit()?;
    beside.ledgers.written(&spent);
    beside.removals.written(removals);
    crash::point(Point::RecordsCommitted);
    Ok(())
}
