//! That a manifest lists something is no proof that its repository has it, where that came for a repository which not
//! everybody may see.
//!
//! `other.test` shows everything to everybody, and takes manifests that list what it does not have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use seawall::oci::Digest;
use seawall::policy::access::visibility::Sharing;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{MINUTE, alice, asked, bob, choices, get, said, start};
use crate::access::STRANGER;
use crate::support::registry::{Registry, Script};
use crate::support::seawall::{Seawall, read};
use crate::support::world::{Image, OCI_INDEX, OCI_MANIFEST, World, content, image_in, world};

/// Puts a manifest into a repository, under a tag: it lists this layer and config.
fn lister(registry: &Registry, repository: &str, tag: &str, config: &Digest, layers: &[Digest]) {
    let kind = "application/vnd.oci.image.layer.v1.tar";
    let layers: Vec<String> = layers
        .iter()
        .map(|layer| format!(r#"{{"mediaType":"{kind}","digest":"{layer}","size":3}}"#))
        .collect();
    let body = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":3}},"layers":[{}]}}"#,
        layers.join(",")
    );
    registry.manifest(repository, Some(tag), OCI_MANIFEST, &body);
}

/// Puts an image and an index into `library/lists`, which list the private image's content.
fn list(registry: &Registry, image: &Image) {
    lister(registry, "library/lists", "1", &image.config, &[image.layer]);
    let manifest = image.manifest;
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{{"mediaType":"{OCI_MANIFEST}","digest":"{manifest}","size":3}}]}}"#
    );
    registry.manifest("library/lists", Some("2"), OCI_INDEX, &index);
}

/// Pulls what lists the private content.
async fn pull_lists(seawall: &Seawall) {
    for tag in 1..=2 {
        let path = format!("/v2/other.test/library/lists/manifests/{tag}");
        assert!(get(seawall, None, &path).await.is_good(), "{path}");
    }
}

/// Alice's way to all of her image.
fn own(image: &Image) -> Vec<String> {
    let mut own = vec![
        "/v2/team/app/manifests/1".to_owned(),
        format!("/v2/team/app/manifests/{}", image.manifest),
    ];
    own.extend([image.config, image.layer].map(|blob| format!("/v2/team/app/blobs/{blob}")));
    own
}

