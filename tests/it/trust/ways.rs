//! Whichever way an image has come here, and whichever way it is asked for, it is judged before it is served.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use seawall::policy::access::Scope;
use seawall::policy::freshness;
use seawall::policy::trust::{Rule, Rules};
use serde_json::{Value, json};

use super::signer::Signer;
use super::{LATER, SOON, again, assert_refused, choices, pull, start};
use crate::support::seawall::{Choices, Seawall, read, usual_freshness};
use crate::support::world::{blob_path, image, image_in, manifest_path, world};

/// A week, in seconds.
const WEEK: u64 = 7 * 24 * 3600;

fn offline() -> freshness::Policy {
    freshness::Policy::plain(freshness::Rules {
        offline: true,
        ..usual_freshness()
    })
}

/// Pulls an image whole.
async fn pull_whole(seawall: &Seawall, image: &crate::support::world::Image) {
    for path in [
        manifest_path("1"),
        blob_path(&image.config),
        blob_path(&image.layer),
    ] {
        assert!(seawall.get(&path).await.is_good(), "{path}");
    }
}

/// Nobody can tell whether it is signed, and it is not served.
async fn assert_untold(seawall: &Seawall, reference: impl std::fmt::Display) {
    let answer = seawall.get(&manifest_path(reference)).await;
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{text}");
    assert!(text.contains("is signed cannot be told now"), "{text}");
}

async fn bundle(seawall: &Seawall, query: &str) -> Bytes {
    let path = format!("/api/v1/export?{query}");
    let answer = read(seawall.operate(Method::GET, &path, &[], "").await).await;
    assert!(answer.is_good(), "{}", String::from_utf8_lossy(&answer.body));
    answer.body
}

