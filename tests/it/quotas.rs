//! What a tier grants its clients: operations per minute, fetches at once, bytes per second; for each client over
//! all its connections, and at nobody else's cost.

mod chained;
mod rates;
mod without_head;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use seawall::cache::OnExhausted;
use seawall::net::dial::{Dialer, Io, Proxies};
use seawall::oci::Digest;
use seawall::policy::clients::{Clients, Rule, Tier};
use seawall::policy::quota::Quota;
use tokio::time::Instant;

use super::support::registry::{ADDRESS, Script};
use super::support::seawall::{Answer, Choices, Seawall, read};
use super::support::world::{MIB, World, blob_path, content, image, manifest_path, world};

/// The client whose tier the test chooses, one more in the same tier, and one without any limit.
const MINE: [u8; 4] = [10, 1, 0, 1];
const ALIKE: [u8; 4] = [10, 2, 0, 1];
const FREE: [u8; 4] = [127, 0, 0, 1];
/// One in a tier of its own, on a link that all share.
const HEAVY: [u8; 4] = [10, 3, 0, 1];

/// Two clients of a tier with this quota, one of a tier with three times the weight, and the rest unlimited.
fn granting(quota: Quota) -> Choices {
    let tier = |name: &str, quota| Tier {
        name: name.to_owned(),
        reserve: 0.0,
        quota,
    };
    let rule = |name: &str, tier, network: &str| Rule::at(name, tier, vec![network.parse().unwrap()]);
    let heavy = Quota {
        weight: 3,
        ..Quota::UNLIMITED
    };
    let clients = Clients {
        tiers: vec![
            tier("unlimited", Quota::UNLIMITED),
            tier("basic", quota),
            tier("heavy", heavy),
        ],
        rules: vec![
            rule("mine", 1, "10.1.0.0/16"),
            rule("alike", 1, "10.2.0.0/16"),
            rule("heavy", 2, "10.3.0.0/16"),
        ],
        ..Clients::default()
    };
    Choices {
        clients,
        ..Choices::default()
    }
}

fn reads(figure: u32) -> Quota {
    Quota {
        reads: NonZeroU32::new(figure),
        ..Quota::UNLIMITED
    }
}

fn writes(figure: u32) -> Quota {
    Quota {
        writes: NonZeroU32::new(figure),
        ..Quota::UNLIMITED
    }
}

fn bandwidth(rate: u64) -> Quota {
    Quota {
        bandwidth: Some(rate),
        ..Quota::UNLIMITED
    }
}

async fn get_from(seawall: &Seawall, address: [u8; 4], path: &str) -> Answer {
    read(seawall.open_from(address, Method::GET, path, &[]).await).await
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body[..answer.body.len().min(1000)]).into_owned()
}

/// The refusal's Retry-After.
fn told(answer: &Answer) -> Duration {
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{}", text(answer));
    assert!(text(answer).contains("TOOMANYREQUESTS"), "{}", text(answer));
    Duration::from_secs(answer.header("retry-after").parse().unwrap())
}

/// A blob that the cache holds, on its shelf and verified.
async fn held_blob(world: &World, len: usize, seed: u64) -> Digest {
    let digest = world.registry.blob("library/app", content(len, seed));
    assert!(world.seawall.get(&blob_path(&digest)).await.is_good());
    tokio::time::sleep(Duration::from_secs(1)).await;
    digest
}

