//! Which blobs an upstream gave for which repository, where not everybody may see that: after a start it need not be
//! asked again.
//!
//! The key is `digest repository`: what is evicted is forgotten for all its repositories at once.

use redb::{TableDefinition, WriteTransaction};

use super::Records;
use super::held::{key, keys_of};
use crate::oci::{Digest, Repository};

const GIVEN: TableDefinition<'_, &str, ()> = TableDefinition::new("given");

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(GIVEN)?;
    Ok(())
}

/// Forgets these for all repositories.
pub(super) fn forget<'a>(
    transaction: &WriteTransaction,
    digests: impl Iterator<Item = &'a Digest>,
) -> Result<(), redb::Error> {
    let mut given = transaction.open_table(GIVEN)?;
    for digest in digests {
        let (from, to) = keys_of(digest);
        given.retain_in(from.as_str()..to.as_str(), |_, ()| false)?;
    }
    Ok(())
}

impl Records {
    /// Remembers that an upstream has a digest for a repository.
    pub fn put_given(&self, repository: &Repository, digest: &Digest) {
        let key = key(repository, digest);
        self.change(move |transaction| {
            transaction.open_table(GIVEN)?.insert(key.as_str(), ())?;
            Ok(())
        });
    }

    /// True if it is remembered that an upstream has a digest for a repository. Blocks.
    pub fn is_given(&self, repository: &Repository, digest: &Digest) -> bool {
        let key = key(repository, digest);
        let given = self.read(|read| Ok(read.open_table(GIVEN)?.get(key.as_str())?.is_some()));
        given.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::eviction::{Content, Shelf};

    #[test]
    fn what_has_gone_is_forgotten_for_all_repositories_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(&folder.path().join("records"));
        let repositories = ["r.test/a", "r.test/a/b"].map(|name| name.parse::<Repository>().unwrap());
        let digests = [b"x", b"y"].map(|bytes| Digest::sha256(bytes));
        for repository in &repositories {
            for digest in &digests {
                assert!(!records.is_given(repository, digest));
                records.put_given(repository, digest);
            }
        }
        let gone = Content {
            shelf: Shelf::Blobs,
            digest: digests[0],
        };
        records.put_objects(vec![(gone, None)], |_| false);
        records.flush();
        for repository in &repositories {
            assert!(!records.is_given(repository, &digests[0]));
            assert!(records.is_given(repository, &digests[1]));
        }
    }
}
