//! Values of one kind wherever they stand: names, URLs, networks, certificates, paths.

use std::path::PathBuf;

use http::Uri;
use ipnet::IpNet;

use super::file::Node;
use super::section::{Wrong, text};
use crate::net::tls;
use crate::net::url::is_localhost;
use crate::oci::Registry;

/// A name that a Host header may carry.
pub(super) fn registry(node: &Node) -> Result<Registry, Wrong> {
    let wrong = || Wrong::expected("a host name with an optional port, such as \"hub.internal:5000\"");
    text(node)?.parse().map_err(|_| wrong())
}

/// A host name, in lower case.
pub(super) fn host(node: &Node) -> Result<String, Wrong> {
    let written = text(node)?;
    let parsed: Result<Registry, _> = written.parse();
    match parsed {
        Ok(_) => Ok(written.to_ascii_lowercase()),
        Err(_) => Err(Wrong::expected(
            "a host name with an optional port, such as \"auth.example.com\"",
        )),
    }
}

/// A base URL. Nothing in it may be secret, so user information and queries are refused.
pub(super) fn url(node: &Node) -> Result<Uri, Wrong> {
    let wrong = || Wrong::expected("a URL such as \"https://registry.example.com\"");
    let written = text(node)?;
    if written.contains('@') {
        let wrong = Wrong::expected("a URL without user and password").secret();
        return Err(wrong.hint("write them in `credentials`, the password as a reference"));
    }
    if written.contains(['?', '#']) {
        return Err(Wrong::expected("a URL without query and fragment").secret());
    }
    let url: Uri = written.parse().map_err(|_| wrong())?;
    let known = matches!(url.scheme_str(), Some("https" | "http"));
    let named = url
        .authority()
        .is_some_and(|authority| authority.as_str().parse::<Registry>().is_ok());
    match (known, named) {
        (true, true) => Ok(url),
        (true, false) => Err(wrong()),
        (false, _) => Err(wrong().hint("begin with https://")),
    }
}

/// A network (`10.0.0.0/8`) or a single address.
pub(super) fn network(node: &Node) -> Result<IpNet, Wrong> {
    let written = text(node)?;
    let single = || written.parse::<std::net::IpAddr>().ok().map(IpNet::from);
    let network = written.parse::<IpNet>().ok().or_else(single);
    network
        .map(|network| network.trunc())
        .ok_or_else(|| Wrong::expected("a network such as \"10.0.0.0/8\" or \"fd00::/8\""))
}

/// The certificates in a PEM file; at least one.
pub(super) fn certificates(node: &Node) -> Result<Vec<Vec<u8>>, Wrong> {
    let wrong = "the path of a PEM file with certificates";
    let read = tls::certificates(&path(node, wrong)?);
    let certificates = read.map_err(|why| Wrong::expected(wrong).hint(why))?;
    Ok(certificates.into_iter().map(|each| each.to_vec()).collect())
}

/// A path, which is not empty; `what` says of what.
pub(super) fn path(node: &Node, what: &'static str) -> Result<PathBuf, Wrong> {
    let path = text(node)?;
    match path.is_empty() {
        true => Err(Wrong::expected(what)),
        false => Ok(path.into()),
    }
}

/// True if a URL leads to this machine only, by its host's name or address.
pub(super) fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => is_localhost(host),
    }
}

/// True for a URL by which everything travels in the clear, beyond this machine.
pub(super) fn is_bare(url: &Uri) -> bool {
    url.scheme_str() == Some("http") && !is_loopback(url)
}
