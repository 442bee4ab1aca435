//! Who asks, in which rank, how long the answer is of use, and whether they may ask at all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::Inner;
use super::gate::Refused;
use super::login::Login;
use super::refusal::{self, Challenge};
use super::respond::{self, Answer};
use crate::cache::{Asker, Client, Failure, NotNow, Quotas};
use crate::clock::Time;
use crate::oci::{Repository, Route};
use crate::policy::access::{self, Evidence, Judge, Verdict, Wanted};
use crate::policy::clients::{self, Clients, Identity, Standing};
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

/// Who sends a request, as far as it shows.
pub(super) struct Caller<'a> {
    /// The address it comes from; the client's, where a trusted proxy tells it.
    pub(super) peer: SocketAddr,
    /// The names in the certificate of its connection.
    pub(super) certificate: &'a [String],
    /// Who judges what it logs in with.
    pub(super) judge: Judge,
    /// What came of that, where it is this cache.
    pub(super) login: Login,
}

/// Who may be answered, or what is said instead.
///
/// # Errors
/// The refusal: 401 with a challenge for who can log in, 403 or 404 for who cannot, 429 for who has failed to
/// too often.
pub(super) fn enter(
    clients: &Clients,
    caller: &Caller<'_>,
    wanted: Wanted<'_>,
    challenge: impl FnOnce() -> Challenge,
) -> Result<Identity, Box<Answer>> {
    let evidence = Evidence {
        certificate: caller.certificate,
        ..caller.login.evidence(caller.peer.ip())
    };
    let identity = clients.identify(&evidence);
    let refusal = match (
        access::decide(clients, &identity, wanted, caller.judge),
        &caller.login,
    ) {
        (Verdict::Granted, _) => return Ok(identity),
        (Verdict::Login, Login::Later(wait)) => refusal::later(*wait),
        (Verdict::Login, login) => refusal::login(login, &challenge()),
        (Verdict::Denied(denied), _) => refusal::denied(denied, wanted),
        (Verdict::Closed, _) => refusal::closed(caller.peer.ip()),
    };
    Err(Box::new(refusal))
}

/// The asker of a request.
pub(super) fn asker(identity: &Identity, head: &Parts, now: Time) -> Asker {
    Asker {
        tier: identity.tier,
        client: identity.client,
        deadline: now + clients::patience(agent(head)),
    }
}

/// Whoever asks from one address, says nothing of themselves but a User-Agent, and may pull.
pub(super) struct Regular {
    identity: Identity,
    /// `None` if nothing limits them.
    client: Option<Arc<Client>>,
}

impl Regular {
    /// Who that is; `None` if a request has to say more, or may be refused.
    pub(super) fn at(inner: &Inner, peer: SocketAddr) -> Option<Self> {
        let clients = &inner.options.clients;
        let identity = clients.identify(&Evidence::from(peer.ip()));
        // A trusted proxy may ask for somebody else.
        let is_stranger = identity.standing == Standing::Stranger;
        let regular = !is_stranger && !inner.options.proxies.trusts(peer.ip());
        let asker = Asker {
            tier: identity.tier,
            client: identity.client,
            deadline: inner.clock.now(),
        };
        regular.then(|| Self {
            identity,
            client: inner.cache.quotas().of(&asker),
        })
    }

    /// True if they may pull from a repository that is offered.
    pub(super) fn may_pull(&self, inner: &Inner, repository: &Repository) -> bool {
        let (clients, wanted) = (&inner.options.clients, Wanted::Repository(repository));
        access::decide(clients, &self.identity, wanted, Judge::Cache) == Verdict::Granted
    }

    /// Counts a request that is answered at once with so many bytes of body, when the clock has run for `now`;
    /// what is left, if requests are counted.
    ///
    /// # Errors
    /// [`NotNow`] if it is to be refused or made to wait; it is not counted then.
    pub(super) fn admit(&self, quotas: &Quotas, bytes: u64, now: Duration) -> Result<Option<Left>, NotNow> {
        let taken = self.client.as_ref().map(|client| quotas.take(client, bytes, now));
        Ok(taken.transpose()?.flatten())
    }
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
