//! What is held, as listings and purges see it.

use http::Method;
use seawall::oci::{Digest, Repository};
use seawall::policy::catalog::{Catalog, HeldManifest};
use seawall::policy::listing::{self, Query};
use seawall::upstream::AlternateOptions;

use crate::support::registry::Registry;
use crate::support::seawall::{Choices, Seawall};
use crate::support::world::{OCI_INDEX, OCI_MANIFEST, World, blob_path, image, manifest_path, world};

async fn catalog(world: &World) -> Catalog {
    world.seawall.cache.catalog().await.unwrap()
}

/// The repositories, with how often each was pulled.
fn pulls(catalog: &Catalog) -> Vec<(String, u32)> {
    let each = catalog.manifests.iter();
    each.map(|held| (held.repository.path.to_string(), held.pulls))
        .collect()
}

/// Puts an image for a platform into a repository; returns its manifest's digest and its text.
fn for_platform(registry: &Registry, repository: &str, os: &str) -> (Digest, String) {
    let config = registry.blob(repository, format!(r#"{{"os":"{os}","architecture":"amd64"}}"#));
    let kind = "application/vnd.oci.image.config.v1+json";
    let body = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"{kind}","digest":"{config}","size":38}},"layers":[]}}"#
    );
    (registry.manifest(repository, None, OCI_MANIFEST, &body), body)
}

#[tokio::test(start_paused = true)]
async fn an_image_was_made_when_its_configuration_says_and_an_index_with_its_newest() {
    let world = world(Choices::default());
    let kind = "application/vnd.oci.image.config.v1+json";
    let made = ["2026-01-02T03:04:05.6+01:00", "1970-01-01T00:00:00Z", "soon"];
    let mut listed = Vec::new();
    for made in made {
        let text = format!(r#"{{"os":"linux","architecture":"amd64","created":"{made}"}}"#);
        let config = world.registry.blob("library/app", text.clone());
        let body = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"{kind}","digest":"{config}","size":{}}},"layers":[]}}"#,
            text.len()
        );
        let digest = world.registry.manifest("library/app", None, OCI_MANIFEST, &body);
        assert!(world.seawall.get(&manifest_path(digest)).await.is_good());
        assert!(world.seawall.get(&blob_path(&config)).await.is_good());
        listed.push((digest, body.len()));
    }
    let entries = listed.iter().map(|(digest, size)| {
        format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":{size}}}"#)
    });
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#,
        entries.collect::<Vec<_>>().join(",")
    );
    world
        .registry
        .manifest("library/app", Some("1"), OCI_INDEX, &index);
    assert!(world.seawall.get(&manifest_path("1")).await.is_good());
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let repository: Repository = "docker.io/library/app".parse().unwrap();
    let of = repository.clone();
    let query = Query {
        sort: Some("created".to_owned()),
        ..Query::default()
    };
    let list = move |catalog: &Catalog, now| listing::manifests(catalog, &of, &query, now).unwrap();
    let page = world
        .seawall
        .cache
        .survey_of(&repository, list)
        .await
        .unwrap()
        .unwrap();
    let created: Vec<Option<u64>> = page.rows.iter().map(|row| row.created).collect();
    let moment = 1_767_319_445_600;
    assert_eq!(created, [Some(moment), Some(moment), None, None]);
    assert_eq!(page.rows.iter().filter(|row| row.lists == 3).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_pulled_is_in_the_catalog_with_what_it_names_and_how_often_it_was_pulled() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 7);
    for _ in 0..3 {
        assert!(world.seawall.get(&manifest_path("1")).await.is_good());
    }
    world.seawall.ask(Method::HEAD, &manifest_path("1"), &[]).await;
    assert!(world.seawall.get(&blob_path(&image.layer)).await.is_good());
    // The body is whole before its file has its name.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let first = catalog(&world).await;
    let [held] = first.manifests.as_slice() else {
        panic!("{first:?}")
    };
    assert_eq!(held.repository.to_string(), "docker.io/library/app");
    assert_eq!((held.digest, held.pulls), (image.manifest, 3));
    assert_eq!(held.source, "docker.io");
    assert_eq!(held.media_type.as_str(), OCI_MANIFEST);
    let named: Vec<Digest> = held.blobs.iter().map(|(blob, _)| *blob).collect();
    assert_eq!(named, [image.config, image.layer]);
    assert!(held.used >= Some(held.stored));
    let tags: Vec<_> = first
        .tags
        .iter()
        .map(|tag| (tag.tag.as_str(), tag.digest))
        .collect();
    assert_eq!(tags, [("1", image.manifest)]);
    let blobs: Vec<_> = first.blobs.iter().map(|blob| (blob.digest, blob.size)).collect();
    assert_eq!(blobs, [(image.layer, 1 << 18)]);
    assert!(first.unnamed.is_empty());

    assert!(world.seawall.get(&manifest_path("1")).await.is_good());
    let (registry, directory) = world.stop().await;
    let seawall = Seawall::start(directory.path(), &registry, Choices::default());
    let later = seawall.cache.catalog().await.unwrap();
    assert_eq!(later.manifests.len(), 1);
    let again = HeldManifest {
        pulls: 4,
        used: later.manifests[0].used,
        ..held.clone()
    };
    assert_eq!(later.manifests[0], again);
}