async fn import(seawall: &Seawall, bundle: Bytes) {
    let headers = [("content-type", "application/x-tar")];
    let answer = seawall
        .operate(Method::POST, "/api/v1/import", &headers, bundle)
        .await;
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn what_is_held_from_before_the_rule_is_judged_fresh_stale_warmed_locked_and_offline() {
    let plain = world(Choices::default());
    let image = image(&plain.registry, Some("1"), 1);
    pull_whole(&plain.seawall, &image).await;
    let key = || vec![Signer::default().key()];
    plain.registry.go_down();
    let world = again(plain, choices(key())).await;
    // Fresh, and then stale: the registry, which is down, cannot say whether there are signatures.
    assert_untold(&world.seawall, "1").await;
    assert_untold(&world.seawall, image.manifest).await;
    tokio::time::sleep(LATER).await;
    assert_untold(&world.seawall, "1").await;
    world.registry.heal();
    tokio::time::sleep(LATER).await;
    let request = json!({"references": ["library/app:1"]});
    assert!(world.seawall.post("/api/v1/warm", &request).await.is_good());
    assert_refused(&pull(&world, "1").await, "no signature is attached to it");
    tokio::time::sleep(SOON).await;
    assert!(world.seawall.post("/api/v1/lock", &request).await.is_good());
    assert_refused(&pull(&world, "1").await, "no signature is attached to it");

    let nobody_asked = world.registry.journal().len();
    let choices = Choices {
        freshness: offline(),
        ..choices(key())
    };
    let world = again(world, choices).await;
    for reference in ["1".to_owned(), image.manifest.to_string()] {
        assert_untold(&world.seawall, &reference).await;
        let path = manifest_path(&reference);
        let head = world.seawall.ask(Method::HEAD, &path, &[]).await;
        assert_eq!(head.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(world.registry.journal().len(), nobody_asked);
}

#[tokio::test(start_paused = true)]
async fn what_is_signed_is_served_stale_when_nobody_can_be_asked() {
    let (world, signer) = start();
    let image = image(&world.registry, Some("1"), 1);
    signer.sign_by_tag(&world.registry, &image.manifest);
    pull_whole(&world.seawall, &image).await;
    world.registry.go_down();
    tokio::time::sleep(LATER).await;
    let answer = pull(&world, "1").await;
    assert!(answer.is_good());
    assert!(
        answer.header("cache-status").contains("fwd=stale"),
        "{:?}",
        answer.headers
    );
}

#[tokio::test(start_paused = true)]
async fn an_import_is_judged_by_the_signatures_that_came_with_it() {
    let outside = world(Choices::default());
    let signer = Signer::default();
    let image = image(&outside.registry, Some("1"), 1);
    signer.sign_by_tag(&outside.registry, &image.manifest);
    let warm = json!({"references": ["library/app:1"], "referrers": true});
    outside.registry.put(
        format!("/v2/library/app/referrers/{}", image.manifest),
        crate::support::world::OCI_INDEX,
        r#"{"schemaVersion":2,"manifests":[]}"#.into(),
    );
    assert!(outside.seawall.post("/api/v1/warm", &warm).await.is_good());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let bundle = bundle(&outside.seawall, "reference=library/app:1").await;
    for (key, is_served) in [(signer.key(), true), (Signer::default().key(), false)] {
        let island = world(Choices {
            freshness: offline(),
            ..choices(vec![key])
        });
        import(&island.seawall, bundle.clone()).await;
        tokio::time::sleep(Duration::from_secs(52 * WEEK)).await;
        for reference in ["1".to_owned(), image.manifest.to_string()] {
            let answer = pull(&island, &reference).await;
            assert_eq!(answer.is_good(), is_served, "{reference}: {}", answer.status);
        }
        assert!(island.registry.journal().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_verdict_is_one_repositorys_and_gives_no_right_to_another() {
    let signer = Signer::default();
    let rule = Rule {
        repositories: vec![Scope::parse("docker.io/library/a*").unwrap()],
        keys: vec![signer.key()],
        ..Rule::default()
    };
    let world = world(Choices {
        trust: Rules::new(vec![rule]),
        ..Choices::default()
    });
    // The same bytes: signed in one repository, not in the next, and where no signature is wanted.
    let [app, alike, open] = ["app", "alike", "open"]
        .map(|name| image_in(&world.registry, &format!("library/{name}"), Some("1"), 1).manifest);
    assert!(app == alike && app == open);
    signer.sign_by_tag(&world.registry, &app);
    for (name, is_served) in [("open", true), ("app", true), ("alike", false)] {
        for reference in ["1".to_owned(), app.to_string()] {
            let path = format!("/v2/library/{name}/manifests/{reference}");
            let answer = world.seawall.get(&path).await;
            assert_eq!(answer.is_good(), is_served, "{path}: {}", answer.status);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn how_it_stands_is_explained_and_counted() {
    let (world, signer) = start();
    let signed = image(&world.registry, Some("1"), 1);
    signer.sign_by_tag(&world.registry, &signed.manifest);
    image(&world.registry, Some("2"), 2);
    let explained = async |tag: &str| {
        let path = format!("/api/v1/explain?reference=library/app:{tag}");
        let answer = read(world.seawall.operate(Method::GET, &path, &[], "").await).await;
        let told: Value = serde_json::from_slice(&answer.body).unwrap();
        let word = |value: &Value| value.as_str().unwrap_or("none").to_owned();
        (
            word(&told["pull"]["trust"]["verdict"]),
            word(&told["pull"]["outlook"]),
        )
    };
    let said = |verdict: &str, outlook: &str| (verdict.to_owned(), outlook.to_owned());
    assert_eq!(explained("2").await, said("unknown", "fetched"));
    pull(&world, "1").await;
    pull(&world, "2").await;
    assert_eq!(explained("1").await, said("trusted", "served"));
    assert_eq!(explained("2").await, said("refused", "refused"));
    // What the tag has moved to by then may be signed.
    tokio::time::sleep(LATER).await;
    pull(&world, signed.manifest).await;
    assert_eq!(explained("2").await.1, "validated");
    let counted = world.seawall.metrics.exposition();
    for verdict in ["trusted", "refused"] {
        let line = format!("seawall_trust_verdicts_total{{verdict=\"{verdict}\"}} 1\n");
        assert!(counted.contains(&line), "{line} in {counted}");
    }
}
