//! Reading one table of the configuration, key by key, collecting what is wrong instead of stopping.

use super::file::{Node, Table, Value};
use super::misplaced;
use super::problem::{Place, Problems, did_you_mean};
use super::units;

/// Most characters of a wrong value that a report repeats.
const MAX_SHOWN: usize = 60;

/// Why a value cannot be taken.
pub(super) struct Wrong {
    /// What was expected, to read after "expected".
    expected: String,
    /// The next step.
    hint: Option<String>,
    /// Whether the report may repeat the value.
    shown: bool,
}

impl Wrong {
    /// The value is not what was expected.
    pub(super) fn expected(what: impl Into<String>) -> Self {
        Self {
            expected: what.into(),
            hint: None,
            shown: true,
        }
    }

    /// Adds the next step.
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// The word would do as well.
    pub(super) fn or(self, word: &str) -> Self {
        Self {
            expected: format!("{}, or \"{word}\"", self.expected),
            ..self
        }
    }

    /// Keeps the value out of the report, because it may hold a secret.
    pub(super) fn secret(self) -> Self {
        Self { shown: false, ..self }
    }
}

/// A table, or its absence, under a name for people.
pub(super) struct Section<'a> {
    /// What keys are prefixed with in a report: `server.`, `upstream "ghcr.io": `.
    pub(super) name: String,
    /// Where the table was written.
    pub(super) place: Place,
    table: Option<&'a Table>,
}

impl<'a> Section<'a> {
    /// Opens the table in `node` and reports the keys that are not `known`.
    pub(super) fn open(
        name: String,
        node: Option<&'a Node>,
        known: &[&str],
        problems: &mut Problems,
    ) -> Self {
        let place = node.map_or(Place::Whole, |node| node.place.clone());
        let table = match node.map(|node| &node.value) {
            None => None,
            Some(Value::Table(table)) => Some(table),
            Some(other) => {
                let label = name.trim_end_matches(['.', ':', ' ']);
                problems.add(
                    &place,
                    format!("{label} is {}: expected a table", other.kind()),
                    None,
                );
                None
            }
        };
        let section = Self { name, place, table };
        section.refuse_unknown(known, problems);
        section
    }

    /// The top of the tree.
    pub(super) fn top(table: &'a Table, known: &[&str], problems: &mut Problems) -> Self {
        let section = Self {
            name: String::new(),
            place: Place::Whole,
            table: Some(table),
        };
        section.refuse_unknown(known, problems);
        section
    }

    /// Opens a table inside this one.
    pub(super) fn section(&self, key: &str, known: &[&str], problems: &mut Problems) -> Self {
        Self::open(format!("{}{key}.", self.name), self.node(key), known, problems)
    }

    /// The value under a key.
    pub(super) fn node(&self, key: &str) -> Option<&'a Node> {
        Some(&self.table?.0.get(key)?.node)
    }

    /// The value under `key` as `read` understands it; `default` if it is absent or wrong.
    pub(super) fn read<T>(
        &self,
        key: &str,
        default: T,
        read: impl Fn(&Node) -> Result<T, Wrong>,
        problems: &mut Problems,
    ) -> T {
        let Some(node) = self.node(key) else {
            return default;
        };
        self.take(key, node, read, problems).unwrap_or(default)
    }

    /// A value that stands under `key` as `read` understands it; `None` if it is wrong.
    pub(super) fn take<T>(
        &self,
        key: &str,
        node: &Node,
        read: impl Fn(&Node) -> Result<T, Wrong>,
        problems: &mut Problems,
    ) -> Option<T> {
        let taken = read(node);
        taken
            .map_err(|wrong| report(&format!("{}{key}", self.name), node, wrong, problems))
            .ok()
    }

    /// Each element of the list under `key`, as `read` understands it; the wrong ones are left out.
    pub(super) fn read_list<T>(
        &self,
        key: &str,
        read: impl Fn(&Node) -> Result<T, Wrong>,
        problems: &mut Problems,
    ) -> Vec<T> {
        let mut values = Vec::new();
        for node in self.list(key, problems) {
            values.extend(self.take(key, node, &read, problems));
        }
        values
    }

    /// The elements of the list under `key`; none if it is absent.
    pub(super) fn list(&self, key: &str, problems: &mut Problems) -> &'a [Node] {
        match self.node(key).map(|node| (node, &node.value)) {
            None => &[],
            Some((_, Value::List(list))) => list,
            Some((node, _)) => {
                let wrong = Wrong::expected("a list")
                    .hint("write it in brackets, elements separated by commas")
                    .secret();
                report(&format!("{}{key}", self.name), node, wrong, problems);
                &[]
            }
        }
    }

    fn refuse_unknown(&self, known: &[&str], problems: &mut Problems) {
        let Some(table) = self.table else { return };
        for (key, entry) in &table.0 {
            if !known.contains(&key.as_str()) {
                let hint = did_you_mean(key, known)
                    .or_else(|| misplaced::hint(&format!("{}{key}", self.name)))
                    .unwrap_or_else(|| format!("the keys here are {}", known.join(", ")));
                let what = format!("{}{}: unknown key", self.name, shorten(key));
                problems.add(&entry.place, what, Some(hint));
            }
        }
    }
}

