//! Who walks, and who waits for whom.

use std::time::Duration;

use tempfile::TempDir;
use tokio::time::timeout;

use super::tests::{NOW, everything, put_image, repository, tag};
use super::*;
use crate::cache::HoldError;
use crate::cache::tests::empty;
use crate::policy::holds::Name;
use crate::store::Held;

/// Longer than anything takes that does not wait for somebody.
const LONG: Duration = Duration::from_secs(3600);

/// A cache with one image, under the tag `dev`.
fn cache(folder: &TempDir) -> (Cache, Digest) {
    let cache = empty(folder);
    let digest = put_image(&cache.shelves, Digest::sha256(b"layer"), "dev", "dev");
    let manifest = Held {
        bytes: "dev".into(),
        manifest: Some(crate::oci::MediaType::OCI_MANIFEST),
    };
    cache.shelves.memory.put(digest, manifest, false);
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
    let (cache, digest) = cache(&folder);
    // It cannot remove anything before this is dropped.
    let mut still = cache.shelves.keeper.changing_alone().await;
    let (removing, began) = (cache.clone(), cache.clone());
    // In a runtime of its own: this one's time goes on while it waits.
    let purging = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(removing.purge(everything(), None)).unwrap()
    });
    let states = || {
        let purges = began.purges_under_way().purges.into_iter();
        purges.map(|one| one.state).collect::<Vec<_>>()
    };
    while states() != ["removing"] {
        std::thread::yield_now();
    }
    assert!(timeout(LONG, cache.purge(everything(), None)).await.is_err());
    assert_eq!(states(), ["removing"], "who went away does not wait");
    let planned = timeout(LONG, cache.plan_purge(everything())).await;
    assert_eq!(planned.unwrap().unwrap().goes.len(), 2);
    assert!(timeout(LONG, cache.usage(1, 1)).await.is_ok());
    // Before it removes anything, it says what nobody can hold any more.
    let name = Name::of_tag(&repository(), &tag("dev"));
    while !cache.shelves.keeper.is_going(&name, &digest) {
        assert!(!purging.is_finished(), "it removed what could still be held");
        let mut next = Box::pin(cache.shelves.keeper.changing_alone());
        // In line, behind whom waits already.
        assert!(timeout(Duration::ZERO, &mut next).await.is_err());
        drop(still);
        still = next.await;
    }
    drop(still);
    assert_eq!(purging.join().unwrap().removed().goes.len(), 2);
    assert!(states().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_purge_that_waits_is_told_and_removes_nothing_if_it_was_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, _) = cache(&folder);
    let name = cache.plan_purge(everything()).await.unwrap().fingerprint();
    let before = cache.purges.clone().acquire_owned().await.unwrap();
    let (purging, planned) = (cache.clone(), name.clone());
    let mut purging = std::pin::pin!(async move { purging.purge(everything(), Some(planned)).await });
    assert!(timeout(LONG, &mut purging).await.is_err());
    let told = cache.purges_under_way().purges;
    assert_eq!(
        (told.len(), told[0].state.as_str(), told[0].planned),
        (1, "waiting", None)
    );
    assert_eq!(
        (told[0].by.as_str(), told[0].what.as_str()),
        ("operator", ".*:dev")
    );
    assert!(cache.stop_purges(Some("another plan")).purges.is_empty());
    assert_eq!(cache.stop_purges(Some(&name)).purges[0].state, "stopping");
    drop(before);
    let purged = purging.await.unwrap();
    assert_eq!((purged.left.len(), purged.removed().goes.len()), (2, 0));
    assert_eq!(cache.plan_purge(everything()).await.unwrap().goes.len(), 2);
    assert!(cache.stop_purges(None).purges.is_empty());
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
