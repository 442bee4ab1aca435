//! Shelves: each holds bytes or records; none knows another.
//!
//! [`Disk`] keeps content under its digest, [`Memory`] keeps small content close, [`Records`] keeps what
//! a file tree cannot say.

mod disk;
mod holds;
mod memory;
mod records;

pub use crate::policy::eviction::Shelf;
pub use disk::{
    Disk, Folder, Found, NotKept, OpenError, OpenFile, Partial, Space, Standing, Stored, Tally, blocking,
};
pub use holds::HoldsFile;
pub use memory::{Held, Memory};
pub use records::{List, ManifestRecord, Pulls, Records};
