//! How many connections a large blob is fetched over, and which of its bytes each of them asks for.
//!
//! ```text
//! 0 ───── at ──────── limit ── chunk ── chunk ── chunk ──────── total
//!   had   │ the head's own │ asked for by lanes     │ nobody's yet │
//! ```
//! The head is the plain request that every fill begins with. It costs nothing more until one connection has
//! turned out to be slow: then lanes ask for chunks ahead of it, and it ends where the first chunk begins.
//! From there on the chunks are taken in their order; where one is missing, a request of its own fills the gap.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

/// How long a chunk is. A lane holds it in memory until its turn comes.
pub const CHUNK: u64 = 8 << 20;
/// Bytes that must be left for lanes to be worth their requests.
const WORTH: u64 = 32 << 20;
/// One connection that gives so many bytes a second is left alone: each cut of it wastes what its sockets hold, and
/// 32 clients of a blob that came at 158 MB/s on a loaded machine had a quarter of it fetched twice for nothing.
const FAST: f64 = 100e6;
/// How long is waited before a change of the number of lanes shows, and for how long it is measured then.
const SETTLE: Duration = Duration::from_millis(200);
const MEASURE: Duration = Duration::from_millis(300);
/// Least bytes that say anything of a rate.
const SAMPLE: u64 = 1 << 20;
/// Most lanes added at a time: an upstream that minds sees few at once.
const STEP: usize = 2;
/// The part of what a lane gave so far that one more must add.
const GAIN: f64 = 0.2;

/// Where the next byte in order comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// From the head's own connection, up to this offset. Where it has none, it asks anew.
    Head(u64),
    /// From the first chunk.
    Chunk,
    /// From nowhere: everything was taken.
    End,
}

/// Which bytes of a blob have been taken, and which are asked for ahead of them.
#[derive(Clone, Debug)]
pub struct Chunks {
    total: u64,
    at: u64,
    ahead: VecDeque<Range<u64>>,
}

impl Chunks {
    /// A blob of `total` bytes, of which those from `at` on are to be taken.
    pub const fn new(total: u64, at: u64) -> Self {
        Self {
            total,
            at,
            ahead: VecDeque::new(),
        }
    }

    /// The next byte to be taken.
    pub const fn at(&self) -> u64 {
        self.at
    }

    /// The length of the whole.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// The next chunk that a lane should ask for; `None` if no more of them are worth it. It counts as asked for.
    pub fn ask(&mut self) -> Option<Range<u64>> {
        let start = match self.ahead.back() {
            Some(last) => last.end,
            None if self.total.saturating_sub(self.at) < WORTH => return None,
            None => self.at + CHUNK,
        };
        if start >= self.total {
            return None;
        }
        let chunk = start..self.total.min(start + CHUNK);
        self.ahead.push_back(chunk.clone());
        Some(chunk)
    }

    /// The lane that asked for the chunk from `start` on got nothing: those bytes are nobody's again.
    pub fn refused(&mut self, start: u64) {
        self.ahead.retain(|chunk| chunk.start != start);
    }

    /// The lane of the first chunk gives no more: what is missing of it is nobody's again.
    pub fn broke(&mut self) {
        self.ahead.pop_front();
    }

    /// Says where to take from.
    pub fn turn(&self) -> Turn {
        match self.ahead.front() {
            Some(first) if first.start <= self.at => Turn::Chunk,
            Some(first) => Turn::Head(first.start),
            None if self.at < self.total => Turn::Head(self.total),
            None => Turn::End,
        }
    }

    /// Bytes were taken. True if that was the end of the first chunk.
    pub fn took(&mut self, bytes: u64) -> bool {
        self.at += bytes;
        let ended = self.ahead.front().is_some_and(|first| first.end <= self.at);
        if ended {
            self.ahead.pop_front();
        }
        ended
    }

    /// The head was asked for anew, and begins here.
    pub const fn begin(&mut self, at: u64) {
        self.at = at;
    }
}

/// Climbs to the number of connections from which one more adds nothing.
#[derive(Clone, Debug)]
pub struct Pace {
    want: usize,
    /// False once the number is as it stays.
    open: bool,
    /// How many there were before the last change, and what they gave together in a second.
    before: Option<(usize, f64)>,
    /// When the last change has had its time to show.
    settled: Duration,
    /// What was told when the measuring began.
    since: Duration,
    bytes: u64,
    reading: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            want: 1,
            open: true,
            before: None,
            settled: Duration::ZERO,
            since: Duration::ZERO,
            bytes: 0,
            reading: Duration::ZERO,
        }
    }
}

impl Pace {
    /// How many connections there should be now, `most` at most. Told are the time since the start, the bytes
    /// that have come by then, the time that the head spent waiting for them, and how many connections there are.
    pub fn observe(
        &mut self,
        now: Duration,
        bytes: u64,
        reading: Duration,
        has: usize,
        most: usize,
    ) -> usize {
        if now < self.settled {
            self.mark(now, bytes, reading);
        }
        let came = bytes.saturating_sub(self.bytes);
        if !self.open || now < self.since + MEASURE || came < SAMPLE {
            return self.want.min(most);
        }
        // What the disk or the hash holds up is not the connection's fault.
        let spent = match self.before {
            None => reading.saturating_sub(self.reading),
            Some(_) => now.saturating_sub(self.since),
        };
        let rate = came as f64 / spent.as_secs_f64().max(1e-6);
        match self.before {
            None if rate >= FAST => {}
            Some((count, _)) if has <= count => {}
            Some((count, before)) if !gained((count, before), (has, rate)) => {
                self.want = count;
                self.open = false;
            }
            _ => {
                self.before = Some((has, rate));
                self.want = has + has.min(STEP);
                self.settled = now + SETTLE;
            }
        }
        if self.want >= most && self.before.is_some_and(|(count, _)| count >= most) {
            self.open = false;
        }
        self.mark(now, bytes, reading);
        self.want.min(most)
    }

    /// The upstream does not want more than one.
    pub const fn refused(&mut self) {
        self.want = 1;
        self.open = false;
    }

    const fn mark(&mut self, now: Duration, bytes: u64, reading: Duration) {
        (self.since, self.bytes, self.reading) = (now, bytes, reading);
    }
}

/// True if what was added is worth its connections.
fn gained((few, before): (usize, f64), (many, after): (usize, f64)) -> bool {
    let added = (many - few) as f64;
    after - before >= GAIN * added * before / few as f64
}

#[cfg(test)]
mod tests;
