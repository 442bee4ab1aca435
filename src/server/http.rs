//! One request: gate, route, name, cache, answer; and the one line of the log it leaves.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use super::body::PullBody;
use super::connection::Signs;
use super::gate::{self, Refused};
use super::respond::{self, Answer, Wishes};
use super::sendfile::Runs;
use super::{Inner, pull};
use crate::clock::Time;
use crate::oci::{Code, Route};

/// Longest part of a User-Agent that is logged, in bytes.
const MAX_AGENT: usize = 128;

/// Answers a request of a client.
pub(super) async fn answer(
    inner: Arc<Inner>,
    request: Request<Incoming>,
    peer: SocketAddr,
    signs: Arc<Signs>,
    runs: Option<Runs>,
) -> Result<Response<Tracked>, Infallible> {
    let began = inner.clock.now();
    let active = Active::new(signs);
    let (head, _body) = request.into_parts();
    let runs = runs.filter(|_| head.version != Version::HTTP_2);
    let handling = Guarded(Box::pin(handle(&inner, &head, &active, runs)));
    let outcome = handling.await.unwrap_or_else(|| {
        inner.metrics.panicked();
        let answer = respond::error(
            StatusCode::INTERNAL_SERVER_ERROR,
            Code::Unknown,
            "an internal error; the log of the cache tells more",
        );
        Outcome {
            answer,
            route: "none",
            from: "none",
        }
    });
    let status = outcome.answer.status();
    inner
        .metrics
        .request(outcome.route, status.as_u16(), outcome.from);
    if let Some(log) = &inner.requests {
        let line = Line {
            head: &head,
            outcome: &outcome,
            peer,
            began,
            now: inner.clock.now(),
        };
        log.lines.line(if log.json { line.json() } else { line.text() });
    }
    let (parts, body) = outcome.answer.into_parts();
    Ok(Response::from_parts(parts, Tracked { body, active }))
}

struct Outcome {
    answer: Answer,
    route: &'static str,
    from: &'static str,
}

async fn handle(inner: &Inner, head: &Parts, active: &Active, runs: Option<Runs>) -> Outcome {
    let none = |answer| Outcome {
        answer,
        route: "none",
        from: "none",
    };
    let host = match gate::check(head, active.0.tainted.load(Ordering::Relaxed)) {
        Ok(host) => host,
        Err(refused) => return none(turn_away(refused)),
    };
    let route = match Route::parse(head.uri.path(), head.uri.query()) {
        Ok(route) => route,
        Err(error) => return none(pull::no_route(&error)),
    };
    let name = route.name();
    let Some(target) = route.target() else {
        let answer = match &route {
            Route::Catalog(registry, page) => pull::catalog(&inner.cache, registry.as_ref(), page).await,
            _ => pull::base(),
        };
        return Outcome {
            answer: headers_only(head, answer),
            route: name,
            from: "none",
        };
    };
    let chosen = match inner.names.choose(target, host.as_ref()) {
        Ok(chosen) => chosen,
        Err(unknown) => {
            return Outcome {
                answer: pull::no_registry(&unknown),
                route: name,
                from: "none",
            };
        }
    };
    let wishes = Wishes {
        headers: &head.headers,
        head: head.method == Method::HEAD,
        namespace: target.namespace.as_ref(),
        runs,
    };
    let told = pull::answer(&inner.cache, &route, &chosen, wishes).await;
    Outcome {
        answer: headers_only(head, told.answer),
        route: name,
        from: told.from,
    }
}

/// The answer to a HEAD has the headers of a GET and no body.
fn headers_only(head: &Parts, mut answer: Answer) -> Answer {
    if head.method == Method::HEAD {
        *answer.body_mut() = PullBody::empty();
    }
    answer
}

fn turn_away(refused: Refused) -> Answer {
    let mut answer = match refused {
        Refused::Ambiguous(why) => respond::error(StatusCode::BAD_REQUEST, Code::Unsupported, why),
        Refused::Method => {
            let message = "this registry is a cache: it can be pulled from, not written to";
            let mut answer = respond::error(StatusCode::METHOD_NOT_ALLOWED, Code::Unsupported, message);
            respond::put(answer.headers_mut(), header::ALLOW, "GET, HEAD");
            answer
        }
    };
    respond::put(answer.headers_mut(), header::CONNECTION, "close");
    answer
}

/// Counts a request as being answered while it lives.
struct Active(Arc<Signs>);

impl Active {
    fn new(signs: Arc<Signs>) -> Self {
        signs.active.fetch_add(1, Ordering::Relaxed);
        signs.partial.store(false, Ordering::Relaxed);
        signs.note();
        Self(signs)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
        self.0.note();
    }
}

/// A body that shows the watchdog that it moves.
pub(super) struct Tracked {
    body: PullBody,
    active: Active,
}

impl Tracked {
    /// A body of the admin listener, which has no watchdog of its own.
    pub(super) fn untracked(body: PullBody) -> Self {
        Self {
            body,
            active: Active::new(Arc::default()),
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
        let polled = Pin::new(&mut self.body).poll_frame(context);
        // Waiting for the upstream is no fault of the reader's.
        self.active.0.note();
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
struct Guarded<F>(Pin<Box<F>>);

impl<F: Future> Future for Guarded<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let polling = AssertUnwindSafe(|| self.0.as_mut().poll(context));
        match std::panic::catch_unwind(polling) {
            Ok(polled) => polled.map(Some),
            Err(_) => Poll::Ready(None),
        }
    }
}

/// What the log says about a request: flat, escaped, one line.
struct Line<'a> {
    head: &'a Parts,
    outcome: &'a Outcome,
    peer: SocketAddr,
    began: Time,
    now: Time,
}

impl Line<'_> {
    fn fields(&self) -> [(&'static str, String); 9] {
        let headers = self.outcome.answer.headers();
        let text = |name: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or("")
                .to_owned()
        };
        let agent = self.head.headers.get(header::USER_AGENT);
        let agent = agent
            .map(|agent| String::from_utf8_lossy(agent.as_bytes()).into_owned())
            .unwrap_or_default();
        [
            ("method", self.head.method.to_string()),
            ("route", self.outcome.route.to_owned()),
            ("path", self.head.uri.path().to_owned()),
            ("from", self.outcome.from.to_owned()),
            ("cache", text("cache-status")),
            ("digest", text("docker-content-digest")),
            ("length", text("content-length")),
            ("peer", self.peer.to_string()),
            ("agent", agent.chars().take(MAX_AGENT).collect()),
        ]
    }

    fn millis(&self) -> u128 {
        self.now.since(self.began).as_millis()
    }

    fn json(&self) -> String {
        let status = self.outcome.answer.status().as_u16();
        let mut line = format!(
            r#"{{"timestamp":"{}","message":"request","status":{status},"ttfb_ms":{}"#,
            self.now,
            self.millis()
        );
        for (name, value) in self.fields() {
            let value = serde_json::Value::from(value);
            write!(line, r#","{name}":{value}"#).expect("a String takes every write");
        }
        line.push('}');
        line
    }

    fn text(&self) -> String {
        let status = self.outcome.answer.status().as_u16();
        let mut line = format!("{} request status={status} ttfb_ms={}", self.now, self.millis());
        for (name, value) in self.fields() {
            if value
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
            {
                write!(line, " {name}={value}").expect("a String takes every write");
            } else {
                write!(line, " {name}={value:?}").expect("a String takes every write");
            }
        }
        line
    }
}
