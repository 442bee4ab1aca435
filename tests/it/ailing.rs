//! A disk in trouble is left alone, said to be so, and taken back when it has healed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use seawall::cache::{Asker, Body, Reader, Rescue};
use seawall::clock::Time;
use seawall::oci::Repository;
use seawall::policy::naming::Chosen;
use seawall::store::Disk;

use crate::support::seawall::{Choices, read};
use crate::support::world::{MIB, World, blob_file, blob_path, content, is_quarantined, world};

/// Pulls a new blob, which must arrive whatever the disk does.
async fn pull(world: &World, len: usize, seed: u64) -> seawall::oci::Digest {
    let bytes = content(len, seed);
    let digest = world.registry.blob("library/app", bytes.clone());
    let answer = world.seawall.get(&blob_path(&digest)).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.complete && answer.body == bytes);
    digest
}

fn disk_state(world: &World) -> String {
    world.seawall.cache.status().cache.disk.state
}

/// The value of a series; zero if it is not told.
fn metric(world: &World, series: &str) -> u64 {
    let text = world.seawall.metrics.exposition();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn f060_after_three_errors_nothing_is_tried_until_the_disk_has_healed_by_itself() {
    let world = world(Choices::default());
    let kept = pull(&world, MIB, 1).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    // A plain file where unfinished ones should go: nothing can be written, and everything can be read.
    let filling = world.directory.path().join("v1/filling");
    std::fs::remove_dir_all(&filling).unwrap();
    std::fs::write(&filling, "in the way").unwrap();
    for seed in 2..8 {
        pull(&world, MIB, seed).await;
    }
    assert_eq!(disk_state(&world), "missing");
    let words = world.seawall.cache.disk_in_words().unwrap();
    assert!(
        words.starts_with("disk: missing since ") && words.ends_with(", streaming without keeping"),
        "{words}"
    );
    let errors = r#"seawall_disk_errors_total{kind="missing",operation="begin"}"#;
    assert_eq!(
        metric(&world, errors),
        3,
        "the disk was tried after it was left alone"
    );
    assert_eq!(metric(&world, r#"seawall_disk_state{state="missing"}"#), 1);
    // What is held is served, and nobody is asked for it.
    assert!(world.seawall.get(&blob_path(&kept)).await.complete);
    assert_eq!(world.registry.seen(&Method::GET, &blob_path(&kept)).len(), 1);

    std::fs::remove_file(&filling).unwrap();
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(disk_state(&world), "ok");
    assert_eq!(world.seawall.cache.disk_in_words(), None);
    assert_eq!(metric(&world, r#"seawall_disk_state{state="ok"}"#), 1);
    let digest = pull(&world, MIB, 9).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(blob_file(world.directory.path(), &digest).exists());
    assert!(!filling.join("probe").exists());
}

#[tokio::test(start_paused = true)]
async fn f061_a_disk_that_takes_not_even_the_first_bytes_costs_neither_a_byte_nor_a_second_transfer() {
    let world = world(Choices::default());
    let bytes = content(2 * MIB, 1);
    let digest = world.registry.blob("library/app", bytes.clone());
    // A pipe can be opened, and takes nothing that is to stand at a place.
    let name = digest.to_string().replace(':', "-");
    let pipe = world.directory.path().join("v1/filling").join(name);
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let answer = world.seawall.get(&blob_path(&digest)).await;
    assert!(answer.complete && answer.body == bytes);
    assert_eq!(world.registry.seen(&Method::GET, &blob_path(&digest)).len(), 1);
    assert_eq!(
        metric(
            &world,
            r#"seawall_disk_errors_total{kind="other",operation="write"}"#
        ),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn f067_a_directory_that_vanishes_is_made_again_and_locked_again() {
    let world = world(Choices::default());
    pull(&world, MIB, 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Something may be written meanwhile.
    let root = world.directory.path().join("v1");
    while std::fs::remove_dir_all(&root).is_err() && root.exists() {}
    let digest = pull(&world, MIB, 2).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(blob_file(world.directory.path(), &digest).exists());
    assert_eq!(disk_state(&world), "ok");
    // The index has forgotten what went with it.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let cache = world.seawall.cache.status().cache;
    assert_eq!((cache.objects, cache.held), (1, MIB as u64));
    let second = Disk::open(world.directory.path()).unwrap_err();
    assert!(
        second.to_string().contains("in use by another process"),
        "{second}"
    );
}

#[tokio::test(start_paused = true)]
async fn f067_a_directory_that_another_process_has_taken_meanwhile_is_left_to_it() {
    let world = world(Choices::default());
    let root = world.directory.path().join("v1");
    std::fs::rename(&root, world.directory.path().join("gone")).unwrap();
    let other = Disk::open(world.directory.path()).unwrap();
    std::fs::remove_dir(root.join("filling")).unwrap();
    let digest = pull(&world, MIB, 1).await;
    assert_eq!(disk_state(&world), "taken");
    assert!(!blob_file(world.directory.path(), &digest).exists());
    drop(other);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(disk_state(&world), "ok");
    assert!(Disk::open(world.directory.path()).is_err());
}

#[tokio::test(start_paused = true)]
async fn f063_a_body_whose_file_becomes_unreadable_goes_on_from_the_upstream() {
    for range in [None, Some("bytes=100000-3000000")] {
        let world = world(Choices::default());
        let bytes = content(4 * MIB, 3);
        let digest = pull(&world, 4 * MIB, 3).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let headers: Vec<_> = range.iter().map(|range| ("range", *range)).collect();
        let path = blob_path(&digest);
        let answer = world.seawall.open(Method::GET, &path, &headers).await;
        cut_short(&world, &digest, MIB as u64);
        let answer = read(answer).await;
        let expected = if range.is_some() {
            &bytes[100_000..=3_000_000]
        } else {
            &bytes[..]
        };
        assert!(answer.complete && answer.body == expected, "{range:?}");
        assert!(is_quarantined(world.directory.path(), &digest));
        assert_eq!(world.registry.seen(&Method::GET, &blob_path(&digest)).len(), 2);
        // What came instead is held from now on.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(world.seawall.get(&blob_path(&digest)).await.body == bytes);
        assert_eq!(world.registry.seen(&Method::GET, &blob_path(&digest)).len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn f063_without_an_upstream_a_body_whose_file_becomes_unreadable_is_broken_off() {
    let world = world(Choices::default());
    let digest = pull(&world, 4 * MIB, 4).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let answer = world.seawall.open(Method::GET, &blob_path(&digest), &[]).await;
    world.registry.go_down();
    cut_short(&world, &digest, MIB as u64);
    assert!(!read(answer).await.complete);
}

#[tokio::test(start_paused = true)]
async fn f061_an_unfinished_file_that_cannot_be_read_is_begun_anew() {
    let world = world(Choices::default());
    let bytes = content(2 * MIB, 5);
    let digest = world.registry.blob("library/app", bytes.clone());
    // What cannot be read comes as a folder here: it cannot even be opened for writing.
    let name = digest.to_string().replace(':', "-");
    std::fs::create_dir(world.directory.path().join("v1/filling").join(name)).unwrap();
    let answer = world.seawall.get(&blob_path(&digest)).await;
    assert!(answer.complete && answer.body == bytes);
}

fn cut_short(world: &World, digest: &seawall::oci::Digest, len: u64) {
    let file = blob_file(world.directory.path(), digest);
    let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(len).unwrap();
}

/// What goes on for a client whose body comes out of the file that is held now.
async fn body_of_file(world: &World, digest: &seawall::oci::Digest) -> Arc<Rescue> {
    let repository = Repository {
        registry: "docker.io".parse().unwrap(),
        path: "library/app".parse().unwrap(),
    };
    let chosen = Chosen { entry: 0, repository };
    let asker = Asker {
        tier: 0,
        client: 1,
        deadline: Time::from_millis(1_000_000),
    };
    let served = world.seawall.cache.blob(&chosen, digest, &asker).await;
    match served.unwrap().body {
        Body::File(_, _, rescue) => rescue,
        _ => panic!("the blob is not served from its file"),
    }
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

/// Bytes that come, to the end.
async fn arriving(mut reader: Reader) -> u64 {
    let mut len = 0;
    while let Some(piece) = reader.next(u64::MAX).await.unwrap() {
        len += piece.length();
    }
    len
}

/// So many different blobs that are held.
async fn held(world: &World, count: u64) -> Vec<seawall::oci::Digest> {
    let mut digests = Vec::new();
    for number in 0..count {
        // Only odd seeds are all different.
        digests.push(pull(world, MIB, 2 * number + 1).await);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    digests
}

#[tokio::test(start_paused = true)]
async fn f066_a_read_that_takes_too_long_breaks_the_body_and_leaves_the_file() {
    let world = world(Choices::default());
    let digest = held(&world, 1).await[0];
    let late = io::Error::new(io::ErrorKind::TimedOut, "the disk did not answer in time");
    let stale = io::Error::from_raw_os_error(116);
    for error in [late, stale] {
        let rescue = body_of_file(&world, &digest).await;
        let Err(broken) = rescue.read(1000, MIB as u64, error).await else {
            panic!("the body went on");
        };
        assert!(broken.to_string().contains("cannot be read now"), "{broken}");
        assert!(blob_file(world.directory.path(), &digest).exists());
        assert!(!is_quarantined(world.directory.path(), &digest));
    }
    // The client tries again, and nobody else is asked.
    assert!(world.seawall.get(&blob_path(&digest)).await.complete);
    assert_eq!(world.registry.seen(&Method::GET, &blob_path(&digest)).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn f063_what_cannot_be_read_is_put_aside_until_the_disk_is_to_blame() {
    let world = world(Choices::default());
    let digests = held(&world, 6).await;
    for (number, digest) in digests.iter().enumerate() {
        // Many read the first one. It is one file all the same.
        let readers = if number == 0 { 10 } else { 1 };
        let mut bodies = Vec::new();
        for _ in 0..readers {
            bodies.push(body_of_file(&world, digest).await);
        }
        for rescue in bodies {
            let reader = rescue.read(1000, MIB as u64, eio()).await.unwrap();
            assert_eq!(arriving(reader).await, MIB as u64 - 1000);
        }
        assert_eq!(
            is_quarantined(world.directory.path(), digest),
            number < 3,
            "{number}"
        );
        assert_eq!(world.registry.seen(&Method::GET, &blob_path(digest)).len(), 2);
    }
    // A file that ends too soon is damaged, whatever the disk is like.
    let rescue = body_of_file(&world, &digests[5]).await;
    let short = io::Error::from(io::ErrorKind::UnexpectedEof);
    arriving(rescue.read(0, MIB as u64, short).await.unwrap()).await;
    assert!(is_quarantined(world.directory.path(), &digests[5]));
}

#[tokio::test(start_paused = true)]
async fn f063_who_reads_a_file_that_was_replaced_does_not_put_the_new_one_aside() {
    let world = world(Choices::default());
    let digest = held(&world, 1).await[0];
    let first = body_of_file(&world, &digest).await;
    let second = body_of_file(&world, &digest).await;
    arriving(first.read(0, MIB as u64, eio()).await.unwrap()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let file = blob_file(world.directory.path(), &digest);
    assert!(file.exists());
    let late = second.read(0, MIB as u64, eio()).await.unwrap();
    assert_eq!(arriving(late).await, MIB as u64);
    assert!(file.exists());
    assert_eq!(world.seawall.cache.status().cache.quarantined, 1);
    assert_eq!(world.registry.seen(&Method::GET, &blob_path(&digest)).len(), 2);
}

#[test]
fn only_what_says_that_a_file_is_damaged_is_held_against_it() {
    use io::ErrorKind::{Interrupted, NotFound, Other, PermissionDenied, TimedOut, UnexpectedEof};
    assert!(Disk::blames_file(&eio()));
    assert!(Disk::blames_file(&UnexpectedEof.into()));
    for kind in [TimedOut, Interrupted, NotFound, Other, PermissionDenied] {
        assert!(!Disk::blames_file(&kind.into()), "{kind}");
    }
    // ENOMEM, EMFILE, ESTALE
    for number in [12, 24, 116] {
        assert!(
            !Disk::blames_file(&io::Error::from_raw_os_error(number)),
            "{number}"
        );
    }
}
