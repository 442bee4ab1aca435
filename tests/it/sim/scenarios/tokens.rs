//! Tokens: in which forms they come, how long they are good for, and what becomes of those who get none.

use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinSet;

use super::super::BodyFault;
use super::super::client::{Shop, blob, manifest, verified};
use super::super::journal::{Counted, Role};
use super::super::presets::{Preset, hub};
use super::super::switches::{Delivery, Grant, Scope, TokenAnswer, TokenField};
use super::over::{for_five_minutes, one_token_for_all, put, shop, turned, with_token_host, with_tokens};

const FIELDS: [TokenField; 3] = [TokenField::Both, TokenField::Token, TokenField::AccessToken];

#[tokio::test(start_paused = true)]
async fn a_token_is_read_in_every_form_and_kept_for_its_life() {
    let lives = [None, Some(0), Some(300), Some(u64::MAX)];
    for (number, preset) in with_tokens().into_iter().enumerate() {
        for (turn, expires_in) in lives.into_iter().enumerate() {
            // The names take turns: every life meets every name, at one registry or another.
            let field = FIELDS[(number + turn) % FIELDS.len()];
            let preset = preset.clone().turned(|switches| {
                for_five_minutes(switches);
                switches.token = TokenAnswer { field, expires_in };
            });
            let shop = shop(&preset, &format!("{field:?} {expires_in:?}"));
            for number in 0..10 {
                let answer = shop.curt().get(&put(&shop, "library/app", number)).await;
                assert!(answer.is_good(), "{}: {answer:?}", shop.label());
                tokio::time::sleep(Duration::from_secs(20)).await;
            }
            let most = match expires_in {
                Some(seconds) if seconds > 60 => 1,
                _ => 7,
            };
            let asked = shop.sim.journal().tokens();
            assert!((1..=most).contains(&asked), "{}: {asked}", shop.label());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_instead_of_a_token_is_no_token() {
    let page = TokenAnswer {
        field: TokenField::Page,
        expires_in: None,
    };
    for preset in turned(with_tokens(), |switches| switches.token = page) {
        let shop = Shop::of(&preset);
        let answer = shop.curt().get(&put(&shop, "library/app", 1)).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{}", shop.label());
        let asked = shop.sim.journal().tokens();
        assert!((1..=2).contains(&asked), "{}: {asked}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_opens_nothing_is_tried_and_the_loop_ends() {
    for preset in turned(with_tokens(), |switches| switches.grant = Grant::Empty) {
        let shop = Shop::of(&preset);
        let answer = shop.curt().get(&put(&shop, "library/app", 1)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", shop.label());
        let journal = shop.sim.journal();
        let asked = journal.tokens();
        assert!((1..=2).contains(&asked), "{}: {journal:#?}", shop.label());
        assert!(journal.len() <= 8, "{}: {journal:#?}", shop.label());
        assert_eq!(journal.pulls(), 0, "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_ends_earlier_than_it_says_costs_one_more_each_time() {
    let lies = |switches: &mut _| {
        for_five_minutes(switches);
        switches.token_life = Duration::from_secs(60);
    };
    for preset in turned(with_tokens(), lies) {
        let shop = Shop::of(&preset);
        for number in 0..15 {
            let answer = shop.curt().get(&put(&shop, "library/app", number)).await;
            assert!(answer.is_good(), "{}: {answer:?}", shop.label());
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        let journal = shop.sim.journal();
        let asked = journal.tokens();
        assert!((5..=6).contains(&asked), "{}: {asked}", shop.label());
        // Where the challenge stands at /v2/ only, it is read there each time: it may be another by now.
        let each = if preset.switches.challenge_on_repository {
            1
        } else {
            2
        };
        assert_eq!(journal.status(401), asked * each, "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_may_end_during_a_long_blob_and_before_it_is_gone_on_with() {
    for preset in turned(with_tokens(), for_five_minutes) {
        let shop = Shop::of(&preset);
        let image = shop.sim.image("library/app", "1", 1, 100_000);
        let layer = image.platforms[0].blobs[1];
        let slow = BodyFault {
            pace: Some((1000, Duration::from_secs(10))),
            cut_after: Some(90_000),
            times: Some(1),
            ..BodyFault::default()
        };
        let giver = match preset.switches.blobs {
            Delivery::Inline => Role::Registry,
            Delivery::Redirect(_) | Delivery::RedirectWithPage(_) => Role::Store(0),
        };
        shop.sim.spoil(giver, slow);
        let answer = shop.curt().get(&blob("library/app", &layer)).await;
        assert_eq!(verified(&answer, Some(&layer)), Ok(layer), "{}", shop.label());
        let journal = shop.sim.journal();
        assert_eq!(journal.tokens(), 2, "{}", shop.label());
        assert_eq!(journal.status(206), 1, "{}", shop.label());
        assert!(shop.sim.now() > 900_000, "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_token_service_is_down_the_token_in_hand_is_used_to_its_end() {
    for preset in turned(with_token_host(), for_five_minutes) {
        let shop = Shop::of(&preset);
        let pull = async |number| {
            let image = shop.sim.image("library/app", &format!("{number}"), number, 100);
            let pulled = shop.curt().pull(&image, 0).await;
            assert_eq!(pulled, Ok(image.index), "{} {number}", shop.label());
        };
        pull(0).await;
        tokio::time::sleep(Duration::from_secs(250)).await;
        shop.sim.go_down(&[Role::Tokens]);
        pull(1).await;
        tokio::time::sleep(Duration::from_secs(200)).await;
        let third = put(&shop, "library/app", 2);
        let answer = shop.curt().get(&third).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", shop.label());
        let stale = shop.curt().get(&manifest("library/app", "0")).await;
        let told = stale.header("cache-status");
        assert!(
            stale.is_good() && told.contains("fwd=stale"),
            "{}: {told}",
            shop.label()
        );
        shop.sim.heal();
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert!(shop.curt().get(&third).await.is_good(), "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_service_that_refuses_or_fails_for_a_moment_is_asked_again_after_it() {
    for preset in with_token_host() {
        for status in [429, 500, 503] {
            let shop = shop(&preset, &status.to_string());
            let path = put(&shop, "library/app", 1);
            shop.sim.burst(Role::Tokens, status, 1);
            // Those who can wait a little are not told of it.
            let answer = shop.patient().get(&path).await;
            assert!(answer.is_good(), "{}: {answer:?}", shop.label());
            assert_eq!(shop.sim.journal().tokens(), 2, "{}", shop.label());
            let took = shop.sim.now();
            // What only failed is asked again at once.
            let least = if status == 429 { 2_000 } else { 0 };
            assert!((least..10_000).contains(&took), "{}: {took} ms", shop.label());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_that_were_revoked_are_replaced_at_the_first_refusal() {
    for preset in with_tokens() {
        let shop = Shop::of(&preset);
        for tokens in [1, 2] {
            let image = shop.sim.image("library/app", &tokens.to_string(), tokens, 100);
            let pulled = shop.curt().pull(&image, 0).await;
            assert_eq!(pulled, Ok(image.index), "{}", shop.label());
            assert_eq!(shop.sim.journal().tokens() as u64, tokens, "{}", shop.label());
            shop.sim.revoke_tokens();
        }
    }
}

/// So many clients of so many repositories, all at once.
async fn herd(preset: &Preset, clients: u64, repositories: u64) {
    let shop = Shop::of(preset);
    let mut asking = JoinSet::new();
    for number in 0..clients {
        let number = number % repositories;
        let path = put(&shop, &format!("library/app{number}"), number);
        let client = shop.curt();
        asking.spawn(async move { client.get(&path).await.status });
    }
    let answers = asking.join_all().await;
    assert!(
        answers.iter().all(|status| *status == StatusCode::OK),
        "{}: {answers:?}",
        shop.label()
    );
    let journal = shop.sim.journal();
    assert_eq!(journal.pulls() as u64, repositories, "{}", shop.label());
    let tokens = match one_token_for_all(&preset.switches) {
        true => 1,
        false => repositories,
    };
    assert_eq!(journal.tokens() as u64, tokens, "{}", shop.label());
}

#[tokio::test(start_paused = true)]
async fn crowds_of_clients_of_many_repositories_cost_a_token_for_each() {
    let largest = Preset {
        name: "five hundred",
        switches: hub(),
    };
    herd(&largest, 500, 40).await;
    for preset in with_tokens() {
        herd(&preset, 60, 6).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_whose_tokens_open_everything_is_asked_for_one() {
    for preset in turned(with_tokens(), |switches| switches.scope = Scope::Fixed("aws")) {
        let shop = Shop::of(&preset);
        for number in 0..8 {
            let path = put(&shop, &format!("library/app{number}"), number);
            assert!(shop.curt().get(&path).await.is_good(), "{}", shop.label());
        }
        assert_eq!(shop.sim.journal().tokens(), 1, "{}", shop.label());
    }
}
