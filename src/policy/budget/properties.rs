//! Properties of the machine against an upstream that counts: whatever happens, in whatever order.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use proptest::prelude::*;

use super::refusals::tell;
use super::*;

const RESERVES: [f64; 3] = [0.0, 0.2, 0.4];
const WINDOW: u64 = 3_600_000;
/// More calls than a wait of minutes can need: beyond it, the machine wakes its driver for nothing.
const MOST_WAKES: usize = 2_000;

fn rules() -> Rules {
    Rules {
        reserves: RESERVES.to_vec(),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Ask {
        tier: usize,
        client: u64,
        patience: u64,
    },
    Pass(u64),
    /// The upstream counts one that is on its way.
    Arrive(usize),
    /// The response of one that was counted comes back, with figures or without.
    Answer(usize, bool),
    /// One is given up before it was sent.
    Unsent(usize),
    Raise(usize),
    Withdraw(usize),
    /// A crash: what was on its way is never heard of again.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..3_usize, 0..4_u64, 1..60_000_u64)
            .prop_map(|(tier, client, patience)| Step::Ask { tier, client, patience }),
        3 => prop_oneof![0..2_000_u64, 0..120_000_u64, 0..WINDOW].prop_map(Step::Pass),
        4 => (0..8_usize).prop_map(Step::Arrive),
        4 => (0..8_usize, proptest::bool::weighted(0.8)).prop_map(|(index, told)| Step::Answer(index, told)),
        1 => (0..8_usize).prop_map(Step::Unsent),
        1 => (0..99_usize).prop_map(Step::Raise),
        1 => (0..99_usize).prop_map(Step::Withdraw),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..150)
}

/// A driver, and the upstream behind it.
struct World {
    budget: Budget<usize>,
    now: u64,
    limit: u64,
    fixed: bool,
    counted: VecDeque<u64>,
    refused: u64,
    /// On their way, not yet counted; and counted, not yet answered.
    sent: Vec<Charge>,
    unanswered: Vec<Charge>,
    waiting: HashMap<usize, (usize, u64)>,
    next: usize,
}

impl World {
    fn new(limit: u64, fixed: bool, spent: u64) -> Self {
        let now = 1_000_000 * WINDOW;
        let mut this = Self {
            budget: Budget::new(rules(), 1, None, Time::from_millis(now)),
            now,
            limit,
            fixed,
            counted: (0..spent.min(limit)).map(|_| now).collect(),
            refused: 0,
            sent: Vec::new(),
            unanswered: Vec::new(),
            waiting: HashMap::new(),
            next: 0,
        };
        this.tell();
        this
    }

    fn time(&self) -> Time {
        Time::from_millis(self.now)
    }

    fn remaining(&self) -> u64 {
        let inside = |at: &&u64| match self.fixed {
            true => **at / WINDOW == self.now / WINDOW,
            false => **at + WINDOW > self.now,
        };
        self.limit - (self.counted.iter().filter(inside).count() as u64).min(self.limit)
    }

    fn tell(&mut self) {
        let window = Some(Duration::from_millis(WINDOW));
        let reading = Reading {
            limit: self.limit,
            remaining: self.remaining(),
            window,
        };
        let observed = Observed {
            account: 0,
            source: None,
            reading: Some(reading),
        };
        self.budget.learn("app", &observed, self.time());
    }

    fn ask(&mut self, tier: usize, client: u64, patience: u64) -> Option<Withheld> {
        self.next += 1;
        let deadline = self.now + patience;
        self.ask_again(
            self.next,
            Asker {
                tier,
                client,
                deadline: Time::from_millis(deadline),
            },
        )
    }

    fn ask_again(&mut self, key: usize, asker: Asker) -> Option<Withheld> {
        // A driver takes few readings for one request: the machine must not want more.
        for _ in 0..2 {
            match self.budget.ask(&key, "app", asker, self.time()) {
                Verdict::Go(charge) => self.go(charge, asker.tier),
                Verdict::Wait => {
                    self.waiting.insert(key, (asker.tier, asker.deadline.as_millis()));
                }
                Verdict::Refuse(withheld) => return Some(withheld),
                Verdict::Read(_) => {
                    self.tell();
                    continue;
                }
            }
            return None;
        }
        panic!("a reading is wanted right after a reading");
    }

