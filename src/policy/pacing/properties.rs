//! What the pacer promises, whoever asks, whenever and for how much.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;

/// Somebody who sends: it takes the next lease so long after it sent the last one.
#[derive(Clone, Copy, Debug)]
struct Connection {
    tier: usize,
    client: u64,
    gap: u64,
}

/// Bytes by client that these connections send over a link in so many nanoseconds; the link is looked at when it
/// says, late by up to `late` nanoseconds.
fn share(
    rate: u64,
    weights: &[u32],
    connections: &[Connection],
    time: u64,
    late: u64,
) -> BTreeMap<(usize, u64), u64> {
    let mut link = Link::new(rate, weights);
    let bytes = lease(rate);
    let mut sent = BTreeMap::new();
    // When each connection asks; it is gone from here while it waits.
    let mut asks: BTreeMap<(u64, usize), ()> = (0..connections.len()).map(|index| ((0, index), ())).collect();
    let mut look = u64::MAX;
    let mut now = 0;
    while now < time {
        while let Some((&(at, index), ())) = asks.first_key_value()
            && at <= now
        {
            asks.pop_first();
            let Connection { tier, client, .. } = connections[index];
            link.enter(tier, client, bytes, index).unwrap();
            look = look.min(now);
        }
        if look <= now {
            look = loop {
                match link.next(now) {
                    Next::Grant(index) => {
                        let Connection { tier, client, gap } = connections[index];
                        *sent.entry((tier, client)).or_default() += bytes;
                        asks.insert((now + gap.max(1), index), ());
                    }
                    Next::At(at) => break at + (at % (late + 1)),
                    Next::Idle => break u64::MAX,
                }
            };
        }
        let next_ask = asks.first_key_value().map_or(u64::MAX, |(&(at, _), ())| at);
        now = look.min(next_ask);
    }
    sent
}

fn within(part: u64, whole: f64, percent: f64) -> bool {
    (part as f64 - whole).abs() <= whole * percent / 100.0
}

#[test]
fn a_client_with_a_hundred_connections_gets_no_more_than_one_with_one() {
    let mut connections = vec![
        Connection {
            tier: 0,
            client: 1,
            gap: MILLISECOND
        };
        100
    ];
    connections.push(Connection {
        tier: 0,
        client: 2,
        gap: 2 * MILLISECOND,
    });
    let sent = share(100_000_000, &[1], &connections, 10 * SECOND, MILLISECOND);
    assert!(within(sent[&(0, 2)], 500e6, 3.0), "{sent:?}");
    assert!(within(sent[&(0, 1)], 500e6, 3.0), "{sent:?}");
}

#[test]
fn a_tier_gets_its_weight_however_many_clients_it_has() {
    let one = |tier, client| Connection {
        tier,
        client,
        gap: MILLISECOND,
    };
    let mut connections: Vec<_> = (0..50).map(|client| one(0, client)).collect();
    connections.extend([one(1, 1), one(1, 1), one(1, 2)]);
    let sent = share(50_000_000, &[1, 3], &connections, 20 * SECOND, MILLISECOND);
    let of = |tier: usize| {
        sent.iter()
            .filter(|((each, _), _)| *each == tier)
            .map(|(_, bytes)| bytes)
            .sum::<u64>()
    };
    assert!(within(of(0), 250e6, 3.0) && within(of(1), 750e6, 3.0), "{sent:?}");
    assert!(within(sent[&(1, 1)], 375e6, 3.0), "{sent:?}");
    for client in 0..50 {
        assert!(within(sent[&(0, client)], 5e6, 10.0), "{client}: {sent:?}");
    }
}

#[test]
fn what_a_tier_leaves_goes_to_the_others() {
    let idle = Connection {
        tier: 1,
        client: 1,
        gap: SECOND,
    };
    let busy = Connection {
        tier: 0,
        client: 2,
        gap: MILLISECOND,
    };
    let sent = share(50_000_000, &[1, 1000], &[idle, busy, busy], 10 * SECOND, 0);
    assert!(within(sent[&(0, 2)], 500e6, 2.0), "{sent:?}");
}

