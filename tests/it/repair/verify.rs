//! What the operator has verified, is told of it, and has fetched again.

use super::*;
use crate::support::paper::Paper;
use crate::support::world::{OCI_MANIFEST, room};

#[tokio::test(start_paused = true)]
async fn verify_names_what_is_damaged_and_fetches_it_again_if_asked_to() {
    let world = world(Choices::default());
    let image = pulled_image(&world, 10).await;
    flip(&blob_file(world.directory.path(), &image.layer), 7);
    let (damaged, summary) = verify(&world.seawall, json!({"references": ["library/app:1"]})).await;
    assert_eq!(summary["objects"], json!(3));
    assert_eq!(damaged.len(), 1);
    let expected = json!({
        "event": "damaged", "digest": image.layer.to_string(), "kind": "blob", "size": MIB / 4,
        "why": "does not hash to its name", "named_by": ["docker.io/library/app"], "mended": "aside",
    });
    assert_eq!(damaged[0], expected);
    // What was put aside is found there, and fetched: a blob costs no budget.
    let request = json!({"digests": [image.layer.to_string()], "refetch": true});
    let (damaged, summary) = verify(&world.seawall, request).await;
    assert_eq!(damaged[0]["mended"], "fetched", "{damaged:?}");
    assert_eq!(
        (&summary["mended"], &summary["fetched"], &summary["counted"]),
        (&json!(1), &json!(MIB / 4), &json!(0))
    );
    // The damaged copy that is still aside is no news of what is held, however it is named; each object is looked at once.
    let layer = image.layer.to_string();
    for request in [
        json!({"all": true}),
        json!({"references": ["library/app:1"]}),
        json!({"references": ["library/app:1", "library/app:1"], "digests": [layer]}),
    ] {
        let (damaged, summary) = verify(&world.seawall, request).await;
        assert!(damaged.is_empty(), "{damaged:?}");
        assert_eq!(summary["objects"], json!(3));
    }
    assert!(is_quarantined(world.directory.path(), &image.layer));
    assert!(world.seawall.get(&blob_path(&image.layer)).await.is_good());
    assert_eq!(gets(&world, &image.layer), 2);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_manifest_is_fetched_again_before_what_it_names_is_verified() {
    let first = world(Choices::default());
    let image = pulled_image(&first, 11).await;
    flip(&manifest_file(&first, &image.manifest), 3);
    flip(&blob_file(first.directory.path(), &image.layer), 3);
    let (registry, directory) = first.stop().await;
    // A new process: nothing is in memory.
    let world = World {
        seawall: Seawall::start(directory.path(), &registry, Choices::default()).into(),
        registry,
        directory,
    };
    let request = json!({"references": ["library/app:1"], "refetch": true});
    let (damaged, summary) = verify(&world.seawall, request).await;
    let kinds: Vec<_> = damaged
        .iter()
        .map(|object| (&object["kind"], &object["mended"]))
        .collect();
    assert_eq!(
        kinds,
        [
            (&json!("manifest"), &json!("fetched")),
            (&json!("blob"), &json!("fetched"))
        ]
    );
    assert_eq!((&summary["counted"], &summary["mended"]), (&json!(1), &json!(2)));
    assert!(manifest_file(&world, &image.manifest).exists());
}

#[tokio::test(start_paused = true)]
async fn what_memory_still_has_is_written_anew_and_costs_nothing() {
    let world = world(Choices::default());
    let image = pulled_image(&world, 12).await;
    let file = manifest_file(&world, &image.manifest);
    flip(&file, 3);
    let before = world.registry.journal().len();
    let (damaged, _) = verify(&world.seawall, json!({"all": true})).await;
    assert_eq!(damaged[0]["mended"], "restored", "{damaged:?}");
    let stored = world.registry.bytes_of(&manifest_path(image.manifest));
    assert_eq!(std::fs::read(&file).unwrap(), stored);
    assert_eq!(world.registry.journal().len(), before);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_fetched_again_says_why_and_stays_aside() {
    let world = world(Choices::default());
    let image = pulled_image(&world, 13).await;
    flip(&blob_file(world.directory.path(), &image.layer), 7);
    world.registry.go_down();
    let request = json!({"references": ["library/app:1"], "refetch": true});
    let (damaged, summary) = verify(&world.seawall, request).await;
    assert_eq!(damaged[0]["mended"], "failed");
    assert!(
        damaged[0]["failed"]
            .as_str()
            .unwrap()
            .contains("docker.io gives none"),
        "{damaged:?}"
    );
    assert_eq!((&summary["damaged"], &summary["mended"]), (&json!(1), &json!(0)));
    assert!(is_quarantined(world.directory.path(), &image.layer));
}

#[tokio::test(start_paused = true)]
async fn what_is_fetched_again_and_finds_no_room_is_not_called_mended() {
    let world = world(Choices {
        memory: 0,
        space: room(4),
        ..Choices::default()
    });
    let small = pulled_image(&world, 13).await;
    let file = blob_file(world.directory.path(), &small.layer);
    // A short file takes no room that could be given to a whole one.
    resize(&file, 1000);
    let request = json!({"digests": [small.layer.to_string()]});
    let (damaged, _) = verify(&world.seawall, request).await;
    assert_eq!(damaged[0]["mended"], "aside");
    // Nearly all there is belongs to something that is locked.
    let size = MIB * 94 / 100;
    let layers: Vec<Value> = (0..4)
        .map(|seed| {
            let layer = world.registry.blob("library/app", content(size, 2 * seed + 21));
            json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer.to_string(), "size": size})
        })
        .collect();
    let body = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": layers,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": small.config.to_string(),
            "size": 11}});
    world
        .registry
        .manifest("library/app", Some("large"), OCI_MANIFEST, &body.to_string());
    let large = json!({"references": ["app:large"]});
    for path in ["/api/v1/warm", "/api/v1/lock"] {
        assert!(world.seawall.post(path, &large).await.is_good(), "{path}");
    }
    let request = json!({"digests": [small.layer.to_string()], "refetch": true});
    let (damaged, summary) = verify(&world.seawall, request).await;
    let failed = damaged[0]["failed"].as_str().unwrap_or_default();
    assert!(failed.contains("could not be kept"), "{damaged:?}");
    assert_eq!(summary["mended"], json!(0));
    assert!(!file.exists());
}

