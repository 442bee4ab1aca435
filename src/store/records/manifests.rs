//! The types manifests are served as, the repositories they are held for, and the lengths of blobs.

use redb::{TableDefinition, WriteTransaction};

use super::Records;
use crate::clock::Time;
use crate::oci::{Digest, MediaType, Registry, Repository};
use crate::policy::eviction::{Content, Shelf};

const TYPES: TableDefinition<'_, &str, &str> = TableDefinition::new("media-types");
const SIZES: TableDefinition<'_, &str, u64> = TableDefinition::new("sizes");
const REPOSITORIES: TableDefinition<'_, &str, u64> = TableDefinition::new("repositories");

/// Most names of one catalogue.
const MAX_CATALOG: usize = 100_000;

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(TYPES)?;
    transaction.open_table(SIZES)?;
    transaction.open_table(REPOSITORIES)?;
    Ok(())
}

/// Forgets what else was remembered of what has gone.
pub(super) fn forget(transaction: &WriteTransaction, gone: &[Content]) -> Result<(), redb::Error> {
    if gone.is_empty() {
        return Ok(());
    }
    let mut types = transaction.open_table(TYPES)?;
    let mut sizes = transaction.open_table(SIZES)?;
    for content in gone {
        let digest = content.digest.to_string();
        match content.shelf {
            Shelf::Blobs => drop(sizes.remove(digest.as_str())?),
            Shelf::Manifests => drop(types.remove(digest.as_str())?),
        }
    }
    super::given::forget(transaction, gone.iter().map(|content| &content.digest))?;
    let manifests = gone.iter().filter(|content| content.shelf == Shelf::Manifests);
    super::held::forget(transaction, manifests.map(|content| &content.digest))
}

impl Records {
    /// The type a manifest was served with.
    pub fn media_type(&self, digest: &Digest) -> Option<MediaType> {
        let found = self.read(|read| {
            let text = read.open_table(TYPES)?.get(digest.to_string().as_str())?;
            Ok(text.and_then(|text| MediaType::parse(text.value())))
        });
        found.flatten()
    }

    /// Remembers a manifest's type and the repository it was held for.
    pub fn put_manifest(&self, repository: &Repository, digest: &Digest, media_type: &MediaType, now: Time) {
        let (digest, media_type) = (digest.to_string(), media_type.to_string());
        let repository = repository.to_string();
        self.change(move |transaction| {
            transaction
                .open_table(TYPES)?
                .insert(digest.as_str(), media_type.as_str())?;
            transaction
                .open_table(REPOSITORIES)?
                .insert(repository.as_str(), now.as_millis())?;
            Ok(())
        });
    }

    /// The length a blob had when it was committed.
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        let found = self.read(|read| {
            let size = read.open_table(SIZES)?.get(digest.to_string().as_str())?;
            Ok(size.map(|size| size.value()))
        });
        found.flatten()
    }

    /// Remembers the length of a blob.
    pub fn put_size(&self, digest: &Digest, size: u64) {
        let digest = digest.to_string();
        self.change(move |transaction| {
            transaction.open_table(SIZES)?.insert(digest.as_str(), size)?;
            Ok(())
        });
    }

    /// The repositories held: of one registry by their own names, of all with the registry in front;
    /// sorted, at most 100,000. Blocks.
    pub fn repositories(&self, registry: Option<&Registry>) -> Vec<String> {
        let prefix = registry
            .map(|registry| format!("{registry}/"))
            .unwrap_or_default();
        let names = self.read(|read| {
            let table = read.open_table(REPOSITORIES)?;
            let names = table.range(prefix.as_str()..)?.map_while(Result::ok);
            let names = names.map(|(name, _)| name.value().to_owned());
            let names = names.map_while(|name| name.strip_prefix(&prefix).map(str::to_owned));
            Ok(names.take(MAX_CATALOG).collect())
        });
        names.unwrap_or_default()
    }
}
