//! Another registry that has the same digests, under another name and with tokens of its own.

use seawall::upstream::AlternateOptions;

use super::super::client::Shop;
use super::super::journal::{About, Counted, Entry, Role};
use super::super::presets::{self, hub};
use super::super::switches::{Alternate, Manifests, Switches};
use super::super::wire::host;
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

#[tokio::test(start_paused = true)]
async fn what_another_has_costs_nothing_in_front_of_every_public_registry() {
    for preset in presets::all() {
        let switches = &preset.switches;
        if switches.private || !switches.head_tells() || switches.manifests != Manifests::Here {
            continue;
        }
        let shop = shop(preset.name, switches.clone());
        let image = shop.sim.image("library/app", "1", 1, 10_000);
        assert_eq!(
            shop.patient().pull(&image, 0).await,
            Ok(image.index),
            "{}",
            shop.label()
        );
        let journal = shop.sim.journal();
        let (home, mirror) = (at(&journal, Role::Registry), at(&journal, Role::Alternate));
        // Chance may hide the other registry for a while.
        if switches.chaos == 0.0 {
            assert_eq!(
                (home.pulls(), mirror.pulls()),
                (0, 2),
                "{}: {journal:#?}",
                shop.label()
            );
        }
        // Where a tag points is the registry's own to tell.
        let by_tag = |entry: &Entry| matches!(entry.about, About::Manifest { by_tag: true, .. });
        assert!(!mirror.iter().any(by_tag), "{}", shop.label());
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_lacks_or_has_wrongly_is_paid_for_and_right() {
    for alternate in [Alternate::Lacks, Alternate::Corrupts] {
        let shop = shop("no good", Switches { alternate, ..hub() });
        let image = shop.sim.image("library/app", "1", 1, 10_000);
        assert_eq!(
            shop.curt().pull(&image, 0).await,
            Ok(image.index),
            "{alternate:?}"
        );
        assert_eq!(
            at(&shop.sim.journal(), Role::Registry).pulls(),
            2,
            "{alternate:?}"
        );
    }
    let shop = shop("down", hub());
    let image = shop.sim.image("library/app", "1", 1, 10_000);
    shop.sim.go_down(&[Role::Alternate]);
    assert_eq!(shop.curt().pull(&image, 0).await, Ok(image.index));
    assert_eq!(at(&shop.sim.journal(), Role::Registry).pulls(), 2);
}

#[tokio::test(start_paused = true)]
async fn with_nothing_left_everything_that_another_has_can_still_be_pulled() {
    let shop = shop("spent", hub());
    shop.sim.leave(0);
    for number in 0..20 {
        let image = shop.sim.image("library/app", &number.to_string(), number, 1000);
        assert_eq!(shop.curt().pull(&image, 0).await, Ok(image.index), "{number}");
    }
    assert_eq!(at(&shop.sim.journal(), Role::Registry).pulls(), 0);
}
