//! Facts 9 to 20: what clients need to be told, and by which names they ask.

use http::{Method, StatusCode};

use super::pull;
use crate::support::registry::Script;
use crate::support::seawall::{Choices, Seawall, read};
use crate::support::world::{MIB, OCI_INDEX, OCI_MANIFEST, blob_path, content, image, manifest_path, world};

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
async fn bytes_that_are_a_manifest_and_a_blob_are_had_as_both() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 21);
    let bytes = world.registry.bytes_of(&manifest_path(image.manifest));
    assert_eq!(world.registry.blob("library/app", bytes.clone()), image.manifest);
    let (manifest, blob) = (manifest_path(image.manifest), blob_path(&image.manifest));
    for path in [&manifest, &blob] {
        for method in [Method::GET, Method::HEAD] {
            let answer = world.seawall.ask(method.clone(), path, &[]).await;
            assert_eq!(answer.status, StatusCode::OK, "{method} {path}");
            assert!(method == Method::HEAD || answer.body == bytes, "{path}");
        }
    }
    for path in [&manifest, &blob] {
        assert_eq!(world.registry.seen(&Method::GET, path).len(), 1, "{path}");
    }
    // The manifest stayed in memory: without the disk it is there still.
    let shelf = world.directory.path().join("v1/manifests");
    let elsewhere = shelf.with_extension("elsewhere");
    std::fs::rename(&shelf, &elsewhere).unwrap();
    assert_eq!(world.seawall.get(&manifest).await.status, StatusCode::OK);
    assert_eq!(world.registry.seen(&Method::GET, &manifest).len(), 1);
    std::fs::rename(&elsewhere, &shelf).unwrap();
    // After a start the blob is in memory first, and the manifest on the disk.
    let (registry, directory) = world.stop().await;
    let seawall = Seawall::start(directory.path(), &registry, Choices::default());
    for path in [&blob, &manifest, &blob] {
        let answer = seawall.get(path).await;
        assert!(answer.status == StatusCode::OK && answer.body == bytes, "{path}");
        assert_eq!(registry.seen(&Method::GET, path).len(), 1, "{path}");
    }
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
