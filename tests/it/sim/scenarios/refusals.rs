//! 429 in all its kinds: which it is, how long it holds, and for whom.

use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinSet;

use super::super::client::{Shop, manifest};
use super::super::journal::{Counted, Role};
use super::super::presets::{ecr_public, ghcr, hub, hub_abuse};
use super::super::switches::{Rate, Refusal, Switches, per_hours};
use super::super::tripwires::Trip;
use crate::support::seawall::Answer;

fn put(shop: &Shop, number: u64) -> String {
    let tag = format!("t{number}");
    shop.sim
        .content(|content| content.small("library/app", &tag, number));
    manifest("library/app", tag)
}

/// Asks for all of these at once.
async fn at_once(shop: &Shop, paths: Vec<String>, tries: u32) -> Vec<Answer> {
    let mut clients = JoinSet::new();
    for path in paths {
        let client = shop.patient().trying(tries);
        clients.spawn(async move { client.get(&path).await });
    }
    clients.join_all().await
}

fn tags(shop: &Shop, count: u64) -> Vec<String> {
    (0..count).map(|number| put(shop, number)).collect()
}

/// By digest: nothing but counted requests.
fn digests(shop: &Shop, count: u64) -> Vec<String> {
    let put = |number| {
        shop.sim
            .content(|content| content.small("library/app", "x", number))
    };
    (0..count)
        .map(|number| manifest("library/app", put(number)))
        .collect()
}

fn good(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.is_good()).count()
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_calls_it_abuse_is_left_alone_by_all_and_what_is_held_is_served() {
    // Bare line feeds and no length: not even HTTP, and read all the same.
    let abuse = hub_abuse();
    let rate = abuse.rate.map(|rate| Rate {
        per_second: 10.0,
        burst: 30.0,
        ..rate
    });
    let shop = Shop::open(Switches { rate, ..abuse });
    let held = put(&shop, 1000);
    assert!(shop.curt().get(&held).await.is_good());
    let answers = at_once(&shop, tags(&shop, 20), 1).await;
    assert!(good(&answers) < 20);
    for refused in answers.iter().filter(|answer| !answer.is_good()) {
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
    }
    shop.sim.forget();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(shop.curt().get(&held).await.is_good());
    assert!(!shop.curt().get(&put(&shop, 19)).await.is_good());
    assert!(shop.sim.journal().is_empty());
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert!(shop.curt().get(&put(&shop, 19)).await.is_good());
    // Those who wait as they are told all come to their end.
    assert_eq!(good(&at_once(&shop, tags(&shop, 20), 30).await), 20);
}

#[tokio::test(start_paused = true)]
async fn a_wait_of_microseconds_is_waited_and_nobody_notices() {
    let shop = Shop::open(ghcr());
    // The token first, so that all come at once.
    assert!(shop.curt().get(&put(&shop, 1000)).await.is_good());
    let before = shop.sim.now();
    assert_eq!(good(&at_once(&shop, digests(&shop, 10), 1).await), 10);
    assert!(shop.sim.now() - before < 2000);
    assert!(shop.sim.journal().status(429) > 0);
}

#[tokio::test(start_paused = true)]
async fn one_pull_a_second_is_learnt_from_refusals_and_all_get_theirs() {
    let shop = Shop::open(ecr_public());
    let before = shop.sim.now();
    assert_eq!(good(&at_once(&shop, tags(&shop, 30), 60).await), 30);
    let took = shop.sim.now() - before;
    assert!(took <= 60_000, "{took} ms for 30 pulls at one a second");
    let refused = shop.sim.journal().status(429);
    assert!((1..=90).contains(&refused), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn whatever_a_refused_pull_says_of_when_to_return_it_works_again_after_its_window() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let waits = [None, Some("120"), Some(date), Some("999999999"), Some("soon")];
    let short = [Some("0"), Some("0.000880092")];
    for refusal in [
        Refusal::Json,
        Refusal::JsonUnauthenticated,
        Refusal::Html,
        Refusal::Empty,
    ] {
        for retry_after in waits.into_iter().chain(short) {
            let case = format!("{refusal:?} {retry_after:?}");
            let shop = Shop::open_with(
                &case,
                Switches {
                    allowance: Some(per_hours(10, 1)),
                    refusal,
                    retry_after,
                    ..hub()
                },
                crate::support::seawall::Choices::default(),
                11,
            );
            assert!(shop.curt().get(&put(&shop, 0)).await.is_good(), "{case}");
            let digest = shop.sim.content(|content| content.small("library/app", "x", 50));
            let path = manifest("library/app", digest);
            shop.sim.leave(0);
            let is_short = short.contains(&retry_after) || retry_after == Some(date);
            // A wait of nothing is waited where it is told, three times and no more.
            shop.sim
                .tripwires(|trips| trips.refusals_allowed = if is_short { 4 } else { 1 });
            if is_short {
                shop.sim.disarm(Trip::RetryBefore);
            }
            assert_eq!(
                shop.curt().get(&path).await.status,
                StatusCode::TOO_MANY_REQUESTS,
                "{case}"
            );
            tokio::time::sleep(Duration::from_secs(3600 + 900)).await;
            assert!(shop.curt().get(&path).await.is_good(), "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_refused_too_leaves_stale_tags_served_until_the_window_is_over() {
    let shop = Shop::open(Switches {
        allowance: Some(per_hours(10, 1)),
        head_when_empty: 429,
        ..hub()
    });
    let image = shop.sim.image("library/app", "1", 1, 1000);
    assert_eq!(shop.curt().pull(&image, 0).await, Ok(image.index));
    shop.sim.leave(0);
    tokio::time::sleep(Duration::from_secs(400)).await;
    for _ in 0..20 {
        let answer = shop.curt().get(&manifest("library/app", "1")).await;
        assert!(answer.is_good());
        assert!(answer.header("cache-status").contains("detail=upstream-limited"));
        let cold = shop.curt().get(&put(&shop, 7)).await;
        assert_eq!(cold.status, StatusCode::TOO_MANY_REQUESTS);
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let asked = shop.sim.journal().status(429);
    assert!(asked <= 20, "{asked}");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(shop.curt().get(&put(&shop, 7)).await.is_good());
}

#[tokio::test(start_paused = true)]
async fn stores_that_refuse_say_nothing_of_the_budget() {
    let shop = Shop::open(Switches {
        store_refusals: 2,
        ..hub()
    });
    let image = shop.sim.image("library/app", "1", 1, 1000);
    assert_eq!(shop.patient().pull(&image, 0).await, Ok(image.index));
    let journal = shop.sim.journal();
    let refused = journal.iter().filter(|entry| entry.status == 429);
    let refused: Vec<_> = refused.cloned().collect();
    assert_eq!(refused.len(), 2);
    assert!(refused.iter().all(|entry| matches!(entry.role, Role::Store(_))));
    // The registry was asked for another address at once.
    assert!(shop.sim.now() < 5_000, "{}", shop.sim.now());
}
