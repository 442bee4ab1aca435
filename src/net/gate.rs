//! Which addresses may be dialled: an upstream's redirects, realms and names may not lead into the
//! operator's own network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::url::Url;

/// The addresses one client may connect to: public ones, those of the server it was made for, and those
/// the operator allows.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    own: Option<(String, u16)>,
    allowed: Vec<IpNet>,
    open: bool,
}

impl Gate {
    /// A gate that also lets through connections to `own`, wherever that is, and to `allowed` addresses.
    /// `own` must come from the operator, never from a client.
    pub fn new(own: Option<&Url>, allowed: Vec<IpNet>) -> Self {
        Self {
            own: own.map(|url| (url.host().to_owned(), url.port())),
            allowed,
            open: false,
        }
    }

    /// A gate that lets everything through: for clients whose every URL is ours or the operator's.
    pub fn open() -> Self {
        Self {
            open: true,
            ..Self::default()
        }
    }

    /// True if `host`, which resolved to `address`, may be connected to.
    pub(super) fn admits(&self, host: &str, port: u16, address: IpAddr) -> bool {
        let own = self
            .own
            .as_ref()
            .is_some_and(|(own, at)| own == host && *at == port);
        let plain = address.to_canonical();
        self.open
            || own
            || self
                .allowed
                .iter()
                .any(|net| net.contains(&address) || net.contains(&plain))
            || is_public(address)
    }
}

/// True for an address that anybody on the internet may reach: not loopback, private, link-local (where
/// the clouds keep their metadata services), shared, reserved or multicast, in no notation.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(inner) => is_public_v4(inner),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match (a, b, c) {
        // "This" network, private, loopback, multicast, reserved and broadcast.
        (0 | 10 | 127 | 224..=255, _, _) => true,
        // Carriers' shared space (RFC 6598); one cloud keeps its metadata service at 100.100.100.200.
        (100, 64..=127, _) => true,
        (169, 254, _) => true,
        (172, 16..=31, _) => true,
        // Protocol assignments, documentation, and the relay of 6to4.
        (192, 0, 0 | 2) | (192, 88, 99) => true,
        (192, 168, _) => true,
        // Benchmarks and documentation.
        (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) => true,
        // Another cloud's metadata and platform service.
        (168, 63, 129) => true,
        _ => false,
    };
    !special
}

/// Only 2000::/3 is routed on the internet; of it, the protocol assignments and documentation are not.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let global = a & 0xe000 == 0x2000;
    let special = (a == 0x2001 && matches!(b, 0..0x0200 | 0x0db8)) || a & 0xfff0 == 0x3ff0;
    global && !special
}

/// The IPv4 address that a packet to `address` ends up at, if it is one of the forms that carry one:
/// IPv4-mapped and -compatible, 6to4, NAT64 and Teredo.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => Some(v4(high, low)),
        // The translators' well-known prefix (RFC 6052).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        // Teredo hides the client's address by inverting it (RFC 4380).
        [0x2001, 0, _, _, _, _, high, low] => Some(v4(!high, !low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    // S014, S015, S021
    #[test]
    fn addresses_of_no_public_class_are_recognised_in_every_notation() {
        for text in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.9.9.9",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2001:0:1:2:3:4:80ff:fffe",
            "2001:db8::1",
            "fec0::1",
            "100::1",
        ] {
            assert!(!is_public(ip(text)), "{text}");
        }
    }

    #[test]
    fn public_addresses_are_let_through() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1",
            "64:ff9b::1.1.1.1",
        ] {
            assert!(is_public(ip(text)), "{text}");
        }
    }

    // S018b
    #[test]
    fn a_private_upstream_is_reached_at_its_own_port_only() {
        let own = Url::parse("http://registry.lan:5000").unwrap();
        let gate = Gate::new(Some(&own), vec!["10.7.0.0/16".parse().unwrap()]);
        assert!(gate.admits("registry.lan", 5000, ip("10.1.1.1")));
        assert!(!gate.admits("registry.lan", 5001, ip("10.1.1.1")));
        assert!(!gate.admits("other.lan", 5000, ip("10.1.1.1")));
        assert!(gate.admits("other.lan", 80, ip("10.7.1.1")));
        assert!(gate.admits("other.lan", 80, ip("::ffff:10.7.1.1")));
        assert!(gate.admits("cdn.example", 443, ip("1.1.1.1")));
    }
}
