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
    /// A repository and a tag of it whose HEAD tells the budget of whoever asks.
    probe: Option<(&'static str, &'static str)>,
}

const PROFILES: [Profile; 2] = [
    Profile {
        registry: Registry::DOCKER_HUB,
        url: Some("https://registry-1.docker.io"),
        token_hosts: &["auth.docker.io"],
        probe: Some(("ratelimitpreview/test", "latest")),
    },
    // A front for another registry, whose tokens it wants.
    Profile {
        registry: "lscr.io",
        url: None,
        token_hosts: &["ghcr.io"],
        probe: None,
    },
];

const PLAIN: Profile = Profile {
    registry: "",
    url: None,
    token_hosts: &[],
    probe: None,
};

/// Connections for one blob: as many as a browser opens to one host.
const LANES: usize = 6;

/// How many connections for one blob a registry bears, the first one included, where that is not [`LANES`].
const BORNE: [(&str, usize); 5] = [
    // Their stores are content delivery networks.
    (Registry::DOCKER_HUB, 8),
    ("mcr.microsoft.com", 8),
    ("quay.io", 8),
    // It limits requests of any kind: six at once trip it.
    ("public.ecr.aws", 2),
    // Every request is one of the operations that the tier allows in a minute.
    (".azurecr.io", 1),
];

/// How many connections for one blob a registry, or every one of a pattern, bears, the first one included.
pub(super) fn lanes(name: &str) -> usize {
    let is_it = |known: &str| name == known || (known.starts_with('.') && name.ends_with(known));
    let known = BORNE.iter().find(|(known, _)| is_it(known));
    known.map_or(LANES, |(_, lanes)| *lanes)
}

/// The profile of a registry.
pub(super) fn of(registry: &Registry) -> Profile {
    let known = PROFILES
        .into_iter()
        .find(|profile| profile.registry == registry.as_str());
    known.unwrap_or(PLAIN)
}

/// Where to read the budget of a registry: a repository and a tag, unless the operator has the registry's
/// name lead to another host, which may not have them.
pub(super) fn probe(registry: &Registry, url: Option<&http::Uri>) -> Option<(&'static str, &'static str)> {
    let profile = of(registry);
    let usual = profile.url.and_then(|url| url.parse::<http::Uri>().ok());
    let usual = usual.as_ref().and_then(http::Uri::host);
    let leads_there = |url: &http::Uri| url.host() == Some(usual.unwrap_or(registry.host()));
    profile.probe.filter(|_| url.is_none_or(leads_there))
}
