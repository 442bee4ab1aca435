//! Ranges of blobs that are not here yet, lengths without bodies, digests of the other kind.

use std::time::Duration;

use http::{Method, StatusCode};

use crate::support::registry::Script;
use crate::support::seawall::Choices;
use crate::support::world::{MIB, blob_path, content, world};

#[tokio::test(start_paused = true)]
async fn a_range_far_ahead_of_a_fill_is_served_at_once() {
    // S115, S054: 1 MiB a second; a short range at the far end must not wait for 60 s.
    // One connection, so that what is asked for is easy to tell.
    let world = world(Choices {
        lanes: Some(1),
        ..Choices::default()
    });
    let bytes = content(64 * MIB, 1);
    let digest = world.registry.blob("library/app", bytes.clone());
    let path = blob_path(&digest);
    world
        .registry
        .script(&path, Script::paced(Duration::from_secs(1)));
    let filling = tokio::spawn({
        let (seawall, path) = (world.seawall.clone(), path.clone());
        async move { seawall.get(&path).await }
    });
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let asked = tokio::time::Instant::now();
    let start = 60 * MIB;
    let range = format!("bytes={start}-{}", start + 999);
    let answer = world.seawall.ask(Method::GET, &path, &[("range", &range)]).await;
    assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
    assert!(answer.complete && answer.body == bytes[start..start + 1000]);
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    assert!(filling.await.unwrap().body == bytes);
    // One request for the blob, one for the range; the blob was not begun twice.
    let gets = world.registry.seen(&Method::GET, &path);
    assert_eq!(gets.len(), 2);
    assert_eq!(gets[1].headers["range"], range.as_str());
    assert_eq!(world.registry.sent(), (64 * MIB + 1000) as u64);
}

#[tokio::test(start_paused = true)]
async fn a_range_ahead_that_the_upstream_refuses_waits_for_the_fill() {
    let world = world(Choices::default());
    let bytes = content(24 * MIB, 2);
    let digest = world.registry.blob("library/app", bytes.clone());
    let path = blob_path(&digest);
    let slow = Script {
        chunk: MIB,
        pace: Duration::from_millis(100),
        ignore_range: true,
        ..Script::default()
    };
    world.registry.script(&path, slow);
    let answer = world
        .seawall
        .ask(Method::GET, &path, &[("range", "bytes=20971520-20971529")])
        .await;
    assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
    assert!(answer.body == bytes[20 * MIB..20 * MIB + 10]);
}

#[tokio::test(start_paused = true)]
async fn the_head_of_a_cold_blob_costs_one_byte_and_no_upstream_head() {
    let world = world(Choices::default());
    let digest = world.registry.blob("library/app", content(3 * MIB, 3));
    let path = blob_path(&digest);
    let answer = world.seawall.ask(Method::HEAD, &path, &[]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-length"), (3 * MIB).to_string());
    assert!(answer.body.is_empty());
    assert!(world.registry.seen(&Method::HEAD, &path).is_empty());
    assert_eq!(
        world.registry.seen(&Method::GET, &path)[0].headers["range"],
        "bytes=0-0"
    );
}

#[tokio::test(start_paused = true)]
async fn the_head_of_a_blob_that_is_being_filled_comes_from_the_fill() {
    // F054
    let world = world(Choices::default());
    let digest = world.registry.blob("library/app", content(4 * MIB, 4));
    let path = blob_path(&digest);
    world
        .registry
        .script(&path, Script::paced(Duration::from_secs(1)));
    let filling = world.seawall.open(Method::GET, &path, &[]).await;
    let answer = world.seawall.ask(Method::HEAD, &path, &[]).await;
    assert_eq!(answer.header("content-length"), (4 * MIB).to_string());
    assert_eq!(world.registry.seen(&Method::GET, &path).len(), 1);
    drop(filling);
}

#[tokio::test(start_paused = true)]
async fn content_under_a_sha512_digest_is_verified_by_sha512() {
    // S042, S044
    let bytes = content(2 * MIB, 5);
    let digest = seawall::oci::Digest::of(seawall::oci::Algorithm::Sha512, &bytes);
    let path = blob_path(&digest);
    for flip in [None, Some(MIB)] {
        let world = world(Choices::default());
        world
            .registry
            .put(path.clone(), "application/octet-stream", bytes.clone());
        world.registry.script(
            &path,
            Script {
                flip,
                ..Script::default()
            },
        );
        let answer = world.seawall.get(&path).await;
        assert_eq!(answer.is_good(), flip.is_none());
        assert_eq!(answer.body == bytes, flip.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_blob_without_a_length_is_verified_and_served() {
    // F010: chunked from the upstream, chunked to the client; the next client gets a length.
    let world = world(Choices::default());
    let bytes = content(2 * MIB, 6);
    let digest = world.registry.blob("library/app", bytes.clone());
    let path = blob_path(&digest);
    world.registry.script(
        &path,
        Script {
            without: vec!["content-length"],
            ..Script::default()
        },
    );
    let answer = world.seawall.get(&path).await;
    assert!(answer.complete && answer.body == bytes);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let again = world.seawall.get(&path).await;
    assert_eq!(again.header("content-length"), (2 * MIB).to_string());
    assert!(again.body == bytes);
}
