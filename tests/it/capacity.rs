//! The disk is bounded: what is held and what is on its way stay within the capacity, whatever happens.

mod starts;

use std::path::Path;
use std::time::Duration;

use http::{Method, StatusCode};
use seawall::oci::Digest;
use seawall::policy::retention::{Exact, Purge};

use crate::support::registry::{Registry, Script};
use crate::support::seawall::{Choices, Seawall, read};
use crate::support::world::{
    MIB, OCI_MANIFEST, World, blob_file, blob_path, content, image, is_quarantined, manifest_path, room,
    world,
};

/// Bytes that differ for every number.
fn unlike(len: usize, number: u64) -> bytes::Bytes {
    content(len, 2 * number + 1)
}

/// Some capacity in mebibytes, and nothing in memory, so that every pull shows what is on disk.
fn bounded(capacity: usize) -> Choices {
    Choices {
        memory: 0,
        space: room(capacity),
        ..Choices::default()
    }
}

/// Bytes of all files under a folder of the cache, in whole blocks.
fn bytes_under(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let sizes = entries.map(|entry| {
        let path = entry.unwrap().path();
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => bytes_under(&path),
            Ok(metadata) => seawall::policy::eviction::on_disk(metadata.len()),
            Err(_) => 0,
        }
    });
    sizes.sum()
}

/// Bytes of content on disk, finished, unfinished and damaged.
fn on_disk(directory: &Path) -> u64 {
    let folders = ["blobs", "manifests", "filling", "quarantine"];
    folders
        .map(|folder| bytes_under(&directory.join("v1").join(folder)))
        .iter()
        .sum()
}

fn held_on_disk(directory: &Path) -> u64 {
    ["blobs", "manifests"]
        .map(|folder| bytes_under(&directory.join("v1").join(folder)))
        .iter()
        .sum()
}

/// What the cache says it holds and has set aside.
fn told(seawall: &Seawall) -> (u64, u64) {
    let cache = seawall.cache.status().cache;
    (cache.held, cache.reserved)
}

fn assert_bounded(world: &World, capacity: usize) {
    let capacity = (capacity * MIB) as u64;
    let (held, reserved) = told(&world.seawall);
    let found = on_disk(world.directory.path());
    assert!(
        held + reserved <= capacity,
        "{held} held and {reserved} set aside of {capacity}"
    );
    assert!(found <= capacity, "{found} bytes on disk of {capacity}");
}

fn is_held(world: &World, digest: &Digest) -> bool {
    blob_file(world.directory.path(), digest).exists()
}

async fn pull(seawall: &Seawall, digest: &Digest, bytes: &[u8]) {
    let answer = seawall.get(&blob_path(digest)).await;
    assert!(
        answer.complete && answer.body == bytes,
        "{digest}: {:?}",
        answer.status
    );
}

/// Lets commits and what follows them end.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(20)).await;
}

#[tokio::test(start_paused = true)]
async fn the_capacity_holds_while_many_fills_run_at_once() {
    // F078: eight times the capacity, in waves of six that are watched while they run.
    let world = world(bounded(16));
    let mut seed = 0;
    for _ in 0..8 {
        let mut pulls = tokio::task::JoinSet::new();
        for size in [2, 4, 1, 3, 5, 1] {
            seed += 1;
            let bytes = unlike(size * MIB + 17, seed);
            let digest = world.registry.blob("library/app", bytes.clone());
            let slow = Script {
                chunk: MIB / 4,
                pace: Duration::from_millis(20),
                ..Script::default()
            };
            world.registry.script(blob_path(&digest), slow);
            let seawall = world.seawall.clone();
            pulls.spawn(async move { pull(&seawall, &digest, &bytes).await });
        }
        while !pulls.is_empty() {
            tokio::select! {
                pulled = pulls.join_next() => pulled.unwrap().unwrap(),
                () = tokio::time::sleep(Duration::from_millis(15)) => {}
            }
            assert_bounded(&world, 16);
        }
    }
    settle().await;
    assert_bounded(&world, 16);
    let (held, _) = told(&world.seawall);
    assert_eq!(held, held_on_disk(world.directory.path()));
    assert!(held > 8 * MIB as u64, "only {held} bytes are held");
}

