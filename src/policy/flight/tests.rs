//! Flights against a naive model: every attempt ever made, in a list.

use proptest::prelude::*;

use super::*;

const COOLING: Duration = Duration::from_secs(5);
const FINISH_BELOW: u64 = 10;
const RULES: Rules = Rules {
    cooling: COOLING,
    finish_below: FINISH_BELOW,
};

/// What happens to the flights.
#[derive(Clone, Debug)]
enum Event {
    Join(u8),
    /// A reader of some attempt leaves, `done` of `total` bytes having arrived.
    Leave(prop::sample::Index, u64, Option<u64>),
    /// Some attempt, however old, reports how it ended.
    Land(prop::sample::Index, Landing),
    Sweep,
    Wait(u64),
}

fn any_event() -> impl Strategy<Value = Event> {
    let landing = prop::sample::select(vec![Landing::Arrived, Landing::Failed, Landing::Cancelled]);
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (0u8..3).prop_map(Event::Join),
        3 => (index(), 0u64..60, prop::option::of(0u64..60)).prop_map(|(at, done, total)| Event::Leave(at, done, total)),
        3 => (index(), landing).prop_map(|(at, landing)| Event::Land(at, landing)),
        1 => Just(Event::Sweep),
        2 => (0u64..7_000).prop_map(Event::Wait),
    ]
}

/// One attempt as the model remembers it: for ever.
#[derive(Debug)]
struct Attempt {
    key: u8,
    id: FlightId,
    readers: u32,
    flying: bool,
    cools_until: Option<Time>,
}

/// The flights and the model, side by side.
struct Pair {
    flights: Flights<u8, usize>,
    attempts: Vec<Attempt>,
    now: Time,
}

impl Pair {
    fn new() -> Self {
        Self {
            flights: Flights::new(RULES),
            attempts: Vec::new(),
            now: Time::from_millis(1_000_000),
        }
    }

    fn join(&mut self, key: u8) {
        let number = self.attempts.len();
        let flying = self
            .attempts
            .iter()
            .position(|attempt| attempt.key == key && attempt.flying);
        // Only the newest attempt of a key can hold the key back.
        let newest = self.attempts.iter().rposition(|attempt| attempt.key == key);
        let cools = newest.and_then(|at| Some((at, self.attempts[at].cools_until?)));
        match self.flights.join(&key, |_| number, self.now) {
            Join::Lead(id, shared) => {
                assert_eq!(flying, None, "two leaders for one key");
                assert!(
                    cools.is_none_or(|(_, until)| self.now >= until),
                    "cooling was not obeyed"
                );
                assert!(
                    self.attempts.iter().all(|attempt| attempt.id != id),
                    "an id was used twice"
                );
                assert_eq!(shared, number);
                self.attempts.push(Attempt {
                    key,
                    id,
                    readers: 1,
                    flying: true,
                    cools_until: None,
                });
            }
            Join::Follow(id, shared) => {
                let at = flying.expect("followed nobody");
                assert_eq!((id, shared), (self.attempts[at].id, at));
                self.attempts[at].readers += 1;
            }
            Join::Cooling(until, shared) => {
                assert_eq!(flying, None, "a flight in the air does not cool");
                assert_eq!(cools, Some((shared, until)));
                assert!(self.now < until);
            }
        }
    }

    fn leave(&mut self, at: usize, done: u64, total: Option<u64>) {
        let attempt = &mut self.attempts[at];
        // Somebody reads the attempt, or it is over: nobody leaves twice.
        if attempt.flying && attempt.readers == 0 {
            return;
        }
        let (key, id) = (attempt.key, attempt.id);
        attempt.readers = attempt.readers.saturating_sub(1);
        let wanted = !attempt.flying || attempt.readers > 0;
        let left = self.flights.leave(&key, id, done, total);
        let more_than_half = total.is_some_and(|total| done * 2 > total);
        let nearly = total.is_some_and(|total| total <= done + FINISH_BELOW);
        let expected = if wanted || more_than_half || nearly {
            Leave::Continue
        } else {
            Leave::Cancel
        };
        assert_eq!(left, expected, "{done} of {total:?}");
    }

    fn land(&mut self, at: usize, landing: Landing) {
        let attempt = &mut self.attempts[at];
        self.flights.land(&attempt.key, attempt.id, landing, self.now);
        if std::mem::take(&mut attempt.flying) && landing == Landing::Failed {
            attempt.cools_until = Some(self.now + COOLING);
        }
    }

    /// The key's attempt in the air is the only thing one can see of it.
    fn compare(&self) {
        for key in 0..3 {
            let flying = self
                .attempts
                .iter()
                .position(|attempt| attempt.key == key && attempt.flying);
            assert_eq!(self.flights.peek(&key).copied(), flying);
        }
        assert!(self.flights.len() <= 3, "one entry per key");
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Join(key) => self.join(*key),
            Event::Leave(at, done, total) if !self.attempts.is_empty() => {
                self.leave(at.index(self.attempts.len()), *done, *total);
            }
            Event::Land(at, landing) if !self.attempts.is_empty() => {
                self.land(at.index(self.attempts.len()), *landing);
            }
            Event::Sweep => self.flights.sweep(self.now),
            Event::Wait(millis) => self.now = self.now + Duration::from_millis(*millis),
            Event::Leave(..) | Event::Land(..) => {}
        }
        self.compare();
    }
}

