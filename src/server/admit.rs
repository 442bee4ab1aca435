//! Who asks, in which rank, and how long the answer is of use.

use std::net::SocketAddr;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::gate::Refused;
use super::respond::Answer;
use crate::cache::Asker;
use crate::clock::Time;
use crate::policy::clients::{self, Clients};
use crate::policy::proxies::{Disagreement, Proxies};

/// Most that a refusal is held back, and least: those who ask again at once do so less often.
const HELD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3));

/// The address that a request comes from: its peer's, or the one for which a trusted proxy sends it.
pub(super) fn origin(
    proxies: &Proxies,
    peer: SocketAddr,
    headers: &HeaderMap,
) -> Result<SocketAddr, Refused> {
    let forwarded = headers.get_all(header::FORWARDED).iter();
    let usual = headers.get_all("x-forwarded-for").iter();
    let client = proxies.client(
        peer,
        forwarded.map(HeaderValue::as_bytes),
        usual.map(HeaderValue::as_bytes),
    );
    client.map_err(|Disagreement| {
        Refused::Ambiguous(
            "Forwarded and X-Forwarded-For name different clients: the proxy has to remove the header that it \
             does not write itself",
        )
    })
}

/// The asker of a request.
pub(super) fn identify(clients: &Clients, peer: SocketAddr, head: &Parts, now: Time) -> Asker {
    let identity = clients.identify(peer.ip());
    Asker {
        tier: identity.tier,
        client: identity.client,
        deadline: now + clients::patience(agent(head)),
    }
}

/// How long an answer is held back: a 429 for a client that would ask again at once, as long as it still
/// comes before the deadline.
pub(super) fn hold(head: &Parts, answer: &Answer, asker: &Asker, now: Time) -> Duration {
    if answer.status() != StatusCode::TOO_MANY_REQUESTS || !clients::hurries(agent(head)) {
        return Duration::ZERO;
    }
    let spread = HELD.1 - HELD.0;
    let hold = HELD.0 + spread.mul_f64(rand::random_range(0.0..=1.0));
    hold.min(asker.deadline.since(now))
}

fn agent(head: &Parts) -> &str {
    let agent = head.headers.get(header::USER_AGENT);
    agent.and_then(|agent| agent.to_str().ok()).unwrap_or_default()
}
