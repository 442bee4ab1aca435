//! Pulls that are counted: spent by what upstreams tell, and never one too many.

use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinSet;

use super::super::client::{Shop, manifest, tiers};
use super::super::journal::Counted;
use super::super::presets::hub;
use super::super::switches::{Allowance, Figures, Kind, Switches, per_hours};
use crate::support::seawall::Choices;

const HOUR: Duration = Duration::from_secs(3600);
/// What follows the end of a window: readings are taken so often.
const SLACK: Duration = Duration::from_secs(120);

/// A registry that allows so many pulls an hour.
fn allowing(pulls: u64) -> Switches {
    Switches {
        allowance: Some(per_hours(pulls, 1)),
        ..hub()
    }
}

/// Puts this many small images, each a pull of its own, and says where they are.
fn images(shop: &Shop, repository: &str, numbers: std::ops::Range<u64>) -> Vec<String> {
    let put = |number: u64| {
        let tag = format!("t{number}");
        shop.sim
            .content(|content| content.small(repository, &tag, number));
        manifest(repository, tag)
    };
    numbers.map(put).collect()
}

/// How many of these a client that takes the first answer gets, one after the other.
async fn got(shop: &Shop, paths: &[String]) -> usize {
    let mut good = 0;
    for path in paths {
        let answer = shop.curt().get(path).await;
        match answer.status {
            StatusCode::OK => good += 1,
            status => assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{}", shop.label()),
        }
    }
    good
}

#[tokio::test(start_paused = true)]
async fn fifty_warm_images_with_ten_pulls_left_cost_none_of_them() {
    let shop = Shop::open(hub());
    let warm = images(&shop, "library/app", 0..50);
    assert_eq!(got(&shop, &warm).await, 50);
    shop.sim.leave(10);
    shop.sim.forget();
    assert_eq!(got(&shop, &warm).await, 50);
    assert!(shop.sim.journal().is_empty());
    // Stale tags are asked about, which is free.
    tokio::time::sleep(Duration::from_secs(400)).await;
    assert_eq!(got(&shop, &warm).await, 50);
    let journal = shop.sim.journal();
    assert_eq!((journal.pulls(), journal.status(401)), (0, 0));
    let left = journal
        .iter()
        .filter_map(|entry| entry.charged.as_ref())
        .map(|(_, left)| *left);
    assert_eq!(left.min(), Some(10));
    let cold = images(&shop, "library/app", 100..120);
    assert_eq!(got(&shop, &cold).await, 10);
}

