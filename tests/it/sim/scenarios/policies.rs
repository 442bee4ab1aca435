//! Freshness as the operator chose it, and what is refused and what fails, in front of every registry.

use std::time::Duration;

use http::StatusCode;
use seawall::policy::freshness::{Patterns, Policy, Rules};

use super::super::client::{Shop, manifest, verified};
use super::super::journal::{Counted, Role};
use super::super::presets::{self, Preset};
use crate::support::seawall::{Choices, usual_freshness};

/// Bytes of a layer.
const LAYER: usize = 10_000;
/// Beyond the time for which a tag is fresh.
const AFTER_TTL: Duration = Duration::from_secs(400);

fn shop(preset: &Preset, freshness: Rules) -> Shop {
    let choices = Choices {
        freshness: Policy::plain(freshness),
        ..Choices::default()
    };
    Shop::open_with(preset.name, preset.switches.clone(), choices, 1)
}

#[tokio::test(start_paused = true)]
async fn a_little_stale_tag_is_served_at_once_and_asked_about_once() {
    let rules = Rules {
        stale_while_revalidate: Duration::from_secs(3600),
        ..usual_freshness()
    };
    for preset in presets::all() {
        let shop = shop(&preset, rules.clone());
        let image = shop.sim.image("library/app", "1", 1, LAYER);
        assert_eq!(
            shop.patient().pull(&image, 0).await,
            Ok(image.index),
            "{}",
            shop.label()
        );
        tokio::time::sleep(AFTER_TTL).await;
        shop.sim.forget();
        for _ in 0..20 {
            let begun = shop.sim.now();
            let answer = shop.curt().get(&manifest("library/app", "1")).await;
            assert_eq!(verified(&answer, None), Ok(image.index), "{}", shop.label());
            assert!(shop.sim.now() - begun < 10, "{}", shop.label());
        }
        tokio::time::sleep(Duration::from_secs(30)).await;
        let journal = shop.sim.journal();
        if preset.switches.chaos == 0.0 {
            assert!(journal.heads() <= 2, "{}: {journal:#?}", shop.label());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_immutable_tag_is_asked_about_once_for_ever() {
    let rules = Rules {
        immutable: Patterns::new(&["^v".to_owned()]).unwrap(),
        ..usual_freshness()
    };
    for preset in presets::all() {
        let shop = shop(&preset, rules.clone());
        let image = shop.sim.image("library/app", "v1", 2, LAYER);
        assert_eq!(
            shop.patient().pull(&image, 0).await,
            Ok(image.index),
            "{}",
            shop.label()
        );
        shop.sim.forget();
        tokio::time::sleep(Duration::from_secs(30 * 24 * 3600)).await;
        assert_eq!(
            shop.curt().pull(&image, 0).await,
            Ok(image.index),
            "{}",
            shop.label()
        );
        assert!(shop.sim.journal().is_empty(), "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn offline_nothing_is_asked_of_any_registry() {
    let rules = Rules {
        offline: true,
        ..usual_freshness()
    };
    for preset in presets::all() {
        let shop = shop(&preset, rules.clone());
        shop.sim.image("library/app", "1", 3, LAYER);
        let answer = shop.curt().get(&manifest("library/app", "1")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", shop.label());
        assert!(shop.sim.journal().is_empty(), "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn f038_what_does_not_exist_is_asked_for_once_in_a_while_and_found_when_it_does() {
    for preset in presets::all() {
        let shop = shop(&preset, usual_freshness());
        let soon = manifest("library/app", "soon");
        shop.sim.image("library/app", "1", 4, LAYER);
        let first = shop.curt().get(&soon).await;
        assert!(!first.status.is_success(), "{}", shop.label());
        if preset.switches.chaos == 0.0 {
            shop.sim.forget();
            for _ in 0..50 {
                assert_eq!(
                    shop.curt().get(&soon).await.status,
                    first.status,
                    "{}",
                    shop.label()
                );
            }
            let journal = shop.sim.journal();
            assert!(journal.is_empty(), "{}: {journal:#?}", shop.label());
        }
        let image = shop.sim.image("library/app", "soon", 5, LAYER);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(
            shop.patient().pull(&image, 0).await,
            Ok(image.index),
            "{}",
            shop.label()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn f032_a_registry_that_fails_is_left_alone_and_found_again() {
    for preset in presets::all() {
        let shop = shop(&preset, usual_freshness());
        let image = shop.sim.image("library/app", "1", 6, LAYER);
        shop.sim.go_down(&[Role::Registry]);
        for _ in 0..100 {
            let answer = shop.curt().get(&manifest("library/app", "1")).await;
            assert!(
                answer.status.is_server_error(),
                "{}: {:?}",
                shop.label(),
                answer.status
            );
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        shop.sim.heal();
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert_eq!(
            shop.patient().pull(&image, 0).await,
            Ok(image.index),
            "{}",
            shop.label()
        );
    }
}
