//! A disk that refuses, or is taken away: the client never learns of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};

use crate::support::registry::Script;
use crate::support::seawall::{Choices, Seawall, read};
use crate::support::world::{
    MIB, World, blob_file, blob_path, content, image, is_quarantined, manifest_path, world,
};

/// A world whose disk refuses every new file: a plain file stands where unfinished ones should go.
fn refusing() -> World {
    let world = world(Choices::default());
    let filling = world.directory.path().join("v1/filling");
    std::fs::remove_dir_all(&filling).unwrap();
    std::fs::write(&filling, "in the way").unwrap();
    world
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_refuses_new_files_costs_the_client_nothing() {
    // F060, F061, F064: more than the relay's window, so that it has to wait for its reader.
    let world = refusing();
    let bytes = content(24 * MIB, 1);
    let digest = world.registry.blob("library/app", bytes.clone());
    let answer = world.seawall.get(&blob_path(&digest)).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.complete);
    assert!(answer.body == bytes);
}

#[tokio::test(start_paused = true)]
async fn two_readers_of_a_relay_cost_one_transfer() {
    let world = refusing();
    let bytes = content(12 * MIB, 2);
    let digest = world.registry.blob("library/app", bytes.clone());
    let path = blob_path(&digest);
    let slow = Script::paced(Duration::from_millis(10));
    world.registry.script(&path, slow);
    let first = world.seawall.open(Method::GET, &path, &[]).await;
    let second = world.seawall.open(Method::GET, &path, &[]).await;
    let (first, second) = tokio::join!(read(first), read(second));
    assert!(first.body == bytes && second.body == bytes);
    assert_eq!(world.registry.seen(&Method::GET, &path).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stands_still_is_cut_off_and_the_other_goes_on() {
    // F066: memory stays bounded, and one reader's patience is not another's.
    let world = refusing();
    let bytes = content(40 * MIB, 3);
    let digest = world.registry.blob("library/app", bytes.clone());
    let path = blob_path(&digest);
    let stuck = world.seawall.open(Method::GET, &path, &[]).await;
    let answer = world.seawall.get(&path).await;
    assert!(answer.complete && answer.body == bytes);
    assert!(!read(stuck).await.complete);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_comes_after_the_beginning_has_gone_by_is_served_as_well() {
    let world = refusing();
    let bytes = content(40 * MIB, 4);
    let digest = world.registry.blob("library/app", bytes.clone());
    let path = blob_path(&digest);
    let slow = Script::paced(Duration::from_millis(100));
    world.registry.script(&path, slow);
    let first = tokio::spawn({
        let (seawall, path) = (world.seawall.clone(), path.clone());
        async move { seawall.get(&path).await }
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    let late = world.seawall.get(&path).await;
    assert!(late.complete && late.body == bytes);
    assert!(first.await.unwrap().body == bytes);
}

#[tokio::test(start_paused = true)]
async fn manifests_are_served_although_they_cannot_be_kept_on_disk() {
    let world = refusing();
    image(&world.registry, Some("1"), 5);
    for _ in 0..2 {
        assert_eq!(
            world.seawall.get(&manifest_path("1")).await.status,
            StatusCode::OK
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_is_emptied_under_us_is_filled_again() {
    // F067
    let world = world(Choices::default());
    let bytes = content(2 * MIB, 6);
    let digest = world.registry.blob("library/app", bytes.clone());
    for _ in 0..2 {
        let answer = world.seawall.get(&blob_path(&digest)).await;
        assert!(answer.complete && answer.body == bytes);
        tokio::time::sleep(Duration::from_secs(1)).await;
        std::fs::remove_dir_all(world.directory.path().join("v1/blobs")).unwrap();
        std::fs::remove_dir_all(world.directory.path().join("v1/filling")).unwrap();
    }
    assert_eq!(world.registry.seen(&Method::GET, &blob_path(&digest)).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_hashing_at_the_first_serve_the_length_is_still_checked() {
    // F071: a truncated file is noticed when it is opened, and hashed after all.
    for truncated in [false, true] {
        let choices = Choices {
            verify_first_serve: false,
            ..Choices::default()
        };
        let world = world(choices.clone());
        let bytes = content(2 * MIB, 8);
        let digest = world.registry.blob("library/app", bytes.clone());
        assert!(world.seawall.get(&blob_path(&digest)).await.complete);
        let (registry, directory) = world.stop().await;
        let file = blob_file(directory.path(), &digest);
        if truncated {
            std::fs::OpenOptions::new()
                .write(true)
                .open(file)
                .unwrap()
                .set_len(MIB as u64)
                .unwrap();
        }
        let seawall = Seawall::start(directory.path(), &registry, choices);
        // The first answer is broken off, or comes after the damage was found: never complete and wrong.
        let first = seawall.get(&blob_path(&digest)).await;
        assert!(!first.is_good() || first.body == bytes);
        let again = seawall.get(&blob_path(&digest)).await;
        assert!(again.complete && again.body == bytes);
        assert_eq!(is_quarantined(directory.path(), &digest), truncated);
        assert_eq!(
            registry.seen(&Method::GET, &blob_path(&digest)).len(),
            1 + usize::from(truncated)
        );
    }
}

/// Every file below a directory, with its length and when it was changed last.
fn standing(directory: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let (path, metadata) = entry
            .map(|entry| (entry.path(), entry.metadata().unwrap()))
            .unwrap();
        match metadata.is_dir() {
            true => found.extend(standing(&path)),
            false => drop(found.insert(path, (metadata.len(), metadata.modified().unwrap()))),
        }
    }
    found
}

#[tokio::test(start_paused = true)]
async fn hits_write_nothing_on_their_way_and_are_written_down_later() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 5);
    let large = world.registry.blob("library/app", content(2 * MIB, 6));
    let paths = [
        manifest_path("1"),
        manifest_path(image.manifest),
        blob_path(&image.layer),
        blob_path(&large),
    ];
    for path in &paths {
        assert!(world.seawall.get(path).await.is_good());
    }
    // Until that is written down.
    tokio::time::sleep(Duration::from_secs(120)).await;
    world.seawall.cache.flush().await;
    let before = standing(world.directory.path());
    for _ in 0..20 {
        for path in &paths {
            assert!(world.seawall.get(path).await.is_good());
        }
        // What would be written behind would be by now.
        tokio::task::spawn_blocking(|| {}).await.unwrap();
    }
    assert_eq!(standing(world.directory.path()), before);
    world.seawall.cache.flush().await;
    assert_ne!(standing(world.directory.path()), before, "pulls are written down");
}

#[test]
fn a_second_process_on_one_directory_is_refused() {
    // F076
    let directory = tempfile::tempdir().unwrap();
    let _first = seawall::store::Disk::open(directory.path()).unwrap();
    let second = seawall::store::Disk::open(directory.path()).unwrap_err();
    assert!(
        second.to_string().contains("in use by another process"),
        "{second}"
    );
}

/// Puts something there.
type Put = fn(&Path);

#[tokio::test(start_paused = true)]
async fn foreign_things_under_a_digests_name_are_not_served() {
    // F074, S087: a link, a folder, a pipe that nobody writes.
    let foreign: [(&str, Put); 3] = [
        ("link", |at| {
            std::os::unix::fs::symlink("/etc/passwd", at).unwrap()
        }),
        ("folder", |at| std::fs::create_dir(at).unwrap()),
        ("pipe", |at| {
            let made = std::process::Command::new("mkfifo").arg(at).status().unwrap();
            assert!(made.success());
        }),
    ];
    for (seed, (what, put)) in foreign.into_iter().enumerate() {
        let world = world(Choices::default());
        let bytes = content(MIB, 7 + seed as u64);
        let digest = world.registry.blob("library/app", bytes.clone());
        let file = blob_file(world.directory.path(), &digest);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        put(&file);
        let answer = world.seawall.get(&blob_path(&digest)).await;
        assert!(answer.complete && answer.body == bytes, "{what}");
    }
}
