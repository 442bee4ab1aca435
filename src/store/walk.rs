//! Everything on disk, as the names of the files say.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::UNIX_EPOCH;

use super::disk::{Disk, folder_of};
use crate::clock::Time;
use crate::oci::Algorithm;
use crate::policy::eviction::{Content, Facts, Shelf};

impl Disk {
    /// Everything held, in no order. What is not a plain file under a digest's name is passed over. Takes time
    /// in proportion to how much is held. Blocks.
    ///
    /// # Errors
    /// If a folder cannot be listed.
    pub fn walk(&self) -> io::Result<Vec<(Content, Facts)>> {
        let mut found = Vec::new();
        for shelf in [Shelf::Blobs, Shelf::Manifests] {
            for algorithm in Algorithm::ALL {
                let folder = self.root.join(folder_of(shelf)).join(algorithm.name());
                for part in fs::read_dir(folder)? {
                    let part = part?;
                    if part.file_type()?.is_dir() {
                        collect(&part.path(), shelf, algorithm, &mut found)?;
                    }
                }
            }
        }
        Ok(found)
    }
}

fn collect(
    folder: &std::path::Path,
    shelf: Shelf,
    algorithm: Algorithm,
    found: &mut Vec<(Content, Facts)>,
) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let digest = name
            .to_str()
            .and_then(|hex| format!("{}:{hex}", algorithm.name()).parse().ok());
        // What goes away meanwhile is not held.
        let (Some(digest), Ok(metadata)) = (digest, entry.metadata()) else {
            continue;
        };
        if metadata.is_file() {
            let modified = metadata.modified().ok();
            let age = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let millis = age.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
            let facts = Facts {
                size: metadata.size(),
                stored: Time::from_millis(millis),
                used: None,
                pulls: 0,
            };
            found.push((Content { shelf, digest }, facts));
        }
    }
    Ok(())
}
