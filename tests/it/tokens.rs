//! Tokens: what a client gets for what it logs in with, and that they open nothing else.

mod lasting;

use http::{Method, Request, StatusCode};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use seawall::policy::access::{Anonymous, Challenge, Role};
use seawall::policy::proxies::Proxies;
use seawall::upstream::Secret;
use serde_json::Value;

use super::access::{APP, OTHER, SECRET, STRANGER, ask, basic, clients, closed};
use super::support::configured::{Configured, hub};
use super::support::finest::Finest;
use super::support::registry::Registry;
use super::support::seawall::{Answer, Choices, Seawall, read};
use super::support::world::{World, bare_manifest, world};

const REALM: &str = "/v2/_auth/token";

/// A registry with a manifest in each of three repositories, at docker.io and at ghcr.io.
fn start(choices: Choices) -> World {
    let world = world(Choices {
        others: vec!["ghcr.io"],
        ..choices
    });
    for repository in ["team/app", "team/secret", "other/app"] {
        bare_manifest(&world.registry, repository);
    }
    world
}

fn locked() -> Choices {
    Choices {
        clients: closed(),
        ..Choices::default()
    }
}

/// A token for these scopes, by GET.
async fn token(seawall: &Seawall, user: &str, scopes: &[&str]) -> String {
    let said = basic(user, "right");
    let query: Vec<String> = scopes
        .iter()
        .map(|scope| format!("scope=repository:{scope}:pull"))
        .collect();
    let path = format!("{REALM}?service=seawall&{}", query.join("&"));
    let answer = ask(seawall, STRANGER, &path, &[("authorization", &said)]).await;
    assert_eq!(answer.status, StatusCode::OK);
    let told = json(&answer);
    assert_eq!(told["token"], told["access_token"]);
    assert_eq!(
        (told["expires_in"].as_u64(), answer.header("cache-control")),
        (Some(900), "no-store")
    );
    told["token"].as_str().unwrap().to_owned()
}

fn json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

async fn with(seawall: &Seawall, token: &str, path: &str) -> Answer {
    ask(
        seawall,
        STRANGER,
        path,
        &[("authorization", &format!("Bearer {token}"))],
    )
    .await
}

/// A form, as containerd sends it.
pub(crate) async fn post(seawall: &Seawall, form: &str, headers: &[(&str, &str)]) -> Answer {
    let near = seawall.connect((STRANGER, 9).into());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near))
        .await
        .unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let mut request = Request::post(REALM).header("host", "cache.test");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::new(bytes::Bytes::from(form.to_owned())))
        .unwrap();
    read(sender.send_request(request).await.unwrap()).await
}

pub(crate) const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

