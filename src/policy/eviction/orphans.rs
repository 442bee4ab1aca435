//! Files that lost their names while they were read: the disk holds their bytes until the last reader has closed
//! them. They end with the process, so nothing is written down of them.

use std::collections::HashMap;

/// Files without an entry that are still open.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    /// By the generation they had.
    files: HashMap<u32, Orphan>,
    /// Bytes on disk of those that are counted here.
    pub(super) bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Orphan {
    bytes: u64,
    readers: u32,
    /// It has another name, and is counted under that.
    named: bool,
}

impl Orphans {
    /// A file that so many read has lost its name.
    pub(super) fn add(&mut self, generation: u32, bytes: u64, readers: u32) {
        self.bytes += bytes;
        let orphan = Orphan {
            bytes,
            readers,
            named: false,
        };
        self.files.insert(generation, orphan);
    }

    /// A reader has closed one; nothing if it is none of these.
    pub(super) fn leave(&mut self, generation: u32) {
        let Some(orphan) = self.files.get_mut(&generation) else {
            return;
        };
        orphan.readers -= 1;
        if orphan.readers == 0 {
            self.bytes -= if orphan.named { 0 } else { orphan.bytes };
            self.files.remove(&generation);
        }
    }

    /// One has got another name, under which it is counted, or has lost it; nothing if nobody reads it any more.
    pub(super) fn name(&mut self, generation: u32, named: bool) {
        if let Some(orphan) = self.files.get_mut(&generation)
            && std::mem::replace(&mut orphan.named, named) != named
        {
            match named {
                true => self.bytes -= orphan.bytes,
                false => self.bytes += orphan.bytes,
            }
        }
    }
}
