//! `credentials` of an upstream: a user with a password, or a source that has one.

mod clouds;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::environment::Environment;
use super::file::{Node, Value};
use super::problem::Problems;
use super::section::{Section, Wrong, limit, text};
use super::show::{list, quoted};
use super::units::show_duration;
use super::{secret, values};
use crate::oci::Registry;
use crate::policy::identity::Prefix;
use crate::policy::identity::docker::{self, Found};
use crate::policy::naming::Pattern;
use crate::upstream::{Account, Credential, Helper, Identity, Plugin, Secret, Source};

/// Most bytes of a `config.json`.
const MAX_FILE: u64 = 1 << 20;
/// How long a program may take: clouds' helpers ask their services meanwhile.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The keys that say what kind of source it is. One stands in each entry.
const KINDS: [&str; 5] = ["username", "docker_config", "helper", "plugin", "cloud"];

/// Reads one element of the list: an account, or as many as a file has for this registry.
pub(super) fn read(
    node: &Node,
    entry: &Section<'_>,
    pattern: &Pattern,
    environment: &Environment,
    problems: &mut Problems,
) -> Vec<Account> {
    let known = [
        "username",
        "password",
        "docker_config",
        "helper",
        "plugin",
        "cloud",
        "args",
        "env",
        "timeout",
        "prefix",
    ];
    let name = format!("{}credentials.", entry.name);
    let each = Section::open(name, Some(node), &known, problems);
    // A pattern is refused elsewhere: a credential is for one registry.
    let (Pattern::Exact(registry), Value::Table(_)) = (pattern, &node.value) else {
        return Vec::new();
    };
    let kinds: Vec<&str> = KINDS
        .into_iter()
        .filter(|kind| each.node(kind).is_some())
        .collect();
    let prefix = each.read("prefix", Prefix::ALL, prefix, problems);
    if let Some(node) = each.node("args").filter(|_| kinds != ["plugin"]) {
        problems.add(&node.place, format!("{}args is for a plugin", each.name), None);
    }
    let identity = match kinds.as_slice() {
        ["username"] => password(&each, environment, problems),
        ["docker_config"] => {
            let helper = helper(&each, environment, problems);
            return docker_config(&each, registry, &prefix, &helper, problems);
        }
        ["helper"] => Some(Source::Helper(helper(&each, environment, problems)).into()),
        ["plugin"] => Some(Source::Plugin(plugin(&each, environment, problems)).into()),
        ["cloud"] => {
            let host = host(entry, registry);
            clouds::read(&each, &host, environment, problems).map(|cloud| Source::Cloud(cloud).into())
        }
        _ => {
            let what = format!(
                "{}: expected one of {}",
                each.name.trim_end_matches('.'),
                KINDS.join(", ")
            );
            let hint = "write { username = \"robot\", password = { env = \"NAME\" } }, or name a source";
            problems.add(&node.place, what, Some(hint.into()));
            None
        }
    };
    identity
        .map(|identity| Account { identity, prefix })
        .into_iter()
        .collect()
}

/// Where the registry is: at the host of its `url`, whose problems are told elsewhere, or of its name.
fn host(entry: &Section<'_>, registry: &Registry) -> String {
    let read = |node: &Node| values::url(node).map(Some);
    let url = entry.read("url", None, read, &mut Problems::default());
    let host = url.as_ref().and_then(http::Uri::host);
    host.unwrap_or(registry.host()).to_ascii_lowercase()
}

fn password(each: &Section<'_>, environment: &Environment, problems: &mut Problems) -> Option<Identity> {
    if each.node("password").is_none() {
        problems.add(&each.place, format!("{}password is missing", each.name), None);
    }
    let username = each.read("username", String::new(), username, problems);
    let password = secret::read(each, "password", environment, problems)?;
    Some(Identity::Password(Credential { username, password }))
}

/// What the file has for the registry, below `prefix`. The helpers in it run as `helper` does.
fn docker_config(
    each: &Section<'_>,
    registry: &Registry,
    prefix: &Prefix,
    helper: &Helper,
    problems: &mut Problems,
) -> Vec<Account> {
    let Some(path) = each.read(
        "docker_config",
        None,
        |node| values::path(node, "the path of a config.json").map(Some),
        problems,
    ) else {
        return Vec::new();
    };
    let mut wrong = |why: String, hint: Option<String>| {
        let place = each.node("docker_config").map_or(&each.place, |node| &node.place);
        let what = format!("{}docker_config: {}: {why}", each.name, path.display());
        problems.add(place, what, hint);
    };
    if !prefix.is_all() {
        let hint = "name paths by the keys of that file: \"quay.io/team\"";
        wrong("prefix is not for this source".into(), Some(hint.into()));
    }
    let found =
        read_file(&path).and_then(|text| docker::read(&text, registry).map_err(|why| why.to_string()));
    let entries = match found {
        Ok(entries) => entries,
        Err(why) => {
            wrong(why, None);
            return Vec::new();
        }
    };
    if entries.is_empty() {
        let hint = format!("have one written by `docker login {registry}` or `podman login {registry}`");
        wrong(format!("it has nothing for {registry}"), Some(hint));
    }
    let account = |entry: docker::Entry| Account {
        identity: match entry.found {
            Found::Login { username, password } => Identity::Password(Credential {
                username,
                password: Secret::new(password),
            }),
            Found::Helper(name) => Source::Helper(Helper {
                name,
                ..helper.clone()
            })
            .into(),
        },
        prefix: entry.prefix,
    };
    entries.into_iter().map(account).collect()
}

