//! The only reader of clocks.
//!
//! [`Time`] is milliseconds since the Unix epoch. The wall clock is read once, when the [`Clock`] is made (and for
//! the dates of answers); from then on time advances with tokio's monotonic clock. So it never goes back, can be written to disk,
//! and stands still when a test pauses the runtime.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

/// A moment, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The moment `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The moment that RFC 3339 says, as images tell it; `None` for what is none after the Unix epoch.
    pub fn parse(text: &str) -> Option<Self> {
        let moment: jiff::Timestamp = text.parse().ok()?;
        let millis = u64::try_from(moment.as_millisecond()).ok();
        millis.filter(|millis| *millis > 0).map(Self)
    }

    /// How long ago `earlier` was; zero if it lies ahead (a record written under a faster clock).
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// As the standard library writes time, for dates in headers and logs.
    pub fn to_system(self) -> std::time::SystemTime {
        std::time::UNIX_EPOCH + Duration::from_millis(self.0)
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, wait: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

/// As a date of HTTP; with `#`, as RFC 3339 has it, to the millisecond, which logs have.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return httpdate::HttpDate::from(self.to_system()).fmt(f);
        }
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        let moment = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{moment:.3}")
    }
}

/// The date of HTTP, by the wall clock: what it says goes to others, who have clocks of their own.
#[expect(
    clippy::disallowed_methods,
    reason = "a date by our own clock would be wrong after the machine has slept"
)]
pub fn http_date() -> String {
    httpdate::HttpDate::from(std::time::SystemTime::now()).to_string()
}

/// Tells the time. Cheap to copy; all copies agree.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    anchor: tokio::time::Instant,
    epoch: Time,
}

impl Clock {
    /// Reads the wall clock, once.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the wall clock"
    )]
    pub fn start() -> Self {
        let wall = std::time::SystemTime::now();
        let since = wall.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self {
            anchor: tokio::time::Instant::now(),
            epoch: Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// The time since the clock was made: finer than [`Self::now`], and of no meaning to others.
    pub fn elapsed(&self) -> std::time::Duration {
        self.anchor.elapsed()
    }

    /// [`Self::elapsed`] in nanoseconds.
    pub fn nanos(&self) -> u64 {
        u64::try_from(self.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The present moment in nanoseconds since the Unix epoch, as spans have it.
    pub fn unix_nanos(&self) -> u64 {
        self.unix_nanos_at(self.elapsed())
    }

    /// [`Self::unix_nanos`] when [`Self::elapsed`] said this.
    pub fn unix_nanos_at(&self, elapsed: std::time::Duration) -> u64 {
        let since = Duration::from_millis(self.epoch.as_millis()) + elapsed;
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The present moment.
    pub fn now(&self) -> Time {
        self.at(self.elapsed())
    }

    /// The moment at which [`Self::elapsed`] said this.
    pub fn at(&self, elapsed: std::time::Duration) -> Time {
        self.epoch + elapsed
    }
}
