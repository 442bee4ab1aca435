//! Tokens of other issuers: whoever they vouch for pulls what its client may, and nobody else does.

mod attacks;
mod by_tls;
mod jobs;
mod rotation;
mod secrets;

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::access::{APP, OTHER, SECRET, STRANGER, ask, basic};
use crate::support::configured::{Configured, hub};
use crate::support::issuer::Issuer;
use crate::support::registry::Registry;
use crate::support::seawall::{Answer, Seawall, read};
use crate::support::signing::{AUDIENCE, SigningKey};
use crate::support::world::bare_manifest;

/// What the tests' CI is to the cache: its main branch pulls what is the team's, and nothing that is secret.
const CI: &str = "[[issuer]]\nname = \"ci\"\nurl = \"http://issuer.test\"\ninsecure = true\n\
    audience = \"https://cache.example.com\"\n\
    [[client]]\nname = \"main\"\ntier = \"standard\"\nallow = [\"docker.io/team/**\"]\ndeny = [\"docker.io/team/secret\"]\n\
    match = { issuer = \"ci\", claims = { owner = \"acme\", ref = \"^refs/heads/main$\" } }\n";

/// What a token says of somebody on the main branch of acme.
fn main_branch() -> Value {
    json!({ "owner": "acme", "ref": "refs/heads/main" })
}

fn content(registry: &Registry) {
    for repository in ["team/app", "team/secret", "other/app"] {
        bare_manifest(registry, repository);
    }
}

/// A configuration in which nobody may pull without saying who they are.
fn locked(more: &str) -> String {
    format!("{}[access]\nanonymous = \"nobody\"\n{more}", hub(""))
}

struct Scene {
    registry: Registry,
    issuer: Issuer,
    configured: Configured,
}

impl Scene {
    /// A registry, an issuer with these keys, and a Seawall that believes it.
    fn new(keys: &[&SigningKey]) -> Self {
        Self::with(keys, &locked(CI))
    }

    fn with(keys: &[&SigningKey], text: &str) -> Self {
        let registry = Registry::default();
        content(&registry);
        let issuer = Issuer::beside(&registry, keys);
        let configured = Configured::start(&registry.dialer(), text);
        Self {
            registry,
            issuer,
            configured,
        }
    }

    fn seawall(&self) -> &Seawall {
        &self.configured.seawall
    }

    /// A token of a key for somebody who may pull.
    fn token(&self, key: &SigningKey) -> String {
        key.token(&self.issuer.claims(300, &main_branch()))
    }

    async fn status(&self) -> Value {
        status_of(self.seawall()).await
    }
}

/// How its issuer stands.
async fn status_of(seawall: &Seawall) -> Value {
    let answer = seawall.operate(Method::GET, "/api/v1/status", &[], "").await;
    let status: Value = serde_json::from_slice(&read(answer).await.body).unwrap();
    status["issuers"][0].clone()
}

async fn with(seawall: &Seawall, token: &str, path: &str) -> Answer {
    with_from(seawall, STRANGER, token, path).await
}

async fn with_from(seawall: &Seawall, from: [u8; 4], token: &str, path: &str) -> Answer {
    let said = format!("Bearer {token}");
    ask(seawall, from, path, &[("authorization", &said)]).await
}

