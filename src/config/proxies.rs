//! The proxies that may name the client they ask for.

use ipnet::IpNet;

use super::file::{Node, Value};
use super::problem::Problems;
use super::section::{Section, Wrong, boolean};
use super::values;
use crate::policy::proxies::Proxies;

/// Reads `server.trusted_proxies` and `server.proxy_protocol`.
pub(super) fn read(server: &Section<'_>, problems: &mut Problems) -> Proxies {
    let proxies = Proxies {
        trusted: server.read_list("trusted_proxies", proxy, problems),
        protocol: server.read("proxy_protocol", false, boolean, problems),
    };
    // A list of which nothing could be read has been reported.
    let is_empty = |node: &Node| matches!(&node.value, Value::List(list) if list.is_empty());
    let named = server.node("trusted_proxies").is_some_and(|node| !is_empty(node));
    if proxies.protocol && !named {
        let place = server
            .node("proxy_protocol")
            .map_or(&server.place, |node| &node.place);
        let what = "server.proxy_protocol = true: expected server.trusted_proxies beside it, since nobody else's \
                    PROXY header is believed";
        let hint =
            "write the addresses that the load balancer connects from: trusted_proxies = [\"10.0.0.4\"]";
        problems.add(place, what, Some(hint.into()));
    }
    proxies
}

/// A network that is not everybody.
fn proxy(node: &Node) -> Result<IpNet, Wrong> {
    let network = values::network(node)?;
    if network.prefix_len() == 0 {
        let wrong = Wrong::expected("the network of the proxies, such as \"10.0.0.4/31\", and not everybody");
        return Err(wrong.hint("whoever is in it can claim to be any client"));
    }
    Ok(network)
}
