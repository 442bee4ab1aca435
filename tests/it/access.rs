//! Only those who may pull do, and nobody learns more than that.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use seawall::policy::access::{Access, Anonymous, Denied, Grant, Role, Scope, User};
use seawall::policy::clients::{Clients, Matches, Rule};

use crate::support::seawall::{Answer, Choices, Seawall, read};
use crate::support::world::{World, bare_manifest, world};

/// Nobody's address.
pub(crate) const STRANGER: [u8; 4] = [203, 0, 113, 5];
/// One in the network of the client `office`.
pub(crate) const OFFICE: [u8; 4] = [192, 0, 2, 7];

/// What alice may pull, what she may not, and what nobody has.
pub(crate) const APP: &str = "/v2/team/app/manifests/1";
pub(crate) const SECRET: &str = "/v2/team/secret/manifests/1";
pub(crate) const OTHER: &str = "/v2/other/app/manifests/1";
pub(crate) const MISSING: &str = "/v2/other/missing/manifests/1";

pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Who does not log in may pull as `anonymous` says; alice and the office may have what is the team's and no secret;
/// bob may have everything.
pub(crate) fn clients(anonymous: Anonymous) -> Clients {
    let user = |name: &str| User {
        name: name.to_owned(),
        hash: bcrypt::hash("right", 4).unwrap().into(),
    };
    let scopes = |text| vec![Scope::parse(text).unwrap()];
    let grant = Grant {
        allow: scopes("docker.io/team/**"),
        deny: scopes("docker.io/team/secret"),
        ..Grant::default()
    };
    let alice = Rule {
        matches: Matches {
            users: vec!["alice".to_owned()],
            ..Matches::default()
        },
        grant: grant.clone(),
        ..Rule::at("alice", 0, Vec::new())
    };
    let office = Rule {
        grant,
        ..Rule::at("office", 0, vec!["192.0.2.0/24".parse().unwrap()])
    };
    Clients {
        rules: vec![alice, office],
        access: Access {
            anonymous,
            denied: Denied::NotFound,
            users: vec![user("alice"), user("bob")],
            ..Access::default()
        },
        ..Clients::default()
    }
}

/// Nobody may pull without a login.
pub(crate) fn closed() -> Clients {
    clients(Anonymous::From(Vec::new()))
}

/// A registry with a manifest in three repositories, and a Seawall for these clients in front of it.
pub(crate) fn start(clients: Clients) -> World {
    let world = world(Choices {
        clients,
        ..Choices::default()
    });
    for repository in ["team/app", "team/secret", "other/app"] {
        bare_manifest(&world.registry, repository);
    }
    world
}

pub(crate) async fn ask(seawall: &Seawall, from: [u8; 4], path: &str, headers: &[(&str, &str)]) -> Answer {
    read(seawall.open_from(from, Method::GET, path, headers).await).await
}

async fn as_user(seawall: &Seawall, user: &str, path: &str) -> Answer {
    let said = basic(user, "right");
    ask(seawall, STRANGER, path, &[("authorization", &said)]).await
}

