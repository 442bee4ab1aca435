//! Tags: what is asked about them, and what is served when nobody answers.

use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinSet;

use super::super::client::{Shop, manifest, verified};
use super::super::journal::{Counted, Entry, Role};
use super::super::presets::{Preset, hub};
use super::super::switches::{Head, Unknown};
use super::super::tripwires::Trip;
use super::over::{put, shop, unhurried};

/// Beyond the time for which a tag is fresh.
const AFTER_TTL: Duration = Duration::from_secs(400);

/// The largest registry, for the largest crowds.
fn largest() -> Preset {
    Preset {
        name: "largest",
        switches: hub(),
    }
}

/// Pulls an image with all that belongs to it, and says where its tag is.
async fn pulled(shop: &Shop) -> String {
    let image = shop.sim.image("library/app", "1", 1, 100);
    let pulled = shop.curt().pull(&image, 0).await;
    assert_eq!(pulled, Ok(image.index), "{}", shop.label());
    manifest("library/app", "1")
}

/// HEADs that told something.
fn heads(journal: &[Entry]) -> usize {
    let answered = journal.iter().filter(|entry| entry.status == 200).cloned();
    answered.collect::<Vec<_>>().heads()
}

/// So many clients of so many tags of one digest, all at once.
async fn many_tags(preset: &Preset, clients: usize, tags: usize) {
    let shop = Shop::of(preset);
    let digest = shop.sim.content(|content| content.small("library/app", "t0", 1));
    for number in 1..tags {
        let tag = format!("t{number}");
        shop.sim
            .content(|content| content.point("library/app", &tag, digest));
    }
    // Where HEAD tells nothing, each tag is fetched to know; the tripwire holds fetches of digests only.
    let by_tag = !preset.switches.head_tells();
    if by_tag {
        shop.sim.disarm(Trip::DoubleFetch);
    }
    let mut asking = JoinSet::new();
    for number in 0..clients {
        let client = shop.curt();
        let path = manifest("library/app", format!("t{}", number % tags));
        asking.spawn(async move { verified(&client.get(&path).await, None) });
    }
    for got in asking.join_all().await {
        assert_eq!(got, Ok(digest), "{}", shop.label());
    }
    let journal = shop.sim.journal();
    let expected = if by_tag { tags } else { 1 };
    assert_eq!(journal.pulls(), expected, "{}", shop.label());
    let heads = heads(&journal);
    assert!(
        heads == tags || (by_tag && heads < tags),
        "{}: {heads}",
        shop.label()
    );
}

#[tokio::test(start_paused = true)]
async fn crowds_of_clients_of_forty_tags_of_one_digest_cost_one_pull() {
    many_tags(&largest(), 500, 40).await;
    for preset in unhurried() {
        many_tags(&preset, 80, 40).await;
    }
}

/// So many clients of one tag that is stale, all at once.
async fn stale_tag(preset: &Preset, clients: usize) {
    let shop = Shop::of(preset);
    let path = put(&shop, "library/app", 1);
    assert!(shop.curt().get(&path).await.is_good(), "{}", shop.label());
    tokio::time::sleep(AFTER_TTL).await;
    shop.sim.forget();
    let mut asking = JoinSet::new();
    for _ in 0..clients {
        let (client, path) = (shop.curt(), path.clone());
        asking.spawn(async move { client.get(&path).await.status });
    }
    let answers = asking.join_all().await;
    let all = answers.iter().all(|status| *status == StatusCode::OK);
    assert!(all, "{}: {answers:?}", shop.label());
    let journal = shop.sim.journal();
    let (heads, pulls) = (heads(&journal), journal.pulls());
    // Where HEAD tells nothing, the tag itself is fetched, once.
    let right = match preset.switches.head_tells() {
        true => (heads, pulls) == (1, 0),
        false => heads <= 1 && pulls == 1,
    };
    assert!(right, "{}: {journal:#?}", shop.label());
}

#[tokio::test(start_paused = true)]
async fn a_thousand_pulls_of_a_stale_tag_cost_one_head() {
    stale_tag(&largest(), 1000).await;
    for preset in unhurried() {
        stale_tag(&preset, 150).await;
    }
}

