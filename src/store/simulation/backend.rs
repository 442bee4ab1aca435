//! The file of the records as the embedded store sees it, its steps recorded. It reads and writes, syncs and locks
//! as it does without.

use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use super::{Step, fails, failure, note};

/// The real file, and its name.
#[derive(Debug)]
pub(in crate::store) struct Noted {
    inner: FileBackend,
    path: PathBuf,
}

impl Noted {
    /// Notes what is done to `inner`, the file at `path`.
    pub(in crate::store) fn new(inner: FileBackend, path: &Path) -> Self {
        Self {
            inner,
            path: path.to_owned(),
        }
    }
}

impl StorageBackend for Noted {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)?;
        note(Step::SetLen(self.path.clone(), len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        if fails(&self.path) {
            return Err(failure());
        }
        self.inner.sync_data()?;
        note(Step::Sync(self.path.clone()));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)?;
        note(Step::Write(self.path.clone(), offset, data.to_vec()));
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}
