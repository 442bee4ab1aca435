//! Credentials that come from elsewhere: which entry is for whom, and when a source is asked again.

pub mod docker;
pub mod ecr;
mod lease;
pub mod plugin;
mod prefix;

pub use self::lease::{Lease, Life, Step};
pub use self::prefix::Prefix;
