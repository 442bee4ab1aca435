//! Taking content away because somebody wants it, and keeping it from being evicted.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::Disk;
use super::books::Books;
use crate::policy::eviction::Content;
use crate::store::crash::{self, Point};
use crate::store::files;

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

    /// Removes content by its name: whoever reads it reads on. False if it was not there. Blocks.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn remove(&self, content: &Content) -> io::Result<bool> {
        let _naming = self.books.naming();
        let was_there = match files::remove(&self.path(content.shelf, &content.digest)) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return self.wrote("remove", Err(error)),
        };
        crash::point(Point::Removed);
        self.books.lock().remove(content);
        Ok(was_there)
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