#[tokio::test(start_paused = true)]
async fn a_stranger_is_challenged_on_every_route_and_the_registry_is_not_asked() {
    let world = start(closed());
    let seawall = &world.seawall;
    let digest = format!("sha256:{}", "a".repeat(64));
    let blob = format!("/v2/team/app/blobs/{digest}");
    let referrers = format!("/v2/team/app/referrers/{digest}");
    let lists = "/v2/team/app/tags/list";
    for path in [
        "/v2/",
        "/v2/_catalog",
        APP,
        SECRET,
        MISSING,
        &blob,
        &referrers,
        lists,
        "/v2/evil.test:1/x/manifests/1",
    ] {
        let answer = ask(seawall, STRANGER, path, &[]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        let challenge = answer.header("www-authenticate");
        let realm = "Bearer realm=\"http://cache.test/v2/_auth/token\",service=\"seawall\"";
        assert!(
            challenge.starts_with(realm) && !challenge.contains("error="),
            "{challenge}"
        );
        assert_eq!(
            challenge.contains("scope=\"repository:docker.io/team/app:pull\""),
            path.starts_with("/v2/team/app")
        );
        let error: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(error["errors"][0]["code"], "UNAUTHORIZED");
    }
    assert_eq!(world.registry.journal().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_logs_in_has_what_its_client_may_have() {
    let world = start(closed());
    let seawall = &world.seawall;
    for (user, path, status) in [
        ("alice", "/v2/", 200),
        ("alice", APP, 200),
        ("alice", SECRET, 404),
        ("alice", OTHER, 404),
        ("bob", SECRET, 200),
        ("bob", OTHER, 200),
        ("mallory", APP, 401),
    ] {
        let answer = as_user(seawall, user, path).await;
        assert_eq!(answer.status.as_u16(), status, "{user} {path}");
    }
    let wrong = basic("alice", "wrong");
    let unknown = basic("mallory", "wrong");
    let wrong = ask(seawall, STRANGER, APP, &[("authorization", &wrong)]).await;
    let unknown = ask(seawall, STRANGER, APP, &[("authorization", &unknown)]).await;
    assert_eq!(
        (wrong.status, wrong.headers, wrong.body),
        (unknown.status, unknown.headers, unknown.body)
    );
    // What clients log in with here is nobody else's.
    for seen in world.registry.journal() {
        assert!(!seen.headers.contains_key("authorization"), "{seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_client_may_not_have_looks_as_what_does_not_exist() {
    // S066
    for denied in [Denied::NotFound, Denied::Forbidden] {
        let mut clients = closed();
        clients.access.denied = denied;
        let world = start(clients);
        // It is held, and even so.
        assert!(as_user(&world.seawall, "bob", OTHER).await.is_good());
        let asked = world.registry.journal().len();
        let there = as_user(&world.seawall, "alice", OTHER).await;
        let missing = as_user(&world.seawall, "alice", MISSING).await;
        assert_eq!(there.status, missing.status);
        assert_eq!(
            there.status.as_u16(),
            if denied == Denied::NotFound { 404 } else { 403 }
        );
        let plain = |answer: &Answer| String::from_utf8_lossy(&answer.body).replace("missing", "app");
        assert_eq!(plain(&there), plain(&missing));
        let names = |answer: &Answer| answer.headers.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&there), names(&missing));
        assert_eq!(world.registry.journal().len(), asked);
    }
}

#[tokio::test(start_paused = true)]
async fn the_catalog_shows_only_what_may_be_pulled() {
    // S071
    let world = start(closed());
    for path in [APP, SECRET, OTHER] {
        assert!(as_user(&world.seawall, "bob", path).await.is_good());
    }
    world.seawall.cache.flush().await;
    let listed = |answer: &Answer| {
        let list: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        list["repositories"].to_string()
    };
    let all = as_user(&world.seawall, "bob", "/v2/_catalog").await;
    assert_eq!(
        listed(&all),
        r#"["docker.io/other/app","docker.io/team/app","docker.io/team/secret"]"#
    );
    let some = as_user(&world.seawall, "alice", "/v2/_catalog?n=1").await;
    assert_eq!(listed(&some), r#"["docker.io/team/app"]"#);
    assert_eq!(some.header("link"), "");
    let some = as_user(&world.seawall, "alice", "/v2/_catalog?ns=docker.io").await;
    assert_eq!(listed(&some), r#"["team/app"]"#);
}

#[tokio::test(start_paused = true)]
async fn passwords_that_are_meant_for_others_are_accepted_and_ignored_where_nobody_needs_one() {
    let world = start(clients(Anonymous::Everyone));
    let said = basic("somebody", "dckr_pat_CANARY");
    for headers in [
        vec![],
        vec![("authorization", said.as_str())],
        vec![("authorization", "Bearer CANARY")],
    ] {
        let answer = ask(&world.seawall, STRANGER, OTHER, &headers).await;
        assert_eq!(answer.status, StatusCode::OK, "{headers:?}");
    }
    for seen in world.registry.journal() {
        assert!(!format!("{seen:?}").contains("CANARY"), "{seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_nobody_can_log_in_strangers_are_told_what_is_missing_and_are_not_asked_for_passwords() {
    let mut clients = closed();
    clients.access.users.clear();
    clients.rules.remove(0);
    let world = start(clients);
    let answer = ask(&world.seawall, STRANGER, APP, &[]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(answer.header("www-authenticate"), "");
    let body = String::from_utf8_lossy(&answer.body);
    assert!(
        body.contains("203.0.113.5") && body.contains("[access]"),
        "{body}"
    );
    assert!(ask(&world.seawall, OFFICE, APP, &[]).await.is_good());
}

#[tokio::test(start_paused = true)]
async fn no_header_but_one_says_who_a_client_is() {
    // S010, S082
    let world = start(closed());
    let right = basic("alice", "right");
    let two = [
        ("authorization", right.as_str()),
        ("authorization", right.as_str()),
    ];
    assert_eq!(
        ask(&world.seawall, STRANGER, APP, &two).await.status,
        StatusCode::UNAUTHORIZED
    );
    for (name, value) in [
        ("x-forwarded-for", "192.0.2.7"),
        ("forwarded", "for=192.0.2.7"),
        ("x-real-ip", "192.0.2.7"),
        ("x-remote-user", "alice"),
        ("x-forwarded-user", "alice"),
        ("x-client-cert", "alice"),
        ("proxy-authorization", &right),
        ("x-authorization", &right),
        ("cookie", &right),
    ] {
        let answer = ask(&world.seawall, STRANGER, APP, &[(name, value)]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_keeps_guessing_is_told_when_to_come_back() {
    let world = start(closed());
    for guess in 0..10 {
        let said = basic("alice", &format!("guess {guess}"));
        let answer = ask(&world.seawall, STRANGER, APP, &[("authorization", &said)]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    let late = as_user(&world.seawall, "alice", APP).await;
    assert_eq!(late.status, StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = late.header("retry-after").parse().unwrap();
    assert!((1..=10).contains(&wait), "{wait}");
    tokio::time::sleep(std::time::Duration::from_secs(wait)).await;
    assert!(as_user(&world.seawall, "alice", APP).await.is_good());
}

#[tokio::test(start_paused = true)]
async fn from_other_machines_the_operators_pages_are_for_those_who_have_a_role() {
    // S072, S073, S076
    let mut clients = clients(Anonymous::Everyone);
    // Alice purges, bob pulls, the office is only known by its network.
    clients.rules[0].grant.role = Role::Admin;
    clients.rules[1].grant.role = Role::Admin;
    let world = start(clients);
    let (alice, bob, wrong) = (
        basic("alice", "right"),
        basic("bob", "right"),
        basic("alice", "x"),
    );
    let purge = r#"{"filter":["docker.io/none:.*"],"dry_run":true}"#;
    for (from, said, method, path, status) in [
        (STRANGER, "", Method::GET, "/livez", 200),
        (STRANGER, "", Method::GET, "/readyz", 200),
        (STRANGER, "", Method::GET, "/metrics", 401),
        (STRANGER, "", Method::GET, "/readyz/", 401),
        (STRANGER, "", Method::POST, "/api/v1/purge", 401),
        (STRANGER, &wrong, Method::GET, "/metrics", 401),
        (STRANGER, &bob, Method::GET, "/metrics", 403),
        (STRANGER, &bob, Method::POST, "/api/v1/purge", 403),
        (STRANGER, &alice, Method::GET, "/metrics", 200),
        (STRANGER, &alice, Method::POST, "/api/v1/purge", 200),
        (OFFICE, "", Method::GET, "/metrics", 200),
        (OFFICE, "", Method::POST, "/api/v1/purge", 401),
        (OFFICE, "", Method::GET, "/api/v1/export?reference=x", 401),
        ([127, 0, 0, 1], "", Method::POST, "/api/v1/purge", 200),
        ([127, 0, 0, 1], &wrong, Method::GET, "/metrics", 200),
    ] {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend((!said.is_empty()).then_some(("authorization", said)));
        let body = if method == Method::POST { purge } else { "" };
        let answer = world
            .seawall
            .operate_from(from, method.clone(), path, &headers, body);
        let answer = read(answer.await).await;
        assert_eq!(answer.status.as_u16(), status, "{from:?} {method} {path}");
        assert_eq!(
            answer.headers.contains_key("www-authenticate"),
            status == 401,
            "{path}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_memory_holds_is_kept_from_those_who_may_not_have_it_as_well() {
    let world = start(closed());
    let seawall = &world.seawall;
    for path in [APP, SECRET, OTHER] {
        let held = as_user(seawall, "bob", path).await;
        let digest = held.header("docker-content-digest");
        let by_digest = path.replace("manifests/1", &format!("manifests/{digest}"));
        for path in [path, &by_digest] {
            // With nothing but a Host, as it is answered soonest.
            assert!(as_user(seawall, "bob", path).await.is_good());
            let stranger = ask(seawall, STRANGER, path, &[]).await;
            assert_eq!(stranger.status, StatusCode::UNAUTHORIZED, "{path}");
            let office = ask(seawall, OFFICE, path, &[]).await;
            let may = path.starts_with("/v2/team/app/");
            assert_eq!(office.is_good(), may, "{path}: {}", office.status);
        }
    }
}
