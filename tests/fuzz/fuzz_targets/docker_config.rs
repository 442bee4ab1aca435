//! `config.json` files: whatever is mounted, reading it ends, gives no two entries for one path, and no helper
//! that could be a path.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seawall::policy::identity::docker::{Found, is_helper, read};

fuzz_target!(|text: &str| {
    for registry in ["docker.io", "quay.io", "localhost:5000"] {
        let Ok(entries) = read(text, &registry.parse().unwrap()) else {
            continue;
        };
        for pair in entries.windows(2) {
            assert!(pair[0].prefix < pair[1].prefix);
        }
        for entry in &entries {
            match &entry.found {
                Found::Login { username, password } => {
                    assert!(!username.is_empty() && !username.contains(':') && !password.is_empty());
                }
                Found::Helper(name) => assert!(is_helper(name)),
            }
        }
    }
});
