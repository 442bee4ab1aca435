//! What `seawall explain` foretells is what a pull then comes to, and foretelling asks nobody.

mod who;
mod words;

use std::time::Duration;

use http::{Method, StatusCode};
use seawall::policy::access::visibility::Sharing;
use seawall::policy::freshness::{Policy, Rules};
use serde_json::{Value, json};

use super::support::registry::Script;
use super::support::seawall::{Answer, Choices, Seawall, login, read, usual_freshness};
use super::support::world::{Image, World, blob_path, image, manifest_path, world};

/// A tag is fresh for five minutes, and a little stale for ten more.
fn rules() -> Rules {
    Rules {
        stale_while_revalidate: Duration::from_secs(600),
        ..usual_freshness()
    }
}

fn choices(rules: Rules) -> Choices {
    Choices {
        freshness: Policy::plain(rules),
        ..Choices::default()
    }
}

async fn explained(seawall: &Seawall, query: &str) -> (StatusCode, Value) {
    let path = format!("/api/v1/explain?{query}");
    let answer = read(seawall.operate(Method::GET, &path, &[], "").await).await;
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

/// The word that says how a pull was answered.
fn came_to(answer: &Answer) -> &'static str {
    let status = answer.header("cache-status");
    match (answer.status.is_success(), status) {
        (false, _) => "refused",
        (true, "seawall; hit" | "seawall; hit; detail=locked") => "served",
        (true, "seawall; hit; detail=refreshing") => "refreshing",
        (true, "seawall; fwd=stale") => "validated",
        (true, status) if status.starts_with("seawall; fwd=miss") => "fetched",
        (true, status) if status.contains("; detail=") => "stale",
        (true, status) => panic!("{status}"),
    }
}

/// Explains a pull, pulls, and holds the one against the other.
async fn foretold(world: &World, reference: &str, expected: &str) -> Value {
    let before = world.registry.journal().len();
    let by = if reference.contains(':') { "@" } else { ":" };
    let (status, explained) =
        explained(&world.seawall, &format!("reference=library/app{by}{reference}")).await;
    assert_eq!(status, StatusCode::OK, "{explained}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        world.registry.journal().len(),
        before,
        "explaining {reference} asked the upstream"
    );
    let pulled = world.seawall.get(&manifest_path(reference)).await;
    let outlook = explained["pull"]["outlook"].as_str().unwrap();
    assert_eq!(
        (outlook, came_to(&pulled)),
        (expected, expected),
        "{reference}: {explained:#}"
    );
    explained
}

