//! The files of other programs: read, kept, written, restored.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::policy::mirrors::{CERTS_D, Edit, Found, How, Piece, put, take};

/// Most bytes of a configuration: what is longer is none.
const MAX: u64 = 4 << 20;
/// Beside a file: what it was.
const BACKUP: &str = ".before-seawall";
/// Beside a file: what was put into it.
const RECORD: &str = ".seawall";
/// Beside a file: what it will be.
const NEW: &str = ".seawall-new";

/// Below what the machine's files are.
pub(super) struct Root(pub(super) PathBuf);

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// It says what it should.
    Wrote(PathBuf),
    /// It did before.
    Kept(PathBuf),
    /// It is what it was before there was anything of ours.
    Restored(PathBuf),
    /// It is gone.
    Removed(PathBuf),
    /// There was nothing of ours.
    Untouched(PathBuf),
}

impl Done {
    /// Whether anything is other than before.
    pub(super) const fn is_change(&self) -> bool {
        match self {
            Self::Wrote(_) | Self::Restored(_) | Self::Removed(_) => true,
            Self::Kept(_) | Self::Untouched(_) => false,
        }
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, path) = match self {
            Self::Wrote(path) => ("wrote", path),
            Self::Kept(path) => ("kept as it is", path),
            Self::Restored(path) => ("restored", path),
            Self::Removed(path) => ("removed", path),
            Self::Untouched(path) => ("nothing to remove from", path),
        };
        write!(f, "{word} {}", path.display())
    }
}

/// What stands on disk.
#[derive(Default)]
struct Standing {
    now: Option<String>,
    before: Option<String>,
    record: Option<String>,
}

impl Root {
    /// Where a piece stands.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// Puts the pieces into their files. If one cannot be, none is.
    pub(super) fn put(&self, pieces: &[Piece]) -> Result<Vec<Done>, String> {
        let puts = self.edits(pieces, put)?;
        // Of registries that were configured once.
        let takes = self.edits(&self.others(pieces), take)?;
        let done = puts.into_iter().map(|(piece, edit)| {
            let path = self.path(&piece.path);
            match edit {
                Edit::Nothing | Edit::Delete => Ok(Done::Kept(path)),
                Edit::Write { text, record, backup } => {
                    let written = write_all(&path, &text, record.as_deref(), backup.as_deref());
                    written.map(|()| Done::Wrote(path))
                }
            }
        });
        let stale = takes
            .into_iter()
            .map(|(piece, edit)| self.give_back(&piece, edit));
        let stale = stale.filter(|done| !matches!(done, Ok(Done::Untouched(_))));
        done.chain(stale).collect()
    }

    /// Takes everything of ours out of the files. If that cannot be done to one, it is done to none.
    pub(super) fn take(&self, pieces: &[Piece]) -> Result<Vec<Done>, String> {
        let (own, others) = (self.edits(pieces, take)?, self.edits(&self.others(pieces), take)?);
        let others = others.into_iter().filter(|(_, edit)| *edit != Edit::Nothing);
        let edits = own.into_iter().chain(others);
        edits.map(|(piece, edit)| self.give_back(&piece, edit)).collect()
    }

    fn give_back(&self, piece: &Piece, edit: Edit) -> Result<Done, String> {
        let path = self.path(&piece.path);
        let done = match edit {
            Edit::Nothing => return Ok(Done::Untouched(path)),
            Edit::Write { text, .. } => {
                write(&path, &text)?;
                Done::Restored(path.clone())
            }
            Edit::Delete => {
                fs::remove_file(&path).map_err(|error| told(&path, &error))?;
                Done::Removed(path.clone())
            }
        };
        for kept in [BACKUP, RECORD] {
            forget(&beside(&path, kept))?;
        }
        if matches!(done, Done::Removed(_)) && piece.has_own_directory() {
            // It stays if anything else is in it.
            let _ = path.parent().map(fs::remove_dir);
        }
        Ok(done)
    }

