//! The operator's accounts: a pool of them, wrong ones, and locked ones.

use std::collections::HashMap;
use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinSet;

use super::super::client::{Shop, manifest};
use super::super::journal::{About, Counted, Entry};
use super::super::presets::Preset;
use super::super::switches::{Allowance, Auth, per_hours};
use super::over::{for_five_minutes, put, shop, shop_with, turned, with_accounts};
use crate::support::seawall::{Choices, login};

const SMALL: (&str, Option<Allowance>) = ("small", Some(per_hours(4, 1)));
const LARGE: (&str, Option<Allowance>) = ("large", Some(per_hours(10, 1)));

/// Every registry that can know accounts, with two of them.
fn with_two() -> Vec<Preset> {
    with_accounts(&[SMALL, LARGE])
}

/// A token service is what locks accounts: where there is none, nobody is locked.
fn that_lock(mut presets: Vec<Preset>) -> Vec<Preset> {
    presets.retain(|preset| preset.switches.auth != Auth::Basic);
    presets
}

fn with(pairs: &[(&str, &str)]) -> Choices {
    Choices {
        credentials: pairs
            .iter()
            .map(|(name, password)| login(name, password))
            .collect(),
        ..Choices::default()
    }
}

/// Pulls by whom they were counted for.
fn by_source(journal: &[Entry]) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    let pulls = journal.iter().filter(|entry| {
        let given = matches!(entry.status, 200 | 307) && entry.method == http::Method::GET;
        given && matches!(entry.about, About::Manifest { .. })
    });
    for (source, _) in pulls.filter_map(|entry| entry.charged.as_ref()) {
        *counts.entry(source.clone()).or_default() += 1;
    }
    counts
}

/// How often the registry or its token service was shown a password.
fn logins(journal: &[Entry]) -> usize {
    let basic = |entry: &&Entry| entry.scheme.as_deref() == Some("Basic");
    journal.iter().filter(basic).count()
}