fn read_file(path: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("it cannot be read: {error}");
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > MAX_FILE {
        return Err(format!("it is longer than {MAX_FILE} bytes"));
    }
    std::fs::read_to_string(path).map_err(failed)
}

fn helper(each: &Section<'_>, environment: &Environment, problems: &mut Problems) -> Helper {
    Helper {
        name: each.read("helper", String::new(), helper_name, problems),
        environment: variables(each, environment, problems),
        timeout: each.read("timeout", TIMEOUT, limit, problems),
    }
}

fn helper_name(node: &Node) -> Result<String, Wrong> {
    let name = text(node)?;
    let name = name.strip_prefix("docker-credential-").unwrap_or(&name);
    match docker::is_helper(name) {
        true => Ok(name.to_owned()),
        false => Err(Wrong::expected(
            "what follows docker-credential- in the name of a program on the PATH, such as \"ecr-login\"",
        )),
    }
}

fn plugin(each: &Section<'_>, environment: &Environment, problems: &mut Problems) -> Plugin {
    Plugin {
        program: each.read("plugin", PathBuf::new(), program, problems),
        arguments: each.read_list("args", text, problems),
        environment: variables(each, environment, problems),
        timeout: each.read("timeout", TIMEOUT, limit, problems),
    }
}

fn program(node: &Node) -> Result<PathBuf, Wrong> {
    let written = text(node)?;
    let path = PathBuf::from(&written);
    let is_path = path.is_absolute() && path.file_name().is_some() && !written.contains(char::is_control);
    match is_path || docker::is_helper(&written) {
        true => Ok(path),
        false => Err(Wrong::expected(
            "the name of a program on the PATH, or its whole path",
        )),
    }
}

/// Variables for a program: each a text, or a reference to a secret.
fn variables(
    each: &Section<'_>,
    environment: &Environment,
    problems: &mut Problems,
) -> Vec<(String, Secret)> {
    let Some(Value::Table(table)) = each.node("env").map(|node| &node.value) else {
        // What is no table is told by whoever opens it.
        if each.node("env").is_some() {
            each.section("env", &[], problems);
        }
        return Vec::new();
    };
    let names: Vec<&str> = table.0.keys().map(String::as_str).collect();
    let variables = each.section("env", &names, problems);
    let mut read = Vec::new();
    for name in names {
        if !is_variable(name) {
            let what = format!("{}{name}: expected the name of a variable", variables.name);
            problems.add(&variables.place, what, None);
            continue;
        }
        let value = match variables.node(name).map(|node| &node.value) {
            Some(Value::Text(text)) => Some(Secret::new(text.clone())),
            _ => secret::read(&variables, name, environment, problems),
        };
        read.extend(value.map(|value| (name.to_owned(), value)));
    }
    read
}

/// What a shell takes for the name of a variable.
fn is_variable(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(plain) && name.starts_with(|first: char| !first.is_ascii_digit())
}

/// RFC 7617: a user name has no colon, for that is where the password begins.
fn username(node: &Node) -> Result<String, Wrong> {
    let name = text(node).map_err(Wrong::secret)?;
    if name.is_empty() || name.contains(':') || name.contains(char::is_control) {
        return Err(Wrong::expected("a user name without a colon").secret());
    }
    Ok(name)
}

fn prefix(node: &Node) -> Result<Prefix, Wrong> {
    let wrong = || Wrong::expected("a path that repositories stand below, such as \"team\" or \"team/apps\"");
    Prefix::parse(&text(node)?).ok_or_else(wrong)
}

/// What `read` reads back, but for the secrets.
pub(super) fn show(account: &Account) -> String {
    let mut keys = match &account.identity {
        Identity::Password(credential) => vec![
            format!("username = {}", quoted(&credential.username)),
            "password = \"***\"".to_owned(),
        ],
        Identity::Source(Source::Helper(helper)) => vec![
            format!("helper = {}", quoted(&helper.name)),
            show_variables(&helper.environment),
            format!("timeout = \"{}\"", show_duration(helper.timeout)),
        ],
        Identity::Source(Source::Plugin(plugin)) => vec![
            format!("plugin = {}", quoted(&plugin.program.to_string_lossy())),
            format!("args = {}", list(&plugin.arguments)),
            show_variables(&plugin.environment),
            format!("timeout = \"{}\"", show_duration(plugin.timeout)),
        ],
        Identity::Source(Source::Cloud(cloud)) => vec![
            format!("cloud = \"{}\"", cloud.provider.name()),
            show_variables(&cloud.variables.0),
            format!("timeout = \"{}\"", show_duration(cloud.timeout)),
        ],
    };
    if !account.prefix.is_all() {
        keys.push(format!("prefix = {}", quoted(account.prefix.as_str())));
    }
    format!("{{ {} }}", keys.join(", "))
}

fn show_variables(variables: &[(String, Secret)]) -> String {
    let all: Vec<String> = variables
        .iter()
        .map(|(name, _)| format!("{name} = \"***\""))
        .collect();
    match all.is_empty() {
        true => "env = {}".to_owned(),
        false => format!("env = {{ {} }}", all.join(", ")),
    }
}

#[cfg(test)]
mod tests;
