//! Taking content away, and keeping it from being taken away.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::sync::PoisonError;

use super::disk::Disk;
use crate::policy::eviction::Content;

impl Disk {
    /// Where the file of what the operator holds is.
    pub fn holds_path(&self) -> std::path::PathBuf {
        self.root.join("holds.json")
    }

    /// Removes content by its name: whoever reads it reads on. False if it was not there. Blocks.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn remove(&self, content: &Content) -> io::Result<bool> {
        self.forget_verified(&content.digest);
        match fs::remove_file(self.path(content.shelf, &content.digest)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Keeps these, and no others any more, from being evicted: what is held of them at once, the rest as soon as it
    /// is stored.
    pub fn keep(&self, contents: HashSet<Content>) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = contents;
    }

    /// What is kept from being evicted, sorted.
    pub fn kept(&self) -> Vec<Content> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept: Vec<Content> = kept.iter().copied().collect();
        kept.sort();
        kept
    }

    /// True if content is kept from being evicted.
    pub fn keeps(&self, content: &Content) -> bool {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.contains(content)
    }
}
