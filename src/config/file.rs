//! The configuration as written: a tree whose every value knows where it stands.
//!
//! Values keep the type they were written with; what they should be is decided by whoever reads them, so
//! that one wrong value hides no other. The tree has no `Debug`: a password may stand in it by mistake.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Place, Problems};

/// A value and its place.
pub(super) struct Node {
    /// Where it was written.
    pub(super) place: Place,
    /// What was written.
    pub(super) value: Value,
}

/// A value.
pub(super) enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Boolean(bool),
    /// A list.
    List(Vec<Node>),
    /// A table.
    Table(Table),
    /// The text of an environment variable, which is what its reader takes it for.
    Raw(String),
    /// Anything else TOML can say and we never want, by its name for people.
    Other(&'static str),
}

/// Values by key.
#[derive(Default)]
pub(super) struct Table(pub(super) BTreeMap<String, Entry>);

/// One key of a table.
pub(super) struct Entry {
    /// Where the key was written, which is what a complaint about an unknown key points at.
    pub(super) place: Place,
    /// Its value.
    pub(super) node: Node,
}

impl Value {
    /// What kind of value it is, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Raw(_) => "a text",
            Self::Integer(_) => "a number",
            Self::Boolean(_) => "a boolean",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// The keys whose value is the path of a file.
const PATHS: [&str; 8] = [
    "file",
    "ca",
    "certificate",
    "key",
    "client_ca",
    "htpasswd",
    "docker_config",
    "root",
];

/// The keys whose value is a list of them.
const PATH_LISTS: [&str; 1] = ["keys"];

/// Adds every file that is named somewhere below a table.
pub(super) fn named_files(table: &Table, found: &mut Vec<PathBuf>) {
    for (key, entry) in &table.0 {
        named_by(key, &entry.node, found);
    }
}

fn named_by(key: &str, node: &Node, found: &mut Vec<PathBuf>) {
    match &node.value {
        Value::Text(path) | Value::Raw(path) if PATHS.contains(&key) => found.push(path.into()),
        Value::Table(table) => named_files(table, found),
        Value::List(nodes) if PATH_LISTS.contains(&key) => {
            let written = nodes.iter().filter_map(|node| match &node.value {
                Value::Text(path) | Value::Raw(path) => Some(path.into()),
                _ => None,
            });
            found.extend(written);
        }
        // Another list has names in it, such as those that clients show in their certificates, or tables.
        Value::List(nodes) => nodes.iter().for_each(|node| named_by("", node, found)),
        Value::Text(_) | Value::Raw(_) | Value::Integer(_) | Value::Boolean(_) | Value::Other(_) => {}
    }
}

/// Reads a TOML document. What cannot be read is a problem each; the rest is kept.
pub(super) fn parse(text: &str, problems: &mut Problems) -> Table {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let place = error.span().map_or(Place::Whole, |span| place(text, span.start));
        // Not the error's own display: that quotes the line, and the line may hold a password.
        problems.add(&place, format!("not TOML: {}", error.message()), None);
    }
    convert_table(table.into_inner(), &|offset| place(text, offset))
}

/// Reads one TOML value that stands in an environment variable; `None` if it is not TOML.
pub(super) fn parse_variable(text: &str, variable: &str) -> Option<Node> {
    let place = |_| Place::Variable(variable.to_owned());
    DeValue::parse(text).ok().map(|value| convert(value, &place))
}

/// Line and column of a byte offset.
fn place(text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Place::File {
        line: before.matches('\n').count() + 1,
        column: before[start..].chars().count() + 1,
    }
}

fn convert_table(table: DeTable<'_>, place: &dyn Fn(usize) -> Place) -> Table {
    let entries = table.into_iter().map(|(key, value)| {
        let entry = Entry {
            place: place(key.span().start),
            node: convert(value, place),
        };
        (key.into_inner().into_owned(), entry)
    });
    Table(entries.collect())
}

fn convert(value: Spanned<DeValue<'_>>, place: &dyn Fn(usize) -> Place) -> Node {
    let here = place(value.span().start);
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or(Value::Other("a number out of range"), Value::Integer),
        DeValue::Boolean(boolean) => Value::Boolean(boolean),
        DeValue::Array(list) => Value::List(list.into_iter().map(|each| convert(each, place)).collect()),
        DeValue::Table(table) => Value::Table(convert_table(table, place)),
        DeValue::Float(_) => Value::Other("a fraction"),
        DeValue::Datetime(_) => Value::Other("a date"),
    };
    Node { place: here, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_by_paths_and_not_by_the_names_in_a_certificate() {
        let text = "[server.tls]\ncertificate = \"tls.crt\"\n[[client]]\nmatch = { certificate = [\"node-1\"] }\n\
                    [[upstream]]\ncredentials = [{ password = { file = \"robot\" } }]\n";
        let mut found = Vec::new();
        named_files(&parse(text, &mut Problems::default()), &mut found);
        found.sort();
        assert_eq!(found, ["robot", "tls.crt"].map(PathBuf::from));
    }

    #[test]
    fn every_value_knows_its_line_and_column_in_characters() {
        let mut problems = Problems::default();
        let tree = parse("[server]\n\"é\" = 0x10\n", &mut problems);
        let Value::Table(server) = &tree.0["server"].node.value else {
            panic!("not a table")
        };
        let entry = &server.0["é"];
        assert_eq!(entry.place, Place::File { line: 2, column: 1 });
        assert_eq!(entry.node.place, Place::File { line: 2, column: 7 });
        assert!(matches!(entry.node.value, Value::Integer(16)));
    }

    #[test]
    fn text_that_is_not_toml_is_placed_and_never_quoted() {
        let mut problems = Problems::default();
        parse("a = 1\npassword = canary-S033 x\n", &mut problems);
        let report = problems.report(None).unwrap_err();
        assert!(matches!(report.problems[0].place, Place::File { line: 2, .. }));
        assert!(!report.to_string().contains("canary"), "{report}");
    }
}
