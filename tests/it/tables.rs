//! `tests/defences.md` and `tests/faults.md` hold: every attack and every fault has a test that exists, or says why
//! there is none.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use regex::Regex;

/// A table of what may happen, and what holds against it.
struct Table {
    path: &'static str,
    /// What every number of the table begins with.
    letter: char,
    last: u32,
    /// Numbers that name nothing.
    unused: &'static [u32],
    /// Numbers between others.
    between: &'static [&'static str],
    /// The sources cite at least so many.
    least_cited: usize,
}

const TABLES: [Table; 2] = [
    Table {
        path: "tests/defences.md",
        letter: 'S',
        last: 178,
        unused: &[126, 127, 128],
        between: &["S018b", "S064b"],
        least_cited: 80,
    },
    Table {
        path: "tests/faults.md",
        letter: 'F',
        last: 116,
        unused: &[],
        between: &["F017b", "F060a"],
        least_cited: 60,
    },
];
/// A reason that says less says nothing.
const LEAST_REASON: usize = 40;

/// One attack or fault.
struct Row {
    number: String,
    held_by: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Table {
    fn rows(&self) -> Vec<Row> {
        let table = fs::read_to_string(root().join(self.path)).unwrap();
        let begin = format!("| {}", self.letter);
        let rows = table.lines().filter(|line| line.starts_with(&begin));
        rows.map(Row::read).collect()
    }

    /// Every number that it must have.
    fn numbers(&self) -> Vec<String> {
        let plain = (1..=self.last).filter(|number| !self.unused.contains(number));
        let plain = plain.map(|number| format!("{}{number:03}", self.letter));
        let between = self.between.iter().map(|number| (*number).to_owned());
        let mut all: Vec<String> = plain.chain(between).collect();
        all.sort_unstable();
        all
    }

    /// The numbers that these sources cite, in comments and in the names of tests.
    fn cited(&self, sources: &[String]) -> BTreeSet<String> {
        let (letter, small) = (self.letter, self.letter.to_ascii_lowercase());
        let cited = format!("(?:[^A-Za-z0-9]{letter}|fn {small}|_{small})([0-9]{{3}}[ab]?)(?:[^0-9a-z]|$)");
        let cited = Regex::new(&cited).unwrap();
        let found = sources.iter().flat_map(|source| cited.captures_iter(source));
        found.map(|found| format!("{letter}{}", &found[1])).collect()
    }
}

impl Row {
    fn read(line: &str) -> Self {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 3, "{line}");
        assert!(cells[1].len() > 10, "{line}");
        Self {
            number: cells[0].to_owned(),
            held_by: cells[2].to_owned(),
        }
    }

    /// What is wrong with what it names.
    fn problem(&self, tests: &BTreeSet<String>) -> Option<String> {
        let number = &self.number;
        let enough = |reason: &str| match reason.len() < LEAST_REASON {
            true => Some(format!("{number}: a reason that is none: {reason}")),
            false => None,
        };
        if let Some(reason) = self.held_by.strip_prefix("none: ") {
            return enough(reason);
        }
        let (named, reason) = match self.held_by.split_once("; partly: ") {
            Some((named, reason)) => (named, Some(reason)),
            None => (self.held_by.as_str(), None),
        };
        for name in named.split(", ") {
            let Some(name) = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')) else {
                return Some(format!("{number}: neither a test nor a reason: {name}"));
            };
            if !exists(name, tests) {
                return Some(format!("{number}: there is no test `{name}`"));
            }
        }
        reason.and_then(enough)
    }
}

/// True for a function that cargo runs as a test, for a file, and for a function of a file (`tests/e2e/disk.rs::full`).
fn exists(name: &str, tests: &BTreeSet<String>) -> bool {
    if !name.contains('/') {
        return tests.contains(name);
    }
    match name.split_once("::") {
        None => root().join(name).is_file(),
        Some((file, function)) => fs::read_to_string(root().join(file))
            .is_ok_and(|source| source.contains(&format!("\npub(crate) fn {function}("))),
    }
}

/// Every source below these folders.
fn sources() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("src"), root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(fs::read_to_string(path).unwrap());
            }
        }
    }
    found
}

/// The functions that cargo runs as tests.
fn tests(sources: &[String]) -> BTreeSet<String> {
    let attribute = r"#\[(?:tokio::)?test(?:\([^)]*\))?\]";
    let others = r"(?:[ \n]*(?:#\[[^\n]*\]|//[^\n]*))*";
    let test = Regex::new(&format!(r"{attribute}{others}[ \n]*(?:async )?fn ([a-z0-9_]+)")).unwrap();
    let names = sources.iter().flat_map(|source| test.captures_iter(source));
    names.map(|found| found[1].to_owned()).collect()
}

#[test]
fn every_attack_and_fault_has_a_test_that_exists_or_a_reason() {
    let tests = tests(&sources());
    assert!(tests.len() > 1000, "only {} tests were found", tests.len());
    for table in &TABLES {
        let rows = table.rows();
        let mut found: Vec<&str> = rows.iter().map(|row| row.number.as_str()).collect();
        found.sort_unstable();
        assert_eq!(found, table.numbers());
        let problems: Vec<String> = rows.iter().filter_map(|row| row.problem(&tests)).collect();
        assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
    }
}

#[test]
fn every_attack_and_fault_that_a_test_cites_is_in_its_table() {
    let sources = sources();
    for table in &TABLES {
        let known: BTreeSet<String> = table.rows().into_iter().map(|row| row.number).collect();
        let cited = table.cited(&sources);
        assert!(cited.len() > table.least_cited, "only {} citations", cited.len());
        let unknown: Vec<&String> = cited.difference(&known).collect();
        assert!(unknown.is_empty(), "not in {}: {unknown:?}", table.path);
    }
}

#[test]
fn a_row_that_names_nothing_that_exists_is_seen() {
    let tests = BTreeSet::from(["a_test".to_owned()]);
    for (held_by, is_good) in [
        ("`a_test`", true),
        ("`a_test`, `tests/defences.md`", true),
        ("`tests/e2e/disk.rs::full`", true),
        ("`tests/e2e/disk.rs::empty`", false),
        ("`tests/e2e/no_disk.rs::full`", false),
        ("`another_test`", false),
        ("`a_test`, `another_test`", false),
        ("`tests/nothing`", false),
        ("a_test", false),
        ("", false),
        ("none: no", false),
        ("`a_test`; partly: no", false),
        ("none: there is a reason, and it is of some length", true),
        (
            "`a_test`; partly: there is a reason, and it is of some length",
            true,
        ),
        (
            "`another_test`; partly: there is a reason, and it is of some length",
            false,
        ),
    ] {
        let row = Row {
            number: "any".to_owned(),
            held_by: held_by.to_owned(),
        };
        assert_eq!(row.problem(&tests).is_none(), is_good, "{held_by}");
    }
}
