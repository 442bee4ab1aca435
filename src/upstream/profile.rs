//! What is known of certain registries, as data.

use crate::oci::Registry;

/// How a registry differs from what its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Profile {
    registry: &'static str,
    /// The base URL, where it is not `https://<registry>`.
    pub(super) url: Option<&'static str>,
    /// Hosts of other owners that issue the registry's tokens.
    pub(super) token_hosts: &'static [&'static str],
}

const PROFILES: [Profile; 2] = [
    Profile {
        registry: Registry::DOCKER_HUB,
        url: Some("https://registry-1.docker.io"),
        token_hosts: &["auth.docker.io"],
    },
    // A front for another registry, whose tokens it wants.
    Profile {
        registry: "lscr.io",
        url: None,
        token_hosts: &["ghcr.io"],
    },
];

const PLAIN: Profile = Profile {
    registry: "",
    url: None,
    token_hosts: &[],
};

/// The profile of a registry.
pub(super) fn of(registry: &Registry) -> Profile {
    let known = PROFILES
        .into_iter()
        .find(|profile| profile.registry == registry.as_str());
    known.unwrap_or(PLAIN)
}
