//! When the disk is left alone, and when it is tried again: a circuit breaker for writes, and how long one
//! download lets the disk hold it up.
//!
//! ```text
//! closed ── three errors in 30 s, or one that is bound to repeat ──> open ── pause over ──> probe
//!    ^                                                                ^                      │  │
//!    └────────────────────────────────────────────────────────────────┼──── it succeeded ────┘  │
//!                                                                     └── pause doubled ── failed
//! ```
//! While it is open, pulls go on and nothing is kept; what is held is still read. A probe is a small file that
//! is written, synced and removed again. A disk that takes the probe and then refuses the next downloads
//! (one that is nearly full) is left alone longer each time.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Time;

/// Errors within [`WITHIN`] that open it: one may be a file's own bad luck, three are the disk's.
const ERRORS: usize = 3;
/// How close together they have to be.
const WITHIN: Duration = Duration::from_secs(30);
/// The first pause before a probe, and the longest: an operator who has freed space does not wait long.
const PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// Who has been closed for this long begins with the first pause again.
const QUIET: Duration = Duration::from_secs(300);
/// How long a download lets the disk hold it up in all, whatever is written meanwhile.
const FORGIVEN: Duration = Duration::from_secs(5);
/// A disk that takes this many bytes a second is of use, however fast the network is: a busy hard disk does.
const OF_USE: u64 = 8 << 20;

/// What is wrong with the disk, told apart by what the operator has to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// No bytes, no inodes or no quota left (ENOSPC, EDQUOT).
    Full,
    /// It cannot read or write what it should (EIO and its like).
    Failing,
    /// The file system takes no writes (EROFS).
    ReadOnly,
    /// The directory is gone and cannot be made again (ENOENT, ENOTDIR, ESTALE).
    Missing,
    /// We may not write there (EACCES, EPERM).
    Denied,
    /// The process has no file descriptor left (EMFILE, ENFILE).
    Descriptors,
    /// It does not answer in time.
    Slow,
    /// Another process has taken the directory while it was out of our hands.
    Taken,
    /// Anything else.
    Other,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Full,
        Self::Failing,
        Self::ReadOnly,
        Self::Missing,
        Self::Denied,
        Self::Descriptors,
        Self::Slow,
        Self::Taken,
        Self::Other,
    ];

    /// The word for it in metrics, status and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Failing => "failing",
            Self::ReadOnly => "read-only",
            Self::Missing => "missing",
            Self::Denied => "denied",
            Self::Descriptors => "descriptors",
            Self::Slow => "slow",
            Self::Taken => "taken",
            Self::Other => "other",
        }
    }

    /// What the operator can do about it.
    pub const fn next_step(self) -> &'static str {
        match self {
            Self::Full => "free space or inodes on the cache's file system, or lower [cache] capacity",
            Self::Failing => "look at the kernel's log, and replace the disk if it says so",
            Self::ReadOnly => "find out why the file system is read-only, and mount it read-write again",
            Self::Missing => "mount or create the cache directory again",
            Self::Denied => "give the cache directory back to the user that Seawall runs as",
            Self::Descriptors => "raise the limit of open files (LimitNOFILE=, ulimit -n)",
            Self::Slow => "look at what keeps the disk busy, or whether its server answers",
            Self::Taken => "stop the other process that uses the cache directory",
            Self::Other => "see the error",
        }
    }

    /// True if the next write is bound to fail as well.
    const fn repeats(self) -> bool {
        matches!(self, Self::ReadOnly | Self::Denied | Self::Taken)
    }
}

/// How much one download has been held up by the disk so far.
///
/// Each write may be well within the time that a single one is given, and a layer of a thousand of them would
/// take an hour all the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    written: u64,
    held_up: Duration,
}

impl Pace {
    /// The disk took these bytes; `held_up` is how much longer that was than the network took for the next. False
    /// if the disk is not worth waiting for any more.
    pub fn wrote(&mut self, bytes: u64, held_up: Duration) -> bool {
        self.written += bytes;
        self.held_up += held_up;
        let worth = Duration::from_millis(self.written.saturating_mul(1000) / OF_USE);
        self.held_up <= FORGIVEN + worth
    }
}

/// The breaker.
#[derive(Debug, Default)]
pub struct Breaker {
    recent: VecDeque<Time>,
    open: Option<Open>,
    /// The last pause, and when it ended well.
    closed: Option<(Duration, Time)>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    trouble: Trouble,
    since: Time,
    pause: Duration,
    next: Time,
}

impl Breaker {
    /// True if a file may be written.
    pub fn may_write(&self) -> bool {
        self.open.is_none()
    }

    /// A write failed, or took too long. True if this opened the breaker.
    pub fn failed(&mut self, trouble: Trouble, now: Time) -> bool {
        if self.open.is_some() {
            return false;
        }
        self.recent.retain(|at| now.since(*at) < WITHIN);
        self.recent.push_back(now);
        if self.recent.len() < ERRORS && !trouble.repeats() {
            return false;
        }
        self.open(trouble, now);
        true
    }

