//! `REPOSITORY:TAG`, both regular expressions, as in `az acr purge --filter`.
//!
//! Both must match the whole name. The name of a repository begins with its registry, always:
//! `docker.io/library/alpine`. So a filter means the same whatever the default registry is.

use std::fmt;

use regex::Regex;

/// Which tags of which repositories.
#[derive(Clone)]
pub struct Filter {
    written: String,
    repository: Regex,
    tag: Regex,
}

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// There is no colon between two expressions.
    #[error(
        "expected REPOSITORY:TAG, two regular expressions for whole names, such as `ghcr.io/team/.*:dev-.*`; for \
         all tags of a repository end with `:.*`"
    )]
    Form,
    /// One of the two is no regular expression.
    #[error("`{part}` is no regular expression: {why}")]
    Expression {
        /// The expression.
        part: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// [`FilterError`], with what is wrong.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let colon = last_colon(text).ok_or(FilterError::Form)?;
        let (repository, tag) = (&text[..colon], &text[colon + 1..]);
        // No tag has a slash: what stands there is the port of a registry and its repository.
        if repository.is_empty() || tag.is_empty() || tag.contains('/') {
            return Err(FilterError::Form);
        }
        Ok(Self {
            written: text.to_owned(),
            repository: whole(repository)?,
            tag: whole(tag)?,
        })
    }

    /// True if a repository of this name is meant: `ghcr.io/team/app`.
    pub fn is_for(&self, repository: &str) -> bool {
        self.repository.is_match(repository)
    }

    /// True if the tag is meant.
    pub fn takes(&self, tag: &str) -> bool {
        self.tag.is_match(tag)
    }
}

/// The last colon that is not part of an expression such as `(?:…)` or `[[:digit:]]`.
fn last_colon(text: &str) -> Option<usize> {
    let (mut last, mut classes, mut escaped, mut flags) = (None, 0_u32, false, false);
    let mut before = ' ';
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => {}
            '[' => classes += 1,
            ']' => classes = classes.saturating_sub(1),
            '?' if before == '(' && classes == 0 => flags = true,
            ')' => flags = false,
            ':' if flags => flags = false,
            ':' if classes == 0 => last = Some(at),
            _ => {}
        }
        escaped = letter == '\\' && !escaped;
        before = letter;
    }
    last
}

fn whole(part: &str) -> Result<Regex, FilterError> {
    let wrong = |error: &regex::Error| FilterError::Expression {
        part: part.to_owned(),
        // The last line says it; those before draw a picture.
        why: error.to_string().lines().last().unwrap_or_default().to_owned(),
    };
    // By itself first, so that it cannot reach out of the brackets.
    Regex::new(part).map_err(|error| wrong(&error))?;
    Regex::new(&format!("^(?:{part})$")).map_err(|error| wrong(&error))
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(filter: &str, repository: &str, tag: &str) -> bool {
        let filter = Filter::parse(filter).unwrap();
        filter.is_for(repository) && filter.takes(tag)
    }

    #[test]
    fn a_filter_means_whole_names_with_their_registry() {
        assert!(takes("ghcr.io/team/.*:dev-.*", "ghcr.io/team/a/b", "dev-1"));
        assert!(!takes("ghcr.io/team/.*:dev-.*", "ghcr.io/team/a", "a-dev-1"));
        assert!(!takes("team/.*:.*", "ghcr.io/team/a", "1"));
        assert!(!takes("library/alpine:.*", "docker.io/library/alpine", "1"));
        assert!(takes("a|b/c:1|2", "b/c", "2"));
        assert!(!takes("a|b/c:1|2", "a/c", "2"));
    }

    #[test]
    fn the_colon_that_divides_is_none_of_an_expression() {
        assert!(takes("localhost:5000/app:1", "localhost:5000/app", "1"));
        assert!(takes("a/(?:b|c):(?:1|2)", "a/c", "2"));
        assert!(takes("a/b:(?i:DEV)-[[:digit:]]+", "a/b", "dev-12"));
        assert!(takes(r"a/[b\]:]+:1", "a/b:]", "1"));
        assert!(takes("a/b:[[:digit:]:]+", "a/b", "12"));
    }

    #[test]
    fn what_is_no_filter_is_refused_with_what_is_expected() {
        for text in ["", "ghcr.io/team", ":.*", "a:", "localhost:5000/app", "(?:a|b)"] {
            assert_eq!(Filter::parse(text).unwrap_err(), FilterError::Form, "{text}");
        }
        for text in ["a(:b", "a:b)|(c", "a/*:[", "a:b{99999}{99999}"] {
            let error = Filter::parse(text).unwrap_err().to_string();
            assert!(error.contains("is no regular expression: "), "{text}: {error}");
        }
    }
}
