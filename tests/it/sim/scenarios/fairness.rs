//! A registry that takes one pull a second and says so by refusing: who wants much leaves room for who wants little.

use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::super::client::{Client, Shop};
use super::super::presets::{Preset, ecr_public};
use super::super::switches::{Counts, Rate, RateForm};
use super::over::{put, shop, turned, unhurried};

/// A machine that pulls all day, and one that wants three images.
const LARGE: [u8; 4] = [10, 1, 0, 1];
const SMALL: [u8; 4] = [10, 1, 0, 2];

/// Every registry, with a rate that its answers tell nothing of.
fn of_one_a_second() -> Vec<Preset> {
    turned(unhurried(), |switches| {
        switches.allow(None);
        switches.rate = Some(Rate {
            per_second: 1.0,
            burst: 2.0,
            counts: Counts::Pulls,
            form: RateForm::Json,
            retry_after: None,
        });
    })
}

/// Has a client pull so many images, all at once, each until it has it.
fn pull(shop: &Shop, client: &Client, numbers: std::ops::Range<u64>) -> JoinSet<StatusCode> {
    let mut pulls = JoinSet::new();
    for number in numbers {
        let (client, path) = (client.clone(), put(shop, &format!("library/app{number}"), number));
        pulls.spawn(async move { client.get(&path).await.status });
    }
    pulls
}

/// The large client wants so many images, and everybody gets his.
async fn share(preset: &Preset, many: u64) {
    let shop = shop(preset, "one a second");
    let client = |address| shop.patient().from(address).trying(1000);
    let began = Instant::now();
    let large = pull(&shop, &client(LARGE), 0..many);
    sleep(Duration::from_secs(20)).await;
    let small = pull(&shop, &client(SMALL), 1000..1003).join_all().await;
    let waited = began.elapsed() - Duration::from_secs(20);
    // In turn with the other: six pulls, at the slowest rate that is ever kept to; and one refusal on the way.
    assert!(waited < Duration::from_secs(25), "{}: {waited:?}", shop.label());
    assert_eq!(small, [StatusCode::OK; 3], "{}", shop.label());
    assert!(!large.is_empty(), "{}: there was no crowd", shop.label());
    let all = large.join_all().await;
    assert!(
        all.iter().all(|status| *status == StatusCode::OK),
        "{}",
        shop.label()
    );
    // Twice a second's grace, and what the search for the rate costs.
    let took = began.elapsed().as_secs();
    assert!(took < 3 * (many + 3), "{}: {took} s", shop.label());
}

#[tokio::test(start_paused = true)]
async fn who_wants_three_images_is_not_starved_by_who_wants_two_hundred() {
    let one_a_second = Preset {
        name: "two hundred",
        switches: ecr_public(),
    };
    share(&one_a_second, 200).await;
    for preset in of_one_a_second() {
        share(&preset, 40).await;
    }
}
