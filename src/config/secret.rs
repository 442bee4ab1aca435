//! Secrets are references: the configuration says where a password is, never what it is.

use super::environment::Environment;
use super::file::{Node, Value};
use super::problem::Problems;
use super::section::{self, Section};
use crate::upstream::Secret;

/// Most bytes of a secret's file; tokens of cloud registries reach a few KiB.
const MAX_FILE: u64 = 64 * 1024;

/// Reads the secret that `key` of a section refers to, `{ env = "NAME" }` or `{ file = "PATH" }`, without
/// one newline at its end. `None`, with a problem that never quotes the secret, if there is none.
pub(super) fn read(
    owner: &Section<'_>,
    key: &str,
    environment: &Environment,
    problems: &mut Problems,
) -> Option<Secret> {
    let node = owner.node(key)?;
    if !matches!(node.value, Value::Table(_)) {
        let hint = "keep it out of the configuration: write { env = \"NAME\" } or { file = \"PATH\" }";
        let what = format!(
            "{}{key} is {}: expected a reference",
            owner.name,
            node.value.kind()
        );
        problems.add(&node.place, what, Some(hint.into()));
        return None;
    }
    let reference = owner.section(key, &["env", "file"], problems);
    let found = match (reference.node("env"), reference.node("file")) {
        (Some(name), None) => from_environment(name, environment),
        (None, Some(path)) => from_file(path),
        (Some(_), Some(_)) | (None, None) => Err("expected either `env` or `file`".into()),
    };
    let full = found.and_then(|secret| {
        let secret = without_newline(&secret);
        (!secret.is_empty())
            .then(|| Secret::new(secret.to_owned()))
            .ok_or_else(|| "what it refers to is empty".into())
    });
    full.map_err(|what: String| problems.add(&node.place, format!("{}{key}: {what}", owner.name), None))
        .ok()
}

fn from_environment(name: &Node, environment: &Environment) -> Result<String, String> {
    let name = section::text(name).map_err(|_| "expected the name of an environment variable in quotes")?;
    let value = environment.get(&name);
    value
        .map(str::to_owned)
        .ok_or_else(|| format!("the environment variable {name:?} is not set, or empty"))
}

fn from_file(path: &Node) -> Result<String, String> {
    let path = section::text(path).map_err(|_| "expected the path of a file in quotes")?;
    let too_long = || format!("the file {path:?} is longer than {MAX_FILE} bytes, too long for a secret");
    let failed = |error: std::io::Error| format!("the file {path:?} cannot be read: {error}");
    let length = std::fs::metadata(&path).map_err(failed)?.len();
    if length > MAX_FILE {
        return Err(too_long());
    }
    std::fs::read_to_string(&path).map_err(failed)
}

/// Editors and `echo` end a file with a newline that is not part of the secret.
fn without_newline(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_newline_at_the_end_is_dropped() {
        assert_eq!(without_newline("a\n"), "a");
        assert_eq!(without_newline("a\r\n"), "a");
        assert_eq!(without_newline("a\n\n"), "a\n");
        assert_eq!(without_newline(" a "), " a ");
    }
}
