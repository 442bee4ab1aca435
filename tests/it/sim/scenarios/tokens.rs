//! Challenges and tokens, as strange as they come.

use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinSet;

use super::super::BodyFault;
use super::super::client::{Shop, blob, manifest, verified};
use super::super::journal::{About, Counted, Role};
use super::super::presets::{hub, usual, with_account};
use super::super::switches::{Auth, Grant, Realm, Scope, Spelling, Switches, TokenAnswer, TokenField};

#[tokio::test(start_paused = true)]
async fn every_oddity_of_a_challenge_is_satisfied() {
    let base = || with_account(usual("registry"), "robot", None);
    let realm = |realm| Switches { realm, ..base() };
    let scope = |scope| Switches { scope, ..base() };
    let spelling = |spelling| Switches { spelling, ..base() };
    let auth = |auth| Switches { auth, ..base() };
    let cases = [
        ("relative", realm(Realm::Relative("/v2/token"))),
        ("with a query", realm(Realm::WithQuery)),
        ("same host", realm(Realm::SameHost("/token"))),
        ("no scope", scope(Scope::Absent)),
        ("scope aws", scope(Scope::Fixed("aws"))),
        ("scope *", scope(Scope::Fixed("*"))),
        ("lower case", spelling(Spelling::LowerCase)),
        ("odd spaces", spelling(Spelling::OddSpaces)),
        ("unquoted", spelling(Spelling::UnquotedService)),
        ("one line", auth(Auth::BothOnOneLine)),
        ("two fields", auth(Auth::BothInTwoFields)),
        ("basic", auth(Auth::Basic)),
        (
            "no service",
            Switches {
                service: None,
                ..base()
            },
        ),
        (
            "only at /v2/",
            Switches {
                challenge_on_repository: false,
                ..base()
            },
        ),
    ];
    for (name, switches) in cases {
        for private in [false, true] {
            let switches = Switches {
                private,
                ..switches.clone()
            };
            let shop = Shop::open_with(name, switches, crate::support::seawall::Choices::default(), 31);
            let image = shop.sim.image("library/app", "1", 1, 1000);
            assert_eq!(shop.curt().pull(&image, 0).await, Ok(image.index), "{name}");
            assert!(shop.sim.journal().tokens() <= 1, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_read_in_every_form_and_kept_for_its_life() {
    for field in [TokenField::Both, TokenField::Token, TokenField::AccessToken] {
        for expires_in in [None, Some(0), Some(300), Some(u64::MAX)] {
            let shop = Shop::open(Switches {
                token: TokenAnswer { field, expires_in },
                ..hub()
            });
            for number in 0..10 {
                let image = shop.sim.image("library/app", &number.to_string(), number, 100);
                assert_eq!(
                    shop.curt().pull(&image, 0).await,
                    Ok(image.index),
                    "{field:?} {expires_in:?}"
                );
                tokio::time::sleep(Duration::from_secs(20)).await;
            }
            let most = if expires_in.is_some_and(|seconds| seconds > 60) {
                1
            } else {
                7
            };
            let asked = shop.sim.journal().tokens();
            assert!(asked <= most, "{field:?} {expires_in:?}: {asked}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_instead_of_a_token_is_no_token() {
    let shop = Shop::open(Switches {
        token: TokenAnswer {
            field: TokenField::Page,
            expires_in: None,
        },
        ..hub()
    });
    shop.sim.image("library/app", "1", 1, 100);
    let answer = shop.curt().get(&manifest("library/app", "1")).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert!(shop.sim.journal().tokens() <= 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_opens_nothing_is_tried_and_the_loop_ends() {
    let shop = Shop::open(Switches {
        grant: Grant::Empty,
        ..hub()
    });
    shop.sim.image("library/app", "1", 1, 100);
    let answer = shop.curt().get(&manifest("library/app", "1")).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let journal = shop.sim.journal();
    assert!(journal.tokens() <= 2, "{journal:#?}");
    assert!(journal.len() <= 8, "{journal:#?}");
    assert_eq!(journal.pulls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_ends_earlier_than_it_says_costs_one_more_each_time() {
    let shop = Shop::open(Switches {
        token_life: Duration::from_secs(60),
        ..hub()
    });
    for number in 0..30 {
        let image = shop.sim.image("library/app", &number.to_string(), number, 100);
        assert_eq!(shop.curt().pull(&image, 0).await, Ok(image.index));
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
    let journal = shop.sim.journal();
    assert!((10..=11).contains(&journal.tokens()), "{}", journal.tokens());
    assert_eq!(journal.status(401), journal.tokens());
}

#[tokio::test(start_paused = true)]
async fn a_token_may_end_during_a_long_blob_and_before_it_is_gone_on_with() {
    let shop = Shop::open(hub());
    let image = shop.sim.image("library/app", "1", 1, 100_000);
    let layer = image.platforms[0].blobs[1];
    let slow = BodyFault {
        pace: Some((1000, Duration::from_secs(10))),
        cut_after: Some(90_000),
        times: Some(1),
        ..BodyFault::default()
    };
    shop.sim.spoil(Role::Store(0), slow);
    let answer = shop.curt().get(&blob("library/app", &layer)).await;
    assert_eq!(verified(&answer, Some(&layer)), Ok(layer));
    let journal = shop.sim.journal();
    assert_eq!(journal.tokens(), 2);
    let resumed = journal.iter().filter(|entry| entry.status == 206).count();
    assert_eq!(resumed, 1);
    assert!(shop.sim.now() > 900_000);
}

#[tokio::test(start_paused = true)]
async fn while_the_token_service_is_down_the_token_in_hand_is_used_to_its_end() {
    let shop = Shop::open(hub());
    let image = |number: u64| shop.sim.image("library/app", &number.to_string(), number, 100);
    let first = image(0);
    assert_eq!(shop.curt().pull(&first, 0).await, Ok(first.index));
    tokio::time::sleep(Duration::from_secs(250)).await;
    shop.sim.go_down(&[Role::Tokens]);
    let second = image(1);
    assert_eq!(shop.curt().pull(&second, 0).await, Ok(second.index));
    tokio::time::sleep(Duration::from_secs(200)).await;
    let third = image(2);
    let answer = shop.curt().get(&manifest("library/app", "2")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let stale = shop.curt().get(&manifest("library/app", "0")).await;
    assert!(stale.is_good() && stale.header("cache-status").contains("fwd=stale"));
    shop.sim.heal();
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(shop.curt().pull(&third, 0).await, Ok(third.index));
}

#[tokio::test(start_paused = true)]
async fn tokens_that_were_revoked_are_replaced_at_the_first_refusal() {
    let shop = Shop::open(hub());
    let first = shop.sim.image("library/app", "1", 1, 100);
    assert_eq!(shop.curt().pull(&first, 0).await, Ok(first.index));
    shop.sim.revoke_tokens();
    let second = shop.sim.image("library/app", "2", 2, 100);
    assert_eq!(shop.curt().pull(&second, 0).await, Ok(second.index));
    assert_eq!(shop.sim.journal().tokens(), 2);
}

#[tokio::test(start_paused = true)]
async fn five_hundred_clients_of_forty_repositories_cost_a_token_for_each() {
    let shop = Shop::open(hub());
    let mut clients = JoinSet::new();
    for number in 0..500 {
        let repository = format!("library/app{}", number % 40);
        let seed = number % 40;
        shop.sim.content(|content| content.small(&repository, "1", seed));
        let client = shop.curt();
        clients.spawn(async move { client.get(&manifest(&repository, "1")).await.status });
    }
    let answers = clients.join_all().await;
    assert!(answers.iter().all(|status| *status == StatusCode::OK));
    let journal = shop.sim.journal();
    assert_eq!((journal.tokens(), journal.pulls()), (40, 40));
}

#[tokio::test(start_paused = true)]
async fn a_registry_whose_tokens_open_everything_is_asked_for_one() {
    let shop = Shop::open(Switches {
        scope: Scope::Fixed("aws"),
        ..hub()
    });
    for number in 0..20 {
        let image = shop.sim.image(&format!("library/app{number}"), "1", number, 100);
        assert_eq!(shop.curt().pull(&image, 0).await, Ok(image.index));
    }
    assert_eq!(shop.sim.journal().tokens(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_realm_that_is_not_the_registrys_gets_neither_question_nor_password() {
    // S014, S018, S024
    for realm in [
        "http://stranger.example.org/token",
        "http://auth.example.com.stranger.example.org/token",
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:5001/metrics",
        "http://[::1]/token",
        "http://10.0.0.1/token",
    ] {
        let switches = Switches {
            realm: Realm::Elsewhere(realm),
            ..with_account(hub(), "robot", None)
        };
        let shop = Shop::open_with(realm, switches, crate::support::seawall::Choices::default(), 32);
        shop.sim.image("library/app", "1", 1, 100);
        let answer = shop.curt().get(&manifest("library/app", "1")).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{realm}");
        let journal = shop.sim.journal();
        let registry = |entry: &&_| {
            let entry: &super::super::journal::Entry = entry;
            entry.role == Role::Registry && entry.about != About::Token && entry.scheme.is_none()
        };
        assert_eq!(journal.iter().filter(registry).count(), journal.len(), "{realm}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_service_that_refuses_for_a_while_is_asked_again_after_it() {
    let shop = Shop::open(hub());
    let image = shop.sim.image("library/app", "1", 1, 100);
    shop.sim.burst(Role::Tokens, 429, 1);
    // Those who can wait a little are not told of it.
    assert_eq!(shop.patient().pull(&image, 0).await, Ok(image.index));
    assert_eq!(shop.sim.journal().tokens(), 2);
    assert!((2_000..10_000).contains(&shop.sim.now()), "{}", shop.sim.now());
}
