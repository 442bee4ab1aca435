//! Warming: what is asked for is held afterwards, at the lowest rank, and it says what it cost.

mod scheduled;
mod tries;

use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::BodyExt;
use seawall::oci::{Digest, Tag};
use serde_json::{Value, json};

use crate::support::operator::lines;
use crate::support::registry::Script;
use crate::support::seawall::{Choices, Seawall};
use crate::support::world::{
    MIB, OCI_INDEX, OCI_MANIFEST, World, blob_path, content, image, manifest_path, room, world,
};

/// Warms, and returns the summary.
async fn warm(seawall: &Seawall, request: Value) -> Value {
    let answer = seawall.post("/api/v1/warm", &request).await;
    let summary = lines(&answer).pop().unwrap();
    assert_eq!(summary["event"], "summary", "{summary}");
    summary
}

/// Puts an image of one layer under the tag `1`; its configuration has two bytes.
fn heavy(world: &World, layer: &Digest, size: usize) {
    let config = world.registry.blob("library/app", "{}");
    let body = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.to_string(), "size": 2},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer.to_string(),
            "size": size}]});
    world
        .registry
        .manifest("library/app", Some("1"), OCI_MANIFEST, &body.to_string());
}

/// The counted requests that a registry saw.
fn counted(world: &World) -> usize {
    let journal = world.registry.journal();
    let counted = |path: &str| path.contains("/manifests/");
    journal
        .iter()
        .filter(|seen| seen.method == Method::GET && counted(&seen.path))
        .count()
}

