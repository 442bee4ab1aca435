//! Which repositories of a registry a credential is for: all, or those at and below a path.

use std::fmt;

use crate::oci::RepositoryPath;

/// A path that repositories stand at or below; the empty one is for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(String);

impl Prefix {
    /// All repositories.
    pub const ALL: Self = Self(String::new());

    /// Reads `team` or `team/app`, with or without slashes around it. `None` if no repository can stand there.
    pub fn parse(text: &str) -> Option<Self> {
        let path = text.trim_matches('/');
        let is_path = path.is_empty() || path.parse::<RepositoryPath>().is_ok();
        is_path.then(|| Self(path.to_owned()))
    }

    /// The path, without slashes around it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if it is for all repositories.
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// How much of a repository's path it names, in bytes; `None` if the repository does not stand there.
    pub fn reach(&self, repository: &str) -> Option<usize> {
        let rest = repository.strip_prefix(self.0.as_str())?;
        (self.is_all() || rest.is_empty() || rest.starts_with('/')).then_some(self.0.len())
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_for_what_stands_at_it_or_below_it_and_not_for_names_that_begin_alike() {
        let team = Prefix::parse("/team/").unwrap();
        assert_eq!(team.reach("team"), Some(4));
        assert_eq!(team.reach("team/app"), Some(4));
        for other in ["teams/app", "tea", "other/team", ""] {
            assert_eq!(team.reach(other), None, "{other}");
        }
        assert_eq!(Prefix::ALL.reach("teams/app"), Some(0));
        assert_eq!(Prefix::parse(""), Some(Prefix::ALL));
        for wrong in ["Team", "a//b", "a b", "*", "a/*"] {
            assert_eq!(Prefix::parse(wrong), None, "{wrong}");
        }
    }
}
