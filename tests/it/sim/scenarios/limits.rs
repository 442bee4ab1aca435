//! Pulls that are counted: spent by what upstreams tell, and never one too many.

use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinSet;

use super::super::client::{Shop, manifest, tiers};
use super::super::journal::{Counted, Entry, Role};
use super::super::presets::{Preset, hub};
use super::super::switches::{Allowance, Figures, Kind, per_hours};
use super::over::{allowing, put, shop, shop_with, where_head_tells};
use crate::support::seawall::Choices;

const HOUR: Duration = Duration::from_secs(3600);
/// What follows the end of a window: readings are taken so often.
const SLACK: Duration = Duration::from_secs(120);

/// Puts this many small images, each a pull of its own, and says where they are.
pub(super) fn images(shop: &Shop, repository: &str, numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|number| put(shop, repository, number)).collect()
}

/// How many of these a client that takes the first answer gets, one after the other.
pub(super) async fn got(shop: &Shop, paths: &[String]) -> usize {
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

/// Pulls so many images, and again with ten pulls left, fresh and stale.
async fn warm(preset: &Preset, count: u64) {
    let shop = Shop::of(preset);
    let warm = images(&shop, "library/app", 0..count);
    let all = warm.len();
    assert_eq!(got(&shop, &warm).await, all, "{}", shop.label());
    shop.sim.leave(10);
    shop.sim.forget();
    assert_eq!(got(&shop, &warm).await, all, "{}", shop.label());
    assert!(shop.sim.journal().is_empty(), "{}", shop.label());
    // Stale tags are asked about, which is free.
    tokio::time::sleep(Duration::from_secs(400)).await;
    assert_eq!(got(&shop, &warm).await, all, "{}", shop.label());
    let journal = shop.sim.journal();
    // Another host, which a registry only redirects to, asks each time who is there.
    let refused = |entry: &&Entry| entry.status == 401 && entry.role != Role::Alternate;
    let found = (journal.pulls(), journal.iter().filter(refused).count());
    assert_eq!(found, (0, 0), "{}", shop.label());
    let left = journal
        .iter()
        .filter_map(|entry| entry.charged.as_ref())
        .map(|(_, left)| *left);
    assert_eq!(left.min(), Some(10), "{}", shop.label());
    let cold = images(&shop, "library/app", 100..115);
    assert_eq!(got(&shop, &cold).await, 10, "{}", shop.label());
}

#[tokio::test(start_paused = true)]
async fn warm_images_with_ten_pulls_left_cost_none_of_them() {
    let largest = Preset {
        name: "fifty images",
        switches: hub(),
    };
    warm(&largest, 50).await;
    // Where HEAD tells nothing, each stale tag costs a pull: there is no cheaper way.
    for preset in where_head_tells(allowing(per_hours(100, 1))) {
        warm(&preset, 12).await;
    }
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
    for (number, preset) in allowing(per_hours(4, 1)).into_iter().enumerate() {
        // Forms and windows take turns: each registry has every other form, each form both windows.
        let every_other = forms.into_iter().skip(number % 2).step_by(2);
        for (turn, figures) in every_other.enumerate() {
            let kind = match (number / 2 + turn) % 2 {
                0 => Kind::Rolling,
                _ => Kind::Fixed,
            };
            let preset = preset.clone().turned(|switches| {
                switches.figures = figures;
                let allowance = switches
                    .allowance
                    .map(|allowance| Allowance { kind, ..allowance });
                switches.allow(allowance);
            });
            let shop = shop(&preset, &format!("{figures:?} {kind:?}"));
            let paths = images(&shop, "library/app", 0..7);
            assert_eq!(got(&shop, &paths).await, 4, "{}", shop.label());
            tokio::time::sleep(HOUR + SLACK).await;
            assert_eq!(got(&shop, &paths[4..]).await, 3, "{}", shop.label());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_costs_half_a_unit_is_used_to_the_end() {
    for preset in allowing(per_hours(10, 1)) {
        let preset = preset.turned(|switches| switches.gets_per_unit = 2);
        let shop = shop(&preset, "half units");
        let paths = images(&shop, "library/app", 0..30);
        // The last half cannot be seen in whole figures.
        assert_eq!(got(&shop, &paths).await, 19, "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn what_costs_two_units_is_not_overdrawn_once_that_is_known() {
    for preset in where_head_tells(allowing(per_hours(60, 1))) {
        let preset = preset.turned(|switches| switches.units_per_get = 2);
        let shop = shop(&preset, "two units");
        let alone = images(&shop, "library/app", 0..20);
        assert_eq!(got(&shop, &alone).await, 20, "{}", shop.label());
        // Twenty units are left.
        let good = got_at_once(&shop, images(&shop, "library/app", 20..60)).await;
        assert_eq!(good, 10, "{}", shop.label());
        assert_eq!(shop.sim.journal().status(429), 0, "{}", shop.label());
        let status = shop.seawall.cache.status();
        let bucket = &status.upstreams[0].buckets[0];
        assert_eq!((bucket.own, bucket.remaining), (30, 0), "{}", shop.label());
        assert!(
            bucket.foreign < bucket.own,
            "{}: {}",
            shop.label(),
            bucket.foreign
        );
    }
}

/// How many of these clients get that take the first answer, all at once.
async fn got_at_once(shop: &Shop, paths: Vec<String>) -> usize {
    let mut clients = JoinSet::new();
    for path in paths {
        let client = shop.curt();
        clients.spawn(async move { client.get(&path).await.status });
    }
    let answers = clients.join_all().await;
    answers.iter().filter(|status| **status == StatusCode::OK).count()
}

#[tokio::test(start_paused = true)]
async fn forty_pulls_at_once_do_not_overdraw_what_is_left() {
    for preset in allowing(per_hours(15, 1)) {
        let shop = shop(&preset, "at once");
        let good = got_at_once(&shop, images(&shop, "library/app", 0..40)).await;
        assert_eq!(good, 15, "{}", shop.label());
        assert_eq!(shop.sim.journal().status(429), 0, "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_refusal_nothing_is_asked_before_a_slot_opens_and_soon_after_it_does() {
    for preset in allowing(per_hours(10, 1)) {
        let shop = shop(&preset, "refused");
        let paths = images(&shop, "library/app", 0..1);
        assert_eq!(got(&shop, &paths).await, 1, "{}", shop.label());
        // A neighbour takes all of it between two looks.
        let digest = shop
            .sim
            .content(|content| content.small("library/app", "late", 99));
        shop.sim.leave(0);
        let empty = shop.sim.now();
        shop.sim.tripwires(|trips| trips.refusals_allowed = 1);
        let path = manifest("library/app", digest);
        let mut answer = shop.curt().get(&path).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{}", shop.label());
        let wait: u64 = answer.header("retry-after").parse().unwrap();
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let figures = "allows this cache 10 pulls per 3600 s, and 0 are left; all of them are spent";
        for words in [figures, &format!("ask again in {wait} s, at ")] {
            assert!(text.contains(words), "{}: {text}", shop.label());
        }
        // What we spent comes back after an hour, what the neighbour did a little later at most.
        assert!((3_590..=3_700).contains(&wait), "{}: {wait} s", shop.label());
        assert_eq!(
            answer.header("ratelimit-remaining"),
            "0;w=3600",
            "{}",
            shop.label()
        );
        while answer.status != StatusCode::OK {
            let now = shop.sim.now();
            assert!(now < empty + 3_720_000, "{}: {now} ms", shop.label());
            tokio::time::sleep(Duration::from_secs(60)).await;
            answer = shop.curt().get(&path).await;
        }
        assert!(shop.sim.now() >= empty + 3_600_000, "{}", shop.label());
        let journal = shop.sim.journal();
        // None where whether it is there is asked first, which tells that all of it is gone.
        assert!(journal.status(429) <= 1, "{}", shop.label());
        // Readings are free, but not for nothing: two a minute.
        let heads = journal.heads();
        assert!(heads <= 125, "{}: {heads}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_pulls_are_for_those_they_are_reserved_for() {
    for preset in allowing(per_hours(10, 1)) {
        let choices = Choices {
            clients: tiers(0.3),
            ..Choices::default()
        };
        let shop = shop_with(&preset, "reserve", choices);
        shop.sim
            .tripwires(|trips| trips.reserves.push(("ci/".to_owned(), 0.3)));
        let ci = images(&shop, "ci/app", 0..5);
        let production = images(&shop, "production/app", 10..15);
        // Something tells how much is left.
        assert_eq!(got(&shop, &production[..1]).await, 1, "{}", shop.label());
        shop.sim.leave(3);
        let mut clients = JoinSet::new();
        for path in ci {
            let client = shop.ci();
            clients.spawn(async move { client.get(&path).await });
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(got(&shop, &production[1..]).await, 3, "{}", shop.label());
        for answer in clients.join_all().await {
            assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{}", shop.label());
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            let says_why = text.contains("reserved") || text.contains("spent");
            assert!(says_why, "{}: {text}", shop.label());
        }
        assert_eq!(shop.sim.journal().status(429), 0, "{}", shop.label());
    }
}
