//! `tests/defences.md` holds: every attack has a test that exists, or says why there is none.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use regex::Regex;

/// Numbers that name no attack.
const UNUSED: [u32; 3] = [126, 127, 128];
const LAST: u32 = 161;
/// A reason that says less says nothing.
const LEAST_REASON: usize = 40;

/// One attack of the table.
struct Row {
    number: String,
    held_by: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rows(table: &str) -> Vec<Row> {
    let is_row = |line: &&str| line.starts_with("| S");
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 3, "{line}");
        assert!(cells[1].len() > 10, "{line}");
        Row {
            number: cells[0].to_owned(),
            held_by: cells[2].to_owned(),
        }
    };
    table.lines().filter(is_row).map(row).collect()
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

/// What is wrong with what a row names.
fn problem(row: &Row, tests: &BTreeSet<String>) -> Option<String> {
    let number = &row.number;
    let enough = |reason: &str| match reason.len() < LEAST_REASON {
        true => Some(format!("{number}: a reason that is none: {reason}")),
        false => None,
    };
    if let Some(reason) = row.held_by.strip_prefix("none: ") {
        return enough(reason);
    }
    let (named, reason) = match row.held_by.split_once("; partly: ") {
        Some((named, reason)) => (named, Some(reason)),
        None => (row.held_by.as_str(), None),
    };
    for name in named.split(", ") {
        let Some(name) = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')) else {
            return Some(format!("{number}: neither a test nor a reason: {name}"));
        };
        let is_there = match name.contains('/') {
            true => root().join(name).is_file(),
            false => tests.contains(name),
        };
        if !is_there {
            return Some(format!("{number}: there is no test `{name}`"));
        }
    }
    reason.and_then(enough)
}

#[test]
fn every_attack_has_a_test_that_exists_or_a_reason() {
    let table = fs::read_to_string(root().join("tests/defences.md")).unwrap();
    let (rows, tests) = (rows(&table), tests(&sources()));
    assert!(tests.len() > 1000, "only {} tests were found", tests.len());
    let found: Vec<&str> = rows.iter().map(|row| row.number.as_str()).collect();
    let plain = (1..=LAST).filter(|number| !UNUSED.contains(number));
    let mut expected: Vec<String> = plain.map(|number| format!("S{number:03}")).collect();
    expected.extend(["S018b".to_owned(), "S064b".to_owned()]);
    let sorted = |mut numbers: Vec<String>| {
        numbers.sort_unstable();
        numbers
    };
    let found = sorted(found.into_iter().map(str::to_owned).collect());
    assert_eq!(found, sorted(expected));
    let problems: Vec<String> = rows.iter().filter_map(|row| problem(row, &tests)).collect();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_attack_that_a_test_cites_is_in_the_table() {
    let table = fs::read_to_string(root().join("tests/defences.md")).unwrap();
    let known: BTreeSet<String> = rows(&table).into_iter().map(|row| row.number).collect();
    let cited = Regex::new(r"(?:[^A-Za-z0-9]S|fn s|_s)([0-9]{3}b?)(?:[^0-9a-z]|$)").unwrap();
    let mut seen = BTreeSet::new();
    for source in sources() {
        seen.extend(
            cited
                .captures_iter(&source)
                .map(|found| format!("S{}", &found[1])),
        );
    }
    assert!(seen.len() > 80, "only {} citations were found", seen.len());
    let unknown: Vec<&String> = seen.difference(&known).collect();
    assert!(unknown.is_empty(), "not in tests/defences.md: {unknown:?}");
}

#[test]
fn a_row_that_names_nothing_that_exists_is_seen() {
    let tests = BTreeSet::from(["a_test".to_owned()]);
    for (held_by, is_good) in [
        ("`a_test`", true),
        ("`a_test`, `tests/defences.md`", true),
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
        assert_eq!(problem(&row, &tests).is_none(), is_good, "{held_by}");
    }
}
