//! Any cache is covered within its period, at a bounded rate.

use proptest::prelude::*;

use super::*;

/// Bytes read between two rests here.
const STEP: u64 = 64 << 20;
const DAY: u64 = 86_400;

/// A scrub of objects of these sizes, over and over.
struct Sim {
    sizes: Vec<u64>,
    pace: Pace,
    now: Time,
    busy: bool,
    read: u64,
    next: usize,
}

impl Sim {
    fn new(sizes: &[u64], days: u64, busy: bool) -> Self {
        let (period, now) = (Duration::from_secs(days * DAY), Time::from_millis(0));
        Self {
            sizes: sizes.to_vec(),
            pace: Pace::new(period, now),
            now,
            busy,
            read: 0,
            next: 0,
        }
    }

    fn whole(&self) -> Whole {
        Whole {
            objects: self.sizes.len() as u64,
            bytes: self.sizes.iter().sum(),
        }
    }

    fn wait(&mut self, wait: Duration) {
        self.now = self.now + rest_of(wait.as_secs_f64());
    }

    /// Waits for the next turn and hashes one object. A disk that reads in no time is the worst case.
    fn one(&mut self) {
        let whole = self.whole();
        loop {
            match self.pace.rest(whole, self.now) {
                Duration::ZERO => break,
                rest => self.wait(rest.min(Duration::from_secs(6 * 3600))),
            }
        }
        let (size, began) = (self.sizes[self.next % self.sizes.len()], self.now);
        let mut left = size;
        while left > 0 {
            let bytes = left.min(STEP);
            self.wait(step(bytes, whole, self.pace.period, self.busy));
            left -= bytes;
        }
        self.read += size;
        self.next += 1;
        self.pace.hashed(size, began, whole, self.now);
    }

    /// Hashes everything once; answers how long that took, in seconds.
    fn pass(&mut self) -> f64 {
        let began = self.now;
        for _ in 0..self.sizes.len() {
            self.one();
        }
        self.now.since(began).as_secs_f64()
    }

    /// The time of one object, in seconds, at most.
    fn longest(&self) -> f64 {
        let largest = self.sizes.iter().copied().max().unwrap_or(0);
        self.pace.period.as_secs_f64() * weight(largest) / self.whole().weight()
    }
}

/// From empty files to layers of 4 GiB.
fn sizes() -> impl Strategy<Value = Vec<u64>> {
    let size = prop_oneof![0_u64..4096, 0_u64..(64 << 20), 0_u64..(4 << 30)];
    proptest::collection::vec(size, 1..40)
}