#[tokio::test(start_paused = true)]
async fn where_head_tells_nothing_the_tag_itself_is_fetched_and_costs_no_more() {
    for preset in unhurried() {
        for head in [
            Head::Status(405),
            Head::Status(403),
            Head::Status(501),
            Head::Status(400),
            Head::WithoutDigest,
            Head::WithoutLength,
        ] {
            let preset = preset.clone().turned(|switches| switches.head = head);
            let shop = shop(&preset, &format!("{head:?}"));
            let answer = shop.curt().get(&put(&shop, "library/app", 1)).await;
            assert!(verified(&answer, None).is_ok(), "{}: {answer:?}", shop.label());
            assert_eq!(shop.sim.journal().pulls(), 1, "{}", shop.label());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn errors_of_every_kind_leave_what_is_held_served_and_pass_without_trace() {
    let kinds = [[500, 503, 403], [502, 504, 401]];
    for (number, preset) in unhurried().into_iter().enumerate() {
        // The kinds take turns.
        for status in kinds[number % 2] {
            let shop = shop(&preset, &status.to_string());
            let path = pulled(&shop).await;
            tokio::time::sleep(AFTER_TTL).await;
            shop.sim.burst(Role::Registry, status, 1000);
            for _ in 0..4 {
                let answer = shop.curt().get(&path).await;
                assert!(verified(&answer, None).is_ok(), "{}: {answer:?}", shop.label());
                let told = answer.header("cache-status");
                assert!(told.contains("fwd=stale"), "{}: {told}", shop.label());
                let warning = answer.header("warning");
                assert!(warning.starts_with("299 - "), "{}: {warning}", shop.label());
                tokio::time::sleep(Duration::from_secs(12)).await;
            }
            shop.sim.heal();
            // A password that was refused is left alone for longer than a tag is fresh.
            tokio::time::sleep(3 * AFTER_TTL).await;
            let answer = shop.curt().get(&path).await;
            let traceless = answer.is_good() && !answer.headers.contains_key("warning");
            assert!(traceless, "{}: {answer:?}", shop.label());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_answers_too_late_is_not_waited_for() {
    for preset in unhurried() {
        for delay in [30, 300] {
            let shop = shop(&preset, &format!("{delay} s late"));
            let held = pulled(&shop).await;
            let cold = put(&shop, "library/app", 2);
            tokio::time::sleep(AFTER_TTL).await;
            shop.sim.slow(Role::Registry, Duration::from_secs(delay));
            for (path, good) in [(&held, true), (&cold, false)] {
                let begun = shop.sim.now();
                let answer = shop.curt().get(path).await;
                let took = shop.sim.now() - begun;
                assert!(took <= 25_100, "{}: {path} after {took} ms", shop.label());
                assert_eq!(answer.is_good(), good, "{}: {answer:?}", shop.label());
            }
        }
    }
}

/// What has no content of its own to fall back on.
#[tokio::test(start_paused = true)]
async fn lists_of_an_upstream_or_a_token_service_that_hangs_are_not_waited_for() {
    for preset in unhurried() {
        for role in [Role::Registry, Role::Tokens] {
            let shop = shop(&preset, &format!("{role:?} hangs"));
            let image = shop.sim.image("library/app", "1", 1, 100);
            shop.sim.slow(role, Duration::from_secs(300));
            for path in [
                "/v2/library/app/tags/list".to_owned(),
                format!("/v2/library/app/referrers/{}", image.index),
            ] {
                let begun = shop.sim.now();
                let answer = shop.curt().get(&path).await;
                let took = shop.sim.now() - begun;
                assert!(took <= 25_100, "{}: {path} after {took} ms", shop.label());
                let served = role == Role::Registry && answer.is_good();
                assert!(!served, "{}: {answer:?}", shop.label());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_was_taken_away_is_gone_and_its_digest_is_not() {
    for preset in unhurried() {
        let shop = Shop::of(&preset);
        let image = shop.sim.image("library/app", "1", 1, 100);
        let pulled = shop.curt().pull(&image, 0).await;
        assert_eq!(pulled, Ok(image.index), "{}", shop.label());
        shop.sim.content(|content| content.untag("library/app", "1"));
        tokio::time::sleep(AFTER_TTL).await;
        let answer = shop.curt().get(&manifest("library/app", "1")).await;
        // A 403 may mean anything: what is held is served as long as stale tags are.
        let expected = match preset.switches.unknown {
            Unknown::Denied => StatusCode::OK,
            Unknown::Json(_) | Unknown::Page => StatusCode::NOT_FOUND,
        };
        assert_eq!(answer.status, expected, "{}", shop.label());
        let answer = shop.curt().get(&manifest("library/app", image.index)).await;
        let got = verified(&answer, Some(&image.index));
        assert_eq!(got, Ok(image.index), "{}", shop.label());
        // It comes back, elsewhere: whoever was told that it is gone hears of it soon.
        let new = shop.sim.image("library/app", "1", 2, 100);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let pulled = shop.curt().pull(&new, 0).await;
        assert_eq!(pulled, Ok(new.index), "{}", shop.label());
    }
}
