//! Tags: what is asked about them, and what is served when nobody answers.

use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinSet;

use super::super::client::{Shop, manifest, verified};
use super::super::journal::{Counted, Role};
use super::super::presets::hub;
use super::super::switches::{Head, Switches};

/// Beyond the time for which a tag is fresh.
const AFTER_TTL: Duration = Duration::from_secs(400);

#[tokio::test(start_paused = true)]
async fn five_hundred_clients_of_forty_tags_of_one_digest_cost_one_pull() {
    let shop = Shop::open(hub());
    let digest = shop.sim.content(|content| content.small("library/app", "t0", 1));
    for number in 1..40 {
        let tag = format!("t{number}");
        shop.sim
            .content(|content| content.point("library/app", &tag, digest));
    }
    let mut clients = JoinSet::new();
    for number in 0..500 {
        let client = shop.curt();
        let path = manifest("library/app", format!("t{}", number % 40));
        clients.spawn(async move { verified(&client.get(&path).await, None) });
    }
    for got in clients.join_all().await {
        assert_eq!(got, Ok(digest));
    }
    let journal = shop.sim.journal();
    assert_eq!(journal.pulls(), 1);
    let answered = journal.iter().filter(|entry| entry.status == 200).cloned();
    assert_eq!(answered.collect::<Vec<_>>().heads(), 40);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_pulls_of_a_stale_tag_cost_one_head() {
    let shop = Shop::open(hub());
    shop.sim.content(|content| content.small("library/app", "1", 1));
    assert!(shop.curt().get(&manifest("library/app", "1")).await.is_good());
    tokio::time::sleep(AFTER_TTL).await;
    shop.sim.forget();
    let mut clients = JoinSet::new();
    for _ in 0..1000 {
        let client = shop.curt();
        clients.spawn(async move { client.get(&manifest("library/app", "1")).await.status });
    }
    assert!(
        clients
            .join_all()
            .await
            .iter()
            .all(|status| *status == StatusCode::OK)
    );
    let journal = shop.sim.journal();
    let answered = journal.iter().filter(|entry| entry.status == 200).cloned();
    assert_eq!((answered.collect::<Vec<_>>().heads(), journal.pulls()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn where_head_tells_nothing_the_tag_itself_is_fetched_and_costs_no_more() {
    for head in [
        Head::Status(405),
        Head::Status(403),
        Head::Status(501),
        Head::Status(400),
        Head::WithoutDigest,
        Head::WithoutLength,
    ] {
        let shop = Shop::open(Switches { head, ..hub() });
        let image = shop.sim.image("library/app", "1", 1, 100);
        assert_eq!(shop.curt().pull(&image, 0).await, Ok(image.index), "{head:?}");
        assert_eq!(shop.sim.journal().pulls(), 2, "{head:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn errors_of_every_kind_leave_what_is_held_served_and_pass_without_trace() {
    for status in [500, 502, 503, 504, 403, 401] {
        let shop = Shop::open(hub());
        let image = shop.sim.image("library/app", "1", 1, 100);
        assert_eq!(shop.curt().pull(&image, 0).await, Ok(image.index), "{status}");
        tokio::time::sleep(AFTER_TTL).await;
        shop.sim.burst(Role::Registry, status, 1000);
        for _ in 0..10 {
            let answer = shop.curt().get(&manifest("library/app", "1")).await;
            assert_eq!(verified(&answer, None), Ok(image.index), "{status}");
            assert!(answer.header("cache-status").contains("fwd=stale"), "{status}");
            assert!(answer.header("warning").starts_with("299 - "), "{status}");
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        shop.sim.heal();
        tokio::time::sleep(AFTER_TTL).await;
        let answer = shop.curt().get(&manifest("library/app", "1")).await;
        assert!(
            answer.is_good() && !answer.headers.contains_key("warning"),
            "{status}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_answers_too_late_is_not_waited_for() {
    for delay in [30, 300] {
        let shop = Shop::open(hub());
        let image = shop.sim.image("library/app", "1", 1, 100);
        assert_eq!(shop.curt().pull(&image, 0).await, Ok(image.index));
        tokio::time::sleep(AFTER_TTL).await;
        shop.sim.slow(Role::Registry, Duration::from_secs(delay));
        shop.sim
            .content(|content| content.small("library/app", "cold", 2));
        for (tag, good) in [("1", true), ("cold", false)] {
            let begun = shop.sim.now();
            let answer = shop.curt().get(&manifest("library/app", tag)).await;
            let took = shop.sim.now() - begun;
            assert!(took <= 25_100, "{tag} after {took} ms");
            assert_eq!(answer.is_good(), good, "{tag}: {}", answer.status);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_was_taken_away_is_gone_and_its_digest_is_not() {
    let shop = Shop::open(hub());
    let image = shop.sim.image("library/app", "1", 1, 100);
    assert_eq!(shop.curt().pull(&image, 0).await, Ok(image.index));
    shop.sim.content(|content| content.untag("library/app", "1"));
    tokio::time::sleep(AFTER_TTL).await;
    let answer = shop.curt().get(&manifest("library/app", "1")).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let answer = shop.curt().get(&manifest("library/app", image.index)).await;
    assert_eq!(verified(&answer, Some(&image.index)), Ok(image.index));
    // It comes back, elsewhere: whoever was told that it is gone hears of it soon.
    let new = shop.sim.image("library/app", "1", 2, 100);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(shop.curt().pull(&new, 0).await, Ok(new.index));
}
