//! Purges: a dry run tells what an application removes, and nothing that is kept is harmed by it.

use std::time::Duration;

use http::Method;
use seawall::cache::PurgeError;
use seawall::oci::{Digest, Reference};
use seawall::policy::holds::{Kind, Name};
use seawall::policy::retention::{Exact, Filter, Item, Purge, Rules};

use crate::support::seawall::{Choices, Seawall, read};
use crate::support::world::{Image, World, blob_file, blob_path, image, manifest_path, world};

fn rules(filter: &str) -> Rules {
    Rules {
        filters: vec![Filter::parse(filter).unwrap()],
        ago: None,
        untagged: false,
        keep: 0,
    }
}

fn by(filter: &str) -> Purge {
    Purge::Rules(rules(filter))
}

/// A world with two images that have been pulled whole, under the tags `dev` and `v1`.
async fn pulled() -> (World, Image, Image) {
    let world = world(Choices::default());
    let (dev, release) = (
        image(&world.registry, Some("dev"), 1),
        image(&world.registry, Some("v1"), 2),
    );
    for (tag, image) in [("dev", &dev), ("v1", &release)] {
        assert!(world.seawall.get(&manifest_path(tag)).await.is_good());
        for blob in [image.config, image.layer] {
            assert!(world.seawall.get(&blob_path(&blob)).await.is_good());
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    (world, dev, release)
}

fn asked(world: &World) -> usize {
    world.registry.journal().len()
}

#[tokio::test(start_paused = true)]
async fn what_a_dry_run_told_is_what_goes_and_the_rest_is_served_as_before() {
    let (world, dev, release) = pulled().await;
    let cache = &world.seawall.cache;
    let before = cache.catalog().await.unwrap();
    let plan = cache.plan_purge(by("docker.io/library/.*:dev")).await.unwrap();
    assert_eq!(
        cache.catalog().await.unwrap().blobs,
        before.blobs,
        "a dry run removes nothing"
    );
    let purged = cache
        .purge(by("docker.io/library/.*:dev"), Some(plan.fingerprint()))
        .await;
    let purged = purged.unwrap();
    assert_eq!((&purged.plan, purged.failed), (&plan, 0));
    let after = cache.catalog().await.unwrap();
    let bytes = |catalog: &seawall::policy::catalog::Catalog| {
        let manifests = catalog.manifests.iter().map(|each| each.size);
        manifests
            .chain(catalog.blobs.iter().map(|blob| blob.size))
            .sum::<u64>()
    };
    assert_eq!(bytes(&before) - bytes(&after), plan.bytes());
    assert!(after.tags.iter().all(|tag| tag.tag.as_str() == "v1"));
    assert!(!blob_file(world.directory.path(), &dev.layer).exists());
    assert_eq!(
        cache
            .plan_purge(by("docker.io/library/.*:dev"))
            .await
            .unwrap()
            .goes,
        []
    );

    let asked_before = asked(&world);
    assert!(world.seawall.get(&manifest_path("v1")).await.is_good());
    assert!(world.seawall.get(&blob_path(&release.layer)).await.is_good());
    assert_eq!(asked(&world), asked_before, "what stays is served from here");
    // What has gone is fetched anew, memory included.
    assert!(world.seawall.get(&manifest_path("dev")).await.is_good());
    assert!(world.seawall.get(&blob_path(&dev.config)).await.is_good());
    assert_eq!(asked(&world), asked_before + 3);
}

#[tokio::test(start_paused = true)]
async fn what_was_purged_stays_away_over_a_restart() {
    let (world, dev, _) = pulled().await;
    world.seawall.cache.purge(by(".*:dev"), None).await.unwrap();
    let (registry, directory) = world.stop().await;
    let seawall = Seawall::start(directory.path(), &registry, Choices::default());
    let catalog = seawall.cache.catalog().await.unwrap();
    assert_eq!(
        (catalog.tags.len(), catalog.manifests.len(), catalog.unnamed.len()),
        (1, 1, 0)
    );
    assert!(catalog.blobs.iter().all(|blob| blob.digest != dev.layer));
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_is_another_by_now_is_not_applied() {
    let (world, dev, _) = pulled().await;
    let cache = &world.seawall.cache;
    let purge = Purge::Rules(Rules {
        ago: Some(Duration::from_secs(7 * 86_400)),
        ..rules(".*:dev")
    });
    tokio::time::sleep(Duration::from_secs(8 * 86_400)).await;
    let plan = cache.plan_purge(purge.clone()).await.unwrap();
    assert_eq!(
        plan.goes
            .iter()
            .filter(|going| matches!(going.item, Item::Tag(..)))
            .count(),
        1
    );
    assert!(world.seawall.get(&manifest_path(dev.manifest)).await.is_good());
    let refused = cache.purge(purge, Some(plan.fingerprint())).await;
    let Err(PurgeError::Changed(now)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(now.goes, []);
    assert!(blob_file(world.directory.path(), &dev.layer).exists());
}

#[tokio::test(start_paused = true)]
async fn what_is_being_read_is_read_to_its_end() {
    let (world, dev, _) = pulled().await;
    let open = world.seawall.open(Method::GET, &blob_path(&dev.layer), &[]).await;
    let purged = world.seawall.cache.purge(by(".*:dev"), None).await.unwrap();
    assert!(purged.plan.bytes() > 0);
    assert!(!blob_file(world.directory.path(), &dev.layer).exists());
    let answer = read(open).await;
    assert!(answer.is_good());
    assert_eq!(Digest::sha256(&answer.body), dev.layer);
}

#[tokio::test(start_paused = true)]
async fn one_leaked_blob_goes_by_its_digest_and_a_lock_keeps_even_that() {
    let (world, dev, release) = pulled().await;
    let cache = &world.seawall.cache;
    let exactly = |digest| Purge::Exact(vec![Exact::Everywhere(digest)]);
    let purged = cache.purge(exactly(dev.layer), None).await.unwrap();
    assert_eq!(purged.plan.goes.len(), 1);
    assert!(!blob_file(world.directory.path(), &dev.layer).exists());
    let name = Name {
        repository: "docker.io/library/app".parse().unwrap(),
        reference: Reference::Tag("v1".parse().unwrap()),
    };
    cache.hold(&name, Kind::Lock).await.unwrap();
    let purged = cache.purge(exactly(release.layer), None).await.unwrap();
    assert_eq!((purged.plan.goes.len(), purged.plan.stays.len()), (0, 1));
    assert!(blob_file(world.directory.path(), &release.layer).exists());
    let purged = cache.purge(by(".*:.*"), None).await.unwrap();
    assert!(
        purged
            .plan
            .stays
            .iter()
            .any(|stays| stays.item.to_string().ends_with(":v1"))
    );
    assert!(world.seawall.get(&manifest_path("v1")).await.is_good());
}
