//! Who gets which place.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn patience(client: u64) -> Patience {
    Patience {
        client,
        longest: LONGEST,
        low: false,
    }
}

/// Refused a moment ago, with one request in two seconds from now on.
fn slow() -> Throttle {
    let mut throttle = Throttle::default();
    throttle.refused(at(0), at(0));
    throttle
}

/// Asks, for one who waits this long.
fn ask(throttle: &mut Throttle, client: u64, seconds: u64, low: bool) -> Verdict {
    let longest = Duration::from_secs(seconds);
    let patience = Patience { client, longest, low };
    throttle.ask(patience, at(0))
}

/// What everybody who waits is told, and at which second.
fn told(throttle: &mut Throttle) -> Vec<(u64, u64, Told)> {
    let (mut all, mut now) = (Vec::new(), at(0));
    loop {
        let told = throttle.turn(now);
        all.extend(
            told.into_iter()
                .map(|(ticket, told)| (now.as_millis() / 1000, ticket, told)),
        );
        match throttle.wake(now) {
            Some(wake) => now = wake,
            None => return all,
        }
    }
}

#[test]
fn nobody_is_held_back_before_the_first_refusal() {
    let mut throttle = Throttle::default();
    for _ in 0..10_000 {
        assert_eq!(throttle.ask(patience(1), at(5)), Verdict::Go);
    }
    assert_eq!(throttle.wake(at(5)), None);
}

#[test]
fn who_would_wait_too_long_is_refused_and_takes_no_place() {
    let mut throttle = slow();
    for ticket in 1..=5 {
        assert_eq!(throttle.ask(patience(1), at(0)), Verdict::Wait(ticket));
    }
    for _ in 0..95 {
        assert_eq!(throttle.ask(patience(1), at(0)), Verdict::Refuse(at(12_000)));
    }
    let places = told(&mut throttle);
    let seconds: Vec<u64> = places.iter().map(|(second, ..)| *second).collect();
    assert_eq!(seconds, [2, 4, 6, 8, 10], "one in two seconds, for ten");
    assert!(places.iter().all(|(.., told)| told.is_ok()));
}

#[test]
fn low_ranks_leave_places_to_the_others_and_nobody_waits_past_a_deadline() {
    let mut throttle = slow();
    for ticket in [1, 2] {
        assert_eq!(ask(&mut throttle, 1, 60, true), Verdict::Wait(ticket));
    }
    for _ in 0..20 {
        assert_eq!(ask(&mut throttle, 1, 60, true), Verdict::Refuse(at(6000)));
        // It cannot wait for a place, and those who wait take all that open.
        assert_eq!(ask(&mut throttle, 2, 1, false), Verdict::Refuse(at(6000)));
    }
    // The high one comes later and goes first; then there is no time left for both of the others.
    let Verdict::Wait(high) = ask(&mut throttle, 3, 10, false) else {
        panic!("no place for the high one");
    };
    let order = told(&mut throttle);
    assert_eq!(
        order,
        [(0, 2, Err(at(6000))), (2, high, Ok(())), (4, 1, Ok(()))],
        "in five seconds there are two places, one of them taken"
    );
}

#[test]
fn one_who_wants_much_does_not_keep_one_who_wants_little_from_it() {
    let mut throttle = slow();
    for _ in 0..200 {
        throttle.ask(patience(1), at(0));
    }
    let little: Vec<_> = (0..2).map(|_| throttle.ask(patience(2), at(0))).collect();
    let [Verdict::Wait(first), Verdict::Wait(second)] = little[..] else {
        panic!("{little:?}");
    };
    let order = told(&mut throttle);
    let (places, refused): (Vec<_>, Vec<_>) = order.into_iter().partition(|(.., told)| told.is_ok());
    let places: Vec<(u64, u64)> = places
        .into_iter()
        .map(|(second, ticket, _)| (second, ticket))
        .collect();
    assert_eq!(places, [(2, 1), (4, first), (6, 2), (8, second), (10, 3)]);
    // Those who had to leave heard of it at once.
    let refused: Vec<_> = refused
        .iter()
        .map(|(second, ticket, _)| (*second, *ticket))
        .collect();
    assert_eq!(refused, [(0, 5), (0, 4)]);
    assert_eq!(throttle.ask(patience(3), at(10_000)), Verdict::Wait(8));
}