    fn edits<E: fmt::Display>(
        &self,
        pieces: &[Piece],
        decide: impl Fn(&Piece, Found<'_>) -> Result<Edit, E>,
    ) -> Result<Vec<(Piece, Edit)>, String> {
        let edit = |piece: &Piece| {
            let path = self.path(&piece.path);
            let standing = Standing::read(&path)?;
            let found = Found {
                now: standing.now.as_deref(),
                before: standing.before.as_deref(),
                record: standing.record.as_deref(),
            };
            let edit = decide(piece, found).map_err(|trouble| format!("{}: {trouble}", path.display()))?;
            Ok((piece.clone(), edit))
        };
        let in_files = pieces.iter().filter(|piece| piece.how != How::Flags);
        in_files.map(edit).collect()
    }

    /// The files for registries that `pieces` do not name, which may be ours.
    fn others(&self, pieces: &[Piece]) -> Vec<Piece> {
        if !pieces.iter().any(Piece::has_own_directory) {
            return Vec::new();
        }
        let folders = fs::read_dir(self.path(CERTS_D)).into_iter().flatten().flatten();
        let mut found: Vec<Piece> = folders
            .filter_map(|folder| folder.file_name().into_string().ok())
            .map(|name| Piece {
                path: format!("{CERTS_D}/{name}/hosts.toml"),
                how: How::Whole,
                text: String::new(),
            })
            .filter(|other| pieces.iter().all(|piece| piece.path != other.path))
            .filter(|other| self.path(&other.path).is_file())
            .collect();
        found.sort_by(|one, other| one.path.cmp(&other.path));
        found
    }
}

impl Standing {
    fn read(path: &Path) -> Result<Self, String> {
        Ok(Self {
            now: read(path)?,
            before: read(&beside(path, BACKUP))?,
            record: read(&beside(path, RECORD))?,
        })
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn told(path: &Path, error: &io::Error) -> String {
    let next = match error.kind() {
        io::ErrorKind::PermissionDenied => "; run this as root",
        io::ErrorKind::ReadOnlyFilesystem => "; mount it read-write, or name another place with --root",
        _ => "",
    };
    format!("{}: {error}{next}", path.display())
}

/// A file's text, if it is there. A link is not followed: what it leads to may lie outside the root.
fn read(path: &Path) -> Result<Option<String>, String> {
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(told(path, &error)),
    };
    if !file.is_file() || file.len() > MAX {
        return Err(format!(
            "{}: expected a file of at most {MAX} bytes, found something else (a link, a directory, a longer file); \
             write there by hand what is printed without --write",
            path.display()
        ));
    }
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX).read_to_string(&mut text));
    read.map_err(|error| told(path, &error))?;
    Ok(Some(text))
}

/// What it was, then what is put into it, then the file itself: a crash in between leaves it as it was.
fn write_all(path: &Path, text: &str, record: Option<&str>, backup: Option<&str>) -> Result<(), String> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| told(folder, &error))?;
    }
    for (ending, kept) in [(BACKUP, backup), (RECORD, record)] {
        if let Some(kept) = kept {
            let place = beside(path, ending);
            write(&place, kept)?;
            same_mode(path, &place)?;
        }
    }
    write(path, text)
}

/// Replaces a file at once: who reads it sees the old text or the new one. It keeps its mode.
fn write(path: &Path, text: &str) -> Result<(), String> {
    let new = beside(path, NEW);
    forget(&new)?;
    let written = File::create_new(&new).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.set_permissions(mode(path))?;
        file.sync_all()?;
        fs::rename(&new, path)
    });
    written.map_err(|error| {
        // The error that is told is the first one.
        let _ = fs::remove_file(&new);
        told(path, &error)
    })
}

/// A file's mode; for a new one, that of configurations.
fn mode(path: &Path) -> Permissions {
    fs::metadata(path).map_or_else(|_| Permissions::from_mode(0o644), |file| file.permissions())
}

/// What is kept of a file is as open as the file.
fn same_mode(path: &Path, place: &Path) -> Result<(), String> {
    fs::set_permissions(place, mode(path)).map_err(|error| told(place, &error))
}

fn forget(path: &Path) -> Result<(), String> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(told(path, &error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
