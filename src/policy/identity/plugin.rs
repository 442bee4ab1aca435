//! The protocol of the kubelet's credential plugins: what one is asked, and what its answer gives.
//!
//! A plugin is told of an image and answers with users and passwords, each under a pattern of images that it is
//! good for, and with how long they may be kept.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Prefix, docker};
use crate::oci::Registry;

/// The version of the protocol that is spoken.
const VERSION: &str = "credentialprovider.kubelet.k8s.io/v1";
/// What every version begins with.
const GROUP: &str = "credentialprovider.kubelet.k8s.io/";
/// The longest that a plugin is believed.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// What stands for the path of an image where the registry as a whole is meant.
const ANY: &str = "image";

/// What an answer gives. It has no `Debug`: a password may be in it.
#[derive(PartialEq, Eq)]
pub struct Answer {
    /// User and password, if there is something for the image.
    pub login: Option<(String, String)>,
    /// How long it may be kept, if that was said.
    pub keep: Option<Duration>,
}

/// Why an answer cannot be used. Never quotes what may be secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is no JSON of that form; where it ends to be.
    #[error("it wrote no CredentialProviderResponse (line {line}, column {column})")]
    Malformed {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// Another version of the protocol.
    #[error("it answered in {found}: expected a CredentialProviderResponse in {VERSION}")]
    Version {
        /// The version, if it can be shown.
        found: String,
    },
    /// How long it may be kept is not told as a duration.
    #[error("its cacheDuration is no duration such as \"10m0s\"")]
    Duration,
    /// Something for the image that is no user and password.
    #[error("what it wrote for the image is no user and password")]
    Login,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    api_version: &'a str,
    kind: &'a str,
    image: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    cache_duration: Option<String>,
    auth: Option<BTreeMap<String, Login>>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Login {
    username: String,
    password: String,
}

/// What a plugin reads: an image of the registry that stands below the prefix.
pub fn request(registry: &Registry, prefix: &Prefix) -> String {
    let path = if prefix.is_all() { ANY } else { prefix.as_str() };
    let request = Request {
        api_version: VERSION,
        kind: "CredentialProviderRequest",
        image: format!("{registry}/{path}"),
    };
    serde_json::to_string(&request).expect("texts are JSON")
}

/// What it answered for images of the registry that stand below the prefix. Of several patterns that fit, the one
/// that sorts last goes first, as the kubelet has it: a name goes before a `*`, and a longer path before a shorter.
///
/// # Errors
/// See [`Unusable`].
pub fn read(text: &[u8], registry: &Registry, prefix: &Prefix) -> Result<Answer, Unusable> {
    let response: Response = serde_json::from_slice(text).map_err(|error| Unusable::Malformed {
        line: error.line(),
        column: error.column(),
    })?;
    if response.api_version != VERSION || response.kind != "CredentialProviderResponse" {
        return Err(Unusable::Version {
            found: shown(&response.api_version),
        });
    }
    let keep = match &response.cache_duration {
        Some(text) => Some(duration(text).ok_or(Unusable::Duration)?),
        None => None,
    };
    let auth = response.auth.unwrap_or_default();
    let fitting = auth
        .into_iter()
        .rev()
        .find(|(key, _)| fits(key, registry, prefix));
    let login = match fitting {
        None => None,
        Some((_, login)) => {
            let good =
                !login.username.is_empty() && !login.username.contains(':') && !login.password.is_empty();
            Some((login.username, login.password))
                .filter(|_| good)
                .ok_or(Unusable::Login)
                .map(Some)?
        }
    };
    Ok(Answer { login, keep })
}

/// A version that can be shown: what else stands in its place may be anything.
fn shown(version: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'/' || byte == b'.';
    let is_one = version.starts_with(GROUP) && version.len() < 64 && version.bytes().all(plain);
    match is_one {
        true => version.to_owned(),
        false => "another protocol".to_owned(),
    }
}

/// True if a pattern of images is good for all that stands below the prefix. A `*` stands for a part of one label of
/// the host; port and path are as they are.
fn fits(key: &str, registry: &Registry, prefix: &Prefix) -> bool {
    if let Some(named) = docker::named(key, registry) {
        return named.reach(prefix.as_str()).is_some();
    }
    let (pattern, path) = key.split_once('/').unwrap_or((key, ""));
    let is_below = Prefix::parse(path).is_some_and(|path| path.reach(prefix.as_str()).is_some());
    let (pattern, pattern_port) = pattern.split_once(':').unwrap_or((pattern, ""));
    let (host, port) = registry
        .as_str()
        .split_once(':')
        .unwrap_or((registry.as_str(), ""));
    let labels = || pattern.split('.').zip(host.split('.'));
    is_below
        && pattern_port == port
        && pattern.split('.').count() == host.split('.').count()
        && labels().all(|(pattern, label)| glob(&pattern.to_ascii_lowercase(), label))
}

/// True if a label is what the pattern says, in which each `*` is any part of it.
fn glob(pattern: &str, label: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == label;
    };
    let Some(label) = label.strip_prefix(first) else {
        return false;
    };
    let ends = label.char_indices().map(|(at, _)| at).chain([label.len()]);
    ends.into_iter().any(|at| glob(rest, &label[at..]))
}

/// A duration as the plugin's language writes it: `12h0m0s`, `1.5h`, `300ms`, `0`. What is negative is none.
fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let end = after
            .find(|letter: char| letter.is_ascii_digit() || letter == '.')
            .unwrap_or(after.len());
        let unit = match &after[..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number * unit;
        rest = &after[end..];
    }
    (!text.is_empty()).then(|| Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64())))
}

#[cfg(test)]
mod tests;
