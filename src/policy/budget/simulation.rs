//! Twelve hours behind a limit, with the machine itself, beside what simpler policies come to.
//!
//! 100 requests an hour; production wants 40 an hour at random, CI 20 an hour and 120 more in the first three
//! minutes of each, neighbours behind the same address take 20. Nobody waits longer than a minute.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Asker, Budget, Limit, Observed, PREFETCH, Reading, Rules, Verdict};
use crate::clock::Time;

const LIMIT: u64 = 100;
const WINDOW: u64 = 3600;
const HOURS: u64 = 12;
const PATIENCE: u64 = 60;
const PRODUCTION: usize = 0;
const CI: usize = 1;
const START: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Rolling,
    Fixed,
}

/// The upstream: it counts and tells.
struct Server {
    kind: Kind,
    spent: VecDeque<u64>,
    refused: u64,
}

impl Server {
    fn remaining(&mut self, now: u64) -> u64 {
        let inside = |at: u64| match self.kind {
            Kind::Rolling => at + WINDOW > now,
            Kind::Fixed => at / WINDOW == now / WINDOW,
        };
        while self.spent.front().is_some_and(|at| !inside(*at)) {
            self.spent.pop_front();
        }
        LIMIT - self.spent.len() as u64
    }

    fn get(&mut self, now: u64) -> bool {
        let allowed = self.remaining(now) > 0;
        if allowed {
            self.spent.push_back(now);
        } else {
            self.refused += 1;
        }
        allowed
    }

    fn tell(&mut self, now: u64) -> Observed {
        Observed {
            account: 0,
            source: Some("192.0.2.1".to_owned()),
            reading: Some(Reading {
                limit: LIMIT,
                remaining: self.remaining(now),
                window: Some(Duration::from_secs(WINDOW)),
            }),
        }
    }
}

/// What every second brings: requests of production, of CI, of neighbours.
fn arrivals(seed: u64, ci: f64, rest: f64) -> Vec<[u32; 3]> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut count = |per_hour: f64| {
        // A Poisson process, by the second: at these rates at most a few.
        let (mut left, mut count) = ((-per_hour / 3600.0).exp(), 0);
        let mut product: f64 = random.random();
        while product > left {
            product *= random.random::<f64>();
            count += 1;
            left = (-per_hour / 3600.0).exp();
        }
        count
    };
    let burst = |second: u64| if second % 3600 < 180 { 120.0 * 20.0 } else { 0.0 };
    let each = (0..HOURS * 3600).map(|second| {
        [
            count(rest * 40.0),
            count(ci * (20.0 + burst(second))),
            count(rest * 20.0),
        ]
    });
    each.collect()
}

#[derive(Default)]
struct Score {
    asked: [u64; 2],
    failed: [u64; 2],
    refused: u64,
    prefetched: u64,
}

impl Score {
    fn failed_percent(&self, who: usize) -> f64 {
        100.0 * self.failed[who] as f64 / self.asked[who].max(1) as f64
    }
}

/// What is wanted besides production's pulls.
#[derive(Clone, Copy)]
struct Demand {
    /// How much of CI's pulls.
    ci: f64,
    /// How much of production's and the neighbours'.
    rest: f64,
    /// Whether there is always something to prefetch.
    prefetch: bool,
}

/// The machine, driven as the upstream drives it.
struct Shielded {
    server: Server,
    budget: Budget<u64>,
    score: Score,
}

