//! What a start finds, and what it makes of it.

use super::*;
use crate::support::world::copy;

#[tokio::test(start_paused = true)]
async fn a_start_knows_at_once_what_is_held_and_after_the_walk_exactly() {
    // F102: killed before anything but the commits was written down.
    let world = world(bounded(64));
    let mut digests = Vec::new();
    for seed in 1..6 {
        let bytes = unlike(3 * MIB + 5, seed);
        let digest = world.registry.blob("library/app", bytes.clone());
        pull(&world.seawall, &digest, &bytes).await;
        digests.push((digest, bytes));
    }
    image(&world.registry, Some("1"), 7);
    world.seawall.get(&manifest_path("1")).await;
    settle().await;
    world.seawall.cache.flush().await;
    let crashed = tempfile::tempdir().unwrap();
    copy(&world.directory.path().join("v1"), &crashed.path().join("v1"));
    // Between the crash and the start: one file goes, and one is cut short.
    std::fs::remove_file(blob_file(crashed.path(), &digests[0].0)).unwrap();
    let cut = std::fs::OpenOptions::new()
        .write(true)
        .open(blob_file(crashed.path(), &digests[1].0));
    cut.unwrap().set_len(MIB as u64).unwrap();
    let seawall = Seawall::start(crashed.path(), &world.registry, bounded(64));
    assert_eq!(told(&seawall).0, told(&world.seawall).0);
    settle().await;
    // What was cut short was put aside by the walk, and counts.
    assert_eq!(told(&seawall), (held_on_disk(crashed.path()), MIB as u64));
    let path = blob_path(&digests[1].0);
    let again = seawall.get(&path).await;
    assert!(again.is_good() && again.body == digests[1].1);
    assert!(is_quarantined(crashed.path(), &digests[1].0));
    settle().await;
    assert_eq!(told(&seawall).0, held_on_disk(crashed.path()));
}

