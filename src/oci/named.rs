//! References as people write them: `alpine`, `ghcr.io/owner/app:1.0`, `quay.io/owner/app@sha256:…`.

use std::fmt;
use std::str::FromStr;

use super::{Digest, Reference, Registry, RepositoryPath, Tag, Target};

/// A repository and what is meant of it. Which registry a name without one means is not decided here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The repository; its `namespace` is the registry, where one was written.
    pub target: Target,
    /// The tag (`latest` where none was written) or digest. Of both, the digest.
    pub reference: Reference,
}

/// Why a text is not a reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a reference such as docker.io/library/alpine:3.20 or ghcr.io/owner/app@sha256:…: {why}"
)]
pub struct NamedError {
    text: String,
    why: String,
}

impl Named {
    /// True if the text names its registry: by the rule that all clients share, its first part has a dot or a
    /// port, or is `localhost`.
    pub fn has_registry(text: &str) -> bool {
        text.split_once('/')
            .is_some_and(|(first, _)| Registry::stands_first(first))
    }
}

impl FromStr for Named {
    type Err = NamedError;

    fn from_str(text: &str) -> Result<Self, NamedError> {
        let wrong = |why: &dyn fmt::Display| NamedError {
            text: text.chars().take(300).collect(),
            why: why.to_string(),
        };
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => {
                let digest: Digest = digest.parse().map_err(|error| wrong(&error))?;
                (rest, Some(digest))
            }
        };
        let (namespace, rest) = match rest.split_once('/') {
            Some((first, rest)) if Registry::stands_first(first) => {
                (Some(first.parse().map_err(|error| wrong(&error))?), rest)
            }
            Some(_) | None => (None, rest),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) => (path, tag),
            None => (rest, "latest"),
        };
        let tag: Tag = tag.parse().map_err(|error| wrong(&error))?;
        let path: RepositoryPath = path.parse().map_err(|error| wrong(&error))?;
        Ok(Self {
            target: Target {
                namespace,
                prefix: None,
                path,
            },
            reference: digest.map_or(Reference::Tag(tag), Reference::Digest),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_read_as_every_client_reads_them() {
        let digest = Digest::sha256(b"");
        for (text, registry, path, reference) in [
            ("alpine".to_owned(), "", "alpine", "latest".to_owned()),
            (
                "library/alpine:3.20".to_owned(),
                "",
                "library/alpine",
                "3.20".to_owned(),
            ),
            (
                "ghcr.io/owner/app:v1".to_owned(),
                "ghcr.io",
                "owner/app",
                "v1".to_owned(),
            ),
            (
                "localhost/app".to_owned(),
                "localhost",
                "app",
                "latest".to_owned(),
            ),
            (
                "localhost:5000/a/b:c".to_owned(),
                "localhost:5000",
                "a/b",
                "c".to_owned(),
            ),
            (
                format!("quay.io/a/b@{digest}"),
                "quay.io",
                "a/b",
                digest.to_string(),
            ),
            (format!("a/b:tag@{digest}"), "", "a/b", digest.to_string()),
        ] {
            let named: Named = text.parse().unwrap();
            let namespace = named.target.namespace.map(|registry| registry.to_string());
            assert_eq!(namespace.unwrap_or_default(), registry, "{text}");
            assert_eq!(named.target.path.as_str(), path, "{text}");
            assert_eq!(named.reference.to_string(), reference, "{text}");
        }
    }

    #[test]
    fn what_is_no_reference_is_refused_by_name() {
        for text in [
            "",
            ":",
            "a:",
            "Alpine",
            "a b",
            "a@sha256:12",
            "ghcr.io/",
            "-x",
            "{{ .Values.image }}",
        ] {
            let error = text.parse::<Named>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
