//! Whose tokens are believed: `[[issuer]]`.

use std::collections::HashSet;

use http::Uri;
use jsonwebtoken::Algorithm;

use super::environment::Environment;
use super::file::{Node, Value};
use super::problem::Problems;
use super::section::{Section, Wrong, boolean, text, word};
use super::{Settings, secret, values};
use crate::policy::issuers::{ALGORITHMS, Issuer, KeySet};
use crate::server::issuers::{Place, Source};

/// The keys of an entry.
pub(super) const KEYS: [&str; 8] = [
    "name",
    "url",
    "audience",
    "algorithms",
    "jwks",
    "ca",
    "token",
    "insecure",
];
/// Longest text that a token may be held against.
const MAX_TEXT: usize = 1024;
/// Most bytes of a file with keys.
const MAX_FILE: u64 = 256 * 1024;

/// Reads every `[[issuer]]`: whom to believe, and where their keys are.
pub(super) fn read(
    top: &Section<'_>,
    environment: &Environment,
    problems: &mut Problems,
) -> Vec<(Issuer, Source)> {
    let mut issuers: Vec<(Issuer, Source)> = Vec::new();
    let (mut names, mut urls) = (HashSet::new(), HashSet::new());
    for node in top.list("issuer", problems) {
        let Some((issuer, source)) = entry(node, environment, problems) else {
            continue;
        };
        for (known, key, value) in [
            (&mut names, "name", &issuer.name),
            (&mut urls, "url", &issuer.url),
        ] {
            if !known.insert(value.clone()) {
                let what = format!(
                    "issuer \"{}\": {key} is that of another [[issuer]] too",
                    issuer.name
                );
                problems.add(
                    &node.place,
                    what,
                    Some("tokens are told apart by it: join the entries".into()),
                );
            }
        }
        issuers.push((issuer, source));
    }
    issuers
}

fn entry(node: &Node, environment: &Environment, problems: &mut Problems) -> Option<(Issuer, Source)> {
    let mut entry = Section::open("issuer: ".into(), Some(node), &KEYS, problems);
    let name = entry.read("name", None, |node| named(node).map(Some), problems);
    if let Some(name) = &name {
        entry.name = format!("issuer \"{name}\": ");
    }
    for (key, hint) in [
        (
            "name",
            "write what [[client]] and metrics call it: name = \"github\"",
        ),
        (
            "url",
            "write what its tokens have in `iss`: url = \"https://token.actions.githubusercontent.com\"",
        ),
        (
            "audience",
            "write what its tokens for this cache have in `aud`: audience = \"https://cache.example.com\"",
        ),
    ] {
        if entry.node(key).is_none() && matches!(node.value, Value::Table(_)) {
            let what = format!("{}`{key}` is missing", entry.name);
            problems.add(&node.place, what, Some(hint.into()));
        }
    }
    let url = entry.read("url", None, |node| exact(node).map(Some), problems);
    let audiences = one_or_more(&entry, "audience", exact, problems);
    let algorithms = match entry.node("algorithms") {
        None => vec![Algorithm::RS256, Algorithm::ES256],
        Some(_) => entry.read_list("algorithms", algorithm, problems),
    };
    let none = |node: &&Node| matches!(&node.value, Value::List(list) if list.is_empty());
    if let Some(node) = entry.node("algorithms").filter(none) {
        let what = format!("{}algorithms is empty: expected one at least", entry.name);
        problems.add(&node.place, what, None);
    }
    let token = secret::read(&entry, "token", environment, problems);
    let ca = entry.read("ca", Vec::new(), values::certificates, problems);
    let keys = place(&entry, problems);
    if let Some(url) = &url {
        judge(&entry, url, &keys, problems);
    }
    let (name, url) = (name?, url?);
    let issuer = Issuer {
        name: name.clone(),
        url: url.clone(),
        audiences,
        algorithms,
        claims: Vec::new(),
    };
    Some((
        issuer,
        Source {
            name,
            url,
            keys,
            ca,
            token,
        },
    ))
}

/// Where its keys are.
fn place(entry: &Section<'_>, problems: &mut Problems) -> Place {
    let Some(node) = entry.node("jwks") else {
        return Place::Discovered;
    };
    if !matches!(node.value, Value::Table(_)) {
        let url = entry.read("jwks", None, |node| values::url(node).map(Some), problems);
        return url.map_or(Place::Discovered, Place::At);
    }
    let reference = entry.section("jwks", &["file"], problems);
    let what = "the path of a file with a set of keys (JWKS)";
    let Some(file) = reference.read("file", None, |node| values::path(node, what).map(Some), problems) else {
        if reference.node("file").is_none() {
            let what = format!("{}file is missing: expected {what}", reference.name);
            problems.add(&node.place, what, None);
        }
        return Place::Discovered;
    };
    let keys = held(&file).unwrap_or_else(|why| {
        let what = format!("{}file: {}: {why}", reference.name, file.display());
        problems.add(&node.place, what, None);
        KeySet::default()
    });
    Place::Held { file, keys }
}

