//! Large layers over several connections: sooner, in order, and never at the price of a request that counts.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use seawall::oci::Digest;
use seawall::upstream::AlternateOptions;
use tokio::time::Instant;

use crate::support::registry::{Chunks, Registry, Script};
use crate::support::seawall::{Choices, Seawall};
use crate::support::world::{
    MIB, OCI_MANIFEST, World, blob_file, blob_path, content, image, manifest_path, world,
};

/// The blob that the tests pull: one connection takes 13.4 s for it.
const LENGTH: usize = 128 * MIB;
/// The length of a blob that is just large enough.
const LESS: usize = 64 * MIB;
/// Made once: it takes a while.
static BYTES: LazyLock<Bytes> = LazyLock::new(|| content(LENGTH + LESS, 21));
/// Bytes that may be on their way on the head's connection when it ends where the first chunk begins.
const CUT: u64 = 2 << 20;

/// Ten megabytes a second on each connection, the first of them 40 ms after the question. Pieces of an odd length end
/// nowhere near where chunks do.
fn slow(chunks: Chunks) -> Script {
    Script {
        delay: Duration::from_millis(40),
        chunks,
        chunk: 1_000_003,
        ..Script::paced(Duration::from_millis(100))
    }
}

/// A world with one large blob that is given slowly.
fn large(length: usize, lanes: Option<usize>, chunks: Chunks) -> (World, Digest, Bytes) {
    let world = world(Choices {
        lanes,
        ..Choices::default()
    });
    let bytes = BYTES.slice(..length);
    let digest = world.registry.blob("library/app", bytes.clone());
    world.registry.script(blob_path(&digest), slow(chunks));
    (world, digest, bytes)
}

/// Pulls the blob, which must be right, and says how long that took.
async fn pull(world: &World, digest: &Digest, bytes: &Bytes) -> Duration {
    let asked = Instant::now();
    let answer = world.seawall.get(&blob_path(digest)).await;
    assert!(answer.is_good(), "{} {}", answer.status, answer.body.len());
    assert!(answer.body == *bytes, "other bytes than the registry has");
    asked.elapsed()
}

