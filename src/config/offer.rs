//! `allow` and `deny` of an `[[upstream]]`: which of its repositories may be pulled from at all.

use super::file::Node;
use super::problem::Problems;
use super::section::{Section, Wrong, text};
use crate::oci::Registry;
use crate::policy::access::{Offer, Paths};
use crate::policy::naming::Pattern;

/// Reads both. Without a `registry` that can be read, nothing is known of its names.
pub(super) fn read(entry: &Section<'_>, registry: Option<&Pattern>, problems: &mut Problems) -> Offer {
    let paths = |node: &Node| paths(node, registry);
    Offer {
        allow: entry.read_list("allow", paths, problems),
        deny: entry.read_list("deny", paths, problems),
    }
}

fn paths(node: &Node, registry: Option<&Pattern>) -> Result<Paths, Wrong> {
    let wrong = || Wrong::expected("repositories of this registry, such as \"library/*\" or \"team/**\"");
    let written = text(node)?;
    let read = Paths::parse(&written).ok_or_else(|| {
        wrong().hint("a path: * is any part of a name, ** any number of names, in small letters")
    })?;
    let Some(Pattern::Exact(registry)) = registry else {
        return Ok(read);
    };
    // What would never be met is a mistake, and one that opens what it was to close.
    match written.split_once('/') {
        Some((first, rest)) if first.parse().is_ok_and(|first: Registry| first == *registry) => {
            Err(wrong().hint(format!("the entry says the registry: write \"{rest}\"")))
        }
        None if registry.as_str() == Registry::DOCKER_HUB && written != "**" => Err(wrong().hint(format!(
            "Docker Hub keeps names of one part below library: write \"library/{written}\""
        ))),
        Some(_) | None => Ok(read),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::effective;
    use crate::config::tests::{refused, settings};

    #[test]
    fn what_a_registry_offers_is_read_and_shown() {
        let text = "[[upstream]]\nregistry = \"docker.io\"\nallow = [\"library/*\", \"team/**\"]\ndeny = [\"team/secret\"]\n\
                    [[upstream]]\nregistry = \"*\"\ndeny = [\"evil.example/**\"]\n";
        let read = settings(text);
        let offer = &read.names[0].offer;
        assert_eq!(format!("{:?}", offer.allow), "[\"library/*\", \"team/**\"]");
        assert_eq!(format!("{:?}", offer.deny), "[\"team/secret\"]");
        let again = settings(&effective(&read));
        let offers = |settings: &crate::config::Settings| -> Vec<_> {
            settings.names.iter().map(|name| name.offer.clone()).collect()
        };
        assert_eq!(offers(&again), offers(&read));
        assert_eq!(settings("").names[0].offer, super::Offer::default());
    }

    #[test]
    fn what_would_never_be_met_is_refused_with_what_is_meant() {
        for (registry, written, hint) in [
            ("docker.io", "docker.io/library/*", "write \"library/*\""),
            ("docker.io", "index.docker.io/team/**", "write \"team/**\""),
            ("docker.io", "alpine", "write \"library/alpine\""),
            ("docker.io", "*", "write \"library/*\""),
            ("ghcr.io", "ghcr.io/team", "write \"team\""),
            ("ghcr.io", "Team/app", "in small letters"),
            ("ghcr.io", "team/app:1", "in small letters"),
            ("ghcr.io", "", "in small letters"),
            ("*", "a**", "in small letters"),
        ] {
            for key in ["allow", "deny"] {
                let report = refused(&format!(
                    "[[upstream]]\nregistry = \"{registry}\"\n{key} = [\"{written}\"]\n"
                ));
                assert!(report.contains(key) && report.contains(hint), "{report}");
            }
        }
        for (registry, written) in [
            ("docker.io", "**"),
            ("ghcr.io", "team"),
            ("ghcr.io", "*"),
            ("*", "ghcr.io/team"),
        ] {
            settings(&format!(
                "[[upstream]]\nregistry = \"{registry}\"\nallow = [\"{written}\"]\n"
            ));
        }
    }
}
