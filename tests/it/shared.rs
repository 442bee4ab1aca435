//! The shared shelf: what one Seawall has fetched, others take from a bucket; and what is wrong with the bucket is
//! nobody's outage.

use std::time::Duration;

use http::{Method, StatusCode};
use seawall::cache::QUEUE;
use seawall::oci::Digest;
use tempfile::TempDir;

use crate::access::basic;
use crate::support::bucket::{BUCKET, HOST, Mood, ObjectStore};
use crate::support::configured::{Configured, hub};
use crate::support::registry::Registry;
use crate::support::seawall::Answer;
use crate::support::world::{
    Image, MIB, OCI_MANIFEST, blob_path, content, image, image_in, in_memory, manifest_path,
};

const MINUTE: Duration = Duration::from_secs(60);

/// A registry and an object store that several Seawalls share.
struct Fleet {
    registry: Registry,
    store: ObjectStore,
    secrets: TempDir,
}

impl Fleet {
    fn new() -> Self {
        let secrets = in_memory();
        std::fs::write(secrets.path().join("key"), "CANARY-key").unwrap();
        Self {
            registry: Registry::default(),
            store: ObjectStore::new(),
            secrets,
        }
    }

    /// One more Seawall, with an empty disk; `more` stands in `[cache.shared]`.
    fn seawall(&self, upstream: &str, more: &str) -> Configured {
        let key = self.secrets.path().join("key");
        let text = format!(
            "{}[cache.shared]\nbucket = \"{BUCKET}\"\nendpoint = \"http://{HOST}\"\nregion = \"eu-west-1\"\n\
             credentials = {{ access_key_id = \"AKID\", secret_access_key = {{ file = {key:?} }} }}\n{more}\n",
            hub(upstream)
        );
        Configured::start(&self.store.dialer(&self.registry), &text)
    }

    /// How often the registry was asked for bytes.
    fn bought(&self) -> usize {
        self.registry.seen(&Method::GET, "").len()
    }
}

/// Pulls an image by its tag as clients do.
async fn pull(seawall: &Configured, image: &Image) -> Vec<Answer> {
    let mut answers = vec![seawall.seawall.get(&manifest_path("1")).await];
    for blob in [&image.config, &image.layer] {
        answers.push(seawall.seawall.get(&blob_path(blob)).await);
    }
    answers
}

/// True if the metrics of a Seawall have this line.
fn tells(seawall: &Configured, line: &str) -> bool {
    let told = seawall.running.metrics().exposition();
    told.lines().any(|each| each == line)
}

#[track_caller]
fn assert_tells(seawall: &Configured, line: &str) {
    let told = seawall.running.metrics().exposition();
    let about: Vec<&str> = told.lines().filter(|line| line.contains("shared")).collect();
    assert!(tells(seawall, line), "{line} is not in {about:#?}");
}

fn path_there(kind: &str, digest: &Digest) -> String {
    let hex = digest.hex();
    format!("prod/v1/{kind}/sha256/{}/{hex}", &hex[..2])
}

