//! What has changed in a configuration, what of it can hold at once, and what needs a restart.
//!
//! Compared is the effective configuration, key by key, as `seawall check` prints it: no key is forgotten here that
//! is shown there. What it hides, passwords and what stands in files, is compared beside it and never told.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use toml::{Table, Value};

use super::{Settings, effective, trusts};
use crate::policy::trust::Rule;
use crate::server::issuers::{Place, Source};

/// The keys that hold from the next start on. Sockets, the directory and its lock, the memory and the shared
/// shelf and the way log lines are written are made once.
pub const NEEDS_RESTART: [&str; 7] = [
    "server.listen",
    "server.admin",
    "server.bounds.connections",
    "cache.directory",
    "cache.memory",
    "cache.shared",
    "log.format",
];

/// What has changed in a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// What holds at once.
    pub live: Vec<Change>,
    /// What stays as it is until Seawall is started again.
    pub restart: Vec<Change>,
}

/// One key that has another value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The key: `cache.capacity`, `upstream "ghcr.io".url`, `client "ci"`.
    pub key: String,
    /// What became of it.
    #[serde(flatten)]
    pub what: What,
}

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum What {
    /// It has another value.
    Changed {
        /// The value before, as TOML.
        before: String,
        /// The value now.
        after: String,
    },
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It refers to the same, in which something else stands.
    Replaced,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.what {
            What::Changed { before, after } => write!(f, "{key} from {before} to {after}"),
            What::Added => write!(f, "{key} is new"),
            What::Removed => write!(f, "{key} is gone"),
            What::Replaced => write!(f, "{key} has new content"),
        }
    }
}

impl Changes {
    /// What has changed in `after`.
    pub fn between(before: &Settings, after: &Settings) -> Self {
        let all = differences(&flat(before), &flat(after));
        let needs = |change: &Change| NEEDS_RESTART.contains(&change.key.as_str());
        let (mut restart, mut live): (Vec<Change>, Vec<Change>) = all.into_iter().partition(needs);
        let key = "cache.shared";
        if before.shared != after.shared && !restart.iter().any(|change| change.key == key) {
            restart.push(Change {
                key: key.to_owned(),
                what: What::Replaced,
            });
        }
        live.extend(hidden(before, after));
        Self { live, restart }
    }

    /// True if nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.restart.is_empty()
    }
}

impl Settings {
    /// These settings, but with what needs a restart as it is in `running`.
    #[must_use]
    pub fn beside(mut self, running: &Self) -> Self {
        (self.server.listen, self.server.admin) = (running.server.listen, running.server.admin);
        self.server.bounds.connections = running.server.bounds.connections;
        self.cache.directory.clone_from(&running.cache.directory);
        self.cache.memory = running.cache.memory;
        self.shared.clone_from(&running.shared);
        self.log.json = running.log.json;
        self
    }
}

/// Values by key; those of entries by the name of the entry, so that their order does not count.
type Flat = BTreeMap<String, Option<String>>;

fn flat(settings: &Settings) -> Flat {
    let mut all = Flat::new();
    // What is shown is TOML: a test reads it back.
    let table: Table = effective(settings).parse().unwrap_or_default();
    for (key, value) in table {
        match value {
            Value::Table(table) => flatten(&mut all, &key, table),
            Value::Array(entries) => entries.into_iter().for_each(|entry| named(&mut all, &key, entry)),
            other => drop(all.insert(key, Some(other.to_string()))),
        }
    }
    all
}

fn flatten(all: &mut Flat, prefix: &str, table: Table) {
    for (key, value) in table {
        let key = format!("{prefix}.{key}");
        match value {
            // A tier, or bounds: inline tables are shown as they are written.
            Value::Table(table) if prefix == "tier" || key == "server.bounds" => {
                all.insert(key.clone(), None);
                flatten(all, &key, table);
            }
            other => drop(all.insert(key, Some(other.to_string()))),
        }
    }
}

/// An entry of a list: by its name if it has one, else as a whole.
fn named(all: &mut Flat, list: &str, entry: Value) {
    let Value::Table(table) = entry else { return };
    let name = ["registry", "name"].into_iter().find_map(|key| table.get(key));
    match name {
        Some(name) => {
            let prefix = format!("{list} {name}");
            all.insert(prefix.clone(), None);
            flatten(all, &prefix, table);
        }
        None => drop(all.insert(format!("{list} {}", Value::Table(table)), None)),
    }
}

