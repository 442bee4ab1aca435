//! The PROXY protocol, versions 1 and 2: how a connection of a trusted proxy begins.
//!
//! The machine says how many bytes certainly still belong to the header, so that its driver never takes a
//! byte of what follows: nothing needs to be handed back, and the socket below stays what it is.
//!
//! The crates that parse this format want a buffer that already holds the header, or wrap the connection;
//! what is left once its end is known is this one page.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How version 1 begins.
const WORD: &[u8] = b"PROXY ";
/// How version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The shortest header of all: `PROXY UNKNOWN` and its line end.
const SHORTEST: usize = 15;
/// The longest line of version 1, with its end (section 2.1 of the specification).
const LONGEST_LINE: usize = 107;
/// What version 2 has before its addresses.
const FIXED: usize = 16;
/// Longest header taken. Addresses have 216 bytes at most, and what load balancers add (TLS facts,
/// endpoint ids) some hundreds; the format would allow 64 KiB.
pub const LONGEST: usize = 4096;

/// What the bytes so far mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The header goes on for at least so many bytes.
    More(usize),
    /// The header is whole. It names the client, or none: then the peer speaks for itself, as in a health
    /// check.
    Whole(Option<SocketAddr>),
    /// This is no header, for that reason.
    Wrong(&'static str),
}

/// Looks at the beginning of a connection, all bytes of it so far. Whoever reads as many as it asks for, and
/// asks again, has read exactly the header.
pub fn look(bytes: &[u8]) -> Step {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(byte, wanted)| byte == wanted);
    if !begins(WORD) && !begins(SIGNATURE) {
        return Step::Wrong("it does not begin with a PROXY header");
    }
    if bytes.len() < SHORTEST {
        return Step::More(SHORTEST - bytes.len());
    }
    if begins(WORD) { line(bytes) } else { binary(bytes) }
}

/// Version 1: one line of text.
fn line(bytes: &[u8]) -> Step {
    if let Some(line) = bytes.strip_suffix(b"\r\n") {
        let text = std::str::from_utf8(line).ok();
        let client = text.and_then(|text| fields(&text[WORD.len()..]));
        return client.map_or(Step::Wrong("its PROXY line is malformed"), Step::Whole);
    }
    let begun = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    if begun.iter().any(|byte| b"\r\n".contains(byte)) {
        return Step::Wrong("its PROXY line is malformed");
    }
    // Nothing of the end is here, or its first half.
    let missing = 2 - (bytes.len() - begun.len());
    if bytes.len() + missing > LONGEST_LINE {
        return Step::Wrong("its PROXY line is too long");
    }
    Step::More(missing)
}

/// `TCP4 192.0.2.1 198.51.100.1 56324 443`: the client's address, ours, the client's port, ours.
fn fields(text: &str) -> Option<Option<SocketAddr>> {
    if text.contains(['\r', '\n']) {
        return None;
    }
    let mut fields = text.split(' ');
    let family = fields.next()?;
    if family == "UNKNOWN" {
        // Whatever follows is to be ignored.
        return Some(None);
    }
    let addresses = [fields.next()?, fields.next()?];
    let ports = [fields.next()?, fields.next()?];
    if fields.next().is_some() || !ports.iter().all(|port| is_port(port)) {
        return None;
    }
    let read = |address: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => Some(address.parse::<Ipv4Addr>().ok()?.into()),
            "TCP6" => Some(address.parse::<Ipv6Addr>().ok()?.into()),
            _ => None,
        }
    };
    let (client, _ours) = (read(addresses[0])?, read(addresses[1])?);
    Some(Some(client_at(client, ports[0].parse().ok()?)))
}

/// A number without signs and leading zeroes.
fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'))
        && text.parse::<u16>().is_ok()
}

/// Version 2: command, family, length, addresses, and more that is none of our business.
fn binary(bytes: &[u8]) -> Step {
    let Some(fixed) = bytes.get(SIGNATURE.len()..FIXED) else {
        return Step::More(FIXED - bytes.len());
    };
    if fixed[0] >> 4 != 2 {
        return Step::Wrong("its PROXY header has an unknown version");
    }
    let length = usize::from(number(&fixed[2..]));
    if FIXED + length > LONGEST {
        return Step::Wrong("its PROXY header is too long");
    }
    let rest = &bytes[FIXED..];
    if rest.len() < length {
        return Step::More(length - rest.len());
    }
    // Command, family, and whether it is a stream; unknown ones must be refused (section 2.2).
    let client = match (fixed[0] & 0xf, fixed[1] >> 4, fixed[1] & 0xf) {
        // LOCAL: the proxy asks for itself.
        (0, _, _) => Some(None),
        (1, 1, 1) => v4(rest).map(Some),
        (1, 2, 1) => v6(rest).map(Some),
        // No addresses, datagrams, sockets of the proxy's machine: nothing that is a client of ours.
        (1, 0..=3, 0..=2) => Some(None),
        _ => return Step::Wrong("its PROXY header has an unknown command or family"),
    };
    client.map_or(Step::Wrong("its PROXY header is too short"), Step::Whole)
}

/// Both addresses, then both ports; the client's come first.
fn v4(bytes: &[u8]) -> Option<SocketAddr> {
    let (block, _) = bytes.split_first_chunk::<12>()?;
    let (address, _) = block.split_first_chunk::<4>()?;
    Some(client_at(Ipv4Addr::from(*address).into(), number(&block[8..])))
}

fn v6(bytes: &[u8]) -> Option<SocketAddr> {
    let (block, _) = bytes.split_first_chunk::<36>()?;
    let (address, _) = block.split_first_chunk::<16>()?;
    Some(client_at(Ipv6Addr::from(*address).into(), number(&block[32..])))
}

fn number(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

fn client_at(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}
