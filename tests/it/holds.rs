//! Locks and pins: what the operator holds stays, over restarts and the loss of the records.

use std::time::Duration;

use seawall::cache::HoldError;
use seawall::oci::{Digest, Reference};
use seawall::policy::holds::{Kind, Name};
use seawall::store::Disk;

use crate::support::registry::Registry;
use crate::support::seawall::{Choices, Seawall};
use crate::support::world::{World, blob_path, image, manifest_path, world};

/// A tag or digest of the tests' repository.
fn name(reference: &str) -> Name {
    let reference = match reference.parse::<Digest>() {
        Ok(digest) => Reference::Digest(digest),
        Err(_) => Reference::Tag(reference.parse().unwrap()),
    };
    Name {
        repository: "docker.io/library/app".parse().unwrap(),
        reference,
    }
}

/// A world with an image that has been pulled whole under the tag `1`.
async fn pulled() -> World {
    let world = world(Choices::default());
    pull(&world, 1).await;
    world
}

/// Puts an image under the tag `1`, and pulls it whole once the tag is stale.
async fn pull(world: &World, seed: u64) -> Digest {
    let image = image(&world.registry, Some("1"), seed);
    tokio::time::sleep(Duration::from_secs(301)).await;
    assert!(world.seawall.get(&manifest_path("1")).await.is_good());
    for blob in [image.config, image.layer] {
        assert!(world.seawall.get(&blob_path(&blob)).await.is_good());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    image.manifest
}

fn served(answer: &crate::support::seawall::Answer) -> String {
    answer.header("docker-content-digest").to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_locked_tag_serves_what_it_pointed_at_and_its_upstream_is_not_asked() {
    let world = pulled().await;
    let old = served(&world.seawall.get(&manifest_path("1")).await);
    world.seawall.cache.hold(&name("1"), Kind::Lock).await.unwrap();
    let new = image(&world.registry, Some("1"), 2).manifest.to_string();
    tokio::time::sleep(Duration::from_secs(30 * 86_400)).await;
    let asked = world.registry.journal().len();
    let answer = world.seawall.get(&manifest_path("1")).await;
    assert_eq!(served(&answer), old);
    assert_eq!(answer.header("cache-status"), "seawall; hit; detail=locked");
    assert_eq!(world.registry.journal().len(), asked);
    assert!(world.seawall.cache.release(&name("1"), Kind::Lock).await.unwrap());
    assert_eq!(served(&world.seawall.get(&manifest_path("1")).await), new);
}

#[tokio::test(start_paused = true)]
async fn a_lock_outlives_a_restart_and_the_loss_of_the_records() {
    let world = pulled().await;
    let old = served(&world.seawall.get(&manifest_path("1")).await);
    world.seawall.cache.hold(&name("1"), Kind::Lock).await.unwrap();
    image(&world.registry, Some("1"), 2);
    let (registry, directory) = world.stop().await;
    std::fs::remove_file(directory.path().join("v1/records.redb")).unwrap();
    registry.go_down();
    let seawall = Seawall::start(directory.path(), &registry, Choices::default());
    let answer = seawall.get(&manifest_path("1")).await;
    assert_eq!(served(&answer), old);
    assert_eq!(answer.header("cache-status"), "seawall; hit; detail=locked");
    let tags = seawall.cache.catalog().await.unwrap().tags;
    assert_eq!(tags.len(), 1, "a locked tag is listed");
}

#[tokio::test(start_paused = true)]
async fn a_pin_follows_its_tag() {
    let world = pulled().await;
    world.seawall.cache.hold(&name("1"), Kind::Pin).await.unwrap();
    let new = pull(&world, 2).await;
    let holds = world.seawall.cache.holds();
    let kept: Vec<Digest> = holds.roots().map(|(_, digest, _)| *digest).collect();
    assert_eq!(kept, [new]);
    let (registry, directory) = world.stop().await;
    let seawall = Seawall::start(directory.path(), &registry, Choices::default());
    let holds = seawall.cache.holds();
    assert_eq!(
        holds.roots().map(|(_, digest, _)| *digest).collect::<Vec<_>>(),
        [new]
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_not_held_cannot_be_locked_and_the_way_out_is_told() {
    let world = pulled().await;
    let nobody = Digest::sha256(b"nobody's").to_string();
    for missing in ["2", nobody.as_str()] {
        let refused = world.seawall.cache.hold(&name(missing), Kind::Lock).await;
        let Err(error @ HoldError::NotHeld(_)) = refused else {
            panic!("{refused:?}")
        };
        assert!(
            error.to_string().contains("seawall warm docker.io/library/app"),
            "{error}"
        );
    }
    assert!(world.seawall.cache.holds().is_empty());
    assert!(!world.seawall.cache.release(&name("2"), Kind::Pin).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_cannot_be_written_down_is_no_lock() {
    let world = pulled().await;
    let file = world.directory.path().join("v1/holds.json");
    std::fs::create_dir(&file).unwrap();
    let refused = world.seawall.cache.hold(&name("1"), Kind::Lock).await;
    assert!(matches!(refused, Err(HoldError::Disk(_))), "{refused:?}");
    assert!(world.seawall.cache.holds().is_empty());
    std::fs::remove_dir(&file).unwrap();
    world.seawall.cache.hold(&name("1"), Kind::Lock).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_disk_is_told_to_keep_what_is_held_with_its_blobs() {
    let world = pulled().await;
    let digest: Digest = served(&world.seawall.get(&manifest_path("1")).await)
        .parse()
        .unwrap();
    world.seawall.cache.hold(&name("1"), Kind::Pin).await.unwrap();
    let held = || world.seawall.cache.held_contents();
    assert_eq!(held().len(), 3);
    assert!(held().iter().any(|content| content.digest == digest));
    world.seawall.cache.release(&name("1"), Kind::Pin).await.unwrap();
    assert!(held().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_damaged_file_of_holds_is_kept() {
    let registry = Registry::default();
    let directory = tempfile::tempdir().unwrap();
    drop(Disk::open(directory.path()).unwrap());
    let path = directory.path().join("v1/holds.json");
    std::fs::write(&path, "{ \"version\": 1, ").unwrap();
    let seawall = Seawall::start(directory.path(), &registry, Choices::default());
    assert!(seawall.cache.holds().is_empty());
    let kept = std::fs::read_to_string(path.with_extension("damaged-1")).unwrap();
    assert_eq!(kept, "{ \"version\": 1, ");
}
