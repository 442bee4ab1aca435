//! The process dies between two steps, and nothing wrong is there afterwards.
//!
//! Each test starts this very program again as a child, which works until it comes by the point that it was
//! told to die at ([`Point`] lists them all), and then looks at what is left.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use seawall::oci::Digest;
use seawall::policy::eviction::on_disk;
use seawall::policy::holds::{Kind, Name};
use seawall::policy::retention::{Filter, Purge, Rules};
use seawall::store::Point;

use crate::support::registry::{Registry, Script};
use crate::support::seawall::{Choices, Seawall};
use crate::support::world::{MIB, blob_file, blob_path, content, image, manifest_path, named_files, room};

/// Where the child works; only a child has it.
const DIRECTORY: &str = "SEAWALL_CRASH_DIRECTORY";
/// Times a point is passed before the process dies at it.
const PASSES: u32 = 2;

/// The registry of parent and child: the same content every time.
struct Source {
    registry: Registry,
    /// Blobs that arrive as they should.
    good: Vec<(Digest, Bytes)>,
    /// One that the registry sends with a wrong byte the first time.
    wrong: (Digest, Bytes),
    /// One that is held, and damaged.
    damaged: (Digest, Bytes),
    /// Only the child pulls these, until there is no room.
    fillers: Vec<(Digest, Bytes)>,
}

fn source() -> Source {
    let registry = Registry::default();
    let put = |len: usize, seed| {
        let bytes = content(len, seed);
        (registry.blob("library/app", bytes.clone()), bytes)
    };
    let good = vec![put(2 * MIB + 7, 1), put(MIB / 2, 3), put(300, 5)];
    let (wrong, damaged) = (put(MIB, 7), put(MIB, 9));
    let fillers = (0..6).map(|number| put(MIB, 101 + 2 * number)).collect();
    image(&registry, Some("1"), 11);
    image(&registry, Some("2"), 13);
    Source {
        registry,
        good,
        wrong,
        damaged,
        fillers,
    }
}

/// So much room that the child runs out of it at its end.
fn narrow() -> Choices {
    Choices {
        space: room(8),
        ..Choices::default()
    }
}

/// What the damaged file is nobody knows before the directory was walked, and nothing is kept until then.
async fn walked(seawall: &Seawall) {
    while seawall.cache.status().cache.rebuilding {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The child. It pulls everything, some of it wrong at first, locks a tag for a while, purges, runs out of room, and ends well unless
/// it was told to die.
#[tokio::test(start_paused = true)]
async fn a_child_that_is_not_told_to_die_ends_well() {
    // Of its own, unless the tests below start it as a process over theirs.
    let own = tempfile::tempdir().unwrap();
    let directory = std::env::var_os(DIRECTORY).map_or(own.path().to_owned(), PathBuf::from);
    let source = source();
    let flip = Script {
        flip: Some(5000),
        times: Some(1),
        ..Script::default()
    };
    source.registry.script(blob_path(&source.wrong.0), flip);
    let seawall = Arc::new(Seawall::start(&directory, &source.registry, narrow()));
    walked(&seawall).await;
    for tag in ["1", "2"] {
        seawall.get(&manifest_path(tag)).await;
        seawall.cache.flush().await;
    }
    let all = source.good.iter().chain([&source.wrong, &source.damaged]);
    for (digest, _) in all {
        seawall.get(&blob_path(digest)).await;
    }
    seawall.cache.hold(&locked(), Kind::Lock).await.unwrap();
    assert!(seawall.cache.release(&locked(), Kind::Lock).await.unwrap());
    let purge = Purge::Rules(Rules {
        filters: vec![Filter::parse("docker.io/library/app:.*").unwrap()],
        ago: None,
        untagged: false,
        keep: 0,
    });
    seawall.cache.purge(purge, None).await.unwrap();
    for (digest, _) in &source.fillers {
        seawall.get(&blob_path(digest)).await;
        // What was pulled is kept before the next asks for room.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Arc::into_inner(seawall).unwrap().stop().await;
}

/// What the child locks.
fn locked() -> Name {
    let repository = "docker.io/library/app".parse().unwrap();
    Name::of_tag(&repository, &"1".parse().unwrap())
}

/// Runs the child over `directory`. True if it died where it was to die.
fn dies(directory: &Path, at: &str, pass: u32) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["crash::a_child_that_is_not_told_to_die_ends_well", "--exact"]);
    child.env(DIRECTORY, directory);
    child
        .env("SEAWALL_CRASH_AT", at)
        .env("SEAWALL_CRASH_PASS", pass.to_string());
    let ended = child
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(ended.success() || ended.signal() == Some(6), "{at}: {ended}");
    !ended.success()
}

/// Every file under a digest's name, with what it holds.
fn named(directory: &Path) -> BTreeMap<String, Bytes> {
    let files = named_files(directory).into_iter();
    let held = files.map(|path| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read(path).unwrap().into())
    });
    held.collect()
}

/// The index holds what the disk does, in whole blocks.
fn expect_accounted(seawall: &Seawall, directory: &Path, at: &str) {
    let on_disk: u64 = named(directory)
        .values()
        .map(|bytes| on_disk(bytes.len() as u64))
        .sum();
    let held = seawall.cache.status().cache.held;
    assert_eq!(held, on_disk, "{at}: the index and the disk disagree");
}

