//! Bit rot, truncation, missing and foreign files: each has one answer, and none of them is a wrong body.

mod scrub;
mod verify;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use seawall::clock::Clock;
use seawall::oci::Digest;
use seawall::policy::eviction::Content;
use seawall::store::{Disk, OpenFile, Shelf, Space};
use serde_json::{Value, json};

use crate::support::operator::lines;
use crate::support::seawall::{Choices, Seawall};
use crate::support::world::{
    Image, MIB, World, blob_file, blob_path, content, flip, image, is_quarantined, manifest_path, world,
};

/// A blob of 2 MiB, too long for memory, that was pulled and is on disk.
async fn pulled(world: &World, seed: u64) -> (Digest, Bytes) {
    let bytes = content(2 * MIB, seed * 2);
    let digest = world.registry.blob("library/app", bytes.clone());
    assert!(world.seawall.get(&blob_path(&digest)).await.is_good());
    tokio::time::sleep(Duration::from_secs(1)).await;
    (digest, bytes)
}

/// An image that was pulled by its tag, with its blobs.
async fn pulled_image(world: &World, seed: u64) -> Image {
    let image = image(&world.registry, Some("1"), seed);
    for path in [
        manifest_path("1"),
        blob_path(&image.config),
        blob_path(&image.layer),
    ] {
        assert!(world.seawall.get(&path).await.is_good());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    image
}

fn resize(file: &Path, len: u64) {
    let open = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    open.set_len(len).unwrap();
}

fn manifest_file(world: &World, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    world
        .directory
        .path()
        .join("v1/manifests/sha256")
        .join(&hex[..2])
        .join(hex)
}

fn gets(world: &World, digest: &Digest) -> usize {
    world.registry.seen(&Method::GET, &blob_path(digest)).len()
}

/// A metric's value, brought up to date.
fn metric(seawall: &Seawall, name: &str) -> f64 {
    seawall.cache.publish_space();
    let text = seawall.metrics.exposition();
    let line = text
        .lines()
        .find(|line| line.starts_with(name))
        .unwrap_or_default();
    line.rsplit(' ')
        .next()
        .and_then(|value| value.parse().ok())
        .unwrap_or(0.0)
}

const DAMAGED: &str = r#"seawall_integrity_failures_total{where="disk"}"#;

/// Verifies; answers what was damaged, and the summary.
async fn verify(seawall: &Seawall, request: Value) -> (Vec<Value>, Value) {
    let mut all = lines(&seawall.post("/api/v1/verify", &request).await);
    let summary = all.pop().unwrap();
    assert_eq!(summary["event"], "summary", "{summary}");
    let damaged = all.into_iter().filter(|event| event["event"] == "damaged");
    (damaged.collect(), summary)
}

#[tokio::test(start_paused = true)]
async fn a_file_of_another_length_is_put_aside_when_it_is_opened_and_the_client_gets_it_whole() {
    // F071, F072, and one that has grown.
    for len in [1000, 0, 3 * MIB as u64] {
        let world = world(Choices::default());
        let (digest, bytes) = pulled(&world, 3).await;
        resize(&blob_file(world.directory.path(), &digest), len);
        let answer = world.seawall.get(&blob_path(&digest)).await;
        assert!(answer.is_good() && answer.body == bytes, "{len}");
        assert!(is_quarantined(world.directory.path(), &digest));
        assert_eq!(gets(&world, &digest), 2);
        assert_eq!(metric(&world.seawall, DAMAGED), 1.0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_truncated_while_nobody_looked_is_found_by_the_walk_after_the_start() {
    // F071: the index knows the length, so that not even a first pull sees the damage.
    let world = world(Choices::default());
    let (digest, bytes) = pulled(&world, 4).await;
    let (registry, directory) = world.stop().await;
    resize(&blob_file(directory.path(), &digest), 1000);
    let seawall = Seawall::start(directory.path(), &registry, Choices::default());
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(is_quarantined(directory.path(), &digest));
    let answer = seawall.get(&blob_path(&digest)).await;
    assert!(answer.is_good() && answer.body == bytes);
}

#[tokio::test(start_paused = true)]
async fn a_missing_file_is_a_miss() {
    let world = world(Choices::default());
    let (digest, bytes) = pulled(&world, 5).await;
    std::fs::remove_file(blob_file(world.directory.path(), &digest)).unwrap();
    let (damaged, summary) = verify(&world.seawall, json!({"all": true})).await;
    assert_eq!((damaged.len(), &summary["damaged"]), (0, &json!(0)));
    let answer = world.seawall.get(&blob_path(&digest)).await;
    assert!(answer.is_good() && answer.body == bytes);
    assert_eq!(metric(&world.seawall, DAMAGED), 0.0);
}

#[tokio::test(start_paused = true)]
async fn two_blobs_that_were_swapped_are_found_by_verify_and_after_a_start_by_the_first_serve() {
    // F073: both have the right length.
    for restart in [false, true] {
        let world = world(Choices::default());
        let (one, one_bytes) = pulled(&world, 6).await;
        let (other, other_bytes) = pulled(&world, 7).await;
        let files = [&one, &other].map(|digest| blob_file(world.directory.path(), digest));
        let between = world.directory.path().join("between");
        std::fs::rename(&files[0], &between).unwrap();
        std::fs::rename(&files[1], &files[0]).unwrap();
        std::fs::rename(&between, &files[1]).unwrap();
        if !restart {
            let (damaged, summary) = verify(&world.seawall, json!({"all": true})).await;
            assert_eq!((damaged.len(), &summary["damaged"]), (2, &json!(2)));
        }
        let (registry, directory) = world.stop().await;
        let seawall = Seawall::start(directory.path(), &registry, Choices::default());
        for (digest, bytes) in [(&one, &one_bytes), (&other, &other_bytes)] {
            let first = seawall.get(&blob_path(digest)).await;
            assert!(!first.is_good() || first.body == *bytes);
            let again = seawall.get(&blob_path(digest)).await;
            assert!(again.is_good() && again.body == *bytes);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hard_link_is_a_file_like_any_other_and_what_changes_through_it_is_found() {
    let world = world(Choices::default());
    let (digest, bytes) = pulled(&world, 8).await;
    let (file, link) = (
        blob_file(world.directory.path(), &digest),
        world.directory.path().join("link"),
    );
    std::fs::hard_link(&file, &link).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().nlink(), 2);
    let linked = world.seawall.get(&blob_path(&digest)).await;
    assert!(linked.is_good() && linked.body == bytes);
    flip(&link, 5);
    let (damaged, _) = verify(&world.seawall, json!({"digests": [digest.to_string()]})).await;
    assert_eq!(damaged[0]["why"], "does not hash to its name");
    // The next copy is a file of its own.
    let again = world.seawall.get(&blob_path(&digest)).await;
    assert!(again.is_good() && again.body == bytes);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(std::fs::metadata(&file).unwrap().nlink(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_opened_is_a_miss_told_with_its_path_its_owner_and_the_next_step() {
    // Root opens everything but a symbolic link, which is not followed; a file of another owner is refused alike.
    let world = world(Choices::default());
    let (digest, bytes) = pulled(&world, 9).await;
    let file = blob_file(world.directory.path(), &digest);
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
    let request = json!({"digests": [digest.to_string()]});
    let (damaged, summary) = verify(&world.seawall, request).await;
    assert!(damaged.is_empty(), "{damaged:?}");
    let why = summary["unreadable"][0].as_str().unwrap();
    for part in [file.to_str().unwrap(), "of user ", "chown -R "] {
        assert!(why.contains(part), "{part} is not in {why}");
    }
    let answer = world.seawall.get(&blob_path(&digest)).await;
    assert!(answer.is_good() && answer.body == bytes);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(std::fs::symlink_metadata(&file).unwrap().is_file());
}

#[test]
fn files_that_are_read_or_filled_are_counted_until_they_are_closed() {
    // What a scrub goes by when it yields.
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::open(directory.path()).unwrap();
    let bytes = content(1000, 1);
    let digest = Digest::sha256(&bytes);
    disk.put(Shelf::Blobs, &digest, &bytes).unwrap();
    assert_eq!(disk.users(), 0);
    let reading = disk.get(Shelf::Blobs, &digest).unwrap();
    let filling = disk.begin(&Digest::sha256(b"other")).unwrap();
    assert_eq!(disk.users(), 2);
    drop((reading, filling));
    assert_eq!(disk.users(), 0);
}

#[test]
fn a_file_that_took_the_place_of_a_damaged_one_is_not_put_aside_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::open(directory.path()).unwrap();
    let bytes = content(1000, 1);
    let digest = Digest::sha256(&bytes);
    disk.put(Shelf::Blobs, &digest, &bytes).unwrap();
    let old = disk.get(Shelf::Blobs, &digest).unwrap();
    disk.put(Shelf::Blobs, &digest, &bytes).unwrap();
    let content = Content {
        shelf: Shelf::Blobs,
        digest,
    };
    assert!(!disk.quarantine_file(&content, &old.file).unwrap());
    assert!(disk.get(Shelf::Blobs, &digest).is_some());
    let new = disk.get(Shelf::Blobs, &digest).unwrap();
    assert!(disk.quarantine_file(&content, &new.file).unwrap());
    // Whoever comes late with the same news changes nothing.
    assert!(disk.quarantine(Shelf::Blobs, &digest).is_err());
    assert_eq!(disk.quarantined().objects, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_put_aside_is_bounded_by_bytes_and_by_age() {
    let directory = tempfile::tempdir().unwrap();
    let mut disk = Disk::open(directory.path()).unwrap();
    let space = Space {
        capacity: 100 * MIB as u64,
        ..Space::UNBOUNDED
    };
    disk.govern(space, Clock::start());
    let mut last = None;
    for seed in 1..=6 {
        let bytes = content(3 * MIB, seed * 2);
        let digest = Digest::sha256(&bytes);
        disk.put(Shelf::Blobs, &digest, &bytes).unwrap();
        disk.quarantine(Shelf::Blobs, &digest).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        last = Some(digest);
    }
    // A tenth of the capacity, which is counted as taken: the newest three of them.
    let kept = disk.quarantined();
    assert_eq!((kept.objects, kept.bytes), (3, 9 * MIB as u64));
    assert_eq!(disk.standing().reserved, 9 * MIB as u64);
    assert_eq!(disk.quarantined_size(&last.unwrap()), Some(3 * MIB as u64));
    let files = std::fs::read_dir(directory.path().join("v1/quarantine"))
        .unwrap()
        .count();
    assert_eq!(files, 3);
    tokio::time::sleep(Duration::from_secs(31 * 86_400)).await;
    disk.tidy_quarantine();
    assert_eq!(disk.quarantined().objects, 0);
    assert_eq!(disk.standing().reserved, 0);
}
