//! The one line each request leaves in the log, written when its answer has ended.
//!
//! Formatted by hand: it is the only line whose cost matters, and its fields are text that strangers
//! chose, so every value is escaped and bounded.

use std::fmt::{Display, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderValue, Method, Uri, header};

use super::Inner;
use crate::clock::Time;
use crate::oci::{Repository, Route};

/// Longest value that a client chose and that is logged, in bytes: User-Agent, method, a path that is no
/// route. Names that are routes have bounds of their own.
const MAX_TEXT: usize = 128;

/// What is known about one request. Dropped with the answer's body, it counts and logs it.
pub(super) struct Record {
    inner: Arc<Inner>,
    method: Method,
    uri: Uri,
    agent: Option<HeaderValue>,
    /// Who asks: the client, where a trusted proxy tells it.
    pub(super) peer: SocketAddr,
    began: Time,
    answered: Time,
    /// What the request was understood as.
    pub(super) route: Option<Route>,
    /// The repository that was chosen for it.
    pub(super) repository: Option<Repository>,
    /// The status of the answer.
    pub(super) status: u16,
    /// Where the content came from.
    pub(super) from: &'static str,
    /// How the cache came to its answer.
    pub(super) outcome: &'static str,
    /// Bytes of the body handed to the connection.
    pub(super) bytes: u64,
}

impl Record {
    /// A request that has just come.
    pub(super) fn new(inner: Arc<Inner>, head: &Parts, peer: SocketAddr) -> Self {
        let began = inner.clock.now();
        Self {
            inner,
            method: head.method.clone(),
            uri: head.uri.clone(),
            agent: head.headers.get(header::USER_AGENT).cloned(),
            peer,
            began,
            answered: began,
            route: None,
            repository: None,
            status: 0,
            from: "none",
            outcome: "none",
            bytes: 0,
        }
    }

    /// The head of the answer is ready.
    pub(super) fn answered(&mut self, status: u16) {
        self.status = status;
        self.answered = self.inner.clock.now();
        let route = self.route_name();
        self.inner.metrics.request(route, status, self.from, self.outcome);
    }

    fn route_name(&self) -> &'static str {
        self.route.as_ref().map_or("none", Route::name)
    }

    fn line(&self, json: bool) -> String {
        let now = self.inner.clock.now();
        let mut line = Line::new(json, now);
        line.text("method", cut(self.method.as_str()));
        line.text("route", self.route_name());
        match &self.route {
            None => line.text("path", cut(self.uri.path())),
            Some(Route::Manifest(_, reference)) => line.name("reference", reference),
            Some(Route::Blob(_, digest) | Route::Referrers(_, digest, _)) => line.name("reference", digest),
            Some(Route::Base | Route::Tags(..) | Route::Catalog(..)) => {}
        }
        if let Some(repository) = &self.repository {
            line.name("repository", repository);
        }
        line.number("status", u64::from(self.status));
        line.text("from", self.from);
        line.text("outcome", self.outcome);
        line.number("bytes", self.bytes);
        line.number("ttfb_ms", millis(self.began, self.answered));
        line.number("total_ms", millis(self.began, now));
        match self.peer.port() {
            // A proxy told the address only.
            0 => line.name("peer", &self.peer.ip()),
            _ => line.name("peer", &self.peer),
        }
        if let Some(agent) = &self.agent {
            line.text("agent", cut(&String::from_utf8_lossy(agent.as_bytes())));
        }
        line.finish()
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.inner.metrics.sent(self.bytes);
        if let Some(log) = &self.inner.requests {
            log.lines.line(self.line(log.json));
        }
    }
}

fn millis(from: Time, to: Time) -> u64 {
    u64::try_from(to.since(from).as_millis()).unwrap_or(u64::MAX)
}

/// At most [`MAX_TEXT`] bytes of `text`, whole characters.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

/// A line under construction.
struct Line {
    text: String,
    json: bool,
}

impl Line {
    fn new(json: bool, now: Time) -> Self {
        let text = if json {
            format!(r#"{{"timestamp":"{now}","message":"request""#)
        } else {
            format!("{now} request")
        };
        Self { text, json }
    }

    /// A value that has nothing to escape, by its type.
    fn name(&mut self, key: &str, value: &dyn Display) {
        if self.json {
            self.put(format_args!(r#","{key}":"{value}""#));
        } else {
            self.put(format_args!(" {key}={value}"));
        }
    }

    fn number(&mut self, key: &str, value: u64) {
        if self.json {
            self.put(format_args!(r#","{key}":{value}"#));
        } else {
            self.put(format_args!(" {key}={value}"));
        }
    }

    /// Any text.
    fn text(&mut self, key: &str, value: &str) {
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
        if self.json {
            let value = serde_json::Value::from(value);
            self.put(format_args!(r#","{key}":{value}"#));
        } else if !value.is_empty() && value.bytes().all(plain) {
            self.put(format_args!(" {key}={value}"));
        } else {
            self.put(format_args!(" {key}={value:?}"));
        }
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("a String takes every write");
    }

    fn finish(mut self) -> String {
        if self.json {
            self.text.push('}');
        }
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_chose_cannot_forge_a_field_or_a_line() {
        let evil = "curl\" status=200\n{\"x\":1} \u{1b}[31m";
        let mut text = Line::new(false, Time::from_millis(0));
        text.text("agent", evil);
        let text = text.finish();
        assert!(!text.contains('\n') && !text.contains('\u{1b}'), "{text:?}");
        assert!(
            text.ends_with(r#"agent="curl\" status=200\n{\"x\":1} \u{1b}[31m""#),
            "{text}"
        );

        let mut json = Line::new(true, Time::from_millis(0));
        json.text("agent", evil);
        let json: serde_json::Value = serde_json::from_str(&json.finish()).unwrap();
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