impl Shielded {
    fn run(kind: Kind, seed: u64, demand: Demand) -> Score {
        let rules = Rules {
            reserves: vec![0.0, 0.3],
        };
        let start = Time::from_millis(START * WINDOW * 1000);
        let mut this = Self {
            server: Server {
                kind,
                spent: VecDeque::new(),
                refused: 0,
            },
            budget: Budget::new(rules, 1, None, start),
            score: Score::default(),
        };
        let (mut owners, mut next) = (HashMap::new(), 0);
        for (second, [production, ci, foreign]) in
            arrivals(seed, demand.ci, demand.rest).into_iter().enumerate()
        {
            let now = START * WINDOW + second as u64;
            for _ in 0..foreign {
                this.server.get(now);
            }
            this.server.refused = 0;
            for (who, count) in [(PRODUCTION, production), (CI, ci)] {
                for _ in 0..count {
                    next += 1;
                    owners.insert(next, who);
                    this.score.asked[who] += 1;
                    this.ask(next, who, now);
                }
            }
            let time = Time::from_millis(now * 1000);
            if demand.prefetch && second % 10 == 0 {
                this.prefetch(now);
            }
            if this.budget.due_reading(time).is_some() {
                let told = this.server.tell(now);
                this.budget.learn("app", &told, time);
            }
            loop {
                let told = this.budget.turn(time);
                if told.is_empty() {
                    break;
                }
                for (key, verdict) in told {
                    this.act(key, owners[&key], verdict, now);
                }
            }
            this.score.refused += this.server.refused;
        }
        this.score
    }

    /// One more that nobody waits for.
    fn prefetch(&mut self, now: u64) {
        let time = Time::from_millis(now * 1000);
        let asker = Asker {
            tier: PREFETCH,
            client: 9,
            deadline: time,
        };
        match self.budget.ask(&u64::MAX, "app", asker, time) {
            Verdict::Refuse(_) => {}
            Verdict::Wait => panic!("nobody waits for it"),
            Verdict::Read(_) => {
                let told = self.server.tell(now);
                self.budget.learn("app", &told, time);
            }
            go @ Verdict::Go(_) => {
                self.score.prefetched += 1;
                self.act(u64::MAX, PRODUCTION, go, now);
            }
        }
    }

    fn ask(&mut self, key: u64, who: usize, now: u64) {
        let asker = Asker {
            tier: who,
            client: who as u64,
            deadline: Time::from_millis((now + PATIENCE) * 1000),
        };
        let verdict = self.budget.ask(&key, "app", asker, Time::from_millis(now * 1000));
        self.act(key, who, verdict, now);
    }

    fn act(&mut self, key: u64, who: usize, verdict: Verdict, now: u64) {
        let time = Time::from_millis(now * 1000);
        match verdict {
            Verdict::Wait => {}
            Verdict::Refuse(_) => self.score.failed[who] += 1,
            Verdict::Read(_) => {
                let told = self.server.tell(now);
                self.budget.learn("app", &told, time);
                self.ask(key, who, now);
            }
            Verdict::Go(charge) => {
                let allowed = self.server.get(now);
                let told = self.server.tell(now);
                self.budget.learn("app", &told, time);
                if !allowed {
                    self.budget.refused(0, Limit::Pull { retry_after: None }, time);
                    self.score.failed[who] += 1;
                }
                self.budget.settle(&charge, true, time);
            }
        }
    }
}

/// What those do who know less of the budget, or plan less: everything is sent, again each second until its deadline
/// (`Forward`); first come, first served by what they have sent themselves (`Ledger`) or by what responses told
/// (`Fifo`); production first, and CI only while more than the reserve is left (`Reserve`).
#[derive(Clone, Copy, PartialEq)]
enum Naive {
    Forward,
    Ledger,
    Fifo,
    Reserve,
}

/// What CI leaves to production.
const RESERVE: u64 = LIMIT * 3 / 10;

fn naive(policy: Naive, kind: Kind, seed: u64) -> Score {
    let mut server = Server {
        kind,
        spent: VecDeque::new(),
        refused: 0,
    };
    let mut score = Score::default();
    let mut waiting: VecDeque<(usize, u64)> = VecDeque::new();
    // What was sent within the window, as far as one knows who hears nothing.
    let mut sent_at: VecDeque<u64> = VecDeque::new();
    for (second, [production, ci, foreign]) in arrivals(seed, 1.0, 1.0).into_iter().enumerate() {
        let now = START * WINDOW + second as u64;
        for _ in 0..foreign {
            server.get(now);
        }
        server.refused = 0;
        for (who, count) in [(PRODUCTION, production), (CI, ci)] {
            (0..count).for_each(|_| waiting.push_back((who, now + PATIENCE)));
            score.asked[who] += u64::from(count);
        }
        while sent_at.front().is_some_and(|at| at + WINDOW <= now) {
            sent_at.pop_front();
        }
        if policy == Naive::Reserve {
            waiting.make_contiguous().sort_by_key(|(who, _)| *who);
        }
        let mut left = VecDeque::new();
        while let Some((who, deadline)) = waiting.pop_front() {
            let may = match policy {
                Naive::Forward => true,
                Naive::Ledger => (sent_at.len() as u64) < LIMIT,
                Naive::Fifo => server.remaining(now) > 0,
                Naive::Reserve => server.remaining(now) > if who == CI { RESERVE } else { 0 },
            };
            if may {
                sent_at.push_back(now);
            }
            let sent = may && server.get(now);
            if !sent && deadline <= now {
                score.failed[who] += 1;
            } else if !sent {
                left.push_back((who, deadline));
            }
        }
        waiting = left;
        score.refused += server.refused;
    }
    score
}

