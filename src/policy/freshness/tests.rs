//! Freshness: every age against every window.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::oci::{Digest, MediaType, RepositoryPath};

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
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::from_millis(stale_if_error),
        immutable: Patterns::default(),
        offline: false,
    }
}

fn patterns(text: &str) -> Patterns {
    Patterns::new(&[text.to_owned()]).unwrap()
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

/// Before asking about the tag `latest`.
fn ask(record: Option<&TagRecord>, rules: &Rules, now: u64) -> Before {
    before(&tag("latest"), record, rules, Time::from_millis(now))
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
        assert_eq!(ask(Some(&record(0)), &rules, now), expected, "{now}");
    }
    assert_eq!(ask(None, &rules, 0), Before::Ask);
}

#[test]
fn for_a_while_after_that_it_is_served_and_asked_about_behind_its_back() {
    let rules = Rules {
        stale_while_revalidate: Duration::from_millis(500),
        ..rules(1_000, 5_000)
    };
    for (now, expected) in [
        (999, Before::Serve),
        (1_000, Before::Refresh),
        (1_499, Before::Refresh),
        (1_500, Before::Ask),
    ] {
        assert_eq!(ask(Some(&record(0)), &rules, now), expected, "{now}");
    }
}

#[test]
fn an_immutable_tag_is_asked_about_once() {
    let rules = Rules {
        immutable: patterns(r"^v?\d+\.\d+\.\d+$"),
        ..rules(1_000, 5_000)
    };
    let at_last = |name: &str, record: Option<TagRecord>| {
        before(&tag(name), record.as_ref(), &rules, Time::from_millis(1000 * DAY))
    };
    assert_eq!(at_last("v1.2.3", Some(record(0))), Before::Serve);
    assert_eq!(at_last("v1.2.3", None), Before::Ask);
    assert_eq!(at_last("v1.2.3-rc1", Some(record(0))), Before::Ask);
    assert_eq!(at_last("latest", Some(record(0))), Before::Ask);
}

#[test]
fn offline_nothing_is_asked_and_everything_held_is_served() {
    let rules = Rules {
        offline: true,
        ..rules(1_000, 5_000)
    };
    for (held, now) in [(None, 0), (Some(record(0)), 0), (Some(record(0)), DAY)] {
        assert_eq!(ask(held.as_ref(), &rules, now), Before::Offline);
    }
    assert!(may_be_stale(&record(0), &rules, Time::from_millis(DAY)));
}

#[test]
fn the_first_exception_that_matches_repository_and_tag_holds() {
    let with = |ttl| rules(ttl, 0);
    let exception = |repository: &str, tag: &str, ttl| Exception {
        repository: if repository.is_empty() {
            Patterns::default()
        } else {
            patterns(repository)
        },
        tag: if tag.is_empty() {
            Patterns::default()
        } else {
            patterns(tag)
        },
        rules: with(ttl),
    };
    let policy = Policy {
        usual: with(1),
        exceptions: vec![
            exception("^library/", "^latest$", 2),
            exception("^library/", "", 3),
            exception("", "^nightly", 4),
        ],
    };
    let ttl = |repository: &str, name: Option<&str>| {
        let path: RepositoryPath = repository.parse().unwrap();
        let name = name.map(tag);
        policy.rules(&path, name.as_ref()).ttl.as_millis()
    };
    assert_eq!(ttl("library/app", Some("latest")), 2);
    assert_eq!(ttl("library/app", Some("1.0")), 3);
    assert_eq!(ttl("library/app", None), 3);
    assert_eq!(ttl("team/app", Some("nightly-3")), 4);
    assert_eq!(ttl("team/app", Some("latest")), 1);
    assert_eq!(
        ttl("team/app", None),
        1,
        "a pattern of tags is not for what has none"
    );
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
    assert_eq!(ask(Some(&record(DAY + 1)), &rules, DAY), Before::Ask);
    assert_eq!(ask(Some(&record(DAY)), &rules, DAY), Before::Serve);
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
    fn fresh_never_asks_and_stale_always_does(age in 0..DAY, ttl in 0..DAY, behind in 0..DAY, window in 0..DAY) {
        let rules = Rules { stale_while_revalidate: Duration::from_millis(behind), ..rules(ttl, window) };
        let asked = ask(Some(&record(DAY)), &rules, DAY + age);
        prop_assert_eq!(asked == Before::Serve, age < ttl);
        prop_assert_eq!(asked == Before::Ask, age >= ttl + behind);
    }

    /// No answer that is not definite turns a tag into an error that may still be served.
    #[test]
    fn what_may_be_served_stale_never_fails(age in 0..DAY, window in 0..DAY, offline: bool) {
        let rules = Rules { offline, ..rules(0, window) };
        let now = Time::from_millis(DAY + age);
        let servable = may_be_stale(&record(DAY), &rules, now);
        let outcome = after(Some(record(DAY)), Answer::None, &rules, now);
        prop_assert_eq!(outcome == After::Fail, !servable);
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
