//! What is held is hashed again behind everybody's back: all of it in a period, over restarts, out of others' way.

use super::*;
use crate::support::world::copy;

const HOUR: Duration = Duration::from_secs(3600);

/// What has everything hashed again within an hour.
fn hourly() -> Choices {
    Choices {
        scrub: Some(HOUR),
        ..Choices::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_is_found_by_the_scrub_and_fetched_again_when_pulled() {
    // F070
    let world = world(hourly());
    let (digest, bytes) = pulled(&world, 1).await;
    let (sound, _) = pulled(&world, 2).await;
    flip(&blob_file(world.directory.path(), &digest), MIB as u64);
    for _ in 0..120 {
        tokio::time::sleep(HOUR / 60).await;
        if is_quarantined(world.directory.path(), &digest) {
            break;
        }
    }
    assert_eq!(world.seawall.cache.status().cache.scrub.damaged, 1);
    tokio::time::sleep(HOUR).await;
    assert!(is_quarantined(world.directory.path(), &digest));
    assert!(!is_quarantined(world.directory.path(), &sound));
    assert_eq!(metric(&world.seawall, DAMAGED), 1.0);
    assert_eq!(metric(&world.seawall, "seawall_quarantine_objects"), 1.0);
    assert!(metric(&world.seawall, "seawall_scrub_objects_total") >= 2.0);
    let again = world.seawall.get(&blob_path(&digest)).await;
    assert!(again.is_good() && again.body == bytes);
    assert_eq!((gets(&world, &digest), gets(&world, &sound)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_scrub_looks_at_everything_once_in_its_period_and_goes_on_after_a_restart() {
    let world = world(hourly());
    for seed in 1..=6 {
        pulled(&world, seed).await;
    }
    tokio::time::sleep(HOUR / 2).await;
    let looked = metric(&world.seawall, "seawall_scrub_objects_total");
    assert!((2.0..=5.0).contains(&looked), "{looked} objects in half a period");
    let progress = world.seawall.cache.status().cache.scrub.progress;
    assert!((0.3..=0.9).contains(&progress), "{progress}");
    let (registry, directory) = world.stop().await;
    let seawall = Seawall::start(directory.path(), &registry, hourly());
    let goes_on = seawall.cache.status().cache.scrub.progress;
    assert!(goes_on >= progress, "{goes_on} after {progress}");
    assert_eq!(seawall.cache.status().cache.scrub.ended, None);
    tokio::time::sleep(HOUR * 2 / 3).await;
    assert!(seawall.cache.status().cache.scrub.ended.is_some());
}

/// Objects that were looked at since the start.
fn looked(seawall: &Seawall) -> f64 {
    metric(seawall, "seawall_scrub_objects_total")
}

#[tokio::test(start_paused = true)]
async fn a_crash_costs_a_scrub_no_more_than_its_last_minute() {
    let world = world(hourly());
    for seed in 1..=6 {
        pulled(&world, seed).await;
    }
    tokio::time::sleep(HOUR / 2).await;
    let progress = world.seawall.cache.status().cache.scrub.progress;
    tokio::time::sleep(Duration::from_secs(61)).await;
    world.seawall.cache.flush().await;
    let left = tempfile::tempdir().unwrap();
    copy(&world.directory.path().join("v1"), &left.path().join("v1"));
    let seawall = Seawall::start(left.path(), &world.registry, hourly());
    let goes_on = seawall.cache.status().cache.scrub.progress;
    assert!(
        progress > 0.3 && goes_on >= progress,
        "{goes_on} after {progress}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_restart_between_two_passes_leaves_the_last_object_its_time() {
    let world = world(hourly());
    pulled(&world, 1).await;
    pulled(&world, 2).await;
    while world.seawall.cache.status().cache.scrub.ended.is_none() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let (registry, directory) = world.stop().await;
    // A process's clock begins at the time of day: what went by faster than that is still to come.
    let seawall = Seawall::start(directory.path(), &registry, hourly());
    tokio::time::sleep(HOUR / 3).await;
    assert_eq!(looked(&seawall), 0.0);
    tokio::time::sleep(HOUR / 3).await;
    assert_eq!(looked(&seawall), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_scrub_reads_slowly_only_while_others_use_the_disk() {
    for others in [false, true] {
        let world = world(Choices::default());
        let digest = world.registry.blob("library/app", content(20 * MIB, 14));
        assert!(world.seawall.get(&blob_path(&digest)).await.is_good());
        let (registry, directory) = world.stop().await;
        let seawall = Seawall::start(directory.path(), &registry, hourly());
        let reader = match others {
            true => Some(seawall.open(Method::GET, &blob_path(&digest), &[]).await),
            false => None,
        };
        // It begins once it is known what is held, which it looks at every minute.
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(looked(&seawall), f64::from(u8::from(!others)), "{others}");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(looked(&seawall), 1.0, "{others}");
        drop(reader);
    }
}
