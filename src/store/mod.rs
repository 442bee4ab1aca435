//! Shelves: each holds bytes or records; none knows another.
//!
//! [`Disk`] keeps content under its digest, [`Memory`] keeps small content close, [`Records`] keeps what
//! a file tree cannot say.

mod claims;
mod crash;
mod disk;
mod files;
mod health;
mod holds;
mod layout;
mod memory;
mod pool;
mod private;
mod records;
mod replaced;
mod shared;
#[cfg(test)]
mod simulation;

pub use crate::policy::eviction::Shelf;
pub use crash::Point;
pub use disk::{
    Closing, Disk, Folder, Found, Look, NotKept, OpenFile, Partial, Quarantined, Space, Standing, Stored,
    Tally,
};
pub use health::{Ailing, Health, PATIENCE, SYNC_PATIENCE};
pub use holds::HoldsFile;
pub use layout::OpenError;
pub use memory::{Held, Memory};
pub use pool::{READERS, WORKERS, blocking, reading};
pub use private::PrivateFile;
pub use records::{List, ManifestRecord, Pulls, Records, ScrubRecord};
pub use shared::{Shared, SharedOptions, SharedStatus};
