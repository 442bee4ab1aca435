//! The operator's accounts: a pool of them, wrong ones, and locked ones.

use std::collections::HashMap;
use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinSet;

use super::super::client::{Shop, credential, manifest};
use super::super::journal::{About, Counted, Entry};
use super::super::presets::{hub, with_account};
use super::super::switches::{Lockout, Switches};
use crate::support::seawall::Choices;

/// How the largest registry locks user names.
const LOCKOUT: Lockout = Lockout {
    failures: 5,
    within: Duration::from_secs(300),
    length: Duration::from_secs(600),
};

fn two_accounts() -> Switches {
    Switches {
        lockout: Some(LOCKOUT),
        ..with_account(with_account(hub(), "small", Some(10)), "large", Some(100))
    }
}

fn with(pairs: &[(&str, &str)]) -> Choices {
    Choices {
        credentials: pairs
            .iter()
            .map(|(name, password)| credential(name, password))
            .collect(),
        ..Choices::default()
    }
}

fn put(shop: &Shop, repository: &str, number: u64) -> String {
    let tag = format!("t{number}");
    shop.sim
        .content(|content| content.small(repository, &tag, number));
    manifest(repository, tag)
}

/// Pulls by whom they were counted for.
fn by_source(journal: &[Entry]) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    let pulls = journal
        .iter()
        .filter(|entry| entry.is_whole() && matches!(entry.about, About::Manifest { .. }));
    for (source, _) in pulls.filter_map(|entry| entry.charged.as_ref()) {
        *counts.entry(source.clone()).or_default() += 1;
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn all_accounts_together_give_what_they_have() {
    let shop = Shop::open(two_accounts());
    let mut good = 0;
    for number in 0..130 {
        let path = put(&shop, &format!("library/app{number}"), number);
        good += usize::from(shop.curt().get(&path).await.is_good());
    }
    let journal = shop.sim.journal();
    let counts = by_source(&journal);
    assert_eq!(
        (good, counts["small"], counts["large"]),
        (110, 10, 100),
        "{counts:?}"
    );
    assert_eq!(journal.status(429), 0);
}

#[tokio::test(start_paused = true)]
async fn a_repository_stays_with_its_account_and_costs_one_token() {
    let shop = Shop::open(two_accounts());
    for number in 0..8 {
        assert!(
            shop.curt()
                .get(&put(&shop, "library/app", number))
                .await
                .is_good()
        );
    }
    let journal = shop.sim.journal();
    assert_eq!((journal.tokens(), by_source(&journal).len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_tried_once_for_all_repositories() {
    let shop = Shop::open_with("wrong", two_accounts(), with(&[("large", "wrong")]), 41);
    let mut clients = JoinSet::new();
    for number in 0..40 {
        let client = shop.curt();
        let path = put(&shop, &format!("library/app{number}"), number);
        clients.spawn(async move { client.get(&path).await.status });
    }
    for status in clients.join_all().await {
        assert!(status.is_client_error(), "{status}");
    }
    assert_eq!(shop.sim.journal().tokens(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_never_gets_its_account_locked() {
    let shop = Shop::open_with("wrong", two_accounts(), with(&[("large", "wrong")]), 42);
    for number in 0..720 {
        let path = put(&shop, &format!("library/app{}", number % 40), number);
        assert!(!shop.curt().get(&path).await.is_good());
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    let journal = shop.sim.journal();
    assert_eq!(journal.status(429), 0);
    // Two hours: a minute at first, a quarter of an hour in the end.
    assert!((2..=14).contains(&journal.tokens()), "{}", journal.tokens());
    assert_eq!(journal.pulls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_password_that_becomes_right_is_found_out() {
    let shop = Shop::open_with("wrong", two_accounts(), with(&[("large", "new")]), 43);
    assert!(!shop.curt().get(&put(&shop, "library/app", 0)).await.is_good());
    shop.sim.turn(|switches| switches.accounts[1].password = "new");
    tokio::time::sleep(Duration::from_secs(901)).await;
    assert!(shop.curt().get(&put(&shop, "library/app", 0)).await.is_good());
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_refused_is_put_aside_and_the_others_go_on() {
    let wrong = [("large", "wrong"), ("small", "right")];
    let shop = Shop::open_with("one is wrong", two_accounts(), with(&wrong), 44);
    for number in 0..8 {
        let path = put(&shop, &format!("library/app{number}"), number);
        assert!(shop.patient().get(&path).await.is_good());
    }
    assert_eq!(by_source(&shop.sim.journal()).len(), 1);

    let shop = Shop::open(two_accounts());
    shop.sim.lock_account("large", Duration::from_secs(600));
    for number in 0..8 {
        let path = put(&shop, &format!("library/app{number}"), number);
        assert!(shop.patient().get(&path).await.is_good());
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let journal = shop.sim.journal();
    assert_eq!(by_source(&journal).get("small"), Some(&8));
    assert_eq!(journal.status(429), 1);
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_locked_alone_is_waited_for_and_nobody_asks_without_a_name() {
    let switches = Switches {
        lockout: Some(LOCKOUT),
        ..with_account(hub(), "robot", Some(200))
    };
    let shop = Shop::open_with("locked", switches, Choices::default(), 45);
    let image = shop.sim.image("library/app", "1", 1, 100);
    assert_eq!(shop.curt().pull(&image, 0).await, Ok(image.index));
    shop.sim.lock_account("robot", Duration::from_secs(600));
    tokio::time::sleep(Duration::from_secs(400)).await;
    shop.sim.forget();
    for number in 0..20 {
        let path = put(&shop, &format!("library/other{number}"), number);
        let answer = shop.curt().get(&path).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        let held = shop.curt().get(&manifest("library/app", "1")).await;
        assert!(held.is_good());
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    let journal = shop.sim.journal();
    assert_eq!(journal.pulls(), 0);
    assert_eq!(journal.tokens(), 1, "{journal:#?}");
    tokio::time::sleep(Duration::from_secs(900)).await;
    assert!(shop.curt().get(&put(&shop, "library/other0", 0)).await.is_good());
    assert_eq!(by_source(&shop.sim.journal()).get("robot"), Some(&1));
}
