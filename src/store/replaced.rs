//! A small file that is replaced whole: after a crash there is the old one, or the new one.

use std::io;
use std::path::{Path, PathBuf};

use super::crash::{self, Point};
use super::files;

/// Replaces the file at `path`, or makes it. It is on stable storage when this returns. Blocks.
///
/// # Errors
/// If the disk refuses; the old file is still there then.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = unfinished(path);
    // What was not finished before may be a file whose sync failed: no other sync of that is to be believed.
    match files::remove(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = files::make(&new)?;
    files::write(&file, &new, bytes, 0)?;
    crash::point(Point::ReplacementWritten);
    files::sync(&file, &new)?;
    crash::point(Point::ReplacementSynced);
    files::rename(&new, path)?;
    crash::point(Point::ReplacementNamed);
    // Without it a crash may bring the old file back, when somebody was told already that there is the new one.
    match path.parent() {
        Some(folder) => files::sync_folder(folder),
        None => Ok(()),
    }
}

/// Where the new file stands until it has its name.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}
