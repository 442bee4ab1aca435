//! Hands spans to the collector of traces: OTLP over HTTP, in JSON.
//!
//! ```text
//! requests ──> queue (bounded) ── gathered for a second ──> POST ──> taken, or tried again, or given up
//! ```
//! A collector that is slow, hangs or is down costs spans, which are counted, and nobody's time: whoever ends a
//! request never waits for the queue.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::TraceOptions;
use crate::net::client::Client;
use crate::net::dial::{Dialer, Gate};
use crate::net::tls;
use crate::net::url::Url;
use crate::telemetry::metrics::traces::Traces;
use crate::telemetry::trace::otlp::{self, Rejected};
use crate::telemetry::trace::{Span, Tracer, Tracing};

/// Most spans handed over at once: some 500 KB.
const BATCH: usize = 512;
/// How long spans gather after the first.
const GATHERING: Duration = Duration::from_secs(1);
/// Time to reach the collector, and until it has answered.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(10);
/// Times that spans are sent, where another try may help.
const TRIES: u32 = 4;
/// The first wait before another try, doubled each time; and the longest, whatever the collector asks for.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long the end of the program waits for the last spans to be handed over.
const LAST: Duration = Duration::from_secs(2);
/// Most bytes read of an answer.
const MOST_ANSWER: usize = 64 << 10;

/// Begins and ends what hands spans over, whatever the configuration is.
#[derive(Clone)]
pub struct Exports {
    dialer: Dialer,
    metrics: Traces,
    tasks: TaskTracker,
    end: CancellationToken,
}

impl Exports {
    pub(super) fn new(dialer: &Dialer, metrics: Traces) -> Self {
        Self {
            dialer: dialer.clone(),
            metrics,
            tasks: TaskTracker::new(),
            end: CancellationToken::new(),
        }
    }

    /// Begins to hand spans over, if they are to be. It ends when nobody has the tracing any more. Reads the machine's
    /// certificates.
    pub(super) fn begin(&self, options: &TraceOptions) -> Tracing {
        let endpoint = options.endpoint.clone().map(Url::from_uri);
        // It was read as a URL before.
        let Some(Ok(endpoint)) = endpoint else {
            return Tracing::new(None, options.pass_on);
        };
        let (tracer, spans) = Tracer::new(options.ratio, self.metrics.dropped.clone());
        // The operator's own URL, and redirects are not followed.
        let gate = Gate::open();
        let client = Client::new(
            self.dialer.clone(),
            gate,
            &tls::client_config(&[]),
            CONNECT,
            ANSWER,
        );
        let export = Export {
            client,
            endpoint,
            headers: headers(options),
            service: options.service.clone(),
            spans,
            metrics: self.metrics.clone(),
            end: self.end.clone(),
            fails: false,
        };
        self.tasks.spawn(export.run());
        Tracing::new(Some(tracer), options.pass_on)
    }

    /// Hands over what is left, for two seconds at most. Nothing is handed over afterwards.
    ///
    /// Cancel-safe: what has not been handed over then may still be.
    pub async fn finish(&self) {
        self.end.cancel();
        self.tasks.close();
        if timeout(LAST, self.tasks.wait()).await.is_err() {
            tracing::warn!("the last spans could not be handed to the collector of traces in time");
        }
    }
}

