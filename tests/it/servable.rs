//! What can be served is served: no moved tag, no other client's refusal and no other repository's missing
//! blob turns it into an error.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use seawall::cache::OnExhausted;
use seawall::policy::clients::{Clients, Rule, Tier};
use seawall::policy::quota::Quota;

use super::support::registry::Script;
use super::support::seawall::{Choices, Seawall, read};
use super::support::world::{Image, World, blob_path, image, manifest_path, world};

/// An image that was pulled whole as `app`, and another that the tag has moved to since; half a window has
/// passed.
async fn moved(choices: Choices) -> (World, Image, Image) {
    let world = world(choices);
    let old = image(&world.registry, Some("app"), 1);
    assert!(world.seawall.get(&manifest_path("app")).await.is_good());
    for blob in [old.config, old.layer] {
        assert!(world.seawall.get(&blob_path(&blob)).await.is_good());
    }
    let new = image(&world.registry, Some("app"), 2);
    tokio::time::sleep(Duration::from_secs(1800)).await;
    (world, old, new)
}

#[tokio::test(start_paused = true)]
async fn a_head_of_a_tag_that_moved_to_what_cannot_be_paid_for_names_what_can_be_had() {
    let (world, old, new) = moved(Choices::default()).await;
    for path in [manifest_path("app"), manifest_path(new.manifest.to_string())] {
        world.registry.script(path, Script::told(0));
    }
    // As containerd does: HEAD of the tag, then GET of the digest that it named.
    for method in [Method::HEAD, Method::GET] {
        let answer = world.seawall.ask(method, &manifest_path("app"), &[]).await;
        assert_eq!(answer.header("docker-content-digest"), old.manifest.to_string());
        assert_eq!(
            answer.header("cache-status"),
            "seawall; fwd=stale; detail=upstream-limited"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_of_a_tag_that_moved_costs_nothing_and_forgets_nothing() {
    let (world, old, new) = moved(Choices::default()).await;
    let named = world.seawall.ask(Method::HEAD, &manifest_path("app"), &[]).await;
    assert_eq!(named.header("docker-content-digest"), new.manifest.to_string());
    let spent = world.registry.seen(&Method::GET, &new.manifest.to_string());
    assert!(spent.is_empty(), "{spent:?}");
    world.registry.go_down();
    let answer = world.seawall.get(&manifest_path("app")).await;
    assert_eq!(answer.header("docker-content-digest"), old.manifest.to_string());
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_moved_to_what_does_not_arrive_is_served_stale_in_time() {
    let (world, old, new) = moved(Choices::default()).await;
    let trickle = Script {
        chunk: 1,
        pace: Duration::from_secs(1),
        ..Script::default()
    };
    world
        .registry
        .script(manifest_path(new.manifest.to_string()), trickle);
    let begun = tokio::time::Instant::now();
    let answer = world.seawall.get(&manifest_path("app")).await;
    assert_eq!(answer.header("docker-content-digest"), old.manifest.to_string());
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_moved_to_what_the_upstream_has_not_is_served_stale() {
    let (world, old, new) = moved(Choices::default()).await;
    world.registry.remove(&manifest_path(new.manifest.to_string()));
    let answer = world.seawall.get(&manifest_path("app")).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("docker-content-digest"), old.manifest.to_string());
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_a_blob_where_it_is_not_takes_it_from_nobody() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("app"), 1);
    let wrong = format!("/v2/no/such/blobs/{}", image.layer);
    let slow = Script {
        delay: Duration::from_millis(30),
        status: Some(StatusCode::NOT_FOUND),
        ..Script::default()
    };
    world.registry.script(wrong.clone(), slow);
    let strangers = world.seawall.clone();
    let asking = tokio::spawn(async move {
        for _ in 0..200 {
            assert_eq!(strangers.get(&wrong).await.status, StatusCode::NOT_FOUND);
        }
    });
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(47)).await;
        let answer = world.seawall.get(&blob_path(&image.layer)).await;
        assert!(answer.is_good(), "{:?}", answer.status);
    }
    asking.abort();
}

/// CI may not touch the last half of the budget.
fn tiers() -> Clients {
    let tier = |name: &str, reserve| Tier {
        name: name.to_owned(),
        reserve,
        quota: Quota::UNLIMITED,
    };
    Clients {
        tiers: vec![tier("production", 0.0), tier("ci", 0.5)],
        rules: vec![Rule::at("ci", 1, vec!["192.0.2.0/24".parse().unwrap()])],
        ..Clients::default()
    }
}

async fn get_from(seawall: &Arc<Seawall>, address: [u8; 4], path: &str) -> StatusCode {
    let answer = seawall.open_from(address, Method::GET, path, &[]).await;
    read(answer).await.status
}

#[tokio::test(start_paused = true)]
async fn a_low_tier_that_was_first_does_not_pass_its_refusal_on() {
    let choices = Choices {
        clients: tiers(),
        ..Choices::default()
    };
    let world = world(choices);
    let image = image(&world.registry, Some("app"), 1);
    let path = manifest_path(image.manifest.to_string());
    let slow = Script {
        delay: Duration::from_millis(200),
        ..Script::told(40)
    };
    // Figures that only the high tier may go by are known before the crowd comes.
    world.registry.script(manifest_path("app"), Script::told(40));
    world.seawall.ask(Method::HEAD, &manifest_path("app"), &[]).await;
    world.registry.script(path.clone(), slow);
    let crowd = (0..100).map(|_| {
        let (seawall, path) = (world.seawall.clone(), path.clone());
        tokio::spawn(async move { get_from(&seawall, [192, 0, 2, 1], &path).await })
    });
    let crowd: Vec<_> = crowd.collect();
    let high = get_from(&world.seawall, [203, 0, 113, 9], &path).await;
    assert_eq!(high, StatusCode::OK);
    for client in crowd {
        let status = client.await.unwrap();
        assert!([StatusCode::OK, StatusCode::TOO_MANY_REQUESTS].contains(&status));
    }
    assert_eq!(
        world
            .registry
            .seen(&Method::GET, &image.manifest.to_string())
            .len(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_wants_to_be_left_alone_is_told_with_what_is_held_and_sends_nodes_on() {
    for (on_exhausted, expected) in [
        (OnExhausted::Refuse, StatusCode::TOO_MANY_REQUESTS),
        (OnExhausted::FallThrough, StatusCode::SERVICE_UNAVAILABLE),
    ] {
        let choices = Choices {
            on_exhausted,
            ..Choices::default()
        };
        let world = world(choices);
        image(&world.registry, Some("held"), 1);
        assert!(world.seawall.get(&manifest_path("held")).await.is_good());
        image(&world.registry, Some("other"), 2);
        let alone = Script {
            status: Some(StatusCode::TOO_MANY_REQUESTS),
            headers: vec![("retry-after", "60".to_owned())],
            ..Script::default()
        };
        world.registry.script(manifest_path("other"), alone);
        world.seawall.cache.flush().await;
        let answer = world.seawall.get(&manifest_path("other")).await;
        assert_eq!(answer.status, expected);
        let wait: u64 = answer.header("retry-after").parse().unwrap();
        assert!((50..=60).contains(&wait), "{wait}");
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        let told = format!("it asked to be left alone for a while; ask again in {wait} s, at ");
        assert!(text.contains(&told), "{text}");
        assert!(text.contains("held here: library/app:held"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_nodes_are_sent_on_no_blob_and_no_list_keeps_them() {
    let choices = Choices {
        on_exhausted: OnExhausted::FallThrough,
        ..Choices::default()
    };
    let world = world(choices);
    let image = image(&world.registry, Some("app"), 1);
    let blob = blob_path(&image.layer);
    let referrers = format!("/v2/library/app/referrers/{}", image.manifest);
    let tags = "/v2/library/app/tags/list".to_owned();
    let by_digest = manifest_path(image.manifest.to_string());
    let alone = Script {
        status: Some(StatusCode::TOO_MANY_REQUESTS),
        headers: vec![("retry-after", "60".to_owned())],
        ..Script::default()
    };
    world.registry.script(blob.clone(), alone);
    for (method, path, expected) in [
        // Every client goes on at once after a 404 for a blob, and some retry a 5xx first.
        (Method::GET, &blob, StatusCode::NOT_FOUND),
        (Method::HEAD, &blob, StatusCode::NOT_FOUND),
        (Method::GET, &tags, StatusCode::SERVICE_UNAVAILABLE),
        (Method::GET, &referrers, StatusCode::SERVICE_UNAVAILABLE),
        (Method::HEAD, &by_digest, StatusCode::SERVICE_UNAVAILABLE),
    ] {
        let answer = world.seawall.ask(method.clone(), path, &[]).await;
        assert_eq!(answer.status, expected, "{method} {path}");
        let status = "seawall; fwd=miss; detail=upstream-limited";
        assert_eq!(answer.header("cache-status"), status, "{method} {path}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_does_not_say_for_how_long_is_left_alone_for_as_long_as_clients_are_told() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("app"), 1);
    // It counts pulls, so that it means minutes when it wants to be left alone.
    world.registry.script(manifest_path("known"), Script::told(50));
    world
        .seawall
        .ask(Method::HEAD, &manifest_path("known"), &[])
        .await;
    let alone = Script {
        status: Some(StatusCode::TOO_MANY_REQUESTS),
        ..Script::default()
    };
    let by_digest = manifest_path(image.manifest.to_string());
    for path in [manifest_path("app"), by_digest.clone(), blob_path(&image.layer)] {
        world.registry.script(path, alone.clone());
    }
    let asks = [
        (Method::HEAD, manifest_path("app")),
        (Method::GET, manifest_path("app")),
        (Method::HEAD, by_digest.clone()),
        (Method::GET, by_digest),
        (Method::GET, blob_path(&image.layer)),
        (Method::GET, "/v2/library/app/tags/list".to_owned()),
    ];
    for (method, path) in asks {
        let answer = world.seawall.ask(method.clone(), &path, &[]).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{path}");
        let wait: u64 = answer.header("retry-after").parse().unwrap();
        assert!((55..=60).contains(&wait), "{method} {path}: {wait} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_refused_because_all_pulls_are_spent_stops_no_blob() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("app"), 1);
    let spent = Script {
        status: Some(StatusCode::TOO_MANY_REQUESTS),
        ..Script::told(0)
    };
    world.registry.script(manifest_path("app"), spent);
    let refused = world.seawall.ask(Method::HEAD, &manifest_path("app"), &[]).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    let refused = world.seawall.get(&manifest_path("app")).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    let text = String::from_utf8(refused.body.to_vec()).unwrap();
    let figures = "allows this cache 100 pulls per 3600 s, and 0 are left; all of them are spent";
    assert!(text.contains(figures), "{text}");
    assert!(world.seawall.get(&blob_path(&image.layer)).await.is_good());
}