#[test]
fn a_place_that_was_given_up_is_passed_over_and_a_lease_that_was_given_back_is_not_charged() {
    let mut link = Link::new(1_000_000, &[1]);
    let bytes = lease(1_000_000);
    let first = link.enter(0, 1, bytes, 'a').unwrap();
    let second = link.enter(0, 1, bytes, 'b').unwrap();
    let third = link.enter(0, 2, bytes, 'c').unwrap();
    assert!(link.leave(first) && !link.leave(first));
    assert_eq!(link.next(0), Next::Grant('b'));
    assert!(!link.leave(second));
    assert!(matches!(link.next(0), Next::At(_)));
    link.give_back(bytes);
    assert_eq!(link.next(0), Next::Grant('c'));
    assert!(!link.leave(third));
    assert!(link.enter(1, 1, bytes, 'd').is_none());
    assert!(matches!(link.next(SECOND), Next::Idle));
}

#[test]
fn a_link_is_free_when_nobody_waits_and_its_rate_allows_more() {
    let mut link = Link::new(1_000_000, &[1]);
    let bytes = lease(1_000_000);
    assert!(link.is_free(0));
    let _first = link.enter(0, 1, bytes, 'a').unwrap();
    assert!(!link.is_free(0), "somebody was there before");
    assert_eq!(link.next(0), Next::Grant('a'));
    assert!(!link.is_free(0), "the rate allows no more");
    let Next::At(free) = (match link.enter(0, 2, bytes, 'b') {
        Some(_) => link.next(0),
        None => Next::Idle,
    }) else {
        panic!("it was granted at once")
    };
    assert!(
        !link.is_free(free),
        "whoever waits is served first, and looks late"
    );
    assert_eq!(link.next(free), Next::Grant('b'));
    assert!(link.is_free(SECOND) && link.next(SECOND) == Next::Idle);
}

#[test]
fn one_that_waits_alone_and_gives_up_is_not_in_the_way() {
    let mut link = Link::new(1_000_000, &[1, 1]);
    let first = link.enter(0, 1, 1, 'a').unwrap();
    let _stays = link.enter(0, 2, 1, 'b').unwrap();
    assert!(link.leave(first));
    assert_eq!(link.next(0), Next::Grant('b'));
    let alone = link.enter(1, 1, 1, 'c').unwrap();
    assert!(link.leave(alone));
    assert_eq!(link.next(0), Next::Idle);
}

/// How many leases in a row a client gets that missed so many turns while another was always there.
fn in_a_row(missed: usize) -> usize {
    let mut link = Link::new(1_000_000, &[1]);
    let bytes = lease(1_000_000);
    let enter = |link: &mut Link<u64>, client: u64, count: usize| {
        for _ in 0..count {
            link.enter(0, client, bytes, client).unwrap();
        }
    };
    let mut now = 0;
    let mut serve = |link: &mut Link<u64>| {
        now += 10 * SECOND;
        match link.next(now) {
            Next::Grant(client) => client,
            other => panic!("{other:?}"),
        }
    };
    enter(&mut link, 1, missed + 100);
    enter(&mut link, 2, 1);
    for _ in 0..2 + missed {
        serve(&mut link);
    }
    enter(&mut link, 2, 50);
    (0..50).take_while(|_| serve(&mut link) == 2).count()
}

#[test]
fn who_is_late_for_a_turn_catches_up_and_who_was_away_does_not() {
    assert_eq!(in_a_row(1), 1);
    assert_eq!(in_a_row(3), 3);
    assert!(in_a_row(1000) <= 5, "{}", in_a_row(1000));
}

#[test]
fn clients_that_come_once_are_forgotten() {
    let mut link = Link::new(1_000_000_000, &[1]);
    let mut now = 0;
    for client in 0..100_000 {
        link.enter(0, client, lease(1_000_000_000), ()).unwrap();
        while let Next::At(at) = link.next(now) {
            now = at;
        }
    }
    assert!(link.remembered() < 50, "{}", link.remembered());
}

/// Any number, the odd ones among them more often than chance would have it.
fn odd() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), Just(u64::MAX), 0_u64..1000, any::<u64>()]
}

/// A while between two asks: none, or a short one, or one in which something could be saved up.
fn pause() -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(0), 2 => 0..50 * MILLISECOND, 1 => 0..5 * SECOND]
}