#[tokio::test(start_paused = true)]
async fn what_one_has_fetched_another_takes_from_the_bucket_and_the_registry_gives_no_byte_of_it() {
    let fleet = Fleet::new();
    let image = image(&fleet.registry, Some("1"), 7);
    // Large enough to go in parts.
    let large = content(20 * MIB, 3);
    let large = (fleet.registry.blob("library/app", large.clone()), large);
    let first = fleet.seawall("", "prefix = \"prod\"");
    for answer in pull(&first, &image).await {
        assert!(answer.is_good());
        assert_eq!(answer.header("cache-status"), "seawall; fwd=miss; stored");
    }
    assert!(first.seawall.get(&blob_path(&large.0)).await.is_good());
    tokio::time::sleep(MINUTE).await;
    let mut names = vec![
        (
            path_there("manifests", &image.manifest),
            Some(OCI_MANIFEST.to_owned()),
        ),
        (path_there("blobs", &image.config), None),
        (path_there("blobs", &image.layer), None),
        (path_there("blobs", &large.0), None),
    ];
    names.sort();
    assert_eq!(fleet.store.names(), names);
    for (name, _) in names {
        let digest: Digest = format!("sha256:{}", name.rsplit('/').next().unwrap())
            .parse()
            .unwrap();
        assert_eq!(Digest::sha256(&fleet.store.bytes_of(&digest).unwrap()), digest);
    }
    assert_tells(&first, r#"seawall_shared_writes_total{outcome="stored"} 4"#);

    let (bought, second) = (fleet.bought(), fleet.seawall("", "prefix = \"prod\""));
    for answer in pull(&second, &image).await {
        assert!(answer.is_good());
        assert_eq!(answer.header("cache-status"), "seawall; fwd=miss; stored");
    }
    let body = {
        let answer = second.seawall.get(&blob_path(&large.0)).await;
        assert!(answer.is_good());
        answer.body
    };
    assert_eq!(body, large.1);
    let asked = fleet.registry.seen(&Method::GET, "");
    let range = |seen: &crate::support::registry::Seen| seen.headers.get("range").cloned();
    let more: Vec<_> = asked[bought..].iter().map(range).collect();
    // Whether it is its own, the repository is asked for one byte of each.
    assert_eq!(
        more,
        [const { Some(http::HeaderValue::from_static("bytes=0-0")) }; 3]
    );
    for line in [
        r#"seawall_requests_total{class="2xx",from="shared",outcome="miss",route="manifest"} 1"#,
        r#"seawall_requests_total{class="2xx",from="shared",outcome="miss",route="blob"} 3"#,
        r#"seawall_shared_reads_total{outcome="gave"} 4"#,
        r#"seawall_spends_avoided_total{reason="shared",upstream="docker.io"} 1"#,
        "seawall_shared_left_alone 0",
    ] {
        assert_tells(&second, line);
    }
    // Nothing is put there that came from there, and it is held like anything else.
    tokio::time::sleep(MINUTE).await;
    let puts = fleet.store.asked(&Method::HEAD);
    assert_eq!(puts, 4);
    let again = second.seawall.get(&blob_path(&image.layer)).await;
    assert_eq!(again.header("cache-status"), "seawall; hit");
}

#[tokio::test(start_paused = true)]
async fn s041_wrong_bytes_in_the_bucket_reach_nobody_and_are_replaced_by_right_ones() {
    let fleet = Fleet::new();
    let image = image(&fleet.registry, Some("1"), 7);
    let first = fleet.seawall("", "");
    pull(&first, &image).await;
    tokio::time::sleep(MINUTE).await;
    fleet.store.spoil();
    let second = fleet.seawall("", "");
    let answers = pull(&second, &image).await;
    // A manifest and a blob that nobody has seen a byte of come from the registry; a longer one breaks off.
    assert!(answers[0].is_good() && answers[1].is_good());
    assert!(answers[2].is_good() || !answers[2].complete);
    let layer = second.seawall.get(&blob_path(&image.layer)).await;
    assert!(layer.is_good());
    assert_eq!(Digest::sha256(&layer.body), image.layer);
    assert_tells(&second, r#"seawall_integrity_failures_total{where="shared"} 3"#);
    assert_tells(&second, r#"seawall_shared_reads_total{outcome="wrong"} 3"#);
    assert_tells(&second, r#"seawall_integrity_failures_total{where="upstream"} 0"#);
    tokio::time::sleep(MINUTE).await;
    for digest in [image.manifest, image.config, image.layer] {
        assert_eq!(Digest::sha256(&fleet.store.bytes_of(&digest).unwrap()), digest);
    }
}

#[tokio::test(start_paused = true)]
async fn a_shelf_that_is_slow_or_refuses_costs_a_moment_three_times_and_is_then_left_alone() {
    for (mood, most) in [
        (Mood::Slow(Duration::from_secs(3600)), Duration::from_secs(7)),
        (Mood::Refuses(500), Duration::from_secs(1)),
        (Mood::Refuses(403), Duration::from_secs(1)),
    ] {
        let fleet = Fleet::new();
        let images = [5, 6, 7].map(|seed| image(&fleet.registry, Some("1"), seed));
        fleet.store.feel(mood);
        let seawall = fleet.seawall("", "write = false");
        let began = tokio::time::Instant::now();
        for image in &images {
            assert!(
                seawall
                    .seawall
                    .get(&manifest_path(image.manifest))
                    .await
                    .is_good()
            );
            assert!(seawall.seawall.get(&blob_path(&image.layer)).await.is_good());
        }
        assert!(began.elapsed() < most, "{mood:?}: {:?}", began.elapsed());
        assert_eq!(fleet.store.asked(&Method::GET), 3, "{mood:?}");
        assert_tells(&seawall, "seawall_shared_left_alone 1");
        let troubles = seawall.seawall.cache.status().troubles();
        let told: Vec<_> = troubles.iter().map(|trouble| trouble.what.as_str()).collect();
        assert!(
            told.iter()
                .any(|what| what.starts_with("The shared shelf s3://sea is left alone: it ")),
            "{told:?}"
        );
        // Once it is well, it is found out, and everything is as before.
        fleet.store.feel(Mood::Well);
        tokio::time::sleep(Duration::from_secs(16)).await;
        assert!(seawall.seawall.get(&blob_path(&images[0].config)).await.is_good());
        assert_tells(&seawall, "seawall_shared_left_alone 0");
        assert!(seawall.seawall.cache.status().troubles().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_shelf_begins_and_does_not_end_goes_on_at_the_registry_where_it_broke_off() {
    let fleet = Fleet::new();
    let image = image(&fleet.registry, Some("1"), 7);
    let first = fleet.seawall("", "");
    pull(&first, &image).await;
    tokio::time::sleep(MINUTE).await;
    let second = fleet.seawall("", "");
    assert!(second.seawall.get(&manifest_path("1")).await.is_good());
    fleet.store.feel(Mood::Stalls(100_000));
    let layer = second.seawall.get(&blob_path(&image.layer)).await;
    assert!(layer.is_good());
    assert_eq!(Digest::sha256(&layer.body), image.layer);
    let asked = fleet.registry.seen(&Method::GET, &image.layer.to_string());
    assert_eq!(
        asked.last().unwrap().headers.get("range").unwrap(),
        "bytes=100000-"
    );
}

#[tokio::test(start_paused = true)]
async fn s065_what_another_could_see_is_in_the_bucket_and_is_given_to_nobody_without_a_right() {
    let fleet = Fleet::new();
    let image = image_in(&fleet.registry, "team/app", Some("1"), 1);
    fleet.registry.close("team/app", &[&basic("robot", "CANARY-key")]);
    let key = fleet.secrets.path().join("key");
    let robot = format!(
        "access = \"shared\"\ncredentials = [{{ username = \"robot\", password = {{ file = {key:?} }} }}]"
    );
    let first = fleet.seawall(&robot, "");
    let paths = [
        format!("/v2/team/app/manifests/{}", image.manifest),
        format!("/v2/team/app/blobs/{}", image.config),
        format!("/v2/team/app/blobs/{}", image.layer),
    ];
    for path in &paths {
        assert!(first.seawall.get(path).await.is_good());
    }
    tokio::time::sleep(MINUTE).await;
    assert_eq!(fleet.store.names().len(), 3);

    // Neither who has no credentials, nor who has and is asked for it by another name.
    let stranger = fleet.seawall("", "");
    image_in(&fleet.registry, "library/open", Some("1"), 9);
    let other = fleet.seawall(&robot, "");
    // Also where one of its manifests lists what it has not.
    let listing = fleet.registry.bytes_of(&paths[0]);
    let listing = format!("{} ", String::from_utf8_lossy(&listing));
    fleet
        .registry
        .manifest("library/open", Some("2"), OCI_MANIFEST, &listing);
    for seawall in [&stranger, &other] {
        assert!(
            seawall
                .seawall
                .get("/v2/library/open/manifests/2")
                .await
                .is_good()
        );
    }
    for path in &paths {
        for (seawall, path) in [
            (&stranger, path.clone()),
            (&stranger, path.replace("team/app", "library/open")),
            (&other, path.replace("team/app", "library/open")),
        ] {
            let refused = seawall.seawall.get(&path).await;
            assert!(
                matches!(
                    refused.status,
                    StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
                ),
                "{path}: {}",
                refused.status
            );
        }
    }
    // The same bucket serves who may see it.
    let bought = fleet.bought();
    let answer = other.seawall.get("/v2/team/app/manifests/1").await;
    assert!(answer.is_good());
    for path in &paths[1..] {
        assert!(other.seawall.get(path).await.is_good());
    }
    let asked = fleet.registry.seen(&Method::GET, "");
    let mut more = asked[bought..].iter();
    assert!(
        more.all(|seen| seen.headers.contains_key("range")),
        "{:?}",
        &asked[bought..]
    );
}

#[tokio::test(start_paused = true)]
async fn s120_what_waits_to_be_put_there_is_bounded_and_clients_wait_for_none_of_it() {
    let fleet = Fleet::new();
    let seawall = fleet.seawall("", "");
    // Slow, and within the time that it is given: a store that is too slow is asked for nothing for a while.
    fleet.store.feel(Mood::Slow(Duration::from_secs(1)));
    let blobs: Vec<Digest> = (0..QUEUE as u64 + 300)
        .map(|seed| fleet.registry.blob("library/app", content(64, seed * 2 + 1)))
        .collect();
    for some in blobs.chunks(200) {
        let gets = some.iter().map(|blob| {
            let (seawall, path) = (seawall.seawall.clone(), blob_path(blob));
            async move { seawall.get(&path).await }
        });
        let answers = gets.collect::<tokio::task::JoinSet<_>>().join_all().await;
        assert!(answers.iter().all(Answer::is_good));
    }
    // The last of them may be on their way to the disk still, and are put there once they have arrived.
    let is_told = || {
        let told = seawall.running.metrics().exposition();
        let series = r#"seawall_shared_writes_total{outcome="dropped"} "#;
        told.lines().any(|line| line.starts_with(series))
    };
    let told = tokio::time::timeout(Duration::from_secs(60), async {
        while !is_told() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    told.await.expect("nothing was dropped");
}
