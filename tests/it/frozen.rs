//! A disk that stands still: what cannot be read now comes from the upstream, and stays where it is.
//!
//! The tests take all places for work on the disk, as work does that never comes back. Those for reading bodies are the
//! process's: who takes them runs in a process of its own.

use std::io;
use std::process::Command;
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use std::time::Duration;

use http::Method;
use seawall::cache::{Verifiable, Verify, VerifyEvent, VerifyTarget, Wanted};
use seawall::policy::access::Offer;
use seawall::store::{PATIENCE, READERS, WORKERS, reading};
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::operator::lines;
use crate::support::seawall::{Choices, Seawall};
use crate::support::world::{
    MIB, World, blob_file, blob_path, content, image, is_quarantined, manifest_path, names, world,
};

/// Says to a process that it is the test's own.
const OWN: &str = "SEAWALL_TEST_FROZEN";

/// True in the process of the test's own. Elsewhere it starts that, which must end well.
fn in_a_process_of_its_own(name: &str) -> bool {
    if std::env::var_os(OWN).is_some() {
        return true;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([name, "--exact", "--nocapture"]).env(OWN, "yes");
    let ended = child.output().unwrap();
    let text = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && text.contains("1 passed"), "{text}");
    false
}

/// Work that does not come back before the thaw.
type Hang = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// Places that are taken.
struct Frozen {
    thaw: Arc<Barrier>,
    thread: JoinHandle<()>,
}

impl Frozen {
    /// Takes so many places. Another runtime does, for which time goes on.
    fn take<F>(places: usize, take: impl Fn(Hang) -> F + Send + 'static) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let (taken, thaw) = (
            Arc::new(Barrier::new(places + 1)),
            Arc::new(Barrier::new(places + 1)),
        );
        let barriers = (taken.clone(), thaw.clone());
        let hold = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut all = JoinSet::new();
                for _ in 0..places {
                    let (taken, thaw) = barriers.clone();
                    all.spawn(take(Box::new(move || {
                        taken.wait();
                        thaw.wait();
                        Ok(())
                    })));
                }
                while all.join_next().await.is_some() {}
            });
        };
        let thread = std::thread::spawn(hold);
        taken.wait();
        Self { thaw, thread }
    }

    /// Everything comes back.
    fn thaw(self) {
        self.thaw.wait();
        self.thread.join().unwrap();
    }
}

/// Takes all places for work on the world's disk.
fn freeze(world: &World) -> Frozen {
    let health = world.seawall.cache.disk_health().clone();
    Frozen::take(WORKERS, move |hang| {
        let health = health.clone();
        async move { health.working(PATIENCE, hang).await }
    })
}

/// The same directory with a new process's knowledge of it.
async fn restarted(world: World) -> World {
    let (registry, directory) = world.stop().await;
    let seawall = Arc::new(Seawall::start(directory.path(), &registry, Choices::default()));
    tokio::time::sleep(Duration::from_secs(10)).await;
    World {
        registry,
        seawall,
        directory,
    }
}

