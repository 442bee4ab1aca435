//! Crowds that leave, fail, or come at the wrong moment, and registries that are silent at the start: afterwards
//! everything can be pulled, nothing is under way, and nobody was asked more often than need be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use seawall::net::dial::{BoxFuture, Dialer};
use seawall::oci::Digest;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::support::configured::{Configured, hub};
use crate::support::registry::{Registry, Script};
use crate::support::seawall::{Answer, Choices, Seawall, read};
use crate::support::world::{MIB, World, blob_path, content, image, manifest_path, world};

/// Clients of a crowd.
const CROWD: usize = 100;
/// Worlds of clients that hang up, each with a seed of its own.
const WORLDS: u64 = 40;
/// Times that a blob is asked for while its file gets its name.
const NAMINGS: u64 = 200;

/// The value of a series without labels.
fn metric(seawall: &Seawall, name: &str) -> u64 {
    let text = seawall.metrics.exposition();
    let told = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    told.unwrap().parse().unwrap()
}

/// Downloads and their readers have ended.
fn assert_quiet(seawall: &Seawall, case: &str) {
    let left = ["seawall_fills", "seawall_fill_readers"].map(|name| metric(seawall, name));
    assert_eq!(left, [0, 0], "{case}");
}

#[tokio::test(start_paused = true)]
async fn a_crowd_that_is_broken_off_hears_of_it_at_once_and_the_next_is_served() {
    // F052: half of the blob is there, and then no more, however often it is asked for.
    let world = world(Choices::default());
    let bytes = content(4 * MIB, 1);
    let digest = world.registry.blob("library/app", bytes.clone());
    let broken = Script {
        chunk: MIB / 4,
        pace: Duration::from_millis(100),
        cut_after: Some(2 * MIB),
        ignore_range: true,
        ..Script::default()
    };
    world.registry.script(blob_path(&digest), broken);
    let mut crowd = JoinSet::new();
    for _ in 0..CROWD {
        let (seawall, path) = (world.seawall.clone(), blob_path(&digest));
        crowd.spawn(async move { (seawall.get(&path).await.is_good(), Instant::now()) });
    }
    let ended = crowd.join_all().await;
    assert!(ended.iter().all(|(good, _)| !good));
    let (first, last) = (
        ended.iter().map(|(_, at)| at).min(),
        ended.iter().map(|(_, at)| at).max(),
    );
    assert!(*last.unwrap() - *first.unwrap() < Duration::from_secs(1));
    world.registry.heal();
    sleep(Duration::from_secs(1)).await;
    assert_quiet(&world.seawall, "after the crowd");
    let next = world.seawall.get(&blob_path(&digest)).await;
    assert!(next.is_good() && next.body == bytes);
}

/// A client that hangs up before its answer, or after some of it, or takes all of it.
async fn fickle(seawall: Arc<Seawall>, path: String, mut random: StdRng) {
    sleep(Duration::from_micros(random.random_range(0..40_000))).await;
    let patience = Duration::from_micros(random.random_range(0..60_000));
    let pulled = async {
        let mut body = seawall.open(Method::GET, &path, &[]).await.into_body();
        while let Some(Ok(_)) = body.frame().await {}
    };
    // Whoever runs out of patience drops what it was doing, wherever that was.
    let _ = tokio::time::timeout(patience, pulled).await;
}

/// Blobs of different sizes in a registry that is slow, breaks off and refuses by chance.
fn unreliable(world: &World, random: &mut StdRng) -> Vec<(Digest, Bytes)> {
    let blobs: Vec<_> = (0..6)
        .map(|number| {
            let bytes = content(random.random_range(1..MIB), 2 * number + 1);
            (world.registry.blob("library/app", bytes.clone()), bytes)
        })
        .collect();
    for (digest, bytes) in &blobs {
        let trouble = Script {
            status: random.random_bool(0.2).then_some(StatusCode::SERVICE_UNAVAILABLE),
            delay: Duration::from_micros(random.random_range(0..20_000)),
            chunk: 16 << 10,
            pace: Duration::from_micros(random.random_range(0..3_000)),
            cut_after: random
                .random_bool(0.3)
                .then(|| random.random_range(0..bytes.len())),
            flip: random
                .random_bool(0.2)
                .then(|| random.random_range(0..bytes.len())),
            times: Some(random.random_range(1..3)),
            ..Script::default()
        };
        world.registry.script(blob_path(digest), trouble);
    }
    blobs
}

