//! The one line each request leaves in the log, written when its answer has ended.
//!
//! Formatted by hand: it is the only line whose cost matters, and its fields are text that strangers
//! chose, so every value is escaped and bounded.

mod span;

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::{Display, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, Uri, header};

use super::hits::Asked;
use super::{Inner, respond};
use crate::cache::Served;
use crate::clock::Time;
use crate::oci::{Reference, Repository, Route};
use crate::telemetry::metrics::requests::{self as metrics, Answered, From, Outcome};
use crate::telemetry::trace::Context;

/// Longest value that a client chose and that is logged, in bytes: User-Agent, method, a path that is no
/// route. Names that are routes have bounds of their own.
const MAX_TEXT: usize = 128;

/// What is known about one request. Dropped with the answer's body, it counts and logs it.
pub(super) struct Record {
    inner: Arc<Inner>,
    /// Where it stands in a trace, if it belongs to one.
    pub(super) trace: Option<Context>,
    method: Method,
    /// What was asked for; of use where it is no route.
    uri: Option<Uri>,
    agent: Option<HeaderValue>,
    /// Who asks: the client, where a trusted proxy tells it.
    pub(super) peer: SocketAddr,
    began: Duration,
    answered: Duration,
    /// What the request was understood as.
    pub(super) route: Option<Route>,
    /// The repository that was chosen for it.
    pub(super) repository: Option<Repository>,
    /// The status of the answer.
    pub(super) status: u16,
    /// Where the content came from.
    pub(super) from: From,
    /// How the cache came to its answer.
    pub(super) outcome: Outcome,
    /// What the client was told if it was refused.
    pub(super) why: Option<Cow<'static, str>>,
    /// Bytes of the body handed to the connection.
    pub(super) bytes: u64,
}

impl Record {
    /// A request that has just come.
    pub(super) fn new(inner: Arc<Inner>, head: &Parts, peer: SocketAddr) -> Self {
        let began = inner.clock.elapsed();
        let trace = inner.telling.traces.context(&head.headers);
        let mut record = Self::begun(inner, trace, head.method.clone(), peer, began);
        record.uri = Some(head.uri.clone());
        record.agent = head.headers.get(header::USER_AGENT).cloned();
        record
    }

    /// A request that came when the clock had run for `began`.
    fn begun(
        inner: Arc<Inner>,
        trace: Option<Context>,
        method: Method,
        peer: SocketAddr,
        began: Duration,
    ) -> Self {
        Self {
            inner,
            trace,
            method,
            uri: None,
            agent: None,
            peer,
            began,
            answered: began,
            route: None,
            repository: None,
            status: 0,
            from: From::None,
            outcome: Outcome::None,
            why: None,
            bytes: 0,
        }
    }

    /// A request that is answered at once, with content of this repository.
    pub(super) fn hit(
        inner: Arc<Inner>,
        asked: &Asked<'_>,
        (peer, began): (SocketAddr, Duration),
        (route, repository): (Route, Repository),
        served: &Served,
    ) -> Self {
        // One that says which trace it belongs to is no plain request.
        let trace = inner.telling.traces.begin();
        let agent = asked
            .agent
            .filter(|_| inner.telling.log.is_some() || trace.is_some());
        let mut record = Self::begun(inner, trace, asked.method.clone(), peer, began);
        record.agent = agent.and_then(|agent| HeaderValue::from_bytes(agent).ok());
        (record.route, record.repository) = (Some(route), Some(repository));
        record.from = respond::from_word(served.from);
        record.outcome = respond::outcome_word(served.outcome);
        record.answered(StatusCode::OK.as_u16());
        record
    }

    /// The head of the answer is ready.
    pub(super) fn answered(&mut self, status: u16) {
        self.status = status;
        self.answered = self.inner.clock.elapsed();
        let after = self.answered.saturating_sub(self.began);
        self.inner.metrics.requests.answered(self.counted(), after);
        if status >= 400 {
            self.refused();
        }
    }

    /// Has the operator's page tell of it. That somebody has to log in first is no refusal.
    fn refused(&self) {
        let (kind, usual) = match (self.outcome, self.status) {
            (_, 401) => return,
            (Outcome::None, 403) => ("denied", "the client may not pull it"),
            (Outcome::None, 404) => ("unknown", "it is no repository of a registry that is configured"),
            (Outcome::None, 400..500) => ("malformed", "it is no request of a client that pulls"),
            (Outcome::None, _) => ("error", "an internal error; the log tells more"),
            (outcome, _) => (outcome.word(), ""),
        };
        let name = match (&self.repository, &self.route) {
            (Some(repository), Some(Route::Manifest(_, Reference::Tag(tag)))) => {
                format!("{repository}:{tag}")
            }
            (Some(repository), _) => repository.to_string(),
            (None, _) => cut(self.uri.as_ref().map_or("", Uri::path)).to_owned(),
        };
        let words = self.why.as_deref().unwrap_or(usual);
        let now = self.inner.clock.at(self.answered);
        self.inner.seen.refused(kind, &name, words, now);
    }

    /// What its metrics are to say.
    fn counted(&self) -> Answered {
        let route = match &self.route {
            None => metrics::Route::None,
            Some(Route::Base) => metrics::Route::Base,
            Some(Route::Manifest(..)) => metrics::Route::Manifest,
            Some(Route::Blob(..)) => metrics::Route::Blob,
            Some(Route::Tags(..)) => metrics::Route::Tags,
            Some(Route::Referrers(..)) => metrics::Route::Referrers,
            Some(Route::Catalog(..)) => metrics::Route::Catalog,
        };
        Answered {
            route,
            status: self.status,
            from: self.from,
            outcome: self.outcome,
        }
    }