    /// The promise: what is really left, less what is on its way, is more than the tier's reserve.
    fn go(&mut self, charge: Charge, tier: usize) {
        let left = self.remaining() as f64 - self.sent.len() as f64;
        let reserve = RESERVES[tier] * self.limit as f64;
        assert!(
            left >= 1.0 && left > reserve,
            "tier {tier} took one of {left}, it must leave {reserve}"
        );
        self.sent.push(charge);
    }

    fn turn(&mut self) {
        for (key, verdict) in self.budget.turn(self.time()) {
            let (tier, deadline) = self.waiting.remove(&key).expect("only who waits is told");
            match verdict {
                Verdict::Go(charge) => self.go(charge, tier),
                Verdict::Refuse(withheld) => assert!(withheld.until > self.time()),
                Verdict::Read(_) => {
                    self.tell();
                    let deadline = Time::from_millis(deadline);
                    self.ask_again(
                        key,
                        Asker {
                            tier,
                            client: 9,
                            deadline,
                        },
                    );
                }
                Verdict::Wait => panic!("to wait is no turn"),
            }
        }
    }

    fn arrive(&mut self, index: usize) {
        if index < self.sent.len() {
            self.refused += u64::from(self.remaining() == 0);
            self.counted.push_back(self.now);
            let charge = self.sent.swap_remove(index);
            self.unanswered.push(charge);
        }
    }

    fn answer(&mut self, index: usize, told: bool) {
        if index < self.unanswered.len() {
            if told {
                self.tell();
            }
            let charge = self.unanswered.swap_remove(index);
            self.budget.settle(&charge, true, self.time());
        }
    }

    /// Everything on its way arrives and is answered.
    fn finish(&mut self) {
        while !self.sent.is_empty() {
            self.arrive(0);
        }
        while !self.unanswered.is_empty() {
            self.answer(0, true);
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Ask {
                tier,
                client,
                patience,
            } => drop(self.ask(tier, client, patience)),
            Step::Pass(pause) => self.pass(self.now + pause),
            Step::Arrive(index) => self.arrive(index),
            Step::Answer(index, told) => self.answer(index, told),
            Step::Unsent(index) if index < self.sent.len() => {
                let charge = self.sent.swap_remove(index);
                self.budget.settle(&charge, false, self.time());
            }
            Step::Unsent(_) => {}
            Step::Raise(key) => {
                let deadline = Time::from_millis(self.now + 30_000);
                self.budget.raise(
                    &key,
                    Asker {
                        tier: 0,
                        client: 1,
                        deadline,
                    },
                );
                if let Some((tier, until)) = self.waiting.get_mut(&key) {
                    (*tier, *until) = (0, (*until).max(deadline.as_millis()));
                }
            }
            Step::Withdraw(key) => {
                self.budget.withdraw(&key);
                self.waiting.remove(&key);
            }
            Step::Restart => self.restart(),
        }
        self.turn();
    }

    fn restart(&mut self) {
        let ledger = serde_json::to_string(&self.budget.ledger()).unwrap();
        let ledger = serde_json::from_str(&ledger).unwrap();
        self.budget = Budget::new(rules(), 1, Some(ledger), self.time());
        // They died with the process.
        self.sent.clear();
        self.unanswered.clear();
        self.waiting.clear();
    }

