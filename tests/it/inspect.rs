//! What the operator is told of what is held: by the admin API, and as the commands draw it.

use http::{Method, StatusCode};
use seawall::cli::{Capture, capture};
use seawall::oci::{Digest, Repository};
use seawall::policy::catalog::Catalog;
use seawall::policy::listing::{self, Query};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::captures::printed;
use crate::support::registry::Registry;
use crate::support::seawall::{Choices, Seawall, read};
use crate::support::world::{Image, OCI_INDEX, OCI_MANIFEST, World, blob_path, image, manifest_path, world};

/// What the admin API answers to a path.
async fn asked(seawall: &Seawall, path: &str) -> (StatusCode, Value) {
    let answer = read(seawall.operate(Method::GET, path, &[], "").await).await;
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

async fn rows(seawall: &Seawall, path: &str) -> Vec<Value> {
    let (status, page) = asked(seawall, path).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    page["rows"].as_array().unwrap().clone()
}

fn texts(rows: &[Value], key: &str) -> Vec<String> {
    rows.iter()
        .map(|row| row[key].as_str().unwrap().to_owned())
        .collect()
}

/// Puts an image without blobs into a repository and pulls it.
async fn small(world: &World, repository: &str, tag: &str) -> Digest {
    let body = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"application/x","digest":"{}","size":2}},"layers":[],"annotations":{{"of":"{repository}:{tag}"}}}}"#,
        Digest::sha256(b"{}")
    );
    let digest = world
        .registry
        .manifest(repository, Some(tag), OCI_MANIFEST, &body);
    let path = format!("/v2/{repository}/manifests/{tag}");
    assert!(world.seawall.get(&path).await.is_good(), "{path}");
    digest
}

/// A world that has pulled two tags of the tests' repository.
async fn pulled() -> (World, Image) {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 7);
    assert!(world.seawall.get(&manifest_path("1")).await.is_good());
    for blob in [image.config, image.layer] {
        assert!(world.seawall.get(&blob_path(&blob)).await.is_good());
    }
    small(&world, "library/app", "2").await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    (world, image)
}

/// The same world after the file of a manifest has gone while nobody looked.
async fn without(world: World, manifest: &Digest) -> (Registry, TempDir, Seawall) {
    let (registry, directory) = world.stop().await;
    let hex = manifest.hex();
    let folder = directory.path().join("v1/manifests/sha256");
    std::fs::remove_file(folder.join(&hex[..2]).join(&hex)).unwrap();
    let seawall = Seawall::start(directory.path(), &registry, Choices::default());
    walked().await;
    (registry, directory, seawall)
}

/// Waits until a Seawall that has started knows what it holds.
async fn walked() {
    tokio::time::sleep(std::time::Duration::from_secs(20)).await;
}

