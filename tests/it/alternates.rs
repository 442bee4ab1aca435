//! Other registries that have the same digests: what they spare the budget, and what they are never told.

use std::time::Duration;

use http::{Method, StatusCode};
use seawall::upstream::AlternateOptions;

use crate::access::basic;
use crate::support::registry::{Registry, Script};
use crate::support::seawall::{Choices, login};
use crate::support::world::{
    Image, MIB, OCI_MANIFEST, World, blob_file, blob_path, content, image, manifest_path, world,
};

/// Choices with an alternate at `mirror.test`.
fn with_mirror() -> Choices {
    Choices {
        alternates: vec![AlternateOptions {
            url: "http://mirror.test".parse().unwrap(),
            prefix: None,
        }],
        ..Choices::default()
    }
}

/// A world with an alternate, and an image that both registries have.
fn mirrored(choices: Choices) -> (World, Registry, Image) {
    let world = world(choices);
    let mirror = Registry::default();
    world.registry.beside("mirror.test", &mirror);
    let image = image(&world.registry, Some("1"), 7);
    crate::support::world::image(&mirror, Some("1"), 7);
    (world, mirror, image)
}

fn status(code: u16) -> Script {
    Script {
        status: Some(StatusCode::from_u16(code).unwrap()),
        ..Script::default()
    }
}

/// An answer that says that nothing is left.
fn exhausted() -> Script {
    let figures = [
        ("ratelimit-limit", "100;w=3600"),
        ("ratelimit-remaining", "0;w=3600"),
    ];
    Script {
        headers: figures.map(|(name, value)| (name, value.to_owned())).to_vec(),
        ..Script::default()
    }
}

