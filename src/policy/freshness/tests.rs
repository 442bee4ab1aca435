//! Freshness: every age against every window.

use proptest::prelude::*;

use super::*;
use crate::oci::{Digest, MediaType};

const DAY: u64 = 24 * 60 * 60 * 1000;

fn descriptor(seed: u8) -> Descriptor {
    Descriptor {
        media_type: MediaType::OCI_INDEX,
        digest: Digest::sha256(&[seed]),
        size: u64::from(seed),
    }
}

fn record(validated: u64) -> TagRecord {
    TagRecord {
        descriptor: descriptor(1),
        validated: Time::from_millis(validated),
    }
}

fn rules(ttl: u64, stale_if_error: u64) -> Rules {
    Rules {
        ttl: Duration::from_millis(ttl),
        stale_if_error: Duration::from_millis(stale_if_error),
    }
}

#[test]
fn a_tag_is_fresh_until_its_time_to_live_is_over() {
    let rules = rules(1_000, 5_000);
    for (now, expected) in [
        (0, Before::Serve),
        (999, Before::Serve),
        (1_000, Before::Ask),
        (DAY, Before::Ask),
    ] {
        assert_eq!(
            before(Some(&record(0)), &rules, Time::from_millis(now)),
            expected,
            "{now}"
        );
    }
    assert_eq!(before(None, &rules, Time::from_millis(0)), Before::Ask);
}

#[test]
fn i11_stale_is_served_only_within_the_window() {
    let rules = rules(1_000, 5_000);
    let at = |now| after(Some(record(0)), Answer::None, &rules, Time::from_millis(now));
    assert_eq!(at(5_000), After::ServeStale(record(0)));
    assert_eq!(at(5_001), After::Fail);
}

#[test]
fn f095_a_record_from_the_future_is_asked_about() {
    let rules = rules(1_000, 5_000);
    let now = Time::from_millis(DAY);
    assert_eq!(before(Some(&record(DAY + 1)), &rules, now), Before::Ask);
    assert_eq!(before(Some(&record(DAY)), &rules, now), Before::Serve);
}

#[test]
fn nothing_held_and_nothing_heard_is_a_failure() {
    assert_eq!(
        after(None, Answer::None, &rules(1, 1), Time::from_millis(0)),
        After::Fail
    );
}

proptest! {
    #[test]
    fn fresh_never_asks_and_stale_always_does(age in 0..DAY, ttl in 0..DAY, window in 0..DAY) {
        let asked = before(Some(&record(DAY)), &rules(ttl, window), Time::from_millis(DAY + age));
        prop_assert_eq!(asked == Before::Serve, age < ttl);
    }

    #[test]
    fn i11_stale_is_served_exactly_within_any_window(age in 0..DAY, ttl in 0..DAY, window in 0..DAY) {
        let now = Time::from_millis(DAY + age);
        let outcome = after(Some(record(DAY)), Answer::None, &rules(ttl, window), now);
        let expected = if age <= window { After::ServeStale(record(DAY)) } else { After::Fail };
        prop_assert_eq!(outcome, expected, "the record keeps its old validation");
    }

    #[test]
    fn gone_always_forgets_and_found_is_always_remembered(age in 0..DAY, held: bool, ttl in 0..DAY, window in 0..DAY) {
        let now = Time::from_millis(DAY + age);
        let held = held.then(|| record(DAY));
        prop_assert_eq!(after(held.clone(), Answer::Gone, &rules(ttl, window), now), After::Forget);
        let expected = TagRecord { descriptor: descriptor(2), validated: now };
        let found = after(held, Answer::Found(descriptor(2)), &rules(ttl, window), now);
        prop_assert_eq!(found, After::Remember(expected));
    }
}
