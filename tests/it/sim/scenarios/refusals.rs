//! 429 in all its kinds: which it is, how long it holds, and for whom.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::task::JoinSet;

use super::super::client::{Shop, manifest};
use super::super::journal::{Counted, Entry, Role};
use super::super::presets::{ecr_public, ghcr, hub_abuse};
use super::super::switches::{Rate, Refusal, per_hours};
use super::super::tripwires::Trip;
use super::over::{allowing, put, shop, turned, unhurried, with_stores};
use crate::support::seawall::Answer;

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
    (0..count)
        .map(|number| put(shop, "library/app", number))
        .collect()
}

/// By digest: nothing but counted requests.
fn digests(shop: &Shop, numbers: std::ops::Range<u64>) -> Vec<String> {
    let put = |number| {
        shop.sim
            .content(|content| content.small("library/app", "x", number))
    };
    numbers
        .map(|number| manifest("library/app", put(number)))
        .collect()
}

fn good(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.is_good()).count()
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_calls_it_abuse_is_left_alone_by_all_and_what_is_held_is_served() {
    // Bare line feeds and no length: not even HTTP, and read all the same.
    let rate = hub_abuse().rate.map(|rate| Rate {
        per_second: 10.0,
        burst: 20.0,
        ..rate
    });
    for preset in turned(unhurried(), |switches| switches.rate = rate) {
        let shop = shop(&preset, "abuse");
        let held = put(&shop, "library/app", 1000);
        assert!(shop.curt().get(&held).await.is_good(), "{}", shop.label());
        let answers = at_once(&shop, tags(&shop, 20), 1).await;
        assert!(good(&answers) < 20, "{}", shop.label());
        for refused in answers.iter().filter(|answer| !answer.is_good()) {
            assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{}", shop.label());
            let wait: u64 = refused.header("retry-after").parse().unwrap();
            assert!((1..=60).contains(&wait), "{}: {wait}", shop.label());
        }
        shop.sim.forget();
        tokio::time::sleep(Duration::from_secs(30)).await;
        let late = put(&shop, "library/app", 2000);
        assert!(shop.curt().get(&held).await.is_good(), "{}", shop.label());
        assert!(!shop.curt().get(&late).await.is_good(), "{}", shop.label());
        assert!(shop.sim.journal().is_empty(), "{}", shop.label());
        tokio::time::sleep(Duration::from_secs(31)).await;
        assert!(shop.curt().get(&late).await.is_good(), "{}", shop.label());
        // Those who wait as they are told all come to their end.
        let all = at_once(&shop, tags(&shop, 20), 30).await;
        assert_eq!(good(&all), 20, "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_of_microseconds_is_waited_and_nobody_notices() {
    for preset in turned(unhurried(), |switches| switches.rate = ghcr().rate) {
        let shop = shop(&preset, "microseconds");
        // The token first, so that all come at once.
        let first = put(&shop, "library/app", 1000);
        assert!(shop.curt().get(&first).await.is_good(), "{}", shop.label());
        // That they are there is known as well: nobody asks before what is counted.
        let wanted = digests(&shop, 0..10);
        let mut is_told = true;
        for path in &wanted {
            let told = shop.curt().ask(Method::HEAD, path).await;
            is_told &= told.header("cache-status") == "seawall; fwd=bypass";
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        // Where HEAD does not tell, it has been fetched.
        if !is_told {
            continue;
        }
        let before = shop.sim.now();
        let answers = at_once(&shop, wanted, 1).await;
        assert_eq!(good(&answers), 10, "{}", shop.label());
        let took = shop.sim.now() - before;
        assert!(took < 2000, "{}: {took} ms", shop.label());
        assert!(shop.sim.journal().status(429) > 0, "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn one_pull_a_second_is_learnt_from_refusals_and_all_get_theirs() {
    for preset in turned(unhurried(), |switches| switches.rate = ecr_public().rate) {
        let shop = shop(&preset, "one a second");
        let before = shop.sim.now();
        let answers = at_once(&shop, tags(&shop, 15), 60).await;
        assert_eq!(good(&answers), 15, "{}", shop.label());
        let took = shop.sim.now() - before;
        // Who tells figures and refuses without any is left alone for a minute each time: that is how Docker
        // Hub calls it abuse, and it names no shorter wait.
        let most = if preset.is_counted() { 300_000 } else { 30_000 };
        assert!(took <= most, "{}: {took} ms", shop.label());
        let refused = shop.sim.journal().status(429);
        assert!((1..=45).contains(&refused), "{}: {refused}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_a_refused_pull_says_of_when_to_return_it_works_again_after_its_window() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let waits = [None, Some("120"), Some("999999999"), Some("soon")];
    let short = [Some(date), Some("0"), Some("0.000880092")];
    let refusals = [
        Refusal::Json,
        Refusal::JsonUnauthenticated,
        Refusal::Html,
        Refusal::Empty,
    ];
    for (number, preset) in allowing(per_hours(10, 1)).into_iter().enumerate() {
        for (turn, retry_after) in waits.into_iter().chain(short).enumerate() {
            // Seven waits and four forms: every pair meets, at several registries.
            let refusal = refusals[(number + turn) % refusals.len()];
            let preset = preset.clone().turned(|switches| {
                switches.refusal = refusal;
                switches.retry_after = retry_after;
            });
            let shop = shop(&preset, &format!("{refusal:?} {retry_after:?}"));
            let first = put(&shop, "library/app", 0);
            assert!(shop.curt().get(&first).await.is_good(), "{}", shop.label());
            let path = digests(&shop, 50..51).remove(0);
            shop.sim.leave(0);
            // A wait of nothing is waited where it is told, three times and no more.
            let is_short = short.contains(&retry_after);
            let allowed = if is_short { 4 } else { 1 };
            shop.sim.tripwires(|trips| trips.refusals_allowed = allowed);
            if is_short {
                shop.sim.disarm(Trip::RetryBefore);
            }
            let answer = shop.curt().get(&path).await;
            assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{}", shop.label());
            tokio::time::sleep(Duration::from_secs(3600 + 900)).await;
            assert!(shop.curt().get(&path).await.is_good(), "{}", shop.label());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_refused_too_leaves_stale_tags_served_until_the_window_is_over() {
    for preset in turned(allowing(per_hours(10, 1)), |switches| {
        switches.head_when_empty = 429;
    }) {
        let shop = shop(&preset, "no HEAD");
        let image = shop.sim.image("library/app", "1", 1, 1000);
        let pulled = shop.curt().pull(&image, 0).await;
        assert_eq!(pulled, Ok(image.index), "{}", shop.label());
        shop.sim.leave(0);
        tokio::time::sleep(Duration::from_secs(400)).await;
        let cold = put(&shop, "library/app", 7);
        for _ in 0..10 {
            let answer = shop.curt().get(&manifest("library/app", "1")).await;
            assert!(answer.is_good(), "{}", shop.label());
            let told = answer.header("cache-status");
            assert!(
                told.contains("detail=upstream-limited"),
                "{}: {told}",
                shop.label()
            );
            let answer = shop.curt().get(&cold).await;
            assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{}", shop.label());
            tokio::time::sleep(Duration::from_secs(120)).await;
        }
        let asked = shop.sim.journal().status(429);
        assert!(asked <= 20, "{}: {asked}", shop.label());
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(shop.curt().get(&cold).await.is_good(), "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn stores_that_refuse_say_nothing_of_the_budget() {
    for preset in turned(with_stores(), |switches| switches.store_refusals = 2) {
        let shop = shop(&preset, "reluctant stores");
        let image = shop.sim.image("library/app", "1", 1, 1000);
        let pulled = shop.patient().pull(&image, 0).await;
        assert_eq!(pulled, Ok(image.index), "{}", shop.label());
        let journal = shop.sim.journal();
        let refused = |entry: &&Entry| entry.status == 429;
        let refused: Vec<_> = journal.iter().filter(refused).collect();
        assert_eq!(refused.len(), 2, "{}", shop.label());
        let by_store = |entry: &&Entry| matches!(entry.role, Role::Store(_));
        assert!(refused.iter().all(by_store), "{}", shop.label());
        // The registry was asked for another address at once.
        let took = shop.sim.now();
        assert!(took < 5_000, "{}: {took} ms", shop.label());
    }
}