#[tokio::test(start_paused = true)]
async fn a_manifest_tells_what_is_left_and_who_waits_as_told_is_served_again() {
    let world = world(granting(reads(3)));
    let image = image(&world.registry, Some("app"), 1);
    let mine = |path: String| {
        let seawall = world.seawall.clone();
        async move { get_from(&seawall, MINE, &path).await }
    };
    for left in ["2;w=60", "1;w=60"] {
        let answer = mine(manifest_path("app")).await;
        assert!(answer.is_good());
        assert_eq!(answer.header("ratelimit-limit"), "3;w=60");
        assert_eq!(answer.header("ratelimit-remaining"), left);
    }
    let blob = mine(blob_path(&image.config)).await;
    assert!(blob.is_good() && blob.header("ratelimit-limit").is_empty());
    let refused = mine(manifest_path("app")).await;
    for words in [
        "this Seawall allows",
        "client mine",
        "tier basic",
        "3 requests per minute",
        "ask again in ",
    ] {
        assert!(text(&refused).contains(words), "{}", text(&refused));
    }
    assert_eq!(refused.header("ratelimit-limit"), "3;w=60");
    assert_eq!(refused.header("ratelimit-remaining"), "0;w=60");
    assert_eq!(refused.header("cache-status"), "seawall; detail=over-quota");
    let wait = told(&refused);
    tokio::time::sleep(wait).await;
    assert!(mine(manifest_path("app")).await.is_good());
    let metrics = world.seawall.metrics.exposition();
    let counted = r#"seawall_quota_refusals_total{reason="reads",tier="basic"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn lists_count_as_requests_and_pings_do_not() {
    let world = world(granting(reads(1)));
    for _ in 0..5 {
        assert!(get_from(&world.seawall, MINE, "/v2/").await.is_good());
    }
    assert!(get_from(&world.seawall, MINE, "/v2/_catalog").await.is_good());
    told(&get_from(&world.seawall, MINE, "/v2/_catalog").await);
    told(&get_from(&world.seawall, MINE, "/v2/library/app/tags/list").await);
}