/// Pulls an image whole.
async fn pull(world: &World, tag: &str, image: &Image) {
    assert!(world.seawall.get(&manifest_path(tag)).await.is_good());
    for blob in [image.config, image.layer] {
        assert!(world.seawall.get(&blob_path(&blob)).await.is_good());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// Has an upstream that is down fail until it is left alone.
async fn fail(world: &World) {
    for _ in 0..5 {
        world.seawall.get(&manifest_path("2")).await;
    }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_tag_is_foretold_from_its_first_pull_to_its_old_age() {
    let world = world(choices(rules()));
    let first = image(&world.registry, Some("1"), 1);
    let unknown = foretold(&world, "1", "fetched").await;
    assert_eq!(unknown["pull"]["record"], Value::Null);
    pull(&world, "1", &first).await;
    let fresh = foretold(&world, "1", "served").await;
    let content = &fresh["pull"]["content"];
    assert_eq!(
        (&content["manifest"], &content["complete"]),
        (&json!("memory"), &json!(true))
    );
    assert_eq!(
        (&content["blobs"]["count"], &content["blobs"]["held"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(fresh["pull"]["freshness"]["verdict"], "fresh");
    pass(400).await;
    foretold(&world, "1", "refreshing").await;
    pass(2000).await;
    foretold(&world, "1", "validated").await;
    foretold(&world, &first.manifest.to_string(), "served").await;
    let second = image(&world.registry, None, 2);
    foretold(&world, &second.manifest.to_string(), "fetched").await;
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_is_left_alone_is_foretold_to_be() {
    let world = world(choices(rules()));
    let held = image(&world.registry, Some("1"), 1);
    image(&world.registry, Some("2"), 2);
    pull(&world, "1", &held).await;
    pass(2000).await;
    world.registry.go_down();
    fail(&world).await;
    let refused = foretold(&world, "2", "refused").await;
    assert_eq!(refused["pull"]["upstream"]["state"], "failing");
    foretold(&world, "1", "stale").await;
    // Longer than a tag may be stale.
    pass(8 * 24 * 3600).await;
    fail(&world).await;
    foretold(&world, "1", "refused").await;
}

#[tokio::test(start_paused = true)]
async fn an_offline_upstream_is_foretold_to_serve_what_is_whole_and_nothing_else() {
    let online = world(choices(rules()));
    let held = image(&online.registry, Some("1"), 1);
    image(&online.registry, Some("bare"), 2);
    pull(&online, "1", &held).await;
    assert!(online.seawall.get(&manifest_path("bare")).await.is_good());
    let (registry, directory) = online.stop().await;
    let offline = Rules {
        offline: true,
        ..rules()
    };
    let seawall = Seawall::start(directory.path(), &registry, choices(offline)).into();
    let world = World {
        registry,
        seawall,
        directory,
    };
    foretold(&world, "1", "stale").await;
    foretold(&world, "bare", "refused").await;
    foretold(&world, "2", "refused").await;
}

#[tokio::test(start_paused = true)]
async fn a_used_up_budget_is_foretold_with_the_time_it_ends() {
    let world = world(choices(rules()));
    let held = image(&world.registry, Some("1"), 1);
    let missing = image(&world.registry, Some("2"), 2);
    pull(&world, "1", &held).await;
    for path in [manifest_path("1"), manifest_path("2")] {
        world.registry.script(path, Script::told(0));
    }
    pass(2000).await;
    foretold(&world, "1", "validated").await;
    let refused = foretold(&world, &missing.manifest.to_string(), "refused").await;
    let withheld = &refused["pull"]["withheld"];
    assert_eq!(withheld["because"], "exhausted");
    assert!(withheld["until"].as_u64() > refused["pull"]["now"].as_u64());
    foretold(&world, "1", "served").await;
}

#[tokio::test(start_paused = true)]
async fn a_locked_tag_is_foretold_to_stay() {
    let world = world(choices(rules()));
    let held = image(&world.registry, Some("1"), 1);
    pull(&world, "1", &held).await;
    let locked = world
        .seawall
        .post("/api/v1/lock", &json!({ "references": ["library/app:1"] }))
        .await;
    assert_eq!(locked.status, StatusCode::OK, "{locked:?}");
    image(&world.registry, Some("1"), 2);
    pass(2000).await;
    let explained = foretold(&world, "1", "served").await;
    assert_eq!(explained["pull"]["record"]["locked"], true);
    assert_eq!(explained["pull"]["record"]["digest"], held.manifest.to_string());
}

#[tokio::test(start_paused = true)]
async fn who_asks_and_whether_they_may_is_told_and_what_is_wrong_is_named() {
    let world = world(choices(rules()));
    let (_, explained_one) = explained(&world.seawall, "reference=library/app:1&client=192.0.2.7").await;
    assert_eq!(explained_one["client"]["name"], "192.0.2.7");
    assert_eq!(explained_one["access"], "granted");
    let (_, elsewhere) = explained(&world.seawall, "reference=registry.example.com/team/app:1").await;
    assert_eq!(
        (&elsewhere["configured"], &elsewhere["pull"]),
        (&json!(false), &Value::Null)
    );
    for (query, named) in [
        ("reference=", "``"),
        ("reference=library/app:1&client=nowhere", "`client` is `nowhere`"),
        (
            "reference=library/app:1&user=nobody",
            "[access] names no `htpasswd`",
        ),
    ] {
        let (status, error) = explained(&world.seawall, query).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        let error = error["error"].as_str().unwrap();
        assert!(error.contains(named), "{query}: {error}");
    }
}

/// Behind a credential that sees more than everybody.
fn with_credential(sharing: Sharing) -> Choices {
    Choices {
        credentials: vec![login("robot", "secret")],
        sharing,
        ..choices(rules())
    }
}

fn visibility(explained: &Value) -> &str {
    explained["pull"]["visibility"].as_str().unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_the_registry_shows_is_foretold_from_what_it_said_of_late() {
    let world = world(with_credential(Sharing::Public));
    let held = image(&world.registry, Some("1"), 1);
    assert_eq!(visibility(&foretold(&world, "1", "fetched").await), "asked");
    pull(&world, "1", &held).await;
    assert_eq!(visibility(&foretold(&world, "1", "served").await), "shown");
    // It is believed for an hour. Then it is asked, and does not show it any more.
    world.registry.close("library/app", &["Basic cm9ib3Q6c2VjcmV0"]);
    pass(600).await;
    assert_eq!(visibility(&foretold(&world, "1", "refreshing").await), "shown");
    pass(3600).await;
    let (_, before) = explained(&world.seawall, "reference=library/app:1").await;
    assert_eq!(visibility(&before), "asked");
    assert_eq!(
        world.seawall.get(&manifest_path("1")).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(visibility(&foretold(&world, "1", "refused").await), "hidden");
    let digest = held.manifest.to_string();
    assert_eq!(visibility(&foretold(&world, &digest, "refused").await), "hidden");
}

#[tokio::test(start_paused = true)]
async fn what_was_shown_is_foretold_to_be_served_while_its_registry_is_down_for_a_day() {
    let world = world(with_credential(Sharing::Public));
    let held = image(&world.registry, Some("1"), 1);
    pull(&world, "1", &held).await;
    pass(4000).await;
    world.registry.go_down();
    fail(&world).await;
    assert_eq!(visibility(&foretold(&world, "1", "stale").await), "shown");
    pass(25 * 3600).await;
    fail(&world).await;
    let refused = foretold(&world, "1", "refused").await;
    assert_eq!(visibility(&refused), "asked");
    assert_eq!(refused["pull"]["content"]["manifest"], "memory");
}

#[tokio::test(start_paused = true)]
async fn where_each_client_logs_in_who_has_not_is_foretold_what_everybody_is_shown() {
    let world = world(with_credential(Sharing::PerClient));
    let held = image(&world.registry, Some("1"), 1);
    assert_eq!(visibility(&foretold(&world, "1", "fetched").await), "asked");
    pull(&world, "1", &held).await;
    assert_eq!(visibility(&foretold(&world, "1", "served").await), "shown");
    world.registry.close("library/app", &["Basic cm9ib3Q6c2VjcmV0"]);
    pass(3700).await;
    let refused = world.seawall.get(&manifest_path("1")).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(visibility(&foretold(&world, "1", "refused").await), "login");
    let open = self::world(with_credential(Sharing::Shared));
    image(&open.registry, Some("1"), 1);
    assert_eq!(visibility(&foretold(&open, "1", "fetched").await), "open");
}
