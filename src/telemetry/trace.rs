//! Traces: which request a request of ours belongs to, and what became of it, for whoever collects that.
//!
//! A client's context (W3C `traceparent`) is taken over and passed on to the registry that is asked for it. Where
//! spans are collected, each request of a client is one; what is fetched for it and each request to an upstream are
//! others below it. What waits to be collected is bounded, and nobody waits for it. A `tracestate` stands in what is
//! collected only: it is for the client's own systems, and registries are strangers.
//!
//! ```text
//! request ── Tracing::context ── within ──> next() in every task that works for it ── traceparent
//!    └─ ended ──> queue (bounded; full: drop and count) ──> the collector (app/traces)
//! ```

mod headers;
pub mod otlp;
mod span;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, HeaderValue};
use tokio::sync::mpsc::{Receiver, Sender, channel};

pub use self::headers::TRACEPARENT;
use self::headers::{Came, SAMPLED};
pub use self::span::{Done, Link, Side, Span, Value};
use super::metrics::IntCounter;

/// Most spans that wait to be collected: a second of a busy server, in some 8 MB.
pub const MOST_WAITING: usize = 8192;
/// Most links of a span: a request joins the work of few others.
const MOST_LINKS: usize = 8;

tokio::task_local! {
    static CURRENT: Option<Context>;
}

/// What is done about traces. Clones share the queue.
#[derive(Clone, Debug)]
pub struct Tracing {
    /// Where spans are collected.
    tracer: Option<Tracer>,
    /// Whether registries are told.
    pass_on: bool,
}

/// Nothing is collected, and what clients send is passed on.
impl Default for Tracing {
    fn default() -> Self {
        Self::new(None, true)
    }
}

impl Tracing {
    /// Collects spans if there is a tracer, and passes contexts on to registries if `pass_on`.
    pub const fn new(tracer: Option<Tracer>, pass_on: bool) -> Self {
        Self { tracer, pass_on }
    }

    /// The context of a request that came with these headers. `None` if it belongs to no trace and begins none.
    ///
    /// A trace whose sender does not collect it is not collected here either, and is passed on as it came.
    pub fn context(&self, headers: &HeaderMap) -> Option<Context> {
        let Some(came) = Came::read(headers) else {
            return self.begin();
        };
        let place = Place {
            trace: came.trace,
            span: came.span,
            parent: None,
            flags: came.flags,
            pass_on: self.pass_on,
            collected: None,
        };
        let tracer = self.tracer.clone().filter(|_| came.flags & SAMPLED != 0);
        Some(Context(Arc::new(match tracer {
            None => place,
            Some(tracer) => place.below(Collected::new(tracer, headers::state(headers))),
        })))
    }

    /// The context of a request that belongs to no trace, if it begins one.
    pub fn begin(&self) -> Option<Context> {
        let tracer = self.tracer.as_ref().filter(|tracer| tracer.begins())?;
        Some(Context(Arc::new(Place {
            trace: rand::random_range(1..=u128::MAX),
            span: rand::random_range(1..=u64::MAX),
            parent: None,
            flags: SAMPLED,
            pass_on: self.pass_on,
            collected: Some(Collected::new(tracer.clone(), None)),
        })))
    }
}

/// Takes the spans that are collected. Clones share the queue.
#[derive(Clone, Debug)]
pub struct Tracer {
    spans: Sender<Span>,
    /// The part (0 to 1) of requests that begin a trace of their own.
    ratio: f64,
    dropped: IntCounter,
}

impl Tracer {
    /// A queue that begins traces for this part (0 to 1) of the requests that belong to none, and counts in
    /// `dropped` what finds it full; and its end.
    pub fn new(ratio: f64, dropped: IntCounter) -> (Self, Receiver<Span>) {
        let (spans, collected) = channel(MOST_WAITING);
        let tracer = Self {
            spans,
            ratio,
            dropped,
        };
        (tracer, collected)
    }

    fn begins(&self) -> bool {
        rand::random::<f64>() < self.ratio
    }
}

/// Where a piece of work stands in a trace. Clones are the same place.
#[derive(Clone, Debug)]
pub struct Context(Arc<Place>);

#[derive(Debug)]
struct Place {
    trace: u128,
    span: u64,
    parent: Option<u64>,
    flags: u8,
    pass_on: bool,
    collected: Option<Collected>,
}