/// The ranges that were asked for, in their order.
fn ranges(world: &World, digest: &Digest) -> Vec<String> {
    let seen = world.registry.seen(&Method::GET, &blob_path(digest));
    let range = |headers: &http::HeaderMap| Some(headers.get("range")?.to_str().unwrap().to_owned());
    seen.iter().filter_map(|seen| range(&seen.headers)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_large_layer_from_a_slow_connection_comes_three_times_sooner() {
    let (alone, digest, bytes) = large(LENGTH, Some(1), Chunks::Given);
    let one = pull(&alone, &digest, &bytes).await;
    assert_eq!(ranges(&alone, &digest), Vec::<String>::new());
    let (world, digest, bytes) = large(LENGTH, None, Chunks::Given);
    let many = pull(&world, &digest, &bytes).await;
    println!("one connection {one:?}, lanes {many:?}");
    assert!(many * 3 <= one, "{one:?} alone, {many:?} with lanes");
    // Every byte once, but for what was on its way when the head's connection ended.
    let sent = world.registry.sent();
    assert!(sent <= LENGTH as u64 + CUT, "{sent} bytes sent");
    let mut asked = ranges(&world, &digest);
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), ranges(&world, &digest).len(), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_fast_connection_or_a_small_blob_costs_one_plain_request() {
    let (world, digest, bytes) = large(LENGTH, None, Chunks::Given);
    world
        .registry
        .script(blob_path(&digest), Script::paced(Duration::from_millis(2)));
    pull(&world, &digest, &bytes).await;
    assert_eq!(ranges(&world, &digest), Vec::<String>::new());
    let small = BYTES.slice(..30 * MIB);
    let digest = world.registry.blob("library/app", small.clone());
    world.registry.script(blob_path(&digest), slow(Chunks::Given));
    pull(&world, &digest, &small).await;
    assert_eq!(ranges(&world, &digest), Vec::<String>::new());
    assert_eq!(world.registry.sent(), (LENGTH + 30 * MIB) as u64);
}

#[tokio::test(start_paused = true)]
async fn no_more_connections_are_open_than_the_cap_allows() {
    let (world, digest, bytes) = large(LESS, Some(3), Chunks::Given);
    let watch = {
        let metrics = world.seawall.metrics.clone();
        tokio::spawn(async move {
            let mut most = 0;
            for _ in 0..1000 {
                tokio::time::sleep(Duration::from_millis(10)).await;
                let text = metrics.exposition();
                let open = text.lines().find_map(|line| line.strip_prefix("seawall_lanes "));
                most = most.max(open.unwrap().parse().unwrap());
            }
            most
        })
    };
    pull(&world, &digest, &bytes).await;
    assert_eq!(watch.await.unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_refuses_lanes_loses_nothing_and_is_not_asked_again() {
    for chunks in [
        Chunks::Ignored,
        Chunks::Refused(429),
        Chunks::Refused(503),
        Chunks::Refused(400),
        Chunks::Refused(416),
        Chunks::Shifted,
        Chunks::OfLength(LESS as u64 + 1),
    ] {
        let (world, digest, bytes) = large(LESS, None, chunks);
        let took = pull(&world, &digest, &bytes).await;
        assert!(took < Duration::from_millis(7500), "{chunks:?}: {took:?}");
        assert_eq!(
            ranges(&world, &digest).len(),
            1,
            "{chunks:?}: {:?}",
            ranges(&world, &digest)
        );
        let other = BYTES.slice(LENGTH..);
        let another = world.registry.blob("library/app", other.clone());
        world.registry.script(blob_path(&another), slow(Chunks::Given));
        pull(&world, &another, &other).await;
        assert_eq!(ranges(&world, &another), Vec::<String>::new(), "{chunks:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_begins_to_refuse_still_gives_the_rest_and_is_not_left_alone() {
    // F032: what lanes were refused must not keep the next request out.
    for status in [429, 503] {
        let (world, digest, bytes) = large(LENGTH, Some(12), Chunks::Given);
        let registry = world.registry.clone();
        let path = blob_path(&digest);
        let begins = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(3000)).await;
            registry.script(path, slow(Chunks::Refused(status)));
        });
        let took = pull(&world, &digest, &bytes).await;
        begins.await.unwrap();
        assert!(took < Duration::from_millis(13_500), "{status}: {took:?}");
        let other = BYTES.slice(LENGTH..LENGTH + MIB);
        let another = world.registry.blob("library/app", other.clone());
        pull(&world, &another, &other).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_breaks_goes_on_where_it_broke() {
    let (world, digest, bytes) = large(LESS, None, Chunks::Cut(3 * MIB));
    pull(&world, &digest, &bytes).await;
    let sent = world.registry.sent();
    assert!(sent <= LESS as u64 + 4 * CUT, "{sent} bytes sent");
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_gives_up_leaves_a_gap_that_is_filled() {
    // Each try breaks after a mebibyte: a chunk of eight is never whole.
    let (world, digest, bytes) = large(LESS, None, Chunks::Cut(MIB));
    pull(&world, &digest, &bytes).await;
    assert!(ranges(&world, &digest).iter().any(|range| range.ends_with('-')));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_byte_in_a_chunk_breaks_the_body_and_is_not_kept() {
    // F005
    let (world, digest, bytes) = large(LESS, None, Chunks::Flipped(50 * MIB as u64));
    let answer = world.seawall.get(&blob_path(&digest)).await;
    assert!(!answer.is_good());
    assert!(answer.body.len() < LESS);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!blob_file(world.directory.path(), &digest).exists());
    world.registry.script(blob_path(&digest), slow(Chunks::Given));
    pull(&world, &digest, &bytes).await;
}

#[tokio::test(start_paused = true)]
async fn when_the_last_reader_leaves_the_lanes_end_and_what_is_kept_is_the_beginning() {
    // F048
    let (mut choices, bytes) = (Choices::default(), BYTES.slice(..LENGTH));
    choices.flights.finish_below = 0;
    let world = world(choices.clone());
    let digest = world.registry.blob("library/app", bytes.clone());
    world.registry.script(blob_path(&digest), slow(Chunks::Given));
    let mut only = world.seawall.open(Method::GET, &blob_path(&digest), &[]).await;
    let until = Instant::now() + Duration::from_millis(1500);
    while tokio::time::timeout_at(until, only.body_mut().frame())
        .await
        .is_ok()
    {}
    drop(only);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let sent = world.registry.sent();
    assert!(ranges(&world, &digest).len() > 1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.registry.sent(), sent, "the lanes went on");
    assert!(world.seawall.metrics.exposition().contains("seawall_lanes 0"));
    let (registry, directory) = world.stop().await;
    let left = directory
        .path()
        .join("v1/filling")
        .join(digest.to_string().replace(':', "-"));
    let left = std::fs::read(left).unwrap();
    assert!(!left.is_empty() && left.len() < LENGTH);
    assert!(bytes.starts_with(&left), "what is left is not the beginning");
    let seawall = Seawall::start(directory.path(), &registry, choices);
    let answer = seawall.get(&blob_path(&digest)).await;
    assert!(answer.is_good() && answer.body == bytes);
}

#[tokio::test(start_paused = true)]
async fn lanes_go_to_the_alternate_that_gives_the_blob() {
    let mirror = Registry::default();
    let alternate = AlternateOptions {
        url: "http://mirror.test".parse().unwrap(),
        prefix: None,
    };
    let world = world(Choices {
        alternates: vec![alternate],
        ..Choices::default()
    });
    world.registry.beside("mirror.test", &mirror);
    let bytes = BYTES.slice(..LENGTH);
    let digest = mirror.blob("library/app", bytes.clone());
    mirror.script(blob_path(&digest), slow(Chunks::Given));
    let down = Script {
        status: Some(http::StatusCode::SERVICE_UNAVAILABLE),
        ..Script::default()
    };
    world.registry.script(blob_path(&digest), down);
    let took = pull(&world, &digest, &bytes).await;
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert_eq!(ranges(&world, &digest), Vec::<String>::new());
    assert!(mirror.seen(&Method::GET, &blob_path(&digest)).len() > 10);
}

#[tokio::test(start_paused = true)]
async fn lanes_cost_no_request_that_counts() {
    let world = world(Choices::default());
    let bytes = BYTES.slice(..LESS);
    let layer = world.registry.blob("library/app", bytes.clone());
    world.registry.script(blob_path(&layer), slow(Chunks::Given));
    let config = image(&world.registry, None, 1).config;
    let body = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":10}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer}","size":{LESS}}}]}}"#
    );
    let manifest = world
        .registry
        .manifest("library/app", Some("1"), OCI_MANIFEST, &body);
    assert!(world.seawall.get(&manifest_path(manifest)).await.is_good());
    pull(&world, &layer, &bytes).await;
    assert!(!ranges(&world, &layer).is_empty());
    let counted = world.registry.journal();
    let counted = counted
        .iter()
        .filter(|seen| seen.method == Method::GET && seen.path.contains("/manifests/"));
    assert_eq!(counted.count(), 1);
}
