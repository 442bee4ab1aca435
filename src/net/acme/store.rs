//! What is kept of an authority: the account, the certificate and its key, and what came of asking.
//!
//! Each is a file that its owner alone may read. One takes the place of another whole: a crash leaves the old or the new.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use tempfile::NamedTempFile;

/// The file of the certificate, those between it and a root, and its key (PEM).
pub const CERTIFICATE: &str = "certificate.pem";
/// Bytes of a file that are read.
const MAX_BYTES: u64 = 1 << 20;

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The account and its key, as JSON.
    Account,
    /// How often asking failed, and when it was last tried, as JSON.
    Attempts,
    /// [`CERTIFICATE`].
    Certificate,
}

impl Kept {
    const fn file(self) -> &'static str {
        match self {
            Self::Account => "account.json",
            Self::Attempts => "attempts.json",
            Self::Certificate => CERTIFICATE,
        }
    }
}

/// What is kept in a store; `None` if it is not there. Blocks on the disk.
///
/// # Errors
/// Why it cannot be read.
pub fn read_kept(store: &Path, what: Kept) -> io::Result<Option<String>> {
    let file = match File::open(store.join(what.file())) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    io::read_to_string(io::Read::take(file, MAX_BYTES)).map(Some)
}

/// Keeps it, in the place of what was there; makes the store if there is none. It is on stable storage when this
/// returns. Blocks on the disk.
///
/// # Errors
/// Why it cannot be written; what was there before still is.
pub fn write_kept(store: &Path, what: Kept, content: &str) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(store)?;
    // Made for its owner alone.
    let mut file = NamedTempFile::new_in(store)?;
    file.write_all(content.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(store.join(what.file()))?;
    File::open(store)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_kept_is_read_back_and_is_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("deep/acme");
        assert_eq!(read_kept(&store, Kept::Account).unwrap(), None);
        write_kept(&store, Kept::Account, "one").unwrap();
        write_kept(&store, Kept::Account, "another").unwrap();
        assert_eq!(
            read_kept(&store, Kept::Account).unwrap().as_deref(),
            Some("another")
        );
        // However long a file is that somebody else put there.
        std::fs::write(store.join("account.json"), vec![b'x'; 2 << 20]).unwrap();
        let read = read_kept(&store, Kept::Account).unwrap().unwrap();
        assert_eq!(read.len() as u64, MAX_BYTES);
        write_kept(&store, Kept::Account, "a third").unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&store.join("account.json")), 0o600);
        assert_eq!(mode(&store), 0o700);
        assert_eq!(store.read_dir().unwrap().count(), 1, "nothing else stays behind");
    }
}