/// What is kept of a place until its span has ended.
#[derive(Debug)]
struct Collected {
    tracer: Tracer,
    /// The client's `tracestate`.
    state: Option<Arc<str>>,
    links: Mutex<Vec<Link>>,
}

impl Collected {
    fn new(tracer: Tracer, state: Option<Arc<str>>) -> Self {
        Self {
            tracer,
            state,
            links: Mutex::default(),
        }
    }
}

impl Place {
    /// A piece of work that is done for this one.
    fn below(&self, collected: Collected) -> Self {
        Self {
            span: rand::random_range(1..=u64::MAX),
            parent: Some(self.span),
            collected: Some(collected),
            ..*self
        }
    }
}

impl Context {
    /// What is done for this one, if that is collected; else this one, as it came.
    fn next(&self) -> Self {
        match &self.0.collected {
            None => self.clone(),
            Some(Collected { tracer, state, .. }) => Self(Arc::new(
                self.0.below(Collected::new(tracer.clone(), state.clone())),
            )),
        }
    }

    /// The `traceparent` that names this as the parent, if registries are told.
    pub fn traceparent(&self) -> Option<HeaderValue> {
        let Place {
            trace, span, flags, ..
        } = &*self.0;
        let text = format!("00-{trace:032x}-{span:016x}-{:02x}", flags & SAMPLED);
        HeaderValue::try_from(text).ok().filter(|_| self.0.pass_on)
    }

    /// The trace, as logs and collectors write it.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.0.trace)
    }

    /// True if the span is collected: only then it is worth describing.
    pub fn is_collected(&self) -> bool {
        self.0.collected.is_some()
    }

    /// The work is done, as this says; it is dropped and counted if too much waits.
    pub fn ended(&self, done: Done) {
        let Some(collected) = &self.0.collected else {
            return;
        };
        let links = collected.links.lock().unwrap_or_else(PoisonError::into_inner);
        let span = Span {
            trace: self.0.trace,
            span: self.0.span,
            parent: self.0.parent,
            state: collected.state.clone(),
            links: links.clone(),
            done,
        };
        drop(links);
        if collected.tracer.spans.try_send(span).is_err() {
            collected.tracer.dropped.inc();
        }
    }

    fn link(&self, other: &Self) {
        let (Some(collected), true) = (&self.0.collected, other.is_collected()) else {
            return;
        };
        let mut links = collected.links.lock().unwrap_or_else(PoisonError::into_inner);
        if links.len() < MOST_LINKS {
            links.push(Link {
                trace: other.0.trace,
                span: other.0.span,
            });
        }
    }
}

/// A piece of work for the one that is under way here: its context, if that belongs to a trace.
pub fn next() -> Option<Context> {
    current(|context| context.map(Context::next))
}

/// The trace that what is under way here belongs to, as logs write it.
pub fn trace_id() -> Option<String> {
    current(|context| context.map(Context::trace_id))
}

/// What is under way here waits for work that is done for another request.
pub fn joined(other: Option<&Context>) {
    current(|context| {
        context?.link(other?);
        Some(())
    });
}

fn current<T>(read: impl FnOnce(Option<&Context>) -> Option<T>) -> Option<T> {
    CURRENT.try_with(|context| read(context.as_ref())).ok().flatten()
}

/// Does `work` for this context: what it does is done for that.
///
/// As cancel-safe as `work`.
pub fn within<F: Future>(context: Option<Context>, work: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(context, work)
}

/// As [`within`], for what does not wait.
pub fn at<T>(context: &Context, work: impl FnOnce() -> T) -> T {
    CURRENT.sync_scope(Some(context.clone()), work)
}

/// `work` for a task of its own, which is done for what is under way here.
///
/// As cancel-safe as `work`.
pub fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
    within(CURRENT.try_with(Option::clone).ok().flatten(), work)
}

/// Does `work` as a span of its own, by a clock that tells nanoseconds since the Unix epoch.
///
/// As cancel-safe as `work`; if it is dropped, it leaves no span.
pub async fn told<F: Future>(
    context: Option<Context>,
    name: &'static str,
    clock: impl Fn() -> u64,
    work: F,
) -> F::Output {
    let Some(collected) = context.clone().filter(Context::is_collected) else {
        return within(context, work).await;
    };
    let began = clock();
    let output = within(context, work).await;
    collected.ended(Done {
        name: name.into(),
        side: Side::Internal,
        began,
        ended: clock(),
        failed: false,
        attributes: Vec::new(),
    });
    output
}