#[tokio::test(start_paused = true)]
async fn records_that_are_lost_or_damaged_are_made_anew_from_the_files() {
    // F075
    let world = world(bounded(64));
    let bytes = unlike(3 * MIB, 1);
    let digest = world.registry.blob("library/app", bytes.clone());
    pull(&world.seawall, &digest, &bytes).await;
    image(&world.registry, Some("1"), 2);
    world.seawall.get(&manifest_path("1")).await;
    let (registry, directory) = world.stop().await;
    let held = held_on_disk(directory.path());
    let records = directory.path().join("v1/records.redb");
    let whole = std::fs::read(&records).unwrap();
    let step = whole.len() / 7;
    let cuts = (0..whole.len())
        .step_by(step)
        .chain([1, 511, 4096, whole.len() - 1]);
    for cut in cuts.map(Some).chain([None]) {
        match cut {
            Some(cut) => std::fs::write(&records, &whole[..cut]).unwrap(),
            None => std::fs::remove_file(&records).unwrap(),
        }
        let seawall = Seawall::start(directory.path(), &registry, bounded(64));
        pull(&seawall, &digest, &bytes).await;
        settle().await;
        assert_eq!(told(&seawall), (held, 0), "cut at {cut:?}");
        assert!(!seawall.cache.status().cache.rebuilding);
        assert_eq!(registry.seen(&Method::GET, &blob_path(&digest)).len(), 1);
        seawall.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_new_is_kept_before_it_is_known_what_is_there() {
    let world = world(bounded(64));
    let bytes = unlike(3 * MIB, 1);
    let digest = world.registry.blob("library/app", bytes.clone());
    pull(&world.seawall, &digest, &bytes).await;
    let (registry, directory) = world.stop().await;
    std::fs::remove_file(directory.path().join("v1/records.redb")).unwrap();
    let disk = seawall::store::Disk::open(directory.path()).unwrap();
    let new = Digest::sha256(b"new");
    let error = disk.put(seawall::store::Shelf::Blobs, &new, b"new").unwrap_err();
    assert!(seawall::store::NotKept::of(&error).is_some(), "{error}");
    assert!(disk.get(seawall::store::Shelf::Blobs, &digest).is_some());
    drop(disk);
    let seawall = Seawall::start(directory.path(), &registry, bounded(64));
    settle().await;
    let bytes = unlike(3 * MIB, 2);
    let digest = registry.blob("library/app", bytes.clone());
    pull(&seawall, &digest, &bytes).await;
    settle().await;
    assert!(blob_file(directory.path(), &digest).exists());
}

#[tokio::test(start_paused = true)]
async fn junk_in_the_directory_is_left_alone_and_counted() {
    // F074, S087
    let world = world(bounded(64));
    let bytes = unlike(3 * MIB, 1);
    let digest = world.registry.blob("library/app", bytes.clone());
    pull(&world.seawall, &digest, &bytes).await;
    let (registry, directory) = world.stop().await;
    let folder = blob_file(directory.path(), &digest).parent().unwrap().to_owned();
    std::fs::remove_file(directory.path().join("v1/records.redb")).unwrap();
    for number in 0..100 {
        std::fs::write(folder.join(format!("odd{number}")), "junk").unwrap();
    }
    let hex = |byte: &str| format!("{byte}{}", "0".repeat(62));
    let name = folder.file_name().unwrap().to_str().unwrap();
    std::fs::create_dir(folder.join(hex(name))).unwrap();
    let linked = format!("{name}{}", "1".repeat(62));
    std::os::unix::fs::symlink("/etc/passwd", folder.join(linked)).unwrap();
    let pipe = folder.join(format!("{name}{}", "2".repeat(62)));
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    std::fs::write(directory.path().join("v1/blobs/README"), "junk").unwrap();
    std::fs::create_dir(directory.path().join("v1/blobs/sha256/zz")).unwrap();
    let misplaced = directory.path().join("v1/blobs/sha256/zz").join(hex("zz"));
    std::fs::write(misplaced, "junk").unwrap();
    let seawall = Seawall::start(directory.path(), &registry, bounded(64));
    settle().await;
    assert_eq!(told(&seawall), (bytes.len() as u64, 0));
    assert_eq!(seawall.cache.status().cache.objects, 1);
    let text = seawall.metrics.exposition();
    assert!(text.contains("seawall_cache_foreign_files 105"), "{text}");
    assert!(folder.join("odd7").exists());
    pull(&seawall, &digest, &bytes).await;
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_is_emptied_counts_as_empty_when_it_is_next_asked() {
    // F067
    let world = world(bounded(64));
    let mut blobs = Vec::new();
    for seed in 1..4 {
        let bytes = unlike(4 * MIB, seed);
        let digest = world.registry.blob("library/app", bytes.clone());
        pull(&world.seawall, &digest, &bytes).await;
        blobs.push((digest, bytes));
    }
    settle().await;
    for entry in std::fs::read_dir(world.directory.path().join("v1")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        }
    }
    for (digest, bytes) in &blobs {
        pull(&world.seawall, digest, bytes).await;
        settle().await;
        assert!(is_held(&world, digest));
    }
    assert_eq!(told(&world.seawall), (held_on_disk(world.directory.path()), 0));
}

#[tokio::test(start_paused = true)]
async fn stale_unfinished_files_are_counted_and_swept() {
    // F080
    let directory = tempfile::tempdir().unwrap();
    let filling = directory.path().join("v1/filling");
    std::fs::create_dir_all(&filling).unwrap();
    let resumable = filling.join(format!("sha256-{}", "ab".repeat(32)));
    std::fs::write(&resumable, unlike(MIB, 1)).unwrap();
    for number in 0..1000 {
        std::fs::write(filling.join(format!("sha256-old.{number}.put")), "unfinished").unwrap();
    }
    let registry = Registry::default();
    let seawall = Seawall::start(directory.path(), &registry, bounded(64));
    assert_eq!(told(&seawall).1, (MIB + 1000 * 4096) as u64);
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    seawall.cache.sweep_unfinished(long_ago).unwrap();
    assert_eq!(std::fs::read_dir(&filling).unwrap().count(), 1);
    assert_eq!(told(&seawall).1, MIB as u64);
    let tomorrow = std::fs::metadata(&resumable).unwrap().modified().unwrap() + Duration::from_secs(86_400);
    seawall.cache.sweep_unfinished(tomorrow).unwrap();
    assert_eq!(told(&seawall), (0, 0));
}
