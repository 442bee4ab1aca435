//! Names: which registry, which repository, which tag or digest.
//!
//! The grammars are those of the OCI distribution specification 1.1 (repository names and tags) and of a
//! URI authority without user information (registries). Text that does not fit never becomes a value, so
//! names are safe in URLs, log lines and keys.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use super::{Algorithm, Digest};

/// Longest repository name, in bytes (distribution specification: 255 including the registry's host).
const MAX_PATH: usize = 255;
/// Longest tag, in bytes (distribution specification).
const MAX_TAG: usize = 128;
/// What signers add to the tag of a digest.
const SIGNATURES: [&str; 3] = ["sig", "att", "sbom"];
/// Hex digits of a digest in a tag that stands beside what it names.
const BESIDE: usize = 64;
/// Longest host name, in bytes (RFC 1035).
const MAX_HOST: usize = 253;

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a host name or address with an optional port.
    #[error("a registry is a host name or an address, with an optional port")]
    Registry,
    /// Not a repository name.
    #[error("a repository name is lower-case letters, digits and single separators, in parts joined by `/`")]
    Repository,
    /// Not a tag.
    #[error("a tag is at most 128 letters, digits, `_`, `.` and `-`, and does not start with `.` or `-`")]
    Tag,
}

/// A registry as clients name it: `docker.io`, `localhost:5000`, `[::1]:5000`.
///
/// Canonical: lower case, no trailing dot, no default port (`:443` is dropped), so two spellings of one
/// registry are equal.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Registry(Arc<str>);

impl Registry {
    /// Docker Hub's name, which is not the name of its host.
    pub const DOCKER_HUB: &str = "docker.io";

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host without the port; an IPv6 address keeps its brackets.
    pub fn host(&self) -> &str {
        split_port(&self.0).map_or(&self.0, |(host, _)| host)
    }

    /// True if the text looks like a registry when it stands first in a path, by the rule all clients
    /// share: it has a dot or a port, or it is `localhost`.
    pub fn stands_first(text: &str) -> bool {
        text.contains(['.', ':']) || text == "localhost"
    }
}

impl FromStr for Registry {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let lower = text.to_ascii_lowercase();
        let (host, port) = match split_port(&lower) {
            Some((host, port)) => (host, Some(port)),
            None => (lower.as_str(), None),
        };
        let host = canonical_host(host).ok_or(NameError::Registry)?;
        let port = match port {
            None => 443,
            Some(digits) => parse_port(digits).ok_or(NameError::Registry)?,
        };
        match (host.as_str(), port) {
            // Docker Hub has three names in the wild; clients mean one registry by them.
            ("index.docker.io" | "registry-1.docker.io", 443) => Ok(Self(Self::DOCKER_HUB.into())),
            (host, 443) => Ok(Self(host.into())),
            (host, port) => Ok(Self(format!("{host}:{port}").into())),
        }
    }
}

/// Splits `host:port`; `None` where there is no port. Brackets protect the colons of an IPv6 address.
fn split_port(text: &str) -> Option<(&str, &str)> {
    let colon = text.rfind(':')?;
    (text.rfind(']').is_none_or(|bracket| bracket < colon)).then(|| (&text[..colon], &text[colon + 1..]))
}

fn parse_port(digits: &str) -> Option<u16> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|port| plain && *port != 0)
}

/// The one spelling of a lower-case host; `None` if it is not a host.
fn canonical_host(host: &str) -> Option<String> {
    if let Some(address) = host.strip_prefix('[') {
        let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
        return Some(format!("[{address}]"));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    is_name_or_ipv4(name).then(|| name.to_owned())
}

fn is_name_or_ipv4(host: &str) -> bool {
    let labels = || host.split('.');
    let well_formed = host.len() <= MAX_HOST
        && labels().all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        });
    // A name whose last label is numeric must be a plain IPv4 address: `0x7f.1`, `2130706433` and
    // `127.1` mean addresses to some resolvers and names to others.
    let numeric = labels().next_back().is_some_and(|label| {
        label.bytes().all(|byte| byte.is_ascii_digit())
            || label
                .strip_prefix("0x")
                .is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
    });
    well_formed && (!numeric || host.parse::<Ipv4Addr>().is_ok())
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a repository within its registry: `library/alpine`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryPath(Arc<str>);

