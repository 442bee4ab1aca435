//! Warms by the calendar: when they are due, and by the lowest rank.

use seawall::cache::ScheduledWarm;
use seawall::oci::Platforms;
use seawall::policy::access::Offer;
use seawall::policy::schedule::{Schedule, Zone};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::support::world::names;

/// Has `app:1` warmed every ten minutes.
fn every_ten_minutes(world: &World) -> JoinHandle<()> {
    let names = names(Offer::default());
    let scheduled = ScheduledWarm {
        references: vec!["app:1".to_owned()],
        platforms: Platforms::All,
        referrers: false,
        schedule: Schedule::parse("*/10 * * * *", Zone::utc()).unwrap(),
    };
    let cache = world.seawall.cache.clone();
    tokio::spawn(async move {
        cache
            .warm_by_calendar(&scheduled, &names, &CancellationToken::new())
            .await
    })
}

#[tokio::test(start_paused = true)]
async fn what_is_scheduled_is_warmed_when_it_is_due_and_again() {
    let world = world(Choices::default());
    image(&world.registry, Some("1"), 1);
    let running = every_ten_minutes(&world);
    tokio::time::sleep(Duration::from_secs(601)).await;
    assert_eq!(counted(&world), 1);
    let heads = world.registry.seen(&Method::HEAD, &manifest_path("1")).len();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(counted(&world), 1);
    assert_eq!(
        world.registry.seen(&Method::HEAD, &manifest_path("1")).len(),
        heads + 1
    );
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn what_is_scheduled_leaves_a_budget_to_who_asks_now() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 1);
    for path in [manifest_path("1"), manifest_path(image.manifest)] {
        world.registry.script(path, Script::told(40));
    }
    let running = every_ten_minutes(&world);
    tokio::time::sleep(Duration::from_secs(601)).await;
    assert!(!world.registry.seen(&Method::HEAD, &manifest_path("1")).is_empty());
    assert_eq!(counted(&world), 0);
    assert!(world.seawall.get(&manifest_path("1")).await.is_good());
    running.abort();
}
