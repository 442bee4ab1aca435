//! The twenty facts about real clients that a mirror must honour, by the damage done when it is wrong.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;

use crate::support::registry::Script;
use crate::support::seawall::{Choices, read};
use crate::support::world::{
    Image, MIB, OCI_INDEX, OCI_MANIFEST, World, blob_path, content, image, manifest_path, world,
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

#[tokio::test(start_paused = true)]
async fn fact_09_a_tag_resolves_by_head_with_all_three_headers() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 9);
    let answer = world.seawall.ask(Method::HEAD, &manifest_path("1"), &[]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("docker-content-digest"), image.manifest.to_string());
    assert_eq!(answer.header("content-type"), OCI_MANIFEST);
    let whole = world.seawall.get(&manifest_path("1")).await;
    assert_eq!(answer.header("content-length"), whole.body.len().to_string());
    // HEAD was answered by HEAD, and the content was fetched once, by digest.
    let path = manifest_path("1");
    assert_eq!(world.registry.seen(&Method::GET, &path).len(), 0);
    assert_eq!(world.registry.seen(&Method::HEAD, &path).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn fact_10_a_manifest_is_served_under_its_exact_type() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 10);
    let path = manifest_path(image.manifest);
    for headers in [&[][..], &[("if-none-match", "\"none\"")]] {
        let answer = world.seawall.ask(Method::GET, &path, headers).await;
        assert_eq!(answer.header("content-type"), OCI_MANIFEST);
    }
    let etag = format!("\"{}\"", image.manifest);
    let answer = world
        .seawall
        .ask(Method::GET, &path, &[("if-none-match", &etag)])
        .await;
    assert_eq!(answer.status, StatusCode::NOT_MODIFIED);
    assert_eq!(answer.header("content-type"), OCI_MANIFEST);
    assert!(answer.body.is_empty());
}

#[tokio::test(start_paused = true)]
async fn fact_11_a_blob_that_cannot_be_had_is_404_and_not_5xx() {
    let world = world(Choices::default());
    let digest = world.registry.blob("library/app", content(MIB, 11));
    world.registry.go_down();
    let answer = world.seawall.get(&blob_path(&digest)).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(String::from_utf8_lossy(&answer.body).contains("BLOB_UNKNOWN"));
}

#[tokio::test(start_paused = true)]
async fn fact_12_a_limited_upstream_is_told_as_429_with_a_time() {
    // F029
    let world = world(Choices::default());
    image(&world.registry, Some("1"), 12);
    let status = Some(StatusCode::TOO_MANY_REQUESTS);
    let headers = vec![("retry-after", "7".to_owned())];
    world.registry.script(
        manifest_path("1"),
        Script {
            status,
            headers,
            ..Script::default()
        },
    );
    let answer = world.seawall.get(&manifest_path("1")).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.header("retry-after"), "7");
    assert!(String::from_utf8_lossy(&answer.body).contains("TOOMANYREQUESTS"));
}

