//! `WWW-Authenticate` headers: whatever a registry sends, reading it ends and prints.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seawall::upstream::challenge;

fuzz_target!(|header: &str| {
    let challenges = challenge::parse(header);
    // A challenge takes at least one byte to write.
    assert!(challenges.len() <= header.len());
    let _ = format!("{challenges:?}");
});
