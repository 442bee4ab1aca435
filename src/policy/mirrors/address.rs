//! Where programs reach Seawall.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::oci::Registry;

/// A host and port, and whether they speak TLS there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    tls: bool,
    authority: String,
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no address: expected a host and port, such as 127.0.0.1:5000, http://cache.internal:5000 or \
     https://cache.internal"
)]
pub struct BadAddress(String);

impl Address {
    /// Where a server that listens at `listen` is reached from the same machine.
    pub fn of_listener(listen: SocketAddr, tls: bool) -> Self {
        let host = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => "127.0.0.1".to_owned(),
            IpAddr::V6(ip) if ip.is_unspecified() => "[::1]".to_owned(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let authority = format!("{host}:{}", listen.port());
        Self { tls, authority }
    }

    /// As it stands in a URL: `127.0.0.1:5000`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// True if what travels there is encrypted.
    pub const fn is_encrypted(&self) -> bool {
        self.tls
    }

    /// True if every program takes it for a neighbour that needs no TLS.
    pub(super) fn is_loopback(&self) -> bool {
        let host = match self.authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => &self.authority,
        };
        let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

impl std::str::FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress(text.to_owned());
        let (tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return Err(bad()),
            None => (false, text),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest).to_ascii_lowercase();
        // What stands in front of a repository's name in a reference: programs write it there.
        let registry: Registry = authority.parse().map_err(|_| bad())?;
        let named = Registry::stands_first(&authority) && registry.as_str() != Registry::DOCKER_HUB;
        named.then_some(Self { tls, authority }).ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, url, loopback) in [
            ("127.0.0.1:5000", "http://127.0.0.1:5000", true),
            ("http://localhost:5000/", "http://localhost:5000", true),
            ("[::1]:5000", "http://[::1]:5000", true),
            ("https://Cache.internal", "https://cache.internal", false),
            ("10.0.0.1:80", "http://10.0.0.1:80", false),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(
                (address.to_string().as_str(), address.is_loopback()),
                (url, loopback)
            );
        }
    }

    #[test]
    fn what_cannot_stand_in_a_reference_is_refused() {
        for text in [
            "",
            "cache",
            "docker.io",
            "ftp://a.b",
            "http://a.b/path",
            "a.b:x",
            "u:p@a.b",
            "http://a.b:0",
            "a.b\"]\nx=1",
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.to_string().contains("expected a host and port"), "{text}");
        }
    }

    #[test]
    fn who_listens_everywhere_is_reached_by_loopback() {
        let of = |listen: &str| Address::of_listener(listen.parse().unwrap(), false).to_string();
        assert_eq!(of("0.0.0.0:5000"), "http://127.0.0.1:5000");
        assert_eq!(of("[::]:5000"), "http://[::1]:5000");
        assert_eq!(of("10.1.2.3:80"), "http://10.1.2.3:80");
    }
}
