//! Tokens of other issuers: of all texts, one is believed if and only if its issuer has signed that very text, and it is
//! for this cache, good now and plain; and of what it says no more is kept than was asked for.
//!
//! The input is read in two ways. As a change of a good token, no byte of which may be another. And as a choice among
//! headers, claims and signatures, each of which is known to be good or not: what is believed has to be what all of
//! these together say.
#![no_main]

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use seawall::clock::Time;
use seawall::policy::issuers::{ALGORITHMS, Bearer, Issuer, KeySet, Token};

/// In seconds since the Unix epoch.
const NOW: u64 = 1_800_000_000;

/// What a part of a token may be, as it is written in JSON, and whether it is good. The first is nothing special.
type Choices = &'static [(&'static str, bool)];

const HEADERS: [Choices; 3] = [
    &[
        (r#""alg":"EdDSA""#, true),
        (r#""alg":"RS256""#, false),
        (r#""alg":"ES256""#, false),
        (r#""alg":"HS256""#, false),
        (r#""alg":"none""#, false),
        (r#""alg":"EdDSA","alg":"HS256""#, false),
        (r#""typ":"JWT""#, false),
    ],
    &[
        ("", true),
        (r#","kid":"a""#, true),
        (r#","kid":"b""#, false),
        (r#","kid":"../../dev/null""#, false),
        (r#","kid":5"#, false),
    ],
    &[
        ("", true),
        (r#","typ":"JWT""#, true),
        (r#","typ":"application/at+jwt""#, true),
        (r#","x5c":["AAAA"]"#, true),
        (r#","typ":"secevent+jwt""#, false),
        (r#","crit":["b64"],"b64":false"#, false),
        (r#","jku":"https://evil.test/keys""#, false),
        (r#","x5u":"https://evil.test/key""#, false),
        (
            r#","jwk":{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
            false,
        ),
        (r#","zip":"DEF""#, false),
    ],
];

const CLAIMS: [Choices; 5] = [
    &[
        (r#""iss":"https://issuer.test""#, true),
        (r#""iss":"https://issuer.test/""#, false),
        (r#""iss":"https://evil.test""#, false),
        (r#""iss":"https://evil.test","iss":"https://issuer.test""#, false),
        (r#""iss":["https://issuer.test"]"#, false),
        (r#""jti":"1""#, false),
    ],
    &[
        (r#","aud":"cache""#, true),
        (r#","aud":["other","cache"]"#, true),
        (r#","aud":["other"]"#, false),
        (r#","aud":"cache2""#, false),
        (r#","aud":[]"#, false),
        (r#","aud":{"cache":1}"#, false),
        ("", false),
    ],
    &[
        (r#","exp":1800000300"#, true),
        (r#","exp":1799999940.5"#, true),
        (r#","exp":1e300"#, true),
        (r#","exp":1799999940"#, false),
        (r#","exp":1"#, false),
        (r#","exp":-1"#, false),
        (r#","exp":1e400"#, false),
        (r#","exp":"1800000300""#, false),
        (r#","exp":1800000300,"exp":1"#, false),
        ("", false),
    ],
    &[
        ("", true),
        (r#","nbf":1800000060"#, true),
        (r#","nbf":1800000061"#, false),
        (r#","nbf":1e300"#, false),
        (r#","nbf":"0""#, false),
    ],
    &[
        ("", true),
        (r#","iat":1800000060"#, true),
        (r#","iat":1800000060.5"#, false),
        (r#","iat":true"#, false),
    ],
];

/// What it says of somebody, and what is kept of that, as it is written down.
const SUBJECTS: [(&str, &str); 4] = [
    ("", "[]"),
    (r#","sub":"one","email":"hidden""#, r#"[["sub",["one"]]]"#),
    (
        r#","sub":["one",2,null,{"hidden":1}],"kubernetes.io":{"namespace":"prod","pod":"hidden"}"#,
        r#"[["sub",["one","2"]],["kubernetes.io/namespace",["prod"]]]"#,
    ),
    (
        r#","kubernetes.io/namespace":"prod""#,
        r#"[["kubernetes.io/namespace",["prod"]]]"#,
    ),
];

struct World {
    issuer: Issuer,
    keys: KeySet,
    pair: Ed25519KeyPair,
    stranger: Ed25519KeyPair,
    good: String,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let key = |seed| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("any seed is one");
    let (pair, stranger) = (key(1), key(2));
    let public = URL_SAFE_NO_PAD.encode(pair.public_key());
    let json = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"a","x":"{public}"}}]}}"#);
    let said = written(
        r#"{"alg":"EdDSA"}"#,
        r#"{"iss":"https://issuer.test","aud":"cache","exp":1800000300,"sub":"one"}"#,
    );
    World {
        issuer: Issuer {
            name: "ci".to_owned(),
            url: "https://issuer.test".to_owned(),
            audiences: vec!["cache".to_owned()],
            algorithms: ALGORITHMS.map(|(_, algorithm)| algorithm).to_vec(),
            claims: vec!["sub".to_owned(), "kubernetes.io/namespace".to_owned()],
        },
        keys: KeySet::parse(json.as_bytes()).expect("it is a set of one key"),
        good: format!("{said}.{}", URL_SAFE_NO_PAD.encode(pair.sign(said.as_bytes()))),
        pair,
        stranger,
    }
});

fn written(header: &str, claims: &str) -> String {
    let [header, claims] = [header, claims].map(|json| URL_SAFE_NO_PAD.encode(json));
    format!("{header}.{claims}")
}

/// Whom a text is believed to be from.
fn believed(text: &str) -> Option<Bearer> {
    let World { issuer, keys, .. } = &*WORLD;
    let token = Token::parse(text)?;
    assert!(text.len() <= 16 * 1024 && text.split('.').count() == 3);
    assert!(
        KeySet::default().verify(&token).is_err(),
        "nobody's key verified a signature"
    );
    let until = issuer.judge(&token, Time::from_millis(NOW * 1000)).ok()?;
    keys.verify(&token).ok()?;
    Some(issuer.bearer(&token, until))
}

/// The good token, a part of which is something else.
fn changed(input: &[u8]) -> String {
    let good = WORLD.good.as_str();
    let [first, second, removed, new @ ..] = input else {
        return String::from_utf8_lossy(input).into_owned();
    };
    let from = usize::from(u16::from_le_bytes([*first, *second])) % (good.len() + 1);
    let to = (from + usize::from(*removed)).min(good.len());
    format!("{}{}{}", &good[..from], String::from_utf8_lossy(new), &good[to..])
}

fn signature(kind: u8, said: &str) -> (String, bool) {
    let World { pair, stranger, .. } = &*WORLD;
    let right = URL_SAFE_NO_PAD.encode(pair.sign(said.as_bytes()));
    match kind % 6 {
        0 => (right, true),
        1 => (URL_SAFE_NO_PAD.encode(stranger.sign(said.as_bytes())), false),
        2 => (right[..right.len() - 2].to_owned(), false),
        3 => (format!("{right}="), false),
        // What everybody may read, as if it were a secret.
        4 => {
            let public = hmac::Key::new(hmac::HMAC_SHA256, pair.public_key().as_ref());
            (
                URL_SAFE_NO_PAD.encode(hmac::sign(&public, said.as_bytes())),
                false,
            )
        }
        _ => (
            URL_SAFE_NO_PAD.encode(pair.sign(format!("{said}.").as_bytes())),
            false,
        ),
    }
}

fn judge_choice(input: &[u8]) {
    let mut bytes = input.iter().copied().chain(std::iter::repeat(0));
    let mut all_good = true;
    let mut choose = |parts: &[Choices]| -> String {
        let chosen = parts.iter().map(|choices| {
            let (text, good) = choices[usize::from(bytes.next().unwrap_or(0)) % choices.len()];
            all_good &= good;
            text
        });
        chosen.collect()
    };
    let (header, claims) = (choose(&HEADERS), choose(&CLAIMS));
    let (subject, kept) = SUBJECTS[usize::from(bytes.next().unwrap_or(0)) % SUBJECTS.len()];
    let said = written(&format!("{{{header}}}"), &format!("{{{claims}{subject}}}"));
    let (signature, is_signed) = signature(bytes.next().unwrap_or(0), &said);
    let bearer = believed(&format!("{said}.{signature}"));
    let about = format!("{{{header}}}.{{{claims}{subject}}}");
    assert_eq!(bearer.is_some(), all_good && is_signed, "{about}");
    let Some(bearer) = bearer else { return };
    let json = serde_json::to_string(&bearer).expect("names and texts always serialise");
    assert_eq!(json, format!(r#"{{"issuer":"ci","claims":{kept}}}"#), "{about}");
    let ends = claims.contains("1800000300").then_some((NOW + 300) * 1000);
    assert!(
        ends.is_none_or(|ends| bearer.until.as_millis() == ends),
        "{about}"
    );
    let read: Bearer = serde_json::from_str(&json).expect("what was written is read");
    assert_eq!((&read.issuer, &read.claims), (&bearer.issuer, &bearer.claims));
    assert_eq!(read.until.as_millis(), 0, "what is written down ends by itself");
}

fuzz_target!(|input: &[u8]| {
    let text = changed(input);
    assert_eq!(believed(&text).is_some(), text == WORLD.good, "{text}");
    let _ = believed(&String::from_utf8_lossy(input));
    judge_choice(input);
});