/// Pulls a blob, which must not hang.
async fn in_time(seawall: &Seawall, digest: &Digest, case: &str) -> Answer {
    let path = blob_path(digest);
    let pulled = tokio::time::timeout(Duration::from_secs(20), seawall.get(&path)).await;
    pulled.unwrap_or_else(|_| panic!("{case}: {digest} hangs"))
}

#[tokio::test(start_paused = true)]
async fn whoever_hangs_up_at_whatever_moment_leaves_nothing_under_way_and_nothing_out_of_reach() {
    // F057, F059, F108
    for seed in 0..WORLDS {
        let case = format!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let mut choices = Choices::default();
        // Some finish what nobody reads any more, and some do not.
        choices.flights.finish_below = if random.random() { 0 } else { 1 << 30 };
        let world = world(choices);
        let blobs = unreliable(&world, &mut random);
        let mut crowd = JoinSet::new();
        for _ in 0..CROWD {
            let (digest, _) = &blobs[random.random_range(0..blobs.len())];
            let own = StdRng::seed_from_u64(random.random());
            crowd.spawn(fickle(world.seawall.clone(), blob_path(digest), own));
        }
        crowd.join_all().await;
        world.registry.heal();
        sleep(Duration::from_secs(120)).await;
        assert_quiet(&world.seawall, &case);
        for (digest, bytes) in &blobs {
            let mut pulled = in_time(&world.seawall, digest, &case).await;
            assert!(
                !pulled.is_good() || pulled.body == bytes,
                "{case}: {digest} is wrong"
            );
            if !pulled.is_good() {
                // A wrong byte that an earlier download left is found at the end of this one, which is broken off.
                pulled = in_time(&world.seawall, digest, &case).await;
            }
            assert!(
                pulled.is_good() && pulled.body == bytes,
                "{case}: {digest}: {}",
                pulled.status
            );
        }
        sleep(Duration::from_secs(5)).await;
        assert_quiet(&world.seawall, &case);
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_a_blob_gets_its_name_is_served_and_nobody_is_asked_again() {
    // F060a: what is done after the last byte is done in another thread, so that each turn meets another moment of it.
    let world = world(Choices {
        memory: 0,
        ..Choices::default()
    });
    for number in 0..NAMINGS {
        let bytes = content(1000 + 50 * number as usize, 2 * number + 1);
        let path = blob_path(&world.registry.blob("library/app", bytes.clone()));
        for turn in 0..4 {
            let answer = world.seawall.get(&path).await;
            assert!(
                answer.is_good() && answer.body == bytes,
                "{number}, {turn}: {}",
                answer.status
            );
        }
        assert_eq!(world.registry.seen(&Method::GET, &path).len(), 1, "{number}");
    }
}

/// A registry, whose dialer panics while `broken`.
fn panicking(broken: &Arc<AtomicBool>) -> (Registry, Dialer) {
    let registry = Registry::default();
    let (whole, panics) = (registry.dialer(), broken.clone());
    let dialer = Dialer {
        connect: Arc::new(move |address| {
            assert!(!panics.load(Ordering::Relaxed), "on purpose");
            (whole.connect)(address)
        }),
        ..registry.dialer()
    };
    (registry, dialer)
}

#[tokio::test(start_paused = true)]
async fn a_request_that_panics_is_answered_and_its_connection_and_all_others_go_on() {
    // F098: the length of what is not held is asked for in the request's own task.
    let broken = Arc::new(AtomicBool::new(true));
    let (registry, dialer) = panicking(&broken);
    let directory = tempfile::tempdir().unwrap();
    let seawall = Seawall::start_over(directory.path(), &dialer, Choices::default());
    let bytes = content(MIB, 3);
    let path = blob_path(&registry.blob("library/app", bytes.clone()));
    let near = seawall.connect(([127, 0, 0, 1], 9).into());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut ask = async |method: Method| {
        let asked = Request::builder()
            .method(method)
            .uri(&path)
            .header("host", "cache.test");
        let asked = asked.body(Empty::<Bytes>::new()).unwrap();
        read(sender.send_request(asked).await.unwrap()).await
    };
    for panics in 1..=3 {
        assert_eq!(ask(Method::HEAD).await.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(metric(&seawall, "seawall_panics_total"), panics);
    }
    broken.store(false, Ordering::Relaxed);
    let length = ask(Method::HEAD).await;
    assert_eq!(
        (length.status, length.header("content-length")),
        (StatusCode::OK, bytes.len().to_string().as_str())
    );
    let whole = ask(Method::GET).await;
    assert!(whole.is_good() && whole.body == bytes, "{}", whole.status);
    assert!(seawall.get(&path).await.is_good(), "another connection");
    assert_eq!(metric(&seawall, "seawall_panics_total"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_download_that_panics_fails_for_all_its_readers_and_the_next_one_is_another() {
    // F058
    let broken = Arc::new(AtomicBool::new(true));
    let (registry, dialer) = panicking(&broken);
    let directory = tempfile::tempdir().unwrap();
    let seawall = Arc::new(Seawall::start_over(directory.path(), &dialer, Choices::default()));
    let bytes = content(MIB, 3);
    let path = blob_path(&registry.blob("library/app", bytes.clone()));
    let asked = Instant::now();
    let mut readers = JoinSet::new();
    for _ in 0..10 {
        let (seawall, path) = (seawall.clone(), path.clone());
        readers.spawn(async move { seawall.get(&path).await.status });
    }
    for status in readers.join_all().await {
        assert!(status.is_client_error() || status.is_server_error(), "{status}");
    }
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    broken.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(1)).await;
    assert_quiet(&seawall, "after the panic");
    let next = seawall.get(&path).await;
    assert!(next.is_good() && next.body == bytes, "{}", next.status);
}

/// What a name's server may do.
#[derive(Clone, Copy, Debug)]
enum Names {
    Nothing,
    Fails,
    IsSilent,
}

/// A dialer whose names come to nothing while `broken`.
fn nameless(registry: &Registry, how: Names, broken: Arc<AtomicBool>) -> Dialer {
    let whole = registry.dialer();
    Dialer {
        resolve: Arc::new(move |name| -> BoxFuture<_> {
            match (broken.load(Ordering::Relaxed), how) {
                (false, _) => (whole.resolve)(name),
                (true, Names::Nothing) => Box::pin(async { Ok(Vec::new()) }),
                (true, Names::Fails) => Box::pin(async { Err(std::io::Error::other("SERVFAIL")) }),
                (true, Names::IsSilent) => Box::pin(std::future::pending()),
            }
        }),
        ..registry.dialer()
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_leads_nowhere_costs_seconds_where_nothing_is_held_and_nothing_else() {
    // F025: an answer that there is none is believed at once; a silence is, three times, after the time to connect.
    for (how, most) in [(Names::Nothing, 2), (Names::Fails, 2), (Names::IsSilent, 18)] {
        let (registry, broken) = (Registry::default(), Arc::new(AtomicBool::new(false)));
        let dialer = nameless(&registry, how, broken.clone());
        let directory = tempfile::tempdir().unwrap();
        let seawall = Seawall::start_over(directory.path(), &dialer, Choices::default());
        let held = image(&registry, Some("1"), 1);
        image(&registry, Some("2"), 2);
        for path in [
            manifest_path("1"),
            blob_path(&held.config),
            blob_path(&held.layer),
        ] {
            assert!(seawall.get(&path).await.is_good());
        }
        // Longer than connections are kept.
        sleep(Duration::from_secs(3600)).await;
        broken.store(true, Ordering::Relaxed);
        let asked = Instant::now();
        let cold = seawall.get(&manifest_path("2")).await;
        assert_eq!(cold.status, StatusCode::SERVICE_UNAVAILABLE, "{how:?}");
        assert!(!cold.header("retry-after").is_empty(), "{how:?}");
        assert!(
            asked.elapsed() < Duration::from_secs(most),
            "{how:?}: {:?}",
            asked.elapsed()
        );
        let asked = Instant::now();
        assert!(seawall.get(&blob_path(&held.layer)).await.is_good(), "{how:?}");
        assert!(
            asked.elapsed() < Duration::from_secs(1),
            "{how:?}: {:?}",
            asked.elapsed()
        );
        let stale = seawall.get(&manifest_path("1")).await;
        assert!(
            stale.is_good() && stale.header("cache-status").contains("fwd=stale"),
            "{how:?}"
        );
        broken.store(false, Ordering::Relaxed);
        sleep(Duration::from_secs(60)).await;
        assert!(seawall.get(&manifest_path("2")).await.is_good(), "{how:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_waits_for_no_registry() {
    // F099: every name is silent, for every registry that is known, from the first moment on.
    let registry = Registry::default();
    image(&registry, Some("1"), 1);
    let broken = Arc::new(AtomicBool::new(true));
    let began = Instant::now();
    let configured = Configured::start(&nameless(&registry, Names::IsSilent, broken.clone()), &hub(""));
    let ready = configured.seawall.operate(Method::GET, "/readyz", &[], "").await;
    assert_eq!(read(ready).await.status, StatusCode::OK);
    assert_eq!(configured.seawall.get("/v2/").await.status, StatusCode::OK);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    broken.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(60)).await;
    assert!(configured.seawall.get(&manifest_path("1")).await.is_good());
}