impl RepositoryPath {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first part, which may be all of it.
    pub fn first(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(first, _)| first)
    }

    /// Splits off the first part: `ghcr.io/owner/app` gives `ghcr.io` and `owner/app`.
    /// Returns `None` for a name of one part.
    pub fn split_first(&self) -> Option<(&str, Self)> {
        let (first, rest) = self.0.split_once('/')?;
        Some((first, Self(rest.into())))
    }

    /// Parses a name whose first part may be a registry with a port, as in `localhost:5000/app`.
    /// Returns the registry's text, unparsed, and the rest.
    pub fn parse_with_registry(text: &str) -> Option<(&str, Self)> {
        let (first, rest) = text.split_once('/')?;
        (Registry::stands_first(first)).then(|| rest.parse().ok().map(|rest| (first, rest)))?
    }
}

impl FromStr for RepositoryPath {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() <= MAX_PATH && text.split('/').all(is_component) {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Repository)
        }
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, the distribution specification's path component.
fn is_component(part: &str) -> bool {
    let bytes = part.as_bytes();
    let is_word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    is_word(first)
        && is_word(last)
        && bytes
            .split(is_word)
            .filter(|gap| !gap.is_empty())
            .all(|gap| match gap {
                b"." | b"_" | b"__" => true,
                dashes => dashes.iter().all(|byte| *byte == b'-'),
            })
}

impl fmt::Display for RepositoryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RepositoryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A repository of a registry: `docker.io/library/alpine`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    /// Where it lives.
    pub registry: Registry,
    /// Its name there.
    pub path: RepositoryPath,
}

impl FromStr for Repository {
    type Err = NameError;

    /// Parses what is displayed: a registry, `/`, and its repository's name.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (registry, path) = text.split_once('/').ok_or(NameError::Repository)?;
        Ok(Self {
            registry: registry.parse()?,
            path: path.parse()?,
        })
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A tag: a name that may come to mean another manifest.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Arc<str>);

impl Tag {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tag under which registries without a referrers API keep the referrers of `subject`
    /// (distribution specification, "referrers tag schema": the hash cut to 64 hex digits).
    pub fn of_referrers(subject: &Digest) -> Self {
        let mut hex = subject.hex();
        hex.truncate(BESIDE);
        Self(format!("{}-{hex}", subject.algorithm().name()).into())
    }

    /// The tags under which signers keep what they say of `subject` where a registry lists no referrers.
    pub fn of_signatures(subject: &Digest) -> impl Iterator<Item = Self> + use<> {
        let subject = Self::of_referrers(subject);
        SIGNATURES
            .into_iter()
            .map(move |kind| Self(format!("{subject}.{kind}").into()))
    }

    /// True for a tag that stands beside an image: its name is that of a digest.
    pub fn stands_beside(&self) -> bool {
        let digest = self.0.split('.').next().and_then(|name| name.split_once('-'));
        digest.is_some_and(|(algorithm, hex)| {
            let is_known = Algorithm::ALL.iter().any(|known| known.name() == algorithm);
            is_known && hex.len() == BESIDE && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    }
}

impl FromStr for Tag {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let fits = (1..=MAX_TAG).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
            && !text.starts_with(['.', '-']);
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Tag)
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What names a manifest within its repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reference {
    /// A name that may move.
    Tag(Tag),
    /// A name that is proof.
    Digest(Digest),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => fmt::Display::fmt(tag, f),
            Self::Digest(digest) => fmt::Display::fmt(digest, f),
        }
    }
}

#[cfg(test)]
mod tests;
