//! What was spent at each upstream.

use std::collections::HashMap;

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::{Bytes, Records};
use crate::oci::Registry;
use crate::policy::budget::Ledger;

const LEDGERS: Bytes = TableDefinition::new("ledgers");

/// Most ledgers read back: one for each upstream that was ever asked.
const MAX_LEDGERS: usize = 4096;

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(LEDGERS)?;
    Ok(())
}

impl Records {
    /// What was spent at each upstream, as it was written down last, by registry. Blocks.
    pub fn ledgers(&self) -> HashMap<String, Ledger> {
        let collect = || -> Option<HashMap<String, Ledger>> {
            let read = self.reading()?;
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
        self.put_bytes(LEDGERS, registry.to_string(), bytes);
    }
}
