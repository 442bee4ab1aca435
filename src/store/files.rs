//! Every change that the shelf and the records make to the file system, one function each.
//!
//! There is no more to it than the system calls. Unit tests record the steps here, to try out what a crash
//! may leave of them (`simulation`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

#[cfg(test)]
use super::simulation::{self, Step, note};

/// Opens a file for reading and writing, making it where it is missing. Follows no link.
pub(super) fn make(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)?;
    #[cfg(test)]
    note(Step::Make(path.to_owned()));
    Ok(file)
}

/// Writes all of `bytes` at an offset of the file at `path`.
#[cfg_attr(
    not(test),
    expect(unused_variables, reason = "only a recording tells files by name")
)]
pub(super) fn write(file: &File, path: &Path, bytes: &[u8], at: u64) -> io::Result<()> {
    file.write_all_at(bytes, at)?;
    #[cfg(test)]
    note(Step::Write(path.to_owned(), at, bytes.to_vec()));
    Ok(())
}

/// Writes all of `pieces` at an offset of the file at `path`, one behind the other. The kernel is told of all at once: it
/// keeps what is written together in folios as large as that, and sends and reads large ones at less cost.
#[cfg_attr(
    not(test),
    expect(unused_variables, reason = "only a recording tells files by name")
)]
pub(super) fn write_pieces(file: &File, path: &Path, pieces: &[impl AsRef<[u8]>], at: u64) -> io::Result<()> {
    let mut slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece.as_ref())).collect();
    let (mut left, mut position) = (&mut slices[..], at);
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match rustix::io::pwritev(file, left, position) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                position += written as u64;
                IoSlice::advance_slices(&mut left, written);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    #[cfg(test)]
    note(Step::Write(
        path.to_owned(),
        at,
        pieces.iter().flat_map(|piece| piece.as_ref()).copied().collect(),
    ));
    Ok(())
}

/// Gives the file at `path` this length.
#[cfg_attr(
    not(test),
    expect(unused_variables, reason = "only a recording tells files by name")
)]
pub(super) fn set_len(file: &File, path: &Path, len: u64) -> io::Result<()> {
    file.set_len(len)?;
    #[cfg(test)]
    note(Step::SetLen(path.to_owned(), len));
    Ok(())
}

/// Waits until the bytes and the length of the file at `path` are on stable storage. Never tried twice: after
/// a failure the kernel forgets which pages were bad.
#[cfg_attr(
    not(test),
    expect(unused_variables, reason = "only a recording tells files by name")
)]
pub(super) fn sync(file: &File, path: &Path) -> io::Result<()> {
    #[cfg(test)]
    if simulation::fails(path) {
        return Err(simulation::failure());
    }
    file.sync_data()?;
    #[cfg(test)]
    note(Step::Sync(path.to_owned()));
    Ok(())
}

/// Gives a file another name, in the place of what had that name.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    #[cfg(test)]
    note(Step::Rename(from.to_owned(), to.to_owned()));
    Ok(())
}

/// Takes a file's name away.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    #[cfg(test)]
    note(Step::Remove(path.to_owned()));
    Ok(())
}

/// Waits until the names in a folder are on stable storage.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    #[cfg(test)]
    note(Step::SyncFolder(path.to_owned()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_number_and_length_are_written_one_behind_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = make(&path).unwrap();
        // More than the kernel takes at a time.
        let pieces: Vec<Vec<u8>> = (0..3000_usize)
            .map(|at| vec![at.to_le_bytes()[0]; at % 4])
            .collect();
        write_pieces(&file, &path, &pieces, 5).unwrap();
        write_pieces(&file, &path, &[b"12345"], 0).unwrap();
        write_pieces(&file, &path, &[b""], 1).unwrap();
        let whole = [b"12345".to_vec(), pieces.concat()].concat();
        assert!(fs::read(&path).unwrap() == whole);
    }
}