#[test]
fn who_leaves_takes_no_place() {
    let mut throttle = slow();
    for ticket in 1..=5 {
        assert_eq!(throttle.ask(patience(ticket), at(0)), Verdict::Wait(ticket));
    }
    for ticket in [1, 3, 4] {
        throttle.leave(ticket);
    }
    assert_eq!(told(&mut throttle), [(2, 2, Ok(())), (4, 5, Ok(()))]);
}

#[test]
fn while_the_upstream_is_left_alone_nobody_goes_and_who_cannot_wait_hears_at_once() {
    let mut throttle = slow();
    for ticket in 1..=4 {
        assert_eq!(throttle.ask(patience(ticket), at(0)), Verdict::Wait(ticket));
    }
    throttle.refused(at(9000), at(1500));
    let order = told(&mut throttle);
    let refused: Vec<_> = order.iter().map(|(second, ..)| *second).collect();
    assert_eq!(refused, [0, 0, 0, 9], "{order:?}");
    assert_eq!(order[3], (9, 1, Ok(())));
    throttle.refused(at(60_000), at(12_000));
    assert_eq!(throttle.ask(patience(1), at(12_000)), Verdict::Refuse(at(60_000)));
}

#[test]
fn once_the_rate_is_forgotten_all_go() {
    let mut throttle = slow();
    for ticket in 1..=4 {
        assert_eq!(throttle.ask(patience(ticket), at(0)), Verdict::Wait(ticket));
    }
    while throttle.is_limited() {
        throttle.answered();
    }
    assert_eq!(throttle.wake(at(1)), Some(at(1)));
    assert_eq!(throttle.turn(at(1)).len(), 4);
    assert_eq!(throttle.ask(patience(1), at(1)), Verdict::Go);
}

/// An upstream that takes one request a second, and a hundred clients that want something at once.
#[test]
fn an_upstream_of_one_a_second_is_found_out() {
    let (mut throttle, mut allowed, mut refused) = (Throttle::default(), 0.0_f64, 0);
    let (mut now, mut last) = (0, 0);
    for client in 0..300 {
        loop {
            match throttle.ask(patience(client), at(now)) {
                Verdict::Go => break,
                Verdict::Refuse(until) => now = until.as_millis(),
                Verdict::Wait(ticket) => {
                    now = throttle.wake(at(now)).unwrap().as_millis();
                    assert_eq!(throttle.turn(at(now)), [(ticket, Ok(()))]);
                    break;
                }
            }
        }
        allowed = (allowed + (now - last) as f64 / 1000.0).min(1.0);
        last = now;
        if allowed >= 1.0 {
            allowed -= 1.0;
            throttle.answered();
        } else {
            refused += 1;
            throttle.refused(at(now), at(now));
        }
    }
    assert!(refused < 90, "{refused} of 300 refused");
    assert!(now < 600_000, "{now} ms for 300 requests at one a second");
}