    /// Opens it whatever was before: the start has found that nothing can be written.
    pub fn open(&mut self, trouble: Trouble, now: Time) {
        let again = self.closed.filter(|(_, at)| now.since(*at) < QUIET);
        let pause = again.map_or(PAUSE.0, |(pause, _)| (pause * 2).min(PAUSE.1));
        self.recent.clear();
        self.open = Some(Open {
            trouble,
            since: now,
            pause,
            next: now + pause,
        });
    }

    /// When the next probe is due; `None` while the breaker is closed.
    pub fn probe_at(&self) -> Option<Time> {
        self.open.map(|open| open.next)
    }

    /// What came of a probe. True if that changed what is to be told: it closed, or the trouble is another.
    pub fn probed(&mut self, outcome: Result<(), Trouble>, now: Time) -> bool {
        let Some(open) = &mut self.open else { return false };
        match outcome {
            Ok(()) => {
                self.closed = Some((open.pause, now));
                self.open = None;
                true
            }
            Err(trouble) => {
                open.pause = (open.pause * 2).min(PAUSE.1);
                open.next = now + open.pause;
                std::mem::replace(&mut open.trouble, trouble) != trouble
            }
        }
    }

    /// What is wrong, and since when; `None` while the breaker is closed.
    pub fn standing(&self) -> Option<(Trouble, Time)> {
        self.open.map(|open| (open.trouble, open.since))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn f060_three_errors_close_together_open_it_and_three_far_apart_do_not() {
        let mut breaker = Breaker::default();
        for second in [0, 31, 62, 93] {
            assert!(!breaker.failed(Trouble::Full, at(second)));
        }
        let mut breaker = Breaker::default();
        let opened = [0, 10, 20].map(|second| breaker.failed(Trouble::Full, at(second)));
        assert_eq!(opened, [false, false, true]);
        assert!(!breaker.may_write());
        assert_eq!(breaker.standing(), Some((Trouble::Full, at(20))));
    }

    #[test]
    fn f065_a_disk_that_is_slow_at_every_write_is_waited_for_some_seconds_in_all() {
        let mib = 1 << 20;
        let mut pace = Pace::default();
        let waited = (1..).find(|_| !pace.wrote(mib, Duration::from_millis(500)));
        assert_eq!(waited, Some(14), "seven seconds for 14 MiB");
        let mut pace = Pace::default();
        assert!(!pace.wrote(mib, Duration::from_secs(6)), "one write is enough");
        // What the network is slower than holds nobody up, and a disk of 10 MiB a second is written to the end.
        let (mut pace, mut modest) = (Pace::default(), Pace::default());
        assert!((0..10_000).all(|_| pace.wrote(mib / 64, Duration::ZERO)));
        assert!((0..10_000).all(|_| modest.wrote(mib, Duration::from_millis(100))));
        // One bad moment of a disk that is well is forgiven.
        assert!(modest.wrote(mib, Duration::from_secs(4)));
    }

    #[test]
    fn f064_f068_what_is_bound_to_repeat_opens_it_at_once() {
        for trouble in Trouble::ALL {
            let opened = Breaker::default().failed(trouble, at(0));
            let expected = matches!(trouble, Trouble::ReadOnly | Trouble::Denied | Trouble::Taken);
            assert_eq!(opened, expected, "{trouble:?}");
        }
    }

    #[test]
    fn a_failed_probe_doubles_the_pause_and_a_good_one_closes() {
        let mut breaker = Breaker::default();
        breaker.failed(Trouble::ReadOnly, at(0));
        let mut now = 0;
        for pause in [5, 10, 20, 40, 60, 60] {
            now += pause;
            assert_eq!(breaker.probe_at(), Some(at(now)));
            assert!(!breaker.probed(Err(Trouble::ReadOnly), at(now)));
        }
        assert!(breaker.probed(Err(Trouble::Failing), at(now)));
        assert!(breaker.probed(Ok(()), at(now)));
        assert!(breaker.may_write() && breaker.probe_at().is_none());
    }

    #[test]
    fn a_disk_that_takes_the_probe_only_is_left_alone_longer_each_time() {
        let (mut breaker, mut now) = (Breaker::default(), 0);
        for pause in [5, 10, 20, 40, 60, 60] {
            for _ in 0..ERRORS {
                breaker.failed(Trouble::Full, at(now));
            }
            assert_eq!(breaker.probe_at(), Some(at(now + pause)));
            now += pause;
            assert!(breaker.probed(Ok(()), at(now)));
        }
        breaker.failed(Trouble::ReadOnly, at(now + 300));
        assert_eq!(breaker.probe_at(), Some(at(now + 305)));
    }

    proptest! {
        /// Whatever happens, a probe is due within the longest pause, and a good one closes it.
        #[test]
        fn nothing_keeps_a_healed_disk_out(steps in proptest::collection::vec((0..9usize, 0..2u8, 0..90u64), 0..80)) {
            let (mut breaker, mut now) = (Breaker::default(), 0);
            for (trouble, step, wait) in steps {
                now += wait;
                match step {
                    0 => drop(breaker.failed(Trouble::ALL[trouble], at(now))),
                    _ => drop(breaker.probed(Err(Trouble::ALL[trouble]), at(now))),
                }
            }
            if let Some(next) = breaker.probe_at() {
                prop_assert!(next <= at(now) + PAUSE.1);
                prop_assert!(breaker.probed(Ok(()), next));
            }
            prop_assert!(breaker.may_write());
        }
    }
}
