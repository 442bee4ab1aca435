//! Whoever is not trusted chooses nobody's address; whoever is, is believed however it spells it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;

use super::*;

/// 10.0.0.0/8 and 2001:db8:1::/48 are proxies.
fn proxies() -> Proxies {
    Proxies {
        trusted: ["10.0.0.0/8", "2001:db8:1::/48"]
            .map(|network| network.parse().unwrap())
            .into(),
        protocol: false,
    }
}

const PROXY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 4000);

/// The client behind a peer that sends these lines.
fn client(peer: SocketAddr, forwarded: &[Vec<u8>], usual: &[Vec<u8>]) -> Result<SocketAddr, Disagreement> {
    proxies().client(
        peer,
        forwarded.iter().map(Vec::as_slice),
        usual.iter().map(Vec::as_slice),
    )
}

/// The client that one line of `X-Forwarded-For` from a proxy tells, without its port.
fn usual(line: &str) -> String {
    client(PROXY, &[], &[line.into()]).unwrap().ip().to_string()
}

/// The client that one line of `Forwarded` from a proxy tells, without its port.
fn standard(line: &str) -> String {
    client(PROXY, &[line.into()], &[]).unwrap().ip().to_string()
}

#[test]
fn every_spelling_of_an_address_is_read() {
    for (line, told) in [
        ("192.0.2.1", "192.0.2.1"),
        ("  192.0.2.1:4711  ", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
        ("192.0.2.1,", "192.0.2.1"),
        ("192.0.2.1, ,\t,", "192.0.2.1"),
        ("192.0.2.1:_hidden", "192.0.2.1"),
    ] {
        assert_eq!(usual(line), told, "{line}");
    }
    for (line, told) in [
        ("for=192.0.2.1", "192.0.2.1"),
        ("For=\"192.0.2.1:4711\";proto=http;by=203.0.113.43", "192.0.2.1"),
        (
            "proto=https; FOR=\"[2001:db8::1]:4711\" ;host=\"a,b;for=10.0.0.1\"",
            "2001:db8::1",
        ),
        ("for=\"[::ffff:192.0.2.1]\"", "192.0.2.1"),
        ("for=192.0.2.1;ext=\"x\\\", for=203.0.113.9\"", "192.0.2.1"),
        ("for=192.0.2.1;ext=\"ends with \\\\\"", "192.0.2.1"),
        ("for=192.0.2.1, for=10.0.0.2, for=10.0.0.3", "192.0.2.1"),
    ] {
        assert_eq!(standard(line), told, "{line}");
    }
    let ported = client(PROXY, &[], &[b"192.0.2.1:4711".to_vec()]).unwrap();
    assert_eq!(ported.to_string(), "192.0.2.1:4711");
}

#[test]
fn what_tells_no_address_ends_the_walk_at_the_one_who_said_it() {
    for hop in [
        "unknown",
        "_hidden",
        "a.test",
        "192.0.2",
        "192.0.2.01",
        "1.2.3.4.5",
        "192.0.2.1:",
        "192.0.2.1:99999",
        "192.0.2.1:+1",
        "192.0.2.1 x",
        "[192.0.2.1]",
        "[2001:db8::1",
        "2001:db8::1]",
        "[2001:db8::1]x",
        "fe80::1%eth0",
        "\"192.0.2.1\"",
        "\u{fe}",
        "[]",
        "_",
        ":80",
    ] {
        assert_eq!(
            usual(&format!("203.0.113.9, {hop}, 10.0.0.2")),
            "10.0.0.2",
            "{hop}"
        );
        assert_eq!(usual(hop), "10.0.0.1", "{hop}");
    }
    for hop in [
        "for=unknown",
        "for=_hidden",
        "proto=http",
        "for",
        "for=",
        "for=\"",
        "for=\"192.0.2.1",
        "for=192.0.2.1\"",
        "for=192.0.2.1;for=192.0.2.1",
        "for=\"a\" \"192.0.2.1\"",
        "for=\"192.0.2.\\1\"",
        "192.0.2.1",
        "=192.0.2.1",
    ] {
        assert_eq!(
            standard(&format!("for=203.0.113.9, {hop}, for=10.0.0.2")),
            "10.0.0.2",
            "{hop}"
        );
    }
}

#[test]
fn several_lines_are_one_list() {
    let lines =
        ["203.0.113.9", "192.0.2.1, 10.0.0.4", "10.0.0.3,10.0.0.2"].map(|line| line.as_bytes().to_vec());
    let told = client(PROXY, &[], &lines).unwrap();
    assert_eq!(told.ip().to_string(), "192.0.2.1");
    let all_trusted = client(PROXY, &[], &lines[2..]).unwrap();
    assert_eq!(all_trusted.ip().to_string(), "10.0.0.3");
}

#[test]
fn a_peer_that_a_dual_stack_listener_spells_its_way_is_the_same_proxy() {
    let peer = SocketAddr::new("::ffff:10.0.0.1".parse().unwrap(), 1);
    let told = client(peer, &[], &[b"192.0.2.1".to_vec()]).unwrap();
    assert_eq!(told.ip().to_string(), "192.0.2.1");
}

#[test]
fn two_headers_must_name_one_client() {
    // S082: a proxy that writes X-Forwarded-For passes on the Forwarded that a stranger sends, and the other
    // way round.
    let usual = [b"192.0.2.1".to_vec()];
    assert_eq!(
        client(PROXY, &[b"for=10.0.0.9".to_vec()], &usual),
        Err(Disagreement)
    );
    assert_eq!(
        client(PROXY, &[b"for=unknown".to_vec()], &usual),
        Err(Disagreement)
    );
    let agreed = client(PROXY, &[b"for=\"192.0.2.1:1\"".to_vec()], &usual).unwrap();
    assert_eq!(agreed.ip().to_string(), "192.0.2.1");
    let empty = client(PROXY, &[b" , ".to_vec()], &usual).unwrap();
    assert_eq!(empty.ip().to_string(), "192.0.2.1");
    assert_eq!(client(PROXY, &[], &[]), Ok(PROXY));
}

/// Bytes that a header's value can hold, quotes and separators among them more often than chance has it.
fn words() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        Just(b'"'),
        Just(b'\\'),
        Just(b','),
        Just(b';'),
        0x20..=0x7e_u8,
        0x80..=0xff_u8
    ];
    prop_oneof![
        proptest::collection::vec(byte, 0..40),
        address().prop_map(|address| format!("{address}").into_bytes()),
        address().prop_map(|address| format!("for=\"[{address}]\", for={address}").into_bytes()),
        Just(b"10.0.0.7".to_vec()),
        Just(b"for=10.0.0.7".to_vec()),
        Just(b"for=\"10.0.0.7".to_vec()),
    ]
}

