//! Purges: a dry run tells what an application removes, and nothing that is kept is harmed by it.

mod operator;

use std::time::Duration;

use http::{Method, StatusCode};
use seawall::cache::{PurgeError, ScheduledPurge};
use seawall::oci::{Digest, Reference};
use seawall::policy::holds::{Kind, Name};
use seawall::policy::retention::{Exact, Filter, Item, Purge, Rules};
use seawall::policy::schedule::{Schedule, Zone};
use tokio_util::sync::CancellationToken;

use crate::support::seawall::{Choices, Seawall, read};
use crate::support::world::{Image, OCI_MANIFEST, World, blob_file, blob_path, image, manifest_path, world};

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

#[tokio::test(start_paused = true)]
async fn a_lock_keeps_its_layers_when_the_records_of_them_were_lost() {
    let (world, _, release) = pulled().await;
    let name = Name {
        repository: "docker.io/library/app".parse().unwrap(),
        reference: Reference::Tag("v1".parse().unwrap()),
    };
    world.seawall.cache.hold(&name, Kind::Lock).await.unwrap();
    let (registry, directory) = world.stop().await;
    std::fs::remove_file(directory.path().join("v1/records.redb")).unwrap();
    // Another repository has the same layer.
    let layer = registry.blob("library/other", registry.bytes_of(&blob_path(&release.layer)));
    assert_eq!(layer, release.layer);
    let manifest = registry.bytes_of(&manifest_path(release.manifest));
    let body = String::from_utf8(manifest.to_vec()).unwrap() + "\n";
    registry.manifest("library/other", Some("1"), OCI_MANIFEST, &body);
    let seawall = Seawall::start(directory.path(), &registry, Choices::default());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(seawall.get("/v2/library/other/manifests/1").await.is_good());
    assert!(
        seawall
            .get(&format!("/v2/library/other/blobs/{layer}"))
            .await
            .is_good()
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    let file = blob_file(directory.path(), &layer);
    let cache = &seawall.cache;
    for (purge, goes) in [
        (by("docker.io/library/other:.*"), 2),
        (Purge::Exact(vec![Exact::Everywhere(layer)]), 0),
    ] {
        let plan = cache.plan_purge(purge.clone()).await.unwrap();
        let item = Item::Blob(layer);
        assert!(plan.stays.iter().any(|stays| stays.item == item), "{plan:?}");
        assert_eq!(plan.goes.len(), goes, "the tag and its manifest: {plan:?}");
        let purged = cache.purge(purge, Some(plan.fingerprint())).await.unwrap();
        assert_eq!(
            (purged.plan, purged.failed, purged.spared),
            (plan, 0, Vec::new()),
            "the dry run agrees"
        );
        assert!(file.exists());
    }
    registry.go_down();
    assert!(seawall.get(&manifest_path("v1")).await.is_good());
    assert!(seawall.get(&blob_path(&layer)).await.is_good());
}

#[tokio::test(start_paused = true)]
async fn a_scheduled_purge_runs_at_its_time_and_again() {
    let (world, dev, _) = pulled().await;
    let schedule = Schedule::parse("30 3 * * *", Zone::named("Europe/Berlin").unwrap()).unwrap();
    let purge = ScheduledPurge {
        rules: Rules {
            ago: Some(Duration::from_secs(36 * 3600)),
            ..rules(".*:dev")
        },
        schedule,
    };
    let cache = world.seawall.cache.clone();
    let purging =
        tokio::spawn(async move { cache.purge_by_calendar(&purge, &CancellationToken::new()).await });
    let told = || world.seawall.cache.status().cache.scheduled;
    settle(|| !told().is_empty()).await;
    let begun = &told()[0];
    let now = world.seawall.cache.status().now;
    assert_eq!(
        (begun.filters.as_slice(), begun.schedule.as_str()),
        (&[".*:dev".to_owned()][..], "30 3 * * * Europe/Berlin")
    );
    assert!((now..now + 25 * 3_600_000).contains(&begun.next.unwrap()));
    assert_eq!(begun.last, None);
    // The first run comes within a day, when the tag is too young; the third within three.
    tokio::time::sleep(Duration::from_secs(25 * 3600)).await;
    assert!(blob_file(world.directory.path(), &dev.layer).exists());
    let mut went = None;
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        went = went.or_else(|| told()[0].last.clone().filter(|last| last.removed > 0));
    }
    settle(|| !blob_file(world.directory.path(), &dev.layer).exists()).await;
    let last = went.expect("it was told");
    assert_eq!(
        (last.removed, last.failed, last.left, last.error),
        (4, 0, 0, None)
    );
    assert!(last.bytes > 0 && last.ended > begun.next.unwrap());
    assert!(!purging.is_finished());
    purging.abort();
    settle(|| told().is_empty()).await;
    assert!(world.seawall.get(&manifest_path("v1")).await.is_good());
}

/// Lets blocking work come to its end; it takes no virtual time.
async fn settle(done: impl Fn() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        tokio::task::spawn_blocking(|| {}).await.unwrap();
        tokio::task::yield_now().await;
    }
    panic!("it does not come to its end");
}
