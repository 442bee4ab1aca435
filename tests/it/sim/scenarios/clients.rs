//! Clients as they really react, in front of every upstream when it gives nothing more.

use std::time::Duration;

use http::StatusCode;

use super::super::client::{Shop, manifest};
use super::super::presets::{Preset, hub_abuse};
use super::super::switches::per_hours;
use super::over::{allowing, shop, shop_with, turned, unhurried};
use crate::support::seawall::{Answer, Choices};

/// Every registry, each of which allows one pull an hour.
fn one_an_hour() -> Vec<Preset> {
    allowing(per_hours(1, 1))
}

/// A shop whose upstream has nothing left for an hour, and knows it.
async fn spent(preset: &Preset, choices: Choices) -> (Shop, String) {
    let shop = shop_with(preset, "spent", choices);
    for (tag, seed) in [("held", 1), ("cold", 2)] {
        shop.sim
            .content(|content| content.small("library/app", tag, seed));
    }
    let held = shop.curt().get(&manifest("library/app", "held")).await;
    assert!(held.is_good(), "{}: {held:?}", shop.label());
    (shop, manifest("library/app", "cold"))
}

#[tokio::test(start_paused = true)]
async fn containerd_asks_five_times_at_once_and_is_slowed() {
    for preset in one_an_hour() {
        let (shop, path) = spent(&preset, Choices::default()).await;
        let client = shop.curt().named("containerd/v2.1.0");
        let begun = shop.sim.now();
        for _ in 0..5 {
            let status = client.get(&path).await.status;
            assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{}", shop.label());
        }
        let took = shop.sim.now() - begun;
        assert!((5_000..16_000).contains(&took), "{}: {took} ms", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn dockerd_is_told_at_once_and_goes_on_to_the_next_mirror() {
    for preset in one_an_hour() {
        let (shop, path) = spent(&preset, Choices::default()).await;
        let begun = shop.sim.now();
        let dockerd = shop.curt().named("docker/27.0 go/go1.22");
        let answer = dockerd.get(&path).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{}", shop.label());
        assert!(shop.sim.now() - begun < 1_000, "{}", shop.label());
        let text = |answer: &Answer| String::from_utf8_lossy(&answer.body).into_owned();
        assert!(text(&answer).contains("TOOMANYREQUESTS"), "{}", shop.label());
        shop.seawall.cache.flush().await;
        let told = text(&dockerd.get(&path).await);
        for words in [
            "TOOMANYREQUESTS",
            "1 pulls per 3600 s",
            "0 are left",
            "held here: library/app:held",
        ] {
            assert!(told.contains(words), "{}: {told}", shop.label());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_go_on_to_the_registry_where_the_operator_says_so() {
    for preset in one_an_hour() {
        let choices = Choices {
            on_exhausted: seawall::cache::OnExhausted::FallThrough,
            ..Choices::default()
        };
        let (shop, path) = spent(&preset, choices).await;
        let answer = shop.curt().named("containerd/v2.1.0").get(&path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn podman_waits_as_long_as_it_is_told_and_gets_its_image() {
    for preset in turned(unhurried(), |switches| switches.rate = hub_abuse().rate) {
        let shop = shop(&preset, "abuse");
        let image = shop.sim.image("library/app", "1", 3, 1000);
        let client = shop.patient().trying(5);
        for platform in [0, 1] {
            let pulled = client.pull(&image, platform).await;
            assert_eq!(pulled, Ok(image.index), "{}", shop.label());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_its_kind_waits() {
    // The slot opens in twenty seconds: some can wait for it, some cannot.
    for preset in one_an_hour() {
        for (agent, waits) in [
            ("containerd/v2.1.0", true),
            ("skopeo/1.18", true),
            ("go-containerregistry/0.20", false),
            ("curl/8", false),
        ] {
            let (shop, path) = spent(&preset, Choices::default()).await;
            tokio::time::sleep(Duration::from_secs(3600 - 18)).await;
            let begun = shop.sim.now();
            let answer = shop.curt().named(agent).get(&path).await;
            let took = shop.sim.now() - begun;
            // Slots are known to a hundred-and-twentieth of the window, which is half a minute here.
            let known = answer.status == StatusCode::OK;
            assert!(took < 26_000, "{} {agent}: {took} ms", shop.label());
            assert!(waits || !known, "{} {agent}: {:?}", shop.label(), answer.status);
            assert!(waits || took < 1_000, "{} {agent}: {took} ms", shop.label());
        }
    }
}