fn headers(options: &TraceOptions) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &options.headers {
        if let Ok(mut value) = HeaderValue::try_from(value.expose()) {
            value.set_sensitive(true);
            headers.insert(HeaderName::clone(name), value);
        }
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

/// Hands the spans of one configuration over.
struct Export {
    client: Client,
    endpoint: Url,
    headers: HeaderMap,
    service: String,
    spans: Receiver<Span>,
    metrics: Traces,
    end: CancellationToken,
    /// Whether the last spans could not be handed over, so that it is told once.
    fails: bool,
}

/// Why spans were not taken.
struct NotTaken {
    why: String,
    /// Whether another try may help, and the wait that the collector asks for.
    again: Option<Option<Duration>>,
}

impl Export {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        while self.gather(&mut batch).await {
            let taken = self.hand_over(&batch).await;
            batch.clear();
            if !taken && self.is_over() {
                break;
            }
        }
        // Who is not reached now is not waited for.
        self.spans.close();
        let mut left = 0;
        while self.spans.try_recv().is_ok() {
            left += 1;
        }
        self.metrics.failed(left);
    }

    /// True if nobody asks for more than what waits already.
    fn is_over(&self) -> bool {
        self.end.is_cancelled() || self.spans.is_closed()
    }

    /// Waits for spans, and for more of them for a moment. False if there are none, and none come.
    async fn gather(&mut self, batch: &mut Vec<Span>) -> bool {
        let end = self.end.clone();
        let first = end.run_until_cancelled(self.spans.recv_many(batch, BATCH)).await;
        if first.is_none() {
            while batch.len() < BATCH
                && let Ok(span) = self.spans.try_recv()
            {
                batch.push(span);
            }
            return !batch.is_empty();
        }
        let until = Instant::now() + GATHERING;
        while !batch.is_empty() && batch.len() < BATCH {
            let more = self.spans.recv_many(batch, BATCH - batch.len());
            match timeout_at(until, end.run_until_cancelled(more)).await {
                Ok(Some(count)) if count > 0 => {}
                Ok(_) | Err(_) => break,
            }
        }
        !batch.is_empty()
    }

    /// Has the collector take these spans; false if it did not.
    async fn hand_over(&mut self, batch: &[Span]) -> bool {
        let request = Bytes::from(otlp::request(&self.service, batch));
        let count = batch.len() as u64;
        let mut tries = 0;
        loop {
            tries += 1;
            let not_taken = match self.post(request.clone()).await {
                Ok(rejected) => {
                    self.took(count, &rejected);
                    return true;
                }
                Err(not_taken) => not_taken,
            };
            let wait = wait(tries, &not_taken).filter(|_| !self.is_over());
            let Some(wait) = wait else {
                self.lost(count, &not_taken.why);
                return false;
            };
            // At the end it is tried once more, at once.
            self.end.run_until_cancelled(sleep(wait)).await;
        }
    }

    async fn post(&self, request: Bytes) -> Result<Rejected, NotTaken> {
        let (url, headers) = (&self.endpoint, self.headers.clone());
        let sent = self.client.send_with(Method::POST, url, headers, request).await;
        let response = sent.map_err(|error| NotTaken {
            why: error.to_string(),
            again: Some(None),
        })?;
        judge(&response)?;
        let body = Limited::new(response.into_body(), MOST_ANSWER).collect();
        // What it says is of use only if it comes.
        let body = timeout(ANSWER, body).await.ok().and_then(Result::ok);
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        Ok(Rejected::read(&body))
    }

    fn took(&mut self, count: u64, rejected: &Rejected) {
        let refused = rejected.spans.min(count);
        self.metrics.exported(count - refused);
        self.metrics.failed(refused);
        if refused > 0 {
            let (collector, why) = (self.endpoint.host(), &rejected.why);
            tracing::warn!(
                collector,
                spans = refused,
                why,
                "the collector of traces did not take all spans"
            );
        }
        if std::mem::take(&mut self.fails) {
            tracing::info!(
                collector = self.endpoint.host(),
                "the collector of traces takes spans again"
            );
        }
    }

    fn lost(&mut self, count: u64, why: &str) {
        self.metrics.failed(count);
        if !std::mem::replace(&mut self.fails, true) {
            let collector = self.endpoint.host();
            tracing::warn!(
                collector,
                why,
                "the collector of traces takes no spans: they are lost until it does"
            );
        }
    }
}

/// What a status means, as OTLP has it.
fn judge(response: &Response<Incoming>) -> Result<(), NotTaken> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let after = response.headers().get(RETRY_AFTER);
    let after = after.and_then(|after| after.to_str().ok()?.trim().parse().ok());
    Err(NotTaken {
        why: format!("it answered with status {}", status.as_u16()),
        again: matches!(status.as_u16(), 429 | 502..=504).then_some(after.map(Duration::from_secs)),
    })
}

/// How long to wait before another try, if there is to be one.
fn wait(tries: u32, not_taken: &NotTaken) -> Option<Duration> {
    let asked = not_taken.again.filter(|_| tries < TRIES)?;
    let usual = FIRST_WAIT * 2_u32.pow(tries - 1);
    Some(asked.unwrap_or(usual).min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_help_is_tried_a_few_times_and_no_longer_than_anybody_waits() {
        let not_taken = |again| NotTaken {
            why: String::new(),
            again,
        };
        let seconds = |tries, again| wait(tries, &not_taken(again)).map(|wait| wait.as_secs());
        assert_eq!(
            [1, 2, 3, 4].map(|tries| seconds(tries, Some(None))),
            [Some(1), Some(2), Some(4), None]
        );
        assert_eq!(seconds(1, None), None);
        assert_eq!(seconds(1, Some(Some(Duration::from_secs(7)))), Some(7));
        assert_eq!(seconds(1, Some(Some(Duration::from_secs(9999)))), Some(30));
    }
}
