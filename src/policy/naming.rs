//! Which registry does a request mean?
//!
//! In this order: `?ns=` › a Host header that is a known registry's name or one of its `hosts` › a first
//! path part that names a known registry › the default. A registry that is not known is refused: Seawall is
//! never an open relay, unless the operator allows a pattern (`*.azurecr.io`) or any (`*`).

use std::collections::HashMap;
use std::fmt;

use super::access::{Offer, Wanted};
use crate::oci::{Registry, Repository, RepositoryPath, Target};

/// Which registries an entry of the configuration stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// One registry.
    Exact(Registry),
    /// Every registry whose host ends with this text, which starts with a dot: `*.azurecr.io`.
    Suffix(String),
    /// Every registry: `*`.
    Any,
}

impl Pattern {
    /// Parses `ghcr.io`, `*.azurecr.io` or `*`. Returns `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        if let Some(suffix) = text.strip_prefix('*') {
            let domain: Registry = suffix.strip_prefix('.')?.parse().ok()?;
            let plain = domain.as_str() == domain.host() && domain.as_str().contains('.');
            return plain.then(|| Self::Suffix(format!(".{domain}")));
        }
        text.parse().ok().map(Self::Exact)
    }

    /// True if `registry` is one of those the pattern stands for.
    pub fn matches(&self, registry: &Registry) -> bool {
        match self {
            Self::Exact(exact) => exact == registry,
            Self::Suffix(suffix) => {
                registry.as_str() == registry.host() && registry.host().ends_with(suffix.as_str())
            }
            Self::Any => true,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(registry) => fmt::Display::fmt(registry, f),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// One entry of the configuration, as far as names go.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What clients call it.
    pub pattern: Pattern,
    /// Host headers that mean it, besides its own name. Only for [`Pattern::Exact`].
    pub hosts: Vec<Registry>,
    /// True if it serves the requests that name no registry.
    pub default: bool,
    /// Which of its repositories may be pulled from.
    pub offer: Offer,
}

/// The registries that may be asked for.
#[derive(Clone, Debug)]
pub struct Names {
    entries: Vec<Entry>,
    hosts: HashMap<Registry, Registry>,
    default: Option<Registry>,
}

/// A request's repository, and the entry of the configuration that serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Index of the entry.
    pub entry: usize,
    /// The repository, under the name the upstream knows.
    pub repository: Repository,
}

/// Why no repository could be chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// The registry is not configured.
    #[error("the registry `{0}` is not configured here")]
    Registry(Registry),
    /// The request names no registry and there is no default.
    #[error("the request names no registry, and no default is configured")]
    NoDefault,
}

impl Names {
    /// The names of these entries. Where two match, the exact one wins, then the earlier.
    pub fn new(entries: Vec<Entry>) -> Self {
        let mut hosts = HashMap::new();
        let mut default = None;
        let exact = || {
            entries.iter().filter_map(|entry| match &entry.pattern {
                Pattern::Exact(registry) => Some((entry, registry)),
                Pattern::Suffix(_) | Pattern::Any => None,
            })
        };
        // A registry's own name is never taken by another's `hosts`.
        for (_, registry) in exact() {
            hosts.insert(registry.clone(), registry.clone());
        }
        for (entry, registry) in exact() {
            for host in &entry.hosts {
                hosts.entry(host.clone()).or_insert_with(|| registry.clone());
            }
            if entry.default && default.is_none() {
                default = Some(registry.clone());
            }
        }
        Self {
            entries,
            hosts,
            default,
        }
    }

    /// Chooses the repository a request means. `host` is its Host header, if that reads as a registry.
    ///
    /// # Errors
    /// [`Unknown`] if the operator has not allowed the registry.
    pub fn choose(&self, target: &Target, host: Option<&Registry>) -> Result<Chosen, Unknown> {
        let path = || match &target.prefix {
            None => Ok(target.path.clone()),
            // `ns=` beside a path that starts with a host and port: no registry has such repositories.
            Some(prefix) => Err(Unknown::Registry(prefix.clone())),
        };
        if let Some(registry) = &target.namespace {
            return self.found(registry.clone(), path()?);
        }
        if let Some(registry) = host.and_then(|host| self.hosts.get(host)) {
            return self.found(registry.clone(), path()?);
        }
        if let Some(prefix) = &target.prefix {
            return self.found(prefix.clone(), target.path.clone());
        }
        if Registry::stands_first(target.path.first())
            && let Some((first, rest)) = target.path.split_first()
            && let Ok(registry) = first.parse::<Registry>()
            && (self.entry(&registry).is_some() || self.is_hub(self.default.as_ref()))
        {
            return self.found(registry, rest);
        }
        let registry = self.default.clone().ok_or(Unknown::NoDefault)?;
        self.found(registry, target.path.clone())
    }

    /// The repository that the operator means, whether its registry is still configured or not.
    ///
    /// # Errors
    /// [`Unknown::NoDefault`] if no registry is named and there is no default.
    pub fn meant(&self, target: &Target) -> Result<Repository, Unknown> {
        let named = target.namespace.as_ref().or(self.default.as_ref());
        let registry = named.cloned().ok_or(Unknown::NoDefault)?;
        let path = target.path.clone();
        let path = match self.is_hub(Some(&registry)) {
            true => with_library(path),
            false => path,
        };
        Ok(Repository { registry, path })
    }

    /// True if a repository may be pulled from, as far as its registry's entry says.
    ///
    /// # Panics
    /// If `chosen` came from other names.
    pub fn offers(&self, chosen: &Chosen) -> bool {
        self.entries[chosen.entry].offer.covers(&chosen.repository.path)
    }

    /// What somebody wants who asks for this.
    ///
    /// # Panics
    /// As [`Self::offers`].
    pub fn wanted<'a>(&self, chosen: &'a Chosen) -> Wanted<'a> {
        match self.offers(chosen) {
            true => Wanted::Repository(&chosen.repository),
            false => Wanted::Unoffered(&chosen.repository),
        }
    }

    /// The index of the entry that serves `registry`, if any.
    pub fn entry(&self, registry: &Registry) -> Option<usize> {
        let exact = |entry: &Entry| matches!(&entry.pattern, Pattern::Exact(exact) if exact == registry);
        let suffix =
            |entry: &Entry| matches!(entry.pattern, Pattern::Suffix(_)) && entry.pattern.matches(registry);
        let any = |entry: &Entry| entry.pattern == Pattern::Any;
        let position = |wanted: &dyn Fn(&Entry) -> bool| self.entries.iter().position(wanted);
        position(&exact)
            .or_else(|| position(&suffix))
            .or_else(|| position(&any))
    }

    fn found(&self, registry: Registry, path: RepositoryPath) -> Result<Chosen, Unknown> {
        let entry = self
            .entry(&registry)
            .ok_or_else(|| Unknown::Registry(registry.clone()))?;
        let path = if self.is_hub(Some(&registry)) {
            with_library(path)
        } else {
            path
        };
        Ok(Chosen {
            entry,
            repository: Repository { registry, path },
        })
    }

    /// Docker Hub has no repository whose first part has a dot, so such a part is a registry's name.
    fn is_hub(&self, registry: Option<&Registry>) -> bool {
        registry.is_some_and(|registry| registry.as_str() == Registry::DOCKER_HUB)
    }
}

/// Docker Hub keeps the names of one part under `library/`.
fn with_library(path: RepositoryPath) -> RepositoryPath {
    if path.as_str().contains('/') {
        return path;
    }
    format!("library/{path}").parse().unwrap_or(path)
}

#[cfg(test)]
mod tests;
