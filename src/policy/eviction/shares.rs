//! Whose room it is: three kinds of content, and the part of the capacity that each has for itself.

use super::{Content, Rules, SMALL, Shelf};

/// The kinds of content that have a share of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Manifests and indexes.
    Manifest,
    /// Blobs shorter than [`SMALL`].
    Small,
    /// All other blobs.
    Large,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Manifest, Self::Small, Self::Large];

    /// The kind of `content` that is `size` bytes long.
    pub fn of(content: &Content, size: u64) -> Self {
        match content.shelf {
            Shelf::Manifests => Self::Manifest,
            Shelf::Blobs => Self::of_fill(size),
        }
    }

    /// The kind whose share a fill of `size` bytes is counted to. A fill does not say on which shelf it ends,
    /// and for as long as it runs a manifest's few bytes may as well be a small blob's.
    pub(super) fn of_fill(size: u64) -> Self {
        if size < SMALL { Self::Small } else { Self::Large }
    }
}

/// A value for each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PerKind<T>(pub(super) [T; 3]);

impl<T> std::ops::Index<Kind> for PerKind<T> {
    type Output = T;

    fn index(&self, kind: Kind) -> &T {
        &self.0[kind as usize]
    }
}

impl<T> std::ops::IndexMut<Kind> for PerKind<T> {
    fn index_mut(&mut self, kind: Kind) -> &mut T {
        &mut self.0[kind as usize]
    }
}

/// The bytes that each kind is guaranteed: parts of the low watermark, since above it somebody has to give, and
/// then there is always one kind that holds more than its own.
pub(super) fn guaranteed(rules: &Rules) -> PerKind<u64> {
    let whole = low(rules);
    let part = |fraction: f64| (whole as f64 * fraction.clamp(0.0, 1.0)) as u64;
    let manifests = part(rules.manifests);
    let small = part(rules.small).min(whole.saturating_sub(manifests));
    PerKind([manifests, small, whole.saturating_sub(manifests + small)])
}

/// The bytes at which enough room was made.
pub(super) fn low(rules: &Rules) -> u64 {
    (rules.capacity as f64 * rules.low.clamp(0.0, 1.0)) as u64
}
