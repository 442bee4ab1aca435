//! Attempts to be believed without an issuer's word: forged tokens, and those that were meant for others.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use super::{CI, Scene, content, json_of, locked, main_branch, with, with_from};
use crate::access::{APP, STRANGER, ask, basic};
use crate::support::configured::Configured;
use crate::support::issuer::Issuer;
use crate::support::registry::{Registry, Script, Seen};
use crate::support::signing::{AUDIENCE, ISSUER, SigningKey, encode};
use crate::tokens::{FORM, post};

/// HMAC by these bytes, as a token that says it is signed so.
fn shared_secret(algorithm: &str, kid: &str, secret: &[u8], claims: &Value) -> String {
    let header = json!({ "typ": "JWT", "alg": algorithm, "kid": kid });
    let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", encode(tag))
}

/// A good token's claims with another header.
fn headed(key: &SigningKey, header: &Value, claims: &Value) -> String {
    let mut whole = key.header();
    for (name, value) in header.as_object().unwrap() {
        whole[name] = value.clone();
    }
    key.sign(&whole, claims)
}

/// Attempts to be believed with a signature that the issuer has not made, or has not made so.
fn forged(key: &SigningKey, good: &Value) -> Vec<(String, String)> {
    let own = SigningKey::rsa("one");
    let evil = "http://evil.test/keys";
    let right = key.token(good);
    let (signed, signature) = right.rsplit_once('.').unwrap();
    let none = |word: &str| {
        let header = json!({ "typ": "JWT", "alg": word });
        format!("{}.{}", encode(header.to_string()), encode(good.to_string()))
    };
    let jwk = key.jwk();
    let modulus = jwk["n"].as_str().unwrap().as_bytes();
    let mut attempts = vec![
        ("another key of the same name", own.token(good)),
        ("jwk", headed(&own, &json!({ "jwk": own.jwk() }), good)),
        ("jku", headed(&own, &json!({ "jku": evil }), good)),
        ("x5u", headed(&own, &json!({ "x5u": evil }), good)),
        ("jku on a right one", headed(key, &json!({ "jku": evil }), good)),
        ("kid is a URL", headed(&own, &json!({ "kid": evil }), good)),
        (
            "kid is a path",
            headed(&own, &json!({ "kid": "../../../../dev/null" }), good),
        ),
        (
            "kid is SQL",
            headed(&own, &json!({ "kid": "x' UNION SELECT 'key" }), good),
        ),
        ("kid is empty", headed(&own, &json!({ "kid": "" }), good)),
        (
            "crit",
            headed(key, &json!({ "crit": ["b64"], "b64": false }), good),
        ),
        ("zip", headed(key, &json!({ "zip": "DEF" }), good)),
        ("a logout", headed(key, &json!({ "typ": "logout+jwt" }), good)),
        (
            "an algorithm that is not allowed",
            headed(key, &json!({ "alg": "RS384" }), good),
        ),
        ("no signature", format!("{signed}.")),
        (
            "half a signature",
            format!("{signed}.{}", &signature[..signature.len() / 2]),
        ),
        ("no dot", signed.replace('.', "")),
        ("five parts", format!("{right}.{signature}.{signature}")),
        ("spaces", right.replace('.', " . ")),
    ];
    attempts.extend(["none", "None", "NONE", "nOnE"].map(|word| (word, none(word) + ".")));
    attempts.push(("none, signed", format!("{}.{signature}", none("none"))));
    for secret in [key.public().as_slice(), modulus, jwk.to_string().as_bytes(), b""] {
        attempts.push((
            "HS256 by what is public",
            shared_secret("HS256", "one", secret, good),
        ));
    }
    attempts.push((
        "HS256 by what is published as one",
        shared_secret("HS256", "shared", b"everybody knows", good),
    ));
    attempts.push((
        "RS256 by HMAC",
        shared_secret("RS256", "one", &key.public(), good),
    ));
    attempts
        .into_iter()
        .map(|(why, token)| (why.to_owned(), token))
        .collect()
}

/// Attempts to be believed with what the issuer has signed for others, or for another time.
fn misused(scene: &Scene, key: &SigningKey, good: &Value) -> Vec<(String, String)> {
    let at = |seconds| scene.issuer.at(seconds);
    let mut attempts = Vec::new();
    for (name, value) in [
        ("aud", json!("https://other.example.com")),
        ("aud", json!("https://cache.example.com.evil.test")),
        ("aud", json!("https://cache.example.com/")),
        ("aud", json!("HTTPS://CACHE.EXAMPLE.COM")),
        ("aud", json!("*")),
        ("aud", json!([])),
        ("aud", json!(["https://other.example.com", "x"])),
        ("aud", json!({ "a": AUDIENCE })),
        ("aud", json!(null)),
        ("iss", json!(format!("{ISSUER}/"))),
        ("iss", json!(format!("{ISSUER}.evil.test"))),
        ("iss", json!("http://issuer")),
        ("iss", json!("HTTP://ISSUER.TEST")),
        ("iss", json!([ISSUER])),
        ("iss", json!(null)),
        ("exp", json!(at(-61))),
        ("exp", json!(0)),
        ("exp", json!(-1)),
        ("exp", json!("4102444800")),
        ("exp", json!(null)),
        ("nbf", json!(at(70))),
        ("nbf", json!(1e300)),
        ("nbf", json!("soon")),
        ("iat", json!(at(70))),
    ] {
        let mut claims = good.clone();
        claims[name] = value.clone();
        attempts.push((format!("{name} = {value}"), key.token(&claims)));
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
            attempts.push((format!("{name} is missing"), key.token(&claims)));
        }
    }
    attempts.push(("no claims".to_owned(), key.token(&json!([]))));
    attempts.push((
        "one of 100 KiB".to_owned(),
        key.token(&json!({ "x": "a".repeat(100_000) })),
    ));
    attempts
}

