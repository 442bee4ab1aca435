//! Stores between a registry and its blobs: addresses that end, ranges that lie, bytes that are wrong. Where
//! the registry gives the bytes itself, its own are spoilt.

use std::time::Duration;

use super::super::BodyFault;
use super::super::client::{Shop, blob, verified};
use super::super::content::Image;
use super::super::journal::{Counted, Role};
use super::super::presets::Preset;
use super::super::switches::{Delivery, Range};
use super::over::{shop, turned, unhurried, with_stores};

/// Bytes of a layer: more than a pipe holds.
const LAYER: usize = 100_000;

fn open(preset: &Preset, case: &str) -> (Shop, Image) {
    let shop = shop(preset, case);
    let image = shop.sim.image("library/app", "1", 1, LAYER);
    (shop, image)
}

/// Who gives the first blob that is asked for.
fn giver(preset: &Preset) -> Role {
    match preset.switches.blobs {
        Delivery::Inline => Role::Registry,
        Delivery::Redirect(_) | Delivery::RedirectWithPage(_) => Role::Store(0),
    }
}

fn spoil_all(shop: &Shop, fault: &BodyFault) {
    for role in [Role::Registry, Role::Store(0), Role::Store(1)] {
        shop.sim.spoil(role, fault.clone());
    }
}

#[tokio::test(start_paused = true)]
async fn a_signed_address_that_ends_during_the_body_is_replaced_and_the_bytes_are_the_same() {
    for preset in with_stores() {
        let (shop, image) = open(&preset, "");
        let layer = image.platforms[0].blobs[1];
        let slow = BodyFault {
            pace: Some((2500, Duration::from_secs(20))),
            cut_after: Some(90_000),
            times: Some(1),
            ..BodyFault::default()
        };
        shop.sim.spoil(Role::Store(0), slow);
        let answer = shop.curt().get(&blob("library/app", &layer)).await;
        let got = verified(&answer, Some(&layer));
        assert_eq!(got, Ok(layer), "{}", shop.label());
        // Longer than an address is good for.
        assert!(shop.sim.now() > 600_000, "{}", shop.label());
        let journal = shop.sim.journal();
        let redirects = journal.iter().filter(|entry| (300..400).contains(&entry.status));
        let found = (redirects.count(), journal.status(206), journal.status(403));
        assert_eq!(found, (2, 1, 0), "{}: {journal:#?}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn addresses_that_have_ended_when_they_arrive_are_not_asked_for_for_ever() {
    let ended = |switches: &mut super::super::switches::Switches| switches.signature_life = Duration::ZERO;
    for preset in turned(with_stores(), ended) {
        let (shop, image) = open(&preset, "");
        let path = blob("library/app", &image.platforms[0].blobs[1]);
        let answer = shop.curt().get(&path).await;
        assert!(!answer.is_good(), "{}: {}", shop.label(), answer.status);
        let refused = shop.sim.journal().status(403);
        assert!((2..=8).contains(&refused), "{}: {refused}", shop.label());
        shop.sim
            .turn(|switches| switches.signature_life = Duration::from_secs(600));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(shop.patient().get(&path).await.is_good(), "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_sends_wrong_bytes_spoils_nothing_that_another_has_right() {
    for preset in with_stores() {
        let (shop, image) = open(&preset, "");
        let fault = BodyFault {
            flip: Some(1000),
            ..BodyFault::default()
        };
        shop.sim.spoil(Role::Store(0), fault);
        for digest in &image.platforms[0].blobs {
            let answer = shop.patient().get(&blob("library/app", digest)).await;
            assert_eq!(verified(&answer, Some(digest)), Ok(*digest), "{}", shop.label());
            assert_eq!(shop.sim.journal().given(digest), 1, "{}", shop.label());
        }
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
    for preset in unhurried() {
        for fault in &faults {
            let (shop, image) = open(&preset, &format!("{fault:?}"));
            let layer = image.platforms[0].blobs[1];
            spoil_all(&shop, fault);
            for _ in 0..2 {
                let answer = shop.curt().get(&blob("library/app", &layer)).await;
                assert!(!answer.is_good(), "{}: {}", shop.label(), answer.status);
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
            shop.sim.heal();
            let answer = shop.patient().get(&blob("library/app", &layer)).await;
            let got = verified(&answer, Some(&layer));
            assert_eq!(got, Ok(layer), "{}", shop.label());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_body_is_gone_on_with_however_ranges_are_answered() {
    for preset in unhurried() {
        for range in [Range::Right, Range::Ignored, Range::Wrong] {
            let preset = preset.clone().turned(|switches| switches.range = range);
            let (shop, image) = open(&preset, &format!("{range:?}"));
            let layer = image.platforms[0].blobs[1];
            let cut = BodyFault {
                cut_after: Some(80_000),
                times: Some(1),
                ..BodyFault::default()
            };
            shop.sim.spoil(giver(&preset), cut);
            let answer = shop.patient().get(&blob("library/app", &layer)).await;
            let got = verified(&answer, Some(&layer));
            assert_eq!(got, Ok(layer), "{}", shop.label());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_giver_that_drips_holds_up_nobody_elses_blob() {
    for preset in unhurried() {
        let (shop, image) = open(&preset, "");
        let [slow, quick] = [image.platforms[0].blobs[1], image.platforms[0].blobs[2]];
        let drip = BodyFault {
            pace: Some((1, Duration::from_secs(1))),
            times: Some(1),
            ..BodyFault::default()
        };
        shop.sim.spoil(giver(&preset), drip);
        let client = shop.curt();
        let dripping = tokio::spawn(async move { client.get(&blob("library/app", &slow)).await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begun = shop.sim.now();
        let answer = shop.curt().get(&blob("library/app", &quick)).await;
        let got = verified(&answer, Some(&quick));
        assert_eq!(got, Ok(quick), "{}", shop.label());
        assert!(shop.sim.now() - begun < 1000, "{}", shop.label());
        dripping.abort();
    }
}
