//! Tokens and keys without a server around them, and without signatures: those are met in `tests/it/federation`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NOW: Time = Time::from_millis(1_800_000_000_000);

fn issuer() -> Issuer {
    Issuer {
        name: "ci".to_owned(),
        url: "https://issuer.test".to_owned(),
        audiences: vec!["cache".to_owned()],
        algorithms: vec![Algorithm::ES256],
        claims: vec!["sub".to_owned(), "kubernetes.io/namespace".to_owned()],
    }
}

fn written(header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.AAAA", encode(header), encode(claims))
}

fn seconds(from_now: i64) -> i64 {
    i64::try_from(NOW.as_millis() / 1000).unwrap() + from_now
}

fn claims() -> Value {
    json!({ "iss": "https://issuer.test", "aud": "cache", "exp": seconds(300), "sub": "x" })
}

fn judged(header: &Value, claims: &Value) -> Result<Time, Refused> {
    let text = written(header, claims);
    let token = Token::parse(&text).ok_or(Refused::Malformed)?;
    issuer().judge(&token, NOW)
}

#[test]
fn a_token_is_held_against_what_the_operator_wrote_and_nothing_else() {
    // S077, S078
    let header = |more: Value| {
        let mut header = json!({ "alg": "ES256", "kid": "one" });
        for (name, value) in more.as_object().unwrap() {
            header[name] = value.clone();
        }
        header
    };
    let plain = header(json!({}));
    let end = Time::from_millis(u64::try_from(seconds(300)).unwrap() * 1000);
    assert_eq!(judged(&plain, &claims()), Ok(end));
    for kind in ["JWT", "jwt", "at+jwt", "application/at+jwt"] {
        assert_eq!(
            judged(&header(json!({ "typ": kind })), &claims()),
            Ok(end),
            "{kind}"
        );
    }
    for (more, why) in [
        (json!({ "alg": "ES384" }), Refused::Algorithm),
        (json!({ "alg": "RS256" }), Refused::Algorithm),
        (json!({ "alg": "HS256" }), Refused::Algorithm),
        (json!({ "alg": "none" }), Refused::Malformed),
        (json!({ "alg": null }), Refused::Malformed),
        (json!({ "typ": "logout+jwt" }), Refused::Algorithm),
        (json!({ "crit": ["exp"] }), Refused::Algorithm),
        (json!({ "jku": "https://evil.test" }), Refused::Algorithm),
        (json!({ "x5u": "https://evil.test" }), Refused::Algorithm),
    ] {
        assert_eq!(judged(&header(more.clone()), &claims()), Err(why), "{more}");
    }
    for (name, value, why) in [
        ("iss", json!("https://issuer.test/"), Refused::Issuer),
        ("iss", json!("https://issuer.test.evil"), Refused::Issuer),
        ("aud", json!("Cache"), Refused::Audience),
        ("aud", json!([]), Refused::Audience),
        ("aud", json!({}), Refused::Malformed),
        ("exp", json!(seconds(-60)), Refused::Expired),
        ("exp", json!("4102444800"), Refused::Malformed),
        ("exp", json!(null), Refused::Malformed),
        ("nbf", json!(seconds(61)), Refused::Future),
        ("iat", json!(seconds(61)), Refused::Future),
        ("nbf", json!(-1), Refused::Malformed),
    ] {
        let mut claims = claims();
        claims[name] = value.clone();
        assert_eq!(judged(&plain, &claims), Err(why), "{name} = {value}");
    }
    // Said twice: two readers could believe two of them.
    let twice = format!("{{\"aud\":\"cache\",{}", &claims().to_string()[1..]);
    let header = URL_SAFE_NO_PAD.encode(plain.to_string());
    assert!(Token::parse(&format!("{header}.{}.AAAA", URL_SAFE_NO_PAD.encode(twice))).is_none());
}

#[test]
fn a_claim_is_met_by_a_whole_value_and_found_by_its_name_or_its_path() {
    let said = json!({
        "sub": "system:serviceaccount:ci:runner",
        "kubernetes.io": { "namespace": "ci", "serviceaccount": { "name": "runner" } },
        "https://x.test/groups": ["a", "dev"],
        "protected": true,
        "id": 42,
        "a": { "b/c": "deep" },
    });
    let said = said.as_object().unwrap();
    let holds = |name: &str, expression: &str| {
        let claim = Claim::new(name, expression).unwrap();
        claim.holds(&Claims::of(said, &[name.to_owned()]))
    };
    for (name, expression, is_met) in [
        ("sub", "system:serviceaccount:ci:.*", true),
        ("sub", "system:serviceaccount:ci", false),
        ("sub", "serviceaccount:ci:runner", false),
        ("sub", "^system:serviceaccount:ci:runner$", true),
        ("sub", "x|system:serviceaccount:ci:runner", true),
        ("kubernetes.io/namespace", "ci", true),
        ("kubernetes.io/serviceaccount/name", "runner", true),
        ("kubernetes.io/serviceaccount", ".*", false),
        ("kubernetes.io", ".*", false),
        ("https://x.test/groups", "dev", true),
        ("https://x.test/groups", "de", false),
        ("protected", "true", true),
        ("id", "42", true),
        ("a/b/c", "deep", true),
        ("missing", ".*", false),
        ("", ".*", false),
    ] {
        assert_eq!(holds(name, expression), is_met, "{name} = {expression}");
    }
    // What would reach out of the brackets is no expression by itself.
    assert!(Claim::new("sub", "a)|(.*").is_err());
    // What no rule asks for is not kept.
    let text = written(&json!({ "alg": "ES256" }), &claims());
    let bearer = issuer().bearer(&Token::parse(&text).unwrap(), NOW);
    let kept = serde_json::to_value(&bearer.claims).unwrap();
    assert_eq!(kept, json!([["sub", ["x"]]]));
}

