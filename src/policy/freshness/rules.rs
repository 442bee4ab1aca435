//! What may be chosen about freshness: for an upstream, and for some of its repositories and tags.

use std::time::Duration;

use regex::RegexSet;

use crate::oci::{RepositoryPath, Tag};

/// What holds for one tag.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// How long a tag is served without asking.
    pub ttl: Duration,
    /// How long after that it is still served at once, while the upstream is asked behind its back.
    pub stale_while_revalidate: Duration,
    /// How long after its validation a tag may be served when the upstream cannot answer.
    pub stale_if_error: Duration,
    /// Tags that never move: once known, they are not asked about again.
    pub immutable: Patterns,
    /// The upstream is not to be asked for anything.
    pub offline: bool,
}

/// Rules that some repositories or tags have instead.
#[derive(Clone, Debug, PartialEq)]
pub struct Exception {
    /// The repositories, without their registry; all if there is no pattern.
    pub repository: Patterns,
    /// The tags; all if there is no pattern, and then what has no tag as well.
    pub tag: Patterns,
    /// What holds for them.
    pub rules: Rules,
}

/// The rules of one upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// What holds where no exception does.
    pub usual: Rules,
    /// The first that matches is the one.
    pub exceptions: Vec<Exception>,
}

impl Policy {
    /// Rules without exceptions.
    pub fn plain(usual: Rules) -> Self {
        Self {
            usual,
            exceptions: Vec::new(),
        }
    }

    /// What holds for a tag of a repository, or for what has no tag: content by digest, and lists.
    pub fn rules(&self, repository: &RepositoryPath, tag: Option<&Tag>) -> &Rules {
        let holds = |exception: &&Exception| {
            let named = |tag: &Tag| exception.tag.matches(tag.as_str());
            (exception.repository.is_empty() || exception.repository.matches(repository.as_str()))
                && (exception.tag.is_empty() || tag.is_some_and(named))
        };
        let exception = self.exceptions.iter().find(holds);
        exception.map_or(&self.usual, |exception| &exception.rules)
    }
}

/// Regular expressions, of which one must be found in a text; use `^` and `$` for the whole of it. They take
/// time in proportion to the text, whatever they are.
#[derive(Clone, Debug, Default)]
pub struct Patterns(Option<RegexSet>);

impl Patterns {
    /// Compiles them.
    ///
    /// # Errors
    /// If one of them is no regular expression.
    pub fn new(patterns: &[String]) -> Result<Self, regex::Error> {
        let compile = || RegexSet::new(patterns);
        let set = (!patterns.is_empty()).then(compile).transpose()?;
        Ok(Self(set))
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// True if one of them is found in `text`.
    pub fn matches(&self, text: &str) -> bool {
        self.0.as_ref().is_some_and(|set| set.is_match(text))
    }

    /// As they were written.
    pub fn written(&self) -> &[String] {
        self.0.as_ref().map_or(&[], RegexSet::patterns)
    }
}

impl PartialEq for Patterns {
    fn eq(&self, other: &Self) -> bool {
        self.written() == other.written()
    }
}
