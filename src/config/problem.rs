//! What is wrong with a configuration, all of it at once, said so that it can be put right.

use std::fmt;
use std::path::PathBuf;

/// Longest word, in bytes, that is compared with the known ones.
const MAX_COMPARED: usize = 64;

/// Where a value was written. The order is that of the report: the file from top to bottom, then variables.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Nowhere in particular: it is missing, or concerns the file as a whole.
    Whole,
    /// In the file; both count from 1, columns in characters.
    File {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// In an environment variable of this name.
    Variable(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("-"),
            Self::File { line, column } => write!(f, "{line}:{column}"),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong: the key, the value found, what was expected. Never a secret.
    pub what: String,
    /// The next step, if we know it.
    pub hint: Option<String>,
}

/// The problems found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    /// Adds a problem.
    pub(super) fn add(&mut self, place: &Place, what: impl Into<String>, hint: Option<String>) {
        self.0.push(Problem {
            place: place.clone(),
            what: what.into(),
            hint,
        });
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Everything is well, or a report of all problems in `file`.
    pub(super) fn report(mut self, file: Option<PathBuf>) -> Result<(), Report> {
        if self.0.is_empty() {
            return Ok(());
        }
        self.0.sort_by(|a, b| a.place.cmp(&b.place));
        Err(Report {
            file,
            problems: self.0,
        })
    }
}

/// Why a configuration was refused: every problem, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The file, if there was one.
    pub file: Option<PathBuf>,
    /// The problems; at least one.
    pub problems: Vec<Problem>,
}

impl std::error::Error for Report {}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        match &self.file {
            Some(file) => write!(f, "error: {count} {noun} in {}", file.display())?,
            None => write!(f, "error: {count} {noun} in the configuration")?,
        }
        let places: Vec<String> = self.problems.iter().map(|each| each.place.to_string()).collect();
        let width = places.iter().map(String::len).max().unwrap_or_default();
        for (place, problem) in places.iter().zip(&self.problems) {
            write!(f, "\n  {place:width$}   {}", problem.what)?;
            if let Some(hint) = &problem.hint {
                write!(f, "\n  {:width$}   hint: {hint}", "")?;
            }
        }
        Ok(())
    }
}

/// The hint for a misspelt word, if one of `known` is near.
pub(super) fn did_you_mean(found: &str, known: &[&str]) -> Option<String> {
    nearest(found, known).map(|near| format!("did you mean \"{near}\"?"))
}

/// The known word nearest to `found`, if it is near enough to be meant.
fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    // A longer word is no misspelling of ours, and comparing it would take long.
    if found.len() > MAX_COMPARED {
        return None;
    }
    let lower = found.to_lowercase();
    let near_enough = (found.chars().count() / 3).max(1);
    known
        .iter()
        .map(|word| (distance(&lower, word), *word))
        .filter(|(far, _)| *far <= near_enough)
        .min()
        .map(|(_, word)| word)
}

/// Number of steps that turn one word into the other: a letter inserted, deleted or replaced, or two
/// neighbours swapped (Levenshtein's distance with Damerau's swaps).
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for (i, letter) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in to.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(letter != other);
            let mut least = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && from[i - 1] == *other && *letter == to[j - 1] {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_is_recognised_and_a_strange_one_is_not() {
        let known = ["public", "shared", "per_client"];
        assert_eq!(nearest("publc", &known), Some("public"));
        assert_eq!(nearest("Shared", &known), Some("shared"));
        assert_eq!(nearest("per-client", &known), Some("per_client"));
        assert_eq!(nearest("everyone", &known), None);
        assert_eq!(nearest("inof", &["info", "off"]), Some("info"));
    }

    #[test]
    fn a_report_lists_the_file_from_top_to_bottom_and_then_the_variables() {
        let mut problems = Problems::default();
        problems.add(&Place::Variable("SEAWALL_X".into()), "third", None);
        problems.add(&Place::File { line: 31, column: 2 }, "second", Some("do".into()));
        problems.add(&Place::File { line: 4, column: 12 }, "first", None);
        let report = problems.report(Some("a.toml".into())).unwrap_err().to_string();
        let wanted = "error: 3 problems in a.toml\n  4:12        first\n  31:2        second\n              hint: do\n  SEAWALL_X   third";
        assert_eq!(report, wanted);
    }
}
