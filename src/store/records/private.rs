//! The registries that were ever asked with credentials: what is held of them may not be for everybody.

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::{Bytes, Records};
use crate::oci::Registry;

const PRIVATE: Bytes = TableDefinition::new("private");

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(PRIVATE)?;
    Ok(())
}

impl Records {
    /// The registries that have or had credentials, as they were written down. Blocks.
    pub fn private(&self) -> Vec<Registry> {
        let private = self.read(|read| {
            let table = read.open_table(PRIVATE)?;
            let rows = table.iter()?.map_while(Result::ok);
            Ok(rows.filter_map(|(name, _)| name.value().parse().ok()).collect())
        });
        private.unwrap_or_default()
    }

    /// Writes down that a registry has credentials.
    pub fn put_private(&self, registry: &Registry) {
        self.put_bytes(PRIVATE, registry.to_string(), Vec::new());
    }
}
