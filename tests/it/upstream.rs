//! What an upstream may make us do, and what not: credentials, redirects, addresses.

use std::time::Duration;

use http::{Method, StatusCode};

use crate::support::registry::Script;
use crate::support::seawall::Choices;
use crate::support::world::{MIB, blob_path, content, image, manifest_path, world};

fn redirect(to: &str) -> Script {
    Script {
        status: Some(StatusCode::TEMPORARY_REDIRECT),
        headers: vec![("location", to.to_owned())],
        ..Script::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_blob_is_fetched_through_a_redirect() {
    let world = world(Choices::default());
    let bytes = content(MIB, 1);
    let digest = world.registry.blob("library/app", bytes.clone());
    world
        .registry
        .put("/cdn/blob".to_owned(), "application/octet-stream", bytes.clone());
    world.registry.script(
        blob_path(&digest),
        redirect("http://cdn.test/cdn/blob?signature=CANARY"),
    );
    let answer = world.seawall.get(&blob_path(&digest)).await;
    assert!(answer.complete);
    assert!(answer.body == bytes);
}

#[tokio::test(start_paused = true)]
async fn a_redirect_to_an_inner_address_is_refused() {
    // S014, S015, S016: metadata, loopback, private ranges, other schemes; and no contact.
    for target in [
        "http://169.254.169.254/latest/",
        "http://127.0.0.1:5001/metrics",
        "http://[::1]/",
        "http://10.0.0.1/",
        "http://[::ffff:10.0.0.1]/",
        "file:///etc/passwd",
    ] {
        let world = world(Choices::default());
        let digest = world.registry.blob("library/app", content(1000, 2));
        world.registry.script(blob_path(&digest), redirect(target));
        let answer = world.seawall.get(&blob_path(&digest)).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{target}");
        let paths: Vec<_> = world
            .registry
            .journal()
            .into_iter()
            .map(|seen| seen.path)
            .collect();
        assert!(
            paths.iter().all(|path| path.starts_with("/v2/")),
            "{target}: {paths:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn redirects_are_followed_five_times_and_no_more() {
    // F036
    let world = world(Choices::default());
    let digest = world.registry.blob("library/app", content(1000, 3));
    world.registry.script(
        blob_path(&digest),
        redirect(&format!("http://hub.test{}", blob_path(&digest))),
    );
    let answer = world.seawall.get(&blob_path(&digest)).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(world.registry.journal().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_fetched_once_and_brought_along() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 4);
    let token = r#"{"token":"T","expires_in":300}"#;
    world
        .registry
        .put("/token".to_owned(), "application/json", token.into());
    let challenge = r#"Bearer realm="http://hub.test/token",service="hub""#.to_owned();
    let once = Script {
        status: Some(StatusCode::UNAUTHORIZED),
        headers: vec![("www-authenticate", challenge)],
        times: Some(1),
        ..Script::default()
    };
    world.registry.script(manifest_path("1"), once);
    assert_eq!(
        world.seawall.get(&manifest_path("1")).await.status,
        StatusCode::OK
    );
    assert!(world.seawall.get(&blob_path(&image.layer)).await.complete);
    assert_eq!(world.registry.seen(&Method::GET, "/token").len(), 1);
    let blob = world.registry.seen(&Method::GET, &blob_path(&image.layer));
    assert_eq!(blob[0].headers["authorization"], "Bearer T");
}

#[tokio::test(start_paused = true)]
async fn a_token_service_on_another_site_is_not_asked() {
    // S018, S024, F033
    for realm in [
        "http://evil.example/token",
        "http://169.254.169.254/token",
        "http://hub.test.evil.example/",
    ] {
        let world = world(Choices::default());
        image(&world.registry, Some("1"), 5);
        let refused = Script {
            status: Some(StatusCode::UNAUTHORIZED),
            headers: vec![("www-authenticate", format!("Bearer realm=\"{realm}\""))],
            ..Script::default()
        };
        world.registry.script(manifest_path("1"), refused);
        let answer = world.seawall.get(&manifest_path("1")).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{realm}");
        assert!(
            world
                .registry
                .journal()
                .iter()
                .all(|seen| seen.path.starts_with("/v2/")),
            "{realm}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_accepts_no_token_is_not_asked_for_ever() {
    // F033
    let world = world(Choices::default());
    image(&world.registry, Some("1"), 6);
    world
        .registry
        .put("/token".to_owned(), "application/json", r#"{"token":"T"}"#.into());
    let challenge = r#"Bearer realm="http://hub.test/token""#.to_owned();
    let always = Script {
        status: Some(StatusCode::UNAUTHORIZED),
        headers: vec![("www-authenticate", challenge)],
        ..Script::default()
    };
    world.registry.script(manifest_path("1"), always);
    let answer = world.seawall.get(&manifest_path("1")).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(world.registry.seen(&Method::GET, "/token").len() <= 2);
}

#[tokio::test(start_paused = true)]
async fn passing_failures_are_tried_again() {
    // F031
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 7);
    let twice = Script {
        status: Some(StatusCode::SERVICE_UNAVAILABLE),
        times: Some(2),
        ..Script::default()
    };
    world.registry.script(blob_path(&image.layer), twice);
    assert!(world.seawall.get(&blob_path(&image.layer)).await.complete);
}

#[tokio::test(start_paused = true)]
async fn only_our_own_headers_reach_the_client() {
    // S035
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 8);
    let headers = ["set-cookie", "server", "via", "alt-svc", "x-ms-copy-source"];
    let script = Script {
        headers: headers.iter().map(|name| (*name, "CANARY".to_owned())).collect(),
        ..Script::default()
    };
    for path in [manifest_path(image.manifest), blob_path(&image.layer)] {
        world.registry.script(&path, script.clone());
        let answer = world.seawall.get(&path).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(answer.headers.values().all(|value| value != "CANARY"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_takes_one_request_a_second_is_pulled_from_at_that_pace() {
    let world = world(Choices::default());
    world.registry.allow_a_second(1);
    let image = image(&world.registry, Some("1"), 1);
    // Forty blobs, eight clients at once, all patient.
    let blobs: Vec<_> = (0..40_u8)
        .map(|seed| world.registry.blob("library/app", vec![seed; 2000]))
        .collect();
    assert!(world.seawall.get(&manifest_path("1")).await.is_good());
    let begun = tokio::time::Instant::now();
    let mut failed = 0;
    for several in blobs.chunks(4) {
        let pulls = several.iter().map(|blob| {
            let (seawall, path) = (world.seawall.clone(), blob_path(blob));
            tokio::spawn(async move { seawall.get(&path).await.is_good() })
        });
        for pull in pulls.collect::<Vec<_>>() {
            failed += usize::from(!pull.await.unwrap());
        }
    }
    assert_eq!(failed, 0);
    assert!(
        begun.elapsed() < Duration::from_secs(120),
        "{:?}",
        begun.elapsed()
    );
    assert!(world.seawall.get(&blob_path(&image.layer)).await.is_good());
}