#[tokio::test(start_paused = true)]
async fn a_warmed_image_is_served_while_its_upstream_is_down() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 1);
    let summary = warm(&world.seawall, json!({"references": ["library/app:1"]})).await;
    assert_eq!(summary["missed"], json!([]));
    assert_eq!((&summary["counted"], &summary["free"]), (&json!(1), &json!(3)));
    assert_eq!(summary["fetched"], json!(MIB / 4 + 10));
    world.registry.go_down();
    for path in [
        manifest_path("1"),
        blob_path(&image.config),
        blob_path(&image.layer),
    ] {
        assert!(world.seawall.get(&path).await.is_good(), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_locked_tag_is_warm_as_it_is_and_nobody_is_asked() {
    let world = world(Choices::default());
    let request = json!({"references": ["library/app:1"]});
    image(&world.registry, Some("1"), 1);
    warm(&world.seawall, request.clone()).await;
    assert!(world.seawall.post("/api/v1/lock", &request).await.is_good());
    image(&world.registry, Some("1"), 2);
    tokio::time::sleep(Duration::from_secs(400)).await;
    let before = world.registry.journal().len();
    let summary = warm(&world.seawall, request).await;
    assert_eq!(summary["missed"], json!([]));
    assert_eq!(summary["held"], json!(MIB / 4 + 10));
    assert_eq!(world.registry.journal().len(), before);
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_is_gone_is_missed_and_served_no_more() {
    let world = world(Choices::default());
    image(&world.registry, Some("1"), 1);
    let request = json!({"references": ["app:1"]});
    let summary = warm(&world.seawall, request.clone()).await;
    assert_eq!(summary["missed"], json!([]));
    world.registry.remove(&manifest_path("1"));
    tokio::time::sleep(Duration::from_secs(301)).await;
    let summary = warm(&world.seawall, request).await;
    assert_eq!(summary["missed"].as_array().unwrap().len(), 1, "{summary}");
    // Longer than it is remembered that it was not there.
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.registry.go_down();
    let answer = world.seawall.get(&manifest_path("1")).await;
    assert!(!answer.is_good(), "{}", answer.status);
}

#[tokio::test(start_paused = true)]
async fn what_there_is_no_room_for_is_missed_and_not_called_held() {
    let world = world(Choices {
        space: room(4),
        ..Choices::default()
    });
    let layer = world.registry.blob("library/app", content(6 * MIB, 3));
    heavy(&world, &layer, 6 * MIB);
    let summary = warm(&world.seawall, json!({"references": ["app:1"]})).await;
    let why = summary["missed"][0]["why"].as_str().unwrap_or_default();
    assert!(why.contains("was fetched but could not be kept"), "{summary}");
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_passed_over() {
    let world = world(Choices::default());
    image(&world.registry, Some("1"), 1);
    let request = json!({"references": ["library/app:1"]});
    warm(&world.seawall, request.clone()).await;
    let before = world.registry.journal().len();
    tokio::time::sleep(Duration::from_secs(400)).await;
    let summary = warm(&world.seawall, request).await;
    let (fetched, held) = (&summary["fetched"], &summary["held"]);
    assert_eq!((fetched, held), (&json!(0), &json!(MIB / 4 + 10)));
    assert_eq!((&summary["counted"], &summary["free"]), (&json!(0), &json!(1)));
    // Whether the tag has moved is a free question.
    let journal = world.registry.journal();
    assert_eq!(
        journal[before..]
            .iter()
            .map(|seen| &seen.method)
            .collect::<Vec<_>>(),
        [&Method::HEAD]
    );
}

/// An index of two images, and what each is.
fn index(world: &World) -> (Digest, [crate::support::world::Image; 2]) {
    let images = [image(&world.registry, None, 1), image(&world.registry, None, 2)];
    let entry = |digest: &Digest, architecture: &str| {
        json!({"mediaType": OCI_MANIFEST, "digest": digest.to_string(), "size": 10,
            "platform": {"os": "linux", "architecture": architecture}})
    };
    let body = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        entry(&images[0].manifest, "amd64"), entry(&images[1].manifest, "s390x")]});
    let digest = world
        .registry
        .manifest("library/app", Some("many"), OCI_INDEX, &body.to_string());
    (digest, images)
}

#[tokio::test(start_paused = true)]
async fn only_the_wanted_platforms_of_an_index_are_paid_for() {
    for (platform, wanted) in [("linux/amd64", 2), ("linux/s390x", 2), ("all", 3)] {
        let world = world(Choices::default());
        index(&world);
        let request = json!({"references": ["app:many"], "platform": platform});
        let summary = warm(&world.seawall, request).await;
        assert_eq!(summary["missed"], json!([]), "{platform}");
        assert_eq!(
            (&summary["counted"], counted(&world)),
            (&json!(wanted), wanted),
            "{platform}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_image_stops_no_other_and_says_why() {
    let world = world(Choices::default());
    image(&world.registry, Some("good"), 1);
    let broken = image(&world.registry, Some("broken"), 7);
    world.registry.remove(&blob_path(&broken.layer));
    index(&world);
    let request = json!({
        "references": ["app:none", "app:broken", "example.com/no/such", "{{ .image }}", "app:many", "app:good"],
        "platform": "linux/riscv64",
    });
    let answer = world.seawall.post("/api/v1/warm", &request).await;
    let events = lines(&answer);
    let summary = events.last().unwrap();
    let missed = |image: &str| -> String {
        let missed = summary["missed"].as_array().unwrap();
        let found = missed.iter().find(|missed| missed["image"] == image);
        found.unwrap_or_else(|| panic!("{image} in {missed:?}"))["why"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(missed("app:none").contains("manifest"));
    assert!(missed("app:broken").contains("blob"));
    assert!(missed("example.com/no/such").contains("not configured"));
    assert!(missed("{{ .image }}").contains("is not a reference"));
    assert!(missed("app:many").contains("it has linux/amd64, linux/s390x"));
    let held = |event: &&Value| event["image"] == "app:good" && event["state"] == "held";
    assert_eq!(events.iter().filter(held).count(), 1);
    assert_eq!(summary["missed"].as_array().unwrap().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_warm_leaves_what_a_tier_may_want_and_takes_a_tier_if_told_to() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 1);
    for path in [manifest_path("1"), manifest_path(image.manifest)] {
        world.registry.script(path, Script::told(40));
    }
    let summary = warm(&world.seawall, json!({"references": ["app:1"]})).await;
    let missed = &summary["missed"][0];
    assert!(
        missed["why"].as_str().unwrap().contains("100 pulls per 3600 s"),
        "{missed}"
    );
    assert!(missed["again"].as_u64().is_some(), "{missed}");
    assert_eq!((counted(&world), &summary["counted"]), (0, &json!(0)));
    let request = json!({"references": ["app:1"], "tier": "unlimited"});
    let summary = warm(&world.seawall, request).await;
    assert_eq!((&summary["missed"], &summary["counted"]), (&json!([]), &json!(1)));
    let wrong = json!({"references": ["app:1"], "tier": "gold"});
    let answer = world.seawall.post("/api/v1/warm", &wrong).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(String::from_utf8_lossy(&answer.body).contains("there are: unlimited"));
}

#[tokio::test(start_paused = true)]
async fn when_the_operator_goes_away_no_more_is_begun() {
    let world = world(Choices::default());
    let names: Vec<String> = (0..40).map(|seed| format!("t{seed}")).collect();
    for (seed, tag) in (1..).zip(&names) {
        let image = image(&world.registry, Some(tag), seed);
        let slow = Script {
            delay: Duration::from_secs(2),
            ..Script::default()
        };
        world.registry.script(blob_path(&image.layer), slow);
    }
    let request = json!({"references": names.iter().map(|tag| format!("app:{tag}")).collect::<Vec<_>>()});
    let headers = [("content-type", "application/json")];
    let path = "/api/v1/warm";
    let mut answer = world
        .seawall
        .operate(Method::POST, path, &headers, request.to_string())
        .await;
    answer.body_mut().frame().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    drop(answer);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let before = world.registry.journal().len();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(world.registry.journal().len(), before);
    assert!(counted(&world) < 40, "{}", counted(&world));
    // Another one goes on from there.
    let missing = 40 - counted(&world);
    let summary = warm(&world.seawall, request).await;
    assert_eq!(
        (&summary["missed"], &summary["counted"]),
        (&json!([]), &json!(missing))
    );
    assert_eq!(counted(&world), 40);
}

#[tokio::test(start_paused = true)]
async fn what_refers_to_an_image_is_fetched_if_wanted() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 1);
    let paper = world.registry.blob("library/app", "a list of contents");
    let empty = world.registry.blob("library/app", "{}");
    let body = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty.to_string(), "size": 2},
        "layers": [{"mediaType": "text/plain", "digest": paper.to_string(), "size": 18}],
        "subject": {"mediaType": OCI_MANIFEST, "digest": image.manifest.to_string(), "size": 10}});
    let referrer = world
        .registry
        .manifest("library/app", None, OCI_MANIFEST, &body.to_string());
    let list = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        {"mediaType": OCI_MANIFEST, "digest": referrer.to_string(), "size": body.to_string().len()}]});
    let path = format!("/v2/library/app/referrers/{}", image.manifest);
    world
        .registry
        .put(path.clone(), OCI_INDEX, list.to_string().into());
    let signature = format!("{}.sig", Tag::of_referrers(&image.manifest));
    let signed = crate::support::world::image(&world.registry, Some(&signature), 9);
    let request = json!({"references": ["app:1"], "referrers": true});
    let summary = warm(&world.seawall, request).await;
    let paid = world.registry.journal();
    let paid: Vec<_> = paid
        .iter()
        .filter(|seen| seen.path.contains("/manifests/"))
        .map(|seen| (&seen.method, &seen.path))
        .collect();
    assert_eq!(
        (&summary["missed"], &summary["counted"]),
        (&json!([]), &json!(3)),
        "{paid:?}"
    );
    world.registry.go_down();
    for path in [
        path,
        manifest_path(referrer),
        blob_path(&paper),
        manifest_path(&signature),
        blob_path(&signed.layer),
    ] {
        assert!(world.seawall.get(&path).await.is_good(), "{path}");
    }
}
