//! Who asks, in which rank, how long the answer is of use, and whether they may ask at all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::Inner;
use super::gate::Refused;
use super::respond::{self, Answer};
use crate::cache::{Asker, Client, Failure, Quotas};
use crate::clock::Time;
use crate::oci::Route;
use crate::policy::clients::{self, Clients};
use crate::policy::proxies::{Disagreement, Proxies};
use crate::policy::quota::Left;

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

/// True if whoever asks from here, and says nothing of themselves but a User-Agent, is granted everything: nothing
/// refuses, counts or paces them.
pub(super) fn is_unlimited(inner: &Inner, peer: SocketAddr) -> bool {
    let identity = inner.options.clients.identify(peer.ip());
    // A trusted proxy may ask for somebody else.
    !inner.options.proxies.trusts(peer.ip()) && inner.cache.quotas().are_unlimited(identity.tier)
}

/// A request that may be answered.
pub(super) struct Admitted {
    /// `None` if nothing limits who asks.
    client: Option<Arc<Client>>,
    /// What is left of its requests, if they are counted.
    left: Option<Left>,
}

/// Counts a request against its client's quota. Asking whether this is a registry is free.
///
/// # Errors
/// The 429, if nothing is left.
pub(super) fn admit(quotas: &Quotas, route: &Route, asker: &Asker) -> Result<Admitted, Failure> {
    let client = match route {
        Route::Base => None,
        _ => quotas.of(asker),
    };
    let left = client.as_ref().map(|client| quotas.read(client)).transpose()?;
    Ok(Admitted {
        client,
        left: left.flatten(),
    })
}

impl Admitted {
    /// Has the answer's body sent at the client's rate, and tells with a manifest what is left. Who reads a
    /// registry's budget reads it there, and nowhere else.
    pub(super) fn grant(&self, quotas: &Quotas, route: &Route, mut answer: Answer) -> Answer {
        let status = answer.status();
        if let Some(left) = self.left
            && matches!(route, Route::Manifest(..))
            && (status.is_success() || status == StatusCode::NOT_MODIFIED)
        {
            respond::put_left(answer.headers_mut(), left);
        }
        match self.client.as_ref().and_then(|client| quotas.pacer(client)) {
            Some(pacer) if status.is_success() => answer.map(|body| body.paced(pacer)),
            _ => answer,
        }
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