/// Both, and nothing to prefetch.
const USUAL: Demand = Demand {
    ci: 1.0,
    rest: 1.0,
    prefetch: false,
};

#[test]
fn prefetching_has_only_what_would_expire_unused() {
    for kind in [Kind::Rolling, Kind::Fixed] {
        for (ci, rest, expected) in [(0.0, 0.25, 120..1100), (1.0, 1.0, 0..200)] {
            let demand = Demand {
                ci,
                rest,
                prefetch: true,
            };
            for seed in 1..=2 {
                let score = Shielded::run(kind, seed, demand);
                assert_eq!(
                    (score.failed[PRODUCTION], score.refused),
                    (0, 0),
                    "{kind:?} {ci} {seed}"
                );
                let alone = Shielded::run(
                    kind,
                    seed,
                    Demand {
                        prefetch: false,
                        ..demand
                    },
                );
                let (ci_failed, before) = (score.failed_percent(CI), alone.failed_percent(CI));
                assert!(
                    ci_failed < before + 2.0,
                    "{kind:?} {ci} {seed}: {ci_failed} after {before}"
                );
                assert!(
                    expected.contains(&score.prefetched),
                    "{kind:?} {ci} {seed}: {}",
                    score.prefetched
                );
            }
        }
    }
}

#[test]
fn production_never_fails_and_the_upstream_never_refuses_while_ci_wants_twice_the_budget() {
    let mut table =
        String::from("policy                      window   production failed   CI failed   upstream 429s\n");
    for kind in [Kind::Rolling, Kind::Fixed] {
        let run = |name: &str, policy: &dyn Fn(u64) -> Score, table: &mut String| {
            let scores: Vec<Score> = (1..=5).map(policy).collect();
            let mean = |who| scores.iter().map(|score| score.failed_percent(who)).sum::<f64>() / 5.0;
            let refused: u64 = scores.iter().map(|score| score.refused).sum();
            table.push_str(&format!(
                "{name:27} {:8} {:16.2} % {:9.1} % {refused:15}\n",
                format!("{kind:?}"),
                mean(PRODUCTION),
                mean(CI)
            ));
            (mean(PRODUCTION), refused)
        };
        run(
            "forward everything",
            &|seed| naive(Naive::Forward, kind, seed),
            &mut table,
        );
        let (_, refused_blind) = run(
            "first come, own ledger",
            &|seed| naive(Naive::Ledger, kind, seed),
            &mut table,
        );
        let (failed_in_turn, refused) = run(
            "first come, header feedback",
            &|seed| naive(Naive::Fifo, kind, seed),
            &mut table,
        );
        assert!(
            refused == 0 && refused_blind > 0,
            "feedback removes refusals\n{table}"
        );
        let (failed, refused) = run(
            "production first, reserve",
            &|seed| naive(Naive::Reserve, kind, seed),
            &mut table,
        );
        assert!(
            refused == 0 && failed > 0.0 && failed < failed_in_turn,
            "a reserve helps, and is not enough\n{table}"
        );
        let (failed, refused) = run(
            "this machine",
            &|seed| Shielded::run(kind, seed, USUAL),
            &mut table,
        );
        assert!(failed == 0.0 && refused == 0, "{kind:?}:\n{table}");
    }
    // Shown with --nocapture.
    println!("{table}");
}
