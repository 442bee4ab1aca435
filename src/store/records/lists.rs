//! The lists upstreams gave.

use redb::{TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::{Bytes, Records};

const LISTS: Bytes = TableDefinition::new("lists");

/// A list an upstream gave: a repository's tags, or a digest's referrers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct List {
    /// Milliseconds since the Unix epoch when the upstream gave it.
    pub validated: u64,
    /// What it said.
    pub body: String,
}

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(LISTS)?;
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

    /// Remembers a list.
    pub fn put_list(&self, key: &str, list: &List) {
        let bytes = serde_json::to_vec(list).expect("strings and numbers always serialise");
        self.hot_lists.insert(key.to_owned(), list.clone());
        self.put_bytes(LISTS, key.to_owned(), bytes);
    }
}
