//! The `config.json` of Docker, Podman and Kubernetes: what it says of one registry.
//!
//! A key names a host (`ghcr.io`, `https://ghcr.io`, `https://index.docker.io/v1/` for Docker Hub) or, as Podman
//! has it, a path on one (`quay.io/team`). For one path, a helper of its own (`credHelpers`) goes before the helper
//! for all (`credsStore`), and that before what the file itself holds (`auths`).

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Prefix;
use crate::oci::Registry;

/// Most paths of one registry that credentials are kept for.
const MAX_ENTRIES: usize = 64;
/// The name by which a password is known as an identity token: it is exchanged, not shown.
pub const IDENTITY_TOKEN: &str = "<token>";
/// What Docker calls its own registry.
const HUB: &str = "https://index.docker.io/v1/";

/// What stands for one path of a registry. It has no `Debug`: a password may be in it.
pub struct Entry {
    /// The repositories it is for.
    pub prefix: Prefix,
    /// How they are pulled.
    pub found: Found,
}

/// How a credential is found.
#[derive(PartialEq, Eq)]
pub enum Found {
    /// It stands there.
    Login {
        /// The user, or [`IDENTITY_TOKEN`].
        username: String,
        /// The password, or the identity token.
        password: String,
    },
    /// `docker-credential-<name>` knows it.
    Helper(String),
}

/// Why a text cannot be used. Never quotes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is no JSON of that form; where it ends to be.
    #[error("it is no config.json of Docker (line {line}, column {column})")]
    Malformed {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// The `auth` under this key cannot be read.
    #[error("what stands under {0:?} in it is no user and password in Base64")]
    Auth(String),
    /// The name of a helper under this key could be a path.
    #[error("the helper of {0:?} in it has a name that is none")]
    Helper(String),
    /// A token for the registry itself, which nobody could renew.
    #[error("under {0:?} it holds a registrytoken, which ends and cannot be renewed")]
    RegistryToken(String),
    /// Too many paths.
    #[error("it names more than {MAX_ENTRIES} paths of the registry")]
    Many,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// What a `config.json` says of a registry, by path, the shortest first; nothing, if it does not speak of it.
///
/// # Errors
/// See [`Unusable`]. What it says of other registries is not looked at.
pub fn read(text: &str, registry: &Registry) -> Result<Vec<Entry>, Unusable> {
    let malformed = |error: serde_json::Error| Unusable::Malformed {
        line: error.line(),
        column: error.column(),
    };
    // A list would be taken for the fields in their order.
    serde_json::from_str::<BTreeMap<String, &RawValue>>(text).map_err(malformed)?;
    let file: File = serde_json::from_str(text).map_err(malformed)?;
    let mut found: BTreeMap<Prefix, Found> = BTreeMap::new();
    // The plainest spelling of a host counts, as it does for those who wrote it.
    let mut auths: Vec<(&String, &Auth)> = file.auths.iter().collect();
    auths.sort_by_key(|(key, _)| (key.contains("://"), key.len()));
    for (key, auth) in auths {
        if let Some(prefix) = named(key, registry)
            && let Some(login) = login(key, auth)?
        {
            found.entry(prefix).or_insert(login);
        }
    }
    if !file.creds_store.is_empty() {
        let name = helper(&file.creds_store, "credsStore")?;
        found.insert(Prefix::ALL, name);
    }
    for (key, name) in &file.cred_helpers {
        if let Some(prefix) = named(key, registry) {
            let name = helper(name, key)?;
            found.insert(prefix, name);
        }
    }
    if found.len() > MAX_ENTRIES {
        return Err(Unusable::Many);
    }
    let entry = |(prefix, found)| Entry { prefix, found };
    Ok(found.into_iter().map(entry).collect())
}

/// What a helper is asked about.
pub fn server(registry: &Registry, prefix: &Prefix) -> String {
    match (registry.as_str(), prefix.is_all()) {
        (Registry::DOCKER_HUB, true) => HUB.to_owned(),
        (registry, true) => registry.to_owned(),
        (registry, false) => format!("{registry}/{prefix}"),
    }
}

/// True for what can follow `docker-credential-`: no path, and no option.
pub fn is_helper(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= 128 && name.bytes().all(plain)
}

fn helper(name: &str, key: &str) -> Result<Found, Unusable> {
    match is_helper(name) {
        true => Ok(Found::Helper(name.to_owned())),
        false => Err(Unusable::Helper(key.to_owned())),
    }
}

/// The path that a key names, if it is on this registry. Behind a scheme, and for `v1` and `v2`, it names all.
pub(super) fn named(key: &str, registry: &Registry) -> Option<Prefix> {
    let (scheme, rest) = match key.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, key),
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if host.parse::<Registry>().ok()? != *registry {
        return None;
    }
    match (scheme, path.trim_end_matches('/')) {
        (Some(_), _) | (None, "v1" | "v2") => Some(Prefix::ALL),
        (None, path) => Prefix::parse(path),
    }
}

/// The login under a key; `None` where it only marks that a helper has one.
fn login(key: &str, auth: &Auth) -> Result<Option<Found>, Unusable> {
    let wrong = || Unusable::Auth(key.to_owned());
    if !auth.registrytoken.is_empty() {
        return Err(Unusable::RegistryToken(key.to_owned()));
    }
    if !auth.identitytoken.is_empty() {
        return Ok(Some(Found::Login {
            username: IDENTITY_TOKEN.to_owned(),
            password: auth.identitytoken.clone(),
        }));
    }
    let (username, password) = match auth.auth.trim() {
        "" if auth.username.is_empty() && auth.password.is_empty() => return Ok(None),
        "" => (auth.username.clone(), auth.password.clone()),
        encoded => {
            let bytes = BASE64_STANDARD.decode(encoded).map_err(|_| wrong())?;
            let text = String::from_utf8(bytes).map_err(|_| wrong())?;
            let (username, password) = text.split_once(':').ok_or_else(wrong)?;
            // Some have padded it with zeros.
            (username.to_owned(), password.trim_end_matches('\0').to_owned())
        }
    };
    if username.is_empty() || password.is_empty() || username.contains(':') {
        return Err(wrong());
    }
    Ok(Some(Found::Login { username, password }))
}

#[cfg(test)]
mod tests;
