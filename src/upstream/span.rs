//! The span of one request to an upstream, and what the upstream is told of its trace.

use http::{HeaderMap, Method, Response};
use hyper::body::Incoming;

use crate::clock::Clock;
use crate::net::client::SendError;
use crate::net::url::Url;
use crate::telemetry::trace::{self, Context, Done, Side, TRACEPARENT, Value};

/// A request that is under way. One that is dropped unanswered leaves a span that says so.
pub(super) struct Asked<'a> {
    context: Context,
    clock: Clock,
    began: u64,
    method: Method,
    url: &'a Url,
    /// Whether it goes to the registry itself.
    own: bool,
    account: Option<usize>,
    /// Whether the registry counts it, as far as is known; `None` for what costs nothing.
    spent: Option<bool>,
    ended: bool,
}

impl<'a> Asked<'a> {
    /// Begins the span of a request with these headers, if what it is sent for is collected. `registry`, and nobody
    /// else, is told which trace it belongs to: stores, token services and alternate sources are others' hosts.
    pub(super) fn begin(
        method: &Method,
        url: &'a Url,
        headers: &mut HeaderMap,
        registry: Option<&Url>,
        clock: Clock,
    ) -> Option<Self> {
        let context = trace::next()?;
        let own = registry.is_some_and(|registry| registry.same_origin(url));
        if let Some(parent) = context.traceparent().filter(|_| own) {
            headers.insert(TRACEPARENT, parent);
        }
        context.is_collected().then(|| Self {
            context,
            clock,
            began: clock.unix_nanos(),
            method: method.clone(),
            url,
            own,
            account: None,
            spent: None,
            ended: false,
        })
    }

    /// It is asked with this account, if any, and may cost budget or not.
    pub(super) fn asks_with(&mut self, account: Option<usize>, may_cost: bool) {
        // One that is dropped before its answer has left as well.
        (self.account, self.spent) = (account, may_cost.then_some(true));
    }

    /// What came of it, and whether the registry counted it if it may cost budget.
    pub(super) fn answered(mut self, sent: &Result<Response<Incoming>, SendError>, counted: bool) {
        self.spent = self.spent.map(|_| counted);
        let (status, failure) = match sent {
            Ok(response) => (Some(response.status().as_u16()), None),
            Err(SendError::Forbidden(_)) => (None, Some("forbidden")),
            Err(SendError::Unconnected(_)) => (None, Some("unconnected")),
            Err(SendError::Unread(_)) => (None, Some("unread")),
            Err(SendError::Broken(_)) => (None, Some("broken")),
            Err(SendError::Late(_)) => (None, Some("late")),
        };
        self.end(status, failure);
    }

    fn end(&mut self, status: Option<u16>, failure: Option<&'static str>) {
        self.ended = true;
        // With a 401 a registry asks who asks, which is how most exchanges begin.
        let refused = status.filter(|status| *status >= 400 && *status != 401);
        let mut attributes = vec![
            ("http.request.method", self.method.to_string().into()),
            ("server.address", self.url.host().to_owned().into()),
            ("server.port", u64::from(self.url.port()).into()),
        ];
        // Of other hosts the path may be a secret, too: a signed URL is one.
        if self.own {
            attributes.push(("url.path", self.url.path().to_owned().into()));
        }
        if let Some(status) = status {
            attributes.push(("http.response.status_code", u64::from(status).into()));
        }
        let refusal = refused.map(|status| status.to_string().into());
        attributes.extend(
            refusal
                .or(failure.map(Value::from))
                .map(|error| ("error.type", error)),
        );
        let account = self.account.map(|account| account as u64);
        attributes.extend(account.map(|account| ("seawall.account", account.into())));
        attributes.extend(self.spent.map(|spent| ("seawall.spent", Value::Flag(spent))));
        self.context.ended(Done {
            name: self.method.to_string().into(),
            side: Side::Client,
            began: self.began,
            ended: self.clock.unix_nanos(),
            failed: refused.is_some() || failure.is_some(),
            attributes,
        });
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.end(None, Some("cancelled"));
        }
    }
}