#[test]
fn keys_are_fetched_at_half_of_their_life_and_kept_through_a_night() {
    let minutes = |count: u64| Duration::from_secs(count * 60);
    let mut refresh = Refresh::default();
    assert!(refresh.due() <= NOW && !refresh.is_usable(NOW) && refresh.may_look(NOW));
    refresh.read(Some(minutes(20)), NOW);
    assert_eq!(refresh.due(), NOW + minutes(10));
    assert!(!refresh.may_look(NOW + Duration::from_secs(59)) && refresh.may_look(NOW + minutes(1)));
    // Each failure doubles the pause, and none is longer than five minutes.
    let mut now = refresh.due();
    let mut pauses = Vec::new();
    for _ in 0..9 {
        refresh.failed(now);
        pauses.push(refresh.due().since(now).as_secs());
        now = refresh.due();
    }
    assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
    let night = Duration::from_secs(24 * 3600);
    assert!(refresh.is_usable(NOW + minutes(24 * 60 - 1)) && !refresh.is_usable(NOW + night));
    refresh.read(None, now);
    assert_eq!(refresh.due(), now + minutes(30));
    // Whatever an issuer says of how long they are good.
    for (said, due) in [(0, 150), (u64::MAX, 12 * 3600)] {
        refresh.read(Some(Duration::from_secs(said)), now);
        assert_eq!(refresh.due(), now + Duration::from_secs(due));
    }
}

#[test]
fn of_a_set_the_keys_are_taken_that_verify_and_no_more_than_a_few() {
    // S077, S079
    let coordinate = URL_SAFE_NO_PAD.encode([1_u8; 32]);
    let key = |more: Value| {
        let mut key = json!({ "kty": "EC", "crv": "P-256", "x": coordinate, "y": coordinate });
        for (name, value) in more.as_object().unwrap() {
            key[name] = value.clone();
        }
        key
    };
    let taken = |keys: Vec<Value>| {
        let set = json!({ "keys": keys }).to_string();
        KeySet::parse(set.as_bytes()).map_or(0, |keys| keys.len())
    };
    for (written, is_taken) in [
        (key(json!({})), true),
        (
            key(json!({ "use": "sig", "key_ops": ["verify"], "alg": "ES256" })),
            true,
        ),
        (key(json!({ "use": "enc" })), false),
        (key(json!({ "key_ops": ["sign"] })), false),
        (key(json!({ "alg": "RS256" })), false),
        (key(json!({ "alg": "HS256" })), false),
        (key(json!({ "crv": "secp256k1" })), false),
        (json!({ "kty": "oct", "k": "AAAA" }), false),
        (json!({ "kty": "oct", "k": "AAAA", "alg": "RS256" }), false),
        (json!({ "kty": "RSA", "n": "!", "e": "AQAB" }), false),
        (json!(7), false),
    ] {
        assert_eq!(taken(vec![written.clone()]), usize::from(is_taken), "{written}");
        assert_eq!(taken(vec![written, key(json!({}))]), 1 + usize::from(is_taken));
    }
    assert_eq!(taken(vec![key(json!({})); 1000]), 64);
    for text in ["", "[]", "{}", "{\"keys\":{}}", "{\"keys\":[]}", "null"] {
        assert!(KeySet::parse(text.as_bytes()).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn whatever_is_read_ends_and_what_is_no_token_is_none(noise in "\\PC{0,200}", parts in "[A-Za-z0-9_.-]{0,200}") {
        let _ = KeySet::parse(noise.as_bytes());
        prop_assert!(Token::parse(&parts).is_none());
        let _ = Token::parse(&noise);
        let _ = Claim::new("x", &noise);
    }

    /// Within the leeway and not beyond it, wherever the edges are.
    #[test]
    fn a_token_is_good_between_its_beginning_and_its_end(begin in -200_i64..200, end in -200_i64..200) {
        let mut claims = claims();
        (claims["nbf"], claims["exp"]) = (json!(seconds(begin)), json!(seconds(end)));
        let expected = match () {
            () if end <= -60 => Err(Refused::Expired),
            () if begin > 60 => Err(Refused::Future),
            () => Ok(Time::from_millis(u64::try_from(seconds(end)).unwrap() * 1000)),
        };
        prop_assert_eq!(judged(&json!({ "alg": "ES256" }), &claims), expected);
    }
}
