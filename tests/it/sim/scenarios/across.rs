//! Limits and restarts in front of every registry, whatever else it is like: a limit like Docker Hub's is put
//! on top of each.

use std::time::Duration;

use super::super::client::Shop;
use super::super::journal::Counted;
use super::super::presets::{self, Preset};
use super::super::switches::{Figures, Switches, per_hours};

const HOUR: Duration = Duration::from_secs(3600);
/// Pulls an hour, on top of what the registry is like.
const PULLS: u64 = 15;

/// Every registry without accounts, faults by chance and limits of its own on everything, with this allowance.
/// One that only redirects has none: its limit would be another host's.
fn limited() -> impl Iterator<Item = Preset> {
    let plain = |preset: &Preset| {
        let switches = &preset.switches;
        let limits_itself = switches.rate.is_none() && preset.name != "k8s";
        limits_itself && switches.chaos == 0.0 && switches.accounts.is_empty()
    };
    presets::all().into_iter().filter(plain).map(|preset| Preset {
        switches: Switches {
            allowance: Some(per_hours(PULLS, 1)),
            figures: Figures::Both,
            gets_per_unit: 1,
            foreign_per_hour: 0.0,
            source: true,
            ..preset.switches
        },
        ..preset
    })
}

#[tokio::test(start_paused = true)]
async fn no_registry_is_asked_for_more_than_it_allows_and_nearly_all_of_that_is_used() {
    // Of forty at once, the last may be refused while answers are on their way that would have left it one.
    let nearly = PULLS - 2..=PULLS;
    for preset in limited() {
        let shop = Shop::of(&preset);
        let first = shop.at_once(0..40).await;
        assert!(nearly.contains(&first), "{}: {first}", shop.label());
        assert_eq!(shop.sim.journal().status(429), 0, "{}", shop.label());
        tokio::time::sleep(HOUR + Duration::from_secs(120)).await;
        let second = shop.at_once(100..140).await;
        assert!(nearly.contains(&second), "{}: {second}", shop.label());
        assert_eq!(shop.sim.journal().status(429), 0, "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn no_restart_forgets_what_was_spent_at_any_registry() {
    for preset in limited() {
        let mut shop = Shop::of(&preset);
        assert_eq!(shop.at_once(0..10).await, 10, "{}", shop.label());
        shop.restart().await;
        let after = shop.at_once(20..40).await;
        // Where HEAD tells nothing, what is left cannot be read again, and is not bet on.
        let least = match preset.switches.head_tells() {
            true => PULLS - 12,
            false => 0,
        };
        assert!((least..=PULLS - 10).contains(&after), "{}: {after}", shop.label());
        assert_eq!(shop.sim.journal().status(429), 0, "{}", shop.label());
    }
}
