//! When to try again: how often, how long after, and what `Retry-After` says.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Time;
use crate::policy::backoff;

/// Most tries of one request.
pub(super) const MAX_TRIES: u32 = 3;

/// Most further tries after a 429 that asks for less than a second.
pub(super) const MAX_SHORT_WAITS: u32 = 3;

/// The longest that is waited before the first retry; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The longest `Retry-After` believed.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

/// The same of an allowance that is used up: as long as windows are.
const LONGEST_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// How long to wait before retry number `count` (from 0): full jitter, so that those who failed together
/// do not return together.
pub(super) fn pause(count: u32) -> Duration {
    let limit = backoff::doubled(FIRST_WAIT, LONGEST_WAIT, count);
    limit.mul_f64(rand::random_range(0.0..=1.0))
}

/// How long to wait after a 429 that asked for `wait`, if that is short enough to wait here.
pub(super) fn short_wait(wait: Option<Duration>) -> Option<Duration> {
    let wait = wait.filter(|wait| *wait < Duration::from_secs(1))?;
    Some(
        wait.max(Duration::from_millis(50))
            .mul_f64(rand::random_range(1.0..=2.0)),
    )
}

/// Reads `Retry-After`: seconds, fractions of seconds (not in the RFC, but sent), or a date.
pub(super) fn retry_after(value: &str, now: Time) -> Option<Duration> {
    retry_within(LONGEST_WAIT, value, now)
}

/// The same for an allowance that is used up.
pub(super) fn renewed_after(value: &str, now: Time) -> Option<Duration> {
    retry_within(LONGEST_WINDOW, value, now)
}

fn retry_within(longest: Duration, value: &str, now: Time) -> Option<Duration> {
    let value = value.trim();
    let seconds = value.parse::<f64>().ok().filter(|seconds| seconds.is_finite());
    let wait = match seconds {
        Some(seconds) => Duration::from_secs_f64(seconds.clamp(0.0, longest.as_secs_f64())),
        None => {
            let date = httpdate::parse_http_date(value).ok()?;
            date.duration_since(now.to_system()).unwrap_or_default()
        }
    };
    Some(wait.min(longest))
}

/// Retries are a tenth of the requests, and a few: when everything fails they do not double the load.
pub(super) struct Retries(AtomicU64);

/// Of one retry.
const PRICE: u64 = 10;
/// Ten retries may follow each other before requests must earn them.
const MOST: u64 = 10 * PRICE;

impl Retries {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(MOST))
    }

    /// Counts a request.
    pub(super) fn earn(&self) {
        let add = |held: u64| (held < MOST).then_some(held + 1);
        // An error means that there are as many as there may be.
        let _ = self.0.try_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Takes a retry, if there is one.
    pub(super) fn spend(&self) -> bool {
        let take = |held: u64| held.checked_sub(PRICE);
        self.0
            .try_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_a_fraction_or_a_date() {
        let now = Time::from_millis(784_111_777_000);
        let read = |value| retry_after(value, now);
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read(" 0.5 "), Some(Duration::from_millis(500)));
        assert_eq!(
            read("Sun, 06 Nov 1994 08:50:37 GMT"),
            Some(Duration::from_secs(60))
        );
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("999999999999"), Some(LONGEST_WAIT));
        assert_eq!(read("-3"), Some(Duration::ZERO));
        for nonsense in ["", "soon", "NaN", "inf"] {
            assert_eq!(read(nonsense), None, "{nonsense}");
        }
    }

    // F032
    #[test]
    fn retries_end_when_everything_fails() {
        let left = Retries::new();
        let retries = (0..1000).filter(|_| {
            left.earn();
            left.spend()
        });
        let count = retries.count();
        assert!((100..=111).contains(&count), "{count}");
    }

    #[test]
    fn only_short_waits_are_waited_here() {
        assert_eq!(short_wait(None), None);
        assert_eq!(short_wait(Some(Duration::from_secs(1))), None);
        assert!(short_wait(Some(Duration::from_millis(1))).unwrap() <= Duration::from_millis(100));
    }
}