fn held(file: &std::path::Path) -> Result<KeySet, String> {
    let failed = |error: std::io::Error| format!("it cannot be read: {error}");
    let length = std::fs::metadata(file).map_err(failed)?.len();
    if length > MAX_FILE {
        return Err(format!("it has {length} bytes: expected at most {MAX_FILE}"));
    }
    let json = std::fs::read(file).map_err(failed)?;
    KeySet::parse(&json).map_err(str::to_owned)
}

/// Keys that travel in the clear can be exchanged on their way: whoever does so logs in as anybody.
fn judge(entry: &Section<'_>, url: &str, keys: &Place, problems: &mut Problems) {
    let insecure = entry.read("insecure", false, boolean, problems);
    let (key, from) = match keys {
        Place::Held { .. } => return,
        Place::At(at) => ("jwks", Some(at.clone())),
        Place::Discovered => (
            "url",
            url.parse::<Uri>().ok().filter(|url| url.authority().is_some()),
        ),
    };
    let Some(node) = entry.node(key) else { return };
    match from.as_ref().map(|from| (from.scheme_str(), from)) {
        Some((Some("https"), _)) => {}
        Some((Some("http"), from)) if insecure || values::is_loopback(from) => {}
        Some((Some("http"), _)) => {
            let what = format!("{}keys over http://", entry.name);
            let hint = "use https://, or set insecure = true to accept this".into();
            problems.add(&node.place, what, Some(hint));
        }
        Some(_) | None => {
            let what = format!(
                "{}url = \"{url}\": its keys cannot be looked for there",
                entry.name
            );
            let hint = "say where they are: jwks = \"https://…\", or jwks = { file = \"…\" }".into();
            problems.add(&node.place, what, Some(hint));
        }
    }
}

fn named(node: &Node) -> Result<String, Wrong> {
    let name = text(node)?;
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
    match !name.is_empty() && name.len() <= 64 && name.chars().all(fits) {
        true => Ok(name),
        false => Err(Wrong::expected(
            "a name of letters, digits, dots, dashes and underscores",
        )),
    }
}

/// A text that a token has to have, letter for letter.
fn exact(node: &Node) -> Result<String, Wrong> {
    let written = text(node)?;
    let fits = !written.is_empty() && written.len() <= MAX_TEXT && !written.contains(char::is_control);
    match fits && written.trim() == written {
        true => Ok(written),
        false => Err(Wrong::expected("what its tokens have, letter for letter")),
    }
}

fn algorithm(node: &Node) -> Result<Algorithm, Wrong> {
    let words = ALGORITHMS.map(|(word, _)| word);
    let hint = "an algorithm with a shared secret is none: whoever can verify could sign";
    let found = word(node, &words).map_err(|wrong| wrong.hint(hint))?;
    let named = ALGORITHMS.into_iter().find(|(word, _)| *word == found);
    named
        .map(|(_, algorithm)| algorithm)
        .ok_or_else(|| Wrong::expected("an algorithm"))
}

/// The value of a key that may be a list, and is not empty.
pub(super) fn one_or_more<T>(
    section: &Section<'_>,
    key: &str,
    read: impl Fn(&Node) -> Result<T, Wrong>,
    problems: &mut Problems,
) -> Vec<T> {
    match section.node(key) {
        None => Vec::new(),
        Some(Node {
            value: Value::List(list),
            place,
        }) => {
            if list.is_empty() && key == "audience" {
                problems.add(
                    place,
                    format!("{}{key} is empty: expected one at least", section.name),
                    None,
                );
            }
            section.read_list(key, read, problems)
        }
        Some(node) => section.take(key, node, read, problems).into_iter().collect(),
    }
}

/// What `read` reads back, as TOML.
pub(super) fn show(settings: &Settings) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let list = |texts: &mut dyn Iterator<Item = &str>| {
        let texts: Vec<String> = texts.map(quoted).collect();
        format!("[{}]", texts.join(", "))
    };
    let server = &settings.server;
    let both = server.clients.access.issuers.iter().zip(&server.issuers);
    let each = both.map(|(issuer, source)| {
        let used = ALGORITHMS
            .iter()
            .filter(|(_, used)| issuer.algorithms.contains(used));
        let mut lines = vec![
            format!("name = {}", quoted(&issuer.name)),
            format!("url = {}", quoted(&issuer.url)),
            format!(
                "audience = {}",
                list(&mut issuer.audiences.iter().map(String::as_str))
            ),
            format!("algorithms = {}", list(&mut used.map(|(word, _)| *word))),
        ];
        let from = match &source.keys {
            Place::Discovered => issuer.url.parse().ok(),
            Place::At(at) => {
                lines.push(format!("jwks = {}", quoted(&at.to_string())));
                Some(at.clone())
            }
            Place::Held { file, .. } => {
                lines.push(format!("jwks = {{ file = {} }}", quoted(&file.to_string_lossy())));
                None
            }
        };
        if from.is_some_and(|from| from.scheme_str() == Some("http") && !values::is_loopback(&from)) {
            lines.push("insecure = true".to_owned());
        }
        if !source.ca.is_empty() {
            lines.push(format!(
                "# ca: {} certificates instead of the machine's",
                source.ca.len()
            ));
        }
        if source.token.is_some() {
            lines.push("# token = \"***\"".to_owned());
        }
        format!("\n[[issuer]]\n{}\n", lines.join("\n"))
    });
    each.collect()
}

#[cfg(test)]
mod tests;
