//! What is held on disk, how much of it there may be, and which of it goes when room is needed.
//!
//! The index decides and counts; whoever drives it removes the files. What was chosen to go stays counted
//! until [`Index::remove`] says that it is gone, and is neither chosen again nor served in between.
//!
//! # Which goes
//!
//! The capacity has three [shares](Kind): manifests, because budgets pay for them; small blobs, because they
//! are the many; large blobs, because they are the bytes. A share uses what the others leave free. Where room
//! is needed, only shares that hold more than their part give any, so one kind never pushes out another.
//!
//! Within a share it is S3-FIFO, counted in bytes. What is new stands in a small queue, and goes from there
//! unless it was used meanwhile; what was used stands in a main queue, which goes round. A list of hashes
//! remembers what went from the small queue: what comes back goes to the main one. So what is asked for once,
//! however much of it, passes through the small queue and pushes out nothing that is used.
//!
//! ```text
//! insert ──► small (SMALL_QUEUE of the share) ──used──► main ◄─┐ used: round again
//!    │          └──unused──► goes, remembered ─┐          └─────┴──unused──► goes
//!    └──────────────── remembered ◄────────────┘──► main
//! ```
//!
//! One rule goes before: what was used since room was last made goes only after everything that never was. A
//! manifest that is pulled uses its layers ([`Index::used`]). Only manifests within their share are exempt.
//!
//! Everybody who pulls waits for a choice, so none looks at more than some ten thousand entries: what nobody used
//! has a queue of its own, what is busy leaves its queue where it is met, and one that comes to its bound chose a
//! part; the next goes on from there, and spares what this one would have. Where more was used since than one choice
//! can pass, what was used before that and lies behind it goes after what never was.
//!
//! What loses its name while it is read is counted until the last reader has left: the disk holds its bytes.
//!
//! Never chosen: what is being read or pinned, and what is leaving already.

#[cfg(test)]
mod bounded;
mod choice;
mod entries;
mod ghost;
mod index;
#[cfg(test)]
mod model;
mod names;
mod orphans;
mod parts;
mod queue;
#[cfg(test)]
mod readers;
mod run;
mod shares;
#[cfg(test)]
mod tests;

pub use self::index::{Entered, Index};
pub use self::shares::Kind;
use crate::clock::Time;
use crate::oci::Digest;

/// Bytes of a block: a file takes whole ones, on every file system that Linux servers use by default.
pub const BLOCK: u64 = 4096;

/// Blobs shorter than this, in bytes, are small. Configs and two layers of three are.
pub const SMALL: u64 = 1 << 20;

/// An object that takes more than one part in so many of the capacity is not kept (F083): it would push out
/// as much as everything else together, and come back as seldom as anything else.
pub const LARGEST_PART: u64 = 2;

/// The part of the capacity that manifests have for themselves by default: more than they ever need, and
/// what they leave free is lent. In the simulation (`tests/bench/eviction.rs`) it keeps every manifest that
/// comes back; without shares, three requests of five for a manifest would go upstream.
pub const MANIFESTS_SHARE: f64 = 0.05;

/// The part of the capacity that small blobs have for themselves by default. In the simulation, with a cache
/// of 5 % of the unique bytes and 5 % one-shot pulls, objects and bytes hit are 88 % and 69 % with a share of
/// 5 %, 89 % and 69 % with 10 %, and no more with 20 %, which costs a cache of 2 % three points of the bytes.
/// One S3-FIFO for all comes to 71 % and 70 %.
pub const SMALL_SHARE: f64 = 0.10;

/// The part of a share that what is new and unused may take, from S3-FIFO's authors.
const SMALL_QUEUE: f64 = 0.10;

/// Rounds of the main queue that uses are remembered for, at most; S3-FIFO counts with two bits.
const MOST_HITS: u8 = 3;

/// Which part of the tree content stands in. What is a manifest and a blob as well stands in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Shelf {
    /// Layers, configs and other blobs.
    Blobs,
    /// Manifests and indexes.
    Manifests,
}

/// The name of something that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Content {
    /// Where it stands.
    pub shelf: Shelf,
    /// Its digest.
    pub digest: Digest,
}

/// How much there may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Most bytes on disk ([`on_disk`]), fills under way included.
    pub capacity: u64,
    /// Part of the capacity above which room is made before it is needed.
    pub high: f64,
    /// Part of the capacity at which enough room was made. What shares are guaranteed is a part of this.
    pub low: f64,
    /// The part of it (0 to 1) that manifests have for themselves.
    pub manifests: f64,
    /// The part of it (0 to 1) that small blobs have for themselves. Large ones have what is left.
    pub small: f64,
}

impl Rules {
    /// Rules with the default shares.
    pub fn new(capacity: u64, high: f64, low: f64) -> Self {
        Self {
            capacity,
            high,
            low,
            manifests: MANIFESTS_SHARE,
            small: SMALL_SHARE,
        }
    }
}

/// What is known of something held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its length in bytes; what it takes on disk is [`on_disk`] of this.
    pub size: u64,
    /// When it was stored.
    pub stored: Time,
    /// When it, or a manifest that names it, was last pulled; `None` if never since it was stored.
    pub used: Option<Time>,
    /// How often it was pulled.
    pub pulls: u32,
    /// True if it came for a repository that not everybody may see, or nobody knows for which.
    pub closed: bool,
}

/// What a request for room comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Room {
    /// The bytes are set aside.
    Granted,
    /// Nothing is set aside: these have to go first. Ask again when they are gone. They may be too few, even none,
    /// where a choice came to its bound; the next then goes on behind what this one passed.
    Evict(Vec<Content>),
    /// There is no room, and none can be made: too long, or everything that could go is in use, pinned, on
    /// its way out, or within a share that the asker has no part in.
    Never,
}

/// The bytes that a file of `size` bytes takes on disk: whole blocks.
pub fn on_disk(size: u64) -> u64 {
    size.div_ceil(BLOCK).saturating_mul(BLOCK)
}
