//! Damaged files: put out of the way, where there is room for them, and out of sight in any case.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use super::aside::{Aside, QUARANTINE};
use super::{Disk, content, flat_name};
use crate::oci::Digest;
use crate::policy::eviction::{Content, Shelf};
use crate::store::crash::{self, Point};
use crate::store::files;

impl Disk {
    /// Puts a file that does not hash to its name, or cannot be read, out of the way, where there is room for it.
    /// What was read of it is not trusted again. A file that cannot be moved is not held any more all the same.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn quarantine(&self, shelf: Shelf, digest: &Digest) -> io::Result<()> {
        let _naming = self.books.naming();
        self.put_away(&content(shelf, digest))
    }

    /// Tries anew to put away what could not be moved, now that the disk takes changes again. Blocks.
    pub fn put_hidden_away(&self) {
        let hidden = self.books.lock().hidden();
        for content in hidden {
            let _naming = self.books.naming();
            // Somebody may have stored it anew.
            let is_hidden = self.books.lock().is_hidden(&content);
            if is_hidden && self.put_away(&content).is_ok() {
                tracing::info!(digest = %content.digest, "a damaged file was put aside at last");
            }
        }
    }

    /// For whoever is [`naming`](super::books::Books::naming).
    fn put_away(&self, content: &Content) -> io::Result<()> {
        let size = match fs::symlink_metadata(self.path(content.shelf, &content.digest)) {
            Ok(metadata) => metadata.size(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.books.lock().remove(content);
                return Err(error);
            }
            Err(_) => 0,
        };
        let moved = self.move_away(content, size);
        crash::point(Point::Quarantined);
        if moved.is_err() {
            self.books.lock().hide(*content);
        }
        self.wrote("quarantine", moved)
    }

    fn move_away(&self, content: &Content, size: u64) -> io::Result<()> {
        let path = self.path(content.shelf, &content.digest);
        let name = format!("{QUARANTINE}/{}", flat_name(&content.digest));
        let aside = Aside {
            reserved: size,
            damaged: true,
            since: self.clock.now(),
            ..Aside::default()
        };
        let there_is_room = {
            let mut state = self.books.lock();
            state.remove(content);
            state.release(&name);
            state.set_aside(name.clone(), aside)
        };
        if !there_is_room {
            return files::remove(&path);
        }
        let moved = match files::rename(&path, &self.root.join(&name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.prepare()?;
                files::rename(&path, &self.root.join(&name))
            }
            moved => moved,
        };
        moved.inspect_err(|_| self.books.lock().release(&name))
    }
}
