//! The pieces, program by program.

use std::fmt::Write as _;

use super::{Address, CERTS_D, How, Piece};

/// How long containerd may wait for a connection: two lost packets fit, and a mirror that is gone costs two
/// seconds instead of thirty for each request. Versions before 2.1 do not know the key.
const DIAL_TIMEOUT: &str = "2s";

/// The name of Docker Hub as kaniko knows it.
const KANIKO_HUB: &str = "index.docker.io";

fn whole(path: String, text: String) -> Piece {
    let how = How::Whole;
    Piece { path, how, text }
}

/// A `hosts.toml` for each registry, and one for all others. The registry itself stays the last resort.
pub(super) fn containerd(address: &Address, registries: &[&str]) -> Vec<Piece> {
    let text = format!(
        "[host.\"{address}\"]\n  capabilities = [\"pull\", \"resolve\"]\n  dial_timeout = \"{DIAL_TIMEOUT}\"\n"
    );
    let names = registries.iter().copied().chain(["_default"]);
    let piece = |name| {
        let path = format!("{CERTS_D}/{}/hosts.toml", directory(name));
        whole(path, text.clone())
    };
    names.map(piece).collect()
}

/// containerd's directory for a registry: `host:port` is `host_port_`.
fn directory(registry: &str) -> String {
    match registry.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => format!("{host}_{port}_"),
        _ => registry.to_owned(),
    }
}

/// `registry-mirrors`, which dockerd uses for Docker Hub alone.
pub(super) fn docker(address: &Address) -> Piece {
    let mut text = format!("{{\n    \"registry-mirrors\": [\n        \"{address}\"\n    ]");
    // What is on loopback needs no TLS anyway.
    if !address.is_encrypted() && !address.is_loopback() {
        let authority = address.authority();
        let _ = write!(
            text,
            ",\n    \"insecure-registries\": [\n        \"{authority}\"\n    ]"
        );
    }
    Piece {
        path: "etc/docker/daemon.json".to_owned(),
        how: How::Json,
        text: text + "\n}\n",
    }
}

/// A file for `registries.conf.d`. These programs name no registry in their requests: the mirror's path does.
pub(super) fn containers(address: &Address, registries: &[&str]) -> Piece {
    let mut text = String::new();
    for registry in registries {
        let break_before = if text.is_empty() { "" } else { "\n" };
        let _ = write!(
            text,
            "{break_before}[[registry]]\nprefix = \"{registry}\"\nlocation = \"{registry}\"\n\
             [[registry.mirror]]\nlocation = \"{}/{registry}\"\n",
            address.authority()
        );
        if !address.is_encrypted() {
            text.push_str("insecure = true\n");
        }
    }
    whole(
        "etc/containers/registries.conf.d/50-seawall.conf".to_owned(),
        text,
    )
}

/// A whole `registries.conf`: what `theirs` says, and what podman is told. `None` if the two contradict each other.
pub fn registries_beside(theirs: &str, piece: &Piece) -> Option<String> {
    let names = |text: &str| {
        let table: toml::Table = text.parse().ok()?;
        let tables = table.get("registry").and_then(toml::Value::as_array);
        let name = |table: &toml::Value| {
            let name = table.get("prefix").or_else(|| table.get("location"))?;
            name.as_str().map(str::to_owned)
        };
        Some(tables.into_iter().flatten().filter_map(name).collect::<Vec<_>>())
    };
    let (there, ours) = (names(theirs)?, names(&piece.text)?);
    let text = format!("{theirs}\n{}", piece.text);
    // A key of an earlier version of the format may stand where a table would.
    let reads = names(&text).is_some();
    (reads && ours.iter().all(|name| !there.contains(name))).then_some(text)
}

/// Tables of `buildkitd.toml`. buildkitd names the registry in its requests.
pub(super) fn buildkit(address: &Address, registries: &[&str]) -> Piece {
    let authority = address.authority();
    let mut text = String::new();
    for registry in registries {
        let _ = write!(text, "[registry.\"{registry}\"]\n  mirrors = [\"{authority}\"]\n");
    }
    if !address.is_encrypted() {
        let _ = write!(text, "[registry.\"{authority}\"]\n  http = true\n");
    }
    Piece {
        path: "etc/buildkit/buildkitd.toml".to_owned(),
        how: How::Toml,
        text,
    }
}

/// Entries of `registries.yaml`, and one for all other registries.
pub(super) fn k3s(address: &Address, registries: &[&str]) -> Piece {
    let names = registries.iter().copied().chain(["*"]);
    let entry = |name| format!("\"{name}\":\n  endpoint:\n    - \"{address}\"\n");
    Piece {
        path: "etc/rancher/k3s/registries.yaml".to_owned(),
        how: How::Yaml,
        text: names.map(entry).collect(),
    }
}

/// kaniko's flags, a line each.
pub(super) fn kaniko(address: &Address, registries: &[&str]) -> Piece {
    let authority = address.authority();
    let mut text = String::new();
    for registry in registries {
        let name = match *registry {
            crate::oci::Registry::DOCKER_HUB => KANIKO_HUB,
            other => other,
        };
        let _ = writeln!(text, "--registry-map={name}={authority}/{registry}");
    }
    if !address.is_encrypted() {
        let _ = writeln!(text, "--insecure-registry={authority}");
    }
    Piece {
        path: String::new(),
        how: How::Flags,
        text,
    }
}
