//! Stores between a registry and its blobs: addresses that end, ranges that lie, bytes that are wrong.

use std::time::Duration;

use super::super::BodyFault;
use super::super::client::{Shop, blob, verified};
use super::super::content::Image;
use super::super::journal::{Counted, Role};
use super::super::presets::hub;
use super::super::switches::{Range, Switches};

/// Bytes of a layer: more than a pipe holds.
const LAYER: usize = 400_000;

fn shop(switches: Switches) -> (Shop, Image) {
    let shop = Shop::open(switches);
    let image = shop.sim.image("library/app", "1", 1, LAYER);
    (shop, image)
}

fn spoil_all(shop: &Shop, fault: &BodyFault) {
    for role in [Role::Store(0), Role::Store(1)] {
        shop.sim.spoil(role, fault.clone());
    }
}

#[tokio::test(start_paused = true)]
async fn a_signed_address_that_ends_during_the_body_is_replaced_and_the_bytes_are_the_same() {
    let (shop, image) = shop(hub());
    let layer = image.platforms[0].blobs[1];
    let slow = BodyFault {
        pace: Some((10_000, Duration::from_secs(20))),
        cut_after: Some(350_000),
        times: Some(1),
        ..BodyFault::default()
    };
    shop.sim.spoil(Role::Store(0), slow);
    let answer = shop.curt().get(&blob("library/app", &layer)).await;
    assert_eq!(verified(&answer, Some(&layer)), Ok(layer));
    // Longer than an address is good for.
    assert!(shop.sim.now() > 600_000);
    let journal = shop.sim.journal();
    assert_eq!(
        (journal.status(307), journal.status(206), journal.status(403)),
        (2, 1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn addresses_that_have_ended_when_they_arrive_are_not_asked_for_for_ever() {
    let (shop, image) = shop(Switches {
        signature_life: Duration::ZERO,
        ..hub()
    });
    let path = blob("library/app", &image.platforms[0].blobs[1]);
    let answer = shop.curt().get(&path).await;
    assert!(!answer.is_good());
    let refused = shop.sim.journal().status(403);
    assert!((2..=8).contains(&refused), "{refused}");
    shop.sim
        .turn(|switches| switches.signature_life = Duration::from_secs(600));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(shop.patient().get(&path).await.is_good());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_sends_wrong_bytes_spoils_nothing_that_another_has_right() {
    let (shop, image) = shop(hub());
    let fault = BodyFault {
        flip: Some(1000),
        ..BodyFault::default()
    };
    shop.sim.spoil(Role::Store(0), fault);
    for digest in &image.platforms[0].blobs {
        let answer = shop.patient().get(&blob("library/app", digest)).await;
        assert_eq!(verified(&answer, Some(digest)), Ok(*digest));
        assert_eq!(shop.sim.journal().given(digest), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_the_blob_is_never_served_and_never_kept() {
    let faults = [
        BodyFault {
            instead: Some("<html>please sign in to the network</html>"),
            ..BodyFault::default()
        },
        BodyFault {
            instead: Some(""),
            ..BodyFault::default()
        },
        BodyFault {
            claims: Some("gzip"),
            ..BodyFault::default()
        },
        BodyFault {
            flip: Some(LAYER - 1),
            ..BodyFault::default()
        },
    ];
    for fault in faults {
        let (shop, image) = shop(hub());
        let layer = image.platforms[0].blobs[1];
        spoil_all(&shop, &fault);
        for _ in 0..3 {
            let answer = shop.curt().get(&blob("library/app", &layer)).await;
            assert!(!answer.is_good(), "{fault:?}: {}", answer.status);
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        shop.sim.heal();
        let answer = shop.patient().get(&blob("library/app", &layer)).await;
        assert_eq!(verified(&answer, Some(&layer)), Ok(layer), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_body_is_gone_on_with_however_ranges_are_answered() {
    for range in [Range::Right, Range::Ignored, Range::Wrong] {
        let (shop, image) = shop(Switches { range, ..hub() });
        let layer = image.platforms[0].blobs[1];
        let cut = BodyFault {
            cut_after: Some(200_000),
            times: Some(1),
            ..BodyFault::default()
        };
        shop.sim.spoil(Role::Store(0), cut);
        let answer = shop.patient().get(&blob("library/app", &layer)).await;
        assert_eq!(verified(&answer, Some(&layer)), Ok(layer), "{range:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_drips_holds_up_nobody_elses_blob() {
    let (shop, image) = shop(hub());
    let [slow, quick] = [image.platforms[0].blobs[1], image.platforms[0].blobs[2]];
    let drip = BodyFault {
        pace: Some((1, Duration::from_secs(1))),
        times: Some(1),
        ..BodyFault::default()
    };
    shop.sim.spoil(Role::Store(0), drip);
    let client = shop.curt();
    let dripping = tokio::spawn(async move { client.get(&blob("library/app", &slow)).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = shop.sim.now();
    let answer = shop.curt().get(&blob("library/app", &quick)).await;
    assert_eq!(verified(&answer, Some(&quick)), Ok(quick));
    assert!(shop.sim.now() - begun < 1000);
    dripping.abort();
}