#[tokio::test(start_paused = true)]
async fn a_token_opens_what_it_was_asked_for_and_its_owner_may_pull() {
    let world = start(locked());
    let seawall = &world.seawall;
    let alice = token(
        seawall,
        "alice",
        &["docker.io/team/app", "team/secret", "ghcr.io/team/app"],
    )
    .await;
    for (path, status, error) in [
        ("/v2/", 200, ""),
        (APP, 200, ""),
        // What alice may not have is not in her token.
        (SECRET, 401, "insufficient_scope"),
        // Nor is the same name in another registry.
        ("/v2/ghcr.io/team/app/manifests/1", 401, "insufficient_scope"),
        ("/v2/team/app/manifests/1?ns=ghcr.io", 401, "insufficient_scope"),
        (OTHER, 401, "insufficient_scope"),
        ("/v2/_catalog", 401, "insufficient_scope"),
    ] {
        let answer = with(seawall, &alice, path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        assert!(answer.header("www-authenticate").contains(error), "{path}");
    }
    let wide = token(seawall, "bob", &["team/app", "other/app"]).await;
    assert!(with(seawall, &wide, OTHER).await.is_good());
    // A token is no password, and no other name for one.
    let said = basic("alice", &alice);
    assert_eq!(
        ask(seawall, STRANGER, APP, &[("authorization", &said)])
            .await
            .status,
        StatusCode::UNAUTHORIZED
    );
    for seen in world.registry.journal() {
        assert!(!seen.headers.contains_key("authorization"), "{seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_ends_after_a_quarter_of_an_hour_and_the_client_is_told_to_get_another() {
    let world = start(locked());
    let seawall = &world.seawall;
    let alice = token(seawall, "alice", &["team/app"]).await;
    tokio::time::advance(std::time::Duration::from_secs(899)).await;
    assert!(with(seawall, &alice, APP).await.is_good());
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    let late = with(seawall, &alice, APP).await;
    assert_eq!(late.status, StatusCode::UNAUTHORIZED);
    assert!(
        late.header("www-authenticate")
            .contains("error=\"invalid_token\"")
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_is_no_proof_for_another_or_it_would_never_end() {
    // S078
    let keys = vec![Secret::new("first".to_owned())];
    let world = start(Choices {
        token_keys: keys,
        ..locked()
    });
    let alice = token(&world.seawall, "alice", &["team/app"]).await;
    let said = format!("Bearer {alice}");
    for scope in ["", "&scope=repository:team/app:pull", "&offline_token=true"] {
        let path = format!("{REALM}?service=seawall{scope}");
        let answer = ask(&world.seawall, STRANGER, &path, &[("authorization", &said)]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{scope}");
    }
    // Nor under the name of one that takes the place of a password, nor of the password.
    for form in [
        format!("grant_type=refresh_token&refresh_token={alice}"),
        format!("grant_type=password&username=alice&password={alice}"),
    ] {
        let answer = post(&world.seawall, &form, &[FORM]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{form}");
    }
    let form = "grant_type=refresh_token";
    let answer = post(&world.seawall, form, &[FORM, ("authorization", &said)]).await;
    assert!(answer.status.is_client_error(), "{}", answer.status);
    assert!(with(&world.seawall, &alice, APP).await.is_good());
}

#[tokio::test(start_paused = true)]
async fn a_token_to_pull_with_makes_nobody_an_operator() {
    // S072, S080
    let mut clients = closed();
    for rule in &mut clients.rules {
        rule.grant.role = Role::Admin;
    }
    let world = start(Choices {
        clients,
        ..Choices::default()
    });
    let (seawall, path) = (&world.seawall, "/api/v1/status");
    let alice = format!("Bearer {}", token(seawall, "alice", &["team/app"]).await);
    for (said, status) in [(basic("alice", "right"), 200), (alice, 401)] {
        let said = [("authorization", said.as_str())];
        let answer = read(seawall.operate_from(STRANGER, Method::GET, path, &said, "").await).await;
        assert_eq!(answer.status.as_u16(), status);
    }
}

#[tokio::test(start_paused = true)]
async fn forged_and_foreign_tokens_open_nothing() {
    // S077, S078, S080
    let world = start(locked());
    let seawall = &world.seawall;
    let good = token(seawall, "alice", &["team/app"]).await;
    let (said, mac) = good.split_once('.').unwrap();
    let elsewhere = start(locked());
    let foreign = token(&elsewhere.seawall, "alice", &["team/app"]).await;
    for forged in [
        foreign.as_str(),
        said,
        &format!("{said}."),
        &format!("{said}.{}", "A".repeat(mac.len())),
        &format!("{said}x.{mac}"),
        &good.to_lowercase(),
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.",
        "eyJhbGciOiJIUzI1NiIsImtpZCI6Ii4uLy4uL2Rldi9udWxsIn0.eyJzdWIiOiJhbGljZSJ9.AAAA",
        &".".repeat(4000),
        "",
    ] {
        let answer = with(seawall, forged, APP).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{forged}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_form_gets_a_token_too_and_one_that_stays_only_where_its_key_does() {
    let keys = |texts: &[&str]| texts.iter().map(|text| Secret::new((*text).to_owned())).collect();
    let form = "grant_type=password&username=alice&password=right&access_type=offline&\
                scope=repository:docker.io/team/app:pull&service=seawall&client_id=containerd-client";
    let world = start(locked());
    let told = json(&post(&world.seawall, form, &[FORM]).await);
    assert_eq!(told["scope"], "repository:docker.io/team/app:pull");
    assert!(told.get("refresh_token").is_none(), "{told}");

    let clients = closed();
    let first = start(Choices {
        clients: clients.clone(),
        token_keys: keys(&["first"]),
        ..locked()
    });
    let told = json(&post(&first.seawall, form, &[FORM]).await);
    let refresh = told["refresh_token"].as_str().unwrap();
    // It is no token to pull with.
    assert_eq!(
        with(&first.seawall, refresh, "/v2/").await.status,
        StatusCode::UNAUTHORIZED
    );
    // After a restart, with another key in front of the old one.
    let second = start(Choices {
        clients: clients.clone(),
        token_keys: keys(&["second", "first"]),
        ..locked()
    });
    let again = format!("grant_type=refresh_token&refresh_token={refresh}&scope=repository:team/app:pull");
    let fresh = json(&post(&second.seawall, &again, &[FORM]).await);
    let fresh = fresh["access_token"]
        .as_str()
        .unwrap_or_else(|| panic!("{fresh}"));
    assert!(with(&second.seawall, fresh, APP).await.is_good());
    // When its key is gone, or the password is another.
    let third = start(Choices {
        clients,
        token_keys: keys(&["third", "second"]),
        ..locked()
    });
    assert_eq!(
        post(&third.seawall, &again, &[FORM]).await.status,
        StatusCode::UNAUTHORIZED
    );
    let other = start(Choices {
        token_keys: keys(&["first"]),
        ..locked()
    });
    assert_eq!(
        post(&other.seawall, &again, &[FORM]).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test(start_paused = true)]
async fn wrong_forms_are_refused_and_no_other_path_takes_any() {
    let world = start(locked());
    let seawall = &world.seawall;
    let wrong = "grant_type=password&username=alice&password=wrong";
    assert_eq!(
        post(seawall, wrong, &[FORM]).await.status,
        StatusCode::UNAUTHORIZED
    );
    for form in ["", "grant_type=password", "grant_type=authorization_code&code=x"] {
        assert_eq!(
            post(seawall, form, &[FORM]).await.status,
            StatusCode::BAD_REQUEST,
            "{form}"
        );
    }
    let json = [("content-type", "application/json")];
    assert_eq!(post(seawall, "{}", &json).await.status, StatusCode::BAD_REQUEST);
    let long = format!(
        "grant_type=password&username=alice&password={}",
        "x".repeat(40_000)
    );
    assert_eq!(
        post(seawall, &long, &[FORM]).await.status,
        StatusCode::BAD_REQUEST
    );
    let put = read(seawall.open_from(STRANGER, Method::PUT, REALM, &[]).await).await;
    assert_eq!(put.status, StatusCode::METHOD_NOT_ALLOWED);
    let elsewhere = read(
        seawall
            .open_from(STRANGER, Method::POST, "/v2/_auth/token/", &[])
            .await,
    )
    .await;
    assert_eq!(elsewhere.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test(start_paused = true)]
async fn whoever_needs_no_login_gets_a_token_whatever_it_sends() {
    let world = start(Choices {
        clients: clients(Anonymous::Everyone),
        ..Choices::default()
    });
    // S032: a kubelet hands what it has for docker.io to its mirror, too.
    let log = Finest::begin();
    let hub = basic("somebody", "dckr_pat_CANARY");
    let path = format!("{REALM}?scope=repository:other/app:pull");
    for headers in [vec![], vec![("authorization", hub.as_str())]] {
        let told = json(&ask(&world.seawall, STRANGER, &path, &headers).await);
        let token = told["token"].as_str().unwrap();
        assert!(with(&world.seawall, token, OTHER).await.is_good());
        assert!(ask(&world.seawall, STRANGER, OTHER, &headers).await.is_good());
    }
    let form = "grant_type=password&username=somebody&password=dckr_pat_CANARY";
    assert_eq!(post(&world.seawall, form, &[FORM]).await.status, StatusCode::OK);
    let secrets = ["CANARY".to_owned(), hub.replace("Basic ", "")];
    log.assert_hides(&secrets, &world.seawall, "DEBUG").await;
    for seen in world.registry.journal() {
        assert!(!seen.headers.contains_key("authorization"), "{seen:?}");
    }
    // Where it comes from decides when it is used.
    let closed = start(locked());
    assert_eq!(
        ask(&closed.seawall, STRANGER, &path, &[]).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test(start_paused = true)]
async fn the_realm_is_what_the_client_can_reach() {
    let proxy = [10, 0, 0, 1];
    let realm = |answer: &Answer| {
        let challenge = answer.header("www-authenticate").to_owned();
        challenge.split('"').nth(1).unwrap_or_default().to_owned()
    };
    let behind = start(Choices {
        proxies: Proxies {
            trusted: vec!["10.0.0.0/8".parse().unwrap()],
            protocol: false,
        },
        ..locked()
    });
    let proto = [("x-forwarded-proto", "https")];
    let by_proxy = ask(&behind.seawall, proxy, APP, &proto).await;
    assert_eq!(realm(&by_proxy), "https://cache.test/v2/_auth/token");
    // S010
    let by_stranger = ask(&behind.seawall, STRANGER, APP, &proto).await;
    assert_eq!(realm(&by_stranger), "http://cache.test/v2/_auth/token");
    let mut clients = closed();
    clients.access.url = Some("https://pull.example.com".to_owned());
    let named = start(Choices {
        clients: clients.clone(),
        ..Choices::default()
    });
    assert_eq!(
        realm(&ask(&named.seawall, STRANGER, APP, &proto).await),
        "https://pull.example.com/v2/_auth/token"
    );
    clients.access.challenge = Challenge::Basic;
    let plain = start(Choices {
        clients,
        ..Choices::default()
    });
    let answer = ask(&plain.seawall, STRANGER, APP, &[]).await;
    assert_eq!(
        answer.header("www-authenticate"),
        "Basic realm=\"seawall\", charset=\"UTF-8\""
    );
}

#[tokio::test(start_paused = true)]
async fn what_an_old_password_opened_is_closed_when_the_configuration_is_read_again() {
    let registry = Registry::default();
    bare_manifest(&registry, "team/app");
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("htpasswd");
    let write = |password: &str| {
        let hash = bcrypt::hash(password, 4).unwrap();
        std::fs::write(&users, format!("alice:{hash}\n")).unwrap();
    };
    write("right");
    let text = format!(
        "{}[access]\nanonymous = \"nobody\"\nhtpasswd = '{}'\n",
        hub(""),
        users.display()
    );
    let mut configured = Configured::start(&registry.dialer(), &text);
    let old = token(&configured.seawall, "alice", &["team/app"]).await;
    assert!(with(&configured.seawall, &old, APP).await.is_good());
    // Nothing of hers has changed: her token is good still.
    let reload = configured
        .change(&text.replace("[access]", "[access]\ndenied = \"forbidden\""))
        .await;
    assert!(reload.applied, "{reload:?}");
    assert!(with(&configured.seawall, &old, APP).await.is_good());
    write("other");
    let reload = configured.change(&text).await;
    let told = reload.changed.join(" ");
    assert!(
        reload.applied && told.contains("the users in access.htpasswd"),
        "{reload:?}"
    );
    assert_eq!(
        with(&configured.seawall, &old, APP).await.status,
        StatusCode::UNAUTHORIZED
    );
    let said = basic("alice", "right");
    let answer = ask(&configured.seawall, STRANGER, APP, &[("authorization", &said)]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}
