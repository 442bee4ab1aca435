//! `cloud` in a credential: which one, and the variables that its own tools would go by.

use super::{TIMEOUT, variables};
use crate::config::environment::Environment;
use crate::config::file::Node;
use crate::config::problem::Problems;
use crate::config::section::{Section, Wrong, limit, word};
use crate::upstream::{Cloud, Provider, Secret, Variables};

/// Reads it, for a registry at this host. What `env` says goes before the environment of the process.
pub(super) fn read(
    each: &Section<'_>,
    host: &str,
    environment: &Environment,
    problems: &mut Problems,
) -> Option<Cloud> {
    let provider = each.read("cloud", None, |node| provider(node).map(Some), problems)?;
    let own = variables(each, environment, problems);
    let known = provider.variables();
    for (name, _) in own.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
        let place = each.node("env").map_or(&each.place, |node| &node.place);
        let what = format!(
            "{}env.{name} is no variable that {} goes by",
            each.name,
            provider.name()
        );
        let hint = format!("they are {}", known.join(", "));
        problems.add(place, what, Some(hint));
    }
    let value = |name: &&str| {
        let own = own
            .iter()
            .find(|(each, _)| each == name)
            .map(|(_, value)| value.clone());
        let inherited = || environment.get(name).map(|value| Secret::new(value.to_owned()));
        Some(((*name).to_owned(), own.or_else(inherited)?))
    };
    let cloud = Cloud {
        provider,
        variables: Variables(known.iter().filter_map(value).collect()),
        timeout: each.read("timeout", TIMEOUT, limit, problems),
    };
    if let Err(why) = cloud.check(host) {
        let place = each.node("cloud").map_or(&each.place, |node| &node.place);
        let what = format!("{}cloud = \"{}\": {why}", each.name, provider.name());
        let hint = "variables come from the environment, or from `env` beside `cloud`, which goes before it";
        problems.add(place, what, Some(hint.into()));
    }
    Some(cloud)
}

fn provider(node: &Node) -> Result<Provider, Wrong> {
    let word = word(node, &Provider::ALL.map(Provider::name))?;
    let found = Provider::ALL.into_iter().find(|provider| provider.name() == word);
    found.ok_or_else(|| Wrong::expected("a cloud"))
}

#[cfg(test)]
mod tests;