#[tokio::test(start_paused = true)]
async fn all_accounts_together_give_what_they_have() {
    for preset in with_two() {
        let shop = Shop::of(&preset);
        let mut good = 0;
        for number in 0..20 {
            let path = put(&shop, &format!("library/app{number}"), number);
            good += usize::from(shop.curt().get(&path).await.is_good());
        }
        let journal = shop.sim.journal();
        let counts = by_source(&journal);
        let each = ["small", "large"].map(|name| counts.get(name).copied().unwrap_or_default());
        assert_eq!((good, each), (14, [4, 10]), "{}: {counts:?}", shop.label());
        assert_eq!(journal.status(429), 0, "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn a_repository_stays_with_its_account_and_costs_one_token() {
    for preset in with_two() {
        let shop = Shop::of(&preset);
        for number in 0..4 {
            let path = put(&shop, "library/app", number);
            assert!(shop.curt().get(&path).await.is_good(), "{}", shop.label());
        }
        let journal = shop.sim.journal();
        let tokens = usize::from(preset.switches.auth != Auth::Basic);
        let found = (journal.tokens(), by_source(&journal).len());
        assert_eq!(found, (tokens, 1), "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_tried_once_for_all_repositories() {
    for preset in with_two() {
        let shop = shop_with(&preset, "wrong", with(&[("large", "wrong")]));
        let mut clients = JoinSet::new();
        for number in 0..20 {
            let client = shop.curt();
            let path = put(&shop, &format!("library/app{number}"), number);
            clients.spawn(async move { client.get(&path).await.status });
        }
        for status in clients.join_all().await {
            assert!(status.is_client_error(), "{}: {status}", shop.label());
        }
        assert_eq!(logins(&shop.sim.journal()), 1, "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_never_gets_its_account_locked() {
    for preset in with_two() {
        let shop = shop_with(&preset, "wrong", with(&[("large", "wrong")]));
        for number in 0..120 {
            let path = put(&shop, &format!("library/app{}", number % 40), number);
            assert!(!shop.curt().get(&path).await.is_good(), "{}", shop.label());
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        let journal = shop.sim.journal();
        assert_eq!((journal.status(429), journal.pulls()), (0, 0), "{}", shop.label());
        // Two hours: a minute at first, a quarter of an hour in the end.
        let logins = logins(&journal);
        assert!((2..=14).contains(&logins), "{}: {logins}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_with_a_wrong_password_logs_in_once_not_at_each_start() {
    for preset in with_two() {
        let mut shop = shop_with(&preset, "crash loop", with(&[("large", "wrong")]));
        let path = put(&shop, "library/app", 0);
        for start in 0..5 {
            assert!(!shop.curt().get(&path).await.is_good(), "{}", shop.label());
            let logins = logins(&shop.sim.journal());
            assert_eq!(logins, 1, "{}, start {start}", shop.label());
            tokio::time::sleep(Duration::from_secs(5)).await;
            shop.restart().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_password_that_becomes_right_is_found_out() {
    for preset in with_two() {
        let shop = shop_with(&preset, "wrong", with(&[("large", "new")]));
        let path = put(&shop, "library/app", 0);
        assert!(!shop.curt().get(&path).await.is_good(), "{}", shop.label());
        shop.sim.turn(|switches| switches.accounts[1].password = "new");
        tokio::time::sleep(Duration::from_secs(901)).await;
        assert!(shop.curt().get(&path).await.is_good(), "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_with_a_wrong_password_is_put_aside_and_the_others_go_on() {
    for preset in with_two() {
        let wrong = [("large", "wrong"), ("small", "right")];
        let shop = shop_with(&preset, "one is wrong", with(&wrong));
        for number in 0..4 {
            let path = put(&shop, &format!("library/app{number}"), number);
            assert!(shop.patient().get(&path).await.is_good(), "{}", shop.label());
        }
        let counts = by_source(&shop.sim.journal());
        assert_eq!(counts.get("small"), Some(&4), "{}: {counts:?}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_locked_is_put_aside_and_the_others_go_on() {
    for preset in that_lock(with_two()) {
        let shop = Shop::of(&preset);
        shop.sim.lock_account("large", Duration::from_secs(600));
        for number in 0..4 {
            let path = put(&shop, &format!("library/app{number}"), number);
            assert!(shop.patient().get(&path).await.is_good(), "{}", shop.label());
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        let journal = shop.sim.journal();
        let counts = by_source(&journal);
        assert_eq!(counts.get("small"), Some(&4), "{}: {counts:?}", shop.label());
        assert_eq!(journal.status(429), 1, "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_locked_alone_is_waited_for_and_nobody_asks_without_a_name() {
    let alone = with_accounts(&[("robot", Some(per_hours(200, 1)))]);
    for preset in turned(that_lock(alone), for_five_minutes) {
        let shop = shop(&preset, "locked");
        let image = shop.sim.image("library/app", "1", 1, 100);
        let pulled = shop.curt().pull(&image, 0).await;
        assert_eq!(pulled, Ok(image.index), "{}", shop.label());
        shop.sim.lock_account("robot", Duration::from_secs(600));
        tokio::time::sleep(Duration::from_secs(400)).await;
        shop.sim.forget();
        for number in 0..10 {
            let path = put(&shop, &format!("library/other{number}"), number);
            let answer = shop.curt().get(&path).await;
            assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{}", shop.label());
            let held = shop.curt().get(&manifest("library/app", "1")).await;
            assert!(held.is_good(), "{}", shop.label());
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        let journal = shop.sim.journal();
        let asked = (journal.pulls(), journal.tokens());
        assert_eq!(asked, (0, 1), "{}: {journal:#?}", shop.label());
        tokio::time::sleep(Duration::from_secs(900)).await;
        let path = put(&shop, "library/other0", 0);
        assert!(shop.curt().get(&path).await.is_good(), "{}", shop.label());
        let counts = by_source(&shop.sim.journal());
        assert_eq!(counts.get("robot"), Some(&1), "{}: {counts:?}", shop.label());
    }
}
