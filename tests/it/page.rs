//! The operator's page, as the admin listener serves it.

use http::{HeaderMap, Method, StatusCode};
use seawall::clock::Clock;

use crate::support::seawall::{Choices, Seawall, read};
use crate::support::world::{blob_path, image, manifest_path, world};

async fn page(seawall: &Seawall, path: &str) -> (StatusCode, HeaderMap, String) {
    let answer = read(seawall.operate(Method::GET, path, &[], "").await).await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    (answer.status, answer.headers, text)
}

#[tokio::test(start_paused = true)]
async fn the_page_tells_what_was_pulled_saved_and_refused() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 7);
    let layer = blob_path(&image.layer);
    for path in [&manifest_path("1"), &manifest_path("1"), &layer, &layer] {
        assert!(world.seawall.get(path).await.is_good(), "{path}");
    }
    let missing = world.seawall.get(&manifest_path("nowhere")).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    let unknown = world.seawall.get("/v2/x'&y/manifests/1").await;
    assert!(unknown.status.is_client_error());
    let (status, headers, html) = page(&world.seawall, "/").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    assert!(html.contains("of 4 manifests and blobs"), "{html}");
    assert!(html.contains("docker.io/library/app:nowhere"), "{html}");
    assert!(
        html.contains("<th scope=\"row\" class=\"name\">docker.io/library/app</th>"),
        "{html}"
    );
    assert!(html.contains("/v2/x&#39;&amp;y/manifests/1"), "{html}");
    assert!(html.contains("2 of 4 requests"), "{html}");
}

#[tokio::test(start_paused = true)]
async fn a_browser_is_let_load_nothing_else_and_keeps_nothing() {
    let world = world(Choices::default());
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/page/style.css", "text/css; charset=utf-8"),
        ("/page/live.js", "text/javascript; charset=utf-8"),
        ("/page/icon.svg", "image/svg+xml"),
        ("/api/v1/status", "application/json"),
    ] {
        let (status, headers, _) = page(&world.seawall, path).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert_eq!(headers["content-type"], kind);
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none';") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert!(policy.contains("frame-ancestors 'none'"));
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["cache-control"], "no-store");
    }
}

#[tokio::test(start_paused = true)]
async fn the_page_is_not_told_to_a_site_that_points_its_name_here() {
    // S075
    let world = world(Choices::default());
    for path in ["/", "/api/v1/status"] {
        for header in [("host", "evil.example"), ("sec-fetch-site", "cross-site")] {
            let answer = world.seawall.operate(Method::GET, path, &[header], "").await;
            assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path} {header:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_page_is_looked_at_and_takes_nothing() {
    let world = world(Choices::default());
    for path in ["/", "/page/style.css"] {
        let answer = world.seawall.post(path, &serde_json::json!({})).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_looked_through_now_and_then_however_often_the_page_is_asked_for() {
    let world = world(Choices::default());
    let clock = Clock::start();
    assert!(page(&world.seawall, "/").await.2.contains("Nothing is held yet."));
    image(&world.registry, Some("1"), 7);
    assert!(world.seawall.get(&manifest_path("1")).await.is_good());
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    for _ in 0..20 {
        assert!(page(&world.seawall, "/").await.2.contains("Nothing is held yet."));
        // Whoever looks for it has the time to find it.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(clock.elapsed().as_secs() < 9);
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    // The one that finds it old has it looked for, and shows what there is.
    page(&world.seawall, "/").await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(
        page(&world.seawall, "/")
            .await
            .2
            .contains("Of 1 repository, counted")
    );
}
