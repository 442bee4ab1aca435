//! The way to every host that belongs to one registry, with a circuit breaker for each of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};
use hyper::body::Incoming;

use super::span::Asked;
use super::{Refusal, lock};
use crate::clock::Clock;
use crate::net::client::{Client, SendError};
use crate::net::url::Url;
use crate::policy::breaker::{Breaker, Verdict};
use crate::telemetry::metrics::upstreams::{Answer, Upstream as Counted};

/// Most hosts remembered. A registry's stores have a few names; those that answer are forgotten first.
const MAX_HOSTS: usize = 64;

/// Sends requests to a registry, its token service and its stores, unless they keep failing.
pub(super) struct Wire {
    client: Client,
    /// The registry itself, if it is told of traces.
    registry: Option<Url>,
    /// Counts what is answered.
    pub(super) counted: Counted,
    /// The hosts that failed of late, by scheme, host and port.
    hosts: Mutex<HashMap<String, Host>>,
    clock: Clock,
}

/// What a request may cost.
#[derive(Clone, Copy, Default)]
pub(super) struct Cost<'a> {
    /// The account that pays.
    pub(super) account: Option<usize>,
    /// Becomes true if the host may have counted the request: it left, and was not told to say first who asks.
    pub(super) left: Option<&'a AtomicBool>,
}

#[derive(Default)]
struct Host {
    breaker: Breaker,
    /// How it failed last.
    last: Option<Refusal>,
}

impl Wire {
    /// The way to a registry, which is told which trace a request belongs to if it is given.
    pub(super) fn new(client: Client, registry: Option<Url>, counted: Counted, clock: Clock) -> Self {
        Self {
            client,
            registry,
            counted,
            hosts: Mutex::default(),
            clock,
        }
    }