proptest! {
    #[test]
    fn flights_do_what_the_model_does(events in prop::collection::vec(any_event(), 0..80)) {
        let mut pair = Pair::new();
        for event in &events {
            pair.happen(event);
        }
    }

    #[test]
    fn after_all_have_left_and_landed_nothing_stays(events in prop::collection::vec(any_event(), 0..80)) {
        let mut pair = Pair::new();
        for event in &events {
            pair.happen(event);
        }
        for at in 0..pair.attempts.len() {
            while pair.attempts[at].flying && pair.attempts[at].readers > 0 {
                pair.leave(at, 0, None);
            }
            pair.land(at, Landing::Failed);
        }
        pair.now = pair.now + COOLING;
        pair.flights.sweep(pair.now);
        prop_assert!(pair.flights.is_empty());
        prop_assert_eq!(pair.flights.len(), 0);
    }
}

fn lead(flights: &mut Flights<u8, ()>, now: Time) -> FlightId {
    match flights.join(&0, |_| (), now) {
        Join::Lead(id, ()) => id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_late_report_never_lands_on_the_successor() {
    let now = Time::from_millis(0);
    let mut flights = Flights::new(RULES);
    let first = lead(&mut flights, now);
    flights.land(&0, first, Landing::Cancelled, now);
    let second = lead(&mut flights, now);
    for landing in [Landing::Arrived, Landing::Failed, Landing::Cancelled] {
        flights.land(&0, first, landing, now);
    }
    assert_eq!(flights.leave(&0, first, 0, None), Leave::Continue);
    assert_eq!(flights.join(&0, |_| (), now), Join::Follow(second, ()));
}

#[test]
fn a_second_report_does_not_lengthen_the_cooling() {
    let start = Time::from_millis(0);
    let mut flights = Flights::new(RULES);
    let id = lead(&mut flights, start);
    flights.land(&0, id, Landing::Failed, start);
    flights.land(&0, id, Landing::Failed, start + Duration::from_secs(4));
    let just_before = start + Duration::from_millis(4_999);
    assert_eq!(
        flights.join(&0, |_| (), just_before),
        Join::Cooling(start + COOLING, ())
    );
    lead(&mut flights, start + COOLING);
}

#[test]
fn without_a_cooling_a_failure_is_forgotten_at_once() {
    let now = Time::from_millis(0);
    let mut flights = Flights::new(Rules {
        cooling: Duration::ZERO,
        ..RULES
    });
    let id = lead(&mut flights, now);
    flights.land(&0, id, Landing::Failed, now);
    assert!(flights.is_empty());
}

#[test]
fn what_is_more_than_half_done_is_never_cancelled() {
    for (done, total, expected) in [
        (0, None, Leave::Cancel),
        (u64::MAX, None, Leave::Cancel),
        (0, Some(1_000), Leave::Cancel),
        (500, Some(1_000), Leave::Cancel),
        (501, Some(1_000), Leave::Continue),
        (1_000, Some(1_000), Leave::Continue),
        (1_001, Some(1_000), Leave::Continue),
        (0, Some(FINISH_BELOW), Leave::Continue),
        (0, Some(FINISH_BELOW + 1), Leave::Cancel),
        (u64::MAX / 2 + 1, Some(u64::MAX), Leave::Continue),
        (0, Some(u64::MAX), Leave::Cancel),
    ] {
        let mut flights = Flights::new(RULES);
        let id = lead(&mut flights, Time::from_millis(0));
        assert_eq!(
            flights.leave(&0, id, done, total),
            expected,
            "{done} of {total:?}"
        );
    }
}

#[test]
fn a_failure_of_one_source_does_not_cool_another() {
    let mut flights = Flights::new(Rules {
        cooling: Duration::from_millis(500),
        finish_below: 0,
    });
    let now = Time::from_millis(0);
    let Join::Lead(id, _) = flights.join(&"digest", |_| "here", now) else {
        panic!("nobody else fetches it");
    };
    flights.warm(&"digest", |source| *source != "there");
    assert!(
        matches!(flights.join(&"digest", |_| "there", now), Join::Follow(..)),
        "what is in the air goes on"
    );
    flights.land(&"digest", id, Landing::Failed, now);
    flights.warm(&"digest", |source| *source != "here");
    assert!(matches!(
        flights.join(&"digest", |_| "here", now),
        Join::Cooling(..)
    ));
    flights.warm(&"digest", |source| *source != "there");
    assert!(matches!(
        flights.join(&"digest", |_| "there", now),
        Join::Lead(..)
    ));
}
