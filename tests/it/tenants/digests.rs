//! What is held for one repository is not served as another's that does not have it.

use std::time::Duration;

use http::{Method, StatusCode};
use seawall::oci::Digest;
use seawall::policy::access::visibility::Sharing;

use super::{MINUTE, alice, asked, bob, choices, get, paths, said, start};
use crate::access::{STRANGER, basic};
use crate::hits::Wire;
use crate::support::registry::Script;
use crate::support::seawall::{Answer, Seawall, read};
use crate::support::world::{Image, content, image_in};

/// What everybody may ask under other names for a private digest, and for one that nobody has: they hear the same.
async fn assert_bound(seawall: &Seawall, image: &Image) {
    let none = Digest::sha256(b"nobody has it");
    for repository in ["library/open", "other.test/library/open"] {
        for (kind, digest) in [
            ("manifests", image.manifest),
            ("blobs", image.config),
            ("blobs", image.layer),
            ("blobs", image.manifest),
        ] {
            for method in [Method::GET, Method::HEAD] {
                let path = |digest: &Digest| format!("/v2/{repository}/{kind}/{digest}");
                let private = asked(seawall, method.clone(), &path(&digest), &[]).await;
                let missing = asked(seawall, method.clone(), &path(&none), &[]).await;
                assert_eq!(
                    private.status,
                    StatusCode::NOT_FOUND,
                    "{method} {}",
                    path(&digest)
                );
                assert_eq!(said(&private), said(&missing), "{method} {}", path(&digest));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s065_what_is_held_for_one_repository_is_not_served_as_anothers() {
    for sharing in [Sharing::PerClient, Sharing::Shared] {
        let (world, image) = start(sharing);
        let seawall = &world.seawall;
        // Everybody may see the other repository: its right is known before.
        for repository in ["library/open", "other.test/library/open"] {
            let open = format!("/v2/{repository}/manifests/1");
            assert!(get(seawall, None, &open).await.is_good(), "{open}");
        }
        let slow = Script {
            chunk: 1024,
            pace: Duration::from_secs(1),
            ..Script::default()
        };
        let layer = format!("/v2/team/app/blobs/{}", image.layer);
        world.registry.script(&layer, slow);
        let login = alice();
        let headers = [("authorization", login.as_str())];
        assert!(
            get(seawall, Some(&login), "/v2/team/app/manifests/1")
                .await
                .is_good()
        );
        let filling = seawall.open_from(STRANGER, Method::GET, &layer, &headers).await;
        assert_bound(seawall, &image).await;
        assert!(read(filling).await.is_good());
        for path in paths(&image).iter().filter(|path| !path.contains("referrers")) {
            assert!(get(seawall, Some(&login), path).await.is_good());
        }
        assert_bound(seawall, &image).await;
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_are_shared_by_digest_between_those_whose_repositories_have_them() {
    let (world, image) = start(Sharing::PerClient);
    let (seawall, registry) = (&world.seawall, &world.registry);
    // Bob's repository has the same image.
    image_in(registry, "team/bobs", Some("2"), 1);
    for path in paths(&image).iter().filter(|path| !path.contains("referrers")) {
        assert!(get(seawall, Some(&alice()), path).await.is_good());
    }
    // Until it is committed.
    tokio::time::sleep(MINUTE).await;
    let whole = |suffix: &str| {
        let gets = registry.seen(&Method::GET, suffix);
        let whole = gets
            .iter()
            .filter(|seen| seen.path.contains("team/bobs") && !seen.headers.contains_key("range"));
        whole.count()
    };
    for path in [
        format!("manifests/{}", image.manifest),
        format!("blobs/{}", image.config),
        format!("blobs/{}", image.layer),
    ] {
        let path = format!("/v2/team/bobs/{path}");
        let answer = get(seawall, Some(&bob()), &path).await;
        assert!(answer.is_good(), "{path}: {}", answer.status);
        assert_eq!(answer.header("cache-status"), "seawall; hit");
        assert_eq!(whole(&path), 0, "{path}");
    }
    // That a manifest lists them is not enough for what came for another, and a question for a byte is.
    let asked = |blob| {
        registry
            .seen(&Method::GET, &format!("team/bobs/blobs/{blob}"))
            .len()
    };
    assert_eq!([image.config, image.layer].map(asked), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_blob_that_no_manifest_has_named_is_asked_for_once_and_not_fetched_if_it_is_held() {
    let (world, _) = start(Sharing::PerClient);
    let (seawall, registry) = (&world.seawall, &world.registry);
    let big = content(8 << 20, 6);
    for repository in ["team/app", "team/bobs"] {
        registry.blob(repository, big.clone());
    }
    let blob = Digest::sha256(&big);
    let [own, other] = ["team/app", "team/bobs"].map(|repository| format!("/v2/{repository}/blobs/{blob}"));
    assert!(get(seawall, Some(&alice()), &own).await.is_good());
    tokio::time::sleep(MINUTE).await;
    let slow = Script {
        chunk: 64 << 10,
        pace: Duration::from_millis(100),
        ..Script::default()
    };
    registry.script(&other, slow);
    let (before, login) = (registry.sent(), bob());
    // At once, and after one another.
    let (one, two) = tokio::join!(
        get(seawall, Some(&login), &other),
        get(seawall, Some(&login), &other)
    );
    let three = get(seawall, Some(&login), &other).await;
    for answer in [one, two, three] {
        assert!(answer.is_good() && answer.body == big);
        assert_eq!(answer.header("cache-status"), "seawall; hit");
    }
    let asked = registry.seen(&Method::GET, &format!("team/bobs/blobs/{blob}"));
    tokio::time::sleep(MINUTE).await;
    assert!(registry.sent() - before < 100, "{}", registry.sent() - before);
    let robot = basic("robot", "CANARY-robot");
    let is_ours = |sent: &http::HeaderValue| *sent == robot;
    let ours = asked
        .iter()
        .filter(|seen| seen.headers.get("authorization").is_some_and(is_ours));
    assert_eq!(ours.count(), 1);
    // Nor is it fetched twice if it is not held.
    let late = content(1 << 20, 7);
    let path = format!("/v2/team/bobs/blobs/{}", registry.blob("team/bobs", late.clone()));
    let (one, two) = tokio::join!(
        get(seawall, Some(&login), &path),
        get(seawall, Some(&login), &path)
    );
    assert!(one.is_good() && two.is_good() && one.body == late && two.body == late);
    let seen = registry.seen(&Method::GET, &path);
    let whole = seen.iter().filter(|seen| !seen.headers.contains_key("range"));
    assert_eq!(whole.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_tag_points_at_needs_no_question_of_its_own() {
    let (world, image) = start(Sharing::Shared);
    image_in(&world.registry, "team/bobs", Some("2"), 1);
    for path in ["/v2/team/app/manifests/1", "/v2/team/bobs/manifests/2"] {
        assert!(get(&world.seawall, None, path).await.is_good(), "{path}");
    }
    let asked = |method| world.registry.seen(&method, "");
    let of_bobs = |method| {
        let asked = asked(method).into_iter();
        let asked = asked
            .filter(|seen| seen.path.contains("team/bobs") && seen.headers.contains_key("authorization"));
        asked.map(|seen| seen.path).collect::<Vec<_>>()
    };
    assert_eq!(of_bobs(Method::HEAD), ["/v2/team/bobs/manifests/2"]);
    assert_eq!(of_bobs(Method::GET), [""; 0]);
    let digest = format!("/v2/team/bobs/manifests/{}", image.manifest);
    assert!(get(&world.seawall, None, &digest).await.is_good());
    assert_eq!(of_bobs(Method::HEAD).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn s065_who_asks_at_the_same_moment_is_given_nothing_of_anothers_fetch() {
    for (kind, stranger_first, failing) in [
        ("manifests", false, false),
        ("manifests", true, false),
        ("manifests", true, true),
        ("blobs", false, false),
        ("blobs", true, false),
        ("blobs", true, true),
    ] {
        let (world, image) = start(Sharing::PerClient);
        let seawall = &world.seawall;
        assert!(get(seawall, None, "/v2/library/open/manifests/1").await.is_good());
        let digest = match kind {
            "blobs" => image.layer,
            _ => image.manifest,
        };
        let [own, strange] =
            ["team/app", "library/open"].map(|repository| format!("/v2/{repository}/{kind}/{digest}"));
        let slow = Script {
            delay: Duration::from_secs(8),
            ..Script::default()
        };
        world.registry.script(&own, slow);
        if failing {
            // Nobody can tell the stranger.
            let failing = Script {
                status: Some(StatusCode::BAD_GATEWAY),
                ..Script::default()
            };
            world.registry.script(&strange, failing);
        }
        let login = alice();
        let owner = get(seawall, Some(&login), &own);
        let stranger = get(seawall, None, &strange);
        let (owner, stranger): (Answer, Answer) = match stranger_first {
            true => {
                let (stranger, owner) = tokio::join!(stranger, owner);
                (owner, stranger)
            }
            false => tokio::join!(owner, stranger),
        };
        assert!(owner.is_good(), "{kind} {}", owner.status);
        assert!(!stranger.status.is_success(), "{kind} {}", stranger.status);
        assert!(failing || stranger.status == StatusCode::NOT_FOUND, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn s064_the_short_way_of_a_hit_is_for_what_everybody_may_have() {
    let (world, image) = start(Sharing::PerClient);
    let seawall = &world.seawall;
    for _ in 0..2 {
        for path in paths(&image) {
            get(seawall, Some(&alice()), &path).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // What everybody may see is known.
    assert!(get(seawall, None, "/v2/library/open/manifests/1").await.is_good());
    let mut wire = Wire::from(seawall, STRANGER).await;
    for path in paths(&image) {
        let (head, _) = wire.ask("GET", &path, "").await;
        assert!(head.starts_with("HTTP/1.1 401 "), "{path}: {head}");
        // Nor under the name of another repository.
        let other = path.replace("team/app", "library/open");
        if other.contains("sha256:") && !other.contains("referrers") {
            let (head, _) = wire.ask("GET", &other, "").await;
            assert!(head.starts_with("HTTP/1.1 404 "), "{other}: {head}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_in_an_outage_what_is_held_is_still_served_by_its_tags_and_manifests() {
    // By its tag first, and by its digest first.
    for first in 0..2 {
        let (world, image) = start(Sharing::Shared);
        let wanted =
            ["1".to_owned(), image.manifest.to_string()].map(|reference| format!("manifests/{reference}"));
        let blobs = [image.config, image.layer].map(|blob| format!("blobs/{blob}"));
        let wanted: Vec<String> = wanted
            .iter()
            .chain(&blobs)
            .map(|path| format!("/v2/team/app/{path}"))
            .collect();
        for path in &wanted {
            assert!(get(&world.seawall, None, path).await.is_good(), "{path}");
        }
        let (registry, directory) = world.stop().await;
        registry.go_down();
        let seawall = Seawall::start(directory.path(), &registry, choices(Sharing::Shared));
        for path in &wanted[first..] {
            let answer = get(&seawall, None, path).await;
            assert!(answer.is_good(), "{first} {path}: {}", answer.status);
        }
    }
}
