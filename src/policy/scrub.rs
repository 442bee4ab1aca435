//! When the next object is hashed again, so that everything held is within a period; who is to blame for what cannot
//! be read; and which objects a sample takes.
//!
//! Objects are hashed one after the other in the order of their digests. Each owes time: the part of the period
//! that its weight is of everything held. Digests are as good as random, so what comes and goes meanwhile is
//! spread evenly over what was passed and what is to come, and the pace stays right.
//!
//! Who is late, because the process was down or the cache has grown, catches up at twice the pace at most, and
//! has at most one period to catch up with. While an object is read, the disk is left to others in between.

use std::time::Duration;

use crate::clock::Time;
use crate::oci::Digest;

/// What one object weighs besides its bytes: to find and open it takes a slow disk about 10 ms, in which it reads
/// 1 MiB. Else a million small objects would be rushed through.
pub const WEIGHT_OF_ONE: u64 = 1 << 20;

/// Most bytes read per second: half of what one spinning disk gives (200 MB/s).
pub const MOST_RATE: u64 = 100_000_000;

/// Part of [`MOST_RATE`] that is left while clients are served or downloads written: 10 MB/s, a twentieth of such
/// a disk.
const YIELDING: f64 = 0.1;

/// How much faster than its pace who is late may be.
pub const CATCH_UP: f64 = 2.0;

/// Everything held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whole {
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Whole {
    /// The weight of it all.
    pub fn weight(self) -> f64 {
        self.bytes as f64 + self.objects as f64 * WEIGHT_OF_ONE as f64
    }

    /// Weight per second that covers it all in `period`.
    fn pace(self, period: Duration) -> f64 {
        self.weight() / period.as_secs_f64().max(1.0)
    }
}

/// The weight of an object of `size` bytes.
pub fn weight(size: u64) -> f64 {
    size as f64 + WEIGHT_OF_ONE as f64
}

/// How long to rest after reading `bytes` of an object; `busy` while others use the disk.
pub fn step(bytes: u64, whole: Whole, period: Duration, busy: bool) -> Duration {
    let most = MOST_RATE as f64;
    // What is large must be covered even where the disk is never idle.
    let yielding = (most * YIELDING).max(whole.pace(period) * CATCH_UP).min(most);
    let rate = if busy { yielding } else { most };
    Duration::from_secs_f64(bytes as f64 / rate)
}

/// How far what was hashed is ahead of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    period: Duration,
    /// Weight whose time has not come yet; below zero if it is late.
    owed: f64,
    /// The moment for which that holds.
    at: Time,
    /// When the last object was begun, and its weight: however late it is, a part of its time must have gone by.
    last: (Time, f64),
}

impl Pace {
    /// A pace that begins now.
    pub const fn new(period: Duration, now: Time) -> Self {
        Self::resume(period, 0.0, now)
    }

    /// A pace that stood like this at some moment, perhaps of another process.
    pub const fn resume(period: Duration, owed: f64, at: Time) -> Self {
        Self {
            period,
            owed,
            at,
            last: (at, 0.0),
        }
    }

    /// What to hand to [`Self::resume`].
    pub const fn owed(&self) -> (f64, Time) {
        (self.owed, self.at)
    }

    /// An object of `size` bytes was begun at `began` and is done.
    pub fn hashed(&mut self, size: u64, began: Time, whole: Whole, now: Time) {
        self.pass(whole, now);
        self.owed += weight(size);
        self.last = (began, weight(size));
    }

    /// How long to rest before the next object is begun; nothing if it may be.
    pub fn rest(&mut self, whole: Whole, now: Time) -> Duration {
        self.pass(whole, now);
        let pace = whole.pace(self.period).max(f64::MIN_POSITIVE);
        let (began, weight) = self.last;
        let earliest = began + rest_of(weight / (pace * CATCH_UP));
        rest_of(self.owed.max(0.0) / pace).max(earliest.since(now))
    }

    /// Time goes by, and earns weight.
    fn pass(&mut self, whole: Whole, now: Time) {
        let earned = whole.pace(self.period) * now.since(self.at).as_secs_f64();
        self.owed = (self.owed - earned).max(-whole.weight());
        self.at = self.at.max(now);
    }
}

/// Seconds in whole milliseconds, as [`Time`] has them; a year at most.
fn rest_of(seconds: f64) -> Duration {
    const LONGEST: f64 = 365.0 * 86_400.0 * 1000.0;
    Duration::from_millis((seconds * 1000.0).ceil().min(LONGEST) as u64)
}

/// Files in a row that may be held to be damaged because they cannot be read. Bad sectors lie together, but a disk
/// that gives nothing at all is ill itself, and its files may be whole when it is well again.
const MOST_BROKEN: u32 = 3;

/// Who is to blame for what cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blame {
    broken: u32,
}

impl Blame {
    /// A file was read to its end.
    pub const fn read(&mut self) {
        self.broken = 0;
    }

    /// A file could not be read. True if the file is to blame, false if it is the disk.
    pub const fn broken(&mut self) -> bool {
        self.broken = self.broken.saturating_add(1);
        self.broken <= MOST_BROKEN
    }
}

/// Some of all objects: the same ones for the same seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The part that is taken, from 0 to 1.
    pub part: f64,
    /// Which part.
    pub seed: u64,
}

impl Sample {
    /// True if this object is among them.
    pub fn takes(&self, digest: &Digest) -> bool {
        let mut first = [0; 8];
        first.copy_from_slice(&digest.as_bytes()[..8]);
        let drawn = mix(u64::from_le_bytes(first) ^ mix(self.seed));
        // 53 bits are what a float can tell apart.
        ((drawn >> 11) as f64) < self.part * (1_u64 << 53) as f64
    }
}

/// Spreads every bit over all others (the finaliser of SplitMix64).
const fn mix(seed: u64) -> u64 {
    let seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    seed ^ (seed >> 31)
}

#[cfg(test)]
mod tests;
