//! Bundles: what is exported is imported elsewhere, byte for byte, and served there without any upstream.

mod bounds;
mod refused;
mod settled;
mod taken;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use proptest::prelude::*;
use seawall::oci::{Digest, Tag, tar};
use seawall::policy::access::Offer;
use seawall::policy::freshness;
use serde_json::{Value, json};

use crate::support::registry::Registry;
use crate::support::seawall::{Answer, Choices, Seawall, read, usual_freshness};
use crate::support::world::{
    MIB, OCI_INDEX, OCI_MANIFEST, World, blob_file, blob_path, content, flip, image, is_quarantined,
    manifest_path, room, world,
};

/// Asks for a bundle.
async fn export(seawall: &Seawall, query: &str) -> Answer {
    read(
        seawall
            .operate(Method::GET, &format!("/api/v1/export?{query}"), &[], "")
            .await,
    )
    .await
}

/// A bundle that must be there.
async fn bundle(seawall: &Seawall, query: &str) -> Bytes {
    let answer = export(seawall, query).await;
    assert!(answer.is_good(), "{query}: {} {:?}", answer.status, text(&answer));
    assert_eq!(answer.header("content-type"), "application/x-tar");
    answer.body
}

/// Hands a bundle over.
async fn import(seawall: &Seawall, query: &str, bundle: impl Into<Bytes>) -> Answer {
    let headers = [("content-type", "application/x-tar")];
    let path = format!("/api/v1/import{query}");
    read(
        seawall
            .operate(Method::POST, &path, &headers, bundle.into())
            .await,
    )
    .await
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

/// What is told of an import that must succeed.
async fn imported(seawall: &Seawall, query: &str, bundle: impl Into<Bytes>) -> Value {
    let answer = import(seawall, query, bundle).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", text(&answer));
    serde_json::from_slice(&answer.body).unwrap()
}

async fn warm(world: &World, references: Value) {
    let request = json!({"references": references, "referrers": true, "platform": "linux/amd64"});
    let answer = world.seawall.post("/api/v1/warm", &request).await;
    assert!(text(&answer).contains(r#""missed":[]"#), "{}", text(&answer));
}

/// A cache whose registry has nothing and is down.
fn island() -> World {
    let world = world(Choices::default());
    world.registry.go_down();
    world
}

/// The files of an archive.
fn files(archive: &Bytes) -> Vec<(String, Vec<u8>)> {
    let (mut reader, mut input) = (tar::TarReader::default(), archive.clone());
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    while let Some(item) = reader.next(&mut input).unwrap() {
        match item {
            tar::Item::File { name, .. } => files.push((name, Vec::new())),
            tar::Item::Data(bytes) => files.last_mut().unwrap().1.extend_from_slice(&bytes),
            tar::Item::End => {}
        }
    }
    reader.finish().unwrap();
    files
}

fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in files {
        out.extend_from_slice(&tar::header(name, bytes.len() as u64));
        out.extend_from_slice(bytes);
        out.resize(out.len() + tar::padding(bytes.len() as u64), 0);
    }
    out.extend_from_slice(&tar::END);
    out
}

fn index_of(files: &mut [(String, Vec<u8>)], change: impl FnOnce(&mut Value)) {
    let (_, bytes) = files.iter_mut().find(|(name, _)| name == "index.json").unwrap();
    let mut index = serde_json::from_slice(bytes).unwrap();
    change(&mut index);
    *bytes = index.to_string().into_bytes();
}

/// Gives an entry of a layout's list another name.
fn rename(entry: &mut Value, name: &str) {
    for key in ["org.opencontainers.image.ref.name", "io.containerd.image.name"] {
        entry["annotations"][key] = name.into();
    }
}

/// A file of an archive, named after what it hashes to.
fn as_file(bytes: impl Into<Vec<u8>>) -> (String, Vec<u8>) {
    let bytes = bytes.into();
    (format!("blobs/sha256/{}", Digest::sha256(&bytes).hex()), bytes)
}

/// A good bundle of one image, `app:1`, as files.
async fn good() -> Vec<(String, Vec<u8>)> {
    let world = world(Choices::default());
    image(&world.registry, Some("1"), 5);
    warm(&world, json!(["app:1"])).await;
    files(&bundle(&world.seawall, "reference=app:1").await)
}

/// Has the registry list these as what refers to `subject`.
fn referrers(registry: &Registry, subject: &Digest, entries: &[Value]) {
    let list = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
    let path = format!("/v2/library/app/referrers/{subject}");
    registry.put(path, OCI_INDEX, list.to_string().into());
}

/// An index of two platforms, a signature under a tag, and a referrer; with a layer that is no small blob.
fn rich(registry: &Registry) -> (Digest, Digest, Tag) {
    let images = [image(registry, None, 1), image(registry, None, 2)];
    let entry = |digest: &Digest, architecture: &str| {
        json!({"mediaType": OCI_MANIFEST, "digest": digest.to_string(), "size": 10,
            "platform": {"os": "linux", "architecture": architecture}})
    };
    let body = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        entry(&images[0].manifest, "amd64"), entry(&images[1].manifest, "s390x")]});
    let index = registry.manifest("library/app", Some("many"), OCI_INDEX, &body.to_string());
    let paper = registry.blob("library/app", content(5 * MIB, 77));
    let empty = registry.blob("library/app", "{}");
    let body = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "text/sbom",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty.to_string(), "size": 2},
        "layers": [{"mediaType": "text/plain", "digest": paper.to_string(), "size": 5 * MIB}],
        "annotations": {"made.by": "a test"},
        "subject": {"mediaType": OCI_INDEX, "digest": index.to_string(), "size": 10}});
    let referrer = registry.manifest("library/app", None, OCI_MANIFEST, &body.to_string());
    let entry =
        json!({"mediaType": OCI_MANIFEST, "digest": referrer.to_string(), "size": body.to_string().len()});
    referrers(registry, &index, &[entry]);
    let signature: Tag = format!("{}.sig", Tag::of_referrers(&index)).parse().unwrap();
    let signed = image(registry, Some(signature.as_str()), 9);
    for subject in [images[0].manifest, images[1].manifest, referrer, signed.manifest] {
        referrers(registry, &subject, &[]);
    }
    (index, referrer, signature)
}

