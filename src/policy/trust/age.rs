//! How long a tag has to have pointed at something before that is served under it.
//!
//! What was pushed by somebody who should not have been able to is noticed and taken back after hours or days, most of
//! the time. So a rule may want that what a tag points at has been seen for a while. What an image says of its own age
//! is not asked: whoever makes it writes that. Only what the tag points at now is ever served anew; what it pointed at
//! in between may be what was taken back.

use std::time::Duration;

use crate::clock::Time;
use crate::oci::Digest;

/// When something was first seen, by everything that is known of it: now, if nothing is, or nothing but times that have
/// not come yet, which were written under a faster clock.
pub fn first_seen(known: impl IntoIterator<Item = Time>, now: Time) -> Time {
    let past = known.into_iter().filter(|time| *time <= now);
    past.min().unwrap_or(now)
}

/// Until when what a tag points at has to wait before it is served under that; `None` if it may be now. What is served
/// already goes on being.
pub fn waits_until(
    minimum: Duration,
    served: Option<&Digest>,
    found: &Digest,
    first: Time,
    now: Time,
) -> Option<Time> {
    let until = first + minimum;
    (served != Some(found) && until > now).then_some(until)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn what_a_tag_moved_to_waits_for_its_age_to_the_second() {
        let (old, new) = (Digest::sha256(b"old"), Digest::sha256(b"new"));
        let (minimum, first) = (Duration::from_secs(60), at(1000));
        for (served, found, now, expected) in [
            (Some(&old), &new, 1000, Some(1060)),
            (Some(&old), &new, 1059, Some(1060)),
            (Some(&old), &new, 1060, None),
            (None, &new, 1059, Some(1060)),
            (None, &new, 1060, None),
            // It never went away, or has come back.
            (Some(&new), &new, 1000, None),
        ] {
            let until = waits_until(minimum, served, found, first, at(now));
            assert_eq!(until, expected.map(at), "{served:?} {now}");
        }
        assert_eq!(waits_until(Duration::ZERO, None, &new, first, first), None);
    }

    #[test]
    fn what_was_seen_under_a_faster_clock_was_not_seen_yet() {
        assert_eq!(first_seen([], at(5)), at(5));
        assert_eq!(first_seen([at(3), at(4)], at(5)), at(3));
        assert_eq!(first_seen([at(6)], at(5)), at(5));
        assert_eq!(first_seen([at(6), at(4)], at(5)), at(4));
    }

    proptest! {
        #[test]
        fn nothing_waits_longer_than_the_age_and_what_waits_no_longer_never_does_again(
            minimum in 0_u64..1000, known in proptest::option::of(0_u64..3000), now in 0_u64..3000, later in 0_u64..1000,
        ) {
            let (found, wait) = (Digest::sha256(b"new"), Duration::from_secs(minimum));
            let first = first_seen(known.map(at), at(now));
            let until = waits_until(wait, None, &found, first, at(now));
            prop_assert!(until.is_none_or(|until| until > at(now) && until <= at(now) + wait));
            let again = first_seen([first], at(now + later));
            let still = waits_until(wait, None, &found, again, at(now + later));
            prop_assert!(still.is_none() || still == until);
        }
    }
}