#[tokio::test(start_paused = true)]
async fn f066_a_blob_that_cannot_be_hashed_now_comes_from_the_upstream_and_its_file_stays() {
    if !in_a_process_of_its_own(
        "frozen::f066_a_blob_that_cannot_be_hashed_now_comes_from_the_upstream_and_its_file_stays",
    ) {
        return;
    }
    let world = world(Choices::default());
    let bytes = content(2 * MIB, 1);
    let digest = world.registry.blob("library/app", bytes.clone());
    assert!(world.seawall.get(&blob_path(&digest)).await.is_good());
    let world = restarted(world).await;
    let gets = || world.registry.seen(&Method::GET, &blob_path(&digest)).len();
    let frozen = Frozen::take(READERS, reading);
    let answer = world.seawall.get(&blob_path(&digest)).await;
    assert!(answer.is_good() && answer.body == bytes);
    assert_eq!(gets(), 2);
    assert!(blob_file(world.directory.path(), &digest).exists());
    assert!(!is_quarantined(world.directory.path(), &digest));
    frozen.thaw();
    // It was whole all the time.
    let answer = world.seawall.get(&blob_path(&digest)).await;
    assert!(answer.is_good() && answer.body == bytes);
    assert_eq!(gets(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_upstream_is_asked_for_what_is_not_held_before_the_disk_is() {
    let world = world(Choices::default());
    let bytes = content(2 * MIB, 1);
    let digest = world.registry.blob("library/app", bytes.clone());
    let frozen = freeze(&world);
    let (seawall, path) = (world.seawall.clone(), blob_path(&digest));
    let pull = tokio::spawn(async move { seawall.get(&path).await });
    // Sooner than anything gives up waiting for the disk.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.registry.seen(&Method::GET, &blob_path(&digest)).len(), 1);
    frozen.thaw();
    let answer = pull.await.unwrap();
    assert!(answer.is_good() && answer.body == bytes);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(blob_file(world.directory.path(), &digest).exists());
}

#[tokio::test(start_paused = true)]
async fn f066_a_manifest_that_cannot_be_read_now_is_a_miss_and_its_file_stays() {
    let world = world(Choices::default());
    let path = manifest_path(image(&world.registry, Some("1"), 5).manifest);
    let expected = world.registry.bytes_of(&path);
    assert!(world.seawall.get(&path).await.is_good());
    let world = restarted(world).await;
    let gets = |world: &World| world.registry.seen(&Method::GET, &path).len();
    let frozen = freeze(&world);
    let answer = world.seawall.get(&path).await;
    assert!(answer.is_good() && answer.body == expected);
    assert_eq!(gets(&world), 2);
    frozen.thaw();
    // Memory forgets it, and the file is still there.
    let world = restarted(world).await;
    let answer = world.seawall.get(&path).await;
    assert!(answer.is_good() && answer.body == expected);
    assert_eq!(gets(&world), 2);
    assert_eq!(world.seawall.cache.status().cache.quarantined, 0);
}

#[tokio::test(start_paused = true)]
async fn f066_a_list_whose_record_cannot_be_read_now_comes_from_the_upstream() {
    let world = world(Choices::default());
    let path = "/v2/library/app/tags/list";
    let list = r#"{"name":"library/app","tags":["1"]}"#;
    world
        .registry
        .put(path.to_owned(), "application/json", list.into());
    let expected = world.seawall.get(path).await.body;
    let world = restarted(world).await;
    let asked = || world.registry.seen(&Method::GET, path).len();
    let before = asked();
    let frozen = freeze(&world);
    let answer = world.seawall.get(path).await;
    assert!(answer.is_good() && answer.body == expected);
    assert_eq!(asked(), before + 1);
    frozen.thaw();
}

#[tokio::test(start_paused = true)]
async fn f066_who_asks_to_verify_what_cannot_be_looked_up_now_is_told_so_in_time() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 5);
    assert!(world.seawall.get(&manifest_path("1")).await.is_good());
    let frozen = freeze(&world);
    let asked = |request: serde_json::Value| {
        let seawall = world.seawall.clone();
        async move { seawall.post("/api/v1/verify", &request).await }
    };
    for request in [
        serde_json::json!({ "references": ["library/app:1"] }),
        serde_json::json!({ "digests": [image.manifest.to_string()] }),
    ] {
        let answer = tokio::time::timeout(Duration::from_secs(6), asked(request.clone())).await;
        let answer = answer.expect("in the disk's patience");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, http::StatusCode::SERVICE_UNAVAILABLE, "{text}");
        assert!(
            text.contains("cannot be looked up") && text.contains("nothing was verified"),
            "{text}"
        );
    }
    frozen.thaw();
    let answer = asked(serde_json::json!({ "references": ["library/app:1"] })).await;
    assert!(answer.is_good());
}

#[tokio::test(start_paused = true)]
async fn f066_a_verification_ends_on_a_disk_that_hangs_and_blames_no_file_for_it() {
    if !in_a_process_of_its_own(
        "frozen::f066_a_verification_ends_on_a_disk_that_hangs_and_blames_no_file_for_it",
    ) {
        return;
    }
    let world = world(Choices::default());
    let digest = world.registry.blob("library/app", content(2 * MIB, 1));
    assert!(world.seawall.get(&blob_path(&digest)).await.is_good());
    // It is kept within it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let verified = || async {
        let answer = world.seawall.post("/api/v1/verify", &json!({"all": true})).await;
        let events = lines(&answer);
        events.last().unwrap().clone()
    };
    let frozen = Frozen::take(READERS, reading);
    let summary = verified().await;
    assert_eq!(summary["damaged"], json!(0), "{summary}");
    let why = summary["unreadable"][0].as_str().unwrap();
    assert!(
        why.contains(&digest.to_string()) && why.contains("in time"),
        "{why}"
    );
    assert!(blob_file(world.directory.path(), &digest).exists());
    frozen.thaw();
    let summary = verified().await;
    assert_eq!(
        (&summary["objects"], &summary["unreadable"]),
        (&json!(1), &json!([]))
    );
}

#[tokio::test(start_paused = true)]
async fn f066_a_verification_of_names_that_cannot_be_looked_up_says_that_nothing_was_verified() {
    // The disk stands still between the question whether it is held and the beginning.
    let world = world(Choices::default());
    image(&world.registry, Some("1"), 5);
    assert!(world.seawall.get(&manifest_path("1")).await.is_good());
    let names = Arc::new(names(Offer::default()));
    let (chosen, reference) = Wanted::named("app:1".to_owned(), &names).found.unwrap();
    let frozen = freeze(&world);
    let verify = Verify {
        what: Verifiable::Of(vec![VerifyTarget::Reference(chosen, reference)]),
        sample: None,
        rate: 1 << 30,
        refetch: false,
        names,
    };
    let (events, mut told) = tokio::sync::mpsc::channel(8);
    world.seawall.cache.verify(verify, &events).await;
    frozen.thaw();
    let Some(VerifyEvent::Summary(summary)) = told.recv().await else {
        panic!("no summary")
    };
    assert_eq!(summary.objects, 0);
    let why = &summary.unreadable[0];
    assert!(why.contains("what is named cannot be looked up"), "{why}");
}
