//! What an export takes along: all of an image or none of it, and each thing once.

use super::*;

/// A list of manifests without platforms, in `library/app`.
fn list(registry: &Registry, tag: Option<&str>, children: &[(Digest, &str)]) -> Digest {
    let entry = |(digest, kind): &(Digest, &str)| json!({"mediaType": kind, "digest": digest.to_string(), "size": 10});
    let entries: Vec<Value> = children.iter().map(entry).collect();
    let body = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
    registry.manifest("library/app", tag, OCI_INDEX, &body.to_string())
}

/// The digests that the list of a bundle has, in its order.
fn listed(bundle: &Bytes) -> Vec<String> {
    let index: Value = serde_json::from_slice(&files(bundle)[1].1).unwrap();
    let entries = index["manifests"].as_array().unwrap();
    entries
        .iter()
        .map(|entry| entry["digest"].as_str().unwrap().to_owned())
        .collect()
}

/// Pulls these, and lets them come to the disk.
async fn pull(world: &World, paths: &[String]) {
    for path in paths {
        assert!(world.seawall.get(path).await.is_good(), "{path}");
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_blob_of_another_length_than_its_manifest_says_is_none_of_it() {
    let world = world(Choices::default());
    let image = image(&world.registry, None, 5);
    let honest = world.registry.bytes_of(&manifest_path(image.manifest));
    let size = format!("\"size\":{}", MIB / 4);
    let wrong = String::from_utf8(honest.to_vec())
        .unwrap()
        .replace(&size, "\"size\":7");
    world
        .registry
        .manifest("library/app", Some("wrong"), OCI_MANIFEST, &wrong);
    let blobs = [&image.config, &image.layer].map(blob_path);
    pull(&world, &[&[manifest_path("wrong")][..], &blobs].concat()).await;
    let answer = export(&world.seawall, "reference=app:wrong").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let words = format!("the blob {} is not held", image.layer);
    assert!(text(&answer).contains(&words), "{}", text(&answer));
}

#[tokio::test(start_paused = true)]
async fn an_index_of_which_no_image_is_held_whole_is_not_exported() {
    let world = world(Choices::default());
    rich(&world.registry);
    pull(&world, &[manifest_path("many")]).await;
    let answer = export(&world.seawall, "reference=app:many").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let words = "of no platform is everything held; for one, the manifest sha256:";
    assert!(text(&answer).contains(words), "{}", text(&answer));
}

#[tokio::test(start_paused = true)]
async fn what_is_listed_out_of_reach_and_again_within_it_is_exported() {
    let world = world(Choices::default());
    let image = image(&world.registry, None, 5);
    let near = list(&world.registry, None, &[(image.manifest, OCI_MANIFEST)]);
    let mut far = near;
    let mut paths = vec![manifest_path(near), manifest_path(image.manifest)];
    paths.extend([&image.config, &image.layer].map(blob_path));
    for _ in 0..3 {
        far = list(&world.registry, None, &[(far, OCI_INDEX)]);
        paths.push(manifest_path(far));
    }
    list(
        &world.registry,
        Some("deep"),
        &[(far, OCI_INDEX), (near, OCI_INDEX)],
    );
    paths.push(manifest_path("deep"));
    pull(&world, &paths).await;
    let bundle = bundle(&world.seawall, "reference=app:deep").await;
    let (name, _) = as_file(world.registry.bytes_of(&manifest_path(image.manifest)));
    assert!(files(&bundle).iter().any(|(other, _)| *other == name));
}

#[tokio::test(start_paused = true)]
async fn what_is_a_manifest_and_a_layer_of_another_is_in_the_archive_once() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 5);
    let manifest = world.registry.bytes_of(&manifest_path(image.manifest));
    let layer = world.registry.blob("library/app", manifest.clone());
    let body = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": image.config.to_string(), "size": 10},
        "layers": [{"mediaType": OCI_MANIFEST, "digest": layer.to_string(), "size": manifest.len()}]});
    world
        .registry
        .manifest("library/app", Some("paper"), OCI_MANIFEST, &body.to_string());
    // As a layer first: what is known to be a manifest is fetched as nothing else.
    for name in ["app:paper", "app:1"] {
        warm(&world, json!([name])).await;
    }
    let bundle = bundle(&world.seawall, "reference=app:1&reference=app:paper").await;
    let (name, _) = as_file(manifest);
    let all = files(&bundle);
    assert_eq!(all.iter().filter(|(other, _)| *other == name).count(), 1);
    let island = island();
    imported(&island.seawall, "", bundle).await;
    for path in [manifest_path("1"), manifest_path("paper")] {
        assert!(island.seawall.get(&path).await.is_good(), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_referrer_that_has_a_name_is_listed_by_that_alone() {
    let world = world(Choices::default());
    let (index, referrer, _) = rich(&world.registry);
    let paper = world.registry.bytes_of(&manifest_path(referrer));
    world.registry.put(manifest_path("paper"), OCI_MANIFEST, paper);
    warm(&world, json!(["app:many", "app:paper"])).await;
    let bundle = bundle(&world.seawall, "reference=app:many&reference=app:paper").await;
    let listed = listed(&bundle);
    for digest in [index, referrer] {
        let times = listed.iter().filter(|listed| **listed == digest.to_string());
        assert_eq!(times.count(), 1, "{digest} in {listed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_referrers_of_an_image_are_exported_and_no_more() {
    let mut many = good().await;
    let mut entries = Vec::new();
    index_of(&mut many, |index| {
        let (subject, empty) = (&index["manifests"][0]["digest"], Digest::sha256(b"{}"));
        for number in 0..1001 {
            let body = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "text/sbom",
                "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty.to_string(), "size": 2},
                "layers": [], "annotations": {"number": number.to_string()},
                "subject": {"mediaType": OCI_MANIFEST, "digest": subject, "size": 10}});
            entries.push(body.to_string());
        }
        let listed = index["manifests"].as_array_mut().unwrap();
        listed.extend(entries.iter().map(|body| {
            let digest = Digest::sha256(body.as_bytes()).to_string();
            json!({"mediaType": OCI_MANIFEST, "digest": digest, "size": body.len()})
        }));
    });
    many.extend(entries.into_iter().map(as_file));
    many.push(as_file("{}"));
    let island = island();
    let told = imported(&island.seawall, "", archive(&many)).await;
    assert_eq!(told["referrers"], 1001);
    let bundle = bundle(&island.seawall, "reference=app:1").await;
    assert_eq!(listed(&bundle).len(), 1 + 1000);
}
