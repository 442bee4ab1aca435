//! Which repositories are meant: `docker.io/library/*`, `ghcr.io/team/**`, `*.azurecr.io`.

use std::fmt;

use regex::Regex;

use crate::oci::{Registry, RepositoryPath};
use crate::policy::naming;

/// Most characters of a written scope: a registry's name and a repository's.
const MAX_WRITTEN: usize = 512;

/// Repositories of one registry, or of several.
#[derive(Clone)]
pub struct Scope {
    written: String,
    registry: naming::Pattern,
    /// `None`: all of them.
    path: Option<Regex>,
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
        let path = match path {
            None | Some("**") => None,
            Some(path) => Some(expression(path)?),
        };
        Some(Self {
            written: text.to_owned(),
            registry,
            path,
        })
    }

    /// True if a repository is meant.
    pub fn matches(&self, registry: &Registry, path: &RepositoryPath) -> bool {
        let is_path = |expression: &Regex| expression.is_match(path.as_str());
        self.registry.matches(registry) && self.path.as_ref().is_none_or(is_path)
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

impl PartialEq for Scope {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.written, f)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}