#[tokio::test(start_paused = true)]
async fn forged_and_misused_tokens_open_nothing_and_lead_nowhere() {
    // S077, S078, S080
    let (key, encrypts) = (SigningKey::rsa("one"), SigningKey::ec("encrypts"));
    let scene = Scene::new(&[&key]);
    let evil = Registry::default();
    scene.registry.beside("evil.test", &evil);
    let mut for_others = encrypts.jwk();
    for_others["use"] = json!("enc");
    let secret = json!({ "kty": "oct", "kid": "shared", "k": encode("everybody knows"), "alg": "HS256" });
    let keys = json!({ "keys": [{ "kty": "XYZ" }, 7, secret, for_others, key.jwk()] });
    scene
        .issuer
        .host
        .put("/keys".to_owned(), "application/json", keys.to_string().into());

    let good = scene.issuer.claims(300, &main_branch());
    let mut attempts = forged(&key, &good);
    attempts.push(("a key for something else".to_owned(), encrypts.token(&good)));
    attempts.extend(misused(&scene, &key, &good));
    attempts.push(("dots".to_owned(), ".".repeat(4000)));
    attempts.push(("nothing".to_owned(), "..".to_owned()));
    assert!(attempts.len() > 50);
    for (place, (why, token)) in attempts.iter().enumerate() {
        // Each from an address of its own: none is refused for those before it.
        let from = [203, 0, 113, u8::try_from(place).unwrap()];
        for path in [APP, "/v2/"] {
            let answer = with_from(scene.seawall(), from, token, path).await;
            // What is longer than a head may be is not even read.
            let refused = [401, 431].contains(&answer.status.as_u16());
            assert!(refused, "{why}: {}", answer.status);
        }
        let said = basic("oidc", token);
        let answer = ask(scene.seawall(), from, APP, &[("authorization", &said)]).await;
        assert!(answer.status.is_client_error(), "{why}: {}", answer.status);
    }
    assert!(with(scene.seawall(), &key.token(&good), APP).await.is_good());
    assert!(evil.journal().is_empty(), "{:?}", evil.journal());
    let paths = |seen: &Seen| seen.path.clone();
    let mut asked: Vec<String> = scene.issuer.host.journal().iter().map(paths).collect();
    asked.dedup();
    assert_eq!(asked, ["/.well-known/openid-configuration", "/keys"]);
}

