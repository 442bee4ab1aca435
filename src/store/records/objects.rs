//! What the disk shelf holds: a row for each file, so that a start knows at once what a walk of the tree would
//! take its time to find.
//!
//! Rows are written behind and may be lost or out of date; the walk sets them right. The key is the shelf, the
//! algorithm and the digest, so that the rows of one folder of the tree stand together.

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::{Records, manifests};
use crate::clock::Time;
use crate::oci::{Algorithm, Digest};
use crate::policy::eviction::{Content, Facts, Shelf};

const OBJECTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("objects");

/// The key of the row that says that all others are there: it sorts before them.
const COMPLETE: &[u8] = &[];
/// Bytes of a row: three numbers of eight, one of four, and one of one. A row of an earlier version lacks the last.
const ROW: usize = 29;
/// Most changes of one transaction's closure, so that others get their turn.
const MOST_CHANGES: usize = 16_384;

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(OBJECTS)?;
    Ok(())
}

impl Records {
    /// Every row, to `each`. Returns whether these are all that there should be. Blocks.
    pub fn objects(&self, mut each: impl FnMut(Content, Facts)) -> bool {
        let complete = self.read(|read| {
            let mut complete = false;
            for row in read.open_table(OBJECTS)?.iter()? {
                let (key, value) = row?;
                match decode(key.value(), value.value()) {
                    Some((content, facts)) => each(content, facts),
                    None => complete |= key.value() == COMPLETE,
                }
            }
            Ok(complete)
        });
        complete.unwrap_or_else(|| {
            tracing::warn!("the records of what is held cannot be read: finding it out anew");
            false
        })
    }

    /// The content of the rows of one folder of the tree. Blocks.
    pub fn objects_of(&self, shelf: Shelf, algorithm: Algorithm, first: u8) -> Vec<Content> {
        let head = [shelf as u8, algorithm as u8];
        let start = [head[0], head[1], first];
        let contents = self.read(|read| {
            let table = read.open_table(OBJECTS)?;
            let rows = table.range(start.as_slice()..)?.map_while(Result::ok);
            let keys =
                rows.map_while(|(key, _)| key.value().starts_with(&start).then(|| key.value().to_vec()));
            Ok(keys.filter_map(|key| decode_key(&key)).collect())
        });
        contents.unwrap_or_default()
    }

    /// Writes down what came and went, each with what is known of it; `None` if it has gone. What has gone loses its other records as well, unless `is_held` says by
    /// then that it has come back. Blocks while the writer does not keep up.
    pub fn put_objects(
        &self,
        mut changes: Vec<(Content, Option<Facts>)>,
        is_held: impl Fn(&Content) -> bool + Clone + Send + 'static,
    ) {
        // In the order of the table, which makes for fewer pages written.
        // What is in it twice, the later one last: that one holds.
        changes.sort_by_key(|(content, _)| *content);
        for some in changes.chunks(MOST_CHANGES) {
            let (some, is_held) = (some.to_vec(), is_held.clone());
            self.change_surely(move |transaction| {
                let mut gone = Vec::new();
                {
                    let mut table = transaction.open_table(OBJECTS)?;
                    for (content, facts) in &some {
                        let key = encode_key(content);
                        match facts {
                            Some(facts) => {
                                table.insert(key.as_slice(), encode(facts).as_slice())?;
                            }
                            None if is_held(content) => {}
                            None => {
                                table.remove(key.as_slice())?;
                                gone.push(*content);
                            }
                        }
                    }
                }
                manifests::forget(transaction, &gone)
            });
        }
    }

    /// From now on the rows are all there are.
    pub fn objects_are_complete(&self) {
        self.change_surely(|transaction| {
            transaction
                .open_table(OBJECTS)?
                .insert(COMPLETE, [1].as_slice())?;
            Ok(())
        });
    }
}

fn encode_key(content: &Content) -> Vec<u8> {
    let head = [content.shelf as u8, content.digest.algorithm() as u8];
    [head.as_slice(), content.digest.as_bytes()].concat()
}

fn decode_key(key: &[u8]) -> Option<Content> {
    let (shelf, algorithm, hash) = match key {
        [shelf, algorithm, hash @ ..] => (*shelf, *algorithm, hash),
        _ => return None,
    };
    let shelves = [Shelf::Blobs, Shelf::Manifests];
    let shelf = shelves.into_iter().find(|each| *each as u8 == shelf)?;
    let algorithm = Algorithm::ALL.into_iter().find(|each| *each as u8 == algorithm)?;
    let digest = Digest::from_bytes(algorithm, hash)?;
    Some(Content { shelf, digest })
}

fn encode(facts: &Facts) -> [u8; ROW] {
    let mut row = [0; ROW];
    row[..8].copy_from_slice(&facts.size.to_le_bytes());
    row[8..16].copy_from_slice(&facts.stored.as_millis().to_le_bytes());
    let used = facts.used.map_or(0, Time::as_millis);
    row[16..24].copy_from_slice(&used.to_le_bytes());
    row[24..28].copy_from_slice(&facts.pulls.to_le_bytes());
    row[28] = facts.closed.into();
    row
}

fn decode(key: &[u8], row: &[u8]) -> Option<(Content, Facts)> {
    let number = |from: usize| Some(u64::from_le_bytes(row.get(from..from + 8)?.try_into().ok()?));
    let used = number(16)?;
    let facts = Facts {
        size: number(0)?,
        stored: Time::from_millis(number(8)?),
        used: (used != 0).then_some(Time::from_millis(used)),
        pulls: u32::from_le_bytes(row.get(24..28)?.try_into().ok()?),
        closed: row.get(28).is_some_and(|closed| *closed != 0),
    };
    Some((decode_key(key)?, facts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_was_known_and_one_of_an_earlier_version_lacks_its_last_byte() {
        let content = Content {
            shelf: Shelf::Blobs,
            digest: Digest::sha256(b"x"),
        };
        for closed in [true, false] {
            let facts = Facts {
                size: 1 << 40,
                stored: Time::from_millis(7),
                used: Some(Time::from_millis(8)),
                pulls: 9,
                closed,
            };
            let (key, row) = (encode_key(&content), encode(&facts));
            assert_eq!(decode(&key, &row), Some((content, facts)));
            let before = Facts {
                closed: false,
                ..facts
            };
            assert_eq!(decode(&key, &row[..28]), Some((content, before)));
            assert_eq!(decode(&key, &row[..27]), None);
        }
    }
}
