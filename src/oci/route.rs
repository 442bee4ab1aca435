//! One parsed request of the distribution API's pull side.
//!
//! ```text
//! /v2/                                    Base
//! /v2/<name>/manifests/<tag or digest>    Manifest
//! /v2/<name>/blobs/<digest>               Blob
//! /v2/<name>/tags/list?n=&last=           Tags
//! /v2/<name>/referrers/<digest>           Referrers
//! /v2/_catalog?n=&last=                   Catalog
//! ```
//! A repository may be called `blobs/manifests`: the route is read from the end of the path. No route
//! needs percent-encoding (no grammar has a character that must be encoded), so `%` is refused instead of
//! decoded, and with it every double-decoding trick.

use super::digest::DigestError;
use super::{Digest, NameError, Reference, Registry, RepositoryPath};

/// Longest path and query together that are read, in bytes.
const MAX_TARGET: usize = 8 * 1024;
/// Most entries of a list on one page. Clients ask for 1,000; the bound of CVE-2023-2253.
pub(super) const MAX_PAGE: usize = 1000;

/// A name as it stands in the path, before the registry is known: the first part may be a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `?ns=`, the registry the client means, if it said so.
    pub namespace: Option<Registry>,
    /// A first path part that reads as a registry with a port (`localhost:5000/app`), taken off the name.
    pub prefix: Option<Registry>,
    /// The name after `/v2/`, without `prefix`.
    pub path: RepositoryPath,
}

/// Where a list begins and how long a page is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// `n=`, at most 1,000.
    pub count: usize,
    /// True if the client named a count: then a cut list carries a `Link`.
    pub asked: bool,
    /// `last=`: entries up to and including this one are skipped.
    pub last: Option<String>,
}

/// One request, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// The version check.
    Base,
    /// A manifest by tag or digest.
    Manifest(Target, Reference),
    /// A blob.
    Blob(Target, Digest),
    /// The tags of a repository.
    Tags(Target, Page),
    /// The manifests that refer to a digest, perhaps of one artifact type only.
    Referrers(Target, Digest, Option<String>),
    /// The repositories held here, perhaps of one registry only.
    Catalog(Option<Registry>, Page),
}

/// Why a path is not a route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Not a path of the API.
    #[error("no such endpoint; this registry serves /v2/")]
    Unknown,
    /// Path and query are longer than 8 KiB.
    #[error("the request target is longer than 8 KiB")]
    TooLong,
    /// The name in the path is not a repository name.
    #[error("{0}")]
    Name(NameError),
    /// `ns=` is not a registry, or is given twice.
    #[error("`ns` must name one registry, such as docker.io")]
    Namespace,
    /// The digest in the path is not one.
    #[error("{0}")]
    Digest(DigestError),
    /// `n=` is not a number.
    #[error("`n` must be a number from 0 to 1000")]
    Page,
}

impl Route {
    /// Parses a path and its query.
    ///
    /// # Errors
    /// See [`RouteError`]: every variant is the client's mistake.
    pub fn parse(path: &str, query: Option<&str>) -> Result<Self, RouteError> {
        let query = query.unwrap_or("");
        if path.len() + query.len() > MAX_TARGET {
            return Err(RouteError::TooLong);
        }
        let rest = match path.strip_prefix("/v2") {
            Some("" | "/") => return Ok(Self::Base),
            Some(rest) => rest.strip_prefix('/').ok_or(RouteError::Unknown)?,
            None => return Err(RouteError::Unknown),
        };
        let query = Query::parse(query)?;
        if rest == "_catalog" {
            return Ok(Self::Catalog(query.namespace.clone(), query.page()?));
        }
        let (head, last) = rest.rsplit_once('/').ok_or(RouteError::Unknown)?;
        let (name, kind) = head.rsplit_once('/').ok_or(RouteError::Unknown)?;
        match (kind, last) {
            ("manifests", reference) => Ok(Self::Manifest(query.target(name)?, parse_reference(reference)?)),
            ("blobs", digest) => Ok(Self::Blob(query.target(name)?, parse_digest(digest)?)),
            ("referrers", digest) => {
                let digest = parse_digest(digest)?;
                Ok(Self::Referrers(query.target(name)?, digest, query.artifact_type))
            }
            ("tags", "list") => Ok(Self::Tags(query.target(name)?, query.page()?)),
            _ => Err(RouteError::Unknown),
        }
    }

    /// The word for this route in logs and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Manifest(..) => "manifest",
            Self::Blob(..) => "blob",
            Self::Tags(..) => "tags",
            Self::Referrers(..) => "referrers",
            Self::Catalog(..) => "catalog",
        }
    }

    /// The repository name asked for, if the route has one.
    pub fn target(&self) -> Option<&Target> {
        match self {
            Self::Base | Self::Catalog(..) => None,
            Self::Manifest(target, _)
            | Self::Blob(target, _)
            | Self::Tags(target, _)
            | Self::Referrers(target, ..) => Some(target),
        }
    }
}

fn parse_reference(text: &str) -> Result<Reference, RouteError> {
    if text.contains(':') {
        return parse_digest(text).map(Reference::Digest);
    }
    text.parse().map(Reference::Tag).map_err(RouteError::Name)
}

fn parse_digest(text: &str) -> Result<Digest, RouteError> {
    text.parse().map_err(RouteError::Digest)
}

/// The query keys that mean something here; all others are ignored.
#[derive(Default)]
struct Query {
    namespace: Option<Registry>,
    count: Option<String>,
    last: Option<String>,
    artifact_type: Option<String>,
}

impl Query {
    fn parse(text: &str) -> Result<Self, RouteError> {
        let mut query = Self::default();
        let mut namespaces = 0;
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "ns" => {
                    namespaces += 1;
                    let value = decode(value).ok_or(RouteError::Namespace)?;
                    query.namespace = Some(value.parse().map_err(|_| RouteError::Namespace)?);
                }
                "n" => query.count = Some(value.to_owned()),
                "last" => query.last = decode(value),
                "artifactType" => query.artifact_type = decode(value),
                _ => {}
            }
        }
        if namespaces > 1 {
            Err(RouteError::Namespace)
        } else {
            Ok(query)
        }
    }

    fn page(&self) -> Result<Page, RouteError> {
        let (count, asked) = match &self.count {
            None => (MAX_PAGE, false),
            Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                (digits.parse().unwrap_or(usize::MAX).min(MAX_PAGE), true)
            }
            Some(_) => return Err(RouteError::Page),
        };
        Ok(Page {
            count,
            asked,
            last: self.last.clone(),
        })
    }

    fn target(&self, name: &str) -> Result<Target, RouteError> {
        let namespace = self.namespace.clone();
        if let Ok(path) = name.parse() {
            return Ok(Target {
                namespace,
                prefix: None,
                path,
            });
        }
        let (first, path) =
            RepositoryPath::parse_with_registry(name).ok_or(RouteError::Name(NameError::Repository))?;
        let prefix = first.parse().map_err(RouteError::Name)?;
        Ok(Target {
            namespace,
            prefix: Some(prefix),
            path,
        })
    }
}

/// Percent-decodes a query value; `None` unless the outcome is UTF-8 without control characters.
fn decode(value: &str) -> Option<String> {
    let plus = value.replace('+', "%2B");
    let text = percent_encoding::percent_decode_str(&plus).decode_utf8().ok()?;
    (!text.chars().any(char::is_control)).then(|| text.into_owned())
}

#[cfg(test)]
mod tests;
