//! What holds in front of every registry of this world.

use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinSet;

use super::super::BodyFault;
use super::super::client::{Shop, blob, manifest, verified};
use super::super::journal::{Counted, Role};
use super::super::presets;
use super::super::switches::Switches;
use crate::support::seawall::Choices;

/// Bytes of a layer: enough for a body in pieces, little enough for many worlds.
const LAYER: usize = 100_000;
/// Beyond the time for which a tag is fresh.
const AFTER_TTL: Duration = Duration::from_secs(400);

#[tokio::test(start_paused = true)]
async fn a_cold_pull_costs_two_counted_requests_and_every_blob_once() {
    for preset in presets::all() {
        let shop = Shop::of(&preset);
        let image = shop.sim.image("library/app", "1", 1, LAYER);
        let pulled = shop.patient().pull(&image, 0).await;
        assert_eq!(pulled, Ok(image.index), "{}", shop.label());
        let journal = shop.sim.journal();
        assert_eq!(journal.pulls(), 2, "{}: {journal:#?}", shop.label());
        for digest in &image.platforms[0].blobs {
            assert_eq!(journal.given(digest), 1, "{}", shop.label());
        }
        // The other platform shares a layer, and costs its manifest only.
        assert_eq!(
            shop.patient().pull(&image, 1).await,
            Ok(image.index),
            "{}",
            shop.label()
        );
        let journal = shop.sim.journal();
        assert_eq!(journal.pulls(), 3, "{}", shop.label());
        assert_eq!(journal.given(&image.platforms[1].blobs[1]), 1, "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn a_warm_pull_costs_nothing_and_one_head_when_the_tag_is_stale() {
    for preset in presets::all() {
        let shop = Shop::of(&preset);
        let image = shop.sim.image("library/app", "1", 2, LAYER);
        let client = shop.patient();
        assert_eq!(client.pull(&image, 0).await, Ok(image.index), "{}", shop.label());
        shop.sim.forget();
        assert_eq!(client.pull(&image, 0).await, Ok(image.index), "{}", shop.label());
        assert!(shop.sim.journal().is_empty(), "{}", shop.label());
        tokio::time::sleep(AFTER_TTL).await;
        assert_eq!(client.pull(&image, 0).await, Ok(image.index), "{}", shop.label());
        let journal = shop.sim.journal();
        // Where HEAD tells nothing, the tag itself is fetched again: there is no cheaper way.
        let pulls = usize::from(!preset.switches.head_tells());
        assert_eq!(journal.pulls(), pulls, "{}: {journal:#?}", shop.label());
        let answered = journal.iter().filter(|entry| entry.status == 200);
        let answered: Vec<_> = answered.cloned().collect();
        assert!(answered.heads() <= 1, "{}: {journal:#?}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn five_hundred_clients_of_one_image_cost_one_pull() {
    for preset in presets::all() {
        let shop = Shop::of(&preset);
        // What matters is how many they are, not how much each reads.
        let image = shop.sim.image("library/app", "1", 3, LAYER / 10);
        let layer = image.platforms[0].blobs[1];
        let mut clients = JoinSet::new();
        // The largest crowd comes to the largest registry; a smaller one shows the same elsewhere.
        let crowd = if preset.name == "hub-anon-2026" { 500 } else { 100 };
        for number in 0..crowd {
            let client = shop.patient();
            let path = match number % 2 {
                0 => manifest("library/app", "1"),
                _ => blob("library/app", &layer),
            };
            clients.spawn(async move { verified(&client.get(&path).await, None) });
        }
        for got in clients.join_all().await {
            assert!(
                got == Ok(image.index) || got == Ok(layer),
                "{}: {got:?}",
                shop.label()
            );
        }
        let journal = shop.sim.journal();
        assert_eq!(journal.pulls(), 1, "{}: {journal:#?}", shop.label());
        assert_eq!(journal.given(&layer), 1, "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_moves_between_head_and_get_gives_one_image_or_the_other() {
    for preset in presets::all() {
        let shop = Shop::of(&preset);
        let new = shop.sim.image("library/app", "1", 5, LAYER);
        let old = shop.sim.image("library/app", "1", 4, LAYER);
        shop.sim
            .content(|content| content.point_after_head("library/app", "1", new.index));
        let answer = shop.patient().get(&manifest("library/app", "1")).await;
        let got = verified(&answer, None).unwrap();
        let expected = [old.index, new.index];
        assert!(expected.contains(&got), "{}: {got}", shop.label());
        if preset.switches.head_tells() && preset.switches.chaos == 0.0 {
            assert_eq!(got, old.index, "{}", shop.label());
        }
        shop.sim
            .content(|content| content.point("library/app", "1", new.index));
        tokio::time::sleep(AFTER_TTL).await;
        assert_eq!(
            shop.patient().pull(&new, 0).await,
            Ok(new.index),
            "{}",
            shop.label()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn while_an_upstream_is_down_what_is_held_is_served_and_afterwards_everything() {
    for preset in presets::all() {
        let shop = Shop::of(&preset);
        let held = shop.sim.image("library/app", "1", 6, LAYER);
        let missing = shop.sim.image("library/app", "2", 7, LAYER);
        assert_eq!(
            shop.patient().pull(&held, 0).await,
            Ok(held.index),
            "{}",
            shop.label()
        );
        tokio::time::sleep(AFTER_TTL).await;
        let all = [
            Role::Registry,
            Role::Tokens,
            Role::Store(0),
            Role::Store(1),
            Role::Alternate,
        ];
        shop.sim.go_down(&all);
        let answer = shop.curt().get(&manifest("library/app", "1")).await;
        assert_eq!(verified(&answer, None), Ok(held.index), "{}", shop.label());
        let told = answer.header("cache-status");
        assert!(told.contains("fwd=stale"), "{}: {told}", shop.label());
        let answer = shop.curt().get(&manifest("library/app", "2")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", shop.label());
        assert!(!answer.header("retry-after").is_empty(), "{}", shop.label());
        shop.sim.heal();
        tokio::time::sleep(AFTER_TTL).await;
        assert_eq!(
            shop.patient().pull(&missing, 0).await,
            Ok(missing.index),
            "{}",
            shop.label()
        );
        let answer = shop.patient().get(&manifest("library/app", "1")).await;
        assert!(
            !answer.header("cache-status").contains("detail"),
            "{}",
            shop.label()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_who_leaves_takes_nothing_from_those_who_follow() {
    for preset in presets::all() {
        let shop = Shop::of(&preset);
        let image = shop.sim.image("library/app", "1", 8, 4 * LAYER);
        let layer = image.platforms[0].blobs[1];
        let path = blob("library/app", &layer);
        let slow = BodyFault {
            pace: Some((10_000, Duration::from_millis(50))),
            ..BodyFault::default()
        };
        for role in [Role::Registry, Role::Store(0), Role::Store(1)] {
            shop.sim.spoil(role, slow.clone());
        }
        let leader = shop.curt();
        let leading = tokio::spawn({
            let path = path.clone();
            async move { leader.get(&path).await }
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        let follower = shop.patient();
        let following = tokio::spawn(async move { verified(&follower.get(&path).await, Some(&layer)) });
        tokio::time::sleep(Duration::from_millis(200)).await;
        leading.abort();
        assert_eq!(following.await.unwrap(), Ok(layer), "{}", shop.label());
        assert_eq!(shop.sim.journal().given(&layer), 1, "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_goes_wrong_by_chance_the_patient_get_the_right_bytes() {
    for preset in presets::all() {
        for seed in 1..=3 {
            let switches = Switches {
                chaos: 0.25,
                ..preset.switches.clone()
            };
            let shop = Shop::open_with(preset.name, switches, Choices::default(), seed);
            let image = shop.sim.image("library/app", "1", 9, LAYER);
            let pulled = shop.patient().pull(&image, 0).await;
            assert_eq!(pulled, Ok(image.index), "{}", shop.label());
        }
    }
}