    /// Sends one request.
    ///
    /// Cancel-safe: dropping the future abandons the request.
    ///
    /// # Errors
    /// [`Refusal::Unreachable`] and [`Refusal::Unusable`]; [`Refusal::LeftAlone`], without asking, while the
    /// host's breaker is open.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
    ) -> Result<Response<Incoming>, Refusal> {
        self.send_counted(method, url, headers, Cost::default()).await
    }

    /// Posts a body.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub(super) async fn post(
        &self,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Refusal> {
        let request = (Method::POST, url, headers, body);
        self.send_whole(request, Cost::default()).await
    }

    /// As [`Self::send`], for what may cost something.
    pub(super) async fn send_counted(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        cost: Cost<'_>,
    ) -> Result<Response<Incoming>, Refusal> {
        self.send_whole((method, url, headers, Bytes::new()), cost).await
    }

    async fn send_whole(
        &self,
        (method, url, mut headers, body): (Method, &Url, HeaderMap, Bytes),
        Cost { account, left }: Cost<'_>,
    ) -> Result<Response<Incoming>, Refusal> {
        let host = origin(url);
        let mut asking = self.enter(&host)?;
        let mut asked = Asked::begin(&method, url, &mut headers, self.registry.as_ref(), self.clock);
        if let Some(asked) = &mut asked {
            asked.asks_with(account, left.is_some());
        }
        // One that is dropped before its answer has left as well.
        let before = left.is_some_and(|left| left.swap(true, Ordering::Relaxed));
        let began = self.clock.elapsed();
        let sent = self.client.send_with(method, url, headers, body).await;
        self.count(&sent, began);
        let counted = match &sent {
            Ok(response) => response.status() != StatusCode::UNAUTHORIZED,
            Err(error) => matches!(error, SendError::Late(_) | SendError::Broken(_)),
        };
        if let Some(asked) = asked {
            asked.answered(&sent, counted);
        }
        if let Some(left) = left.filter(|_| !counted) {
            left.store(before, Ordering::Relaxed);
        }
        let sent = sent.map_err(Refusal::from);
        let failure = match &sent {
            Ok(response) => fault(response.status().as_u16()).map(Refusal::Failing),
            Err(Refusal::Unreachable(text)) => Some(Refusal::Unreachable(text.clone())),
            // The address filter's word, not the host's.
            Err(_) => return sent,
        };
        asking.settled = true;
        self.settle(&host, url, failure);
        sent
    }

    /// True if the next request to this host is a probe.
    pub(super) fn is_half_open(&self, url: &Url) -> bool {
        let hosts = self.lock();
        let until = hosts
            .get(&origin(url))
            .and_then(|host| host.breaker.opened_until());
        until.is_some_and(|until| until <= self.clock.now())
    }

    /// How long the host is still left alone, and how it failed.
    pub(super) fn left_alone(&self, url: &Url) -> Option<Refusal> {
        let now = self.clock.now();
        let hosts = self.lock();
        let host = hosts.get(&origin(url))?;
        let until = host.breaker.opened_until().filter(|until| *until > now)?;
        Some(host.left_alone(until.since(now)))
    }

    /// Counts an answer, or that there was none; what the address filter forbids was not asked.
    fn count(&self, sent: &Result<Response<Incoming>, SendError>, began: Duration) {
        let answer = match sent {
            Ok(response) => Answer::of(response.status().as_u16()),
            Err(SendError::Forbidden(_)) => return,
            // Each of the others: nobody answered.
            Err(_) => Answer::Unreachable,
        };
        let after = self.clock.elapsed().saturating_sub(began);
        self.counted.answered(answer, after);
    }

    fn enter<'a>(&'a self, host: &'a str) -> Result<Asking<'a>, Refusal> {
        let now = self.clock.now();
        let mut hosts = self.lock();
        let probing = match hosts.get_mut(host) {
            None => false,
            Some(known) => match known.breaker.ask(now) {
                Verdict::Go => false,
                Verdict::Probe => true,
                Verdict::Refuse(until) => return Err(known.left_alone(until.since(now))),
            },
        };
        Ok(Asking {
            wire: self,
            host,
            settled: !probing,
        })
    }

    fn settle(&self, name: &str, url: &Url, failure: Option<Refusal>) {
        let mut hosts = self.lock();
        let Some(failure) = failure else {
            if let Some(known) = hosts.remove(name)
                && known.breaker.opened_until().is_some()
            {
                tracing::info!(host = url.host(), "it answers again");
            }
            return;
        };
        if hosts.len() >= MAX_HOSTS && !hosts.contains_key(name) {
            hosts.retain(|_, host| host.breaker.opened_until().is_some());
            if hosts.len() >= MAX_HOSTS {
                return;
            }
        }
        let host = hosts.entry(name.to_owned()).or_default();
        if host.breaker.failed(self.clock.now()) {
            tracing::warn!(host = url.host(), reason = %failure, "it keeps failing: left alone for a while");
        }
        host.last = Some(failure);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Host>> {
        lock(&self.hosts)
    }
}

impl Host {
    fn left_alone(&self, wait: std::time::Duration) -> Refusal {
        let last = self.last.clone();
        let because = last.unwrap_or_else(|| Refusal::Unreachable("it did not answer".to_owned()));
        Refusal::LeftAlone {
            because: Box::new(because),
            wait,
        }
    }
}

/// A request that is under way. One that is dropped unanswered says nothing of its host, but the breaker must
/// not wait for it.
struct Asking<'a> {
    wire: &'a Wire,
    host: &'a str,
    settled: bool,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.settled
            && let Some(host) = self.wire.lock().get_mut(self.host)
        {
            host.breaker.abandoned();
        }
    }
}

/// The status, if it is a fault of the host itself.
fn fault(status: u16) -> Option<u16> {
    matches!(status, 408 | 500 | 502..=504 | 520..=527).then_some(status)
}

fn origin(url: &Url) -> String {
    let uri = url.uri();
    let authority = uri.authority().map_or("", http::uri::Authority::as_str);
    format!("{}://{authority}", uri.scheme_str().unwrap_or("https"))
}
