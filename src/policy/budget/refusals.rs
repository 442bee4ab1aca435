//! What refusals do to a budget: one burst is one refusal, and nothing that comes late shortens a rest.

use std::time::Duration;

use proptest::prelude::*;

use super::{Asker, Budget, Limit, Observed, Reading, Rules, Verdict};
use crate::clock::Time;

fn at(millis: u64) -> Time {
    Time::from_millis(10_000_000 + millis)
}

fn budget() -> Budget<u64> {
    Budget::new(Rules { reserves: vec![0.0] }, 1, None, at(0))
}

/// One that has told figures.
fn known() -> Budget<u64> {
    let mut budget = budget();
    tell(&mut budget, 100, 90, at(0));
    budget
}

/// An answer about `app` says how much is left of how much in an hour.
pub(super) fn tell<K>(budget: &mut Budget<K>, limit: u64, remaining: u64, now: Time)
where
    K: Clone + Eq + std::hash::Hash + std::fmt::Debug,
{
    let reading = Some(Reading {
        limit,
        remaining,
        window: Some(Duration::from_secs(3600)),
    });
    let observed = Observed {
        account: 0,
        source: None,
        reading,
    };
    budget.learn("app", &observed, now);
}

fn refuse(budget: &mut Budget<u64>, seconds: Option<u64>, now: Time) {
    let retry_after = seconds.map(Duration::from_secs);
    budget.refused(0, Limit::Abuse { retry_after }, now);
}

fn rest(budget: &Budget<u64>, now: Time) -> u64 {
    budget.parked(now).map_or(0, |until| until.since(now).as_secs())
}

#[test]
fn a_burst_of_refusals_is_one_and_the_next_one_doubles() {
    for (mut budget, pauses) in [(budget(), [2, 4, 8]), (known(), [60, 120, 240])] {
        let mut now = at(0);
        for seconds in pauses {
            for _ in 0..20 {
                refuse(&mut budget, None, now);
                now = now + Duration::from_millis(10);
            }
            assert_eq!(rest(&budget, now), seconds - 1, "200 ms later");
            now = budget.parked(now).unwrap();
        }
    }
}

#[test]
fn a_shorter_wait_that_is_told_later_shortens_nothing() {
    let mut budget = budget();
    refuse(&mut budget, Some(60), at(0));
    refuse(&mut budget, Some(2), at(0));
    refuse(&mut budget, None, at(0));
    assert_eq!(rest(&budget, at(0)), 60);
    refuse(&mut budget, Some(90), at(0));
    assert_eq!(rest(&budget, at(0)), 90);
}

proptest! {
    /// However many are told so at once, the rest is what one of them says, or what one alone would earn.
    #[test]
    fn no_burst_rests_longer_than_its_longest(
        bursts in prop::collection::vec(
            (prop::collection::vec(prop::option::of(1..2000_u64), 1..20), 0..2000_u64), 1..10
        )
    ) {
        let (mut budget, mut now, mut step) = (budget(), at(0), 2);
        for (waits, pause) in bursts {
            let before = rest(&budget, now);
            let own = if before == 0 && waits[0].is_none() { step } else { 0 };
            if before == 0 {
                step = 900.min(step * 2);
            }
            for wait in &waits {
                refuse(&mut budget, *wait, now);
            }
            let told = waits.iter().flatten().map(|wait| 900.min(*wait)).max();
            prop_assert_eq!(rest(&budget, now), before.max(told.unwrap_or(0)).max(own));
            now = now + Duration::from_secs(pause);
        }
    }
}

#[test]
fn an_upstream_that_says_when_something_is_left_is_not_asked_before_and_is_then() {
    let asker = Asker {
        tier: 0,
        client: 1,
        deadline: at(25_000),
    };
    for (mut budget, figures) in [(budget(), false), (known(), true)] {
        let retry_after = Some(Duration::from_secs(900));
        budget.refused(0, Limit::Pull { retry_after }, at(0));
        for seconds in [0, 120, 899] {
            let now = at(seconds * 1000);
            let deadline = now + Duration::from_millis(500);
            let asker = Asker { deadline, ..asker };
            match budget.ask(&seconds, "app", asker, now) {
                Verdict::Refuse(withheld) => {
                    assert_eq!(withheld.until, at(900_000));
                    assert_eq!(
                        withheld.reading.map(|reading| reading.remaining),
                        figures.then_some(0)
                    );
                }
                verdict => panic!("{seconds} s: {verdict:?}"),
            }
        }
        assert_eq!(budget.due_reading(at(899_000)), None);
        let asker = Asker {
            deadline: at(925_000),
            ..asker
        };
        let verdict = budget.ask(&1, "app", asker, at(900_000));
        assert!(matches!(verdict, Verdict::Read(0)), "{verdict:?}");
    }
}

