//! What an upstream's `allow` and `deny` keep from everybody is served, fetched, listed and warmed for nobody.

use http::{Method, StatusCode};
use seawall::policy::access::{Denied, Offer, Paths};
use seawall::policy::clients::Clients;
use serde_json::{Value, json};

use super::access::{OFFICE, STRANGER, ask, basic, closed};
use super::hits::Wire;
use super::support::configured::{Configured, hub};
use super::support::operator::lines;
use super::support::registry::Registry;
use super::support::seawall::{Answer, Choices, read};
use super::support::world::{OCI_MANIFEST, World, bare_manifest, world};

/// What is offered, what is not, and what would not be, if it existed.
const APP: &str = "/v2/team/app/manifests/1";
const SECRET: &str = "/v2/team/secret/manifests/1";
const OTHER: &str = "/v2/other/app/manifests/1";
const MISSING: &str = "/v2/other/none/manifests/1";

fn paths(text: &str) -> Vec<Paths> {
    vec![Paths::parse(text).unwrap()]
}

fn start(denied: Denied) -> World {
    let mut clients = Clients::default();
    clients.access.denied = denied;
    let world = world(Choices {
        clients,
        offer: Offer {
            allow: paths("team/*"),
            deny: paths("team/secret"),
        },
        ..Choices::default()
    });
    for repository in ["team/app", "team/secret", "other/app"] {
        bare_manifest(&world.registry, repository);
    }
    world
}

/// What an answer says, whatever the name is.
fn said(answer: &Answer) -> (StatusCode, String, Vec<String>) {
    let names = answer.headers.keys().map(ToString::to_string).collect();
    let text = String::from_utf8_lossy(&answer.body);
    let text = ["team/secret", "other/app", "other/none"]
        .iter()
        .fold(text.into_owned(), |text, name| text.replace(name, "NAME"));
    (answer.status, text, names)
}

#[tokio::test(start_paused = true)]
async fn what_is_not_offered_is_refused_by_every_route_and_name_and_the_registry_is_not_asked() {
    for (denied, status) in [(Denied::NotFound, 404), (Denied::Forbidden, 403)] {
        let world = start(denied);
        let seawall = &world.seawall;
        assert!(seawall.get(APP).await.is_good());
        let asked = world.registry.journal().len();
        let missing = said(&seawall.get(MISSING).await);
        assert_eq!(missing.0.as_u16(), status);
        let digest = format!("sha256:{}", "a".repeat(64));
        for path in [
            SECRET.to_owned(),
            OTHER.to_owned(),
            "/v2/other/app/manifests/1?ns=docker.io".to_owned(),
            "/v2/docker.io/other/app/manifests/1".to_owned(),
            format!("/v2/other/app/manifests/{digest}"),
            format!("/v2/other/app/blobs/{digest}"),
            format!("/v2/other/app/referrers/{digest}"),
            "/v2/other/app/tags/list".to_owned(),
        ] {
            assert_eq!(said(&seawall.get(&path).await), missing, "{path}");
            let head = seawall.ask(Method::HEAD, &path, &[]).await;
            assert_eq!(head.status.as_u16(), status, "HEAD {path}");
        }
        assert_eq!(world.registry.journal().len(), asked);
        assert!(seawall.get(APP).await.is_good());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_offered_is_kept_from_named_clients_and_a_stranger_cannot_tell_it_from_what_is() {
    let world = world(Choices {
        clients: closed(),
        offer: Offer {
            allow: paths("team/*"),
            deny: paths("team/app"),
        },
        ..Choices::default()
    });
    for repository in ["team/app", "team/free"] {
        bare_manifest(&world.registry, repository);
    }
    let (seawall, free) = (&world.seawall, "/v2/team/free/manifests/1");
    let alice = basic("alice", "right");
    let login = [("authorization", alice.as_str())];
    // alice's [[client]] allows both. So does the office's, which could log in, and would have it no more for that.
    for (from, headers) in [(STRANGER, login.as_slice()), (OFFICE, &[])] {
        assert!(ask(seawall, from, free, headers).await.is_good());
        let answer = ask(seawall, from, APP, headers).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }
    let stranger = async |path| said(&ask(seawall, STRANGER, path, &[]).await);
    assert_eq!(stranger(APP).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(stranger(APP).await, stranger(free).await);
    // Nor is a token to pull it with given to anybody.
    let scopes = "scope=repository:team/app:pull&scope=repository:team/free:pull";
    let token = ask(seawall, STRANGER, &format!("/v2/_auth/token?{scopes}"), &login).await;
    let token: Value = serde_json::from_slice(&token.body).unwrap();
    assert_eq!(token["scope"], "repository:docker.io/team/free:pull");
    let asked = world.registry.journal();
    assert!(asked.iter().all(|seen| !seen.path.contains("app")), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_offered_is_not_warmed_and_explained_with_the_reason() {
    let world = start(Denied::NotFound);
    let request = json!({ "references": ["team/app:1", "team/secret:1"] });
    let told = lines(&world.seawall.post("/api/v1/warm", &request).await);
    let summary = told.last().unwrap();
    assert_eq!(summary["event"], "summary", "{summary}");
    assert!(
        told.iter()
            .any(|event| event.to_string().contains("`deny` of the [[upstream]]")),
        "{told:?}"
    );
    let asked = world.registry.journal();
    assert!(
        asked.iter().all(|seen| !seen.path.contains("secret")),
        "{asked:?}"
    );
    for (name, access) in [
        ("team/app", "granted"),
        ("team/secret", "unoffered"),
        ("other/app", "unoffered"),
    ] {
        let path = format!("/api/v1/explain?reference={name}:1");
        let answer = read(world.seawall.operate(Method::GET, &path, &[], "").await).await;
        let explained: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(explained["access"], access, "{explained}");
        assert_eq!(explained["pull"].is_null(), access != "granted");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_offered_no_more_from_the_moment_of_the_reload_and_again_after_the_next() {
    let registry = Registry::default();
    registry.manifest("team/app", Some("1"), OCI_MANIFEST, "{}");
    registry.manifest("team/secret", Some("1"), OCI_MANIFEST, "{ }");
    let mut configured = Configured::start(&registry.dialer(), &hub(""));
    for path in [APP, SECRET] {
        assert!(configured.seawall.get(path).await.is_good());
    }
    configured.seawall.cache.flush().await;
    let reload = configured.change(&hub("deny = [\"team/sec*\"]")).await;
    assert!(reload.applied && reload.changed.len() == 1, "{reload:?}");
    let asked = registry.journal().len();
    let refused = configured.seawall.get(SECRET).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    // Nor is it answered from memory beneath hyper, as what is offered.
    let mut wire = Wire::from(&configured.seawall, [127, 0, 0, 1]).await;
    for (path, status) in [(SECRET, "404"), (APP, "200")] {
        let (head, _) = wire.ask("GET", path, "").await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {head}");
    }
    let listed = configured.seawall.get("/v2/_catalog?ns=docker.io").await;
    let listed: Value = serde_json::from_slice(&listed.body).unwrap();
    assert_eq!(listed["repositories"], json!(["team/app"]));
    assert!(configured.seawall.get(APP).await.is_good());
    configured.change(&hub("allow = [\"team/*\"]")).await;
    assert!(configured.seawall.get(SECRET).await.is_good());
    assert_eq!(registry.journal().len(), asked);
}