/// Any address, in both families, proxies and their likes among them.
fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<Ipv4Addr>().prop_map(IpAddr::V4),
        any::<Ipv6Addr>().prop_map(|address| IpAddr::V6(address).to_canonical()),
        any::<[u8; 3]>().prop_map(|[a, b, c]| Ipv4Addr::new(10, a, b, c).into()),
    ]
}

/// An address that is no proxy's.
fn stranger() -> impl Strategy<Value = IpAddr> {
    address().prop_filter("a proxy", |address| !proxies().trusts(*address))
}

/// The address as some proxy writes it into `X-Forwarded-For`, by a number.
fn spell_usual(address: IpAddr, how: u8) -> String {
    match (address, how % 4) {
        (IpAddr::V4(address), 1) => format!("::ffff:{address}"),
        (IpAddr::V4(address), 2) => format!("{address}:{}", u16::from(how) + 1),
        (IpAddr::V6(address), 1) => format!("[{address}]"),
        (IpAddr::V6(address), 2) => format!("[{address}]:{}", u16::from(how) + 1),
        (address, _) => address.to_string(),
    }
}

/// The element that some proxy writes into `Forwarded`, with a host that a stranger chose.
fn spell_standard(address: IpAddr, how: u8, host: &str) -> String {
    let node = match address {
        IpAddr::V4(address) if how.is_multiple_of(2) => format!("for={address}"),
        IpAddr::V4(address) => format!("FOR=\"{address}:{}\"", u16::from(how) + 1),
        IpAddr::V6(address) => format!("For=\"[{address}]\""),
    };
    let host = host.replace('\\', "\\\\").replace('"', "\\\"");
    match how % 3 {
        0 => node,
        1 => format!("{node};proto=http;host=\"{host}\""),
        _ => format!("host=\"{host}\" ; {node}"),
    }
}

proptest! {
    #[test]
    fn a_stranger_never_chooses_who_it_is(
        peer in stranger(),
        forwarded in proptest::collection::vec(words(), 0..4),
        usual in proptest::collection::vec(words(), 0..4),
    ) {
        let peer = SocketAddr::new(peer, 1);
        prop_assert_eq!(client(peer, &forwarded, &usual), Ok(peer));
    }

    #[test]
    fn what_stands_left_of_a_stranger_never_matters(
        spoofed in proptest::collection::vec(words(), 0..4),
        real in stranger(),
        hops in proptest::collection::vec(any::<[u8; 3]>(), 0..4),
        how in any::<u8>(),
        host in "[ -~]{0,20}",
        joined in any::<bool>(),
        standard in any::<bool>(),
    ) {
        let spell = |address| if standard {
            spell_standard(address, how, &host)
        } else {
            spell_usual(address, how)
        };
        let mut lines = spoofed;
        let behind = hops.iter().map(|[a, b, c]| IpAddr::from([10, *a, *b, *c]));
        for address in [real].into_iter().chain(behind) {
            // Each proxy puts in its peer: at the end of the list, or on a line of its own.
            match lines.last_mut() {
                Some(last) if joined => last.extend(format!(", {}", spell(address)).into_bytes()),
                _ => lines.push(spell(address).into_bytes()),
            }
        }
        let told = if standard { client(PROXY, &lines, &[]) } else { client(PROXY, &[], &lines) };
        prop_assert_eq!(told.map(|told| told.ip()), Ok(real));
    }

    #[test]
    fn a_header_that_the_proxy_does_not_write_changes_no_answer(
        spoofed in proptest::collection::vec(words(), 0..3),
        real in stranger(),
    ) {
        let usual = client(PROXY, &spoofed, &[real.to_string().into_bytes()]);
        prop_assert!(usual.is_err() || usual.map(|told| told.ip()) == Ok(real));
        let standard = client(PROXY, &[spell_standard(real, 0, "").into_bytes()], &spoofed);
        prop_assert!(standard.is_err() || standard.map(|told| told.ip()) == Ok(real));
    }
}
