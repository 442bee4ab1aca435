//! Tags: asked for by HEAD, remembered, served stale when the upstream cannot answer, taken down when it
//! says so.

use std::time::Duration;

use http::{Method, StatusCode};

use crate::support::registry::Script;
use crate::support::seawall::Choices;
use crate::support::world::{World, blob_path, image, manifest_path, world};

/// A world with an image that has been pulled whole under the tag `1`.
async fn pulled() -> World {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 1);
    assert_eq!(
        world.seawall.get(&manifest_path("1")).await.status,
        StatusCode::OK
    );
    for blob in [image.config, image.layer] {
        assert!(world.seawall.get(&blob_path(&blob)).await.complete);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_fresh_tag_costs_the_upstream_nothing() {
    let world = pulled().await;
    let before = world.registry.journal().len();
    for _ in 0..100 {
        let answer = world.seawall.get(&manifest_path("1")).await;
        assert_eq!(answer.header("cache-status"), "seawall; hit");
    }
    assert_eq!(world.registry.journal().len(), before);
}

#[tokio::test(start_paused = true)]
async fn five_hundred_pulls_of_a_stale_tag_cost_one_head() {
    // F055
    let world = pulled().await;
    tokio::time::sleep(Duration::from_secs(301)).await;
    let slow = Script {
        delay: Duration::from_millis(50),
        ..Script::default()
    };
    world.registry.script(manifest_path("1"), slow);
    let heads = world.registry.seen(&Method::HEAD, &manifest_path("1")).len();
    let clients = (0..500).map(|_| {
        let seawall = world.seawall.clone();
        tokio::spawn(async move { seawall.get(&manifest_path("1")).await.status })
    });
    for client in clients.collect::<Vec<_>>() {
        assert_eq!(client.await.unwrap(), StatusCode::OK);
    }
    assert_eq!(
        world.registry.seen(&Method::HEAD, &manifest_path("1")).len(),
        heads + 1
    );
    assert_eq!(world.registry.seen(&Method::GET, &manifest_path("1")).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_tag_is_served_stale_while_the_upstream_cannot_answer() {
    // F022, F029, P5
    let limited = Script {
        status: Some(StatusCode::TOO_MANY_REQUESTS),
        ..Script::default()
    };
    let failing = Script {
        status: Some(StatusCode::SERVICE_UNAVAILABLE),
        ..Script::default()
    };
    let denied = Script {
        status: Some(StatusCode::FORBIDDEN),
        ..Script::default()
    };
    let cases = [
        (None, "upstream-unreachable"),
        (Some(limited), "upstream-limited"),
        (Some(failing), "upstream-failing"),
        (Some(denied), "upstream-denied"),
    ];
    for (script, detail) in cases {
        let world = pulled().await;
        match script {
            Some(script) => world.registry.script(manifest_path("1"), script),
            None => world.registry.go_down(),
        }
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let answer = world.seawall.get(&manifest_path("1")).await;
        assert_eq!(answer.status, StatusCode::OK, "{detail}");
        assert_eq!(
            answer.header("cache-status"),
            format!("seawall; fwd=stale; detail={detail}")
        );
        assert!(answer.header("age").parse::<u64>().unwrap() >= 3600);
        assert!(answer.header("warning").starts_with("299 - "));
        // P10: nothing sticks once the upstream is back.
        // One that called it too much is left alone for two seconds more, one that denied it for ten.
        world.registry.heal();
        tokio::time::sleep(Duration::from_secs(11)).await;
        let answer = world.seawall.get(&manifest_path("1")).await;
        // It was asked for this request, or meanwhile for the one before.
        let confirmed = ["seawall; fwd=stale", "seawall; hit"].contains(&answer.header("cache-status"));
        assert!(confirmed, "{detail}: {:?}", answer.headers);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tag_is_not_served_beyond_the_window_for_errors() {
    // I11
    let world = pulled().await;
    world.registry.go_down();
    tokio::time::sleep(Duration::from_secs(8 * 24 * 3600)).await;
    let answer = world.seawall.get(&manifest_path("1")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!answer.header("retry-after").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_definite_404_takes_a_tag_down() {
    // F039, S062
    let world = pulled().await;
    world.registry.remove(&manifest_path("1"));
    tokio::time::sleep(Duration::from_secs(301)).await;
    assert_eq!(
        world.seawall.get(&manifest_path("1")).await.status,
        StatusCode::NOT_FOUND
    );
    world.registry.go_down();
    tokio::time::sleep(Duration::from_secs(11)).await;
    let answer = world.seawall.get(&manifest_path("1")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_moved_is_followed_and_the_old_content_stays() {
    // F040
    let world = pulled().await;
    let second = image(&world.registry, Some("1"), 2);
    tokio::time::sleep(Duration::from_secs(301)).await;
    let answer = world.seawall.get(&manifest_path("1")).await;
    assert_eq!(
        answer.header("docker-content-digest"),
        second.manifest.to_string()
    );
    let digest = seawall::oci::Digest::sha256(&answer.body);
    assert_eq!(digest, second.manifest);
}

#[tokio::test(start_paused = true)]
async fn a_registry_without_head_is_asked_by_get() {
    let scripts = [
        Script {
            status: Some(StatusCode::METHOD_NOT_ALLOWED),
            times: Some(1),
            ..Script::default()
        },
        Script {
            without: vec!["docker-content-digest"],
            times: Some(1),
            ..Script::default()
        },
    ];
    for script in scripts {
        let world = world(Choices::default());
        let image = image(&world.registry, Some("1"), 3);
        world.registry.script(manifest_path("1"), script);
        let answer = world.seawall.get(&manifest_path("1")).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("docker-content-digest"), image.manifest.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn tags_are_listed_sorted_in_pages_and_when_the_upstream_is_down() {
    // S058, distribution specification: n, last, Link
    let world = world(Choices::default());
    let list = r#"{"name":"library/app","tags":["b","a","d","c"]}"#;
    world.registry.put(
        "/v2/library/app/tags/list".to_owned(),
        "application/json",
        list.into(),
    );
    let path = "/v2/library/app/tags/list";
    let names = |body: &[u8]| {
        let list: serde_json::Value = serde_json::from_slice(body).unwrap();
        let tags = list["tags"].as_array().unwrap().iter();
        tags.map(|tag| tag.as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let all = world.seawall.get(path).await;
    assert_eq!(names(&all.body), ["a", "b", "c", "d"]);
    assert!(!all.headers.contains_key("link"));
    let first = world.seawall.get(&format!("{path}?n=3")).await;
    assert_eq!(names(&first.body), ["a", "b", "c"]);
    assert_eq!(
        first.header("link"),
        "</v2/library/app/tags/list?n=3&last=c>; rel=\"next\""
    );
    let rest = world.seawall.get(&format!("{path}?n=3&last=c")).await;
    assert_eq!(names(&rest.body), ["d"]);
    assert!(!rest.headers.contains_key("link"));
    let none = world.seawall.get(&format!("{path}?n=0")).await;
    assert!(names(&none.body).is_empty() && !none.headers.contains_key("link"));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    world.registry.go_down();
    assert_eq!(names(&world.seawall.get(path).await.body), ["a", "b", "c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_held_stands_in_the_catalogue() {
    let world = pulled().await;
    world.seawall.cache.flush().await;
    let answer = world.seawall.get("/v2/_catalog").await;
    assert_eq!(&answer.body[..], br#"{"repositories":["docker.io/library/app"]}"#);
    let answer = world.seawall.get("/v2/_catalog?ns=docker.io").await;
    assert_eq!(&answer.body[..], br#"{"repositories":["library/app"]}"#);
}

#[tokio::test(start_paused = true)]
async fn nothing_can_be_written() {
    // S064b, S069, S070
    let world = world(Choices::default());
    for method in [
        Method::PUT,
        Method::POST,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
    ] {
        let answer = world
            .seawall
            .ask(method, "/v2/library/app/blobs/uploads/", &[])
            .await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.header("allow"), "GET, HEAD");
        assert!(String::from_utf8_lossy(&answer.body).contains("UNSUPPORTED"));
    }
    assert!(world.registry.journal().is_empty());
}
