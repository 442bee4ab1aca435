//! What a tier grants its clients: operations per minute, fetches at once, bytes per second; for each client over
//! all its connections, and at nobody else's cost.

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

/// A tag that is asked about by GET, which takes a write: HEAD is of no use there.
fn without_head(world: &World, tag: &str, seed: u64) {
    image(&world.registry, Some(tag), seed);
    let refuse = Script {
        without: vec!["docker-content-digest"],
        ..Script::default()
    };
    world.registry.script(manifest_path(tag), refuse);
}

#[tokio::test(start_paused = true)]
async fn where_head_is_of_no_use_a_quota_that_is_used_up_is_not_blamed_on_the_upstream() {
    for on_exhausted in [OnExhausted::Refuse, OnExhausted::FallThrough] {
        let choices = Choices {
            on_exhausted,
            ..granting(writes(1))
        };
        let world = world(choices);
        for (seed, tag) in (1..).zip(["first", "second"]) {
            without_head(&world, tag, seed);
        }
        assert!(
            get_from(&world.seawall, MINE, &manifest_path("first"))
                .await
                .is_good()
        );
        let refused = get_from(&world.seawall, MINE, &manifest_path("second")).await;
        let wait = told(&refused);
        for words in ["this Seawall allows", "client mine", "1 objects per minute"] {
            assert!(text(&refused).contains(words), "{}", text(&refused));
        }
        assert_eq!(refused.header("cache-status"), "seawall; detail=over-quota");
        assert_eq!(refused.header("ratelimit-limit"), "1;w=60");
        assert_eq!(refused.header("ratelimit-remaining"), "0;w=60");
        tokio::time::sleep(wait).await;
        assert!(
            get_from(&world.seawall, MINE, &manifest_path("second"))
                .await
                .is_good()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn where_head_is_of_no_use_a_quota_that_is_used_up_serves_stale_and_says_so() {
    let world = world(granting(writes(1)));
    let held = image(&world.registry, Some("held"), 1);
    for path in [
        manifest_path("held"),
        blob_path(&held.config),
        blob_path(&held.layer),
    ] {
        assert!(world.seawall.get(&path).await.is_good());
    }
    for (seed, tag) in [(1, "held"), (2, "other")] {
        without_head(&world, tag, seed);
    }
    tokio::time::sleep(Duration::from_secs(400)).await;
    assert!(
        get_from(&world.seawall, MINE, &manifest_path("other"))
            .await
            .is_good()
    );
    let stale = get_from(&world.seawall, MINE, &manifest_path("held")).await;
    assert_eq!(stale.status, StatusCode::OK);
    assert_eq!(
        stale.header("cache-status"),
        "seawall; fwd=stale; detail=over-quota"
    );
}

#[tokio::test(start_paused = true)]
async fn where_head_is_of_no_use_nobody_is_refused_for_anothers_quota() {
    let world = world(granting(writes(1)));
    for (seed, tag) in (1..).zip(["first", "second"]) {
        without_head(&world, tag, seed);
    }
    assert!(
        get_from(&world.seawall, MINE, &manifest_path("first"))
            .await
            .is_good()
    );
    let slow = Script {
        delay: Duration::from_millis(200),
        without: vec!["docker-content-digest"],
        ..Script::default()
    };
    world.registry.script(manifest_path("second"), slow);
    let ask = |address| {
        let seawall = world.seawall.clone();
        tokio::spawn(async move { get_from(&seawall, address, &manifest_path("second")).await })
    };
    let mine = ask(MINE);
    // Whoever comes first opens the fetch, and is the one that pays for it.
    while world.registry.seen(&Method::HEAD, "second").is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let [_, alike, free] = [MINE, ALIKE, FREE].map(ask);
    told(&mine.await.unwrap());
    for other in [alike, free] {
        assert!(other.await.unwrap().is_good());
    }
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

/// Nothing in a Range header: all of it.
const WHOLE: &str = "";

/// Seconds that it takes to read these ranges, all at once; each must arrive whole and good.
async fn seconds(seawall: &Arc<Seawall>, asks: &[([u8; 4], &str, &'static str)]) -> f64 {
    let began = Instant::now();
    let all = asks.iter().map(|(address, path, range)| {
        let (seawall, address, path, range) = (seawall.clone(), *address, (*path).to_owned(), *range);
        tokio::spawn(async move {
            let range = [("range", range)];
            let answer = read(seawall.open_from(address, Method::GET, &path, &range).await).await;
            assert!(answer.is_good());
        })
    });
    for one in all.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    began.elapsed().as_secs_f64()
}

fn assert_near(found: f64, wanted: f64) {
    assert!(
        (found - wanted).abs() <= wanted * 0.05,
        "{found} s instead of {wanted} s"
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_arrives_at_its_clients_rate_whole_in_part_in_parts_and_while_it_fills() {
    let world = world(granting(bandwidth(1_000_000)));
    let held = blob_path(&held_blob(&world, 8 * MIB, 1).await);
    let mib = MIB as f64 / 1e6;
    assert_near(seconds(&world.seawall, &[(MINE, &held, WHOLE)]).await, 8.0 * mib);
    let part = "bytes=1048576-5242879";
    assert_near(seconds(&world.seawall, &[(MINE, &held, part)]).await, 4.0 * mib);
    let parts = "bytes=0-2097151,4194304-6291455";
    assert_near(seconds(&world.seawall, &[(MINE, &held, parts)]).await, 4.0 * mib);
    let filling = world.registry.blob("library/app", content(6 * MIB, 3));
    assert_near(
        seconds(&world.seawall, &[(MINE, &blob_path(&filling), WHOLE)]).await,
        6.0 * mib,
    );
    // While the upstream is the slower one nothing is saved up: its last piece, after 8 s, takes what it takes.
    let slow = world.registry.blob("library/app", content(4 * MIB, 5));
    world
        .registry
        .script(blob_path(&slow), Script::paced(Duration::from_secs(2)));
    assert_near(
        seconds(&world.seawall, &[(MINE, &blob_path(&slow), WHOLE)]).await,
        8.0 + mib,
    );
    let waits = world.seawall.metrics.exposition();
    assert!(
        !waits.contains(r#"seawall_paced_waits_total{tier="basic"} 0"#),
        "{waits}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_connections_of_a_client_share_its_rate_and_nobody_else_has_less() {
    let world = world(granting(bandwidth(2_000_000)));
    let path = blob_path(&held_blob(&world, 4 * MIB, 1).await);
    let mib = MIB as f64 / 1e6;
    let mine = [(MINE, path.as_str(), WHOLE); 5];
    let alike = [(ALIKE, path.as_str(), WHOLE); 1];
    let free = [(FREE, path.as_str(), WHOLE); 3];
    let (mine, alike, free) = tokio::join!(
        seconds(&world.seawall, &mine),
        seconds(&world.seawall, &alike),
        seconds(&world.seawall, &free),
    );
    assert_near(mine, 10.0 * mib);
    assert_near(alike, 2.0 * mib);
    assert!(free < 0.1, "{free}");
}

#[tokio::test(start_paused = true)]
async fn the_streams_of_an_http_2_connection_share_the_rate_too() {
    let world = world(granting(bandwidth(1_000_000)));
    let path = blob_path(&held_blob(&world, 2 * MIB, 1).await);
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .handshake(TokioIo::new(world.seawall.connect((MINE, 9).into())))
        .await
        .unwrap();
    tokio::spawn(connection);
    let began = Instant::now();
    let streams = (0..4).map(|_| {
        let (mut sender, uri) = (sender.clone(), format!("http://cache.test{path}"));
        tokio::spawn(async move {
            let request = Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
            let answer = sender.send_request(request).await.unwrap();
            answer.into_body().collect().await.unwrap().to_bytes().len()
        })
    });
    for stream in streams.collect::<Vec<_>>() {
        assert_eq!(stream.await.unwrap(), 2 * MIB);
    }
    assert_near(began.elapsed().as_secs_f64(), 8.0 * MIB as f64 / 1e6);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_waits_for_its_turn_is_not_taken_for_a_reader_that_stands_still() {
    // Each of a thousand connections has its turn every 65 s; a reader may stand still for 60.
    let world = world(granting(bandwidth(1_000_000)));
    let path = blob_path(&held_blob(&world, MIB / 4, 1).await);
    let asks = vec![(MINE, path.as_str(), WHOLE); 1000];
    assert_near(seconds(&world.seawall, &asks).await, 250.0 * MIB as f64 / 1e6);
}

#[tokio::test(start_paused = true)]
async fn what_a_reader_that_left_had_taken_is_given_back() {
    let world = world(granting(bandwidth(1_000_000)));
    let path = blob_path(&held_blob(&world, 2 * MIB, 1).await);
    // Two hundred that leave before their turn would have cost 13 s.
    for _ in 0..200 {
        let answer = world.seawall.open_from(MINE, Method::GET, &path, &[]).await;
        drop(answer);
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let took = seconds(&world.seawall, &[(MINE, &path, WHOLE)]).await;
    assert!(took < 2.0 * MIB as f64 / 1e6 + 8.0, "{took}");
}

/// Bytes that each address receives over these many connections in half a minute.
async fn received<const N: usize>(world: &World, path: &str, crowd: [([u8; 4], usize); N]) -> [f64; N] {
    let counts = crowd.map(|(address, connections)| {
        let count = Arc::new(std::sync::atomic::AtomicU64::new(0));
        for _ in 0..connections {
            let (seawall, path, count) = (world.seawall.clone(), path.to_owned(), count.clone());
            tokio::spawn(async move {
                loop {
                    let mut body = seawall
                        .open_from(address, Method::GET, &path, &[])
                        .await
                        .into_body();
                    while let Some(Ok(frame)) = body.frame().await {
                        let len = frame.data_ref().map_or(0, Bytes::len) as u64;
                        count.fetch_add(len, std::sync::atomic::Ordering::Relaxed);
                    }
                }
            });
        }
        count
    });
    tokio::time::sleep(Duration::from_secs(30)).await;
    counts.map(|count| count.load(std::sync::atomic::Ordering::Relaxed) as f64)
}

#[tokio::test(start_paused = true)]
async fn on_a_saturated_link_clients_of_a_tier_have_equal_shares_and_tiers_their_weights() {
    let choices = Choices {
        bandwidth: Some(20_000_000),
        ..granting(Quota::UNLIMITED)
    };
    let world = world(choices);
    let path = blob_path(&held_blob(&world, MIB, 1).await);
    let near = |found: f64, wanted: f64| {
        assert!(
            (found - wanted).abs() <= wanted * 0.07,
            "{found} instead of {wanted}"
        )
    };
    let [mine, alike, heavy] = received(&world, &path, [(MINE, 16), (ALIKE, 2), (HEAVY, 2)]).await;
    near(mine + alike + heavy, 600e6);
    near(heavy, 450e6);
    near(mine, 75e6);
    near(alike, 75e6);
}

/// A dialer that reaches a Seawall under every name, from one address.
fn dialer(parent: &Arc<Seawall>) -> Dialer {
    let parent = parent.clone();
    Dialer {
        proxies: Proxies::Never,
        resolve: Arc::new(|_| Box::pin(async { Ok(vec![ADDRESS]) })),
        connect: Arc::new(move |_| {
            let near = parent.connect((MINE, 9).into());
            Box::pin(async move { Ok(Box::new(near) as Box<dyn Io>) })
        }),
    }
}

/// A Seawall whose upstream is another one.
fn child_of(parent: &World, directory: &tempfile::TempDir) -> Arc<Seawall> {
    let dialer = dialer(&parent.seawall);
    Arc::new(Seawall::start_over(directory.path(), &dialer, Choices::default()))
}

#[tokio::test(start_paused = true)]
async fn a_seawall_behind_a_seawall_obeys_its_parents_quota_as_a_budget() {
    let parent = world(granting(reads(6)));
    let directory = tempfile::tempdir().unwrap();
    let child = child_of(&parent, &directory);
    let images: Vec<_> = (0..12).map(|seed| image(&parent.registry, None, seed)).collect();
    let mut served = 0;
    let mut wait = None;
    for image in &images {
        let answer = child.get(&manifest_path(image.manifest)).await;
        if answer.is_good() {
            served += 1;
        } else {
            let allows = "docker.io allows this cache 6 pulls per 60 s, and 0 are left";
            assert!(text(&answer).contains(allows), "{}", text(&answer));
            wait.get_or_insert(told(&answer));
        }
    }
    assert!((4..=6).contains(&served), "{served}");
    let refuses = || {
        let told = parent.seawall.metrics.exposition();
        let mut refusals = told
            .lines()
            .filter(|line| line.starts_with("seawall_quota_refusals_total{"));
        refusals.any(|line| !line.ends_with(" 0"))
    };
    assert!(!refuses(), "the parent had to refuse");
    tokio::time::sleep(wait.unwrap()).await;
    assert!(child.get(&manifest_path(images[11].manifest)).await.is_good());
    assert!(!refuses(), "the parent had to refuse");
}

#[tokio::test(start_paused = true)]
async fn what_a_parent_cannot_pay_for_is_a_spent_budget_to_its_child_and_the_rest_goes_on() {
    let parent = world(Choices::default());
    let held = image(&parent.registry, Some("held"), 1);
    assert!(parent.seawall.get(&manifest_path("held")).await.is_good());
    let blob = held_blob(&parent, MIB, 9).await;
    let missing = image(&parent.registry, Some("missing"), 2);
    let path = manifest_path(missing.manifest);
    for path in [manifest_path("missing"), path.clone()] {
        parent.registry.script(path, Script::told(0));
    }
    let head = |seawall: Arc<Seawall>| async move {
        let path = manifest_path("missing");
        seawall.ask(Method::HEAD, &path, &[]).await.status
    };
    assert_eq!(head(parent.seawall.clone()).await, StatusCode::OK);
    let refused = parent.seawall.get(&path).await;
    assert_eq!(refused.header("ratelimit-limit"), "100;w=3600");
    assert_eq!(refused.header("ratelimit-remaining"), "0;w=3600");
    let wait = told(&refused);
    let directory = tempfile::tempdir().unwrap();
    let child = child_of(&parent, &directory);
    let refused = child.get(&path).await;
    let spent = "docker.io allows this cache 100 pulls per 3600 s, and 0 are left; all of them are spent";
    assert!(text(&refused).contains(spent), "{}", text(&refused));
    assert_eq!(refused.header("ratelimit-limit"), "100;w=3600");
    assert_eq!(told(&refused), wait);
    assert!(child.get(&blob_path(&blob)).await.is_good());
    assert_eq!(head(child.clone()).await, StatusCode::OK);
    assert!(child.get(&manifest_path("held")).await.is_good());
    // It has found out that the parent holds some, and still obeys.
    told(&child.get(&path).await);
    let spent = parent.registry.seen(&Method::GET, &missing.manifest.to_string());
    assert!(spent.is_empty(), "{spent:?}");
    parent.registry.heal();
    tokio::time::sleep(wait).await;
    assert!(child.get(&path).await.is_good());
    assert!(child.get(&manifest_path(held.manifest)).await.is_good());
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_knows_no_figures_is_no_reason_to_leave_it_alone() {
    let parent = world(Choices::default());
    let blob = held_blob(&parent, MIB, 9).await;
    let image = image(&parent.registry, Some("app"), 1);
    let alone = Script {
        status: Some(StatusCode::TOO_MANY_REQUESTS),
        headers: vec![("retry-after", "600".to_owned())],
        ..Script::default()
    };
    for path in [manifest_path("app"), manifest_path(image.manifest)] {
        parent.registry.script(path, alone.clone());
    }
    let directory = tempfile::tempdir().unwrap();
    let child = child_of(&parent, &directory);
    for (method, path) in [
        (Method::HEAD, manifest_path("app")),
        (Method::GET, manifest_path(image.manifest)),
    ] {
        let refused = child.ask(method, &path, &[]).await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((590..=600).contains(&wait), "{wait}");
        assert!(child.get(&blob_path(&blob)).await.is_good());
    }
}
