//! May a registry's password be sent to the token service that the registry named?
//!
//! The answer of whoever listens on the registry's address names the service, so it is not believed
//! without reason (CVE-2026-33540): only services that belong to the same owner are.

use std::net::IpAddr;

use crate::net::url::{Scheme, Url, is_localhost};

/// True if `realm` may be asked for tokens of `registry`: over TLS unless the registry itself is without,
/// and on the registry's host, within its registrable domain, or on one of `hosts` (`host` or `host:port`).
///
/// Addresses and `localhost` say nothing about who owns them: there the port must be the same too. Domains
/// under suffixes that nobody registered (`cluster.local`) say as little, so there the host must be the same.
pub(super) fn trusted(realm: &Url, registry: &Url, hosts: &[String]) -> bool {
    if realm.scheme() == Scheme::Http && registry.scheme() == Scheme::Https {
        return false;
    }
    let with_port = format!("{}:{}", realm.host(), realm.port());
    let listed =
        |host: &String| host.eq_ignore_ascii_case(realm.host()) || host.eq_ignore_ascii_case(&with_port);
    if hosts.iter().any(listed) {
        return true;
    }
    if is_anonymous(realm.host()) || is_anonymous(registry.host()) {
        return realm.host() == registry.host() && realm.port() == registry.port();
    }
    if realm.host() == registry.host() {
        return true;
    }
    let owner = owner(registry.host());
    owner.is_some() && owner == self::owner(realm.host())
}

fn is_anonymous(host: &str) -> bool {
    is_localhost(host) || host.parse::<IpAddr>().is_ok()
}

/// The registrable domain, if its suffix is on the public list.
fn owner(host: &str) -> Option<&[u8]> {
    let domain = psl::domain(host.as_bytes())?;
    domain.suffix().is_known().then(|| domain.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(realm: &str, registry: &str, hosts: &[&str]) -> bool {
        let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
        trusted(
            &Url::parse(realm).unwrap(),
            &Url::parse(registry).unwrap(),
            &hosts,
        )
    }

    // S024, S025, S026
    #[test]
    fn a_realm_is_trusted_if_it_belongs_to_the_registrys_owner() {
        for (realm, registry, expected) in [
            ("https://ghcr.io/token", "https://ghcr.io", true),
            (
                "https://auth.docker.io/token",
                "https://registry-1.docker.io",
                true,
            ),
            ("https://gitlab.com/jwt/auth", "https://registry.gitlab.com", true),
            ("https://r.example.com:8443/t", "https://r.example.com", true),
            ("https://evil.com/token", "https://registry-1.docker.io", false),
            (
                "https://docker.io.evil.com/t",
                "https://registry-1.docker.io",
                false,
            ),
            ("https://b.github.io/t", "https://a.github.io", false),
            ("https://b.co.uk/t", "https://a.co.uk", false),
            ("http://ghcr.io/token", "https://ghcr.io", false),
            ("http://r.lan/token", "http://r.lan:5000", true),
            ("https://r.lan/token", "http://r.lan:5000", true),
            (
                "https://other.svc.cluster.local",
                "https://r.svc.cluster.local",
                false,
            ),
            // S018b: a private registry that is its own token service.
            ("http://10.0.0.1:5000/t", "http://10.0.0.1:5000", true),
            ("http://10.0.0.1:5001/t", "http://10.0.0.1:5000", false),
            ("http://10.0.0.2:5000/t", "http://10.0.0.1:5000", false),
            ("http://localhost:1/t", "http://localhost:5000", false),
            // S018
            ("http://169.254.169.254/t", "http://r.example.com", false),
        ] {
            assert_eq!(rule(realm, registry, &[]), expected, "{realm} for {registry}");
        }
    }

    #[test]
    fn listed_hosts_are_trusted_over_tls() {
        assert!(rule("https://ghcr.io/token", "https://lscr.io", &["ghcr.io"]));
        assert!(rule(
            "https://sso.corp:8443/t",
            "https://r.corp",
            &["SSO.corp:8443"]
        ));
        assert!(!rule(
            "https://sso.corp:9443/t",
            "https://r.corp",
            &["sso.corp:8443"]
        ));
        assert!(!rule("http://ghcr.io/token", "https://lscr.io", &["ghcr.io"]));
    }
}
