//! `htpasswd` files: whatever is mounted, reading it ends, every user is there once, and no complaint has a hash in it.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use seawall::config::htpasswd::parse;

fuzz_target!(|text: &str| match parse(text) {
    Ok(users) => {
        let names: HashSet<&str> = users.iter().map(|user| user.name.as_str()).collect();
        assert!(!users.is_empty() && names.len() == users.len());
        for user in &users {
            assert!(!user.name.is_empty() && !user.name.contains(char::is_control));
            assert!(text.contains(&*user.hash) && user.hash.starts_with("$2"));
        }
    }
    Err(why) => {
        assert!(why.lines().count() == 1);
        // The name of a user is told, and what stands behind it never; words of ours, which may stand there, are no hash.
        for (name, hash) in text.lines().filter_map(|line| line.trim().split_once(':')) {
            let is_telling = hash.starts_with('$') && hash.len() > 40 && !name.contains(hash);
            assert!(!is_telling || !why.contains(hash));
        }
    }
});
