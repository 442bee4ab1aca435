//! What an upstream shows to some is served to those, and to nobody else.
//!
//! The registry shows `team/app` to the robot of the operator's and to alice, `team/bobs` to the robot and to bob, and
//! everything else to everybody.

mod digests;
mod guesses;
mod limits;
mod lists;
mod logged;
mod mixed;
mod timing;
mod without;

use std::collections::BTreeMap;
use std::time::Duration;

use http::{Method, StatusCode};
use seawall::policy::access::visibility::Sharing;

use crate::access::{STRANGER, basic};
use crate::support::registry::{Registry, Script};
use crate::support::seawall::{Answer, Choices, Seawall, login, read};
use crate::support::world::{Image, OCI_INDEX, OCI_MANIFEST, World, image_in, world};

const MINUTE: Duration = Duration::from_secs(60);

fn choices(sharing: Sharing) -> Choices {
    Choices {
        credentials: vec![login("robot", "CANARY-robot")],
        sharing,
        others: vec!["other.test"],
        ..Choices::default()
    }
}

/// A registry with a private image, and a Seawall in front of it.
fn start(sharing: Sharing) -> (World, Image) {
    start_with(choices(sharing))
}

fn start_with(choices: Choices) -> (World, Image) {
    let world = world(choices);
    let image = image_in(&world.registry, "team/app", Some("1"), 1);
    image_in(&world.registry, "team/bobs", Some("1"), 2);
    image_in(&world.registry, "library/open", Some("1"), 3);
    let (tags, list) = ("/v2/team/app/tags/list".to_owned(), r#"{"tags":["1"]}"#);
    world.registry.put(tags, "application/json", list.into());
    attach(&world.registry, &image);
    let (robot, alice, bob) = (basic("robot", "CANARY-robot"), alice(), bob());
    world.registry.close("team/app", &[&robot, &alice]);
    world.registry.close("team/bobs", &[&robot, &bob]);
    (world, image)
}

/// Attaches something to an image of `team/app`.
fn attach(registry: &Registry, Image { manifest, config, .. }: &Image) {
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{{"mediaType":"{OCI_MANIFEST}","digest":"{config}","size":9,"artifactType":"application/x.attached"}}]}}"#
    );
    let path = format!("/v2/team/app/referrers/{manifest}");
    registry.put(path, OCI_INDEX, index.into());
}

fn alice() -> String {
    basic("alice", "CANARY-alice")
}

fn bob() -> String {
    basic("bob", "CANARY-bob")
}

async fn asked(seawall: &Seawall, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    read(seawall.open_from(STRANGER, method, path, headers).await).await
}

async fn get(seawall: &Seawall, login: Option<&str>, path: &str) -> Answer {
    let login: Vec<(&str, &str)> = login.map(|login| ("authorization", login)).into_iter().collect();
    asked(seawall, Method::GET, path, &login).await
}

/// Every way to ask for something of the private image.
fn paths(image: &Image) -> Vec<String> {
    let mut paths = vec![
        "/v2/team/app/manifests/1".to_owned(),
        format!("/v2/team/app/manifests/{}", image.manifest),
        format!("/v2/team/app/referrers/{}", image.manifest),
        "/v2/team/app/tags/list".to_owned(),
    ];
    paths.extend([image.config, image.layer].map(|blob| format!("/v2/team/app/blobs/{blob}")));
    paths
}

/// All that an answer says, but for the names in it.
fn said(answer: &Answer) -> (StatusCode, BTreeMap<String, String>, String) {
    let headers = answer.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let body = String::from_utf8_lossy(&answer.body).replace("team/none", "team/app");
    let mut headers: BTreeMap<String, String> = headers.collect();
    headers.remove("content-length");
    // The time of the wall.
    headers.remove("date");
    (answer.status, headers, body)
}

/// The request says the same of the private image as of one that never was.
async fn assert_hidden(seawall: &Seawall, login: Option<&str>, image: &Image, status: u16) {
    let range = ("range", "bytes=0-9");
    for path in paths(image) {
        let missing = path.replace("team/app", "team/none");
        for (method, more) in [
            (Method::GET, None),
            (Method::HEAD, None),
            (Method::GET, Some(range)),
        ] {
            let login = login.map(|login| ("authorization", login));
            let headers: Vec<(&str, &str)> = login.into_iter().chain(more).collect();
            let hidden = asked(seawall, method.clone(), &path, &headers).await;
            let missing = asked(seawall, method.clone(), &missing, &headers).await;
            assert_eq!(hidden.status, status, "{method} {path}");
            assert_eq!(said(&hidden), said(&missing), "{method} {path}");
        }
    }
    let catalog = get(seawall, login, "/v2/_catalog").await;
    assert!(!String::from_utf8_lossy(&catalog.body).contains("team"));
}

