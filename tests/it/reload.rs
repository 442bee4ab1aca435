//! A changed configuration: what can hold at once does, nobody's request fails for it, and a wrong one changes nothing.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::Value;

use crate::access::{ask, basic};
use crate::support::configured::{Configured, hub};
use crate::support::registry::{Registry, Script};
use crate::support::seawall::read;
use crate::support::world::{image_in, in_memory};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// A tag that most of these pull.
const APP: &str = "/v2/library/app/manifests/1";

/// The bucket of the first upstream, as `seawall status` shows it.
async fn bucket(configured: &Configured) -> Value {
    let answer = configured
        .seawall
        .operate(Method::GET, "/api/v1/status", &[], "")
        .await;
    let status: Value = serde_json::from_slice(&read(answer).await.body).unwrap();
    status["upstreams"][0]["buckets"][0].clone()
}

async fn is_served(configured: &Configured, path: &str) -> bool {
    configured.seawall.get(path).await.is_good()
}

fn is_told(configured: &Configured, line: &str) -> bool {
    let metrics = configured.running.metrics().exposition();
    metrics.lines().any(|told| told == line)
}

#[tokio::test(start_paused = true)]
async fn no_pull_fails_while_the_configuration_is_read_again_and_again() {
    let registry = Registry::default();
    let blobs: Vec<_> = (0..40_u8)
        .map(|seed| registry.blob("library/app", vec![seed; 200_000]))
        .collect();
    let slow = Script {
        chunk: 20_000,
        pace: Duration::from_millis(20),
        ..Script::default()
    };
    for digest in &blobs {
        registry.script(format!("/v2/library/app/blobs/{digest}"), slow.clone());
    }
    let manifest = registry.manifest("library/app", Some("1"), MANIFEST, "{}");
    let file = |round: usize| {
        let more = ["lanes = 2", "lanes = 3", "freshness = { ttl = \"1s\" }"][round % 3];
        let tier = format!("[tier.ci]\nread_ops_per_minute = {}\n", 100_000 + round % 5);
        let client = "[[client]]\nname = \"ci\"\ntier = \"ci\"\nmatch = { cidr = [\"127.0.0.0/8\"] }\n";
        format!(
            "{}{tier}{client}[server]\ndrain = \"{}s\"\n",
            hub(more),
            1 + round % 7
        )
    };
    let mut configured = Configured::start(&registry.dialer(), &file(0));
    let mut pulls = tokio::task::JoinSet::new();
    for (at, digest) in blobs.iter().enumerate() {
        let path = format!("/v2/library/app/blobs/{digest}");
        let near = configured.seawall.connect(([127, 0, 0, 1], 9).into());
        pulls.spawn(async move {
            tokio::time::sleep(Duration::from_millis(25 * at as u64)).await;
            let open = crate::support::seawall::Seawall::send(near, Method::GET, &path, &[]).await;
            read(open.unwrap()).await
        });
    }
    for round in 1..60 {
        let reload = configured.change(&file(round)).await;
        assert!(reload.applied && !reload.changed.is_empty(), "{reload:?}");
        let tag = configured.seawall.get(APP).await;
        assert!(tag.is_good() && tag.header("docker-content-digest") == manifest.to_string());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    while let Some(pulled) = pulls.join_next().await {
        let pulled = pulled.unwrap();
        assert!(
            pulled.is_good() && pulled.body.len() == 200_000,
            "{}",
            pulled.status
        );
    }
    for digest in &blobs {
        let path = format!("/v2/library/app/blobs/{digest}");
        assert_eq!(registry.seen(&Method::GET, &path).len(), 1, "one fetch each");
    }
    assert!(is_told(
        &configured,
        "seawall_config_reloads_total{outcome=\"applied\"} 59"
    ));
}

// F091
#[tokio::test(start_paused = true)]
async fn a_wrong_file_changes_nothing_and_every_problem_is_told_with_its_place() {
    let registry = Registry::default();
    registry.manifest("library/app", Some("1"), MANIFEST, "{}");
    let mut configured = Configured::start(&registry.dialer(), &hub(""));
    let wrong = format!("{}[cache]\ncapacity = \"20\"\nmemry = 1\n", hub("lanes = 2"));
    let reload = configured.change(&wrong).await;
    assert!(!reload.applied && reload.changed.is_empty(), "{reload:?}");
    let place = |line: usize| format!("{}:{line}:", configured.file().display());
    assert_eq!(reload.problems.len(), 2, "{reload:?}");
    assert!(reload.problems[0].starts_with(&place(7)) && reload.problems[0].contains("capacity"));
    assert!(reload.problems[1].starts_with(&place(8)) && reload.problems[1].contains("\"memory\"?"));
    assert!(is_told(&configured, "seawall_config_last_reload_successful 0"));
    assert!(is_served(&configured, APP).await);
    let page = async |configured: &Configured| {
        let answer = configured.seawall.operate(Method::GET, "/", &[], "").await;
        String::from_utf8(read(answer).await.body.to_vec()).unwrap()
    };
    assert!(page(&configured).await.contains("has mistakes"));
    let reload = configured.change(&hub("lanes = 2")).await;
    assert_eq!(
        reload.changed.len(),
        1,
        "nothing of the wrong file holds: {reload:?}"
    );
    assert!(!page(&configured).await.contains("has mistakes"));
    assert!(is_told(&configured, "seawall_config_last_reload_successful 1"));
}

// F092
#[tokio::test(start_paused = true)]
async fn an_upstream_that_is_gone_ends_what_it_began_and_is_asked_no_more() {
    let registry = Registry::default();
    let digest = registry.blob("app", vec![7; 100_000]);
    let path = format!("/v2/app/blobs/{digest}");
    let slow = Script {
        chunk: 10_000,
        pace: Duration::from_secs(1),
        ..Script::default()
    };
    registry.script(path.clone(), slow);
    let mine = "[[upstream]]\nregistry = \"r.example\"\nurl = \"http://r.example\"\ninsecure = true\n";
    let mut configured = Configured::start(&registry.dialer(), &format!("{}{mine}", hub("")));
    let under_way = configured
        .seawall
        .open(Method::GET, &format!("{path}?ns=r.example"), &[])
        .await;
    let reload = configured.change(&hub("")).await;
    assert_eq!(reload.changed, ["upstream \"r.example\" is gone"]);
    let ended = read(under_way).await;
    assert!(ended.is_good() && ended.body.len() == 100_000);
    let refused = configured.seawall.get(&format!("{path}?ns=r.example")).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    assert!(String::from_utf8_lossy(&refused.body).contains("NAME_UNKNOWN"));
    configured.change(&format!("{}{mine}", hub(""))).await;
    assert!(is_served(&configured, &format!("{path}?ns=r.example")).await);
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_a_budget_outlives_every_change_of_its_upstream() {
    let registry = Registry::default();
    let digest = registry.manifest("library/app", Some("1"), MANIFEST, "{}");
    registry.script(format!("/v2/library/app/manifests/{digest}"), Script::told(41));
    registry.script(APP, Script::told(41));
    let robots = |names: &[&str]| {
        let each = |name: &&str| format!("{{ username = \"{name}\", password = {{ env = \"SECRET\" }} }}");
        let all: Vec<String> = names.iter().map(each).collect();
        hub(&format!(
            "access = \"shared\"\ncredentials = [{}]",
            all.join(", ")
        ))
    };
    let mut configured = Configured::start(&registry.dialer(), &hub(""));
    configured.source.environment = seawall::config::Environment::of(&[
        ("SECRET", "secret"),
        (
            "CACHE_DIRECTORY",
            configured.folder().join("cache").to_str().unwrap(),
        ),
    ]);
    assert!(is_served(&configured, APP).await);
    let known = bucket(&configured).await;
    assert_eq!(known["remaining"], 41, "{known}");
    let reserve = "[tier.ci]\nreserve = \"50%\"\n";
    for text in [
        hub("lanes = 2"),
        hub("token_hosts = [\"t.example\"]"),
        format!("{}{reserve}", hub("")),
    ] {
        let reload = configured.change(&text).await;
        assert!(reload.applied && !reload.changed.is_empty(), "{reload:?}");
        let now = bucket(&configured).await;
        assert_eq!(
            (&now["remaining"], &now["own"]),
            (&known["remaining"], &known["own"]),
            "{text}"
        );
    }
    assert_eq!(bucket(&configured).await["reserved"]["ci"], 50);
    for names in [&["one"][..], &["one", "two"], &["two", "one"]] {
        assert!(configured.change(&robots(names)).await.applied);
    }
    assert!(is_served(&configured, APP).await);
}

#[tokio::test(start_paused = true)]
async fn what_a_client_has_taken_of_an_unchanged_tier_stays_taken() {
    let registry = Registry::default();
    registry.manifest("library/app", Some("1"), MANIFEST, "{}");
    let file = |reads: usize, more: &str| {
        let tier = format!("[tier.ci]\nread_ops_per_minute = {reads}\n{more}\n");
        format!("{}{tier}[server]\ndefault_tier = \"ci\"\n", hub(""))
    };
    let mut configured = Configured::start(&registry.dialer(), &file(10, ""));
    for _ in 0..10 {
        assert!(is_served(&configured, APP).await);
    }
    let earlier = "[tier.aa]\nread_ops_per_minute = 5";
    for more in ["", "bandwidth = \"10MB/s\"", earlier] {
        assert!(configured.change(&file(10, more)).await.applied);
        let refused = configured.seawall.get(APP).await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{more}");
    }
    assert!(configured.change(&file(20, "")).await.applied);
    assert!(is_served(&configured, APP).await);
}

/// A secret as Kubernetes mounts it: `token` leads through `..data` into a folder of its own.
fn mount(folder: &std::path::Path, version: &str, secret: &str) {
    use std::os::unix::fs::symlink;
    std::fs::create_dir(folder.join(version)).unwrap();
    std::fs::write(folder.join(version).join("token"), secret).unwrap();
    symlink(version, folder.join("..new")).unwrap();
    std::fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
    if !folder.join("token").exists() {
        symlink("..data/token", folder.join("token")).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_rotated_by_a_symlink_is_followed_and_one_half_written_is_waited_for() {
    let secrets = tempfile::tempdir().unwrap();
    mount(secrets.path(), "..1", "one");
    let token = secrets.path().join("token");
    let text = hub(&format!(
        "access = \"shared\"\ncredentials = [{{ username = \"robot\", password = {{ file = {token:?} }} }}]"
    ));
    let mut configured = Configured::start(&Registry::default().dialer(), &text);
    let rotated = ["upstream \"docker.io\": the password of \"robot\" has new content"];
    let Configured { running, source, .. } = &mut configured;
    for round in 2..5 {
        let began = tokio::time::Instant::now();
        let rotate = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            mount(secrets.path(), &format!("..{round}"), &format!("secret {round}"));
        };
        let (reload, ()) = tokio::join!(running.follow_files(source), rotate);
        assert_eq!(reload.changed, rotated);
        assert!(began.elapsed() <= Duration::from_secs(5), "{:?}", began.elapsed());
    }
    let began = tokio::time::Instant::now();
    let file = source.file.clone().unwrap();
    let write = async {
        for end in (0..text.len()).step_by(40) {
            tokio::time::sleep(Duration::from_millis(1900)).await;
            std::fs::write(&file, &text[..end]).unwrap();
        }
        std::fs::write(&file, format!("{text}[server]\ndrain = \"7s\"\n")).unwrap();
        began.elapsed()
    };
    let (reload, written) = tokio::join!(running.follow_files(source), write);
    assert_eq!(reload.changed, ["server.drain from \"30s\" to \"7s\""]);
    assert!(began.elapsed() <= written + Duration::from_secs(5));
    let still = tokio::time::timeout(Duration::from_secs(3600), running.follow_files(source));
    assert!(still.await.is_err(), "nothing has changed");
}

#[tokio::test(start_paused = true)]
async fn what_docker_logs_in_with_opens_what_its_registry_shows_and_is_followed() {
    let registry = Registry::default();
    image_in(&registry, "library/app", Some("1"), 2);
    registry.close("library/app", &[&basic("robot", "right")]);
    let folder = in_memory();
    let file = folder.path().join("config.json");
    let log_in = |password: &str| {
        let login = basic("robot", password).replace("Basic ", "");
        let text = format!(r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{login}"}}}}}}"#);
        std::fs::write(&file, text).unwrap();
    };
    log_in("wrong");
    let text = hub(&format!(
        "access = \"shared\"\ncredentials = [{{ docker_config = {file:?} }}]"
    ));
    let mut configured = Configured::start(&registry.dialer(), &text);
    assert!(!is_served(&configured, APP).await);
    let Configured { running, source, .. } = &mut configured;
    let again = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        log_in("right");
    };
    let (reload, ()) = tokio::join!(running.follow_files(source), again);
    assert!(reload.applied, "{reload:?}");
    // What was refused is not asked for again at once.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(is_served(&configured, APP).await);
}

#[tokio::test(start_paused = true)]
async fn for_how_long_a_right_is_believed_is_what_the_file_says_from_the_moment_of_the_reload() {
    // S067
    let registry = Registry::default();
    let image = image_in(&registry, "team/app", Some("1"), 1);
    let [alice, robot] = ["alice", "robot"].map(|user| basic(user, "CANARY"));
    registry.close("team/app", &[&alice, &robot]);
    let folder = in_memory();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "CANARY").unwrap();
    let robots = format!(
        "credentials = [{{ username = \"robot\", password = {{ file = '{}' }} }}]",
        secret.display()
    );
    let believed = |ttl: &str| {
        hub(&format!(
            "access = \"per_client\"\naccess_ttl = \"{ttl}\"\n{robots}"
        ))
    };
    let mut configured = Configured::start(&registry.dialer(), &believed("20m"));
    let path = format!("/v2/team/app/manifests/{}", image.manifest);
    let checks = || {
        let asked = registry.seen(&Method::HEAD, &path);
        let said = asked.iter().filter_map(|seen| seen.headers.get("authorization"));
        said.filter(|said| **said == alice).count()
    };
    let pulls = async |configured: &Configured| {
        let login = [("authorization", alice.as_str())];
        ask(&configured.seawall, [127, 0, 0, 1], &path, &login)
            .await
            .is_good()
    };
    assert!(pulls(&configured).await);
    tokio::time::advance(Duration::from_secs(19 * 60)).await;
    assert!(pulls(&configured).await);
    assert_eq!(checks(), 1);
    let reload = configured.change(&believed("1m")).await;
    assert!(reload.applied && reload.changed.len() == 1, "{reload:?}");
    for minutes in 0..3 {
        assert!(pulls(&configured).await);
        assert_eq!(checks(), 2 + minutes, "what was said a minute ago is over");
        tokio::time::advance(Duration::from_secs(60)).await;
    }
}
