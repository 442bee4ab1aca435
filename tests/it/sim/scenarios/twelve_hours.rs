//! Twelve hours behind a limit, through the whole server: 100 pulls an hour, of which production wants 40 at
//! random, CI 20 and 120 more in the first three minutes of each, and neighbours behind the same address 20.
//!
//! The bare machine stands beside what simpler policies come to in `policy/budget/simulation.rs`, in a table
//! of the same form. Nobody here waits longer than containerd does.

use std::fmt::Write;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use super::super::client::{Shop, manifest, tiers, verified};
use super::super::journal::Counted;
use super::super::presets::hub;
use super::super::switches::{Allowance, Kind, Switches};
use crate::support::seawall::Choices;

const HOURS: u64 = 12;
const SEEDS: std::ops::RangeInclusive<u64> = 1..=2;
const RESERVE: f64 = 0.3;
/// Longer than a connection is kept that nobody uses, on either side.
const QUIET: Duration = Duration::from_secs(600);
const PRODUCTION: usize = 0;
const CI: usize = 1;

/// When somebody asks, in ms, and who; in order.
fn arrivals(seed: u64) -> Vec<(u64, usize)> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut all = Vec::new();
    for (who, per_hour) in [(PRODUCTION, 40.0), (CI, 20.0)] {
        let mut at = 0.0;
        loop {
            at += -(1.0 - random.random::<f64>()).ln() * 3_600_000.0 / per_hour;
            if at >= (HOURS * 3_600_000) as f64 {
                break;
            }
            all.push((at as u64, who));
        }
    }
    for hour in 0..HOURS {
        all.extend((0..120).map(|_| (hour * 3_600_000 + random.random_range(0..180_000), CI)));
    }
    all.sort_unstable();
    all
}

#[derive(Debug, Default)]
struct Score {
    asked: [u64; 2],
    failed: [u64; 2],
    refused: usize,
    spent: usize,
}

impl Score {
    fn failed_percent(&self, who: usize) -> f64 {
        100.0 * self.failed[who] as f64 / self.asked[who].max(1) as f64
    }
}

async fn twelve_hours(kind: Kind, seed: u64) -> Score {
    let switches = Switches {
        allowance: Some(Allowance {
            pulls: 100,
            window: Duration::from_secs(3600),
            kind,
        }),
        foreign_per_hour: 20.0,
        ..hub()
    };
    let choices = Choices {
        clients: tiers(RESERVE),
        ..Choices::default()
    };
    let shop = Shop::open_with(&format!("{kind:?}"), switches, choices, seed);
    shop.sim
        .tripwires(|trips| trips.reserves.push(("ci/".to_owned(), RESERVE)));
    tokio::time::sleep(QUIET).await;
    let before = shop.at_work();
    let mut score = Score::default();
    let mut pulls = JoinSet::new();
    for (number, (at, who)) in (0..).zip(arrivals(seed)) {
        tokio::time::sleep(Duration::from_millis(at.saturating_sub(shop.sim.now()))).await;
        score.asked[who] += 1;
        let (repository, client) = match who {
            PRODUCTION => ("production/app", shop.curt()),
            _ => ("ci/app", shop.ci()),
        };
        let client = client.named("containerd/v2.1.0");
        let tag = format!("t{number}");
        let digest = shop
            .sim
            .content(|content| content.small(repository, &tag, number));
        pulls.spawn(async move {
            let answer = client.get(&manifest(repository, tag)).await;
            (who, verified(&answer, Some(&digest)))
        });
    }
    for (who, got) in pulls.join_all().await {
        score.failed[who] += u64::from(got.is_err());
    }
    // F114: hours leave nothing behind.
    tokio::time::sleep(QUIET).await;
    assert_eq!(shop.at_work(), before, "seed {seed}");
    let journal = shop.sim.journal();
    (score.refused, score.spent) = (journal.status(429), journal.pulls());
    score
}

/// The row of a table, and whether all went well.
async fn row(kind: Kind) -> (String, bool) {
    let mut scores = Vec::new();
    for seed in SEEDS {
        scores.push(twelve_hours(kind, seed).await);
    }
    let mean = |who| scores.iter().map(|score| score.failed_percent(who)).sum::<f64>() / scores.len() as f64;
    let refused: usize = scores.iter().map(|score| score.refused).sum();
    let (production, ci) = (mean(PRODUCTION), mean(CI));
    let mut row =
        String::from("policy                      window   production failed   CI failed   upstream 429s\n");
    let name = format!("{kind:?}");
    let _ = writeln!(
        row,
        "{:27} {name:8} {production:16.2} % {ci:9.1} % {refused:15}",
        "the whole server"
    );
    for (seed, score) in SEEDS.zip(&scores) {
        let _ = writeln!(row, "    seed {seed}: {score:?}");
    }
    (row, production == 0.0 && refused == 0)
}

#[tokio::test(start_paused = true)]
async fn production_never_fails_and_the_upstream_never_refuses_in_rolling_windows() {
    let (row, well) = row(Kind::Rolling).await;
    assert!(well, "{row}");
    // Shown with --nocapture.
    println!("{row}");
}

#[tokio::test(start_paused = true)]
async fn production_never_fails_and_the_upstream_never_refuses_in_fixed_windows() {
    let (row, well) = row(Kind::Fixed).await;
    assert!(well, "{row}");
    println!("{row}");
}
