//! One request: gate, route, name, cache, answer.

use std::convert::Infallible;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use super::access::Record;
use super::admit::{self, Caller};
use super::body::PullBody;
use super::gate::{self, Refused};
use super::login::Login;
use super::pull::{self, Told};
use super::refusal::Challenge;
use super::respond::{self, Answer, Wishes};
use super::sendfile::Runs;
use super::watch::{Active, Signs, Turn};
use super::{Inner, permit, tokens};
use crate::cache::{Asker, Failure, PATIENCE};
use crate::oci::{Code, Route};
use crate::policy::access::{Judge, Wanted};
use crate::policy::clients::Identity;
use crate::policy::naming::Chosen;
use crate::telemetry::trace;
use crate::upstream::Guard;

/// Where a connection comes from, which holds for all of its requests.
pub(super) struct From {
    /// Its other end; the client's, where a trusted proxy told it in front of all requests.
    pub(super) peer: SocketAddr,
    /// The names in the certificate that the client has shown.
    pub(super) certificate: Arc<[String]>,
}

/// Answers a request of a client.
pub(super) async fn answer(
    inner: Arc<Inner>,
    request: Request<Incoming>,
    from: Arc<From>,
    signs: Arc<Signs>,
    runs: Option<Runs>,
) -> Result<Response<Tracked>, Infallible> {
    let mut active = Active::new(signs);
    // The body, if a forbidden one was announced, is never read; the connection closes instead.
    let (head, body) = request.into_parts();
    let mut record = Record::new(inner.clone(), &head, from.peer);
    let runs = runs.and_then(|runs| runs.of(head.version));
    let tainted = active.signs().is_tainted();
    let handled = {
        let trace = record.trace.clone();
        let handling = pin!(handle(&inner, (&head, body), &from, tainted, runs, &mut record));
        trace::within(trace, Guarded(handling)).await
    };
    let answer = handled.unwrap_or_else(|| {
        inner.metrics.panicked();
        respond::error(
            StatusCode::INTERNAL_SERVER_ERROR,
            Code::Unknown,
            "an internal error; the log of the cache tells more",
        )
    });
    record.answered(answer.status().as_u16());
    active.pass(Turn::Reader);
    let (parts, body) = headers_only(&head.method, answer).into_parts();
    let body = Tracked {
        body: body.for_version(head.version),
        active,
        record: Some(record),
    };
    Ok(Response::from_parts(parts, body))
}

async fn handle(
    inner: &Inner,
    (head, body): (&Parts, Incoming),
    from: &From,
    tainted: bool,
    runs: Option<Runs>,
    record: &mut Record,
) -> Answer {
    let peer = match admit::origin(&inner.options.proxies, from.peer, &head.headers) {
        Ok(client) => client,
        Err(refused) => return turn_away(refused, head.version),
    };
    record.peer = peer;
    if tokens::is_for(inner, head) {
        return match gate::check_form(head, tainted) {
            Ok(host) => Box::pin(tokens::answer(inner, head, body, (from, peer), host.as_ref())).await,
            Err(refused) => turn_away(refused, head.version),
        };
    }
    let host = match gate::check(head, tainted) {
        Ok(host) => host,
        Err(refused) => return turn_away(refused, head.version),
    };
    let route = match Route::parse(head.uri.path(), head.uri.query()) {
        Ok(route) => &*record.route.insert(route),
        Err(error) => return pull::no_route(&error),
    };
    let (clients, quotas) = (&inner.options.clients, inner.cache.quotas());
    let target = route.target();
    let chosen = target.map(|target| inner.names.choose(target, host.as_ref()));
    let wanted = match &chosen {
        Some(Ok(chosen)) => inner.names.wanted(chosen),
        None if matches!(route, Route::Catalog(..)) => Wanted::Catalog,
        Some(Err(_)) | None => Wanted::Base,
    };
    let (trust, logins) = (inner.trust(), &inner.logins);
    let meant = match route {
        Route::Base => permit::meant(inner, host.as_ref()),
        _ => None,
    };
    let named = chosen.as_ref().and_then(|chosen| chosen.as_ref().ok());
    let judge = permit::judge(inner, named.or(meant.as_ref()));
    let caller = Caller {
        peer,
        certificate: &from.certificate,
        judge,
        login: match judge {
            Judge::Registry => Login::None,
            Judge::Cache => logins.who(trust, peer.ip(), &head.headers, Some(wanted)).await,
        },
    };
    let challenge = || Challenge::new(inner, head, inner.options.proxies.trusts(from.peer.ip()), wanted);
    let identity = match admit::enter(clients, &caller, wanted, challenge) {
        Ok(identity) => identity,
        Err(refusal) => return *refusal,
    };
    let asker = admit::asker(&identity, head, inner.clock.now());
    let answer = match admit::admit(quotas, route, &asker) {
        Ok(admitted) => {
            let told = match (target, chosen) {
                (Some(target), Some(Ok(chosen))) => {
                    let wishes = Wishes {
                        headers: &head.headers,
                        head: head.method == Method::HEAD,
                        namespace: target.namespace.as_ref(),
                        runs,
                    };
                    record.repository = Some(chosen.repository.clone());
                    match inner.cache.guard(&chosen) {
                        Guard::Nobody => pull::answer(&inner.cache, route, &chosen, &asker, wishes).await,
                        Guard::Everybody | Guard::Client => {
                            let way = ((route, &chosen), peer.ip());
                            Box::pin(guarded(inner, head, way, &asker, wishes)).await
                        }
                    }
                }
                (_, Some(Err(unknown))) => pull::of_our_own(pull::no_registry(&unknown)),
                (_, _) => of_our_own(inner, head, route, (&identity, meant.as_ref()), peer.ip()).await,
            };
            (record.from, record.outcome, record.why) = (told.from, told.outcome, told.why);
            admitted.grant(quotas, route, told.answer)
        }
        Err(over_quota) => {
            record.outcome = respond::failure_word(&over_quota);
            record.why = Some(over_quota.public.clone());
            respond::fail(&over_quota)
        }
    };
    let hold = admit::hold(head, &answer, &asker, inner.clock.now());
    if !hold.is_zero() {
        tokio::time::sleep(hold).await;
    }
    answer
}