    /// Time passes as a driver lets it: it is there whenever the machine has something to say.
    fn pass(&mut self, until: u64) {
        for _ in 0..MOST_WAKES {
            let wake = self.budget.wake(self.time()).map(Time::as_millis);
            let Some(wake) = wake.filter(|wake| *wake <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(wake);
            if self.budget.due_reading(self.time()).is_some() {
                self.tell();
            }
            self.turn();
            let late = self.waiting.values().find(|(_, deadline)| *deadline < self.now);
            assert!(late.is_none(), "one waits past its deadline");
        }
        panic!("the machine wakes its driver for nothing");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(192) })]

    // Reserves are never breached, nothing is spent while nothing is left, nobody waits past a deadline, and
    // no driver is kept busy; in both kinds of window, through crashes, lost answers and late ones.
    #[test]
    fn whatever_happens_the_upstream_never_refuses_and_reserves_hold(
        limit in 1..60_u64, spent in 0..60_u64, fixed: bool, steps in steps(),
    ) {
        let mut world = World::new(limit, fixed, spent);
        for step in steps {
            world.step(&step);
        }
        world.pass(world.now + 2 * 60_000);
        prop_assert_eq!(world.refused, 0);
        prop_assert!(world.waiting.is_empty());
        prop_assert_eq!(world.budget.waiting().iter().sum::<u64>(), 0);
    }

    // The same with larger allowances, where every answer comes at once and names no figures.
    #[test]
    fn a_tier_never_spends_what_it_must_leave(
        limit in 1_u64..200,
        remaining in 0_u64..200,
        asks in proptest::collection::vec((0_usize..3, 0_u64..4, 0_u64..30), 1..80),
    ) {
        let start = Time::from_millis(10_000_000_000);
        let mut budget = Budget::new(rules(), 1, None, start);
        let mut left = remaining.min(limit);
        tell(&mut budget, limit, left, start);
        let mut now = start;
        for (key, (tier, client, pause)) in asks.into_iter().enumerate() {
            now = now + Duration::from_millis(pause * 100);
            let asker = Asker { tier, client, deadline: now + Duration::from_secs(20) };
            match budget.ask(&key, "app", asker, now) {
                Verdict::Go(charge) => {
                    prop_assert!(left as f64 > RESERVES[tier] * limit as f64, "tier {tier} took one of {left}");
                    left -= 1;
                    budget.settle(&charge, true, now);
                }
                Verdict::Refuse(withheld) => prop_assert!(withheld.until > now),
                Verdict::Wait | Verdict::Read(_) => {}
            }
        }
        let _ = budget.turn(now + Duration::from_secs(21));
        prop_assert_eq!(budget.waiting().iter().sum::<u64>(), 0);
    }

    #[test]
    fn who_is_refused_is_told_a_time_at_which_asking_succeeds(
        limit in 1..60_u64, fixed: bool, tier in 0..3_usize, steps in steps(),
    ) {
        let mut world = World::new(limit, fixed, 0);
        // What dies in a crash, or is on its way for long, is counted nobody knows when.
        let alive = steps.into_iter().filter(|step| !matches!(step, Step::Restart));
        for step in alive {
            if matches!(step, Step::Pass(_)) {
                world.finish();
            }
            world.step(&step);
        }
        world.finish();
        world.pass(world.now + 60_000);
        world.finish();
        // Patience for nothing: it goes, or is refused.
        if let Some(withheld) = world.ask(tier, 1, 0) {
            prop_assert!(withheld.until > world.time());
            world.pass(withheld.until.as_millis());
            let again = world.ask(tier, 1, 0);
            prop_assert!(again.is_none(), "told {:?}, then {:?}", withheld, again);
        }
    }

    #[test]
    fn figures_that_nobody_means_never_panic(
        readings in proptest::collection::vec((any::<u64>(), any::<u64>(), proptest::option::of(any::<u64>())), 1..8),
        pause in any::<u64>(),
    ) {
        let mut now = Time::from_millis(1);
        let mut budget: Budget<u64> = Budget::new(rules(), 2, None, now);
        for (key, (limit, remaining, window)) in (0..).zip(readings) {
            let reading = Some(Reading { limit, remaining, window: window.map(Duration::from_secs) });
            let source = Some(format!("192.0.2.{}", remaining % 40));
            budget.learn("app", &Observed { account: 0, source, reading }, now);
            let asker = Asker { tier: 2, client: 1, deadline: now + Duration::from_secs(9) };
            let _ = budget.ask(&key, "app", asker, now);
            budget.refused(0, Limit::Pull { retry_after: None }, now);
            now = now + Duration::from_millis(pause);
            let _ = (budget.turn(now), budget.wake(now), budget.due_reading(now), budget.status(now));
        }
        let mut written = serde_json::to_value(budget.ledger()).unwrap();
        scramble(&mut written, pause);
        if let Ok(ledger) = serde_json::from_value(written) {
            let mut budget: Budget<u64> = Budget::new(Rules { reserves: vec![0.5] }, 3, Some(ledger), now);
            let asker = Asker { tier: 7, client: 1, deadline: now };
            let _ = (budget.ask(&1, "app", asker, now), budget.status(now), budget.ledger());
        }
    }
}

/// Another number in every place that has one.
fn scramble(value: &mut serde_json::Value, number: u64) {
    match value {
        serde_json::Value::Number(_) => *value = number.into(),
        serde_json::Value::Array(values) => values.iter_mut().for_each(|value| scramble(value, number)),
        serde_json::Value::Object(values) => values.values_mut().for_each(|value| scramble(value, number)),
        _ => {}
    }
}
