//! Another registry that has the same digests, under another name and with tokens of its own.

use seawall::upstream::AlternateOptions;

use super::super::client::Shop;
use super::super::journal::{About, Counted, Entry, Role};
use super::super::presets::{self, Preset};
use super::super::switches::{Alternate, Manifests, Switches, per_hours};
use super::super::wire::host;
use super::over::turned;
use crate::support::seawall::Choices;

fn shop(name: &str, switches: Switches) -> Shop {
    let mirror = AlternateOptions {
        url: format!("http://{}", host(Role::Alternate)).parse().unwrap(),
        prefix: Some("artifacts/images".parse().unwrap()),
    };
    let choices = Choices {
        alternates: vec![mirror],
        ..Choices::default()
    };
    Shop::open_with(name, switches, choices, 51)
}

/// Requests to one host.
fn at(journal: &[Entry], role: Role) -> Vec<Entry> {
    journal
        .iter()
        .filter(|entry| entry.role == role)
        .cloned()
        .collect()
}

/// Those whose images another registry may have, and that tell where a tag points: what is private is nobody
/// else's, and manifests that are elsewhere anyway are not paid for here.
fn public() -> Vec<Preset> {
    let mut presets = presets::all();
    presets.retain(|preset| {
        let switches = &preset.switches;
        !switches.private && switches.head_tells() && switches.manifests == Manifests::Here
    });
    presets
}

/// The same without faults by chance and without a rate, which would refuse.
fn unhurried_public() -> Vec<Preset> {
    let mut presets = public();
    presets.retain(|preset| preset.switches.chaos == 0.0);
    turned(presets, |switches| switches.rate = None)
}

#[tokio::test(start_paused = true)]
async fn what_another_has_costs_nothing_in_front_of_every_public_registry() {
    for preset in public() {
        let shop = shop(preset.name, preset.switches.clone());
        let image = shop.sim.image("library/app", "1", 1, 10_000);
        let pulled = shop.patient().pull(&image, 0).await;
        assert_eq!(pulled, Ok(image.index), "{}", shop.label());
        let journal = shop.sim.journal();
        let (home, mirror) = (at(&journal, Role::Registry), at(&journal, Role::Alternate));
        // Chance may hide the other registry for a while.
        if preset.switches.chaos == 0.0 {
            let pulls = (home.pulls(), mirror.pulls());
            assert_eq!(pulls, (0, 2), "{}: {journal:#?}", shop.label());
        }
        // Where a tag points is the registry's own to tell.
        let by_tag = |entry: &Entry| matches!(entry.about, About::Manifest { by_tag: true, .. });
        assert!(!mirror.iter().any(by_tag), "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_lacks_or_has_wrongly_is_paid_for_and_right() {
    for preset in unhurried_public() {
        for alternate in [Some(Alternate::Lacks), Some(Alternate::Corrupts), None] {
            let switches = Switches {
                alternate: alternate.unwrap_or(Alternate::Holds),
                ..preset.switches.clone()
            };
            let shop = shop(&format!("{} {alternate:?}", preset.name), switches);
            let image = shop.sim.image("library/app", "1", 1, 1000);
            if alternate.is_none() {
                shop.sim.go_down(&[Role::Alternate]);
            }
            let pulled = shop.curt().pull(&image, 0).await;
            assert_eq!(pulled, Ok(image.index), "{}", shop.label());
            let home = at(&shop.sim.journal(), Role::Registry);
            assert_eq!(home.pulls(), 2, "{}", shop.label());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn with_nothing_left_everything_that_another_has_can_still_be_pulled() {
    for preset in unhurried_public() {
        let preset = preset.turned(|switches| switches.allow(Some(per_hours(100, 1))));
        let shop = shop(preset.name, preset.switches);
        shop.sim.leave(0);
        for number in 0..6 {
            let image = shop.sim.image("library/app", &number.to_string(), number, 1000);
            let pulled = shop.curt().pull(&image, 0).await;
            assert_eq!(pulled, Ok(image.index), "{} {number}", shop.label());
        }
        let home = at(&shop.sim.journal(), Role::Registry);
        assert_eq!(home.pulls(), 0, "{}", shop.label());
    }
}