    fn line(&self, line: &mut Line<'_>, ended: Duration) {
        line.text("method", cut(self.method.as_str()));
        line.text("route", self.counted().route.word());
        match &self.route {
            None => line.text("path", cut(self.uri.as_ref().map_or("", Uri::path))),
            Some(Route::Manifest(_, reference)) => line.name("reference", reference),
            Some(Route::Blob(_, digest) | Route::Referrers(_, digest, _)) => line.name("reference", digest),
            Some(Route::Base | Route::Tags(..) | Route::Catalog(..)) => {}
        }
        if let Some(repository) = &self.repository {
            line.name("repository", repository);
        }
        line.number("status", u64::from(self.status));
        line.text("from", self.from.word());
        line.text("outcome", self.outcome.word());
        line.number("bytes", self.bytes);
        line.millis("ttfb_ms", self.answered.saturating_sub(self.began));
        line.millis("total_ms", ended.saturating_sub(self.began));
        match self.peer.port() {
            // A proxy told the address only.
            0 => line.name("peer", &self.peer.ip()),
            _ => line.name("peer", &self.peer),
        }
        if let Some(agent) = &self.agent {
            line.text("agent", cut(&String::from_utf8_lossy(agent.as_bytes())));
        }
        if let Some(trace) = &self.trace {
            line.name("trace_id", &trace.trace_id());
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let ended = self.inner.clock.elapsed();
        let after = ended.saturating_sub(self.began);
        self.inner
            .metrics
            .requests
            .ended(self.counted(), after, self.bytes);
        self.told(ended);
        if let Some(log) = &self.inner.telling.log {
            let now = self.inner.clock.at(ended);
            Line::write(
                log.json,
                now,
                |line| self.line(line, ended),
                |line| log.lines.line(line),
            );
        }
    }
}

thread_local! {
    /// Room for one line, so that none is allocated for each.
    static ROOM: RefCell<String> = const { RefCell::new(String::new()) };
}

/// At most [`MAX_TEXT`] bytes of `text`, whole characters.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

/// A line under construction.
struct Line<'a> {
    text: &'a mut String,
    json: bool,
}

impl Line<'_> {
    /// Has `fill` write the fields of a line, and hands it over.
    fn write(json: bool, now: Time, fill: impl FnOnce(&mut Line<'_>), hand_over: impl FnOnce(&str)) {
        ROOM.with_borrow_mut(|text| {
            text.clear();
            let mut line = Line { text, json };
            if json {
                line.put(format_args!(r#"{{"timestamp":"{now:#}","message":"request""#));
            } else {
                line.put(format_args!("{now:#} request"));
            }
            fill(&mut line);
            if json {
                line.text.push('}');
            }
            hand_over(line.text);
        });
    }

    fn key(&mut self, key: &str) {
        if self.json {
            self.text.push_str(",\"");
            self.text.push_str(key);
            self.text.push_str("\":");
        } else {
            self.text.push(' ');
            self.text.push_str(key);
            self.text.push('=');
        }
    }

    /// A value that has nothing to escape, by its type.
    fn name(&mut self, key: &str, value: &dyn Display) {
        self.key(key);
        if self.json {
            self.put(format_args!(r#""{value}""#));
        } else {
            self.put(format_args!("{value}"));
        }
    }

    fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        self.put(format_args!("{value}"));
    }

    /// Milliseconds, to the microsecond.
    fn millis(&mut self, key: &str, span: Duration) {
        self.key(key);
        let micros = span.as_micros();
        self.put(format_args!("{}.{:03}", micros / 1000, micros % 1000));
    }

    /// Any text.
    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
        let plain = !value.is_empty() && value.bytes().all(plain);
        match (self.json, plain) {
            (true, true) => {
                self.text.push('"');
                self.text.push_str(value);
                self.text.push('"');
            }
            (true, false) => self.put(format_args!("{}", serde_json::Value::from(value))),
            (false, true) => self.text.push_str(value),
            (false, false) => self.put(format_args!("{value:?}")),
        }
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("a String takes every write");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(json: bool, fill: impl FnOnce(&mut Line<'_>)) -> String {
        let mut whole = String::new();
        Line::write(json, Time::from_millis(1_000_123), fill, |line| {
            whole = line.to_owned()
        });
        whole
    }

    #[test]
    fn a_line_begins_with_its_time_as_all_others_do_and_tells_spans_to_the_microsecond() {
        let span = Duration::from_micros(12_034);
        let text = line(false, |line| line.millis("total_ms", span));
        assert_eq!(text, "1970-01-01T00:16:40.123Z request total_ms=12.034");
        let json = line(true, |line| line.millis("total_ms", span));
        let wanted = r#"{"timestamp":"1970-01-01T00:16:40.123Z","message":"request","total_ms":12.034}"#;
        assert_eq!(json, wanted);
    }

    #[test]
    fn what_a_client_chose_cannot_forge_a_field_or_a_line() {
        let evil = "curl\" status=200\n{\"x\":1} \u{1b}[31m";
        let text = line(false, |line| line.text("agent", evil));
        assert!(!text.contains('\n') && !text.contains('\u{1b}'), "{text:?}");
        assert!(
            text.ends_with(r#"agent="curl\" status=200\n{\"x\":1} \u{1b}[31m""#),
            "{text}"
        );

        let json = line(true, |line| line.text("agent", evil));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["agent"], evil);
        assert_eq!(json["message"], "request");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let long = "a".repeat(127) + "éé";
        assert_eq!(cut(&long), "a".repeat(127));
        assert_eq!(cut("short"), "short");
    }
}