proptest! {
    #[test]
    fn any_cache_is_covered_within_the_period_and_one_object(
        sizes in sizes(), days in 1_u64..30, busy: bool,
    ) {
        let mut sim = Sim::new(&sizes, days, busy);
        let most = (days * DAY) as f64 + sim.longest() + 1.0;
        for _ in 0..3 {
            let took = sim.pass();
            prop_assert!(took <= most, "{took} s of {most}");
        }
        // Nor is it rushed: three passes take nearly three periods.
        let least = 3.0 * (days * DAY) as f64 - 2.0 * sim.longest() - 1.0;
        prop_assert!(sim.now.as_millis() as f64 / 1000.0 >= least);
    }

    #[test]
    fn the_rate_is_bounded_however_much_there_is(sizes in sizes(), busy: bool, late in 0_u64..100) {
        // A period that cannot be met, and a scrub that is late.
        let mut sim = Sim::new(&sizes, 1, busy);
        sim.pace.period = Duration::from_secs(1);
        sim.wait(Duration::from_secs(late));
        let began = sim.now;
        sim.pass();
        let took = sim.now.since(began).as_secs_f64();
        let most = MOST_RATE as f64 * took + 1.0;
        prop_assert!(sim.read as f64 <= most, "{} bytes in {took} s", sim.read);
    }

    #[test]
    fn who_was_down_catches_up_at_twice_the_pace_at_most(
        sizes in sizes(), days in 1_u64..30, at in 0_usize..40, down in 0_u64..100,
    ) {
        let mut sim = Sim::new(&sizes, days, false);
        let (at, longest) = (at % sizes.len(), sim.longest());
        for _ in 0..at {
            sim.one();
        }
        let done: f64 = sizes[..at].iter().map(|size| weight(*size)).sum();
        sim.wait(Duration::from_secs(down * DAY));
        let (owed, when) = sim.pace.owed();
        sim.pace = Pace::resume(sim.pace.period, owed, when);
        let back = sim.now;
        for _ in at..sizes.len() {
            sim.one();
        }
        let took = sim.now.since(back).as_secs_f64();
        let left = (1.0 - done / sim.whole().weight()) * (days * DAY) as f64;
        prop_assert!(took <= left + longest + 1.0, "{took} s for {left}");
        prop_assert!(took >= left / CATCH_UP - 2.0 * longest - 1.0, "{took} s for {left}");
    }

    #[test]
    fn a_cache_that_grows_evenly_is_still_covered_in_time(
        sizes in proptest::collection::vec(0_u64..(1 << 30), 20..60), at in 0_usize..60,
    ) {
        // Every object becomes two in the middle of a pass, which go to where their digests belong.
        let mut sim = Sim::new(&sizes, 7, true);
        let at = at % sizes.len();
        for _ in 0..at {
            sim.one();
        }
        sim.sizes = sizes.iter().flat_map(|size| [*size, *size]).collect();
        sim.next = at * 2;
        for _ in at * 2..sizes.len() * 2 {
            sim.one();
        }
        let took = sim.now.as_millis() as f64 / 1000.0;
        prop_assert!(took <= (7 * DAY) as f64 + 2.0 * sim.longest() + 1.0, "{took} s");
    }

    #[test]
    fn a_sample_takes_its_part_and_the_same_again(seed: u64, part in 0.0_f64..=1.0) {
        let sample = Sample { part, seed };
        let digests: Vec<Digest> = (0..2000_u32).map(|each| Digest::sha256(&each.to_le_bytes())).collect();
        let taken = digests.iter().filter(|digest| sample.takes(digest)).count() as f64 / 2000.0;
        // Five standard deviations.
        prop_assert!((taken - part).abs() < 0.056, "{taken} of {part}");
        prop_assert!(digests.iter().all(|digest| sample.takes(digest) == sample.takes(digest)));
    }
}

#[test]
fn nothing_held_is_no_reason_to_hurry_or_to_panic() {
    let mut pace = Pace::new(Duration::from_secs(7 * DAY), Time::from_millis(0));
    let none = Whole::default();
    assert_eq!(pace.rest(none, Time::from_millis(1)), Duration::ZERO);
    pace.hashed(5, Time::from_millis(1), none, Time::from_millis(2));
    assert!(pace.rest(none, Time::from_millis(3)) > Duration::from_secs(7 * DAY));
    // It does not wait for that when there is something again.
    let some = Whole {
        objects: 1000,
        bytes: 1000 << 20,
    };
    let soon = Time::from_millis(3600 * 1000);
    assert_eq!(pace.rest(some, soon), Duration::ZERO);
}

#[test]
fn a_few_files_that_cannot_be_read_are_to_blame_themselves_and_many_in_a_row_are_not() {
    let mut blame = Blame::default();
    let told: Vec<bool> = (0..5).map(|_| blame.broken()).collect();
    assert_eq!(told, [true, true, true, false, false]);
    blame.read();
    assert!(blame.broken());
}

#[test]
fn whole_and_nothing_are_samples_too() {
    let digest = Digest::sha256(b"x");
    assert!((0..100).all(|seed| Sample { part: 1.0, seed }.takes(&digest)));
    assert!(!(0..100).any(|seed| Sample { part: 0.0, seed }.takes(&digest)));
}

#[test]
fn who_was_away_has_one_period_to_catch_up_with_however_long_it_was() {
    let whole = Whole {
        objects: 100,
        bytes: 100 << 20,
    };
    for (weeks, owed) in [
        (0, 0.0),
        (1, -whole.weight()),
        (2, -whole.weight()),
        (500, -whole.weight()),
    ] {
        let mut pace = Pace::new(Duration::from_secs(7 * DAY), Time::from_millis(0));
        let now = Time::from_millis(weeks * 7 * DAY * 1000);
        pace.rest(whole, now);
        let (found, at) = pace.owed();
        assert!((found - owed).abs() < 1.0, "{weeks} weeks: {found}");
        assert_eq!(at, now);
    }
}
