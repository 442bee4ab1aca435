//! Tokens of other issuers: whatever a client sends, reading it ends, and it is believed only as the operator wrote.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seawall::clock::Time;
use seawall::policy::issuers::{ALGORITHMS, Issuer, KeySet, Token};

fuzz_target!(|text: &str| {
    let Some(token) = Token::parse(text) else { return };
    assert!(text.len() <= 16 * 1024 && text.split('.').count() == 3);
    let issuer = Issuer {
        name: "ci".to_owned(),
        url: "https://issuer.test".to_owned(),
        audiences: vec!["cache".to_owned()],
        algorithms: ALGORITHMS.map(|(_, algorithm)| algorithm).to_vec(),
        claims: vec!["sub".to_owned(), "kubernetes.io/namespace".to_owned()],
    };
    let now = Time::from_millis(1_800_000_000_000);
    if issuer.judge(&token, now).is_ok() {
        assert_eq!(token.issuer, issuer.url);
        assert!(token.audiences.contains(&issuer.audiences[0]));
        assert!(ALGORITHMS.iter().any(|(_, algorithm)| *algorithm == token.algorithm()));
    }
    assert!(KeySet::default().verify(&token).is_err());
});