/// How often the lists of the private image were fetched.
fn listed(registry: &Registry) -> usize {
    let seen = registry.seen(&Method::GET, "");
    let is_list = |path: &str| path.contains("/app/tags/") || path.contains("/app/referrers/");
    seen.iter().filter(|seen| is_list(&seen.path)).count()
}

fn counted(registry: &Registry) -> usize {
    let manifests = registry.seen(&Method::GET, "");
    let manifests = manifests.iter().filter(|seen| seen.path.contains("/manifests/"));
    manifests.count()
}

#[tokio::test(start_paused = true)]
async fn s064_s066_what_one_tenant_pulled_is_nothing_to_another() {
    let (world, image) = start(Sharing::PerClient);
    let seawall = &world.seawall;
    for path in paths(&image) {
        let answer = get(seawall, Some(&alice()), &path).await;
        assert!(answer.is_good(), "{path}: {}", answer.status);
        if path.contains("/referrers/") {
            assert!(
                answer
                    .body
                    .ends_with(br#""artifactType":"application/x.attached"}]}"#)
            );
        }
    }
    seawall.cache.flush().await;
    let (asked, lists) = (counted(&world.registry), listed(&world.registry));
    assert_hidden(seawall, Some(&bob()), &image, 404).await;
    assert_hidden(seawall, None, &image, 401).await;
    // Who may not know of it makes nobody pay.
    assert_eq!(counted(&world.registry), asked);
    assert_eq!(listed(&world.registry), lists);
    // Bob has what is his, and everybody what is everybody's.
    for (login, path) in [
        (Some(bob()), "/v2/team/bobs/manifests/1"),
        (Some(bob()), "/v2/library/open/manifests/1"),
        (None, "/v2/library/open/manifests/1"),
    ] {
        assert!(get(seawall, login.as_deref(), path).await.is_good(), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn s064_a_fill_that_one_tenant_began_is_joined_by_no_other() {
    let (world, image) = start(Sharing::PerClient);
    let path = format!("/v2/team/app/blobs/{}", image.layer);
    let slow = Script {
        chunk: 1024,
        pace: Duration::from_secs(1),
        ..Script::default()
    };
    world.registry.script(&path, slow);
    let login = alice();
    let headers = [("authorization", login.as_str())];
    let filling = world
        .seawall
        .open_from(STRANGER, Method::GET, &path, &headers)
        .await;
    assert_eq!(filling.status(), StatusCode::OK);
    assert_hidden(&world.seawall, Some(&bob()), &image, 404).await;
    assert_hidden(&world.seawall, None, &image, 401).await;
    let joined = world
        .seawall
        .open_from(STRANGER, Method::GET, &path, &headers)
        .await;
    assert_eq!(joined.headers()["cache-status"], "seawall; fwd=miss; collapsed");
    assert!(read(filling).await.is_good());
}

#[tokio::test(start_paused = true)]
async fn a_right_costs_free_requests_once_in_five_minutes_and_ends_with_them() {
    // S067
    let (world, image) = start(Sharing::PerClient);
    let path = format!("/v2/team/app/manifests/{}", image.manifest);
    let (robot, login) = (basic("robot", "CANARY-robot"), alice());
    let checks = || {
        let all = world.registry.journal();
        let own = all.iter().filter(|seen| {
            seen.headers
                .get("authorization")
                .is_some_and(|sent| *sent == login)
        });
        let own: Vec<Method> = own.map(|seen| seen.method.clone()).collect();
        own
    };
    for _ in 0..20 {
        assert!(get(&world.seawall, Some(&login), &path).await.is_good());
    }
    assert_eq!(checks(), [Method::HEAD]);
    assert_eq!(counted(&world.registry), 1, "our own HEAD was challenged before");
    world.registry.close("team/app", &[&robot]);
    tokio::time::advance(5 * MINUTE - Duration::from_secs(1)).await;
    assert!(get(&world.seawall, Some(&login), &path).await.is_good());
    tokio::time::advance(Duration::from_secs(1)).await;
    for _ in 0..20 {
        let answer = get(&world.seawall, Some(&login), &path).await;
        assert!(!answer.is_good(), "{}", answer.status);
    }
    assert_eq!(checks(), [Method::HEAD, Method::HEAD]);
    // A right that is given back is known within a minute or so.
    world.registry.close("team/app", &[&robot, &login]);
    tokio::time::advance(2 * MINUTE).await;
    assert!(get(&world.seawall, Some(&login), &path).await.is_good());
    assert_eq!(counted(&world.registry), 1);
}

#[tokio::test(start_paused = true)]
async fn s067_a_right_may_be_asked_about_each_time_and_verdicts_are_counted() {
    let (world, image) = start_with(Choices {
        access_ttl: Duration::ZERO,
        ..choices(Sharing::PerClient)
    });
    let path = format!("/v2/team/app/manifests/{}", image.manifest);
    for _ in 0..3 {
        assert!(get(&world.seawall, Some(&alice()), &path).await.is_good());
    }
    world
        .registry
        .close("team/app", &[&basic("robot", "CANARY-robot")]);
    assert_eq!(get(&world.seawall, Some(&alice()), &path).await.status, 401);
    get(&world.seawall, Some(&bob()), &path).await;
    get(&world.seawall, None, "/v2/library/open/manifests/1").await;
    get(&world.seawall, None, "/v2/library/more/manifests/1").await;
    let text = world.seawall.metrics.exposition();
    for (whom, verdict, count) in [
        ("client", "shown", 3),
        ("client", "login", 1),
        ("client", "hidden", 1),
        ("everybody", "shown", 1),
        ("everybody", "missing", 1),
        ("everybody", "unknown", 0),
    ] {
        let labels = format!(r#"{{upstream="docker.io",verdict="{verdict}",whom="{whom}"}}"#);
        let line = format!("seawall_access_verdicts_total{labels} {count}\n");
        assert!(text.contains(&line), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn s067_a_login_that_the_registry_takes_no_more_is_over_in_five_minutes() {
    let (world, _) = start(Sharing::PerClient);
    let login = async || get(&world.seawall, Some(&alice()), "/v2/").await.status;
    assert_eq!(login().await, StatusCode::OK);
    let refuses = Script {
        status: Some(StatusCode::UNAUTHORIZED),
        headers: vec![("www-authenticate", "Basic realm=\"hub\"".to_owned())],
        ..Script::default()
    };
    world.registry.script("/v2/", refuses);
    tokio::time::advance(5 * MINUTE - Duration::from_secs(1)).await;
    assert_eq!(login().await, StatusCode::OK);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(login().await, StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn while_the_registry_cannot_be_asked_a_right_lives_on_for_five_minutes_and_nobody_gets_a_new_one() {
    let (world, image) = start(Sharing::PerClient);
    let path = format!("/v2/team/app/manifests/{}", image.manifest);
    assert!(get(&world.seawall, Some(&alice()), &path).await.is_good());
    world.registry.go_down();
    let never = get(&world.seawall, Some(&bob()), &path).await;
    assert_eq!(never.status, StatusCode::SERVICE_UNAVAILABLE);
    for (minutes, good) in [(4, true), (5, true), (2, false)] {
        tokio::time::advance(minutes * MINUTE).await;
        let answer = get(&world.seawall, Some(&alice()), &path).await;
        assert_eq!(answer.is_good(), good, "{minutes}: {}", answer.status);
    }
    world.registry.heal();
    tokio::time::advance(MINUTE).await;
    assert!(get(&world.seawall, Some(&alice()), &path).await.is_good());
}

#[tokio::test(start_paused = true)]
async fn who_logs_in_is_asked_as_at_the_registry_and_a_wrong_password_is_tried_once_a_minute() {
    let (world, image) = start(Sharing::PerClient);
    let seawall = &world.seawall;
    let wrong = basic("alice", "CANARY-wrong");
    for path in ["/v2/", "/v2/team/app/manifests/1"] {
        let answer = get(seawall, None, path).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge, "Basic realm=\"docker.io\", charset=\"UTF-8\"");
    }
    assert!(get(seawall, Some(&alice()), "/v2/").await.is_good());
    for path in paths(&image).iter().chain(&paths(&image)) {
        let answer = get(seawall, Some(&wrong), path).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(answer.header("www-authenticate").starts_with("Basic "));
    }
    let tries = || {
        let all = world.registry.journal();
        let wrong = all.iter().filter(|seen| {
            seen.headers
                .get("authorization")
                .is_some_and(|sent| *sent == wrong)
        });
        wrong.count()
    };
    assert_eq!(tries(), 1);
    assert_eq!(get(seawall, Some(&wrong), "/v2/").await.status, 401);
    assert_eq!(tries(), 1);
    tokio::time::advance(MINUTE).await;
    assert_eq!(
        get(seawall, Some(&wrong), "/v2/team/app/manifests/1")
            .await
            .status,
        401
    );
    assert_eq!(tries(), 2);
}

#[tokio::test(start_paused = true)]
async fn s024_what_a_client_logs_in_with_goes_to_the_registrys_own_hosts_only() {
    let (world, _) = start(Sharing::PerClient);
    let evil = Registry::default();
    world.registry.beside("evil.test", &evil);
    let realm = r#"Bearer realm="http://evil.test/token",service="hub""#;
    let elsewhere = Script {
        status: Some(StatusCode::UNAUTHORIZED),
        headers: vec![("www-authenticate", realm.to_owned())],
        ..Script::default()
    };
    let redirect = Script {
        status: Some(StatusCode::TEMPORARY_REDIRECT),
        headers: vec![("location", "http://evil.test/x".to_owned())],
        ..Script::default()
    };
    for script in [elsewhere, redirect] {
        for path in ["/v2/team/app/manifests/1", "/v2/library/open/manifests/1"] {
            world.registry.script(path, script.clone());
            let answer = get(&world.seawall, Some(&alice()), path).await;
            assert!(!answer.is_good(), "{path}");
        }
    }
    for seen in evil.journal() {
        assert!(!seen.headers.contains_key("authorization"), "{seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn by_credentials_that_only_raise_the_budget_nobody_sees_more_than_everybody() {
    let (world, image) = start(Sharing::Public);
    let seawall = &world.seawall;
    assert_hidden(seawall, None, &image, 404).await;
    // Whoever logs in is nobody in particular: it is not looked at.
    assert_hidden(seawall, Some(&alice()), &image, 404).await;
    assert_eq!(counted(&world.registry), 0);
    let open = "/v2/library/open/manifests/1";
    for _ in 0..3 {
        assert!(get(seawall, None, open).await.is_good());
    }
    let bare = |method: &Method| {
        let seen = world.registry.seen(method, "/library/open/manifests/1");
        let bare = seen
            .iter()
            .filter(|seen| !seen.headers.contains_key("authorization"));
        bare.count()
    };
    assert_eq!(
        bare(&Method::HEAD),
        2,
        "everybody's, and ours before it was challenged"
    );
    seawall.cache.flush().await;
    let listed = get(seawall, None, "/v2/_catalog").await;
    assert!(String::from_utf8_lossy(&listed.body).contains("library/open"));
    for seen in world.registry.journal() {
        let sent = seen.headers.get("authorization");
        assert!(
            sent.is_none_or(|sent| *sent == basic("robot", "CANARY-robot")),
            "{seen:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_everybody_saw_is_asked_about_once_an_hour_and_an_outage_of_a_day_hides_nothing() {
    let (world, _) = start(Sharing::Public);
    let seawall = &world.seawall;
    let open = "/v2/library/open/manifests/1";
    let image = image_in(&world.registry, "library/open", Some("1"), 3);
    assert!(get(seawall, None, open).await.is_good());
    for blob in [image.config, image.layer] {
        let blob = format!("/v2/library/open/blobs/{blob}");
        assert!(get(seawall, None, &blob).await.is_good());
    }
    world.registry.go_down();
    tokio::time::advance(12 * 60 * MINUTE).await;
    let stale = get(seawall, None, open).await;
    assert!(stale.is_good() && stale.header("cache-status").contains("unreachable"));
    tokio::time::advance(14 * 60 * MINUTE).await;
    assert_eq!(
        get(seawall, None, open).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    world.registry.heal();
    tokio::time::advance(MINUTE).await;
    assert!(get(seawall, None, open).await.is_good());
    // It becomes private.
    world
        .registry
        .close("library/open", &[&basic("robot", "CANARY-robot")]);
    tokio::time::advance(59 * MINUTE).await;
    assert!(get(seawall, None, open).await.is_good());
    tokio::time::advance(MINUTE).await;
    assert_eq!(get(seawall, None, open).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn what_is_shared_is_for_whoever_may_use_the_upstream() {
    let (world, image) = start(Sharing::Shared);
    for path in &paths(&image) {
        assert!(get(&world.seawall, None, path).await.is_good(), "{path}");
    }
    let listed = get(&world.seawall, None, "/v2/_catalog").await;
    assert_eq!(listed.status, StatusCode::OK);
}