fn avoided(world: &World) -> Option<u64> {
    let status = world.seawall.cache.status();
    status.upstreams[0].avoided.get("alternate").copied()
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_an_alternate_has_costs_nothing() {
    let (world, mirror, image) = mirrored(with_mirror());
    let digest = image.manifest.to_string();
    let asking = (0..50).map(|_| {
        let seawall = world.seawall.clone();
        async move { seawall.get(&manifest_path("1")).await }
    });
    let answers = asking.collect::<tokio::task::JoinSet<_>>().join_all().await;
    for answer in &answers {
        assert!(answer.is_good());
        assert_eq!(answer.header("docker-content-digest"), digest);
    }
    let stored = |answer: &&crate::support::seawall::Answer| {
        answer.header("cache-status") == "seawall; fwd=miss; stored"
    };
    assert_eq!(answers.iter().filter(stored).count(), 1);
    assert!(world.registry.seen(&Method::GET, "").is_empty());
    assert_eq!(mirror.seen(&Method::GET, &digest).len(), 1);
    // A tag is the upstream's own to tell.
    assert_eq!(mirror.journal().len(), 1);
    assert_eq!(avoided(&world), Some(1));
    assert_eq!(world.seawall.cache.status().upstreams[0].spent, 0);
}

#[tokio::test(start_paused = true)]
async fn an_exhausted_budget_is_no_matter_where_an_alternate_has_the_digest() {
    let (world, mirror, image) = mirrored(with_mirror());
    let lacking = crate::support::world::image(&world.registry, Some("2"), 8);
    for path in [
        manifest_path("1"),
        manifest_path("2"),
        manifest_path(image.manifest),
        manifest_path(lacking.manifest),
    ] {
        world.registry.script(path, exhausted());
    }
    assert!(world.seawall.get(&manifest_path("1")).await.is_good());
    let refused = world.seawall.get(&manifest_path("2")).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(world.registry.seen(&Method::GET, "").is_empty());
    assert_eq!(mirror.seen(&Method::GET, &lacking.manifest.to_string()).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_of_the_upstream_a_digest_is_still_had_and_a_tag_is_not() {
    let (world, mirror, image) = mirrored(with_mirror());
    world.registry.go_down();
    assert!(world.seawall.get(&manifest_path(image.manifest)).await.is_good());
    assert!(world.seawall.get(&blob_path(&image.layer)).await.is_good());
    let tag = world.seawall.get(&manifest_path("1")).await;
    assert_eq!(tag.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(mirror.seen(&Method::GET, "/1").is_empty() && mirror.seen(&Method::HEAD, "/1").is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_an_alternate_lacks_gets_wrong_or_fails_at_is_bought() {
    let other = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/json","digest":"{}","size":2}},"layers":[]}}"#,
        seawall::oci::Digest::sha256(b"{}")
    );
    let wrong = Script {
        body: Some(other.into()),
        ..Script::default()
    };
    let broken = Script {
        flip: Some(0),
        ..Script::default()
    };
    let slow = Script {
        delay: Duration::from_secs(60),
        ..Script::default()
    };
    for script in [
        status(404),
        status(403),
        status(429),
        status(500),
        wrong,
        broken,
        slow,
    ] {
        let (world, mirror, image) = mirrored(with_mirror());
        let digest = image.manifest.to_string();
        mirror.script(manifest_path(&digest), script.clone());
        let start = tokio::time::Instant::now();
        let answer = world.seawall.get(&manifest_path(&digest)).await;
        assert!(answer.is_good(), "{script:?}");
        assert!(start.elapsed() < Duration::from_secs(5), "{script:?}");
        assert_eq!(world.registry.seen(&Method::GET, &digest).len(), 1, "{script:?}");
        assert_eq!(avoided(&world), None);
    }
}

#[tokio::test(start_paused = true)]
async fn the_name_of_a_private_repository_is_told_to_nobody() {
    let choices = Choices {
        credentials: vec![login("robot", "secret")],
        ..with_mirror()
    };
    // Public: nobody is let in as well.
    let (world, mirror, image) = mirrored(choices.clone());
    let digest = image.manifest.to_string();
    assert!(world.seawall.get(&manifest_path(&digest)).await.is_good());
    assert_eq!(mirror.seen(&Method::GET, &digest).len(), 1);
    let heads = world.registry.seen(&Method::HEAD, &digest);
    assert!(
        heads
            .iter()
            .all(|seen| !seen.headers.contains_key("authorization"))
    );
    // Private: whoever comes without the credential is turned away.
    let (world, mirror, image) = mirrored(choices);
    let digest = image.manifest.to_string();
    world.registry.close("library/app", &[&basic("robot", "secret")]);
    assert!(world.seawall.get(&manifest_path(&digest)).await.is_good());
    for blob in [image.config, image.layer] {
        world.registry.script(blob_path(&blob), status(503));
        assert!(!world.seawall.get(&blob_path(&blob)).await.is_good());
    }
    assert!(mirror.journal().is_empty(), "{:?}", mirror.journal());
    assert_eq!(avoided(&world), None);
}

#[tokio::test(start_paused = true)]
async fn a_blob_that_breaks_off_is_finished_from_an_alternate() {
    let (world, mirror, _) = mirrored(with_mirror());
    let bytes = content(3 * MIB, 9);
    let digest = world.registry.blob("library/app", bytes.clone());
    mirror.blob("library/app", bytes.clone());
    let path = blob_path(&digest);
    world.registry.script(
        &path,
        Script {
            chunk: 64 << 10,
            cut_after: Some(MIB),
            times: Some(1),
            ..Script::default()
        },
    );
    let answer = {
        let seawall = world.seawall.clone();
        let asked = tokio::spawn(async move { seawall.get(&blob_path(&digest)).await });
        while world.registry.sent() < MIB as u64 {
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        world.registry.script(&path, status(503));
        asked.await.unwrap()
    };
    assert!(answer.is_good() && answer.body == bytes);
    let helped = mirror.seen(&Method::GET, &digest.to_string());
    assert_eq!(helped.len(), 1);
    let range = helped[0].headers["range"].to_str().unwrap();
    assert!(range != "bytes=0-", "{range}");
}

#[tokio::test(start_paused = true)]
async fn wrong_bytes_of_an_alternate_reach_nobody_and_are_not_asked_for_again() {
    let (world, mirror, image) = mirrored(with_mirror());
    let path = blob_path(&image.layer);
    world.registry.script(&path, status(503));
    mirror.script(
        &path,
        Script {
            flip: Some(100),
            ..Script::default()
        },
    );
    assert!(!world.seawall.get(&path).await.is_good());
    assert!(!blob_file(world.directory.path(), &image.layer).exists());
    // It is right again, but is not believed for a while.
    mirror.heal();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!world.seawall.get(&path).await.is_good());
    assert_eq!(mirror.seen(&Method::GET, &image.layer.to_string()).len(), 1);
    world.registry.heal();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(world.seawall.get(&path).await.is_good());
}

#[tokio::test(start_paused = true)]
async fn a_definite_answer_about_a_blob_is_no_question_for_an_alternate() {
    let (world, mirror, image) = mirrored(with_mirror());
    for code in [404, 403] {
        world.registry.script(blob_path(&image.layer), status(code));
        assert!(!world.seawall.get(&blob_path(&image.layer)).await.is_good());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(mirror.journal().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_prefix_stands_in_front_of_the_repository() {
    let mut choices = with_mirror();
    choices.alternates[0].prefix = Some("docker".parse().unwrap());
    let (world, mirror, image) = mirrored(choices);
    let bytes = r#"{"schemaVersion":2,"manifests":[]}"#;
    let digest = mirror.manifest(
        "docker/library/app",
        None,
        crate::support::world::OCI_INDEX,
        bytes,
    );
    assert!(world.seawall.get(&manifest_path(digest)).await.is_good());
    assert!(world.seawall.get(&manifest_path(image.manifest)).await.is_good());
    let journal = mirror.journal();
    assert!(
        journal
            .iter()
            .all(|seen| seen.path.starts_with("/v2/docker/library/app/"))
    );
    assert_eq!(
        OCI_MANIFEST,
        world
            .seawall
            .get(&manifest_path(image.manifest))
            .await
            .header("content-type")
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_credential_is_shown_with_the_time_it_is_tried_again() {
    let world = world(Choices {
        credentials: vec![login("robot", "secret")],
        ..Choices::default()
    });
    image(&world.registry, Some("1"), 1);
    let challenge = r#"Bearer realm="http://hub.test/token",service="hub""#.to_owned();
    for path in [manifest_path("1"), "/v2/".to_owned()] {
        let script = Script {
            headers: vec![("www-authenticate", challenge.clone())],
            ..status(401)
        };
        world.registry.script(path, script);
    }
    world.registry.script("/token", status(401));
    for _ in 0..20 {
        assert_eq!(
            world.seawall.get(&manifest_path("1")).await.status,
            StatusCode::FORBIDDEN
        );
    }
    assert_eq!(world.registry.seen(&Method::GET, "/token").len(), 1);
    let status = world.seawall.cache.status();
    let account = &status.upstreams[0].accounts[0];
    assert_eq!(
        (account.name.as_str(), account.state.as_str()),
        ("robot", "parked")
    );
    let wait = account.until.unwrap() - status.now;
    assert!((50_000..=60_000).contains(&wait), "{wait}");
}
