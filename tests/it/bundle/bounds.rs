//! What is imported fits into the cache beside what is held, and is looked at once.

use super::*;

/// A bundle of one image, `app:1`, with some layers of 5 MiB; and the layers.
async fn heavy(layers: u64) -> (Bytes, Vec<Digest>) {
    let world = world(Choices::default());
    let config = world.registry.blob("library/app", r#"{"architecture":"amd64"}"#);
    let layers: Vec<Digest> = (0..layers)
        .map(|seed| {
            world
                .registry
                .blob("library/app", content(5 * MIB, 2 * seed + 101))
        })
        .collect();
    let listed: Vec<Value> = layers
        .iter()
        .map(|layer| {
            json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer.to_string(),
                "size": 5 * MIB})
        })
        .collect();
    let body = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": listed,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.to_string(), "size": 24}});
    world
        .registry
        .manifest("library/app", Some("1"), OCI_MANIFEST, &body.to_string());
    warm(&world, json!(["app:1"])).await;
    (bundle(&world.seawall, "reference=app:1").await, layers)
}

/// A cache of some capacity in mebibytes.
fn bounded(capacity: usize) -> World {
    world(Choices {
        memory: 0,
        space: room(capacity),
        ..Choices::default()
    })
}

#[tokio::test(start_paused = true)]
async fn an_import_that_has_no_room_evicts_nothing_of_itself_and_names_nothing() {
    let (bundle, layers) = heavy(6).await;
    let island = bounded(16);
    let answer = import(&island.seawall, "", bundle).await;
    assert_eq!(
        answer.status,
        StatusCode::INSUFFICIENT_STORAGE,
        "{}",
        text(&answer)
    );
    assert!(
        text(&answer).contains("raise [cache] capacity"),
        "{}",
        text(&answer)
    );
    let held = layers
        .iter()
        .filter(|layer| blob_file(island.directory.path(), layer).exists())
        .count();
    assert_eq!(held, 3, "as many as there was room for");
    assert!(island.seawall.cache.catalog().await.unwrap().tags.is_empty());
    // What came in vain makes room again.
    let (small, layers) = heavy(2).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    imported(&island.seawall, "", small).await;
    for layer in &layers {
        assert!(blob_file(island.directory.path(), layer).exists());
    }
}

#[tokio::test(start_paused = true)]
async fn an_import_makes_room_of_what_is_older_and_is_whole_itself() {
    let (bundle, layers) = heavy(5).await;
    let island = bounded(32);
    let mut old = Vec::new();
    for seed in 0..5 {
        let digest = island
            .registry
            .blob("library/app", content(5 * MIB, 2 * seed + 1001));
        assert!(island.seawall.get(&blob_path(&digest)).await.is_good());
        tokio::time::sleep(Duration::from_secs(20)).await;
        old.push(digest);
    }
    island.registry.go_down();
    imported(&island.seawall, "", bundle).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    for layer in &layers {
        assert!(island.seawall.get(&blob_path(layer)).await.is_good());
    }
    assert!(island.seawall.get(&manifest_path("1")).await.is_good());
    let left = old
        .iter()
        .filter(|digest| blob_file(island.directory.path(), digest).exists());
    assert!(left.count() < 5, "something had to go");
}

#[tokio::test(start_paused = true)]
async fn what_an_index_lists_thousands_of_times_over_levels_is_looked_at_once() {
    // Walked again for each time it is listed, these would be eight thousand million looks.
    let world = world(Choices::default());
    let one = image(&world.registry, None, 3);
    let (mut child, mut kind) = (one.manifest, OCI_MANIFEST);
    for level in 0..3 {
        let entry = json!({"mediaType": kind, "digest": child.to_string(), "size": 10,
            "platform": {"os": "linux", "architecture": "amd64"}});
        let body = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": vec![entry; 2000]});
        let tag = (level == 2).then_some("many");
        child = world
            .registry
            .manifest("library/app", tag, OCI_INDEX, &body.to_string());
        kind = OCI_INDEX;
        assert!(world.seawall.get(&manifest_path(child)).await.is_good());
    }
    for path in [
        manifest_path("many"),
        manifest_path(one.manifest),
        blob_path(&one.config),
        blob_path(&one.layer),
    ] {
        assert!(world.seawall.get(&path).await.is_good(), "{path}");
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    for query in ["reference=app:many", "reference=app:many&platform=linux/amd64"] {
        let bundle = bundle(&world.seawall, query).await;
        assert_eq!(files(&bundle).len(), 2 + 4 + 2, "{query}");
        let island = island();
        imported(&island.seawall, "", bundle).await;
        assert!(island.seawall.get(&manifest_path(one.manifest)).await.is_good());
    }
    // Nor for each name that it has.
    let mut named = files(&bundle(&world.seawall, "reference=app:many").await);
    index_of(&mut named, |index| {
        let entry = index["manifests"][0].clone();
        let names = (0..5000).map(|number| {
            let mut entry = entry.clone();
            rename(&mut entry, &format!("docker.io/library/app:{number}"));
            entry
        });
        index["manifests"] = names.collect();
    });
    let island = island();
    let told = imported(&island.seawall, "", archive(&named)).await;
    assert_eq!(told["images"].as_array().unwrap().len(), 5000);
    for tag in ["0", "4999"] {
        assert!(island.seawall.get(&manifest_path(tag)).await.is_good());
    }
}
