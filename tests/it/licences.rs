//! What Seawall is built from may be given away with it, and is there once.
//!
//! The packages are those cargo knows for the machine that runs the test, reached from `seawall` by normal
//! dependencies: what ends up in the binary.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Licences that ask for no more than to be named.
const PERMISSIVE: [&str; 11] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];
/// Packages that must not come in: a second TLS stack, or a second HTTP client.
const BANNED: [&str; 5] = ["native-tls", "openssl", "openssl-sys", "reqwest", "ring"];
/// Packages whose types meet each other across module borders, so there may be one version.
const SINGLE: [&str; 9] = [
    "bytes",
    "h2",
    "http",
    "http-body",
    "hyper",
    "hyper-util",
    "rustls",
    "tokio",
    "tokio-util",
];

/// One package that is built in.
#[derive(Debug)]
struct Package {
    name: String,
    version: String,
    licence: String,
}

#[test]
fn every_package_that_is_built_in_has_a_permissive_licence() {
    let strict: Vec<Package> = packages()
        .into_iter()
        .filter(|package| !is_permissive(&package.licence))
        .collect();
    assert!(
        strict.is_empty(),
        "not on the list of permissive licences: {strict:#?}"
    );
}

#[test]
fn no_second_tls_stack_and_no_second_version_of_what_we_share() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages() {
        versions.entry(package.name).or_default().insert(package.version);
    }
    for name in BANNED {
        assert!(
            !versions.contains_key(name),
            "`{name}` came in; see `cargo tree -i {name}`"
        );
    }
    for name in SINGLE {
        let found = versions.get(name).map_or(0, BTreeSet::len);
        assert!(
            found <= 1,
            "`{name}` is there in {found} versions: {:?}",
            versions[name]
        );
    }
    assert!(
        versions.contains_key("rustls") && versions.len() > 50,
        "the graph was not read: {versions:?}"
    );
}

#[test]
fn licence_expressions_are_understood() {
    for expression in [
        "MIT",
        "MIT/Apache-2.0",
        "Apache-2.0 / MIT",
        "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
        "MPL-2.0 OR MIT",
        "(MIT OR GPL-3.0) AND Unicode-3.0",
        "ISC AND (Apache-2.0 OR ISC) AND BSD-3-Clause",
        "GPL-3.0 AND ISC OR MIT",
    ] {
        assert!(is_permissive(expression), "{expression}");
    }
    for expression in [
        "",
        "GPL-3.0",
        "MPL-2.0",
        "MIT AND GPL-3.0",
        "MIT AND (GPL-3.0 OR MPL-2.0)",
        "GPL-2.0 WITH Classpath-exception-2.0",
        "MIT WITH some-exception",
        "MIT OR",
        "(MIT",
        "MIT MIT",
    ] {
        assert!(!is_permissive(expression), "{expression}");
    }
}

/// The packages reached from `seawall` by normal dependencies, on this machine's platform: those of others
/// may not be at hand. `cargo tree` resolves as a build does; `cargo metadata` would add the features that
/// only tests ask for.
fn packages() -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "tree",
            "--offline",
            "--locked",
            "--edges",
            "normal",
            "--prefix",
            "none",
        ])
        .args(["--no-dedupe", "--format", "{p};{l}"])
        // What other features bring may not be at hand.
        .args(cfg!(feature = "acme").then_some("--features=acme"))
        .args(cfg!(feature = "shared").then_some("--features=shared"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tree = String::from_utf8(output.stdout).unwrap();
    let lines: BTreeSet<&str> = tree.lines().collect();
    lines.into_iter().map(package).collect()
}

/// Reads `name v1.2.3 (proc-macro);MIT`.
fn package(line: &str) -> Package {
    let (about, licence) = line.split_once(';').unwrap();
    let mut words = about.split(' ');
    Package {
        name: words.next().unwrap().to_owned(),
        version: words.next().unwrap().to_owned(),
        licence: licence.to_owned(),
    }
}

/// True if an SPDX expression can be met with [`PERMISSIVE`] licences alone. `/` is the old way to write `OR`.
fn is_permissive(expression: &str) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    either(&mut rest) == Some(true) && rest.is_empty()
}

fn either(rest: &mut &[&str]) -> Option<bool> {
    let mut met = both(rest)?;
    while let ["OR", after @ ..] = *rest {
        *rest = after;
        met |= both(rest)?;
    }
    Some(met)
}

fn both(rest: &mut &[&str]) -> Option<bool> {
    let mut met = single(rest)?;
    while let ["AND", after @ ..] = *rest {
        *rest = after;
        met &= single(rest)?;
    }
    Some(met)
}

fn single(rest: &mut &[&str]) -> Option<bool> {
    let (met, after) = match *rest {
        ["(", after @ ..] => {
            *rest = after;
            let met = either(rest)?;
            let [")", after @ ..] = *rest else { return None };
            (met, after)
        }
        [licence, "WITH", "LLVM-exception", after @ ..] => (PERMISSIVE.contains(licence), after),
        [_, "WITH", _, after @ ..] => (false, after),
        [licence, after @ ..] if !["OR", "AND", "WITH", ")"].contains(licence) => {
            (PERMISSIVE.contains(licence), after)
        }
        _ => return None,
    };
    *rest = after;
    Some(met)
}