#[tokio::test(start_paused = true)]
async fn fact_12_a_blob_of_a_limited_upstream_is_429_whatever_time_it_names() {
    for seconds in ["0", "7"] {
        let world = world(Choices::default());
        let digest = world.registry.blob("library/app", content(MIB, 12));
        let limited = Script {
            status: Some(StatusCode::TOO_MANY_REQUESTS),
            headers: vec![("retry-after", seconds.to_owned())],
            ..Script::default()
        };
        world.registry.script(blob_path(&digest), limited);
        let answer = world.seawall.get(&blob_path(&digest)).await;
        assert_eq!(
            answer.status,
            StatusCode::TOO_MANY_REQUESTS,
            "Retry-After: {seconds}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn fact_13_ns_prefix_and_default_name_the_same_repository() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 13);
    for path in [
        "/v2/library/app/manifests/1?ns=docker.io",
        "/v2/docker.io/library/app/manifests/1",
        "/v2/app/manifests/1",
        "/v2/docker.io/app/manifests/1",
    ] {
        let answer = world.seawall.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(answer.header("docker-content-digest"), image.manifest.to_string());
    }
    let answer = world
        .seawall
        .get("/v2/library/app/manifests/1?ns=docker.io")
        .await;
    assert_eq!(answer.header("oci-namespace"), "docker.io");
    // S001
    let answer = world
        .seawall
        .get("/v2/library/app/manifests/1?ns=evil.test")
        .await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(String::from_utf8_lossy(&answer.body).contains("NAME_UNKNOWN"));
}

#[tokio::test(start_paused = true)]
async fn fact_14_unknown_query_keys_and_accept_order_change_nothing() {
    let world = world(Choices::default());
    image(&world.registry, Some("1"), 14);
    let path = format!("{}?ns=docker.io&x=1", manifest_path("1"));
    let accept = [("accept", "application/json"), ("accept", OCI_MANIFEST)];
    assert_eq!(
        world.seawall.ask(Method::GET, &path, &accept).await.status,
        StatusCode::OK
    );
    let again = world.seawall.get(&manifest_path("1")).await;
    assert_eq!(again.header("cache-status"), "seawall; hit");
}

#[tokio::test(start_paused = true)]
async fn fact_15_the_version_check_is_a_cheap_200() {
    let world = world(Choices::default());
    world.registry.go_down();
    for path in ["/v2/", "/v2"] {
        let answer = world.seawall.get(path).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0");
    }
    assert!(world.registry.journal().is_empty());
}

#[tokio::test(start_paused = true)]
async fn fact_16_an_upstream_challenge_is_never_passed_on() {
    let world = world(Choices::default());
    image(&world.registry, Some("1"), 16);
    let challenge = "Basic realm=\"hub\"".to_owned();
    for path in [manifest_path("1"), "/v2/".to_owned()] {
        let headers = vec![("www-authenticate", challenge.clone())];
        let status = Some(StatusCode::UNAUTHORIZED);
        world.registry.script(
            path,
            Script {
                status,
                headers,
                ..Script::default()
            },
        );
    }
    let secret = [("authorization", "Basic dXNlcjpDQU5BUlk=")];
    let answer = world.seawall.ask(Method::GET, &manifest_path("1"), &secret).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(!answer.headers.contains_key("www-authenticate"));
    // S028: what the client sent stays here.
    assert!(
        world
            .registry
            .journal()
            .iter()
            .all(|seen| !seen.headers.contains_key("authorization"))
    );
}

#[tokio::test(start_paused = true)]
async fn fact_17_a_manifest_asked_as_a_blob_is_404() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 17);
    pull(&world, &image, "1").await;
    for method in [Method::GET, Method::HEAD] {
        let answer = world.seawall.ask(method, &blob_path(&image.manifest), &[]).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }
    // A digest the registry does not have as a blob either.
    let other = world
        .registry
        .manifest("library/app", None, OCI_INDEX, r#"{"manifests":[]}"#);
    let answer = world.seawall.ask(Method::HEAD, &blob_path(&other), &[]).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn fact_18_a_request_on_a_connection_of_its_own_is_served_and_closed() {
    // podman and dockerd send `Connection: close` with every request.
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 18);
    let close = [("connection", "close")];
    let response = world
        .seawall
        .open(Method::GET, &blob_path(&image.layer), &close)
        .await;
    assert_eq!(response.headers()["connection"], "close");
    assert!(read(response).await.complete);
}

#[tokio::test(start_paused = true)]
async fn fact_19_referrers_come_from_the_api_or_from_the_tag() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 19);
    let path = format!("/v2/library/app/referrers/{}", image.manifest);
    // Neither: 404, so that clients look for the tag themselves; an empty index would hide signatures.
    assert_eq!(world.seawall.get(&path).await.status, StatusCode::NOT_FOUND);
    let index = |kind: &str| {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{{"mediaType":"{OCI_MANIFEST}","digest":"{}","size":5,"artifactType":"{kind}"}}]}}"#,
            image.layer
        )
    };
    let tag = image.manifest.to_string().replace(':', "-");
    // What does not exist is not asked about again at once.
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    world
        .registry
        .manifest("library/app", Some(&tag), OCI_INDEX, &index("by/tag"));
    let answer = world.seawall.get(&path).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), OCI_INDEX);
    // That there is no such API is remembered for an hour.
    tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
    world
        .registry
        .put(path.clone(), OCI_INDEX, index("by/api").into());
    let answer = world.seawall.get(&format!("{path}?artifactType=by/api")).await;
    assert_eq!(answer.header("oci-filters-applied"), "artifactType");
    assert!(String::from_utf8_lossy(&answer.body).contains("by/api"));
    let answer = world.seawall.get(&format!("{path}?artifactType=no/such")).await;
    let index: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn fact_20_the_headers_that_clients_require_are_always_there() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 20);
    for (path, digest) in [
        (manifest_path("1"), image.manifest),
        (blob_path(&image.config), image.config),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let answer = world.seawall.ask(method, &path, &[]).await;
            assert_eq!(answer.header("docker-content-digest"), digest.to_string());
            assert_eq!(answer.header("etag"), format!("\"{digest}\""));
            assert_eq!(answer.header("accept-ranges"), "bytes");
            assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0");
            assert!(answer.header("content-length").parse::<u64>().unwrap() > 0);
            assert!(answer.header("cache-status").starts_with("seawall; "));
        }
    }
    let answer = world.seawall.get("/v2/library/app/manifests/none").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.header("content-type"), "application/json");
    // S056: larger than any client takes.
    let huge = format!(r#"{{"manifests":[],"pad":"{}"}}"#, "x".repeat(4 << 20));
    let digest = world.registry.manifest("library/app", None, OCI_INDEX, &huge);
    let answer = world.seawall.get(&manifest_path(digest)).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
}