proptest! {
    #[test]
    fn no_interval_has_more_than_the_rate_and_a_burst(
        rate in 1_000_u64..20_000_000_000,
        asks in prop::collection::vec((pause(), 1..4_u64 << 20), 1..200),
    ) {
        // Everybody waits for what `take` says, however many ask at once.
        let mut pace = Pace::new(rate);
        let mut now = 0;
        let mut sent = Vec::new();
        for (pause, bytes) in asks {
            now += pause;
            sent.push((now + pace.take(now, bytes), bytes));
        }
        for (first, (from, _)) in sent.iter().enumerate() {
            let mut total = 0;
            for (to, bytes) in &sent[first..] {
                // The last lease of the interval is not yet sent when it begins.
                let allowed = rate as f64 * (to - from + TOLERANCE) as f64 / 1e9;
                prop_assert!(total as f64 <= allowed * 1.001 + (4 << 20) as f64, "{total} in {} ns", to - from);
                total += bytes;
            }
        }
    }

    #[test]
    fn who_always_has_something_to_send_gets_its_rate_even_when_timers_are_late(
        rate in 100_000_u64..5_000_000_000,
        connections in 1_usize..20,
        late in 0..15 * MILLISECOND,
    ) {
        let mut pace = Pace::new(rate);
        let bytes = lease(rate);
        let mut wakes = vec![0; connections];
        let (mut total, mut now) = (0, 0);
        let time = 20 * SECOND.max(bytes * SECOND / rate);
        while now < time {
            let next = (0..connections).min_by_key(|index| wakes[*index]).unwrap();
            now = wakes[next];
            total += bytes;
            let wait = pace.take(now, bytes);
            wakes[next] = now + wait + if wait > 0 { late.min(TOLERANCE) } else { 0 };
        }
        let wanted = u128::from(rate) * u128::from(time) / 1_000_000_000;
        prop_assert!(u128::from(total) * 100 >= wanted * 95, "{total} of {wanted}");
    }

    #[test]
    fn connections_of_many_gaps_share_equally_within_a_tier_and_by_weight_across(
        rate in 10_000_000_u64..500_000_000,
        weights in prop::collection::vec(1_u32..10, 1..4),
        crowd in prop::collection::vec((0_usize..4, 0_u64..4, 0..2 * MILLISECOND), 1..30),
        late in 0..2 * MILLISECOND,
    ) {
        // A lease lasts 4 ms and more; who returns sooner than its turn has always something to send.
        let mut connections: Vec<Connection> = crowd
            .into_iter()
            .map(|(tier, client, gap)| Connection { tier: tier % weights.len(), client, gap })
            .collect();
        let anchors = (0..weights.len()).flat_map(|tier| {
            (0..4).flat_map(move |client| vec![Connection { tier, client, gap: MILLISECOND }; 2])
        });
        connections.extend(anchors);
        let time = 20 * SECOND;
        let sent = share(rate, &weights, &connections, time, late);
        let total: u32 = weights.iter().sum();
        for (tier, weight) in weights.iter().enumerate() {
            for client in 0..4 {
                let part = f64::from(*weight) / f64::from(total) / 4.0;
                let fair = rate as f64 * time as f64 / 1e9 * part;
                let burst = (6 * lease(rate)) as f64;
                let got = sent.get(&(tier, client)).copied().unwrap_or(0) as f64;
                prop_assert!((got - fair).abs() <= fair * 0.05 + burst, "{tier}/{client}: {got} for {fair}");
            }
        }
    }

    #[test]
    fn absurd_figures_break_nothing(
        rate in odd(),
        weights in prop::collection::vec(any::<u32>(), 0..3),
        asks in prop::collection::vec((odd(), odd(), 0_usize..4, any::<bool>()), 0..50),
    ) {
        let (mut pace, mut link) = (Pace::new(rate), Link::new(rate, &weights));
        prop_assert!((64 << 10..=4 << 20).contains(&lease(rate)));
        for (now, bytes, tier, stay) in asks {
            pace.take(now, bytes);
            let ticket = link.enter(tier, bytes, bytes, ());
            let _ = link.next(now);
            if let Some(ticket) = ticket.filter(|_| !stay) {
                link.leave(ticket);
                pace.give_back(bytes);
                link.give_back(now);
            }
        }
    }
}
