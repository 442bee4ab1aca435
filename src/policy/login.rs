//! When a credential is tried again that a registry refused.
//!
//! Registries lock users and ban addresses that keep failing, so a refused credential is left alone: for a
//! minute at first, then twice as long with each refusal, up to a quarter of an hour; one that was locked is
//! left alone that long at once. Refusals of one step count once, however many asked at the same time.

mod written;

use std::time::Duration;

pub use self::written::{Mark, Written};
use super::backoff;
use crate::clock::Time;

/// How long a credential is left alone after its first refusal. Docker Hub locks after about five in five
/// minutes, GitLab bans an address after 30 in three.
const FIRST: Duration = Duration::from_secs(60);
/// How long at most, and after a lock: what Docker's staff name (10 to 15 minutes).
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// A credential that was taken this lately is believed to be good: several logins may go at once.
const PROVEN: Duration = Duration::from_secs(60);

/// How a registry refused a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It does not take it (401).
    Wrong,
    /// It has locked it after failed logins (429).
    Locked {
        /// For how long, if it said.
        retry_after: Option<Duration>,
    },
}

/// One credential's record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Login {
    refusals: u32,
    parked: Option<(Time, Refused)>,
    taken: Option<Time>,
}

impl Login {
    /// The registry refused it at `now`. While it is parked already, the refusal is of a login that was under
    /// way before, and changes nothing unless it names a lock.
    pub fn refuse(&mut self, why: Refused, now: Time) {
        self.taken = None;
        let parked = self.parked(now).map(|(until, _)| until);
        let until = match why {
            Refused::Wrong if parked.is_some() => return,
            Refused::Wrong => {
                let pause = backoff::doubled(FIRST, LONGEST, self.refusals);
                self.refusals = self.refusals.saturating_add(1);
                now + pause
            }
            Refused::Locked { retry_after } => now + retry_after.unwrap_or(LONGEST).max(LONGEST),
        };
        self.parked = Some((parked.map_or(until, |parked| parked.max(until)), why));
    }

    /// The registry took it.
    pub fn take(&mut self, now: Time) {
        *self = Self {
            taken: Some(now),
            ..Self::default()
        };
    }

    /// Until when it is not tried, and why.
    pub fn parked(&self, now: Time) -> Option<(Time, Refused)> {
        self.parked.filter(|(until, _)| *until > now)
    }

    /// True if it was taken a moment ago. Until then one login at a time finds out.
    pub fn is_proven(&self, now: Time) -> bool {
        self.taken.is_some_and(|taken| now.since(taken) < PROVEN)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    fn wait(login: &Login, now: Time) -> u64 {
        login
            .parked(now)
            .map_or(0, |(until, _)| until.since(now).as_secs())
    }

    #[test]
    fn pauses_double_up_to_a_quarter_of_an_hour_and_begin_anew_once_it_was_taken() {
        let (mut login, mut now) = (Login::default(), at(1));
        let mut pauses = Vec::new();
        for _ in 0..6 {
            login.refuse(Refused::Wrong, now);
            pauses.push(wait(&login, now));
            now = login.parked(now).unwrap().0;
            assert_eq!(login.parked(now), None);
        }
        assert_eq!(pauses, [60, 120, 240, 480, 900, 900]);
        login.take(now);
        assert!(login.is_proven(now) && !login.is_proven(now + PROVEN));
        login.refuse(Refused::Wrong, now);
        assert_eq!(wait(&login, now), 60);
        assert!(!login.is_proven(now));
    }

    #[test]
    fn a_lock_parks_for_a_quarter_of_an_hour_at_least() {
        for (told, seconds) in [(None, 900), (Some(7), 900), (Some(3600), 3600)] {
            let mut login = Login::default();
            let retry_after = told.map(Duration::from_secs);
            login.refuse(Refused::Wrong, at(1));
            login.refuse(Refused::Locked { retry_after }, at(2));
            assert_eq!(wait(&login, at(2)), seconds);
            // One that was under way does not shorten it.
            login.refuse(Refused::Wrong, at(3));
            assert_eq!(login.parked(at(3)).unwrap().1, Refused::Locked { retry_after });
        }
    }

    proptest! {
        /// Whatever comes when: logins at one time cost one step, and no pause is longer than it may be.
        #[test]
        fn refusals_of_one_step_count_once(steps in prop::collection::vec((1_u64..2000, 1_usize..20), 1..20)) {
            let (mut login, mut now) = (Login::default(), at(1));
            for (pause, askers) in steps {
                if login.parked(now).is_none() {
                    let mut alone = login;
                    alone.refuse(Refused::Wrong, now);
                    for _ in 0..askers {
                        login.refuse(Refused::Wrong, now);
                    }
                    prop_assert_eq!(alone, login);
                }
                prop_assert!(wait(&login, now) <= LONGEST.as_secs());
                now = now + Duration::from_secs(pause);
            }
        }
    }
}