/// Puts a file that has gone bad where the content of a digest would be.
fn damage(directory: &Path, (digest, bytes): &(Digest, Bytes)) {
    let (path, mut bytes) = (blob_file(directory, digest), bytes.to_vec());
    bytes[1000] ^= 1;
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// After a death: what has a name hashes to it, everything is served right, what had a name costs nothing, and the
/// index holds what the disk does (F102).
async fn expect_whole(directory: &Path, at: &str) {
    let source = source();
    let mut held = named(directory);
    let rotten = held
        .get(&source.damaged.0.hex())
        .is_some_and(|bytes| *bytes != source.damaged.1);
    if rotten {
        held.remove(&source.damaged.0.hex());
    }
    for (name, bytes) in &held {
        assert_eq!(
            &Digest::sha256(bytes).hex(),
            name,
            "{at}: a wrong file has a name"
        );
    }
    let seawall = Arc::new(Seawall::start(directory, &source.registry, Choices::default()));
    // The walk is over long before.
    tokio::time::sleep(Duration::from_secs(10)).await;
    walked(&seawall).await;
    expect_accounted(&seawall, directory, at);
    let all = source.good.iter().chain([&source.wrong, &source.damaged]);
    for (digest, bytes) in all {
        let path = blob_path(digest);
        // What is found damaged may break off the answer that finds it, and never completes it wrong.
        let first = seawall.get(&path).await;
        assert!(
            !first.is_good() || first.body == *bytes,
            "{at}: wrong bytes were served"
        );
        let answer = seawall.get(&path).await;
        assert!(
            answer.is_good() && answer.body == *bytes,
            "{at}: {path} cannot be had"
        );
        let asked = source.registry.seen(&Method::GET, &path).len();
        match held.contains_key(&digest.hex()) {
            true => assert_eq!(asked, 0, "{at}: {path} was verified and named, and is lost"),
            // A second time if what the dead left of it was wrong.
            false => assert!(
                asked == 1 || asked == 2,
                "{at}: {path} was asked for {asked} times"
            ),
        }
    }
    for tag in ["1", "2"] {
        assert!(seawall.get(&manifest_path(tag)).await.is_good(), "{at}");
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    expect_accounted(&seawall, directory, at);
    Arc::into_inner(seawall).unwrap().stop().await;
    let mut after = named(directory);
    for (name, bytes) in &after {
        assert_eq!(
            &Digest::sha256(bytes).hex(),
            name,
            "{at}: a wrong file got a name later"
        );
    }
    for (digest, _) in &source.fillers {
        after.remove(&digest.hex());
    }
    // Everything that was asked for is held in the end, once each: five blobs and two manifests.
    assert_eq!(after.len(), 7, "{at}");
}

#[tokio::test(start_paused = true)]
async fn f085_a_death_at_any_point_leaves_nothing_wrong_and_loses_nothing_that_had_a_name() {
    for point in Point::ALL {
        for pass in 1..=PASSES {
            let directory = tempfile::tempdir().unwrap();
            damage(directory.path(), &source().damaged);
            let died = dies(directory.path(), point.name(), pass);
            assert!(died || pass > 1, "the child does not come by {}", point.name());
            expect_whole(directory.path(), &format!("{} ({pass})", point.name())).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn f085_a_child_that_dies_again_and_again_gets_there_in_the_end() {
    let directory = tempfile::tempdir().unwrap();
    damage(directory.path(), &source().damaged);
    let deaths = Point::ALL
        .iter()
        .filter(|point| dies(directory.path(), point.name(), 1));
    assert!(deaths.count() > 3);
    expect_whole(directory.path(), "after many deaths").await;
}

#[tokio::test(start_paused = true)]
async fn f085_a_death_while_a_lock_is_written_down_leaves_the_old_locks_or_the_new_ones() {
    // The first pass locks, the second unlocks.
    for (point, after) in [
        (Point::ReplacementWritten, [false, true]),
        (Point::ReplacementSynced, [false, true]),
        (Point::ReplacementNamed, [true, false]),
    ] {
        for (pass, after) in (1..).zip(after) {
            let at = format!("{} ({pass})", point.name());
            let directory = tempfile::tempdir().unwrap();
            assert!(dies(directory.path(), point.name(), pass), "{at}");
            let source = source();
            let seawall = Arc::new(Seawall::start(
                directory.path(),
                &source.registry,
                Choices::default(),
            ));
            let holds = seawall.cache.holds();
            assert_eq!(holds.kind_of(&locked()).is_some(), after, "{at}");
            // And it can be changed again.
            seawall.cache.release(&locked(), Kind::Lock).await.unwrap();
            assert!(seawall.cache.holds().is_empty(), "{at}");
            Arc::into_inner(seawall).unwrap().stop().await;
            let entries = std::fs::read_dir(directory.path().join("v1")).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let aside = names.filter(|name| name.starts_with("holds.damaged"));
            assert_eq!(aside.count(), 0, "{at}");
        }
    }
}
