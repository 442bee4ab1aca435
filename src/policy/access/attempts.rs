//! How often who fails to log in may try again.

use std::time::Duration;

use crate::clock::Time;

/// Failures that an address has at once: several people behind one address mistype, and a cluster of nodes with
/// an old password asks once each.
const AT_ONCE: u32 = 10;
/// One more after each of these: 8,640 guesses a day, of which a password of eight letters knows nothing.
const EVERY: Duration = Duration::from_secs(10);

/// The failed logins from one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// When all of them are forgiven.
    clean: Time,
}

impl Attempts {
    /// No failure yet.
    pub fn new(now: Time) -> Self {
        Self { clean: now }
    }

    /// How long the next attempt has to wait; `None` if it has not.
    pub fn wait(&self, now: Time) -> Option<Duration> {
        let allowed = EVERY * (AT_ONCE - 1);
        let wait = self.clean.since(now + allowed);
        (!wait.is_zero()).then_some(wait)
    }

    /// An attempt has failed.
    pub fn fail(&mut self, now: Time) {
        self.clean = self.clean.max(now) + EVERY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_failures_are_free_and_one_more_every_ten_seconds() {
        let at = |seconds: u64| Time::from_millis(1_000_000 + seconds * 1000);
        let mut attempts = Attempts::new(at(0));
        for _ in 0..10 {
            assert_eq!(attempts.wait(at(0)), None);
            attempts.fail(at(0));
        }
        assert_eq!(attempts.wait(at(0)), Some(EVERY));
        assert_eq!(attempts.wait(at(9)), Some(Duration::from_secs(1)));
        assert_eq!(attempts.wait(at(10)), None);
        attempts.fail(at(10));
        assert_eq!(attempts.wait(at(10)), Some(EVERY));
        // All of them are forgiven, and no more than all.
        for _ in 0..10 {
            assert_eq!(attempts.wait(at(1000)), None);
            attempts.fail(at(1000));
        }
        assert_eq!(attempts.wait(at(1000)), Some(EVERY));
    }
}