#[tokio::test(start_paused = true)]
async fn the_figures_are_understood_in_every_form_and_of_every_window() {
    let forms = [
        Figures::Plain,
        Figures::XOnly,
        Figures::Both,
        Figures::Spaced,
        Figures::List,
        Figures::NoWindow,
    ];
    for figures in forms {
        for kind in [Kind::Rolling, Kind::Fixed] {
            let allowance = Some(Allowance {
                kind,
                ..per_hours(20, 1)
            });
            let shop = Shop::open(Switches {
                figures,
                allowance,
                ..hub()
            });
            let paths = images(&shop, "library/app", 0..40);
            assert_eq!(got(&shop, &paths).await, 20, "{figures:?} {kind:?}");
            tokio::time::sleep(HOUR + SLACK).await;
            assert_eq!(got(&shop, &paths[20..30]).await, 10, "{figures:?} {kind:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_costs_half_a_unit_is_used_to_the_end() {
    let shop = Shop::open(Switches {
        gets_per_unit: 2,
        ..allowing(10)
    });
    let paths = images(&shop, "library/app", 0..30);
    // The last half cannot be seen in whole figures.
    assert_eq!(got(&shop, &paths).await, 19);
}

#[tokio::test(start_paused = true)]
async fn forty_pulls_at_once_do_not_overdraw_what_is_left() {
    let shop = Shop::open(allowing(15));
    let paths = images(&shop, "library/app", 0..40);
    let mut clients = JoinSet::new();
    for path in paths {
        let client = shop.curt();
        clients.spawn(async move { client.get(&path).await.status });
    }
    let answers = clients.join_all().await;
    let good = answers.iter().filter(|status| **status == StatusCode::OK).count();
    assert_eq!(good, 15);
    assert_eq!(shop.sim.journal().status(429), 0);
}

#[tokio::test(start_paused = true)]
async fn a_window_that_becomes_another_is_followed() {
    let shop = Shop::open(Switches {
        allowance: Some(per_hours(20, 6)),
        ..hub()
    });
    let paths = images(&shop, "library/app", 0..100);
    assert_eq!(got(&shop, &paths[..25]).await, 20);
    tokio::time::sleep(2 * HOUR).await;
    assert_eq!(got(&shop, &paths[25..30]).await, 0);
    shop.sim
        .turn(|switches| switches.allowance = Some(per_hours(20, 1)));
    assert_eq!(got(&shop, &paths[30..60]).await, 20);
    // And the other way round, with less: what was spent in the last hour is all of it.
    shop.sim
        .turn(|switches| switches.allowance = Some(per_hours(10, 6)));
    assert_eq!(got(&shop, &paths[60..70]).await, 0);
    tokio::time::sleep(6 * HOUR + SLACK).await;
    assert_eq!(got(&shop, &paths[70..90]).await, 10);
}

#[tokio::test(start_paused = true)]
async fn figures_that_vanish_end_the_limit_and_figures_that_appear_begin_one() {
    let shop = Shop::open(allowing(5));
    let paths = images(&shop, "library/app", 0..60);
    assert_eq!(got(&shop, &paths[..10]).await, 5);
    // The plan is upgraded.
    let before = shop.sim.now();
    shop.sim.turn(|switches| switches.allowance = None);
    assert_eq!(got(&shop, &paths[10..30]).await, 20);
    assert!(shop.sim.now() - before < 60_000);
    tokio::time::sleep(HOUR).await;
    shop.sim
        .turn(|switches| switches.allowance = Some(per_hours(8, 1)));
    assert_eq!(got(&shop, &paths[30..50]).await, 8);
}

#[tokio::test(start_paused = true)]
async fn neighbours_who_burn_the_allowance_never_make_us_overdraw_it() {
    for (seed, egress) in [(7, "192.0.2.1"), (8, "2001:db8:801:2000::")] {
        let switches = Switches {
            egress,
            foreign_per_hour: 80.0,
            ..hub()
        };
        let shop = Shop::open_with(egress, switches, Choices::default(), seed);
        let paths = images(&shop, "library/app", 0..360);
        let mut good = 0;
        for path in &paths {
            good += usize::from(shop.curt().get(path).await.status == StatusCode::OK);
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
        // Three hours, of which neighbours leave some twenty pulls each, and an untouched one to begin with.
        assert!((40..200).contains(&good), "{}: {good}", shop.label());
        assert_eq!(shop.sim.journal().status(429), 0, "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_refusal_nothing_is_asked_before_a_slot_opens_and_soon_after_it_does() {
    let shop = Shop::open(allowing(10));
    let paths = images(&shop, "library/app", 0..3);
    assert_eq!(got(&shop, &paths[..1]).await, 1);
    // A neighbour takes all of it between two looks.
    let digest = shop
        .sim
        .content(|content| content.small("library/app", "late", 99));
    shop.sim.leave(0);
    let empty = shop.sim.now();
    shop.sim.tripwires(|trips| trips.refusals_allowed = 1);
    let path = manifest("library/app", digest);
    let first = shop.curt().get(&path).await;
    assert_eq!(first.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(!first.header("retry-after").is_empty());
    let mut answer = first;
    while answer.status != StatusCode::OK {
        assert!(shop.sim.now() < empty + 3_720_000, "{} ms", shop.sim.now());
        tokio::time::sleep(Duration::from_secs(20)).await;
        answer = shop.curt().get(&path).await;
    }
    assert!(shop.sim.now() >= empty + 3_600_000);
    let journal = shop.sim.journal();
    assert_eq!(journal.status(429), 1);
    // Readings are free, but not for nothing: two a minute.
    assert!(journal.heads() <= 125, "{}", journal.heads());
}

#[tokio::test(start_paused = true)]
async fn the_last_pulls_are_for_those_they_are_reserved_for() {
    let choices = Choices {
        clients: tiers(0.3),
        ..Choices::default()
    };
    let shop = Shop::open_with("reserve", allowing(10), choices, 8);
    shop.sim
        .tripwires(|trips| trips.reserves.push(("ci/".to_owned(), 0.3)));
    let ci = images(&shop, "ci/app", 0..5);
    let production = images(&shop, "production/app", 10..15);
    // Something tells how much is left.
    assert_eq!(got(&shop, &production[..1]).await, 1);
    shop.sim.leave(3);
    let mut clients = JoinSet::new();
    for path in ci {
        let client = shop.ci();
        clients.spawn(async move { client.get(&path).await });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(got(&shop, &production[1..]).await, 3);
    for answer in clients.join_all().await {
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(text.contains("reserved") || text.contains("spent"), "{text}");
    }
    assert_eq!(shop.sim.journal().status(429), 0);
}

#[tokio::test(start_paused = true)]
async fn a_restart_forgets_nothing_that_was_spent() {
    let mut shop = Shop::open(allowing(10));
    let paths = images(&shop, "library/app", 0..6);
    assert_eq!(got(&shop, &paths).await, 6);
    shop.restart().await;
    // By digest nothing is told before the first answer; only the ledger knows.
    assert_eq!(shop.at_once(20..35).await, 4);
    assert_eq!(shop.sim.journal().status(429), 0);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_went_back_neither_overdraws_nor_locks_out() {
    let mut shop = Shop::open(allowing(10));
    let paths = images(&shop, "library/app", 0..40);
    assert_eq!(got(&shop, &paths[..10]).await, 10);
    tokio::time::sleep(HOUR / 2).await;
    // The clock of a new process begins at the machine's, from which virtual time had run ahead.
    shop.restart().await;
    assert_eq!(got(&shop, &paths[10..15]).await, 0);
    tokio::time::sleep(HOUR + SLACK).await;
    assert_eq!(got(&shop, &paths[15..35]).await, 10);
}
