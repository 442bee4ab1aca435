//! What was spent at each upstream.

use std::collections::HashMap;

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::{Bytes, Records};
use crate::oci::Registry;
use crate::policy::budget::Ledger;

const LEDGERS: Bytes = TableDefinition::new("ledgers");

/// Most ledgers written and read back: one for each upstream that was ever asked.
const MAX_LEDGERS: usize = 4096;

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(LEDGERS)?;
    Ok(())
}

impl Records {
    /// What was spent at each upstream, as it was written down last, by registry. Blocks.
    pub fn ledgers(&self) -> HashMap<String, Ledger> {
        let ledgers = self.read(|read| {
            let table = read.open_table(LEDGERS)?;
            let rows = table.iter()?.map_while(Result::ok);
            let ledgers = rows.filter_map(|(registry, bytes)| {
                let ledger = serde_json::from_slice(bytes.value()).ok()?;
                Some((registry.value().to_owned(), ledger))
            });
            Ok(ledgers.take(MAX_LEDGERS).collect())
        });
        ledgers.unwrap_or_default()
    }

    /// Writes down what was spent at an upstream. Never dropped, and never waits: however many changes wait, the
    /// newest ledger of each upstream is written with the next of them.
    pub fn put_ledger(&self, registry: &Registry, ledger: &Ledger) {
        let bytes = serde_json::to_vec(ledger).expect("strings and numbers always serialise");
        // A ledger that is not written is untrue, while all older ones are of no use.
        self.beside.ledgers.put(&registry.to_string(), bytes, MAX_LEDGERS);
        self.wake();
    }
}

/// Writes ledgers as part of a transaction.
pub(super) fn write(
    transaction: &WriteTransaction,
    ledgers: &[(String, Vec<u8>)],
) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(LEDGERS)?;
    for (registry, bytes) in ledgers {
        table.insert(registry.as_str(), bytes.as_slice())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::store::records::writer::MAX_WAITING;

    #[test]
    fn a_ledger_is_written_however_many_changes_wait_and_the_newest_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("records");
        let registry: Registry = "r.example".parse().unwrap();
        let ledger = |parked: u64| -> Ledger {
            serde_json::from_value(serde_json::json!({ "buckets": [], "accounts": [], "parked": parked }))
                .unwrap()
        };
        let records = Records::open(&path);
        // The writer is held up, and the queue behind it is full.
        let (go, held) = std::sync::mpsc::channel::<()>();
        let held = Mutex::new(held);
        records.change(move |_| {
            // An error means that it may go on.
            let _ = held.lock().unwrap().recv();
            Ok(())
        });
        for _ in 0..2 * MAX_WAITING + 2 {
            records.change(|_| Ok(()));
        }
        records.put_ledger(&registry, &ledger(1));
        records.put_ledger(&registry, &ledger(2));
        drop(go);
        records.flush();
        drop(records);
        let found = serde_json::to_value(&Records::open(&path).ledgers()["r.example"]).unwrap();
        assert_eq!(found["parked"], 2);
    }
}