fn report(name: &str, node: &Node, wrong: Wrong, problems: &mut Problems) {
    let found = match &node.value {
        Value::Text(text) | Value::Raw(text) if wrong.shown => format!(" = {:?}", shorten(text)),
        Value::Integer(number) if wrong.shown => format!(" = {number}"),
        Value::Boolean(boolean) if wrong.shown => format!(" = {boolean}"),
        other => format!(" is {}", other.kind()),
    };
    let what = format!("{name}{found}: expected {}", wrong.expected);
    problems.add(&node.place, what, wrong.hint);
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A text. In an environment variable, quotes around it may be left out.
pub(super) fn text(node: &Node) -> Result<String, Wrong> {
    match &node.value {
        Value::Text(text) => Ok(text.clone()),
        Value::Raw(text) if text.starts_with(['"', '\'']) => {
            match super::file::parse_variable(text, "").map(|node| node.value) {
                Some(Value::Text(unquoted)) => Ok(unquoted),
                Some(_) | None => Ok(text.clone()),
            }
        }
        Value::Raw(text) => Ok(text.clone()),
        Value::Integer(_) | Value::Boolean(_) | Value::List(_) | Value::Table(_) | Value::Other(_) => {
            Err(Wrong::expected("a text in quotes"))
        }
    }
}

/// `true` or `false`.
pub(super) fn boolean(node: &Node) -> Result<bool, Wrong> {
    match &node.value {
        Value::Boolean(boolean) => Ok(*boolean),
        Value::Raw(text) => text.parse().map_err(|_| Wrong::expected("true or false")),
        Value::Text(_) | Value::Integer(_) | Value::List(_) | Value::Table(_) | Value::Other(_) => {
            Err(Wrong::expected("true or false"))
        }
    }
}

/// A number of things, of which there must be one at least and `most` at most.
pub(super) fn count(node: &Node, most: usize) -> Result<usize, Wrong> {
    let number = match &node.value {
        Value::Integer(number) => usize::try_from(*number).ok(),
        Value::Raw(text) => text.parse().ok(),
        Value::Text(_) | Value::Boolean(_) | Value::List(_) | Value::Table(_) | Value::Other(_) => None,
    };
    number
        .filter(|number| (1..=most).contains(number))
        .ok_or_else(|| Wrong::expected(format!("a whole number from 1 to {most}")))
}

/// A size in bytes.
pub(super) fn size(node: &Node) -> Result<u64, Wrong> {
    let wrong = || Wrong::expected(units::A_SIZE);
    units::size(&text(node).map_err(|_| wrong())?).ok_or_else(wrong)
}

/// A rate in bytes per second.
pub(super) fn rate(node: &Node) -> Result<u64, Wrong> {
    let wrong = || Wrong::expected(units::A_RATE);
    units::rate(&text(node).map_err(|_| wrong())?).ok_or_else(wrong)
}

/// A duration, which may be zero.
pub(super) fn duration(node: &Node) -> Result<std::time::Duration, Wrong> {
    let wrong = || Wrong::expected(units::A_DURATION);
    units::duration(&text(node).map_err(|_| wrong())?).ok_or_else(wrong)
}

/// A time limit: a duration longer than zero.
pub(super) fn limit(node: &Node) -> Result<std::time::Duration, Wrong> {
    duration(node).and_then(|limit| {
        let wrong = || Wrong::expected("a duration longer than zero").hint("a limit cannot be switched off");
        (!limit.is_zero()).then_some(limit).ok_or_else(wrong)
    })
}

/// One of a few words.
pub(super) fn word(node: &Node, words: &[&'static str]) -> Result<&'static str, Wrong> {
    let found = text(node)?;
    words.iter().find(|word| **word == found).copied().ok_or_else(|| {
        let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let wrong = Wrong::expected(format!("one of {}", quoted.join(", ")));
        match did_you_mean(&found, words) {
            Some(hint) => wrong.hint(hint),
            None => wrong,
        }
    })
}
