//! One upstream transfer per digest, verified, streamed to everyone.

use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::BodyExt;
use seawall::oci::Digest;

use crate::support::registry::Script;
use crate::support::seawall::{Choices, Seawall, read};
use crate::support::world::{
    MIB, blob_file, blob_path as path_of, content, is_quarantined, named_files, world,
};

/// Every file of the cache that has a final name hashes to it.
fn assert_names_are_true(directory: &std::path::Path) -> usize {
    let files = named_files(directory);
    for path in &files {
        let digest = Digest::sha256(&std::fs::read(path).unwrap());
        assert_eq!(digest.hex(), path.file_name().unwrap().to_str().unwrap());
    }
    files.len()
}

#[tokio::test(start_paused = true)]
async fn twenty_staggered_clients_cost_one_upstream_get() {
    // F046, F049: 32 MiB at 1 MiB per 10 ms; a client joins every 15 ms.
    let world = world(Choices::default());
    let bytes = content(32 * MIB, 1);
    let digest = world.registry.blob("library/app", bytes.clone());
    let path = path_of(&digest);
    let slow = Script::paced(Duration::from_millis(10));
    world.registry.script(&path, slow);
    let clients = (0..20).map(|index| {
        let (seawall, path) = (world.seawall.clone(), path.clone());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(15 * index)).await;
            seawall.get(&path).await
        })
    });
    for client in clients.collect::<Vec<_>>() {
        let answer = client.await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        assert!(answer.complete);
        assert!(answer.body == bytes);
    }
    assert_eq!(world.registry.seen(&Method::GET, &path).len(), 1);
    assert_eq!(world.registry.sent(), 32 * MIB as u64);
}