#[tokio::test(start_paused = true)]
async fn of_all_repositories_that_name_it_three_are_asked_for_what_is_damaged() {
    let world = world(Choices::default());
    let image = pulled_image(&world, 14).await;
    let body = world.registry.bytes_of(&manifest_path(image.manifest));
    for (place, repository) in ["a", "b", "c", "d"].into_iter().enumerate() {
        // A manifest of its own.
        let body = String::from_utf8(body.to_vec()).unwrap() + &"\n".repeat(place + 1);
        world
            .registry
            .manifest(&format!("library/{repository}"), Some("1"), OCI_MANIFEST, &body);
        let path = format!("/v2/library/{repository}/manifests/1");
        assert!(world.seawall.get(&path).await.is_good(), "{path}");
    }
    let layer = image.layer;
    world.registry.remove(&blob_path(&layer));
    tokio::time::sleep(Duration::from_secs(1)).await;
    flip(&blob_file(world.directory.path(), &layer), 7);
    let asked = || world.registry.seen(&Method::GET, &layer.to_string()).len();
    let before = asked();
    let request = json!({"digests": [layer.to_string()], "refetch": true});
    let (damaged, _) = verify(&world.seawall, request).await;
    assert_eq!(damaged[0]["mended"], "failed", "{damaged:?}");
    assert_eq!(damaged[0]["named_by"].as_array().unwrap().len(), 5);
    assert_eq!(asked(), before + 3);
}

#[tokio::test(start_paused = true)]
async fn what_was_put_aside_before_is_told_to_who_asks_and_logged_no_more() {
    let world = world(Choices::default());
    let (digest, _) = pulled(&world, 15).await;
    flip(&blob_file(world.directory.path(), &digest), 7);
    let (paper, request) = (Paper::default(), json!({"digests": [digest.to_string()]}));
    let sink = paper.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || sink.clone())
        .finish();
    let logging = tracing::subscriber::set_default(subscriber);
    for _ in 0..2 {
        let (damaged, _) = verify(&world.seawall, request.clone()).await;
        assert_eq!(damaged.len(), 1);
    }
    drop(logging);
    let log = paper.text();
    assert_eq!(log.matches("and was put aside").count(), 1, "{log}");
}

