//! The twenty facts about real clients that a mirror must honour, by the damage done when it is wrong. Here
//! the first eight: what is in a body, and when it comes.

mod answers;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;

use crate::support::registry::Script;
use crate::support::seawall::Choices;
use crate::support::world::{
    Image, MIB, OCI_MANIFEST, World, blob_path, content, image, manifest_path, world,
};

/// Pulls an image through the cache, as containerd does.
async fn pull(world: &World, image: &Image, tag: &str) {
    let head = world.seawall.ask(Method::HEAD, &manifest_path(tag), &[]).await;
    assert_eq!(head.status, StatusCode::OK);
    assert_eq!(
        world.seawall.get(&manifest_path(image.manifest)).await.status,
        StatusCode::OK
    );
    for blob in [image.config, image.layer] {
        assert!(world.seawall.get(&blob_path(&blob)).await.complete);
    }
    // What was pulled is committed off the client's path.
    tokio::time::sleep(Duration::from_millis(100)).await;
}

#[tokio::test(start_paused = true)]
async fn fact_01_a_stale_manifest_is_served_only_if_its_blobs_are_held() {
    let hold_all = [true, false];
    for all in hold_all {
        let world = world(Choices::default());
        let image = image(&world.registry, Some("1"), 1);
        if all {
            pull(&world, &image, "1").await;
        } else {
            assert_eq!(
                world.seawall.get(&manifest_path("1")).await.status,
                StatusCode::OK
            );
        }
        world.registry.go_down();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let answer = world.seawall.get(&manifest_path("1")).await;
        let expected = if all {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        assert_eq!(answer.status, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn fact_02_a_wrong_manifest_is_never_passed_on() {
    // S039, S040
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 2);
    let path = manifest_path(image.manifest);
    world.registry.script(
        &path,
        Script {
            flip: Some(3),
            ..Script::default()
        },
    );
    let answer = world.seawall.get(&path).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    world.registry.heal();
    assert_eq!(world.seawall.get(&path).await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn fact_03_a_body_that_cannot_be_completed_is_broken_off() {
    let world = world(Choices::default());
    let digest = world.registry.blob("library/app", content(MIB, 3));
    // Cut at the same place each time, and Range is ignored: there is no going on.
    let cut = Script {
        cut_after: Some(MIB / 2),
        ignore_range: true,
        ..Script::default()
    };
    world.registry.script(blob_path(&digest), cut);
    let answer = world.seawall.get(&blob_path(&digest)).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(!answer.complete);
}

#[tokio::test(start_paused = true)]
async fn fact_04_no_200_before_the_first_bytes_are_in_hand() {
    // F014, F013: an empty answer, or a captive portal's page, for a blob that is something else.
    for body in [Bytes::new(), Bytes::from_static(b"<html>log in</html>")] {
        let world = world(Choices::default());
        let digest = world.registry.blob("library/app", content(MIB, 4));
        world.registry.script(
            blob_path(&digest),
            Script {
                body: Some(body),
                ..Script::default()
            },
        );
        assert_ne!(
            world.seawall.get(&blob_path(&digest)).await.status,
            StatusCode::OK
        );
    }
}

#[tokio::test(start_paused = true)]
async fn fact_04_a_page_instead_of_a_manifest_is_refused_and_not_kept() {
    // F013
    for by_tag in [true, false] {
        let world = world(Choices::default());
        let image = image(&world.registry, Some("1"), 4);
        let path = match by_tag {
            true => manifest_path("1"),
            false => manifest_path(image.manifest),
        };
        let manifest = world.registry.bytes_of(&path);
        let page = Bytes::from_static(b"<html>log in</html>");
        world.registry.put(path.clone(), "text/html", page);
        let script = Script {
            without: vec!["docker-content-digest"],
            ..Script::default()
        };
        world.registry.script(&path, script);
        let answer = world.seawall.get(&path).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{path}");
        world.registry.heal();
        world.registry.put(path.clone(), OCI_MANIFEST, manifest.clone());
        tokio::time::sleep(Duration::from_secs(60)).await;
        let answer = world.seawall.get(&path).await;
        assert!(answer.is_good() && answer.body == manifest, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn fact_05_headers_leave_within_30_seconds_on_every_path() {
    // F043
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 5);
    let paths = [
        manifest_path("1"),
        manifest_path(image.manifest),
        blob_path(&image.layer),
    ];
    for path in &paths {
        world.registry.script(
            path,
            Script {
                delay: Duration::from_secs(600),
                ..Script::default()
            },
        );
        let asked = tokio::time::Instant::now();
        let answer = world.seawall.get(path).await;
        assert!(answer.status.is_client_error() || answer.status.is_server_error());
        assert!(
            asked.elapsed() < Duration::from_secs(28),
            "{path}: {:?}",
            asked.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn fact_06_every_form_of_range_is_answered() {
    // F056, S117: cold, filling and cached give the same bytes.
    let bytes = content(2 * MIB, 6);
    let len = bytes.len();
    let cases: [(&str, &str, std::ops::Range<usize>); 5] = [
        ("bytes=1000-1999", "bytes 1000-1999/2097152", 1000..2000),
        ("bytes=2000000-", "bytes 2000000-2097151/2097152", 2_000_000..len),
        ("bytes=-5", "bytes 2097147-2097151/2097152", len - 5..len),
        (
            "bytes=2097151-2097152",
            "bytes 2097151-2097151/2097152",
            len - 1..len,
        ),
        ("bytes=0-", "bytes 0-2097151/2097152", 0..len),
    ];
    for (range, content_range, part) in cases {
        let world = world(Choices::default());
        let digest = world.registry.blob("library/app", bytes.clone());
        for state in ["cold", "cached"] {
            let answer = world
                .seawall
                .ask(Method::GET, &blob_path(&digest), &[("range", range)])
                .await;
            assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT, "{range} {state}");
            assert_eq!(answer.header("content-range"), content_range, "{state}");
            assert_eq!(answer.body, bytes[part.clone()], "{range} {state}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(
            world.registry.seen(&Method::GET, &blob_path(&digest)).len(),
            1,
            "{range}"
        );
        let beyond = [("range", "bytes=2097152-")];
        let answer = world.seawall.ask(Method::GET, &blob_path(&digest), &beyond).await;
        assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE);
        assert_eq!(answer.header("content-range"), "bytes */2097152");
        let several = [("range", "bytes=0-1,10-12")];
        let answer = world
            .seawall
            .ask(Method::GET, &blob_path(&digest), &several)
            .await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
        assert!(answer.header("content-type").starts_with("multipart/byteranges"));
        assert!(answer.complete);
    }
}

#[tokio::test(start_paused = true)]
async fn fact_07_parallel_ranges_that_hang_up_early_cost_one_transfer() {
    // containerd's parallel mode: open-ended ranges, each closed after its chunk, four at a time.
    let world = world(Choices::default());
    let bytes = content(48 * MIB, 7);
    let digest = world.registry.blob("library/app", bytes.clone());
    let path = blob_path(&digest);
    world
        .registry
        .script(&path, Script::paced(Duration::from_millis(5)));
    let chunk = 8 * MIB;
    for group in [0..4, 4..6] {
        let readers = group.map(|index: usize| {
            let (seawall, path, bytes) = (world.seawall.clone(), path.clone(), bytes.clone());
            tokio::spawn(async move {
                let range = format!("bytes={}-", index * chunk);
                let mut body = seawall
                    .open(Method::GET, &path, &[("range", &range)])
                    .await
                    .into_body();
                let mut got = Vec::new();
                while got.len() < chunk {
                    got.extend_from_slice(&body.frame().await.unwrap().unwrap().into_data().unwrap());
                }
                assert_eq!(got[..chunk], bytes[index * chunk..(index + 1) * chunk]);
            })
        });
        for reader in readers.collect::<Vec<_>>() {
            reader.await.unwrap();
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(
        world.registry.sent() <= 49 * MIB as u64,
        "{} bytes",
        world.registry.sent()
    );
}

#[tokio::test(start_paused = true)]
async fn fact_08_no_content_encoding_ever() {
    // F018: neither asked upstream, nor passed on, nor invented.
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 8);
    let gzip = [("accept-encoding", "zstd;q=1.0, gzip;q=0.8")];
    for path in [manifest_path("1"), blob_path(&image.layer)] {
        let answer = world.seawall.ask(Method::GET, &path, &gzip).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(!answer.headers.contains_key("content-encoding"));
    }
    for seen in world.registry.journal() {
        assert_eq!(seen.headers["accept-encoding"], "identity");
    }
    let digest = world.registry.blob("library/app", content(MIB, 80));
    let headers = vec![("content-encoding", "gzip".to_owned())];
    world.registry.script(
        blob_path(&digest),
        Script {
            headers,
            ..Script::default()
        },
    );
    assert_ne!(
        world.seawall.get(&blob_path(&digest)).await.status,
        StatusCode::OK
    );
}
