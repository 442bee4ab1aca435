//! What a tier grants each of its clients. What an upstream grants us is a budget, and another thing.

mod minute;

use std::num::NonZeroU32;

pub use self::minute::Minute;

/// The figures. `None` is no limit at all, and costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests a minute: manifests, blobs and lists. A whole minute's may come at once, and in no minute come
    /// more than a tenth over the figure.
    pub reads: Option<NonZeroU32>,
    /// Objects a minute that the cache fetches because this client asked, in the same way.
    pub writes: Option<NonZeroU32>,
    /// Bytes of bodies a second, over all connections of the client.
    pub bandwidth: Option<u64>,
    /// Fetches under way at once that this client started.
    pub fills: Option<usize>,
    /// The tier's part of a saturated link, beside those of other tiers; zero counts as one.
    pub weight: u32,
}

impl Quota {
    /// Everything, at everybody's weight.
    pub const UNLIMITED: Self = Self {
        reads: None,
        writes: None,
        bandwidth: None,
        fills: None,
        weight: 1,
    };

    /// True if nothing is limited.
    pub const fn is_unlimited(&self) -> bool {
        self.reads.is_none() && self.writes.is_none() && self.bandwidth.is_none() && self.fills.is_none()
    }
}

impl Default for Quota {
    fn default() -> Self {
        Self::UNLIMITED
    }
}

/// How much is left of a quota of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Operations a minute.
    pub limit: u32,
    /// How many could follow at once.
    pub remaining: u32,
}

/// Which quota a client has used up: metric label in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsedUp {
    /// Requests a minute.
    Reads,
    /// Objects fetched a minute.
    Writes,
    /// Fetches under way at once.
    Fills,
}

impl UsedUp {
    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::Writes => "writes",
            Self::Fills => "fills",
        }
    }
}
