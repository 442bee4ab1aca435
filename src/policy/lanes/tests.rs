//! Lanes: every byte once, and no more connections than help.

use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

/// What an upstream gives that takes `capacity` bytes a second in all and `each` to one connection: how many
/// connections there are after so many seconds.
fn climbed(each: f64, capacity: f64, most: usize) -> usize {
    let (mut pace, mut has, mut bytes) = (Pace::default(), 1, 0.0);
    for step in 1..1000_u32 {
        let now = Duration::from_millis(u64::from(step) * 10);
        bytes += (each * has as f64).min(capacity) * 0.01;
        has = pace.observe(now, bytes as u64, now, has, most);
        assert!((1..=most).contains(&has));
    }
    has
}

#[test]
fn a_slow_connection_gets_company_up_to_the_cap_and_a_fast_one_none() {
    assert_eq!(climbed(50e6, 1e9, 6), 6);
    assert_eq!(climbed(50e6, 1e9, 8), 8);
    assert_eq!(climbed(50e6, 1e9, 1), 1);
    assert_eq!(climbed(1e9, 1e9, 8), 1);
}

#[test]
fn lanes_that_add_nothing_are_given_up() {
    assert_eq!(climbed(50e6, 50e6, 8), 1);
    assert_eq!(climbed(50e6, 100e6, 8), 2);
}

#[test]
fn time_that_the_head_did_not_wait_says_nothing_against_its_connection() {
    // 100 MB/s pass, of which a tenth of the time was waited.
    let mut pace = Pace::default();
    for step in 1..1000_u64 {
        let (now, reading) = (Duration::from_millis(step * 10), Duration::from_millis(step));
        assert_eq!(pace.observe(now, step * 1_000_000, reading, 1, 8), 1);
    }
}

#[test]
fn an_upstream_that_refused_is_asked_over_one_connection() {
    let mut pace = Pace::default();
    pace.refused();
    for step in 1..500_u64 {
        let now = Duration::from_millis(step * 10);
        assert_eq!(pace.observe(now, step * 500_000, now, 1, 8), 1);
    }
}

#[test]
fn a_blob_that_is_nearly_there_is_left_to_the_head() {
    assert_eq!(Chunks::new(31 * MIB, 0).ask(), None);
    assert_eq!(Chunks::new(100 * MIB, 70 * MIB).ask(), None);
    assert_eq!(Chunks::new(32 * MIB, 0).ask(), Some(CHUNK..2 * CHUNK));
}

/// What a lane does with its chunk.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Gives,
    Refused,
    BreaksAfter(u64),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Gives),
        1 => Just(Fate::Refused),
        1 => (1..CHUNK).prop_map(Fate::BreaksAfter),
    ]
}

proptest! {
    /// However lanes end, everything is taken in order and once, and there is always somebody to take it from.
    #[test]
    fn every_byte_is_taken_once_and_in_order(
        total in 1..400 * MIB,
        from in 0..50 * MIB,
        fates in proptest::collection::vec(fate(), 0..80),
        bites in proptest::collection::vec(60_000..3 * MIB, 1..20),
        open in proptest::collection::vec(0..4_usize, 1..20),
    ) {
        let from = from.min(total - 1);
        let mut chunks = Chunks::new(total, from);
        let (mut fates, mut bites, mut open) = (fates.into_iter(), bites.into_iter().cycle(), open.into_iter().cycle());
        // What each lane still gives, by where its chunk begins.
        let mut lanes: VecDeque<(u64, u64)> = VecDeque::new();
        let mut asked_to = 0;
        let mut rounds = 0;
        loop {
            rounds += 1;
            prop_assert!(rounds < 100_000, "the head of the line is left alone");
            for _ in 0..open.next().unwrap() {
                let Some(chunk) = (lanes.len() < 8).then(|| chunks.ask()).flatten() else { break };
                prop_assert!(chunk.start >= chunks.at() && chunk.end <= total && !chunk.is_empty());
                prop_assert!(lanes.is_empty() || chunk.start == asked_to, "asked for twice");
                let length = chunk.end - chunk.start;
                match fates.next() {
                    Some(Fate::Refused) => {
                        chunks.refused(chunk.start);
                        continue;
                    }
                    Some(Fate::BreaksAfter(bytes)) => lanes.push_back((chunk.start, bytes.min(length))),
                    Some(Fate::Gives) | None => lanes.push_back((chunk.start, length)),
                }
                asked_to = chunk.end;
            }
            let at = chunks.at();
            match chunks.turn() {
                Turn::End => break,
                Turn::Head(limit) => {
                    prop_assert!(limit > at && limit <= total);
                    prop_assert!(lanes.front().is_none_or(|(start, _)| limit <= *start));
                    prop_assert!(!chunks.took(bites.next().unwrap().min(limit - at)));
                }
                Turn::Chunk => {
                    let (start, left) = lanes.front_mut().unwrap();
                    prop_assert_eq!(*start, at, "a byte is missing, or comes twice");
                    if *left == 0 {
                        chunks.broke();
                        lanes.pop_front();
                        continue;
                    }
                    let bite = bites.next().unwrap().min(*left);
                    *left -= bite;
                    *start += bite;
                    if chunks.took(bite) {
                        lanes.pop_front();
                    }
                }
            }
        }
        prop_assert_eq!(chunks.at(), total);
        prop_assert!(lanes.is_empty());
    }
}