#[test]
fn who_is_late_is_told_when_the_place_behind_those_who_go_first_opens() {
    let rules = Rules {
        reserves: vec![0.0, 0.001],
    };
    let mut budget = Budget::new(rules, 1, None, at(0));
    let asker = |tier, until| Asker {
        tier,
        client: tier as u64,
        deadline: at(until),
    };
    tell(&mut budget, 100, 0, at(0));
    // The place opens an hour and a little later, and the low tier waits for it.
    let verdict = budget.ask(&1, "app", asker(1, 3_700_000), at(1000));
    assert!(matches!(verdict, Verdict::Wait), "{verdict:?}");
    for key in [2, 3] {
        let verdict = budget.ask(&key, "app", asker(0, 9_000_000), at(30_000));
        assert!(matches!(verdict, Verdict::Wait), "{verdict:?}");
    }
    // One comes back: the first of those who go first has it.
    tell(&mut budget, 100, 1, at(3_700_000));
    let told = budget.turn(at(3_700_000));
    let [(1, Verdict::Refuse(withheld)), (2, Verdict::Go(charge))] = &told[..] else {
        panic!("{told:?}");
    };
    assert!(withheld.until >= at(7_200_000), "{withheld:?}");
    budget.settle(charge, true, at(3_700_000));
}

#[test]
fn who_finds_the_line_full_goes_when_told() {
    let mut budget = budget();
    tell(&mut budget, 9000, 0, at(0));
    let asker = Asker {
        tier: 0,
        client: 1,
        deadline: at(9_000_000),
    };
    for key in 0..2000 {
        let verdict = budget.ask(&key, "app", asker, at(1000));
        assert!(matches!(verdict, Verdict::Wait), "{verdict:?}");
    }
    for (remaining, seconds) in [(1000, 3600), (3000, 1)] {
        tell(&mut budget, 9000, remaining, at(2000));
        let Verdict::Refuse(withheld) = budget.ask(&2000, "app", asker, at(2000)) else {
            panic!("there is no room")
        };
        assert!(withheld.until >= at(2000 + seconds * 1000), "{withheld:?}");
    }
    let charges = budget.turn(at(2000));
    assert_eq!(charges.len(), 2000);
    for (_, verdict) in charges {
        let Verdict::Go(charge) = verdict else {
            panic!("{verdict:?}")
        };
        budget.settle(&charge, true, at(2000));
    }
    let verdict = budget.ask(&2000, "app", asker, at(3000));
    assert!(matches!(verdict, Verdict::Go(_)), "{verdict:?}");
}

proptest! {
    /// A tag is asked about and its manifest fetched by one account: another's token would be one more request.
    #[test]
    fn what_is_free_and_what_is_counted_go_by_the_same_account(
        accounts in prop::collection::vec(prop::option::of((1..1000_u64, 0..=100_u64)), 1..5)
    ) {
        let mut budget: Budget<u64> =
            Budget::new(Rules { reserves: vec![0.0] }, accounts.len(), None, at(0));
        for (account, figures) in accounts.iter().enumerate() {
            let Some((limit, percent)) = figures else { continue };
            let reading = Some(Reading {
                limit: *limit,
                remaining: limit * percent / 100,
                window: Some(Duration::from_secs(3600)),
            });
            let observed = Observed { account, source: None, reading };
            budget.learn("other", &observed, at(0));
        }
        let free = budget.account("app", at(0));
        let asker = Asker { tier: 0, client: 1, deadline: at(0) };
        if let Verdict::Go(charge) = budget.ask(&1, "app", asker, at(0)) {
            prop_assert_eq!(charge.account, free);
        }
    }
}
