//! Bytes per second, by leases: who sends takes a lease first, and is told how long to wait before it may send it.
//!
//! [`Pace`] is a generic cell rate algorithm: one number, the time at which all that was granted would have been
//! sent at exactly the rate. Whoever takes a lease moves it ahead and waits until it is near again. So the
//! sum of all who share a pace holds the rate, in the order they came, with nothing to refill and nobody to
//! wake. [`Link`] shares one pace between clients that must not crowd each other out.
//!
//! Times are nanoseconds since some moment that all callers agree on.

mod link;
#[cfg(test)]
mod properties;

pub use link::{Link, Next, Ticket};

/// How far ahead of its rate a sender may be, in nanoseconds. It has to forgive timers that fire late (tokio's
/// tick is 1 ms, a busy machine adds ten): what is forgiven is not lost. As a burst it is 2 % of a second.
pub const TOLERANCE: u64 = 20_000_000;

/// A lease lasts this part of a second: 4 ms.
const LEASES_PER_SECOND: u64 = 250;
/// Bytes of the smallest lease: below, the cost of waking up shows.
const LEAST_LEASE: u64 = 64 << 10;
/// Bytes of the largest lease: it is all one socket takes at once, and more than the kernel sends in one call.
const MOST_LEASE: u64 = 4 << 20;
/// Bits behind the point of a cost in nanoseconds.
const FRACTION: u32 = 32;

/// Bytes to take at a time at this rate (bytes per second): one decision for 4 ms of sending.
pub const fn lease(rate: u64) -> u64 {
    let lease = rate / LEASES_PER_SECOND;
    if lease < LEAST_LEASE {
        LEAST_LEASE
    } else if lease > MOST_LEASE {
        MOST_LEASE
    } else {
        lease
    }
}

/// One rate, held over all that is taken from it.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Nanoseconds per byte, times 2^32.
    per_byte: u64,
    /// When all that was taken would have been sent at the rate.
    due: u64,
    /// The part of a nanosecond that is still to be charged, times 2^32.
    rest: u64,
}

impl Pace {
    /// A pace of so many bytes per second; zero counts as one.
    pub fn new(rate: u64) -> Self {
        let second = 1_000_000_000_u64 << FRACTION;
        Self {
            per_byte: second.div_ceil(rate.max(1)),
            due: 0,
            rest: 0,
        }
    }

    /// Takes so many bytes. Returns the nanoseconds to wait before they may be sent.
    pub fn take(&mut self, now: u64, bytes: u64) -> u64 {
        let wait = self.wait(now);
        let cost = u128::from(bytes) * u128::from(self.per_byte) + u128::from(self.rest);
        // The mask leaves less than 2^32, which fits.
        self.rest = (cost & ((1 << FRACTION) - 1)) as u64;
        let cost = u64::try_from(cost >> FRACTION).unwrap_or(u64::MAX);
        self.due = self.due.max(now).saturating_add(cost);
        wait
    }

    /// The nanoseconds until something may be sent.
    pub const fn wait(&self, now: u64) -> u64 {
        self.due.saturating_sub(now).saturating_sub(TOLERANCE)
    }

    /// Gives back what was taken and will not be sent.
    pub fn give_back(&mut self, bytes: u64) {
        let cost = (u128::from(bytes) * u128::from(self.per_byte)) >> FRACTION;
        self.due = self.due.saturating_sub(u64::try_from(cost).unwrap_or(u64::MAX));
    }
}