#[tokio::test(start_paused = true)]
async fn a_repository_that_is_served_what_another_brought_has_it_too() {
    let world = world(Choices::default());
    let (digest, body) = for_platform(&world.registry, "library/app", "linux");
    world
        .registry
        .manifest("library/other", None, OCI_MANIFEST, &body);
    let other = format!("/v2/library/other/manifests/{digest}");
    assert!(world.seawall.get(&manifest_path(digest)).await.is_good());
    assert_eq!(pulls(&catalog(&world).await), [("library/app".to_owned(), 1)]);
    for _ in 0..2 {
        assert!(world.seawall.get(&other).await.is_good());
    }
    let catalog = catalog(&world).await;
    let expected = [("library/app".to_owned(), 1), ("library/other".to_owned(), 2)];
    assert_eq!(pulls(&catalog), expected);
    assert_eq!(catalog.manifests[0].blobs, catalog.manifests[1].blobs);
    assert!(
        world
            .registry
            .seen(&Method::GET, "")
            .iter()
            .all(|seen| !seen.path.contains("other"))
    );
}

#[tokio::test(start_paused = true)]
async fn platforms_come_from_the_index_or_from_the_configuration() {
    let world = world(Choices::default());
    let (listed, _) = for_platform(&world.registry, "library/app", "plan9");
    let (alone, body) = for_platform(&world.registry, "library/app", "windows");
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{{"mediaType":"{OCI_MANIFEST}","digest":"{listed}","size":9,"platform":{{"os":"linux","architecture":"arm64","variant":"v8"}}}}]}}"#
    );
    let index = world
        .registry
        .manifest("library/app", Some("1"), OCI_INDEX, &index);
    for reference in [index, listed, alone] {
        assert!(world.seawall.get(&manifest_path(reference)).await.is_good());
    }
    let platform = |catalog: &Catalog, digest| {
        let held = catalog.manifests.iter().find(|held| held.digest == digest);
        held.unwrap().platform.clone()
    };
    let before = catalog(&world).await;
    assert_eq!(platform(&before, listed).as_deref(), Some("linux/arm64/v8"));
    assert_eq!(platform(&before, index), None);
    assert_eq!(platform(&before, alone), None);
    let index = before.manifests.iter().find(|held| held.digest == index).unwrap();
    assert_eq!(index.children, [listed]);
    let document: serde_json::Value = serde_json::from_str(&body).unwrap();
    let config = document["config"]["digest"].as_str().unwrap().parse().unwrap();
    assert!(world.seawall.get(&blob_path(&config)).await.is_good());
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let after = catalog(&world).await;
    assert_eq!(platform(&after, alone).as_deref(), Some("windows/amd64"));
}

#[tokio::test(start_paused = true)]
async fn an_alternate_that_gave_a_manifest_is_named() {
    let world = world(Choices {
        alternates: vec![AlternateOptions {
            url: "http://mirror.test".parse().unwrap(),
            prefix: None,
        }],
        ..Choices::default()
    });
    let mirror = Registry::default();
    world.registry.beside("mirror.test", &mirror);
    let image = image(&mirror, None, 7);
    assert!(world.seawall.get(&manifest_path(image.manifest)).await.is_good());
    assert_eq!(catalog(&world).await.manifests[0].source, "http://mirror.test/");
}

#[tokio::test(start_paused = true)]
async fn a_manifest_whose_record_is_lost_has_no_name_until_it_is_pulled_again() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 7);
    assert!(world.seawall.get(&manifest_path("1")).await.is_good());
    let (registry, directory) = world.stop().await;
    std::fs::remove_file(directory.path().join("v1/records.redb")).unwrap();
    let seawall = Seawall::start(directory.path(), &registry, Choices::default());
    // The tree is walked.
    tokio::time::sleep(std::time::Duration::from_secs(20)).await;
    let lost = seawall.cache.catalog().await.unwrap();
    assert!(lost.manifests.is_empty());
    let unnamed: Vec<Digest> = lost.unnamed.iter().map(|held| held.digest).collect();
    assert_eq!(unnamed, [image.manifest]);
    assert!(seawall.get(&manifest_path("1")).await.is_good());
    let found = seawall.cache.catalog().await.unwrap();
    assert!(found.unnamed.is_empty());
    assert_eq!(found.manifests[0].source, "unknown");
    assert_eq!(found.manifests[0].blobs.len(), 2);
    assert!(registry.seen(&Method::GET, &image.manifest.to_string()).len() <= 1);
}
