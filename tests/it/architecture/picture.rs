//! The picture, and what a path may not do: go up, go sideways, or make a pure module impure.

use std::collections::BTreeMap;

use proc_macro2::TokenStream;

use super::Source;
use super::paths::{Use, uses};

/// Crates that do IO, wait, lock or log.
const IMPURE_CRATES: [&str; 12] = [
    "hyper",
    "hyper_rustls",
    "hyper_util",
    "moka",
    "prometheus",
    "redb",
    "rustix",
    "rustls",
    "tokio",
    "tokio_util",
    "tracing",
    "tracing_subscriber",
];
/// Modules of the standard library that do IO or run things.
const IMPURE_MODULES: [&str; 7] = ["env", "fs", "io", "os", "path", "process", "thread"];
/// What waits, locks or reads a clock, under whatever path it is reached.
const IMPURE_WORDS: [&str; 7] = [
    "async",
    "await",
    "Condvar",
    "Instant",
    "Mutex",
    "RwLock",
    "SystemTime",
];
/// What touches the network; the rest of `std::net` are plain values.
const SOCKETS: [&str; 6] = [
    "*",
    "TcpListener",
    "TcpStream",
    "ToSocketAddrs",
    "UdpSocket",
    "self",
];

/// Holds the sources against the picture; one line per problem.
pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let text = |name: &str| sources.iter().find(|(path, _)| path == name);
    let Some((_, lib)) = text("src/lib.rs") else {
        return vec!["src/lib.rs is missing".to_owned()];
    };
    let picture = Picture::read(lib);
    let mut problems = check_modules(&picture, lib, sources);
    for (path, source) in sources {
        let Some(module) = module_of(path) else { continue };
        let tokens: TokenStream = source.parse().unwrap();
        for used in uses(tokens, &module) {
            if let Some(problem) = picture.judge(&used).or_else(|| impure(&used)) {
                problems.push(format!("{path}:{}: {problem}", used.line));
            }
        }
    }
    problems
}

/// The layers: a module's row, counted from the top.
struct Picture(BTreeMap<String, usize>);

impl Picture {
    /// Reads the first `text` block of the crate's documentation.
    fn read(lib: &str) -> Self {
        let docs = lib
            .lines()
            .filter_map(|line| line.strip_prefix("//!"))
            .map(str::trim);
        let block = docs.skip_while(|line| *line != "```text").skip(1);
        let rows = block.take_while(|line| *line != "```").enumerate();
        let words =
            rows.flat_map(|(row, line)| line.split('|').map(move |word| (word.trim().to_owned(), row)));
        Self(words.collect())
    }

    /// The problem with an import, if it leads to another module that is not further down.
    fn judge(&self, used: &Use) -> Option<String> {
        let from = used.module.first()?;
        let to = used.target()?;
        if to == *from {
            return None;
        }
        let (Some(above), Some(below)) = (self.0.get(from), self.0.get(&to)) else {
            return Some(format!("`{from}` uses `{to}`, which the picture does not show"));
        };
        if above >= below {
            let way = if above == below { "sideways" } else { "upwards" };
            return Some(format!("`{from}` uses `{to}`: {way}"));
        }
        let part = used.absolute.get(1).map(String::as_str);
        (from == "policy" && to == "clock" && part != Some("Time"))
            .then(|| "`policy` may use of `clock` only `Time`".to_owned())
    }
}

/// The problems with the modules themselves: files, declarations and picture must name the same ones.
fn check_modules(picture: &Picture, lib: &str, sources: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    let modules: Vec<String> = sources
        .iter()
        .filter_map(|(path, _)| module_of(path)?.first().cloned())
        .collect();
    let declared: Vec<&str> = lib
        .lines()
        .filter_map(|line| {
            line.trim_start_matches("pub ")
                .strip_prefix("mod ")?
                .strip_suffix(';')
        })
        .collect();
    for name in picture.0.keys() {
        if !modules.contains(name) {
            problems.push(format!(
                "src/lib.rs: the picture shows `{name}`, which is no module"
            ));
        }
        if !declared.contains(&name.as_str()) {
            problems.push(format!("src/lib.rs: `{name}` is in the picture but not declared"));
        }
    }
    for (path, _) in sources {
        let Some(top) = module_of(path).and_then(|module| module.first().cloned()) else {
            continue;
        };
        if !picture.0.contains_key(&top) {
            problems.push(format!(
                "{path}:1: `{top}` is missing from the picture in src/lib.rs"
            ));
        }
    }
    problems
}

/// The module a file holds: `src/a/b.rs` and `src/a/b/mod.rs` hold `a::b`. `None` for the crate's roots.
fn module_of(path: &str) -> Option<Vec<String>> {
    let inner = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    if inner == "lib" || inner == "main" {
        return None;
    }
    let inner = inner.strip_suffix("/mod").unwrap_or(inner);
    Some(inner.split('/').map(str::to_owned).collect())
}

/// The problem with a path in one of the pure modules.
fn impure(used: &Use) -> Option<String> {
    let from = used
        .module
        .first()
        .filter(|top| *top == "oci" || *top == "policy")?;
    let words: Vec<&str> = used.written.iter().map(String::as_str).collect();
    let standard = words
        .first()
        .is_some_and(|word| ["std", "core", "alloc"].contains(word));
    let foreign = match words.as_slice() {
        [krate, ..] if IMPURE_CRATES.contains(krate) => true,
        [_, module, ..] if standard && IMPURE_MODULES.contains(module) => true,
        [_, "sync", rest @ ..] if standard => rest.first() != Some(&"Arc"),
        [_, "net", rest @ ..] if standard => rest.first().is_none_or(|word| SOCKETS.contains(word)),
        _ => words
            .iter()
            .any(|word| IMPURE_WORDS.contains(word) || word.starts_with("Atomic")),
    };
    foreign.then(|| format!("`{from}` is pure and may not use `{}`", words.join("::")))
}