/// What the token endpoint gives for a password.
async fn exchange(seawall: &Seawall, user: &str, password: &str, scope: &str) -> Answer {
    let path = format!("/v2/_auth/token?service=seawall&offline_token=true&scope=repository:{scope}:pull");
    ask(
        seawall,
        STRANGER,
        &path,
        &[("authorization", &basic(user, password))],
    )
    .await
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

fn text_of(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

#[tokio::test(start_paused = true)]
async fn whoever_an_issuer_vouches_for_pulls_what_its_client_may() {
    for key in [SigningKey::ec("one"), SigningKey::rsa("one")] {
        let scene = Scene::new(&[&key]);
        let (seawall, token) = (scene.seawall(), scene.token(&key));
        // As the password of whatever user; as a bearer token; and for one of ours.
        for user in ["oidc", "alice", "_"] {
            let said = basic(user, &token);
            let answer = ask(seawall, STRANGER, APP, &[("authorization", &said)]).await;
            assert!(answer.is_good(), "{} {}", answer.status, text_of(&answer));
        }
        for (path, status) in [("/v2/", 200), (APP, 200), (SECRET, 404), (OTHER, 404)] {
            assert_eq!(
                with(seawall, &token, path).await.status.as_u16(),
                status,
                "{path}"
            );
        }
        let told = json_of(&exchange(seawall, "oidc", &token, "team/app").await);
        let ours = told["token"].as_str().unwrap();
        assert!(ours.starts_with("seawall_") && told.get("refresh_token").is_none());
        assert!(with(seawall, ours, APP).await.is_good());
        assert_eq!(with(seawall, ours, OTHER).await.status, StatusCode::UNAUTHORIZED);
        // What it may not have is not in it.
        let told = json_of(&exchange(seawall, "oidc", &token, "other/app").await);
        assert_eq!(told["scope"], "");
        // Nobody's word goes to the registry.
        for seen in scene.registry.journal() {
            assert!(!seen.headers.contains_key("authorization"), "{seen:?}");
        }
        assert_eq!(scene.issuer.asked(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_token_of_nobody_s_client_opens_nothing() {
    let key = SigningKey::ec("one");
    let scene = Scene::new(&[&key]);
    for claims in [
        json!({}),
        json!({ "owner": "acme" }),
        json!({ "owner": "acme", "ref": "refs/heads/main2" }),
        json!({ "owner": "acme", "ref": "refs/heads/main\n" }),
        json!({ "owner": "acme", "ref": "x/refs/heads/main" }),
        json!({ "owner": "acme-evil", "ref": "refs/heads/main" }),
        json!({ "owner": "Acme", "ref": "refs/heads/main" }),
        json!({ "owner": { "acme": "acme" }, "ref": "refs/heads/main" }),
        json!({ "owner": null, "ref": "refs/heads/main" }),
    ] {
        let token = key.token(&scene.issuer.claims(300, &claims));
        let answer = with(scene.seawall(), &token, APP).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{claims}");
        assert!(text_of(&answer).contains("[[client]]"), "{}", text_of(&answer));
        let told = exchange(scene.seawall(), "oidc", &token, "team/app").await;
        assert_eq!(told.status, StatusCode::UNAUTHORIZED, "{claims}");
    }
    assert!(scene.registry.journal().is_empty());
    // Nor was any of them a failure: whoever has it is who it says.
    assert!(with(scene.seawall(), &scene.token(&key), APP).await.is_good());
}

#[tokio::test(start_paused = true)]
async fn whoever_has_a_token_that_is_refused_is_told_why_also_when_asking_again_at_once() {
    let (key, evil, unknown) = (
        SigningKey::ec("one"),
        SigningKey::ec("one"),
        SigningKey::ec("two"),
    );
    let scene = Scene::new(&[&key]);
    let (seawall, at) = (scene.seawall(), |seconds| json!(scene.issuer.at(seconds)));
    let good = scene.issuer.claims(300, &main_branch());
    let other = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        key.token(&claims)
    };
    for (token, why) in [
        (evil.token(&good), "its signature is wrong"),
        (unknown.token(&good), "its issuer has no key for it"),
        (
            other("aud", json!("https://other.example.com")),
            "it is for another audience",
        ),
        (other("exp", at(-61)), "it has expired"),
        (other("nbf", at(70)), "it is from the future"),
    ] {
        // As it is found out, and as it is remembered.
        for _ in 0..2 {
            let logged_in = exchange(seawall, "oidc", &token, "team/app").await;
            let pulled = with(seawall, &token, APP).await;
            let challenge = pulled.header("www-authenticate");
            assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
            for answer in [&logged_in, &pulled] {
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{why}");
                assert!(text_of(answer).contains(why), "{why}: {}", text_of(answer));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn clocks_may_differ_by_a_minute_and_no_more() {
    // S078
    let key = SigningKey::ec("one");
    let scene = Scene::new(&[&key]);
    let mut good = 0;
    for (name, seconds, is_good) in [
        ("exp", -50, true),
        ("nbf", 50, true),
        ("iat", 50, true),
        ("exp", -70, false),
    ] {
        let mut claims = scene.issuer.claims(300, &main_branch());
        claims[name] = json!(scene.issuer.at(seconds));
        let answer = with(scene.seawall(), &key.token(&claims), APP).await;
        assert_eq!(answer.is_good(), is_good, "{name} {seconds}");
        good += u32::from(is_good);
    }
    assert_eq!(good, 3);
    // For one that is over by our clock none is given: that would be over at once.
    let late = key.token(&scene.issuer.claims(-50, &main_branch()));
    let told = exchange(scene.seawall(), "oidc", &late, "team/app").await;
    assert_eq!(told.status, StatusCode::UNAUTHORIZED);
    assert!(text_of(&told).contains("it has expired"), "{}", text_of(&told));
    // An audience among several is one; a fraction of a second is a time.
    let mut claims = scene.issuer.claims(300, &main_branch());
    claims["aud"] = json!(["x", AUDIENCE]);
    claims["exp"] = json!(scene.issuer.at(300) as f64 + 0.5);
    assert!(with(scene.seawall(), &key.token(&claims), APP).await.is_good());
}

#[tokio::test(start_paused = true)]
async fn a_token_is_not_believed_beyond_its_end_nor_is_one_that_was_given_for_it() {
    let key = SigningKey::ec("one");
    let scene = Scene::new(&[&key]);
    let seawall = scene.seawall();
    let theirs = key.token(&scene.issuer.claims(200, &main_branch()));
    assert!(with(seawall, &theirs, APP).await.is_good());
    let told = json_of(&exchange(seawall, "oidc", &theirs, "team/app").await);
    let life = told["expires_in"].as_u64().unwrap();
    assert!((198..=200).contains(&life), "{life}");
    let ours = told["token"].as_str().unwrap().to_owned();
    // One of ours is no proof for another: it would never end.
    let path = "/v2/_auth/token?scope=repository:team/app:pull";
    assert_eq!(with(seawall, &ours, path).await.status, StatusCode::UNAUTHORIZED);
    tokio::time::advance(Duration::from_secs(190)).await;
    assert!(with(seawall, &ours, APP).await.is_good());
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(with(seawall, &ours, APP).await.status, StatusCode::UNAUTHORIZED);
    tokio::time::advance(Duration::from_secs(60)).await;
    let late = with(seawall, &theirs, APP).await;
    assert_eq!(late.status, StatusCode::UNAUTHORIZED);
    assert!(
        late.header("www-authenticate")
            .contains("error=\"invalid_token\"")
    );
}

#[tokio::test(start_paused = true)]
async fn what_an_issuer_s_word_opened_is_closed_when_the_configuration_no_longer_believes_it() {
    let key = SigningKey::ec("one");
    let mut scene = Scene::new(&[&key]);
    let theirs = scene.token(&key);
    let told = json_of(&exchange(scene.seawall(), "oidc", &theirs, "team/app").await);
    let ours = told["token"].as_str().unwrap().to_owned();
    for changed in [
        CI.replace("cache.example.com", "other.example.com"),
        CI.replace("insecure = true", "insecure = true\nalgorithms = [\"RS256\"]"),
        CI.replace("\"acme\"", "\"nobody\""),
    ] {
        let reload = scene.configured.change(&locked(&changed)).await;
        assert!(reload.applied, "{reload:?}");
        for token in [&theirs, &ours] {
            let answer = with(scene.seawall(), token, APP).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{changed}");
        }
        scene.configured.change(&locked(CI)).await;
        assert!(with(scene.seawall(), &theirs, APP).await.is_good());
    }
    // Nothing was fetched anew for it.
    assert_eq!(scene.issuer.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_looked_for_once_a_minute_and_a_new_one_is_found() {
    // S079
    let (old, new, evil) = (
        SigningKey::ec("old"),
        SigningKey::ec("new"),
        SigningKey::ec("evil"),
    );
    let scene = Scene::new(&[&old]);
    assert!(with(scene.seawall(), &scene.token(&old), APP).await.is_good());
    assert_eq!(scene.issuer.asked(), 1);
    for guess in 0..120_u8 {
        tokio::time::advance(Duration::from_secs(1)).await;
        let claims = scene.issuer.claims(300, &json!({ "guess": guess }));
        let from = [203, 0, 113, guess];
        let answer = with_from(scene.seawall(), from, &evil.token(&claims), APP).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(scene.issuer.asked(), 3, "at the start, and once in each minute");
    tokio::time::advance(Duration::from_secs(60)).await;
    scene.issuer.publish(&[&old, &new]);
    // Of many who come with it at once, one asks.
    let token = scene.token(&new);
    let pulls = (0..20_u8).map(|last| with_from(scene.seawall(), [192, 0, 2, last], &token, APP));
    for pull in futures(pulls).await {
        assert!(pull.is_good());
    }
    assert_eq!(scene.issuer.asked(), 4);
}

/// Waits for all of them together.
async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut pending: Vec<_> = all.map(|each| (Box::pin(each), None)).collect();
    std::future::poll_fn(|context| {
        let mut ready = true;
        for (each, done) in &mut pending {
            if done.is_none() {
                match each.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *done = Some(value),
                    std::task::Poll::Pending => ready = false,
                }
            }
        }
        match ready {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    pending.into_iter().filter_map(|(_, done)| done).collect()
}
