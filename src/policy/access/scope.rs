//! Which repositories are meant: `docker.io/library/*`, `ghcr.io/team/**`, `*.azurecr.io`; of one registry that is
//! known already, `library/*`.

use std::fmt;

use regex::Regex;

use crate::oci::{Registry, RepositoryPath};
use crate::policy::naming;

/// Most characters of a written scope: a registry's name and a repository's.
const MAX_WRITTEN: usize = 512;

/// Repositories of one registry, or of several.
#[derive(Clone)]
pub struct Scope {
    registry: naming::Pattern,
    /// `None`: all of them.
    paths: Option<Paths>,
    written: String,
}

/// Repositories of one registry, by their paths.
#[derive(Clone)]
pub struct Paths {
    written: String,
    expression: Regex,
}

impl Paths {
    /// Reads the path of a repository in which `*` stands for any characters but `/`, and `**` as a whole part for one
    /// part or more. `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_WRITTEN {
            return None;
        }
        Some(Self {
            written: text.to_owned(),
            expression: expression(text)?,
        })
    }

    /// True if a repository is meant.
    pub fn matches(&self, path: &RepositoryPath) -> bool {
        self.expression.is_match(path.as_str())
    }
}

impl Scope {
    /// Reads a scope: a registry (`ghcr.io`, `*.azurecr.io`, `*`), alone or followed by the path of a repository
    /// in which `*` stands for any characters but `/`, and `**` as a whole part for one part or more. `None` if it
    /// is none.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_WRITTEN {
            return None;
        }
        let (registry, path) = match text.split_once('/') {
            None => (text, None),
            Some((registry, path)) => (registry, Some(path)),
        };
        let registry = naming::Pattern::parse(registry)?;
        let paths = match path {
            None | Some("**") => None,
            Some(path) => Some(Paths::parse(path)?),
        };
        Some(Self {
            registry,
            paths,
            written: text.to_owned(),
        })
    }

    /// True if a repository is meant.
    pub fn matches(&self, registry: &Registry, path: &RepositoryPath) -> bool {
        let has = |paths: &Paths| paths.matches(path);
        self.registry.matches(registry) && self.paths.as_ref().is_none_or(has)
    }
}

/// A path with stars as a regular expression for the whole of it.
fn expression(path: &str) -> Option<Regex> {
    let parts: Option<Vec<String>> = path.split('/').map(part).collect();
    Regex::new(&format!("^(?:{})$", parts?.join("/"))).ok()
}

/// One part of a path. What no repository's name can hold is a mistake, and not a scope that is met by nothing.
fn part(part: &str) -> Option<String> {
    if part == "**" {
        return Some(".+".to_owned());
    }
    let known = |letter: char| {
        letter.is_ascii_lowercase() || letter.is_ascii_digit() || matches!(letter, '.' | '_' | '-' | '*')
    };
    if part.is_empty() || part.contains("**") || !part.chars().all(known) {
        return None;
    }
    let literals: Vec<String> = part.split('*').map(regex::escape).collect();
    Some(literals.join("[^/]*"))
}

/// What is equal, and is shown, is what was written.
macro_rules! as_written {
    ($kind:ty) => {
        impl PartialEq for $kind {
            fn eq(&self, other: &Self) -> bool {
                self.written == other.written
            }
        }

        impl fmt::Debug for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.written, f)
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.written)
            }
        }
    };
}

as_written!(Scope);
as_written!(Paths);
