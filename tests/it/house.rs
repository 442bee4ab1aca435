//! The rules of the house that are neither the compiler's nor clippy's to check.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::architecture::sources;

/// Longest source file, in lines: what one sitting reads.
const MAX_LINES: usize = 450;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn every_dependency_says_why_it_is_here() {
    let mut section = String::new();
    let mut seen = 0;
    for (number, line) in read("Cargo.toml").lines().enumerate() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if section.ends_with("dependencies") && line.contains('=') {
            let reason = line.rsplit_once("# ").map_or("", |(_, reason)| reason);
            assert!(
                reason.len() > 3,
                "Cargo.toml:{}: no reason after `#`: {line}",
                number + 1
            );
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} dependencies were found");
}

#[test]
fn patterns_mean_the_same_in_a_build_without_tests() {
    // proptest turns these on for every test: without this one, nobody would see that `\d` is refused in a release.
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let features = manifest["dependencies"]["regex"]["features"].as_array().unwrap();
    for feature in ["unicode-case", "unicode-perl"] {
        assert!(
            features.iter().any(|on| on.as_str() == Some(feature)),
            "{feature}"
        );
    }
    for pattern in [r"^v?\d+\.\d+$", r"\w\s\b", "(?i)main"] {
        regex::Regex::new(pattern).unwrap();
    }
}

#[test]
fn the_lint_tables_deny() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    for (table, lint) in [
        ("rust", "unsafe_code"),
        ("rust", "missing_docs"),
        ("clippy", "await_holding_lock"),
        ("clippy", "disallowed_methods"),
        ("clippy", "print_stdout"),
        ("clippy", "todo"),
        ("clippy", "unwrap_used"),
    ] {
        let level = manifest["lints"][table][lint].as_str();
        assert_eq!(level, Some("deny"), "[lints.{table}] {lint}");
    }
    let clippy: toml::Table = read(".clippy.toml").parse().unwrap();
    let methods = clippy["disallowed-methods"].as_array().unwrap();
    for method in [
        "std::time::Instant::now",
        "std::time::SystemTime::now",
        "tokio::spawn",
    ] {
        assert!(
            methods.iter().any(|entry| entry["path"].as_str() == Some(method)),
            "{method}"
        );
    }
    let _: toml::Table = read(".rustfmt.toml").parse().unwrap();
}

#[test]
fn every_source_file_says_what_it_is_for_and_ends_before_it_bores() {
    let sources = sources(Path::new(env!("CARGO_MANIFEST_DIR")));
    let problems: Vec<String> = sources
        .iter()
        .filter_map(|(path, source)| {
            let lines = source.lines().count();
            if !source.starts_with("//! ") {
                return Some(format!("{path}:1: does not open with `//!`"));
            }
            (lines > MAX_LINES).then(|| format!("{path}: {lines} lines, at most {MAX_LINES}"))
        })
        .collect();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_fuzz_target_is_built_and_named_with_the_dependencies_of_today() {
    // Nothing builds them every day, so that this is what keeps `--locked` from failing when somebody does.
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let is_optional = |dependency: &toml::Value| dependency.get("optional").is_some();
    let wanted: BTreeSet<String> = manifest["dependencies"]
        .as_table()
        .unwrap()
        .iter()
        .filter(|(_, dependency)| !is_optional(dependency))
        .map(|(name, _)| name.clone())
        .collect();
    let lock: toml::Table = read("tests/fuzz/Cargo.lock").parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    let seawall = packages
        .iter()
        .find(|package| package["name"].as_str() == Some("seawall"))
        .unwrap();
    let locked: BTreeSet<String> = seawall["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap().split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(locked, wanted, "tests/fuzz/Cargo.lock");

    let manifest: toml::Table = read("tests/fuzz/Cargo.toml").parse().unwrap();
    let built: BTreeSet<&str> = manifest["bin"]
        .as_array()
        .unwrap()
        .iter()
        .map(|target| target["name"].as_str().unwrap())
        .collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/fuzz_targets");
    let told = read("tests/fuzz/README.md");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(built.contains(name), "{name} is not in tests/fuzz/Cargo.toml");
        assert!(
            told.contains(&format!("`{name}`")),
            "{name} is not in tests/fuzz/README.md"
        );
    }
}

#[test]
fn the_licence_is_the_one_the_manifest_names() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    assert_eq!(manifest["package"]["license"].as_str(), Some("Apache-2.0"));
    let licence = read("LICENSE");
    assert!(licence.contains("Apache License") && licence.contains("END OF TERMS AND CONDITIONS"));
}