fn differences(before: &Flat, after: &Flat) -> Vec<Change> {
    let change = |key: &String, what| Change {
        key: key.clone(),
        what,
    };
    let mut found = Vec::new();
    for (key, old) in before {
        match after.get(key) {
            // Of an entry that is gone, or new, the keys are not told.
            None if within(key, before, after) => {}
            None => found.push(change(key, What::Removed)),
            Some(new) if new == old => {}
            Some(new) => found.push(change(
                key,
                What::Changed {
                    before: old.clone().unwrap_or_default(),
                    after: new.clone().unwrap_or_default(),
                },
            )),
        }
    }
    for key in after.keys().filter(|key| !before.contains_key(*key)) {
        if !within(key, after, before) {
            found.push(change(key, What::Added));
        }
    }
    found
}

/// True if `key` belongs to an entry of `all` that `others` has not.
fn within(key: &str, all: &Flat, others: &Flat) -> bool {
    let entries = all.iter().filter(|(_, value)| value.is_none());
    entries.map(|(entry, _)| entry).any(|entry| {
        let inside = key
            .strip_prefix(entry.as_str())
            .is_some_and(|rest| rest.starts_with('.'));
        inside && !others.contains_key(entry)
    })
}

/// What differs although it is shown alike.
fn hidden(before: &Settings, after: &Settings) -> Vec<Change> {
    let mut found = Vec::new();
    let mut replaced = |key: String| {
        found.push(Change {
            key,
            what: What::Replaced,
        });
    };
    if let (Some(old), Some(new)) = (&before.server.tls, &after.server.tls)
        && !old.is_same(new)
    {
        replaced("server.tls".to_owned());
    }
    let (was, is) = (&before.server.operators, &after.server.operators);
    if let (Some(old), Some(new)) = (&was.tls, &is.tls)
        && !old.is_same(new)
    {
        replaced("admin.tls".to_owned());
    }
    if was.tokens != is.tokens {
        replaced("admin.token".to_owned());
    }
    if before.server.clients.access.users != after.server.clients.access.users {
        replaced("the users in access.htpasswd".to_owned());
    }
    if before.trace.headers != after.trace.headers {
        replaced("trace.headers".to_owned());
    }
    if before.server.token_keys != after.server.token_keys {
        replaced("access.token_key".to_owned());
    }
    for new in &after.server.issuers {
        let is_old = |old: &&Source| old.name == new.name && old.url == new.url;
        let Some(old) = before.server.issuers.iter().find(is_old) else {
            continue;
        };
        let keys = |source: &Source| match &source.keys {
            Place::Held { keys, .. } => Some(keys.clone()),
            Place::Discovered | Place::At(_) => None,
        };
        if (keys(old), &old.ca, &old.token) != (keys(new), &new.ca, &new.token) {
            replaced(format!(
                "issuer \"{}\": a file or a variable that it names",
                new.name
            ));
        }
    }
    let (was, is) = (before.cache.trust.all(), after.cache.trust.all());
    let shown = |rules: &[Rule]| rules.iter().map(trusts::show).collect::<Vec<_>>();
    if was != is && shown(was) == shown(is) {
        replaced("a key or an authority of a [[trust]]".to_owned());
    }
    for new in &after.upstreams {
        let Some(old) = before.upstreams.iter().find(|old| old.registry == new.registry) else {
            continue;
        };
        for is in &new.credentials {
            let name = is.name();
            let was = old.credentials.iter().find(|was| was.name() == name);
            if was.is_some_and(|was| was.identity != is.identity) {
                let part = match is.password() {
                    Some(_) => "the password of ",
                    None => "",
                };
                replaced(format!("upstream \"{}\": {part}\"{name}\"", new.registry));
            }
        }
        if old.ca != new.ca {
            replaced(format!("upstream \"{}\".ca", new.registry));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::settings;

    fn words(before: &str, after: &str) -> (Vec<String>, Vec<String>) {
        let changes = Changes::between(&settings(before), &settings(after));
        let tell = |all: Vec<Change>| all.iter().map(ToString::to_string).collect();
        (tell(changes.live), tell(changes.restart))
    }

    #[test]
    fn what_can_hold_at_once_does_and_the_rest_is_told_with_both_values() {
        let (live, restart) = words(
            "[server]\nlisten = \"127.0.0.1:5000\"\n",
            "[server]\nlisten = \"127.0.0.1:6000\"\ndrain = \"5s\"\n[cache]\ncapacity = \"30GiB\"\n",
        );
        assert_eq!(
            live,
            [
                "cache.capacity from \"20GiB\" to \"30GiB\"",
                "server.drain from \"30s\" to \"5s\""
            ]
        );
        assert_eq!(
            restart,
            ["server.listen from \"127.0.0.1:5000\" to \"127.0.0.1:6000\""]
        );
    }

    #[test]
    fn an_entry_is_told_by_its_name_whatever_its_place_and_once_if_it_comes_or_goes() {
        let ghcr = "[[upstream]]\nregistry = \"ghcr.io\"\nlanes = 2\n";
        let mine = "[[upstream]]\nregistry = \"r.example\"\n";
        let tier = "[tier.ci]\nreserve = \"10%\"\n";
        assert_eq!(
            words(&format!("{ghcr}{mine}"), &format!("{mine}{ghcr}")),
            (vec![], vec![])
        );
        let (live, restart) = words(ghcr, &format!("{mine}{}{tier}", ghcr.replace('2', "3")));
        assert_eq!(
            live,
            [
                "upstream \"ghcr.io\".lanes from 2 to 3",
                "tier.ci is new",
                "upstream \"r.example\" is new"
            ]
        );
        assert_eq!(restart, Vec::<String>::new());
        let purge = "[[purge]]\nfilter = [\".*:dev\"]\nschedule = \"@daily\"\n";
        let (live, _) = words(purge, &purge.replace("daily", "weekly"));
        assert!(
            live[0].contains("@daily") && live[0].ends_with("is gone"),
            "{live:?}"
        );
        assert!(
            live[1].contains("@weekly") && live[1].ends_with("is new"),
            "{live:?}"
        );
    }

    #[test]
    fn another_password_is_told_and_neither_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        let text = format!(
            "[[upstream]]\nregistry = \"docker.io\"\naccess = \"shared\"\n\
             credentials = [{{ username = \"robot\", password = {{ file = {:?} }} }}]\n",
            secret.display().to_string()
        );
        std::fs::write(&secret, "canary-one").unwrap();
        let before = settings(&text);
        std::fs::write(&secret, "canary-two").unwrap();
        let changes = Changes::between(&before, &settings(&text));
        let told: Vec<String> = changes.live.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            ["upstream \"docker.io\": the password of \"robot\" has new content"]
        );
        assert!(!format!("{changes:?}").contains("canary"));
    }

    #[test]
    fn what_needs_a_restart_stays_as_it_runs_and_nothing_else_does() {
        let before = settings("");
        let shared = match crate::net::bucket::IS_BUILT_IN {
            true => "shared = { bucket = \"seawall\" }\n",
            false => "",
        };
        let after = settings(&format!(
            "[server]\nlisten = \"127.0.0.1:6000\"\nadmin = \"127.0.0.1:6001\"\ndrain = \"5s\"\n\
             bounds = {{ connections = 7, header_count = 50 }}\n\
             [cache]\ndirectory = \"/x\"\nmemory = \"1MiB\"\ncapacity = \"30GiB\"\n{shared}[log]\nformat = \"json\"\n",
        ));
        let keys = |changes: Vec<Change>| {
            let mut keys: Vec<String> = changes.into_iter().map(|change| change.key).collect();
            keys.sort_unstable();
            keys
        };
        let changes = Changes::between(&before, &after);
        let mut needed = NEEDS_RESTART.to_vec();
        needed.retain(|key| *key != "cache.shared" || !shared.is_empty());
        needed.sort_unstable();
        assert_eq!(keys(changes.restart), needed);
        let running = after.clone().beside(&before);
        assert_eq!(Changes::between(&before, &running).restart, []);
        assert_eq!(keys(Changes::between(&before, &running).live), keys(changes.live));
        assert_eq!(keys(Changes::between(&running, &after).restart), needed);
        assert!(Changes::between(&running, &after).live.is_empty());
    }
}
