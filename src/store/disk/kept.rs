//! Taking content away because somebody wants it, and keeping it from being evicted.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use super::Disk;
use super::books::Books;
use crate::policy::eviction::Content;
use crate::store::crash::{self, Point};
use crate::store::files;

/// Files removed at the same time: some file systems wait for the disk with each (ext4 that discards, NFS), and many waits
/// take no longer than one.
const REMOVERS: usize = 16;

/// Somebody wants content to stay. Dropping it says that they do no longer.
struct Stay {
    books: Arc<Books>,
    content: Content,
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.books.lock().let_go(&self.content);
    }
}

impl Disk {
    /// Where the file of what the operator holds is.
    pub fn holds_path(&self) -> PathBuf {
        self.root.join("holds.json")
    }

    /// Where the file of the registries is that were asked with credentials.
    pub fn private_path(&self) -> PathBuf {
        self.root.join("private")
    }

    /// Removes content by its name: whoever reads it reads on. False if it was not there. Blocks.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn remove(&self, content: &Content) -> io::Result<bool> {
        let _naming = self.books.naming(content);
        let was_there = match files::remove(&self.path(content.shelf, &content.digest)) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return self.wrote("remove", Err(error)),
        };
        crash::point(Point::Removed);
        self.books.lock().remove(content);
        Ok(was_there)
    }

    /// As [`Self::remove`], for many: several at a time. Says what came of each. Blocks.
    pub fn remove_all(&self, contents: &[Content]) -> Vec<io::Result<bool>> {
        let remove =
            |part: &[Content]| -> Vec<_> { part.iter().map(|content| self.remove(content)).collect() };
        let parts: Vec<&[Content]> = contents
            .chunks(contents.len().div_ceil(REMOVERS).max(1))
            .collect();
        let Some((own, others)) = parts.split_last() else {
            return Vec::new();
        };
        thread::scope(|scope| {
            let begun: Vec<_> = others
                .iter()
                .map(|part| {
                    let removing = thread::Builder::new().spawn_scoped(scope, || remove(part));
                    (*part, removing)
                })
                .collect();
            let own = remove(own);
            let done = begun.into_iter().flat_map(|(part, removing)| {
                match removing.map(thread::ScopedJoinHandle::join) {
                    Ok(Ok(done)) => done,
                    // Where there is no thread, it is done here; what is removed twice was not there.
                    Ok(Err(_)) | Err(_) => remove(part),
                }
            });
            done.chain(own).collect()
        })
    }

    /// Keeps these, and no others any more, from being evicted: what is held of them at once, the rest as soon as it
    /// is stored.
    pub fn keep(&self, contents: HashSet<Content>) {
        self.books.lock().keep(contents);
    }

    /// What is kept from being evicted, sorted.
    pub fn kept(&self) -> Vec<Content> {
        let mut kept: Vec<Content> = self.books.lock().kept().copied().collect();
        kept.sort();
        kept
    }

    /// True if content is kept from being evicted.
    pub fn keeps(&self, content: &Content) -> bool {
        self.books.lock().keeps(content)
    }

    /// Keeps content from being evicted until what this returns is dropped, whichever file has its name. Opens
    /// none; `None` if it is not held. Blocks.
    pub fn stay(&self, content: Content) -> Option<Box<dyn Send + Sync>> {
        if !self.holds(content.shelf, &content.digest) {
            return None;
        }
        let is_known = self.books.lock().want(&content);
        if !is_known {
            // The walk may not have come to it yet: opening it has it listed.
            let _opened = self.get(content.shelf, &content.digest)?;
            if !self.books.lock().want(&content) {
                return None;
            }
        }
        let books = self.books.clone();
        Some(Box::new(Stay { books, content }))
    }

    /// What would be evicted next, at most `most`, if room were needed and nothing pulled or stored until then.
    pub fn next_to_go(&self, most: usize) -> Vec<Content> {
        let next = self.books.lock().index.next_to_go(most);
        next.into_iter().map(|(content, _)| content).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;
    use crate::policy::eviction::Shelf;

    #[test]
    fn many_are_removed_at_once_and_what_came_of_each_is_told_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path()).unwrap();
        let content = |number: u8| Content {
            shelf: Shelf::Blobs,
            digest: Digest::sha256(&[number]),
        };
        let all: Vec<Content> = (0..100).map(content).collect();
        for number in (0..100).filter(|number| number % 3 != 0) {
            disk.put(Shelf::Blobs, &content(number).digest, &[number])
                .unwrap();
        }
        // One that cannot be removed.
        std::fs::create_dir_all(disk.path(Shelf::Blobs, &content(3).digest)).unwrap();
        for (number, removed) in disk.remove_all(&all).into_iter().enumerate() {
            match number {
                3 => assert!(removed.is_err()),
                _ => assert_eq!(removed.unwrap(), number % 3 != 0, "{number}"),
            }
        }
        assert_eq!(disk.contents(), []);
        assert!(disk.remove_all(&[]).is_empty());
        let mut few = disk.remove_all(&all[..2]).into_iter();
        assert!(few.all(|removed| !removed.unwrap()));
    }
}