#[tokio::test(start_paused = true)]
async fn what_is_named_and_not_held_is_refused_by_name() {
    let world = world(Choices::default());
    let nobody = Digest::sha256(b"nobody");
    let request = json!({"references": ["library/app:none"], "digests": [nobody.to_string()]});
    let answer = world.seawall.post("/api/v1/verify", &request).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let error: Value = serde_json::from_slice(&answer.body).unwrap();
    let expected = format!("not held here: docker.io/library/app:none, {nobody}");
    assert_eq!(error["error"], json!(expected));
    for wrong in [
        json!({}),
        json!({"all": true, "digests": [nobody.to_string()]}),
        json!({"all": true, "sample": 0}),
        json!({"digests": ["x"]}),
        json!({"everything": true}),
    ] {
        let answer = world.seawall.post("/api/v1/verify", &wrong).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sample_is_the_same_for_the_same_seed_which_it_tells() {
    let world = world(Choices::default());
    for seed in 20..40 {
        let digest = world.registry.blob("library/app", content(1000, seed * 2));
        assert!(world.seawall.get(&blob_path(&digest)).await.is_good());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (_, drawn) = verify(&world.seawall, json!({"all": true, "sample": 0.5})).await;
    let seed = drawn["seed"].as_u64().unwrap();
    let again = json!({"all": true, "sample": 0.5, "seed": seed});
    let (_, again) = verify(&world.seawall, again).await;
    assert_eq!(
        (&drawn["objects"], &drawn["bytes"], &drawn["seed"]),
        (&again["objects"], &again["bytes"], &again["seed"])
    );
    let (_, some) = verify(&world.seawall, json!({"all": true, "sample": 0.5, "seed": 1})).await;
    assert!((1..20).contains(&some["objects"].as_u64().unwrap()), "{some}");
}

#[tokio::test(start_paused = true)]
async fn a_verification_keeps_its_rate_and_tells_how_far_it_is() {
    let world = world(Choices::default());
    let bytes = content(20 * MIB, 14);
    let digest = world.registry.blob("library/app", bytes);
    assert!(world.seawall.get(&blob_path(&digest)).await.is_good());
    pulled(&world, 15).await;
    let before = tokio::time::Instant::now();
    let request = json!({"all": true, "rate": 2 * MIB});
    let all = lines(&world.seawall.post("/api/v1/verify", &request).await);
    assert!(
        before.elapsed() >= Duration::from_secs(11),
        "{:?}",
        before.elapsed()
    );
    let told: Vec<_> = all.iter().filter(|event| event["event"] == "progress").collect();
    assert!(told.len() >= 5, "also within an object: {told:?}");
    let progress = told[0];
    assert_eq!(progress["of_objects"], json!(2));
    for event in &told {
        // The first piece is read before the first rest.
        assert!(event["rate"].as_u64().unwrap() <= 5 * MIB as u64, "{event}");
    }
    assert!(told.last().unwrap()["rate"].as_u64().unwrap() <= 3 * MIB as u64);
}

#[tokio::test(start_paused = true)]
async fn a_verification_ends_when_its_asker_goes_away() {
    let world = world(Choices::default());
    pulled(&world, 16).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    let before = std::sync::Arc::strong_count(&world.seawall.cache);
    let request = json!({"all": true, "rate": 1}).to_string();
    let headers = [("content-type", "application/json")];
    let asked = world
        .seawall
        .operate(Method::POST, "/api/v1/verify", &headers, request)
        .await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(std::sync::Arc::strong_count(&world.seawall.cache) > before);
    drop(asked);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(std::sync::Arc::strong_count(&world.seawall.cache), before);
}

#[tokio::test(start_paused = true)]
async fn a_verification_leaves_in_memory_what_was_there_and_nothing_else() {
    let world = world(Choices::default());
    let (cold, _) = pulled(&world, 17).await;
    let (hot, _) = pulled(&world, 18).await;
    let file = |digest: &Digest| {
        let file = std::fs::File::open(blob_file(world.directory.path(), digest)).unwrap();
        OpenFile::from(file)
    };
    let (cold, hot, len) = (file(&cold), file(&hot), 2 * MIB as u64);
    cold.let_go(0, len);
    if cold.is_resident(0, len) {
        // A file system in memory, or one that cannot say: there is nothing to see.
        return;
    }
    assert!(hot.is_resident(0, len));
    let (_, summary) = verify(&world.seawall, json!({"all": true})).await;
    assert_eq!(summary["bytes"], json!(4 * MIB));
    assert!(hot.is_resident(0, len));
    assert!(!cold.is_resident(0, len));
}
