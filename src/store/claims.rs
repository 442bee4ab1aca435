//! Who writes which unfinished file: one at a time.
//!
//! That a file is open says less: those who read a fill that was given up have it open too, and the next fill
//! goes on with it all the same.
//!
//! A write that hangs goes on after its fill has given it up. Were another fill to begin the same file
//! meanwhile, the late bytes could land in it after it was hashed.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

type Taken = Arc<Mutex<HashSet<String>>>;

/// All files that are being written.
#[derive(Debug, Default)]
pub(super) struct Claims(Taken);

/// The right to write one file, until it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    name: String,
    taken: Taken,
    given_up: AtomicBool,
}

impl Claims {
    /// Claims the file of that name.
    ///
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`] if somebody has it.
    pub(super) fn claim(&self, name: &str) -> io::Result<Claim> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !taken.insert(name.to_owned()) {
            let why = "another download still writes to this file";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
        }
        Ok(Claim {
            name: name.to_owned(),
            taken: self.0.clone(),
            given_up: AtomicBool::new(false),
        })
    }
}

impl Claim {
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.remove(&self.name);
    }
}
