//! A limited upstream: what is held goes on, what is not held is refused in words, and nothing is spent.

use http::{Method, StatusCode};
use seawall::cache::OnExhausted;

use super::support::registry::Script;
use super::support::seawall::{Choices, Seawall};
use super::support::world::{image, manifest_path, world};

#[tokio::test(start_paused = true)]
async fn without_budget_what_is_held_is_served_and_what_is_not_is_refused_unasked() {
    let world = world(Choices::default());
    let held = image(&world.registry, Some("held"), 1);
    let missing = image(&world.registry, Some("missing"), 2);
    assert!(world.seawall.get(&manifest_path("held")).await.is_good());
    let by_digest = manifest_path(missing.manifest.to_string());
    for path in [manifest_path("held"), manifest_path("missing"), by_digest] {
        world.registry.script(path, Script::told(0));
    }
    // What is known by its headers only is not held.
    let known = world
        .seawall
        .ask(Method::HEAD, &manifest_path("missing"), &[])
        .await;
    assert_eq!(known.status, StatusCode::OK);
    let refused = world.seawall.get(&manifest_path("missing")).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(!refused.header("retry-after").is_empty());
    let text = String::from_utf8(refused.body.to_vec()).unwrap();
    for word in [
        "TOOMANYREQUESTS",
        "allows this cache 100 pulls per 3600 s",
        "0 are left",
    ] {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    assert!(
        world
            .registry
            .seen(&Method::GET, &missing.manifest.to_string())
            .is_empty()
    );
    for _ in 0..50 {
        assert!(world.seawall.get(&manifest_path("held")).await.is_good());
    }
    assert_eq!(
        world
            .registry
            .seen(&Method::GET, &held.manifest.to_string())
            .len(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_names_the_tags_that_are_held_and_not_those_that_were_only_asked_about() {
    let world = world(Choices::default());
    image(&world.registry, Some("held"), 1);
    assert!(world.seawall.get(&manifest_path("held")).await.is_good());
    for (tag, seed) in [("asked", 2), ("missing", 3)] {
        image(&world.registry, Some(tag), seed);
        world.registry.script(manifest_path(tag), Script::told(0));
    }
    let asked = world
        .seawall
        .ask(Method::HEAD, &manifest_path("asked"), &[])
        .await;
    assert_eq!(asked.status, StatusCode::OK);
    // A stop writes down what is remembered.
    let (registry, directory) = world.stop().await;
    let seawall = Seawall::start(directory.path(), &registry, Choices::default());
    let refused = seawall.get(&manifest_path("missing")).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    let text = String::from_utf8(refused.body.to_vec()).unwrap();
    assert!(text.contains("held here: library/app:held\""), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_moved_to_what_cannot_be_paid_for_is_served_stale() {
    let world = world(Choices::default());
    let old = image(&world.registry, Some("app"), 1);
    assert!(world.seawall.get(&manifest_path("app")).await.is_good());
    for blob in [old.config, old.layer] {
        assert!(
            world
                .seawall
                .get(&super::support::world::blob_path(&blob))
                .await
                .is_good()
        );
    }
    let new = image(&world.registry, Some("app"), 2);
    for path in [manifest_path("app"), manifest_path(new.manifest.to_string())] {
        world.registry.script(path, Script::told(0));
    }
    tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
    let answer = world.seawall.get(&manifest_path("app")).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("docker-content-digest"), old.manifest.to_string());
    assert_eq!(
        answer.header("cache-status"),
        "seawall; fwd=stale; detail=upstream-limited"
    );
}

#[tokio::test(start_paused = true)]
async fn nodes_are_sent_on_where_the_operator_says_so() {
    let choices = Choices {
        on_exhausted: OnExhausted::FallThrough,
        ..Choices::default()
    };
    let world = world(choices);
    image(&world.registry, Some("missing"), 1);
    world.registry.script(manifest_path("missing"), Script::told(0));
    let answer = world.seawall.get(&manifest_path("missing")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
}
