//! How tags are kept: `freshness`, and `freshness_for` where some repositories or tags differ.

use std::time::Duration;

use super::defaults;
use super::file::Node;
use super::problem::Problems;
use super::section::{Section, Wrong, boolean, duration, text};
use crate::policy::freshness::{Exception, Patterns, Policy, Rules};

/// The keys that both have.
const KEYS: [&str; 5] = [
    "ttl",
    "stale_while_revalidate",
    "stale_if_error",
    "immutable",
    "offline",
];

/// Reads both of an entry.
pub(super) fn read(entry: &Section<'_>, problems: &mut Problems) -> Policy {
    let known = [&KEYS[..], &["negative_ttl"]].concat();
    let usual = entry.section("freshness", &known, problems);
    let usual = rules(&usual, &defaults::freshness(), problems);
    let mut exceptions = Vec::new();
    for node in entry.list("freshness_for", problems) {
        exceptions.push(exception(entry, node, &usual, problems));
    }
    Policy { usual, exceptions }
}

/// How long a definite "no" is repeated.
pub(super) fn negative_ttl(entry: &Section<'_>, problems: &mut Problems) -> Duration {
    // Its other keys are judged elsewhere.
    let freshness = entry.section("freshness", &[], &mut Problems::default());
    freshness.read("negative_ttl", defaults::NEGATIVE_TTL, duration, problems)
}

fn rules(section: &Section<'_>, usual: &Rules, problems: &mut Problems) -> Rules {
    let immutable = match section.node("immutable") {
        Some(_) => patterns(section, "immutable", problems),
        None => usual.immutable.clone(),
    };
    Rules {
        ttl: section.read("ttl", usual.ttl, duration, problems),
        stale_while_revalidate: section.read(
            "stale_while_revalidate",
            usual.stale_while_revalidate,
            duration,
            problems,
        ),
        stale_if_error: section.read("stale_if_error", usual.stale_if_error, duration, problems),
        immutable,
        offline: section.read("offline", usual.offline, boolean, problems),
    }
}

fn exception(entry: &Section<'_>, node: &Node, usual: &Rules, problems: &mut Problems) -> Exception {
    let known = [&KEYS[..], &["repository", "tag"]].concat();
    let section = Section::open(
        format!("{}freshness_for.", entry.name),
        Some(node),
        &known,
        problems,
    );
    let one = |key, problems: &mut Problems| {
        let read = |node: &Node| pattern(node).and_then(|pattern| compile(&[pattern]));
        section.read(key, Patterns::default(), read, problems)
    };
    let (repository, tag) = (one("repository", problems), one("tag", problems));
    if section.node("repository").is_none() && section.node("tag").is_none() {
        let what = format!("{}`repository` and `tag` are missing", section.name);
        let hint = "write which it is for: repository = '^library/', tag = '^latest$', or both".into();
        problems.add(&section.place, what, Some(hint));
    }
    if let (Some(node), Some(_)) = (section.node("offline"), section.node("tag")) {
        let what = format!("{}offline is for repositories, not for tags", section.name);
        let hint = "leave out `tag`: what a tag points at is fetched by digest, which has none".into();
        problems.add(&node.place, what, Some(hint));
    }
    Exception {
        repository,
        tag,
        rules: rules(&section, usual, problems),
    }
}

fn patterns(section: &Section<'_>, key: &str, problems: &mut Problems) -> Patterns {
    let patterns = section.read_list(key, pattern, problems);
    // Each compiled alone; together they may still be too large.
    section.read(key, Patterns::default(), |_| compile(&patterns), problems)
}

/// One regular expression.
fn pattern(node: &Node) -> Result<String, Wrong> {
    let pattern = text(node)?;
    compile(std::slice::from_ref(&pattern)).map(|_| pattern)
}

fn compile(patterns: &[String]) -> Result<Patterns, Wrong> {
    Patterns::new(patterns).map_err(|error| {
        let wrong = Wrong::expected(r"a regular expression such as '^v?\d+\.\d+\.\d+$'");
        match error {
            regex::Error::CompiledTooBig(_) => wrong.hint("it would take too much memory: make it shorter"),
            _ => wrong.hint("it is in single quotes, so that backslashes need not be doubled?"),
        }
    })
}

#[cfg(test)]
mod tests;
