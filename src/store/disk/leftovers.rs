//! Copies of some content that nobody is served from: damaged ones, and downloads that were not finished.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use super::aside::{FILLING, QUARANTINE};
use super::{Disk, content, flat_name};
use crate::oci::Digest;
use crate::policy::eviction::Shelf;
use crate::policy::retention::Leftover;

impl Disk {
    /// The copies of a digest that nobody is served from, each with its length in bytes. Blocks.
    pub fn leftovers(&self, digest: &Digest) -> Vec<(Leftover, u64)> {
        let found = [Leftover::Damaged, Leftover::Unfinished].map(|which| {
            let mut sizes = self.paths_of(which, digest).into_iter().filter_map(|path| {
                let metadata = fs::symlink_metadata(self.root.join(path)).ok()?;
                Some(metadata.size())
            });
            let first = sizes.next()?;
            Some((which, first + sizes.sum::<u64>()))
        });
        found.into_iter().flatten().collect()
    }

    /// True if a download still writes to a copy of this digest.
    pub fn is_filling(&self, digest: &Digest) -> bool {
        let names = self.names_of(Leftover::Unfinished, digest);
        let state = self.books.lock();
        let mut asides = names.iter().filter_map(|name| state.asides.get(name));
        asides.any(|aside| aside.open > 0)
    }

    /// Removes the copies of one kind. Those of a download that still writes to them stay. Blocks.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn remove_leftover(&self, which: Leftover, digest: &Digest) -> io::Result<()> {
        for name in self.names_of(which, digest) {
            let is_open = self
                .books
                .lock()
                .asides
                .get(&name)
                .is_some_and(|aside| aside.open > 0);
            if !is_open {
                self.remove_aside(&name);
            }
            if !is_open && fs::symlink_metadata(self.root.join(&name)).is_ok() {
                return Err(io::Error::other(format!("{name} is still there")));
            }
        }
        // What is damaged and could not be moved away is still under its name.
        for shelf in self.hidden_on(which, digest) {
            self.remove(&content(shelf, digest))?;
        }
        Ok(())
    }

    /// The files beside the index that are copies of a digest, by their names.
    fn names_of(&self, which: Leftover, digest: &Digest) -> Vec<String> {
        let folder = match which {
            Leftover::Damaged => QUARANTINE,
            Leftover::Unfinished => FILLING,
            Leftover::Memory => return Vec::new(),
        };
        let name = format!("{folder}/{}", flat_name(digest));
        let state = self.books.lock();
        let is_one = |other: &&String| {
            let rest = other.strip_prefix(&name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let mut names: Vec<String> = state.asides.keys().filter(is_one).cloned().collect();
        names.sort();
        names
    }

    fn paths_of(&self, which: Leftover, digest: &Digest) -> Vec<std::path::PathBuf> {
        let names = self.names_of(which, digest);
        let mut paths: Vec<_> = names.into_iter().map(|name| self.root.join(name)).collect();
        let hidden = self.hidden_on(which, digest);
        paths.extend(hidden.into_iter().map(|shelf| self.path(shelf, digest)));
        paths
    }

    /// The shelves on which a damaged copy stands under its name, because it could not be moved away.
    fn hidden_on(&self, which: Leftover, digest: &Digest) -> Vec<Shelf> {
        if which != Leftover::Damaged {
            return Vec::new();
        }
        let state = self.books.lock();
        let shelves = [Shelf::Blobs, Shelf::Manifests].into_iter();
        shelves
            .filter(|shelf| state.is_hidden(&content(*shelf, digest)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_and_unfinished_copies_are_found_by_their_digest_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path()).unwrap();
        let (one, other) = (Digest::sha256(b"one"), Digest::sha256(b"other"));
        for digest in [&one, &other] {
            disk.put(Shelf::Blobs, digest, b"wrong").unwrap();
            disk.quarantine(Shelf::Blobs, digest).unwrap();
            let partial = disk.begin(digest).unwrap();
            disk.write(&partial, 0, &[bytes::Bytes::from_static(b"on")])
                .unwrap();
        }
        let all = vec![(Leftover::Damaged, 5), (Leftover::Unfinished, 2)];
        assert_eq!(disk.leftovers(&one), all);
        // One that is being written stays.
        let partial = disk.begin(&one).unwrap();
        assert!(disk.is_filling(&one) && !disk.is_filling(&other));
        disk.remove_leftover(Leftover::Unfinished, &one).unwrap();
        assert_eq!(disk.leftovers(&one), all);
        drop(partial);
        for (which, _) in &all {
            disk.remove_leftover(*which, &one).unwrap();
        }
        assert_eq!(disk.leftovers(&one), []);
        assert_eq!(disk.leftovers(&other), all);
        assert_eq!(disk.quarantined().objects, 1);
    }
}