#[tokio::test(start_paused = true)]
async fn what_takes_more_than_half_the_capacity_is_passed_on_and_pushes_nothing_out() {
    // F083
    let world = world(bounded(64));
    let small = unlike(8 * MIB, 1);
    let kept = world.registry.blob("library/app", small.clone());
    pull(&world.seawall, &kept, &small).await;
    settle().await;
    for length in [true, false] {
        let large = unlike(40 * MIB, 2 + u64::from(length));
        let digest = world.registry.blob("library/app", large.clone());
        if !length {
            let unknown = Script {
                without: vec!["content-length"],
                ..Script::default()
            };
            world.registry.script(blob_path(&digest), unknown);
        }
        pull(&world.seawall, &digest, &large).await;
        settle().await;
        assert!(!is_held(&world, &digest));
        assert!(is_held(&world, &kept));
        assert_bounded(&world, 64);
    }
    let text = world.seawall.metrics.exposition();
    assert!(
        text.contains(r#"seawall_not_kept_total{reason="too_long"} 2"#),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_being_read_is_not_evicted_and_what_is_not_makes_room() {
    // F082: a client that stops in the middle holds its blob; twice the capacity passes by.
    let world = world(bounded(64));
    let (first, read_slowly) = (unlike(10 * MIB, 1), unlike(10 * MIB, 2));
    let idle = world.registry.blob("library/app", first.clone());
    let busy = world.registry.blob("library/app", read_slowly.clone());
    pull(&world.seawall, &busy, &read_slowly).await;
    pull(&world.seawall, &idle, &first).await;
    settle().await;
    let slow = world.seawall.open(Method::GET, &blob_path(&busy), &[]).await;
    for seed in 3..16 {
        let bytes = unlike(10 * MIB, seed);
        let digest = world.registry.blob("library/app", bytes.clone());
        pull(&world.seawall, &digest, &bytes).await;
        // Less than what a client may stand still.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_bounded(&world, 64);
    }
    assert!(is_held(&world, &busy), "it was evicted while it was read");
    assert!(!is_held(&world, &idle), "nothing made room");
    let answer = read(slow).await;
    assert!(answer.complete && answer.body == read_slowly);
}

#[tokio::test(start_paused = true)]
async fn where_everything_is_in_use_a_blob_is_passed_on() {
    let world = world(bounded(64));
    let mut readers = Vec::new();
    for seed in 0..3 {
        let bytes = unlike(20 * MIB, seed + 1);
        let digest = world.registry.blob("library/app", bytes.clone());
        pull(&world.seawall, &digest, &bytes).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        readers.push(world.seawall.open(Method::GET, &blob_path(&digest), &[]).await);
    }
    let bytes = unlike(20 * MIB, 9);
    let digest = world.registry.blob("library/app", bytes.clone());
    pull(&world.seawall, &digest, &bytes).await;
    assert!(!is_held(&world, &digest));
    assert_bounded(&world, 64);
    let text = world.seawall.metrics.exposition();
    assert!(
        text.contains(r#"seawall_not_kept_total{reason="in_use"} 1"#),
        "{text}"
    );
    drop(readers);
    settle().await;
    pull(&world.seawall, &digest, &bytes).await;
    settle().await;
    assert!(
        is_held(&world, &digest),
        "room was to be had when the readers had gone"
    );
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_download_counts_until_its_room_is_needed() {
    let mut choices = bounded(64);
    choices.flights.finish_below = 0;
    let world = world(choices);
    let bytes = unlike(30 * MIB, 1);
    let digest = world.registry.blob("library/app", bytes.clone());
    let slow = Script::paced(Duration::from_secs(1));
    world.registry.script(blob_path(&digest), slow);
    let only = world.seawall.open(Method::GET, &blob_path(&digest), &[]).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(told(&world.seawall), (0, 30 * MIB as u64));
    drop(only);
    settle().await;
    let filling = world.directory.path().join("v1/filling");
    let left = bytes_under(&filling);
    let (_, reserved) = told(&world.seawall);
    assert!(
        left > 0 && left.next_multiple_of(4096) == reserved,
        "{left} left, {reserved} set aside"
    );
    for seed in 2..9 {
        let bytes = unlike(30 * MIB, seed);
        let digest = world.registry.blob("library/app", bytes.clone());
        pull(&world.seawall, &digest, &bytes).await;
        settle().await;
        assert!(is_held(&world, &digest));
        assert_bounded(&world, 64);
    }
}

#[tokio::test(start_paused = true)]
async fn what_others_take_from_the_file_system_is_taken_off_the_capacity() {
    // A floor above all there is: nothing is kept, and every pull goes on.
    let mut choices = bounded(64);
    choices.space.min_free = u64::MAX >> 2;
    let world = world(choices);
    let bytes = unlike(MIB, 1);
    let digest = world.registry.blob("library/app", bytes.clone());
    pull(&world.seawall, &digest, &bytes).await;
    assert!(!is_held(&world, &digest));
    image(&world.registry, Some("1"), 2);
    assert_eq!(
        world.seawall.get(&manifest_path("1")).await.status,
        StatusCode::OK
    );
    let cache = world.seawall.cache.status().cache;
    assert_eq!((cache.capacity, cache.held), (0, 0));
    assert_eq!(cache.configured, 64 * MIB as u64);
}

#[tokio::test(start_paused = true)]
async fn above_the_high_watermark_room_is_made_down_to_the_low_one() {
    let mut choices = bounded(64);
    (choices.space.high, choices.space.low) = (0.5, 0.25);
    let world = world(choices);
    for seed in 1..4 {
        let bytes = unlike(12 * MIB, seed);
        let digest = world.registry.blob("library/app", bytes.clone());
        pull(&world.seawall, &digest, &bytes).await;
    }
    settle().await;
    assert_eq!(told(&world.seawall).0, 12 * MIB as u64);
    world.seawall.cache.publish_space();
    let text = world.seawall.metrics.exposition();
    for line in [
        r#"seawall_evictions_total{shelf="blobs"} 2"#,
        r#"seawall_cache_objects{shelf="blobs"} 1"#,
        r#"seawall_cache_bytes{shelf="blobs"} 12582912"#,
        "seawall_cache_capacity_bytes 67108864",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_purged_while_it_is_read_counts_until_it_was_read() {
    // F082: the disk holds the bytes for as long as the client reads.
    let world = world(bounded(64));
    let bytes = unlike(30 * MIB, 1);
    let digest = world.registry.blob("library/app", bytes.clone());
    pull(&world.seawall, &digest, &bytes).await;
    settle().await;
    let slow = world.seawall.open(Method::GET, &blob_path(&digest), &[]).await;
    let purge = Purge::Exact(vec![Exact::Everywhere(digest)]);
    world.seawall.cache.purge(purge, None).await.unwrap();
    assert!(!is_held(&world, &digest));
    let open = 30 * MIB as u64;
    assert_eq!(told(&world.seawall), (0, open));
    for seed in 2..6 {
        let bytes = unlike(12 * MIB, seed);
        let digest = world.registry.blob("library/app", bytes.clone());
        pull(&world.seawall, &digest, &bytes).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_bounded(&world, 64);
        assert!(on_disk(world.directory.path()) + open <= 64 * MIB as u64);
    }
    let answer = read(slow).await;
    assert!(answer.complete && answer.body == bytes);
    settle().await;
    assert_eq!(told(&world.seawall), (held_on_disk(world.directory.path()), 0));
}

#[tokio::test(start_paused = true)]
async fn layers_of_an_image_whose_manifest_is_pulled_stay_and_those_of_an_unused_one_go() {
    let world = world(bounded(64));
    let used = layered(&world, "used", 1);
    let unused = layered(&world, "unused", 101);
    for (tag, layers) in [("used", &used), ("unused", &unused)] {
        let manifest = world.seawall.get(&manifest_path(tag)).await;
        assert_eq!(manifest.status, StatusCode::OK);
        // What this pull uses is not there yet.
        settle().await;
        for (digest, bytes) in layers {
            pull(&world.seawall, digest, bytes).await;
        }
        settle().await;
    }
    for round in 0..10 {
        // A node that has the layers asks for the manifest only.
        let manifest = world.seawall.get(&manifest_path("used")).await;
        assert_eq!(manifest.status, StatusCode::OK);
        settle().await;
        for seed in 0..4 {
            let bytes = unlike(4 * MIB, 1000 + 10 * round + seed);
            let digest = world.registry.blob("library/app", bytes.clone());
            pull(&world.seawall, &digest, &bytes).await;
            settle().await;
        }
        for (digest, _) in &used {
            assert!(is_held(&world, digest), "round {round}: a layer in use went");
        }
    }
    for (digest, _) in &unused {
        assert!(!is_held(&world, digest), "an unused layer stayed");
    }
    assert_bounded(&world, 64);
}

/// Puts an image of four layers under a tag; answers the layers.
fn layered(world: &World, tag: &str, seed: u64) -> Vec<(Digest, bytes::Bytes)> {
    let layer = |number| {
        let bytes = unlike(5 * MIB, seed + number);
        (world.registry.blob("library/app", bytes.clone()), bytes)
    };
    let layers: Vec<_> = (0..4).map(layer).collect();
    let config = world.registry.blob("library/app", format!("{{\"seed\":{seed}}}"));
    let named = layers.iter().map(|(digest, bytes)| {
        let kind = "application/vnd.oci.image.layer.v1.tar";
        format!(
            r#"{{"mediaType":"{kind}","digest":"{digest}","size":{}}}"#,
            bytes.len()
        )
    });
    let body = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":10}},"layers":[{}]}}"#,
        named.collect::<Vec<_>>().join(",")
    );
    world
        .registry
        .manifest("library/app", Some(tag), OCI_MANIFEST, &body);
    layers
}
