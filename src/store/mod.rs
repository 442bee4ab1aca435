//! Shelves: each holds bytes or records; none knows another.
//!
//! [`Disk`] keeps content under its digest, [`Memory`] keeps small content close, [`Records`] keeps what
//! a file tree cannot say.

mod disk;
mod holds;
mod memory;
mod records;
mod removal;
mod walk;

pub use crate::policy::eviction::Shelf;
pub use disk::{Disk, OpenError, Partial, Stored, blocking};
pub use holds::HoldsFile;
pub use memory::{Held, Memory};
pub use records::{List, ManifestRecord, Pulls, Records};
