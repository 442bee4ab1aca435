//! Which client a request is from, when proxies stand in between.
//!
//! ```text
//! stranger ── client ── proxy ── proxy ── us
//!    left part of the list   │       └── peer: what the kernel says
//!    (anybody's words)       └── what a proxy that we trust says, from the right
//! ```
//! The walk begins at the peer and goes left for as long as the one who speaks is trusted. So nobody who is
//! not trusted ever chooses an address, their own or another's (S082).

mod forwarded;
pub mod preface;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// The proxies that may say whom they speak for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// The addresses they connect from; none by default.
    pub trusted: Vec<IpNet>,
    /// Whether they say it at the beginning of each connection, by the PROXY protocol.
    pub protocol: bool,
}

/// Two headers name two clients. One of them was written by a proxy, the other perhaps by a stranger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disagreement;

impl Proxies {
    /// True if a proxy at this address may say whom it speaks for.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|network| network.contains(&address))
    }

    /// True if connections from `peer` must begin with a PROXY header; those of others must not.
    pub fn begins_with_preface(&self, peer: SocketAddr) -> bool {
        self.protocol && self.trusts(peer.ip())
    }

    /// The client behind `peer`, from the lines of the `Forwarded` and `X-Forwarded-For` headers as they
    /// came. The port is 0 where no proxy tells it.
    ///
    /// # Errors
    /// [`Disagreement`] if a trusted peer sends both headers and they name different clients: most proxies
    /// write one of the two and pass on what strangers put into the other.
    pub fn client<'a, F, X>(
        &self,
        peer: SocketAddr,
        forwarded: F,
        x_forwarded_for: X,
    ) -> Result<SocketAddr, Disagreement>
    where
        F: DoubleEndedIterator<Item = &'a [u8]>,
        X: DoubleEndedIterator<Item = &'a [u8]>,
    {
        if !self.trusts(peer.ip()) {
            return Ok(peer);
        }
        let mut standard = forwarded.rev().flat_map(forwarded::standard).peekable();
        let mut usual = x_forwarded_for.rev().flat_map(forwarded::usual).peekable();
        match (standard.peek().is_some(), usual.peek().is_some()) {
            (false, _) => Ok(self.walk(peer, usual)),
            (true, false) => Ok(self.walk(peer, standard)),
            (true, true) => {
                let (standard, usual) = (self.walk(peer, standard), self.walk(peer, usual));
                let agree = standard.ip() == usual.ip();
                agree.then_some(standard).ok_or(Disagreement)
            }
        }
    }

    /// Goes from hop to hop, beginning at a trusted peer, up to the first that is not trusted. A hop that
    /// does not tell an address ends the walk at the one that spoke of it.
    fn walk(&self, peer: SocketAddr, hops: impl Iterator<Item = Option<SocketAddr>>) -> SocketAddr {
        let mut client = peer;
        for hop in hops.map_while(|hop| hop) {
            client = hop;
            if !self.trusts(hop.ip()) {
                break;
            }
        }
        client
    }
}
