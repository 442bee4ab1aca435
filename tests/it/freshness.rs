//! Freshness as the operator chose it: behind the client's back, for ever, not at all; and what is done
//! about upstreams that fail or say no.

use std::time::Duration;

use http::{Method, StatusCode};
use seawall::policy::freshness::{Exception, Patterns, Policy, Rules};

use super::support::registry::Script;
use super::support::seawall::{Choices, Seawall, usual_freshness};
use super::support::world::{Image, World, blob_path, image, manifest_path, world};

fn patterns(pattern: &str) -> Patterns {
    Patterns::new(&[pattern.to_owned()]).unwrap()
}

fn choose(freshness: Policy) -> Choices {
    Choices {
        freshness,
        ..Choices::default()
    }
}

/// A world with an image that was pulled whole under `tag`.
async fn pulled(freshness: Rules, tag: &str) -> (World, Image) {
    let world = world(choose(Policy::plain(freshness)));
    let image = image(&world.registry, Some(tag), 1);
    assert!(world.seawall.get(&manifest_path(tag)).await.is_good());
    for blob in [image.config, image.layer] {
        assert!(world.seawall.get(&blob_path(&blob)).await.is_good());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    (world, image)
}

/// Requests of a method for what a path ends with.
fn count(world: &World, method: &Method, suffix: &str) -> usize {
    world.registry.seen(method, suffix).len()
}

fn failing() -> Script {
    Script {
        status: Some(StatusCode::SERVICE_UNAVAILABLE),
        ..Script::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_little_stale_tag_is_served_at_once_and_a_thousand_pulls_cost_one_head() {
    let rules = Rules {
        stale_while_revalidate: Duration::from_secs(3600),
        ..usual_freshness()
    };
    let (world, old) = pulled(rules, "1").await;
    let new = image(&world.registry, Some("1"), 2);
    let slow = Script {
        delay: Duration::from_secs(10),
        ..Script::default()
    };
    world.registry.script(manifest_path("1"), slow);
    tokio::time::sleep(Duration::from_secs(301)).await;
    let heads = count(&world, &Method::HEAD, &manifest_path("1"));
    let begun = tokio::time::Instant::now();
    let pulls = (0..1000).map(|_| {
        let seawall = world.seawall.clone();
        tokio::spawn(async move { seawall.get(&manifest_path("1")).await })
    });
    for pull in pulls.collect::<Vec<_>>() {
        let answer = pull.await.unwrap();
        assert_eq!(answer.header("docker-content-digest"), old.manifest.to_string());
        assert_eq!(answer.header("cache-status"), "seawall; hit; detail=refreshing");
    }
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "nobody waits for the upstream"
    );
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(count(&world, &Method::HEAD, &manifest_path("1")), heads + 1);
    let answer = world.seawall.get(&manifest_path("1")).await;
    assert_eq!(answer.header("docker-content-digest"), new.manifest.to_string());
    assert_eq!(answer.header("cache-status"), "seawall; hit");
}

#[tokio::test(start_paused = true)]
async fn an_immutable_tag_is_never_asked_about_again() {
    let rules = Rules {
        immutable: patterns(r"^v\d"),
        ..usual_freshness()
    };
    let (world, _) = pulled(rules, "v1").await;
    let before = world.registry.journal().len();
    tokio::time::sleep(Duration::from_secs(365 * 24 * 3600)).await;
    let answer = world.seawall.get(&manifest_path("v1")).await;
    assert_eq!(answer.header("cache-status"), "seawall; hit");
    assert_eq!(world.registry.journal().len(), before);
}

#[tokio::test(start_paused = true)]
async fn offline_serves_what_is_held_and_asks_nobody() {
    let (online, held) = pulled(usual_freshness(), "1").await;
    let missing = image(&online.registry, Some("2"), 2);
    let (registry, directory) = online.stop().await;
    let rules = Rules {
        offline: true,
        ..usual_freshness()
    };
    let choices = choose(Policy::plain(rules));
    let seawall = super::support::seawall::Seawall::start(directory.path(), &registry, choices);
    let before = registry.journal().len();
    tokio::time::sleep(Duration::from_secs(365 * 24 * 3600)).await;
    let answer = seawall.get(&manifest_path("1")).await;
    assert_eq!(answer.header("docker-content-digest"), held.manifest.to_string());
    assert_eq!(answer.header("cache-status"), "seawall; hit; detail=offline");
    assert!(seawall.get(&blob_path(&held.layer)).await.is_good());
    let by_digest = manifest_path(missing.manifest.to_string());
    for path in [
        manifest_path("2"),
        by_digest,
        blob_path(&missing.layer),
        "/v2/library/app/tags/list".to_owned(),
    ] {
        let answer = seawall.get(&path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(text.contains("told to work offline"), "{text}");
    }
    assert_eq!(registry.journal().len(), before);
}

#[tokio::test(start_paused = true)]
async fn rules_hold_for_the_repositories_and_tags_they_name() {
    let hour = Rules {
        ttl: Duration::from_secs(3600),
        ..usual_freshness()
    };
    let exception = |repository, tag, rules| Exception {
        repository,
        tag,
        rules,
    };
    let policy = Policy {
        usual: usual_freshness(),
        exceptions: vec![
            exception(patterns("^other/"), Patterns::default(), hour.clone()),
            exception(Patterns::default(), patterns("^nightly$"), hour),
        ],
    };
    let world = world(choose(policy));
    image(&world.registry, Some("nightly"), 1);
    image(&world.registry, Some("latest"), 2);
    for tag in ["nightly", "latest"] {
        assert!(world.seawall.get(&manifest_path(tag)).await.is_good());
    }
    tokio::time::sleep(Duration::from_secs(1800)).await;
    for (tag, expected) in [("nightly", "seawall; hit"), ("latest", "seawall; fwd=stale")] {
        let answer = world.seawall.get(&manifest_path(tag)).await;
        assert_eq!(answer.header("cache-status"), expected, "{tag}");
    }
}

#[tokio::test(start_paused = true)]
async fn f038_a_tag_that_does_not_exist_is_asked_about_once_in_a_while() {
    let world = world(Choices::default());
    for _ in 0..100 {
        let answer = world.seawall.get(&manifest_path("soon")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(count(&world, &Method::HEAD, &manifest_path("soon")), 1);
    image(&world.registry, Some("soon"), 1);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(world.seawall.get(&manifest_path("soon")).await.is_good());
}

#[tokio::test(start_paused = true)]
async fn nobody_with_a_stale_tag_waits_for_an_upstream_that_does_not_answer() {
    let (world, old) = pulled(usual_freshness(), "1").await;
    let dead = Script {
        delay: Duration::from_secs(3600),
        ..Script::default()
    };
    world.registry.script(manifest_path("1"), dead);
    tokio::time::sleep(Duration::from_secs(301)).await;
    let begun = tokio::time::Instant::now();
    let answer = world.seawall.get(&manifest_path("1")).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(answer.header("docker-content-digest"), old.manifest.to_string());
    assert_eq!(
        answer.header("cache-status"),
        "seawall; fwd=stale; detail=upstream-unreachable"
    );
}

#[tokio::test(start_paused = true)]
async fn f032_an_upstream_that_fails_is_left_alone_and_found_again_by_head() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 1);
    let by_digest = manifest_path(image.manifest.to_string());
    world.registry.script(manifest_path("1"), failing());
    world.registry.script(by_digest.clone(), failing());
    for _ in 0..1000 {
        let answer = world.seawall.get(&manifest_path("1")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    // A minute and more: five to open it, then one probe after 1, 2, 4, 8 and 10 seconds each.
    let asked = world.registry.journal().len();
    assert!((5..=20).contains(&asked), "{asked} requests");
    let refused = world.seawall.get(&by_digest).await;
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(count(&world, &Method::GET, "manifests/1"), 0);
    // P10: it is found again, by a HEAD although a digest is asked for.
    world.registry.heal();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(world.seawall.get(&by_digest).await.is_good());
    assert_eq!(count(&world, &Method::HEAD, &by_digest), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failing_upstream_makes_stale_answers_quick() {
    let (world, _) = pulled(usual_freshness(), "1").await;
    world.registry.go_down();
    tokio::time::sleep(Duration::from_secs(301)).await;
    for _ in 0..3 {
        assert!(world.seawall.get(&manifest_path("1")).await.is_good());
    }
    let begun = tokio::time::Instant::now();
    let answer = world.seawall.get(&manifest_path("1")).await;
    assert_eq!(
        answer.header("cache-status"),
        "seawall; fwd=stale; detail=upstream-unreachable"
    );
    assert!(
        begun.elapsed() < Duration::from_millis(10),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn f095_a_restart_by_a_clock_that_went_back_two_days_serves_what_is_held_and_asks_about_tags() {
    let world = world(Choices::default());
    let old = image(&world.registry, Some("1"), 1);
    // This process counts on; the next one reads the clock of the machine, which has not moved.
    tokio::time::sleep(Duration::from_secs(2 * 86_400)).await;
    let paths = [old.config, old.layer].map(|blob| blob_path(&blob));
    for path in paths.iter().chain([&manifest_path("1")]) {
        assert!(world.seawall.get(path).await.is_good());
    }
    let (registry, directory) = world.stop().await;
    let new = image(&registry, Some("1"), 2);
    let seawall = Seawall::start(directory.path(), &registry, Choices::default());
    let asked = || registry.journal().len();
    let before = asked();
    for path in paths.iter().chain([&manifest_path(old.manifest)]) {
        assert!(seawall.get(path).await.is_good());
    }
    assert_eq!(asked(), before, "what a digest names needs no clock");
    let moved = seawall.get(&manifest_path("1")).await;
    assert_eq!(moved.header("docker-content-digest"), new.manifest.to_string());
    let after = asked();
    assert!(after > before);
    assert!(seawall.get(&manifest_path("1")).await.is_good());
    assert_eq!(asked(), after, "and from then on it goes by the new clock");
}
