//! Allowances that change under way: windows, figures that vanish or appear, neighbours, restarts and clocks.

use std::time::Duration;

use super::super::client::Shop;
use super::super::journal::Counted;
use super::super::switches::per_hours;
use super::limits::{got, images};
use super::over::{allowing, shop, without_accounts};
use crate::support::seawall::Choices;

const HOUR: Duration = Duration::from_secs(3600);
/// What follows the end of a window: readings are taken so often.
const SLACK: Duration = Duration::from_secs(120);

#[tokio::test(start_paused = true)]
async fn a_window_that_becomes_another_is_followed() {
    for preset in allowing(per_hours(6, 6)) {
        let shop = shop(&preset, "windows");
        let paths = images(&shop, "library/app", 0..30);
        assert_eq!(got(&shop, &paths[..8]).await, 6, "{}", shop.label());
        tokio::time::sleep(2 * HOUR).await;
        assert_eq!(got(&shop, &paths[8..10]).await, 0, "{}", shop.label());
        shop.sim.turn(|switches| switches.allow(Some(per_hours(6, 1))));
        assert_eq!(got(&shop, &paths[10..20]).await, 6, "{}", shop.label());
        // And the other way round, with less: what was spent in the last hour is all of it.
        shop.sim.turn(|switches| switches.allow(Some(per_hours(3, 6))));
        assert_eq!(got(&shop, &paths[20..22]).await, 0, "{}", shop.label());
        tokio::time::sleep(6 * HOUR + SLACK).await;
        assert_eq!(got(&shop, &paths[22..28]).await, 3, "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn figures_that_vanish_end_the_limit_and_figures_that_appear_begin_one() {
    for preset in allowing(per_hours(5, 1)) {
        let shop = shop(&preset, "figures");
        let paths = images(&shop, "library/app", 0..40);
        assert_eq!(got(&shop, &paths[..8]).await, 5, "{}", shop.label());
        // The plan is upgraded.
        let before = shop.sim.now();
        shop.sim.turn(|switches| switches.allow(None));
        assert_eq!(got(&shop, &paths[8..20]).await, 12, "{}", shop.label());
        assert!(shop.sim.now() - before < 60_000, "{}", shop.label());
        tokio::time::sleep(HOUR).await;
        shop.sim.turn(|switches| switches.allow(Some(per_hours(8, 1))));
        assert_eq!(got(&shop, &paths[20..32]).await, 8, "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn neighbours_who_burn_the_allowance_never_make_us_overdraw_it() {
    let presets = without_accounts(allowing(per_hours(100, 1)));
    for (seed, preset) in (7..).zip(presets) {
        let preset = preset.turned(|switches| switches.foreign_per_hour = 80.0);
        // Every registry has neighbours of its own.
        let shop = Shop::open_with(preset.name, preset.switches, Choices::default(), seed);
        let paths = images(&shop, "library/app", 0..60);
        let mut good = 0;
        for path in &paths {
            good += usize::from(shop.curt().get(path).await.is_good());
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        // An hour that nobody had touched, of which neighbours take 80 of 100 pulls as they come.
        assert!((30..60).contains(&good), "{}: {good}", shop.label());
        assert_eq!(shop.sim.journal().status(429), 0, "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_forgets_nothing_that_was_spent() {
    for preset in allowing(per_hours(10, 1)) {
        let mut shop = shop(&preset, "restart");
        let paths = images(&shop, "library/app", 0..6);
        assert_eq!(got(&shop, &paths).await, 6, "{}", shop.label());
        shop.restart().await;
        // By digest nothing is told before the first answer; only the ledger knows.
        assert_eq!(shop.at_once(20..35).await, 4, "{}", shop.label());
        assert_eq!(shop.sim.journal().status(429), 0, "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_went_back_neither_overdraws_nor_locks_out() {
    for preset in allowing(per_hours(10, 1)) {
        let mut shop = shop(&preset, "clock");
        let paths = images(&shop, "library/app", 0..32);
        assert_eq!(got(&shop, &paths[..10]).await, 10, "{}", shop.label());
        tokio::time::sleep(HOUR / 2).await;
        // The clock of a new process begins at the machine's, from which virtual time had run ahead.
        shop.restart().await;
        assert_eq!(got(&shop, &paths[10..15]).await, 0, "{}", shop.label());
        tokio::time::sleep(HOUR + SLACK).await;
        assert_eq!(got(&shop, &paths[15..30]).await, 10, "{}", shop.label());
    }
}
