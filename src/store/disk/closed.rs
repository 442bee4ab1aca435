//! What came for repositories that not everybody may see: it is marked, and the mark stays with the file.
//!
//! The mark is part of what is written down of each file, in the same row: a file without one has nobody's word, and
//! counts as marked. What was stored before there were marks has none.

use std::sync::Arc;

use super::books::{Books, State};
use super::{Disk, content};
use crate::oci::{Digest, Repository};
use crate::policy::eviction::{Content, Facts, Shelf};

/// The content of a digest is on its way for a repository that not everybody may see: what is stored of it until this
/// is dropped is marked.
#[derive(Debug)]
pub struct Closing {
    books: Arc<Books>,
    digest: Digest,
    repository: Option<Repository>,
}

impl Drop for Closing {
    fn drop(&mut self) {
        let mut state = self.books.lock();
        if let Some(closing) = state.closing.get_mut(&self.digest) {
            let own = closing
                .iter()
                .position(|repository| *repository == self.repository);
            own.map(|own| closing.swap_remove(own));
            if closing.is_empty() {
                state.closing.remove(&self.digest);
            }
        }
    }
}

impl Disk {
    /// The content of a digest begins to come for this repository, which not everybody may see; nobody knows for which
    /// if it is `None`.
    pub fn closing(&self, digest: &Digest, repository: Option<&Repository>) -> Closing {
        let repository = repository.cloned();
        let mut state = self.books.lock();
        let closing = state.closing.entry(*digest).or_default();
        closing.push(repository.clone());
        Closing {
            books: self.books.clone(),
            digest: *digest,
            repository,
        }
    }

    /// True if what is held of a digest came for a repository that not everybody may see, or is on its way for one that
    /// is not this; `None` if nothing is. Touches no file.
    pub fn is_closed(&self, digest: &Digest, to: Option<&Repository>) -> Option<bool> {
        let state = self.books.lock();
        let mut closing = state.closing.get(digest).into_iter().flatten();
        if closing.any(|repository| repository.is_none() || repository.as_ref() != to) {
            return Some(true);
        }
        state.held_closed(digest)
    }

    /// As [`Self::is_closed`], of what is held.
    pub fn holds_closed(&self, digest: &Digest) -> Option<bool> {
        self.books.lock().held_closed(digest)
    }

    /// Takes the mark off what is held of a digest: a repository that everybody may see has it.
    pub fn open_up(&self, digest: &Digest) {
        let mut state = self.books.lock();
        for shelf in [Shelf::Blobs, Shelf::Manifests] {
            let content = content(shelf, digest);
            if state.index.facts(&content).is_some_and(|facts| facts.closed) {
                state.index.set_open(&content);
                state.note(content);
            }
        }
    }
}

impl State {
    fn held_closed(&self, digest: &Digest) -> Option<bool> {
        let facts = |shelf| self.index.facts(&content(shelf, digest));
        let marks = [facts(Shelf::Blobs), facts(Shelf::Manifests)]
            .into_iter()
            .flatten();
        marks.map(|facts| facts.closed).reduce(|one, other| one || other)
    }

    /// What is known of something that is about to be held: whoever stores it anew takes no mark off it.
    pub(super) fn marked(&self, content: &Content, facts: Facts) -> Facts {
        let before = self.index.counted(content).is_some_and(|before| before.closed);
        Facts {
            closed: facts.closed || before || self.closing.contains_key(&content.digest),
            ..facts
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::store::{Records, Space};

    #[test]
    fn s065_a_mark_comes_with_the_file_stays_at_a_restart_and_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let start = || {
            let mut disk = Disk::open(folder.path()).unwrap();
            disk.govern(Space::UNBOUNDED, Clock::start());
            let records = Records::open(&disk.records_path());
            disk.recall(|each| records.objects(each));
            (disk, records)
        };
        let [one, other] = [b"one", b"two"].map(|bytes| Digest::sha256(bytes));
        let (disk, records) = start();
        let repositories = ["r.test/a", "r.test/b"].map(|name| name.parse::<Repository>().unwrap());
        let closing = disk.closing(&one, Some(&repositories[0]));
        let to = |repository| disk.is_closed(&one, repository);
        assert_eq!(to(None), Some(true));
        assert_eq!(to(Some(&repositories[1])), Some(true));
        assert_eq!(to(Some(&repositories[0])), None, "it is its own");
        assert_eq!(disk.is_closed(&other, None), None);
        for bytes in [b"one", b"two"] {
            disk.put(Shelf::Blobs, &Digest::sha256(bytes), bytes).unwrap();
        }
        drop(closing);
        assert!(disk.books.lock().closing.is_empty());
        // Who stores it once more takes no mark off it.
        disk.put(Shelf::Blobs, &one, b"one").unwrap();
        records.put_objects(disk.take_changes(false), disk.teller());
        let marks = |disk: &Disk| [&one, &other].map(|digest| disk.is_closed(digest, None));
        assert_eq!(marks(&disk), [Some(true), Some(false)]);
        drop((disk, records));
        let (disk, records) = start();
        assert_eq!(marks(&disk), [Some(true), Some(false)]);
        disk.open_up(&one);
        records.put_objects(disk.take_changes(false), disk.teller());
        drop((disk, records));
        let (disk, _records) = start();
        assert_eq!(marks(&disk), [Some(false), Some(false)]);
        disk.remove(&content(Shelf::Blobs, &one)).unwrap();
        assert_eq!(marks(&disk), [None, Some(false)]);
    }

    #[test]
    fn s065_what_nobody_has_written_down_counts_as_marked() {
        let folder = tempfile::tempdir().unwrap();
        let digest = Digest::sha256(b"one");
        let disk = Disk::open(folder.path()).unwrap();
        disk.put(Shelf::Blobs, &digest, b"one").unwrap();
        assert_eq!(disk.is_closed(&digest, None), Some(false));
        drop(disk);
        let disk = Disk::open(folder.path()).unwrap();
        assert!(disk.get(Shelf::Blobs, &digest).is_some());
        assert_eq!(disk.is_closed(&digest, None), Some(true));
    }
}
