//! The hops that `Forwarded` (RFC 7239) and `X-Forwarded-For` list, read from the right.
//!
//! From the right, because only there do we know who wrote: a quote that a stranger opened and never closed
//! must not swallow what a proxy put behind it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The hops of one line of `Forwarded`, the last first; `None` for one that tells no address.
pub(super) fn standard(line: &[u8]) -> impl Iterator<Item = Option<SocketAddr>> {
    let elements = Unquoted::of(line, b',').map(<[u8]>::trim_ascii);
    elements.filter(|element| !element.is_empty()).map(element)
}

/// The hops of one line of `X-Forwarded-For`, the last first; `None` for one that is no address.
pub(super) fn usual(line: &[u8]) -> impl Iterator<Item = Option<SocketAddr>> {
    let hops = line.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    hops.filter(|hop| !hop.is_empty()).map(node)
}

/// The address behind the one `for` of `for=192.0.2.1;proto=https`.
fn element(element: &[u8]) -> Option<SocketAddr> {
    let mut found = None;
    for pair in Unquoted::of(element, b';') {
        let Some(equals) = pair.iter().position(|byte| *byte == b'=') else {
            continue;
        };
        let (key, value) = (&pair[..equals], &pair[equals + 1..]);
        if key.trim_ascii().eq_ignore_ascii_case(b"for") && found.replace(value.trim_ascii()).is_some() {
            return None;
        }
    }
    let value = found?;
    match value.strip_prefix(b"\"") {
        // No address has anything to escape.
        Some(quoted) => node(quoted.strip_suffix(b"\"")?),
        None => node(value),
    }
}

/// An address with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn node(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let (address, port): (IpAddr, _) = if let Some(bracketed) = text.strip_prefix('[') {
        let (address, rest) = bracketed.split_once(']')?;
        let port = if rest.is_empty() {
            Some(0)
        } else {
            port(rest.strip_prefix(':')?)
        };
        (address.parse::<Ipv6Addr>().ok()?.into(), port?)
    } else if let Ok(address) = text.parse() {
        (address, 0)
    } else {
        let (address, rest) = text.split_once(':')?;
        (address.parse::<Ipv4Addr>().ok()?.into(), port(rest)?)
    };
    Some(SocketAddr::new(address.to_canonical(), port))
}

/// A port; 0 if it is obfuscated (`_gateway`).
fn port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.strip_prefix('_') {
        Some(name) => (!name.is_empty()).then_some(0),
        None => digits.then(|| text.parse().ok())?,
    }
}

/// Splits at a separator that stands outside of quotes, from the right.
struct Unquoted<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Unquoted<'a> {
    fn of(text: &'a [u8], separator: u8) -> Self {
        Self {
            rest: Some(text),
            separator,
        }
    }
}

impl<'a> Iterator for Unquoted<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.take()?;
        let mut quoted = false;
        for (at, byte) in rest.iter().enumerate().rev() {
            if *byte == b'"' {
                // The quote that opens follows `=`; one that follows a backslash is part of the text.
                quoted = !quoted || rest[..at].ends_with(b"\\");
            } else if *byte == self.separator && !quoted {
                self.rest = Some(&rest[..at]);
                return Some(&rest[at + 1..]);
            }
        }
        Some(rest)
    }
}
