//! The environment: overrides (`SEAWALL_SERVER__LISTEN`), and what else the configuration takes from there.
//!
//! The environment is read once, at the start, into a value; so tests own it, and nothing changes later.

use std::path::PathBuf;

use super::file::{self, Entry, Node, Table, Value};
use super::problem::{Place, Problems, did_you_mean};

/// What every override begins with.
const PREFIX: &str = "SEAWALL_";

/// What stands between the levels of a key.
const SEPARATOR: &str = "__";

/// The environment variables, and whether the process is root.
#[derive(Clone)]
pub struct Environment {
    variables: Vec<(String, String)>,
    root: bool,
}

impl Environment {
    /// The environment of this process. Variables that are not Unicode are left out.
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            variables: std::env::vars_os().filter_map(text).collect(),
            root: is_root(),
        }
    }

    /// An environment of exactly these variables, not that of root.
    pub fn of(variables: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            variables: variables.iter().map(owned).collect(),
            root: false,
        }
    }

    /// The value of a variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.variables.iter().find(|(each, _)| each == name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// Where the cache is kept if nobody says: where systemd wants it, else where the system or the user
    /// keeps caches. `None` without any of these.
    pub(super) fn cache_directory(&self) -> Option<PathBuf> {
        // systemd lists several directories with colons between them; ours is the first.
        if let Some(list) = self.get("CACHE_DIRECTORY") {
            return list.split(':').next().map(PathBuf::from);
        }
        if self.root {
            return Some(PathBuf::from("/var/cache/seawall"));
        }
        // A relative path there must be ignored (XDG Base Directory Specification).
        let user = self
            .get("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| self.get("HOME").map(|home| PathBuf::from(home).join(".cache")));
        user.map(|caches| caches.join("seawall"))
    }

    /// Writes the overrides into the tree. `tables` are the tables the tree may have. Returns warnings about
    /// variables that look like overrides and are none.
    ///
    /// Kubernetes sets `SEAWALL_PORT` and its like for a service called seawall, so a variable whose first
    /// level is no table of ours is left alone.
    pub(super) fn override_tree(
        &self,
        tree: &mut Table,
        tables: &[&str],
        problems: &mut Problems,
    ) -> Vec<String> {
        let mut overrides: Vec<(&str, &str)> = self
            .variables
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?, value.as_str())))
            .collect();
        // A whole list before its elements: `SEAWALL_UPSTREAM` before `SEAWALL_UPSTREAM__0__URL`.
        overrides.sort_unstable();
        let mut warnings = Vec::new();
        for (rest, value) in overrides {
            let name = format!("{PREFIX}{rest}");
            let path = rest.to_lowercase();
            let levels: Vec<&str> = path.split(SEPARATOR).collect();
            if tables.contains(&levels[0]) {
                insert_in_table(tree, &levels, &name, value, problems);
            } else if levels.len() > 1 {
                let hint = did_you_mean(levels[0], tables).unwrap_or_default();
                warnings.push(format!(
                    "ignoring {name}: there is no table [{}] {hint}",
                    levels[0]
                ));
            }
        }
        warnings
    }
}

/// True if this process belongs to root.
#[cfg(unix)]
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// Elsewhere there is no root.
#[cfg(not(unix))]
fn is_root() -> bool {
    false
}

/// Writes a variable's value under `levels`, of which there is at least one.
fn insert_in_table(table: &mut Table, levels: &[&str], name: &str, value: &str, problems: &mut Problems) {
    let place = Place::Variable(name.to_owned());
    let [key, deeper @ ..] = levels else { return };
    if deeper.is_empty() {
        let node = read(name, value);
        table.0.insert((*key).to_owned(), Entry { place, node });
        return;
    }
    let entry = table.0.entry((*key).to_owned()).or_insert_with(|| Entry {
        place: place.clone(),
        node: empty_for(deeper, place),
    });
    insert_in_node(&mut entry.node, deeper, name, value, problems);
}

/// Writes a variable's value under a node: a table by key, a list by index.
fn insert_in_node(node: &mut Node, levels: &[&str], name: &str, value: &str, problems: &mut Problems) {
    let place = Place::Variable(name.to_owned());
    match (&mut node.value, levels) {
        (Value::Table(table), _) => insert_in_table(table, levels, name, value, problems),
        (Value::List(list), [index, deeper @ ..]) => {
            let Some(index) = index.parse().ok().filter(|index: &usize| *index <= list.len()) else {
                let most = list.len();
                let hint = format!("write a number from 0 to {most}; {most} adds one");
                problems.add(
                    &place,
                    format!("`{index}` names no element of the list"),
                    Some(hint),
                );
                return;
            };
            if index == list.len() {
                list.push(empty_for(deeper, place));
            }
            match deeper {
                [] => list[index] = read(name, value),
                _ => insert_in_node(&mut list[index], deeper, name, value, problems),
            }
        }
        (other, _) => {
            let what = format!("it names a key inside {}, which has none", other.kind());
            problems.add(&place, what, None);
        }
    }
}

/// What to make where nothing is yet: a list if the next level is an index, else a table.
fn empty_for(deeper: &[&str], place: Place) -> Node {
    let is_index = deeper.first().is_some_and(|level| level.parse::<usize>().is_ok());
    let value = if is_index {
        Value::List(Vec::new())
    } else {
        Value::Table(Table::default())
    };
    Node { place, value }
}

/// A variable's value: a list or table if it is one in TOML, else its text, whatever it will be read as.
fn read(name: &str, value: &str) -> Node {
    let structured = value.trim_start().starts_with(['[', '{']);
    let parsed = structured.then(|| file::parse_variable(value, name)).flatten();
    parsed.unwrap_or_else(|| Node {
        place: Place::Variable(name.to_owned()),
        value: Value::Raw(value.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_goes_where_systemd_says_else_where_root_or_the_user_keeps_caches() {
        let user = [("HOME", "/home/u")];
        let xdg = [("HOME", "/home/u"), ("XDG_CACHE_HOME", "/x")];
        let relative = [("HOME", "/home/u"), ("XDG_CACHE_HOME", "x")];
        let systemd = [("CACHE_DIRECTORY", "/run/a:/run/b"), ("HOME", "/home/u")];
        let directory = |variables: &[(&str, &str)]| Environment::of(variables).cache_directory();
        assert_eq!(directory(&user), Some("/home/u/.cache/seawall".into()));
        assert_eq!(directory(&xdg), Some("/x/seawall".into()));
        assert_eq!(directory(&relative), Some("/home/u/.cache/seawall".into()));
        assert_eq!(directory(&systemd), Some("/run/a".into()));
        assert_eq!(directory(&[]), None);
        let root = Environment {
            root: true,
            ..Environment::of(&xdg)
        };
        assert_eq!(root.cache_directory(), Some("/var/cache/seawall".into()));
    }

    #[test]
    fn variables_that_kubernetes_sets_are_left_alone_and_misspelt_tables_warned_of() {
        let environment = Environment::of(&[
            ("SEAWALL_PORT", "tcp://10.0.0.1:5000"),
            ("SEAWALL_SERVICE_HOST", "10.0.0.1"),
            ("SEAWALL_SERVR__LISTEN", "x"),
        ]);
        let (mut tree, mut problems) = (Table::default(), Problems::default());
        let warnings = environment.override_tree(&mut tree, &["server"], &mut problems);
        assert!(tree.0.is_empty());
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("SEAWALL_SERVR__LISTEN") && warnings[0].contains("\"server\""));
    }
}