#[tokio::test(start_paused = true)]
async fn a_quota_is_of_one_client_whatever_its_addresses_and_of_nobody_else() {
    let world = world(granting(reads(2)));
    image(&world.registry, Some("app"), 1);
    let path = manifest_path("app");
    assert!(get_from(&world.seawall, MINE, &path).await.is_good());
    assert!(get_from(&world.seawall, [10, 1, 77, 7], &path).await.is_good());
    told(&get_from(&world.seawall, [10, 1, 9, 9], &path).await);
    for _ in 0..2 {
        assert!(get_from(&world.seawall, ALIKE, &path).await.is_good());
    }
    for _ in 0..20 {
        let answer = get_from(&world.seawall, FREE, &path).await;
        assert!(answer.is_good() && answer.header("ratelimit-limit").is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn containerd_which_asks_again_at_once_is_answered_later() {
    let world = world(granting(reads(1)));
    image(&world.registry, Some("app"), 1);
    assert!(
        get_from(&world.seawall, MINE, &manifest_path("app"))
            .await
            .is_good()
    );
    let began = Instant::now();
    let agent = [("user-agent", "containerd/v2.1.0")];
    let path = manifest_path("app");
    let refused = read(world.seawall.open_from(MINE, Method::GET, &path, &agent).await).await;
    told(&refused);
    let held = began.elapsed().as_secs_f64();
    assert!((1.0..=3.1).contains(&held), "{held}");
}

#[tokio::test(start_paused = true)]
async fn what_is_held_costs_no_write_and_what_is_not_is_refused_until_the_time_told() {
    let world = world(granting(writes(1)));
    image(&world.registry, Some("app"), 1);
    let layer = world.registry.blob("library/app", content(MIB, 11));
    let held = held_blob(&world, MIB, 8).await;
    assert!(
        get_from(&world.seawall, MINE, &manifest_path("app"))
            .await
            .is_good()
    );
    // 60 s until the next one: longer than any client waits.
    let began = Instant::now();
    let refused = get_from(&world.seawall, MINE, &blob_path(&layer)).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(
        text(&refused).contains("1 objects per minute to be fetched"),
        "{}",
        text(&refused)
    );
    assert_eq!(refused.header("ratelimit-limit"), "1;w=60");
    let wait = told(&refused);
    for _ in 0..20 {
        assert!(
            get_from(&world.seawall, MINE, &manifest_path("app"))
                .await
                .is_good()
        );
        assert!(get_from(&world.seawall, MINE, &blob_path(&held)).await.is_good());
    }
    assert!(world.registry.seen(&Method::GET, &layer.to_string()).is_empty());
    tokio::time::sleep(wait).await;
    assert!(get_from(&world.seawall, MINE, &blob_path(&layer)).await.is_good());
}

#[tokio::test(start_paused = true)]
async fn what_was_held_before_a_restart_costs_no_write_although_it_is_hashed_again() {
    let first = world(Choices::default());
    let mut held = Vec::new();
    for index in 0..5 {
        held.push(held_blob(&first, MIB + index, 1).await);
    }
    let (registry, directory) = first.stop().await;
    let seawall = Seawall::start(directory.path(), &registry, granting(writes(1)));
    let before = registry.journal().len();
    for blob in &held {
        assert!(get_from(&seawall, MINE, &blob_path(blob)).await.is_good());
    }
    assert_eq!(registry.journal().len(), before);
}

#[tokio::test(start_paused = true)]
async fn joining_anothers_fetch_costs_no_write() {
    let world = world(granting(writes(1)));
    let slow = Script::paced(Duration::from_millis(500));
    let blobs: Vec<Digest> = (0..3)
        .map(|index| world.registry.blob("library/app", content(4 * MIB + index, 1)))
        .collect();
    for blob in &blobs {
        world.registry.script(blob_path(blob), slow.clone());
    }
    let all = blobs.iter().map(|blob| {
        let (seawall, path) = (world.seawall.clone(), blob_path(blob));
        let first = tokio::spawn({
            let (seawall, path) = (seawall.clone(), path.clone());
            async move { get_from(&seawall, FREE, &path).await }
        });
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let joined = get_from(&seawall, MINE, &path).await;
            (first.await.unwrap(), joined)
        })
    });
    for pair in all.collect::<Vec<_>>() {
        let (first, joined) = pair.await.unwrap();
        assert!(first.is_good() && joined.is_good());
        assert_eq!(joined.header("cache-status"), "seawall; fwd=miss; collapsed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_wait_for_a_write_is_waited_and_not_refused() {
    let world = world(granting(writes(20)));
    let blobs: Vec<Digest> = (0..22)
        .map(|index| world.registry.blob("library/app", content(100 + index, 1)))
        .collect();
    let began = Instant::now();
    for blob in &blobs {
        assert!(get_from(&world.seawall, MINE, &blob_path(blob)).await.is_good());
    }
    let seconds = began.elapsed().as_secs_f64();
    assert!((5.9..7.0).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_fetch_waits_for_a_free_place_and_is_refused_when_its_client_would_give_up() {
    let quota = Quota {
        fills: Some(1),
        ..Quota::UNLIMITED
    };
    let world = world(granting(quota));
    // At 1 MiB a second: one is over in four seconds, the other in a minute.
    let slow = Script::paced(Duration::from_secs(1));
    let [short, long, next] = [4, 60, 1].map(|mib| {
        let blob = world.registry.blob("library/app", content(mib * MIB, mib as u64));
        world.registry.script(blob_path(&blob), slow.clone());
        blob_path(&blob)
    });
    let spawn = |address, path: &str| {
        let (seawall, path) = (world.seawall.clone(), path.to_owned());
        tokio::spawn(async move { get_from(&seawall, address, &path).await })
    };
    let first = spawn(MINE, &short);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let second = spawn(MINE, &long);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(
        world.registry.seen(&Method::GET, &long).is_empty(),
        "it did not wait"
    );
    assert!(first.await.unwrap().is_good());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.registry.seen(&Method::GET, &long).len(), 1);
    // What another fetches may be joined at any time, and another client has places of its own.
    let began = Instant::now();
    let refused = spawn(MINE, &next).await.unwrap();
    assert!(
        text(&refused).contains("1 fetches at once, and all are under way"),
        "{}",
        text(&refused)
    );
    assert!(refused.header("ratelimit-limit").is_empty());
    told(&refused);
    let waited = began.elapsed().as_secs_f64();
    assert!((8.0..10.0).contains(&waited), "{waited}");
    assert!(world.registry.seen(&Method::GET, &next).is_empty());
    assert!(spawn(ALIKE, &next).await.unwrap().is_good());
    assert!(spawn(MINE, &next).await.unwrap().is_good());
    assert!(second.await.unwrap().is_good());
}
