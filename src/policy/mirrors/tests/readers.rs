//! What is written, held to what the programs' own readers take.

use std::collections::BTreeSet;

use super::*;

/// The keys of a document, with `*` where a name of a registry or a place in a list stands.
fn keys(value: &toml::Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, inner) in table {
                let is_name = key.contains(['.', ':']);
                let key = if is_name { "*" } else { key.as_str() };
                keys(inner, &format!("{path}.{key}"), found);
            }
        }
        toml::Value::Array(list) if list.iter().any(toml::Value::is_table) => {
            list.iter().for_each(|inner| keys(inner, path, found));
        }
        other => {
            found.insert(format!("{}: {}", path.trim_start_matches('.'), other.type_str()));
        }
    }
}

/// What the programs' own readers take, by what they publish of it: containerd's `hosts.toml`, version 2 of
/// `registries.conf`, the table `registry` of BuildKit's `buildkitd.toml`. containerd before 2.1 passes over
/// `dial_timeout`.
#[test]
fn every_key_that_is_written_is_one_that_its_program_reads() {
    for (program, known) in [
        (
            Program::Containerd,
            &["host.*.capabilities: array", "host.*.dial_timeout: string"][..],
        ),
        (
            Program::Podman,
            &[
                "registry.location: string",
                "registry.mirror.insecure: boolean",
                "registry.mirror.location: string",
                "registry.prefix: string",
            ],
        ),
        (
            Program::Buildkit,
            &["registry.*.http: boolean", "registry.*.mirrors: array"],
        ),
    ] {
        let mut disk = Disk::default();
        disk.put(&piece(program, "cache.corp:5000")).unwrap();
        let written: toml::Table = disk.now.unwrap().parse().unwrap();
        let mut found = BTreeSet::new();
        keys(&toml::Value::Table(written), "", &mut found);
        assert_eq!(found.iter().collect::<Vec<_>>(), known, "{program:?}");
    }
}

/// kaniko splits `KANIKO_REGISTRY_MAP` at semicolons, and each part in two at its first `=`; Docker Hub is
/// `index.docker.io` to it.
#[test]
fn what_kaniko_would_ask_names_the_registry_here() {
    for flag in piece(Program::Kaniko, "cache.corp:5000").text.lines() {
        let Some(map) = flag.strip_prefix("--registry-map=") else {
            assert_eq!(flag, "--insecure-registry=cache.corp:5000");
            continue;
        };
        let (original, mapped) = map.split_once('=').unwrap();
        let (authority, registry) = mapped.split_once('/').unwrap();
        assert_eq!(authority, "cache.corp:5000");
        let asked = if original == "index.docker.io" {
            "docker.io"
        } else {
            original
        };
        assert_eq!(registry, asked, "{flag}");
        assert!(!map.contains(';'));
    }
}