#[tokio::test(start_paused = true)]
async fn the_token_of_an_issuer_is_a_password_and_takes_the_place_of_none() {
    // S078: it would be good for as long as one of ours, which is much longer than its issuer's word.
    let key = SigningKey::rsa("one");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    std::fs::write(&file, "k".repeat(32)).unwrap();
    let text = locked(&format!("token_key = {{ file = '{}' }}\n{CI}", file.display()));
    let scene = Scene::with(&[&key], &text);
    let token = scene.token(&key);
    let password = format!("grant_type=password&username=oidc&password={token}&access_type=offline");
    let answer = post(scene.seawall(), &password, &[FORM]).await;
    assert_eq!(answer.status, StatusCode::OK);
    let told = json_of(&answer);
    assert!(
        told["expires_in"].as_u64().is_some_and(|seconds| seconds <= 300),
        "{told}"
    );
    assert!(told.get("refresh_token").is_none(), "{told}");
    let given = told["token"].as_str().unwrap();
    for lasting in [token.as_str(), given] {
        let form = format!("grant_type=refresh_token&refresh_token={lasting}&access_type=offline");
        let answer = post(scene.seawall(), &form, &[FORM]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{lasting}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_taken_from_the_issuer_itself_or_not_at_all() {
    // S079
    let (key, evil) = (SigningKey::ec("one"), SigningKey::ec("one"));
    let told = |issuer: &str, at: &str| json!({ "issuer": issuer, "jwks_uri": at }).to_string();
    let large = json!({ "keys": [evil.jwk()], "x": "x".repeat(300_000) }).to_string();
    for (discovery, keys, why) in [
        (told(ISSUER, "http://evil.test/keys"), None, "on another host"),
        (
            told(ISSUER, "http://issuer.test:81/keys"),
            None,
            "on another host",
        ),
        (
            told(ISSUER, "ftp://issuer.test/keys"),
            None,
            "neither http nor https",
        ),
        (
            told("http://evil.test", "http://issuer.test/keys"),
            None,
            "of another issuer",
        ),
        (
            told(&format!("{ISSUER}/"), "http://issuer.test/keys"),
            None,
            "of another issuer",
        ),
        ("<html>".to_owned(), None, "does not say where"),
        (
            told(ISSUER, "http://issuer.test/keys"),
            Some("{}".to_owned()),
            "no set of keys",
        ),
        (
            told(ISSUER, "http://issuer.test/keys"),
            Some("{\"keys\":[]}".to_owned()),
            "no public key",
        ),
        (
            told(ISSUER, "http://issuer.test/keys"),
            Some(large),
            "longer than",
        ),
        (told(ISSUER, "http://issuer.test/moved"), None, "answers 302"),
    ] {
        let registry = Registry::default();
        content(&registry);
        let (issuer, other) = (Issuer::beside(&registry, &[&evil]), Registry::default());
        registry.beside("evil.test", &other);
        let json = "application/json";
        issuer.host.put(
            "/.well-known/openid-configuration".to_owned(),
            json,
            discovery.into(),
        );
        if let Some(keys) = keys {
            issuer.host.put("/keys".to_owned(), json, keys.into());
        }
        let moved = Script {
            status: Some(StatusCode::FOUND),
            headers: vec![("location", "http://evil.test/keys".to_owned())],
            ..Default::default()
        };
        issuer.host.script("/moved", moved);
        let configured = Configured::start(&registry.dialer(), &locked(CI));
        let scene = Scene {
            registry,
            issuer,
            configured,
        };
        let answer = with(scene.seawall(), &scene.token(&evil), APP).await;
        // It may be good: whoever has it comes again.
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{why}");
        assert!(answer.header("retry-after").parse::<u64>().is_ok());
        let status = scene.status().await;
        let told = status["error"].as_str().unwrap_or_default();
        assert!(told.contains(why), "{why}: {status}");
        assert_eq!((&status["usable"], &status["keys"]), (&json!(false), &json!(0)));
        assert!(other.journal().is_empty(), "{why}");
        // As soon as it is right, it is believed.
        let right = told_right();
        scene
            .issuer
            .host
            .put("/.well-known/openid-configuration".to_owned(), json, right.into());
        scene.issuer.publish(&[&key]);
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert!(
            with(scene.seawall(), &scene.token(&key), APP).await.is_good(),
            "{why}"
        );
        assert_eq!(scene.status().await["error"], Value::Null);
    }
}

fn told_right() -> String {
    json!({ "issuer": ISSUER, "jwks_uri": format!("{ISSUER}/keys") }).to_string()
}

#[tokio::test(start_paused = true)]
async fn no_header_but_one_carries_a_token_and_no_proxy_says_whose_it_is() {
    // S010, S082
    let key = SigningKey::ec("one");
    let scene = Scene::new(&[&key]);
    let token = scene.token(&key);
    let said = format!("Bearer {token}");
    for (name, value) in [
        ("x-forwarded-authorization", said.as_str()),
        ("proxy-authorization", &said),
        ("x-authorization", &said),
        ("x-id-token", &token),
        ("x-amzn-oidc-data", &token),
        ("x-goog-iap-jwt-assertion", &token),
        ("cf-access-jwt-assertion", &token),
        ("x-forwarded-access-token", &token),
        ("x-auth-request-user", "acme"),
        ("cookie", &said),
    ] {
        let answer = ask(scene.seawall(), STRANGER, APP, &[(name, value)]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{name}");
    }
    let two = [("authorization", said.as_str()), ("authorization", said.as_str())];
    let answer = ask(scene.seawall(), STRANGER, APP, &two).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let by_query = format!("{APP}?access_token={token}");
    let answer = ask(scene.seawall(), STRANGER, &by_query, &[]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn whoever_keeps_guessing_tokens_is_told_when_to_come_back_and_an_old_one_is_no_guess() {
    let (key, evil) = (SigningKey::ec("one"), SigningKey::ec("one"));
    let scene = Scene::new(&[&key]);
    let old = |second: i64| key.token(&scene.issuer.claims(-70 - second, &main_branch()));
    for second in 0..20 {
        let answer = with(scene.seawall(), &old(second), APP).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    for guess in 0..10 {
        let token = evil.token(&scene.issuer.claims(300, &json!({ "guess": guess })));
        let answer = with(scene.seawall(), &token, APP).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{guess}");
    }
    let late = with(scene.seawall(), &scene.token(&key), APP).await;
    assert_eq!(late.status, StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = late.header("retry-after").parse().unwrap();
    tokio::time::sleep(Duration::from_secs(wait)).await;
    assert!(with(scene.seawall(), &scene.token(&key), APP).await.is_good());
}
