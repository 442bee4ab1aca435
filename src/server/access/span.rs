//! The span of one request: what its line in the log says, by OpenTelemetry's names where there are some.

use std::time::Duration;

use http::Method;

use super::{Record, cut};
use crate::oci::Route;
use crate::telemetry::trace::{Done, Side, Value};

/// What OpenTelemetry calls methods that it does not know: a stranger's text is no name of a span.
const OTHER: &str = "_OTHER";

impl Record {
    /// Tells of the request that ended when the clock had run for `ended`, if its trace is collected.
    pub(super) fn told(&self, ended: Duration) {
        if let Some(trace) = self.trace.as_ref().filter(|trace| trace.is_collected()) {
            trace.ended(self.span(ended));
        }
    }

    fn span(&self, ended: Duration) -> Done {
        let (method, route) = (method(&self.method), self.counted().route.word());
        let mut attributes = vec![
            ("http.request.method", Value::from(method)),
            ("http.response.status_code", u64::from(self.status).into()),
            ("http.response.body.size", self.bytes.into()),
            ("client.address", self.peer.ip().to_string().into()),
            ("seawall.route", route.into()),
            ("seawall.from", self.from.word().into()),
            ("seawall.outcome", self.outcome.word().into()),
            (
                "seawall.ttfb_ms",
                Value::Millis(self.answered.saturating_sub(self.began)),
            ),
        ];
        if let Some(agent) = &self.agent {
            let agent = String::from_utf8_lossy(agent.as_bytes());
            attributes.push(("user_agent.original", cut(&agent).to_owned().into()));
        }
        if let Some(repository) = &self.repository {
            attributes.push(("seawall.repository", repository.to_string().into()));
        }
        match (&self.route, &self.uri) {
            (Some(Route::Manifest(_, reference)), _) => {
                attributes.push(("seawall.reference", reference.to_string().into()));
            }
            (Some(Route::Blob(_, digest) | Route::Referrers(_, digest, _)), _) => {
                attributes.push(("seawall.reference", digest.to_string().into()));
            }
            // Never the query: those of others may hold what they log in with.
            (None, Some(uri)) => attributes.push(("url.path", cut(uri.path()).to_owned().into())),
            (Some(Route::Base | Route::Tags(..) | Route::Catalog(..)) | None, _) => {}
        }
        Done {
            name: format!("{method} {route}").into(),
            side: Side::Server,
            began: self.inner.clock.unix_nanos_at(self.began),
            ended: self.inner.clock.unix_nanos_at(ended),
            failed: self.status >= 500,
            attributes,
        }
    }
}

fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        _ => OTHER,
    }
}
