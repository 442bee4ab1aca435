//! Sets of keys: whatever an issuer publishes, reading it ends, no more is kept than is bounded, and nothing that it
//! publishes makes a token of nobody's good.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seawall::policy::issuers::{KeySet, Token};

/// `{"alg":"RS256"}`, the claims a token has to have, and a signature of three zeros.
const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJhIiwiYXVkIjoiYiIsImV4cCI6NDEwMjQ0NDgwMH0.AAAA";

fuzz_target!(|json: &[u8]| {
    let Ok(keys) = KeySet::parse(json) else { return };
    assert!(!keys.is_empty() && keys.len() <= 64);
    let token = Token::parse(TOKEN).expect("the token above is one");
    assert!(keys.verify(&token).is_err());
});