#[tokio::test(start_paused = true)]
async fn what_was_exported_is_served_where_no_upstream_can_be_reached() {
    let world = world(Choices::default());
    let (index, referrer, signature) = rich(&world.registry);
    let other = image(&world.registry, Some("1"), 5);
    referrers(&world.registry, &other.manifest, &[]);
    warm(&world, json!(["app:many", "app:1"])).await;
    let bundle = bundle(
        &world.seawall,
        "reference=app:many&reference=docker.io/library/app:1",
    )
    .await;
    let island = island();
    let told = imported(&island.seawall, "", bundle).await;
    let names: Vec<&str> = told["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["image"].as_str().unwrap())
        .collect();
    let signature_name = format!("docker.io/library/app:{signature}");
    assert_eq!(
        names,
        [
            "docker.io/library/app:1",
            "docker.io/library/app:many",
            &signature_name
        ]
    );
    assert_eq!(told["referrers"], 1);
    // Long after it has gone stale, too.
    tokio::time::sleep(Duration::from_secs(6 * 24 * 3600)).await;
    for path in [
        manifest_path("many"),
        manifest_path(index),
        manifest_path(&signature),
        manifest_path(referrer),
        manifest_path("1"),
        blob_path(&other.layer),
        blob_path(&other.config),
        blob_path(&Digest::sha256(&content(5 * MIB, 77))),
    ] {
        assert!(island.seawall.get(&path).await.is_good(), "{path}");
    }
    let list = island
        .seawall
        .get(&format!("/v2/library/app/referrers/{index}"))
        .await;
    assert!(list.is_good());
    let list: Value = serde_json::from_slice(&list.body).unwrap();
    let entry = &list["manifests"][0];
    assert_eq!(
        (&entry["digest"], &entry["artifactType"]),
        (&json!(referrer.to_string()), &json!("text/sbom"))
    );
    assert_eq!(entry["annotations"]["made.by"], "a test");
    // The platform that was not warmed is not there.
    let [_, absent] = [1, 2].map(|seed| Digest::sha256(&content(MIB / 4, seed)));
    assert_eq!(
        island.seawall.get(&blob_path(&absent)).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_was_imported_never_goes_where_the_upstream_is_left_alone() {
    let world = world(Choices::default());
    image(&world.registry, Some("1"), 5);
    warm(&world, json!(["app:1"])).await;
    let bundle = bundle(&world.seawall, "reference=app:1").await;
    let offline = freshness::Rules {
        offline: true,
        ..usual_freshness()
    };
    let island = crate::support::world::world(Choices {
        freshness: freshness::Policy::plain(offline),
        ..Choices::default()
    });
    imported(&island.seawall, "", bundle).await;
    tokio::time::sleep(Duration::from_secs(400 * 24 * 3600)).await;
    assert!(island.seawall.get(&manifest_path("1")).await.is_good());
    assert!(island.registry.journal().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_import_moves_no_tag_that_is_locked() {
    let world = world(Choices::default());
    image(&world.registry, Some("1"), 5);
    warm(&world, json!(["app:1"])).await;
    let (old, lock) = (
        bundle(&world.seawall, "reference=app:1").await,
        json!({"references": ["app:1"]}),
    );
    image(&world.registry, Some("1"), 6);
    tokio::time::sleep(Duration::from_secs(301)).await;
    warm(&world, json!(["app:1"])).await;
    assert!(world.seawall.post("/api/v1/lock", &lock).await.is_good());
    let refused = import(&world.seawall, "", old.clone()).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    let words = "docker.io/library/app:1 is locked at sha256:";
    assert!(text(&refused).contains(words), "{}", text(&refused));
    assert!(text(&refused).contains("`seawall unlock`"));
    // What it points at anyway may come again, and another name may have the other.
    let new = bundle(&world.seawall, "reference=app:1").await;
    imported(&world.seawall, "", new).await;
    imported(&world.seawall, "?as=docker.io/library/app:old", old).await;
}

#[tokio::test(start_paused = true)]
async fn an_export_of_an_import_is_the_same_to_the_byte() {
    let world = world(Choices::default());
    rich(&world.registry);
    image(&world.registry, Some("1"), 5);
    warm(&world, json!(["app:many", "app:1"])).await;
    for query in [
        "reference=app:many&reference=app:1",
        "reference=app:1&reference=app:many",
    ] {
        let first = bundle(&world.seawall, query).await;
        let island = island();
        imported(&island.seawall, "", first.clone()).await;
        let second = bundle(&island.seawall, query).await;
        assert!(first == second, "{} and {} bytes", first.len(), second.len());
        // What is imported twice is held already.
        let again = imported(&island.seawall, "", second).await;
        assert_eq!(again["written"], 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_bundle_is_a_layout_with_every_blob_once_and_every_byte_as_it_was() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 5);
    world.registry.put(
        "/v2/library/app/manifests/2".to_owned(),
        OCI_MANIFEST,
        world
            .registry
            .bytes_of(&format!("/v2/library/app/manifests/{}", image.manifest)),
    );
    warm(&world, json!(["app:1", "app:2"])).await;
    let files = files(&bundle(&world.seawall, "reference=app:1&reference=app:2").await);
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(&names[..2], ["oci-layout", "index.json"]);
    assert_eq!(names.len(), 5);
    assert!(names[2..].is_sorted());
    for (name, bytes) in &files[2..] {
        assert_eq!(*name, as_file(bytes.clone()).0);
    }
    let index: Value = serde_json::from_slice(&files[1].1).unwrap();
    let key = "org.opencontainers.image.ref.name";
    let named = |at: usize| index["manifests"][at]["annotations"][key].as_str().unwrap();
    assert_eq!(
        [named(0), named(1)],
        ["docker.io/library/app:1", "docker.io/library/app:2"]
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_named_with_the_command_that_gets_it() {
    let world = world(Choices::default());
    rich(&world.registry);
    let image = image(&world.registry, Some("1"), 5);
    warm(&world, json!(["app:many"])).await;
    world.seawall.get(&manifest_path("1")).await;
    let query = "reference=app:none&reference=app:1&reference=app:many&platform=linux/s390x";
    let answer = export(&world.seawall, query).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    for words in [
        "app:none: the tag is not known; get it with: seawall warm app:none --platform linux/s390x"
            .to_owned(),
        format!("the blob {} is not held", image.config),
        "seawall warm app:many --platform linux/s390x".to_owned(),
    ] {
        assert!(text(&answer).contains(&words), "{words} in {}", text(&answer));
    }
    for query in ["", "reference=A", "reference=app:1&platform=x"] {
        assert_eq!(
            export(&world.seawall, query).await.status,
            StatusCode::BAD_REQUEST,
            "{query}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_blob_breaks_an_export_off_and_is_put_aside() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 5);
    warm(&world, json!(["app:1"])).await;
    flip(&blob_file(world.directory.path(), &image.layer), 1000);
    let answer = export(&world.seawall, "reference=app:1").await;
    assert!(!answer.complete);
    assert!(is_quarantined(world.directory.path(), &image.layer));
    let answer = export(&world.seawall, "reference=app:1").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(text(&answer).contains(&format!("the blob {} is not held", image.layer)));
}

#[tokio::test(start_paused = true)]
async fn a_browser_can_not_import() {
    let world = world(Choices::default());
    for headers in [
        vec![
            ("content-type", "application/x-tar"),
            ("origin", "http://evil.test"),
        ],
        vec![("content-type", "text/plain")],
    ] {
        let answer = world
            .seawall
            .operate(Method::POST, "/api/v1/import", &headers, "x")
            .await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn bundles_of_any_images_go_round_to_the_byte(
        seeds in proptest::collection::btree_map("[a-z][a-z0-9]{0,5}", 1_u64..5, 1..5),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let world = world(Choices::default());
            for (tag, seed) in &seeds {
                image(&world.registry, Some(tag), *seed);
            }
            let references: Vec<String> = seeds.keys().map(|tag| format!("app:{tag}")).collect();
            warm(&world, json!(references)).await;
            let query: Vec<String> = references.iter().map(|name| format!("reference={name}")).collect();
            let first = bundle(&world.seawall, &query.join("&")).await;
            let island = island();
            imported(&island.seawall, "", first.clone()).await;
            let second = bundle(&island.seawall, &query.join("&")).await;
            assert!(first == second);
        });
    }
}
