//! Who walks, and who waits for whom.

use std::time::Duration;

use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::tests::{NOW, everything, options, put_image, repository, tag};
use super::*;
use crate::cache::HoldError;
use crate::clock::Clock;
use crate::net::dial::Dialer;
use crate::policy::holds::Name;
use crate::store::{Disk, Held, Records};
use crate::telemetry::metrics::Metrics;
use crate::upstream::{Budgets, Upstreams};

/// Longer than anything takes that does not wait for somebody.
const LONG: Duration = Duration::from_secs(3600);

/// A cache with one image, under the tag `dev`.
fn cache(folder: &TempDir) -> (Cache, Digest) {
    let disk = Disk::open(folder.path()).unwrap();
    let records = Records::open(&disk.records_path());
    let clock = Clock::start();
    let upstreams = Upstreams::new(Vec::new(), Budgets::default(), &Dialer::system(), clock);
    let cache = Cache::new(
        options(folder),
        disk,
        records,
        Arc::new(upstreams),
        Arc::new(Metrics::new()),
        TaskTracker::new(),
        clock,
    );
    let digest = put_image(&cache.shelves, Digest::sha256(b"layer"), "dev", "dev");
    let manifest = Held {
        bytes: "dev".into(),
        manifest: Some(crate::oci::MediaType::OCI_MANIFEST),
    };
    cache.shelves.memory.put(digest, manifest);
    (cache, digest)
}

#[tokio::test(start_paused = true)]
async fn purges_and_dry_runs_walk_when_it_is_their_turn_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, _) = cache(&folder);
    let turn = cache.turn().await.unwrap();
    assert!(timeout(LONG, cache.plan_purge(everything())).await.is_err());
    assert!(timeout(LONG, cache.purge(everything(), None)).await.is_err());
    drop(turn);
    assert_eq!(cache.plan_purge(everything()).await.unwrap().goes.len(), 2);
    assert_eq!(cache.purge(everything(), None).await.unwrap().plan.goes.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_purge_that_removes_keeps_others_from_purging_and_nobody_from_looking() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, _) = cache(&folder);
    let _removing = cache.purges.clone().acquire_owned().await.unwrap();
    assert!(timeout(LONG, cache.purge(everything(), None)).await.is_err());
    assert!(timeout(LONG, cache.plan_purge(everything())).await.is_ok());
    assert!(timeout(LONG, cache.usage(1, 1)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_hold_waits_for_no_walk_and_is_refused_while_what_it_names_is_being_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, digest) = cache(&folder);
    let _walking = cache.turn().await.unwrap();
    let named = [
        Name::of_tag(&repository(), &tag("dev")),
        Name {
            repository: repository(),
            reference: Reference::Digest(digest),
        },
    ];
    let shelves = cache.shelves.clone();
    let (begun, began) = tokio::sync::oneshot::channel();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let purging = std::thread::spawn(move || {
        let plan = shelves.plan(&everything(), NOW).unwrap().0;
        let going = shelves.keeper.let_go(Arc::new(plan));
        begun.send(()).unwrap();
        let _ = ended.blocking_recv();
        drop(going);
    });
    began.await.unwrap();
    for name in &named {
        let refused = cache.hold(name, Kind::Lock).await.unwrap_err();
        assert!(
            matches!(&refused, HoldError::Going(going) if going == name),
            "{refused}"
        );
        assert!(refused.to_string().contains("being purged at this moment"));
    }
    assert!(cache.holds().is_empty());
    end.send(()).unwrap();
    purging.join().unwrap();
    for name in &named {
        cache.hold(name, Kind::Lock).await.unwrap();
        assert!(cache.release(name, Kind::Lock).await.unwrap());
    }
}