/// Answers for a repository that may not be for who asks: to find that out and to answer takes no longer together
/// than clients wait.
async fn guarded(
    inner: &Inner,
    head: &Parts,
    ((route, chosen), address): ((&Route, &Chosen), IpAddr),
    asker: &Asker,
    wishes: Wishes<'_>,
) -> Told {
    let answer = async {
        match permit::check(inner, head, (route, chosen), address).await {
            Ok(()) => pull::answer(&inner.cache, route, chosen, asker, wishes).await,
            Err(told) => *told,
        }
    };
    let registry = chosen.repository.registry.as_str();
    let in_time = tokio::time::timeout(PATIENCE, answer).await;
    in_time.unwrap_or_else(|_| pull::failed(&Failure::timeout(registry)))
}

/// Answers what is asked of no repository.
async fn of_our_own(
    inner: &Inner,
    head: &Parts,
    route: &Route,
    (who, meant): (&Identity, Option<&Chosen>),
    address: IpAddr,
) -> Told {
    pull::of_our_own(match route {
        Route::Catalog(registry, page) => {
            let grant = inner.options.clients.grant(who);
            pull::catalog(&inner.cache, registry.as_ref(), page, grant, &inner.names).await
        }
        _ => permit::ping(inner, head, meant, address)
            .await
            .unwrap_or_else(pull::base),
    })
}

/// The answer to a HEAD has the headers of a GET and no body. hyper sees to that in HTTP/1 only.
pub(super) fn headers_only(method: &Method, mut answer: Answer) -> Answer {
    if method == Method::HEAD {
        *answer.body_mut() = PullBody::empty();
    }
    answer
}

fn turn_away(refused: Refused, version: Version) -> Answer {
    let mut answer = match refused {
        Refused::Ambiguous(why) => respond::error(StatusCode::BAD_REQUEST, Code::Unsupported, why),
        Refused::Method => {
            let message = "this registry is a cache: it can be pulled from, not written to";
            let mut answer = respond::error(StatusCode::METHOD_NOT_ALLOWED, Code::Unsupported, message);
            respond::put(answer.headers_mut(), header::ALLOW, "GET, HEAD");
            answer
        }
    };
    // HTTP/2 has no such header, and no ambiguity about where a request ends.
    if version != Version::HTTP_2 {
        respond::put(answer.headers_mut(), header::CONNECTION, "close");
    }
    answer
}

/// A body that shows the watchdog whose turn it is, and the log how far it got.
pub(super) struct Tracked {
    body: PullBody,
    active: Active,
    record: Option<Record>,
}

impl Tracked {
    /// A body of the admin listener, whose requests are not logged.
    pub(super) fn unlogged(body: PullBody, signs: Arc<Signs>) -> Self {
        let mut active = Active::new(signs);
        active.pass(Turn::Reader);
        Self {
            body,
            active,
            record: None,
        }
    }
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let Self { body, record, .. } = &mut *self;
        let poll = || Pin::new(body).poll_frame(context);
        // A reader may have to fetch, or to go on from elsewhere.
        let polled = match record.as_ref().and_then(|record| record.trace.as_ref()) {
            None => poll(),
            Some(trace) => trace::at(trace, poll),
        };
        self.active.pass(match &polled {
            Poll::Pending => Turn::Cache,
            Poll::Ready(_) => Turn::Reader,
        });
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(record) = &mut self.record
        {
            record.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Turns a panic into `None`.
struct Guarded<'a, F>(Pin<&'a mut F>);

impl<F: Future> Future for Guarded<'_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<F::Output>> {
        // After a panic the future is dropped unpolled, so nobody sees what it left half done.
        let polling = AssertUnwindSafe(|| self.0.as_mut().poll(context));
        match std::panic::catch_unwind(polling) {
            Ok(polled) => polled.map(Some),
            Err(_) => Poll::Ready(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_an_answer_and_not_a_broken_connection() {
        let sound = pin!(async { 7 });
        assert_eq!(Guarded(sound).await, Some(7));
        let broken = pin!(async {
            tokio::task::yield_now().await;
            if std::hint::black_box(true) {
                panic!("on purpose");
            }
            7
        });
        assert_eq!(Guarded(broken).await, None);
    }
}