/// What may happen.
#[derive(Clone, Copy, Debug)]
enum Step {
    Ask { client: u64, seconds: u64, low: bool },
    Leave(usize),
    Answered,
    Refused(u64),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..4_u64, 1..30_u64, proptest::bool::weighted(0.3))
            .prop_map(|(client, seconds, low)| Step::Ask { client, seconds, low }),
        1 => (0..99_usize).prop_map(Step::Leave),
        2 => Just(Step::Answered),
        1 => (0..20_000_u64).prop_map(Step::Refused),
        4 => (0..3_000_u64).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    /// Whatever happens: everybody who waits is told, none later than promised, and none twice; nobody goes while
    /// the upstream is left alone, nor sooner after another than the rate allows.
    #[test]
    fn everybody_who_waits_is_told_in_time(steps in steps()) {
        let (mut throttle, mut now) = (Throttle::default(), 0);
        let mut waiting: BTreeMap<u64, u64> = BTreeMap::new();
        let mut alone = 0;
        for step in steps {
            match step {
                Step::Ask { client, seconds, low } => {
                    let longest = Duration::from_secs(seconds);
                    let most = if low { 5_000 } else { 10_000 };
                    match throttle.ask(Patience { client, longest, low }, at(now)) {
                        Verdict::Go => prop_assert!(now >= alone || !throttle.is_limited()),
                        Verdict::Refuse(until) => prop_assert!(until > at(now)),
                        Verdict::Wait(ticket) => {
                            prop_assert!(waiting.insert(ticket, now + most.min(seconds * 1000)).is_none());
                        }
                    }
                }
                Step::Leave(index) => {
                    let ticket = waiting.keys().nth(index % waiting.len().max(1)).copied();
                    if let Some(ticket) = ticket {
                        throttle.leave(ticket);
                        waiting.remove(&ticket);
                    }
                }
                Step::Answered => throttle.answered(),
                Step::Refused(length) => {
                    throttle.refused(at(now + length), at(now));
                    alone = alone.max(now + length);
                }
                Step::Pass(length) => {
                    let end = now + length;
                    while let Some(wake) = throttle.wake(at(now)).filter(|wake| *wake <= at(end)) {
                        now = wake.as_millis();
                        let told = throttle.turn(at(now));
                        let limited = throttle.is_limited();
                        let went = told.iter().filter(|(_, told)| told.is_ok()).count();
                        prop_assert!(went <= 1 || !limited, "{went} at once");
                        prop_assert!(went == 0 || now >= alone || !limited);
                        for (ticket, told) in told {
                            let deadline = waiting.remove(&ticket);
                            prop_assert!(deadline.is_some_and(|deadline| now <= deadline), "{ticket}: {deadline:?}, {now}");
                            prop_assert!(told.is_ok() || told > Err(at(now)));
                        }
                    }
                    now = end;
                }
            }
        }
        // More wait than can be served only after a refusal made the rate worse; none waits for ever.
        now += 10_000;
        let mut left = throttle.turn(at(now));
        while let Some(wake) = throttle.wake(at(now)) {
            now = wake.as_millis();
            left.extend(throttle.turn(at(now)));
        }
        prop_assert_eq!(left.len(), waiting.len());
    }

    /// Who comes back when told is let in, if nobody else came meanwhile.
    #[test]
    fn who_comes_back_when_told_is_let_in(
        crowd in prop::collection::vec((0..4_u64, 1..30_u64, proptest::bool::weighted(0.3)), 0..60),
        (client, seconds, low) in (0..5_u64, 0..30_u64, proptest::bool::weighted(0.3)),
    ) {
        let mut throttle = slow();
        for (client, seconds, low) in crowd {
            ask(&mut throttle, client, seconds, low);
        }
        let Verdict::Refuse(until) = ask(&mut throttle, client, seconds, low) else {
            return Ok(());
        };
        let mut now = at(0);
        while let Some(wake) = throttle.wake(now).filter(|wake| *wake <= until) {
            now = wake;
            throttle.turn(now);
        }
        let longest = Duration::from_secs(seconds);
        let again = throttle.ask(Patience { client, longest, low }, until);
        prop_assert!(!matches!(again, Verdict::Refuse(_)), "{again:?} at {until:?}");
    }

    /// While everybody always wants more, the clients of one rank get the same, however many each asks for, and
    /// those of low rank what the others leave.
    #[test]
    fn clients_of_one_rank_get_the_same(wants in prop::collection::vec(1..40_usize, 2..6), rounds in 20..60_u64) {
        let mut throttle = slow();
        let mut waiting: BTreeMap<u64, u64> = BTreeMap::new();
        let mut got = vec![0_i64; wants.len()];
        let mut now = 0;
        for _ in 0..rounds {
            for (client, want) in wants.iter().enumerate() {
                let has = waiting.values().filter(|other| **other == client as u64).count();
                for _ in has..*want {
                    if let Verdict::Wait(ticket) = throttle.ask(patience(client as u64), at(now)) {
                        waiting.insert(ticket, client as u64);
                    }
                }
            }
            now = throttle.wake(at(now)).unwrap().as_millis().max(now + 1);
            for (ticket, told) in throttle.turn(at(now)) {
                let client = waiting.remove(&ticket).unwrap();
                got[usize::try_from(client).unwrap()] += i64::from(told.is_ok());
            }
        }
        let (least, most) = (got.iter().min().unwrap(), got.iter().max().unwrap());
        prop_assert!(most - least <= 2, "{got:?} for {wants:?}");
    }
}