async fn text(seawall: &Seawall, line: &str) -> String {
    let arguments: Vec<&str> = line.split(' ').collect();
    match printed(seawall, &arguments).await {
        Capture::Text(text) => text,
        other => panic!("{line}: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_is_told_in_pages_that_lose_and_repeat_nothing() {
    let world = world(Choices::default());
    let mut expected = Vec::new();
    for number in 0..25 {
        let repository = format!("team/n{number:02}");
        small(&world, &repository, "1").await;
        expected.push(format!("docker.io/{repository}"));
    }
    for sort in ["name", "size", "used"] {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("/api/v1/repositories?limit=7&sort={sort}&after={after}");
            let (status, page) = asked(&world.seawall, &path).await;
            assert_eq!((status, &page["total"]), (StatusCode::OK, &json!(25)));
            let rows = page["rows"].as_array().unwrap();
            assert!(rows.len() <= 7);
            seen.extend(texts(rows, "repository"));
            let Some(next) = page["next"].as_str() else { break };
            after =
                percent_encoding::utf8_percent_encode(next, percent_encoding::NON_ALPHANUMERIC).to_string();
        }
        seen.sort_unstable();
        assert_eq!(seen, expected, "sorted by {sort}");
    }
    let drawn = text(&world.seawall, "repository list --limit 3").await;
    assert!(
        drawn.ends_with("3 of 25 repositories; --limit shows more\n"),
        "{drawn}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_catalog_of_one_repository_tells_of_it_what_one_of_everything_tells() {
    let (world, _) = pulled().await;
    for (repository, tag) in [("library/app2", "1"), ("library/ap", "9"), ("library/app", "3")] {
        small(&world, repository, tag).await;
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let cache = &world.seawall.cache;
    let query = Query::default;
    for (name, rows) in [("library/app", 3), ("library/app2", 1), ("library/ap", 1)] {
        let repository: Repository = format!("docker.io/{name}").parse().unwrap();
        let of = repository.clone();
        let both = move |catalog: &Catalog, now| {
            let manifests = listing::manifests(catalog, &of, &query(), now).unwrap();
            (manifests, listing::tags(catalog, &of, &query(), now).unwrap())
        };
        let whole = cache.survey(both.clone()).await.unwrap();
        let own = cache.survey_of(&repository, both).await.unwrap().unwrap();
        assert_eq!((own.0.total, own.1.total), (rows, rows), "{name}");
        assert_eq!((own.0.rows, own.1.rows), (whole.0.rows, whole.1.rows), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn lists_are_sorted_turned_around_and_filtered() {
    let (world, image) = pulled().await;
    for _ in 0..3 {
        assert!(world.seawall.get(&manifest_path("2")).await.is_good());
    }
    let tags = |query: &str| format!("/api/v1/tags?repository=app{query}");
    let seawall = &world.seawall;
    assert_eq!(texts(&rows(seawall, &tags("")).await, "tag"), ["1", "2"]);
    assert_eq!(
        texts(&rows(seawall, &tags("&sort=pulls")).await, "tag"),
        ["2", "1"]
    );
    assert_eq!(
        texts(&rows(seawall, &tags("&sort=pulls&reverse=true")).await, "tag"),
        ["1", "2"]
    );
    assert_eq!(
        texts(&rows(seawall, &tags("&filter=%5E2%24")).await, "tag"),
        ["2"]
    );
    let path = "/api/v1/manifests?repository=docker.io/library/app&sort=size";
    let manifests = rows(seawall, path).await;
    assert_eq!(manifests[0]["digest"], json!(image.manifest.to_string()));
    assert_eq!(manifests[0]["tags"], json!(["1"]));
    assert_eq!(manifests[0]["source"], json!("docker.io"));
    for (query, word) in [
        ("&sort=colour", "`colour`"),
        ("&filter=%28", "regular expression"),
        ("&limit=0", "1 to 10000"),
        ("&limit=many", "`many`"),
        ("&after=x", "`after`"),
    ] {
        let (status, answer) = asked(seawall, &tags(query)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(answer["error"].as_str().unwrap().contains(word), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_held_is_told_with_names_that_look_like_it() {
    let (world, image) = pulled().await;
    let stranger = Digest::sha256(b"stranger");
    for (path, near, word) in [
        (
            "tags?repository=ap",
            json!(["docker.io/library/app"]),
            "did you mean",
        ),
        (
            "manifests?repository=quay.io/x/zzzzz",
            json!([]),
            "repository list",
        ),
        ("show?reference=app:3", json!(["1", "2"]), "1, 2"),
        (
            &format!("show?reference=app@{stranger}"),
            json!([]),
            "is not held",
        ),
    ] {
        let (status, answer) = asked(&world.seawall, &format!("/api/v1/{path}")).await;
        assert_eq!(
            (status, &answer["near"]),
            (StatusCode::NOT_FOUND, &near),
            "{answer}"
        );
        assert!(answer["error"].as_str().unwrap().contains(word), "{answer}");
    }
    for path in [
        "tags?repository=app:1",
        "show?reference=App",
        "show?reference=",
        "tags",
    ] {
        let (status, answer) = asked(&world.seawall, &format!("/api/v1/{path}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    }
    let (_registry, _directory, seawall) = without(world, &image.manifest).await;
    let (status, answer) = asked(&seawall, "/api/v1/show?reference=app:1").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(
        answer["error"].as_str().unwrap().contains("points at sha256:"),
        "{answer}"
    );
    let complaint = printed(&seawall, &["show", "app:1"]).await;
    assert!(matches!(complaint, Capture::Complains(text) if text.starts_with("error: ")));
}

#[tokio::test(start_paused = true)]
async fn references_are_read_as_people_write_them() {
    let (world, image) = pulled().await;
    let digest = image.manifest;
    for reference in [
        "app:1".to_owned(),
        "library/app:1".to_owned(),
        "docker.io/library/app:1".to_owned(),
        "index.docker.io/library/app:1".to_owned(),
        format!("app@{digest}"),
        format!("docker.io/app:2@{digest}"),
    ] {
        let (status, shown) = asked(&world.seawall, &format!("/api/v1/show?reference={reference}")).await;
        assert_eq!(status, StatusCode::OK, "{reference}: {shown}");
        assert_eq!(
            shown["manifest"]["digest"],
            json!(digest.to_string()),
            "{reference}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_tree_says_what_is_held_and_what_is_missing() {
    let (world, image) = pulled().await;
    let missing = Digest::sha256(b"missing");
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{{"mediaType":"{OCI_MANIFEST}","digest":"{}","size":9,"platform":{{"os":"linux","architecture":"amd64"}}}},{{"mediaType":"{OCI_MANIFEST}","digest":"{missing}","size":2048,"platform":{{"os":"linux","architecture":"arm64","variant":"v8"}}}}]}}"#,
        image.manifest
    );
    world
        .registry
        .manifest("library/app", Some("all"), OCI_INDEX, &index);
    assert!(world.seawall.get(&manifest_path("all")).await.is_good());
    std::fs::remove_file(crate::support::world::blob_file(
        world.directory.path(),
        &image.config,
    ))
    .unwrap();
    let drawn = text(&world.seawall, "show app:all").await;
    let lines: Vec<&str> = drawn.lines().collect();
    let begins = |begin: &str| lines.iter().any(|line| line.starts_with(begin));
    assert!(begins("● index sha256:"), "{drawn}");
    assert!(begins("├─ ● manifest linux/amd64 sha256:"), "{drawn}");
    assert!(begins("│  ├─ ○ config sha256:"), "{drawn}");
    assert!(begins("│  └─ ● layer sha256:"), "{drawn}");
    let last = lines
        .iter()
        .find(|line| line.starts_with("└─ ○ manifest linux/arm64/v8"))
        .unwrap();
    assert!(last.ends_with("2.0 KiB"), "{drawn}");
}

#[tokio::test(start_paused = true)]
async fn no_text_of_a_stranger_moves_the_cursor() {
    let (world, _) = pulled().await;
    let config = world
        .registry
        .blob("library/app", r#"{"os":"\u001b[2Jlinux","architecture":"amd64"}"#);
    let hostile = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":50}},"layers":[{{"mediaType":"application/\u001b[31m\u009b2J","digest":"{config}","size":50}}]}}"#
    );
    let digest = world
        .registry
        .manifest("library/app", None, OCI_MANIFEST, &hostile);
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":9,"platform":{{"os":"\u001b[2J","architecture":"\u202eamd64"}}}}]}}"#
    );
    world
        .registry
        .manifest("library/app", Some("bad"), OCI_INDEX, &index);
    for path in [manifest_path("bad"), manifest_path(digest), blob_path(&config)] {
        assert!(world.seawall.get(&path).await.is_good());
    }
    let is_calm = |text: &str| {
        !text
            .chars()
            .any(|letter| letter.is_control() && letter != '\n' || letter == '\u{202e}')
    };
    for line in [
        "repository list",
        "tags app",
        "manifests app",
        "show app:bad",
        "usage",
    ] {
        let drawn = text(&world.seawall, line).await;
        assert!(is_calm(&drawn), "{drawn:?}");
    }
    // A Seawall that is none, or that was taken over, tells what it likes.
    let row = json!({ "repository": "\u{1b}[2Jx\u{9b}31m", "manifests": 1, "tags": 1, "size": 1, "shared": 0, "pulls": 0 });
    let page = json!({ "now": 0, "rows": [row], "total": 1 }).to_string();
    let told = capture(&["repository", "list"], &|_| {
        Some((StatusCode::OK, page.clone().into()))
    });
    let Ok(Capture::Text(drawn)) = told else {
        panic!("{told:?}")
    };
    assert!(is_calm(&drawn) && drawn.contains("[2Jx"), "{drawn:?}");
}

#[tokio::test(start_paused = true)]
async fn usage_says_what_nobody_names_and_what_has_lost_its_records() {
    let (world, image) = pulled().await;
    let (registry, directory, seawall) = without(world, &image.manifest).await;
    let (_, usage) = asked(&seawall, "/api/v1/usage").await;
    assert_eq!(usage["held"]["count"], json!(3));
    assert_eq!(usage["orphans"], json!({ "count": 2, "size": (1 << 18) + 10 }));
    seawall.stop().await;
    std::fs::remove_file(directory.path().join("v1/records.redb")).unwrap();
    let seawall = Seawall::start(directory.path(), &registry, Choices::default());
    walked().await;
    let (_, usage) = asked(&seawall, "/api/v1/usage").await;
    assert_eq!(usage["unnamed"]["count"], json!(1));
    assert!(text(&seawall, "usage").await.contains("without records"));
}
