//! Eight hours behind a limit of 100 pulls an hour, of which production wants 40 at random, with a warm of fifty new
//! images every half hour: it takes what nobody would have wanted, and nobody misses anything.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::super::client::{Shop, manifest, tiers, verified};
use super::super::journal::Counted;
use super::super::presets::hub;
use super::super::switches::{Allowance, Kind, Switches};
use crate::support::operator::lines;
use crate::support::seawall::Choices;

const HOURS: u64 = 8;
const HOUR: u64 = 3_600_000;

/// How many pulls of production failed, how often the upstream refused, and how much the warms spent.
async fn eight_hours(kind: Kind, seed: u64) -> (usize, usize, u64) {
    let switches = Switches {
        allowance: Some(Allowance {
            pulls: 100,
            window: Duration::from_secs(3600),
            kind,
        }),
        ..hub()
    };
    let choices = Choices {
        clients: tiers(0.3),
        ..Choices::default()
    };
    let shop = Shop::open_with(&format!("warm {kind:?}"), switches, choices, seed);
    let (sim, seawall) = (shop.sim.clone(), shop.seawall.clone());
    let warming = tokio::spawn(async move {
        let mut spent = 0;
        for round in 0..HOURS * 2 {
            let tags: Vec<String> = (0..50).map(|number| format!("w{round}-{number}")).collect();
            sim.content(|content| {
                for (number, tag) in (0..).zip(&tags) {
                    content.small("later/app", tag, 1_000_000 + round * 100 + number);
                }
            });
            let references: Vec<String> = tags.iter().map(|tag| format!("later/app:{tag}")).collect();
            let answer = seawall
                .post("/api/v1/warm", &json!({"references": references, "wait": 0}))
                .await;
            let summary: Value = lines(&answer).pop().unwrap();
            spent += summary["counted"].as_u64().unwrap();
            tokio::time::sleep(Duration::from_secs(1800)).await;
        }
        spent
    });
    let (mut random, mut at) = (StdRng::seed_from_u64(seed), 0.0);
    let mut pulls = JoinSet::new();
    for number in 0.. {
        at += -(1.0 - random.random::<f64>()).ln() * HOUR as f64 / 40.0;
        if at >= (HOURS * HOUR) as f64 {
            break;
        }
        tokio::time::sleep(Duration::from_millis((at as u64).saturating_sub(shop.sim.now()))).await;
        let tag = format!("t{number}");
        let client = shop.curt().named("containerd/v2.1.0");
        let digest = shop
            .sim
            .content(|content| content.small("production/app", &tag, number));
        pulls.spawn(async move {
            let answer = client.get(&manifest("production/app", tag)).await;
            verified(&answer, Some(&digest)).is_err()
        });
    }
    let failed = pulls
        .join_all()
        .await
        .into_iter()
        .filter(|failed| *failed)
        .count();
    (failed, shop.sim.journal().status(429), warming.await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_warm_takes_what_nobody_wants_and_nobody_misses_it() {
    for kind in [Kind::Rolling, Kind::Fixed] {
        for seed in 1..=2 {
            let (failed, refused, spent) = eight_hours(kind, seed).await;
            assert_eq!(
                (failed, refused),
                (0, 0),
                "{kind:?}, seed {seed}: {spent} were warmed"
            );
            // What a rolling window leaves over is little: the shield keeps half of it for whoever may come.
            assert!(spent > 0, "{kind:?}, seed {seed}: {spent} were warmed");
        }
    }
}
