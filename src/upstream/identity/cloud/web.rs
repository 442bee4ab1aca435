//! The way to the services that credentials come from: those of a cloud, and those that only its machines reach.
//!
//! These are the only requests that may go to link-local addresses. Every URL is ours or the operator's, no redirect
//! is followed, and what upstreams name leads nowhere here.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::DATE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::de::DeserializeOwned;

use super::super::Reach;
use crate::clock::{Clock, Time};
use crate::net::url::{Scheme, Url, is_localhost};
use crate::upstream::body::{read_whole, text};
use crate::upstream::identity::process::quotable;

/// Most bytes of an answer.
const MAX_ANSWER: u64 = 256 << 10;
/// Longest code of a refusal that is shown.
const MAX_CODE: usize = 48;
/// Longest pause between two pieces of an answer.
const IDLE: Duration = Duration::from_secs(5);
/// The pause before a request that came to nothing is sent again, once.
const PAUSE: Duration = Duration::from_millis(300);

/// The way.
pub(in crate::upstream::identity) struct Web<'a> {
    pub(in crate::upstream::identity) reach: &'a Reach,
    pub(in crate::upstream::identity) clock: Clock,
}

/// What is sent.
pub(super) struct Message<'a> {
    /// Whom it is for, in words.
    pub(super) to: &'a str,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(&'static str, String)>,
    /// Others, which the operator named.
    pub(super) more: Vec<(String, String)>,
    pub(super) body: String,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
    /// What time it is there.
    pub(super) date: Option<Time>,
}

impl<'a> Message<'a> {
    pub(super) fn get(to: &'a str, url: Url) -> Self {
        Self {
            to,
            method: Method::GET,
            url,
            headers: Vec::new(),
            more: Vec::new(),
            body: String::new(),
        }
    }

    pub(super) fn post(to: &'a str, url: Url, body: String) -> Self {
        Self {
            method: Method::POST,
            body,
            ..Self::get(to, url)
        }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl Web<'_> {
    /// Sends a message, again after a moment if it came to nothing.
    ///
    /// # Errors
    /// A sentence that names whom it was for.
    pub(super) async fn send(&self, message: &Message<'_>) -> Result<Answer, String> {
        let first = self.send_once(message).await;
        match &first {
            Ok(answer) if answer.status < 500 => return first,
            Ok(_) | Err(_) => tokio::time::sleep(PAUSE).await,
        }
        self.send_once(message).await
    }

    /// Sends a message, once.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub(super) async fn send_once(&self, message: &Message<'_>) -> Result<Answer, String> {
        let told = |why: &dyn std::fmt::Display| format!("{}: {why}", message.to);
        let client = match is_near(&message.url) {
            true => &self.reach.near,
            false => &self.reach.far,
        };
        let headers = headers(message).map_err(|why| told(&why))?;
        let body = Bytes::from(message.body.clone());
        let sent = client.send_with(message.method.clone(), &message.url, headers, body);
        let response = sent.await.map_err(|error| told(&error))?;
        let status = response.status().as_u16();
        let date = text(response.headers(), DATE).and_then(at);
        let body = read_whole(response, MAX_ANSWER, IDLE, "an answer").await;
        let body = body.map_err(|refusal| told(&refusal))?;
        Ok(Answer { status, body, date })
    }
}

impl Answer {
    /// What it holds, if it is a good answer in that form.
    ///
    /// # Errors
    /// A sentence without what it holds.
    pub(super) fn read<T: DeserializeOwned>(&self, to: &str, what: &str) -> Result<T, String> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            format!("{to} answered without {what} (line {line}, column {column})")
        })
    }

    /// That it refused, in words, with the code and what else it said itself.
    pub(super) fn refused(&self, to: &str, code: &str, said: &str) -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_code = code.len() <= MAX_CODE && code.bytes().all(plain);
        let said = quotable(said.as_bytes());
        let words = [Some(code).filter(|_| is_code), Some(said.as_str())];
        let words: Vec<&str> = words
            .into_iter()
            .flatten()
            .filter(|word| !word.is_empty())
            .collect();
        match words.as_slice() {
            [] => format!("{to} answered with status {}", self.status),
            words => format!("{to} answered with status {}: {}", self.status, words.join(" ")),
        }
    }
}

/// The URL in a variable: `https://`, or `http://` to where nobody else listens, for secrets go there.
///
/// # Errors
/// A sentence that names the variable and what was expected.
pub(super) fn guarded(variable: &str, url: &str) -> Result<Url, String> {
    let parsed = Url::parse(url).map_err(|why| format!("{variable}: {why}"))?;
    match parsed.scheme() == Scheme::Https || is_here(parsed.host()) {
        true => Ok(parsed),
        false => Err(format!(
            "{variable}: {parsed}: expected https://, for secrets are sent there, or http:// on this machine"
        )),
    }
}

/// True for what only this machine reaches: no proxy leads there.
fn is_near(url: &Url) -> bool {
    url.scheme() == Scheme::Http
}

/// True for this machine, and for the link-local addresses at which clouds answer their own machines.
fn is_here(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => {
            let [first, second, ..] = address.segments();
            // fd00:ec2::/32 is what one cloud keeps for it.
            address.is_loopback() || first & 0xffc0 == 0xfe80 || (first, second) == (0xfd00, 0x0ec2)
        }
        Err(_) => is_localhost(host),
    }
}

/// None of them is to be shown.
fn headers(message: &Message<'_>) -> Result<HeaderMap, String> {
    let own = message.headers.iter().map(|(name, value)| (*name, value));
    let more = message.more.iter().map(|(name, value)| (name.as_str(), value));
    let mut headers = HeaderMap::new();
    for (name, value) in own.chain(more) {
        let wrong = |_| format!("what is to be sent as {name} is no header");
        let mut value = HeaderValue::from_str(value).map_err(|_| wrong(()))?;
        value.set_sensitive(true);
        headers.insert(
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong(()))?,
            value,
        );
    }
    Ok(headers)
}

/// The moment of a date of HTTP.
fn at(date: &str) -> Option<Time> {
    let date = httpdate::parse_http_date(date).ok()?;
    let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok().map(Time::from_millis)
}

#[cfg(test)]
mod tests;