#[tokio::test(start_paused = true)]
async fn a_joiner_gets_its_first_byte_at_once() {
    // P6: within 50 ms of what is available, although the fill takes ten seconds.
    let world = world(Choices::default());
    let digest = world.registry.blob("library/app", content(10 * MIB, 2));
    let path = path_of(&digest);
    let slow = Script::paced(Duration::from_secs(1));
    world.registry.script(&path, slow);
    let first = tokio::spawn({
        let (seawall, path) = (world.seawall.clone(), path.clone());
        async move { seawall.get(&path).await }
    });
    tokio::time::sleep(Duration::from_millis(4500)).await;
    let asked = tokio::time::Instant::now();
    let mut joiner = world.seawall.open(Method::GET, &path, &[]).await;
    joiner.body_mut().frame().await.unwrap().unwrap();
    assert!(
        asked.elapsed() < Duration::from_millis(50),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(joiner.headers()["cache-status"], "seawall; fwd=miss; collapsed");
    assert!(first.await.unwrap().complete);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_byte_breaks_the_body_and_is_not_kept() {
    // F005, F006: whichever byte it is, the last one included.
    for at in [0, MIB, 3 * MIB - 1] {
        let world = world(Choices::default());
        let bytes = content(3 * MIB, 3);
        let digest = world.registry.blob("library/app", bytes.clone());
        let path = path_of(&digest);
        let wrong = Script {
            flip: Some(at),
            times: Some(1),
            ..Script::default()
        };
        world.registry.script(&path, wrong);
        let answer = world.seawall.get(&path).await;
        assert!(!answer.is_good(), "flipped byte {at}");
        assert!(answer.body.len() <= 3 * MIB - 64 * 1024);
        assert_eq!(assert_names_are_true(world.directory.path()), 0);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let again = world.seawall.get(&path).await;
        assert!(again.complete);
        assert!(again.body == bytes);
    }
}

#[tokio::test(start_paused = true)]
async fn a_small_wrong_blob_is_never_answered_with_200() {
    // F005, F014
    let world = world(Choices::default());
    let digest = world.registry.blob("library/app", content(1000, 4));
    let wrong = Script {
        flip: Some(7),
        ..Script::default()
    };
    world.registry.script(path_of(&digest), wrong);
    let answer = world.seawall.get(&path_of(&digest)).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
}

#[tokio::test(start_paused = true)]
async fn a_broken_transfer_is_resumed_where_it_stopped() {
    // F001, F002: the client sees one whole body, the upstream is asked for the rest only, wherever it broke.
    for cut in [1, MIB + 17, 4 * MIB - 1] {
        let world = world(Choices::default());
        let bytes = content(4 * MIB, 5);
        let digest = world.registry.blob("library/app", bytes.clone());
        let path = path_of(&digest);
        let broken = Script {
            cut_after: Some(cut),
            times: Some(1),
            ..Script::default()
        };
        world.registry.script(&path, broken);
        let answer = world.seawall.get(&path).await;
        assert!(answer.complete, "{cut}");
        assert!(answer.body == bytes, "{cut}");
        let gets = world.registry.seen(&Method::GET, &path);
        assert_eq!(gets.len(), 2, "{cut}");
        assert!(gets[1].headers.contains_key("range"), "{cut}");
        assert!(world.registry.sent() <= 4 * MIB as u64 + 64 * 1024, "{cut}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stands_still_is_gone_on_with_when_that_has_lasted_too_long() {
    // F003
    let world = world(Choices::default());
    let bytes = content(2 * MIB, 13);
    let digest = world.registry.blob("library/app", bytes.clone());
    let path = path_of(&digest);
    let stands = Script {
        stall_after: Some(MIB),
        times: Some(1),
        ..Script::default()
    };
    world.registry.script(&path, stands);
    let asked = tokio::time::Instant::now();
    let answer = world.seawall.get(&path).await;
    assert!(answer.complete && answer.body == bytes);
    // The idle limit, and a little.
    assert!(asked.elapsed() < Duration::from_secs(35), "{:?}", asked.elapsed());
    assert_eq!(world.registry.seen(&Method::GET, &path).len(), 2);
    assert!(world.registry.sent() <= 2 * MIB as u64 + 64 * 1024);
}

#[tokio::test(start_paused = true)]
async fn what_comes_instead_of_a_blob_is_never_completed_and_never_kept() {
    // F009, F011: its beginning, something more than it, and a stretch twice, each of the length that was announced.
    let bytes = content(2 * MIB, 14);
    let half = MIB / 2;
    let twice = [&bytes[..MIB], &bytes[half..MIB + half]].concat();
    let more = [&bytes[..], b"more"].concat();
    for instead in [bytes.slice(..MIB), more.into(), twice.into()] {
        let world = world(Choices::default());
        let path = path_of(&world.registry.blob("library/app", bytes.clone()));
        let wrong = Script {
            body: Some(instead.clone()),
            times: Some(1),
            ..Script::default()
        };
        world.registry.script(&path, wrong);
        let answer = world.seawall.get(&path).await;
        assert!(!answer.is_good(), "{} bytes", instead.len());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(assert_names_are_true(world.directory.path()), 0);
        let again = world.seawall.get(&path).await;
        assert!(again.is_good() && again.body == bytes);
    }
}

#[tokio::test(start_paused = true)]
async fn who_goes_on_by_a_range_after_wrong_bytes_gets_right_ones() {
    // F017b
    let world = world(Choices::default());
    let bytes = content(3 * MIB, 15);
    let path = path_of(&world.registry.blob("library/app", bytes.clone()));
    let wrong = Script {
        flip: Some(2 * MIB),
        times: Some(1),
        ..Script::default()
    };
    world.registry.script(&path, wrong);
    let broken = world.seawall.get(&path).await;
    assert!(!broken.is_good());
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Before the wrong byte and behind it.
    for start in [MIB, 2 * MIB + 1] {
        let range = format!("bytes={start}-");
        let rest = world.seawall.ask(Method::GET, &path, &[("range", &range)]).await;
        assert_eq!(rest.status, StatusCode::PARTIAL_CONTENT);
        assert!(rest.complete && rest.body == bytes[start..]);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(assert_names_are_true(world.directory.path()), 1);
}

#[tokio::test(start_paused = true)]
async fn a_resume_that_is_answered_from_the_start_repeats_no_byte() {
    // F016
    let world = world(Choices::default());
    let bytes = content(2 * MIB, 6);
    let digest = world.registry.blob("library/app", bytes.clone());
    let path = path_of(&digest);
    let cut = Script {
        cut_after: Some(MIB),
        ignore_range: true,
        times: Some(1),
        ..Script::default()
    };
    world.registry.script(&path, cut);
    let client = tokio::spawn({
        let (seawall, path) = (world.seawall.clone(), path.clone());
        async move { seawall.get(&path).await }
    });
    tokio::time::sleep(Duration::from_millis(5)).await;
    world.registry.script(
        &path,
        Script {
            ignore_range: true,
            ..Script::default()
        },
    );
    let answer = client.await.unwrap();
    assert!(answer.complete);
    assert!(answer.body == bytes);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_leaves_takes_nothing_away() {
    // F047
    let world = world(Choices::default());
    let bytes = content(8 * MIB, 7);
    let digest = world.registry.blob("library/app", bytes.clone());
    let path = path_of(&digest);
    world
        .registry
        .script(&path, Script::paced(Duration::from_secs(1)));
    let leader = world.seawall.open(Method::GET, &path, &[]).await;
    let follower = world.seawall.open(Method::GET, &path, &[]).await;
    drop(leader);
    let answer = read(follower).await;
    assert!(answer.complete);
    assert!(answer.body == bytes);
    assert_eq!(world.registry.seen(&Method::GET, &path).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_fill_is_resumed_by_the_next_client() {
    // F048, with a policy that finishes nothing nobody reads.
    let mut choices = Choices::default();
    choices.flights.finish_below = 0;
    let world = world(choices);
    let bytes = content(8 * MIB, 8);
    let digest = world.registry.blob("library/app", bytes.clone());
    let path = path_of(&digest);
    world
        .registry
        .script(&path, Script::paced(Duration::from_secs(1)));
    let only = world.seawall.open(Method::GET, &path, &[]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    drop(only);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.registry.sent() < 8 * MIB as u64, "the download went on");
    let answer = world.seawall.get(&path).await;
    assert!(answer.body == bytes);
    let gets = world.registry.seen(&Method::GET, &path);
    assert_eq!(gets.len(), 2);
    assert!(gets[1].headers.contains_key("range"));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_delays_no_other() {
    // F050: one reader stops reading; the other gets everything as the upstream sends it.
    let world = world(Choices::default());
    let bytes = content(16 * MIB, 9);
    let digest = world.registry.blob("library/app", bytes.clone());
    let path = path_of(&digest);
    world
        .registry
        .script(&path, Script::paced(Duration::from_millis(10)));
    let stuck = world.seawall.open(Method::GET, &path, &[]).await;
    let asked = tokio::time::Instant::now();
    let answer = world.seawall.get(&path).await;
    assert!(answer.body == bytes);
    assert!(
        asked.elapsed() < Duration::from_millis(500),
        "{:?}",
        asked.elapsed()
    );
    assert!(read(stuck).await.body == bytes);
}

#[tokio::test(start_paused = true)]
async fn a_restart_finds_what_was_verified() {
    // P3
    let world = world(Choices::default());
    let bytes = content(2 * MIB, 10);
    let digest = world.registry.blob("library/app", bytes.clone());
    assert!(world.seawall.get(&path_of(&digest)).await.body == bytes);
    let (registry, directory) = world.stop().await;
    registry.go_down();
    let seawall = Seawall::start(directory.path(), &registry, Choices::default());
    let answer = seawall.get(&path_of(&digest)).await;
    assert!(answer.complete);
    assert!(answer.body == bytes);
    assert_eq!(answer.header("cache-status"), "seawall; hit");
    assert_eq!(assert_names_are_true(directory.path()), 1);
}

#[tokio::test(start_paused = true)]
async fn bit_rot_is_found_at_the_first_serve_after_a_start() {
    // F070: the damaged copy is put aside, and the next request gets a good one.
    let world = world(Choices::default());
    let bytes = content(2 * MIB, 11);
    let digest = world.registry.blob("library/app", bytes.clone());
    assert!(world.seawall.get(&path_of(&digest)).await.complete);
    let (registry, directory) = world.stop().await;
    let file = blob_file(directory.path(), &digest);
    let mut rotten = bytes.to_vec();
    rotten[MIB] ^= 4;
    std::fs::write(&file, rotten).unwrap();
    let seawall = Seawall::start(directory.path(), &registry, Choices::default());
    // Hashing and serving run side by side: the first answer is broken off, or comes after the damage was
    // found and is good. It is never complete and wrong.
    let first = seawall.get(&path_of(&digest)).await;
    assert!(!first.is_good() || first.body == bytes);
    let again = seawall.get(&path_of(&digest)).await;
    assert!(again.complete);
    assert!(again.body == bytes);
    // The commit comes after the client's last byte.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(assert_names_are_true(directory.path()), 1);
    assert!(is_quarantined(directory.path(), &digest));
    assert_eq!(registry.seen(&Method::GET, &path_of(&digest)).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_truncated_file_is_never_served_whole() {
    // F071, F072
    for len in [0, 1000] {
        let world = world(Choices::default());
        let bytes = content(2 * MIB, 12);
        let digest = world.registry.blob("library/app", bytes.clone());
        assert!(world.seawall.get(&path_of(&digest)).await.complete);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let file = blob_file(world.directory.path(), &digest);
        std::fs::OpenOptions::new()
            .write(true)
            .open(file)
            .unwrap()
            .set_len(len)
            .unwrap();
        let answer = world.seawall.get(&path_of(&digest)).await;
        assert!(answer.complete);
        assert!(answer.body == bytes);
    }
}