/// Nothing of the private image is anybody's under the names of repositories that everybody may see.
async fn assert_not_had(seawall: &Seawall, image: &Image) {
    for repository in ["lists", "open"] {
        for (kind, digest) in [
            ("manifests", image.manifest),
            ("blobs", image.config),
            ("blobs", image.layer),
        ] {
            for method in [Method::GET, Method::HEAD] {
                let path = |digest: &Digest| format!("/v2/other.test/library/{repository}/{kind}/{digest}");
                let private = asked(seawall, method.clone(), &path(&digest), &[]).await;
                let none = Digest::sha256(b"nobody has it");
                let missing = asked(seawall, method.clone(), &path(&none), &[]).await;
                assert_eq!(private.status, 404, "{method} {}", path(&digest));
                assert_eq!(said(&private), said(&missing), "{method} {}", path(&digest));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s065_a_manifest_that_lists_what_came_for_others_gives_nobody_a_byte_of_it() {
    for sharing in [Sharing::PerClient, Sharing::Shared] {
        for listed_first in [true, false] {
            let (world, image) = start(sharing);
            let seawall = &world.seawall;
            list(&world.registry, &image);
            if listed_first {
                pull_lists(seawall).await;
            }
            for path in own(&image) {
                assert!(get(seawall, Some(&alice()), &path).await.is_good(), "{path}");
            }
            if !listed_first {
                pull_lists(seawall).await;
            }
            // Before it is committed, and after that.
            assert_not_had(seawall, &image).await;
            tokio::time::sleep(MINUTE).await;
            assert_not_had(seawall, &image).await;
            for path in own(&image) {
                assert!(get(seawall, Some(&alice()), &path).await.is_good(), "{path}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s065_nor_after_a_restart_with_the_records_or_without_them() {
    for lost in [None, Some("records.redb")] {
        let (world, image) = start(Sharing::PerClient);
        list(&world.registry, &image);
        for path in own(&image) {
            assert!(get(&world.seawall, Some(&alice()), &path).await.is_good());
        }
        let (registry, directory) = world.stop().await;
        if let Some(lost) = lost {
            std::fs::remove_file(directory.path().join("v1").join(lost)).unwrap();
        }
        let seawall = Seawall::start(directory.path(), &registry, choices(Sharing::PerClient));
        pull_lists(&seawall).await;
        assert_not_had(&seawall, &image).await;
        assert!(get(&seawall, Some(&alice()), &own(&image)[3]).await.is_good());
        assert_not_had(&seawall, &image).await;
    }
}

#[tokio::test(start_paused = true)]
async fn s065_nor_while_it_is_fetched() {
    for kind in ["blobs", "manifests"] {
        let (world, image) = start(Sharing::PerClient);
        let (seawall, registry) = (&world.seawall, &world.registry);
        list(registry, &image);
        pull_lists(seawall).await;
        let digest = match kind {
            "blobs" => image.layer,
            _ => image.manifest,
        };
        let [own, listed] =
            ["team/app", "other.test/library/lists"].map(|name| format!("/v2/{name}/{kind}/{digest}"));
        let slow = Script {
            delay: Duration::from_secs(3),
            chunk: 64 << 10,
            pace: Duration::from_secs(1),
            ..Script::default()
        };
        registry.script(&own, slow);
        let login = alice();
        let owner = get(seawall, Some(&login), &own);
        let strangers = async {
            let mut said = Vec::new();
            for _ in 0..8 {
                said.push(get(seawall, None, &listed).await.status);
                tokio::time::sleep(Duration::from_millis(700)).await;
            }
            said
        };
        let (owner, strangers) = tokio::join!(owner, strangers);
        assert!(owner.is_good(), "{kind}");
        assert_eq!(strangers, [StatusCode::NOT_FOUND; 8], "{kind}");
    }
}

/// An image that two repositories have, which everybody may see: the first one's registry gives its blobs, and for the
/// second one the list is enough, also after a restart.
async fn assert_listed_from_the_second_on(world: World, image: &Image, tag: &str) {
    let pull = async |seawall: &Seawall, repository: &str| {
        let blobs = [image.config, image.layer].map(|blob| format!("blobs/{blob}"));
        for path in [format!("manifests/{tag}")].iter().chain(&blobs) {
            let path = format!("/v2/other.test/library/{repository}/{path}");
            let answer = get(seawall, None, &path).await;
            assert!(answer.is_good(), "{path}: {}", answer.status);
        }
    };
    pull(&world.seawall, "open").await;
    pull(&world.seawall, "more").await;
    let (registry, directory) = world.stop().await;
    let seawall = Seawall::start(directory.path(), &registry, choices(Sharing::PerClient));
    for repository in ["more", "open"] {
        pull(&seawall, repository).await;
    }
    let blobs = |repository: &str| {
        let seen = registry.journal().into_iter();
        let seen = seen.filter(|seen| seen.path.starts_with(&format!("/v2/library/{repository}/blobs/")));
        seen.count()
    };
    assert_eq!((blobs("open"), blobs("more")), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn what_came_for_everybody_is_had_by_a_list_without_another_question() {
    let (world, _) = start(Sharing::PerClient);
    let image = image_in(&world.registry, "library/open", Some("1"), 3);
    image_in(&world.registry, "library/more", Some("1"), 3);
    assert_listed_from_the_second_on(world, &image, "1").await;
}

#[tokio::test(start_paused = true)]
async fn what_two_private_repositories_have_is_asked_about_once_for_each_and_not_after_a_restart() {
    let (world, image) = start(Sharing::PerClient);
    image_in(&world.registry, "team/bobs", Some("1"), 1);
    let bobs: Vec<String> = own(&image)
        .iter()
        .map(|path| path.replace("app", "bobs"))
        .collect();
    for _ in 0..2 {
        for (login, paths) in [(alice(), own(&image)), (bob(), bobs.clone())] {
            for path in paths {
                assert!(get(&world.seawall, Some(&login), &path).await.is_good(), "{path}");
            }
            tokio::time::sleep(MINUTE).await;
        }
    }
    let blobs = |registry: &Registry| {
        let seen = registry.seen(&Method::GET, "").into_iter();
        let seen = seen.filter(|seen| seen.path.starts_with("/v2/team/bobs/blobs/"));
        let ranges = seen.map(|seen| seen.headers.contains_key("range"));
        ranges.collect::<Vec<bool>>()
    };
    assert_eq!(blobs(&world.registry), [true, true], "a byte of each");
    let (registry, directory) = world.stop().await;
    let seawall = Seawall::start(directory.path(), &registry, choices(Sharing::PerClient));
    // The right is asked about, and then the registry is gone.
    for (login, paths) in [(alice(), own(&image)), (bob(), bobs)] {
        registry.heal();
        assert!(get(&seawall, Some(&login), &paths[0]).await.is_good());
        registry.go_down();
        for path in &paths[1..] {
            let answer = get(&seawall, Some(&login), path).await;
            assert!(answer.is_good(), "{path}: {}", answer.status);
        }
    }
    assert_eq!(blobs(&registry).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_everybody_turns_out_to_have_is_asked_about_once_and_listed_from_then_on() {
    let (world, image) = start(Sharing::PerClient);
    for path in own(&image) {
        assert!(get(&world.seawall, Some(&alice()), &path).await.is_good());
    }
    tokio::time::sleep(MINUTE).await;
    // It is published.
    for repository in ["library/open", "library/more"] {
        image_in(&world.registry, repository, Some("5"), 1);
    }
    assert_listed_from_the_second_on(world, &image, "5").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_warmed_of_what_everybody_may_see_is_everybodys() {
    let world = world(choices(Sharing::Public));
    let seawall = &world.seawall;
    let image = image_in(&world.registry, "library/open", Some("1"), 3);
    image_in(&world.registry, "library/more", Some("1"), 3);
    let request = serde_json::json!({"references": ["library/open:1"]});
    assert!(seawall.post("/api/v1/warm", &request).await.is_good());
    for repository in ["open", "more"] {
        for path in [
            "manifests/1".to_owned(),
            format!("blobs/{}", image.config),
            format!("blobs/{}", image.layer),
        ] {
            let path = format!("/v2/library/{repository}/{path}");
            assert!(get(seawall, None, &path).await.is_good(), "{path}");
        }
    }
    let seen = world.registry.journal().into_iter();
    let seen = seen.filter(|seen| seen.path.starts_with("/v2/library/more/blobs/"));
    assert_eq!(seen.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn s065_what_is_brought_along_for_a_private_repository_is_its_own_also_without_the_registry() {
    let (world, image) = start(Sharing::Shared);
    for path in own(&image) {
        assert!(get(&world.seawall, None, &path).await.is_good());
    }
    tokio::time::sleep(MINUTE).await;
    let bundle = "/api/v1/export?reference=docker.io/team/app:1";
    let bundle = read(world.seawall.operate(Method::GET, bundle, &[], "").await).await;
    assert!(bundle.is_good(), "{bundle:?}");
    let (registry, _directory) = world.stop().await;
    let directory = tempfile::tempdir().unwrap();
    let seawall = Seawall::start(directory.path(), &registry, choices(Sharing::Shared));
    list(&registry, &image);
    pull_lists(&seawall).await;
    let headers = [("content-type", "application/x-tar")];
    let import = seawall.operate(Method::POST, "/api/v1/import", &headers, bundle.body);
    assert!(read(import.await).await.is_good());
    assert_not_had(&seawall, &image).await;
    registry.go_down();
    for path in own(&image) {
        assert!(get(&seawall, None, &path).await.is_good(), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn s065_whatever_is_listed_pulled_and_restarted_nobody_has_what_the_repository_has_not() {
    for seed in 0..12 {
        History::new(seed).live().await;
    }
}

/// What a client logs in with.
type Login = fn() -> String;

/// Repositories, as clients and as the registry call them, and who may see each; everybody if nobody is named.
const REPOSITORIES: [(&str, &str, Option<Login>); 4] = [
    ("team/app", "team/app", Some(alice)),
    ("team/bobs", "team/bobs", Some(bob)),
    ("other.test/library/open", "library/open", None),
    ("other.test/library/lists", "library/lists", None),
];

/// Random pulls of random manifests that list what their repositories have, and what they have not.
struct History {
    random: StdRng,
    registry: Registry,
    directory: TempDir,
    seawall: Option<Arc<Seawall>>,
    blobs: Vec<Digest>,
    /// What each has.
    has: BTreeMap<usize, BTreeSet<Digest>>,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let world = world(choices(Sharing::PerClient));
        let robot = crate::access::basic("robot", "CANARY-robot");
        world.registry.close("team/app", &[&robot, &alice()]);
        world.registry.close("team/bobs", &[&robot, &bob()]);
        let bytes = |number| content(3000 + 40_000 * usize::from(number % 3 == 0), 100 + number);
        let blobs: Vec<Digest> = (0..6).map(|number| Digest::sha256(&bytes(number))).collect();
        let mut has: BTreeMap<usize, BTreeSet<Digest>> = BTreeMap::new();
        for (index, (_, repository, _)) in REPOSITORIES.iter().enumerate() {
            for (number, digest) in blobs.iter().enumerate() {
                if random.random_bool(0.4) {
                    world.registry.blob(repository, bytes(number as u64));
                    has.entry(index).or_default().insert(*digest);
                }
            }
            for tag in 0..3 {
                let one = blobs[random.random_range(0..blobs.len())];
                let other = blobs[random.random_range(0..blobs.len())];
                lister(&world.registry, repository, &tag.to_string(), &one, &[other]);
            }
        }
        Self {
            random,
            registry: world.registry,
            directory: world.directory,
            seawall: Some(world.seawall),
            blobs,
            has,
        }
    }

    async fn live(mut self) {
        for _ in 0..60 {
            match self.random.random_range(0..20) {
                0 => self.restart().await,
                1 => tokio::time::sleep(MINUTE).await,
                2..8 => self.pull_manifest().await,
                _ => self.pull_blobs().await,
            }
        }
    }

    async fn restart(&mut self) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let seawall = self.seawall.take().and_then(Arc::into_inner).unwrap();
        seawall.stop().await;
        if self.random.random_bool(0.2) {
            std::fs::remove_file(self.directory.path().join("v1/records.redb")).unwrap();
        }
        let seawall = Seawall::start(self.directory.path(), &self.registry, choices(Sharing::PerClient));
        self.seawall = Some(Arc::new(seawall));
    }

    async fn pull_manifest(&mut self) {
        let (name, _, login) = REPOSITORIES[self.random.random_range(0..REPOSITORIES.len())];
        let tag = self.random.random_range(0..3);
        let login = login.map(|login| login());
        let seawall = self.seawall.as_ref().unwrap();
        let path = format!("/v2/{name}/manifests/{tag}");
        assert!(get(seawall, login.as_deref(), &path).await.is_good());
    }

    /// Several at once, so that some join the fetches of others.
    async fn pull_blobs(&mut self) {
        let digest = self.blobs[self.random.random_range(0..self.blobs.len())];
        let seawall = self.seawall.clone().unwrap();
        let mut pulls = JoinSet::new();
        for _ in 0..self.random.random_range(1..4) {
            let index = self.random.random_range(0..REPOSITORIES.len());
            let pause = Duration::from_millis(self.random.random_range(0..3));
            let seawall = seawall.clone();
            pulls.spawn(async move {
                tokio::time::sleep(pause).await;
                let (name, _, login) = REPOSITORIES[index];
                let login = login.map(|login| login());
                let headers: Vec<(&str, &str)> = login
                    .iter()
                    .map(|login| ("authorization", login.as_str()))
                    .collect();
                let path = format!("/v2/{name}/blobs/{digest}");
                let answer = seawall.open_from(STRANGER, Method::GET, &path, &headers).await;
                (index, read(answer).await)
            });
        }
        for (index, answer) in pulls.join_all().await {
            let has = |index: &usize| self.has.get(index).is_some_and(|has| has.contains(&digest));
            let name = REPOSITORIES[index].0;
            // What everybody may have is everybody's.
            let everybody = has(&2) || has(&3);
            match has(&index) {
                true => assert!(answer.is_good(), "{name} {}", answer.status),
                false if !everybody => assert_eq!(answer.status, 404, "{name}"),
                false => assert!(answer.is_good() || answer.status == 404, "{name}"),
            }
        }
    }
}
