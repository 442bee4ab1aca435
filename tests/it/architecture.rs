//! The picture of the layers in `src/lib.rs` is true.
//!
//! The picture is read from the documentation, the imports from the tokens of every source file. What is
//! checked is in [`picture`], how paths are found in [`paths`]; here violations are planted to prove that
//! each would be seen.

mod paths;
mod picture;

use std::fs;
use std::path::{Path, PathBuf};

use picture::check;

/// One source file: its path below the root of the crate, and its text.
type Source = (String, String);

#[test]
fn imports_go_down_the_picture_and_the_core_is_pure() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let problems = check(&sources(root));
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// Every source file below `root/src`, in the order of their names.
pub(crate) fn sources(root: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// A small house that is in order: `(path, source)`.
const ORDERLY: [(&str, &str); 6] = [
    (
        "src/lib.rs",
        "//! ```text\n//! cache\n//! store | net\n//! policy\n//! oci | clock\n//! ```\npub mod cache;\npub mod store;\npub mod net;\npub mod policy;\npub mod oci;\npub mod clock;\n",
    ),
    (
        "src/cache/mod.rs",
        "use crate::{store, policy::Rule};\nuse super::net::url::Url;\n",
    ),
    (
        "src/store/disk/mod.rs",
        "use super::super::oci::Digest;\npub(crate) fn f() -> crate::oci::Digest { crate::clock::now() }\n",
    ),
    (
        "src/net.rs",
        "//! Says `crate::cache` in a comment and \"crate::cache\" in a text.\n",
    ),
    (
        "src/policy/mod.rs",
        "use crate::clock::Time;\nuse std::{net::IpAddr, sync::Arc, time::Duration};\n",
    ),
    (
        "src/oci/mod.rs",
        "use self::digest::Digest;\nmod tests { use super::Digest; }\n",
    ),
];

/// The problems of the orderly house after `source` took the place of `path`, or was added.
fn problems_with(path: &str, source: &str) -> Vec<String> {
    let kept = ORDERLY.iter().filter(|(name, _)| *name != path);
    let mut sources: Vec<Source> = kept
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    sources.push((path.to_owned(), source.to_owned()));
    // `clock` has a file only here, so that a test can take the picture's word away from it.
    sources.push(("src/clock.rs".to_owned(), String::new()));
    check(&sources)
}

#[test]
fn an_orderly_house_has_no_problems() {
    assert_eq!(problems_with(ORDERLY[3].0, ORDERLY[3].1), Vec::<String>::new());
}

#[test]
fn an_import_that_goes_up_or_sideways_is_seen() {
    for (path, source, expected) in [
        (
            "src/store.rs",
            "\nuse crate::cache::Body;",
            "src/store.rs:2: `store` uses `cache`: upwards",
        ),
        (
            "src/store.rs",
            "use crate::net;",
            "src/store.rs:1: `store` uses `net`: sideways",
        ),
        (
            "src/store/a.rs",
            "use crate::{oci, net::url};",
            "src/store/a.rs:1: `store` uses `net`: sideways",
        ),
        (
            "src/store/a.rs",
            "use {std::fmt, crate::oci::{A, B}, super::super::net};",
            "src/store/a.rs:1: `store` uses `net`: sideways",
        ),
        (
            "src/store/a/b.rs",
            "fn f() { super::super::super::cache::go() }",
            "src/store/a/b.rs:1: `store` uses `cache`: upwards",
        ),
        (
            "src/store/a.rs",
            "mod tests { use super::super::super::cache; }",
            "src/store/a.rs:1: `store` uses `cache`: upwards",
        ),
        (
            "src/store.rs",
            "#[cfg(test)]\nmod tests {\n    use crate::cache;\n}",
            "src/store.rs:3: `store` uses `cache`: upwards",
        ),
        (
            "src/store.rs",
            "fn f() { assert!(x, \"\", crate::cache::Body::new()) }",
            "src/store.rs:1: `store` uses `cache`: upwards",
        ),
        (
            "src/store.rs",
            "fn f(x: Vec<crate::cache::Body>) {}",
            "src/store.rs:1: `store` uses `cache`: upwards",
        ),
        (
            "src/store.rs",
            "use crate::*;",
            "src/store.rs:1: `store` uses `the whole crate`, which the picture does not show",
        ),
        (
            "src/store.rs",
            "use crate::{self as all};",
            "src/store.rs:1: `store` uses `the whole crate`, which the picture does not show",
        ),
        (
            "src/store.rs",
            "use crate as all;",
            "src/store.rs:1: `store` uses `the whole crate`, which the picture does not show",
        ),
        (
            "src/store.rs",
            "use self::super::cache;",
            "src/store.rs:1: `store` uses `cache`: upwards",
        ),
        (
            "src/store.rs",
            "use super::Root;",
            "src/store.rs:1: `store` uses `Root`, which the picture does not show",
        ),
        (
            "src/oci/mod.rs",
            "use crate::clock::Time;",
            "src/oci/mod.rs:1: `oci` uses `clock`: sideways",
        ),
        (
            "src/policy/mod.rs",
            "use crate::clock::{Clock, Time};",
            "src/policy/mod.rs:1: `policy` may use of `clock` only `Time`",
        ),
        (
            "src/policy/mod.rs",
            "use crate::clock;",
            "src/policy/mod.rs:1: `policy` may use of `clock` only `Time`",
        ),
    ] {
        assert_eq!(problems_with(path, source), [expected], "{source}");
    }
}

#[test]
fn a_module_and_the_picture_that_disagree_are_seen() {
    let stray = problems_with("src/stray.rs", "");
    assert_eq!(
        stray,
        ["src/stray.rs:1: `stray` is missing from the picture in src/lib.rs"]
    );
    let lib = ORDERLY[0].1;
    let ghost = problems_with("src/lib.rs", &lib.replace("//! policy", "//! policy | ghost"));
    assert_eq!(
        ghost[0],
        "src/lib.rs: the picture shows `ghost`, which is no module"
    );
    let undeclared = problems_with("src/lib.rs", &lib.replace("pub mod net;", ""));
    assert_eq!(
        undeclared,
        ["src/lib.rs: `net` is in the picture but not declared"]
    );
}

#[test]
fn io_clocks_locks_and_async_in_the_pure_modules_are_seen() {
    for source in [
        "use tokio::time;",
        "use hyper::Request;",
        "fn f() { tracing::info!(\"x\") }",
        "use std::{fmt, fs};",
        "use std::fs::File;",
        "fn f() { std::thread::yield_now() }",
        "use std::net::{IpAddr, TcpStream};",
        "use std::net::*;",
        "use std::sync::{Arc, Mutex};",
        "use std::sync::RwLock;",
        "use std::sync::atomic::AtomicU64;",
        "use std::time::{Duration, Instant};",
        "fn f() -> u64 { std::time::SystemTime::now() }",
        "async fn f() {}",
        "fn f() { g().await }",
        "fn f() { assert!(g(Mutex::new(1))) }",
    ] {
        for path in ["src/oci/planted.rs", "src/policy/planted.rs"] {
            let problems = problems_with(path, source);
            assert_eq!(problems.len(), 1, "{source}: {problems:?}");
            assert!(problems[0].starts_with(&format!("{path}:1: ")), "{problems:?}");
            assert!(problems[0].contains("is pure and may not use"), "{problems:?}");
        }
        assert_eq!(
            problems_with("src/store/planted.rs", source),
            Vec::<String>::new(),
            "{source}"
        );
    }
}
