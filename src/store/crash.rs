//! Places where a test may have the process die: between any two steps whose order matters.
//!
//! A debug build aborts at the point that `SEAWALL_CRASH_AT` names, when it comes by for the
//! `SEAWALL_CRASH_PASS`-th time (the first, if that is not set). A release build has no such thing. Every
//! point is listed here once; `tests/it/crash.rs` dies at each of them.

/// A place between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// An unfinished file was made or opened.
    Begun,
    /// A piece of it was written.
    Written,
    /// It has its final length, and is not synced yet.
    CommitSized,
    /// Its bytes are durable, and it has no name yet.
    CommitSynced,
    /// It has its name, and nobody was told.
    CommitNamed,
    /// The index knows of it, and it is not written down.
    CommitListed,
    /// An unfinished file is about to be removed.
    Discarding,
    /// A damaged file was taken out of sight.
    Quarantined,
    /// A file was evicted, and the index has not heard of it.
    Evicted,
    /// A file was removed because somebody wants it gone, and the index has not heard of it.
    Removed,
    /// Records are written, and not committed.
    RecordsWritten,
    /// Records are committed.
    RecordsCommitted,
    /// What takes the place of a small file is written, and not synced yet.
    ReplacementWritten,
    /// It is durable, and has not its name yet.
    ReplacementSynced,
    /// It has its name, which is not durable yet, and nobody was told.
    ReplacementNamed,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Begun,
        Self::Written,
        Self::CommitSized,
        Self::CommitSynced,
        Self::CommitNamed,
        Self::CommitListed,
        Self::Discarding,
        Self::Quarantined,
        Self::Evicted,
        Self::Removed,
        Self::RecordsWritten,
        Self::RecordsCommitted,
        Self::ReplacementWritten,
        Self::ReplacementSynced,
        Self::ReplacementNamed,
    ];

    /// The name by which a test asks for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Written => "written",
            Self::CommitSized => "commit-sized",
            Self::CommitSynced => "commit-synced",
            Self::CommitNamed => "commit-named",
            Self::CommitListed => "commit-listed",
            Self::Discarding => "discarding",
            Self::Quarantined => "quarantined",
            Self::Evicted => "evicted",
            Self::Removed => "removed",
            Self::RecordsWritten => "records-written",
            Self::RecordsCommitted => "records-committed",
            Self::ReplacementWritten => "replacement-written",
            Self::ReplacementSynced => "replacement-synced",
            Self::ReplacementNamed => "replacement-named",
        }
    }
}

/// Dies here if a test wants that.
#[cfg(debug_assertions)]
pub(crate) fn point(point: Point) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static WANTED: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static PASSES: AtomicU32 = AtomicU32::new(0);
    let wanted = WANTED.get_or_init(|| {
        let name = std::env::var("SEAWALL_CRASH_AT").ok()?;
        let pass = std::env::var("SEAWALL_CRASH_PASS").ok();
        Some((name, pass.and_then(|pass| pass.parse().ok()).unwrap_or(1)))
    });
    if let Some((name, pass)) = wanted
        && name == point.name()
        && PASSES.fetch_add(1, Ordering::Relaxed) + 1 == *pass
    {
        std::process::abort();
    }
}

/// Nothing: tests crash debug builds only.
#[cfg(not(debug_assertions))]
pub(crate) const fn point(_: Point) {}
