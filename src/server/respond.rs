//! From what the cache answers to what HTTP says.

mod plain;

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use hyper::ext::ReasonPhrase;

use super::body::PullBody;
use super::sendfile::Runs;
use crate::cache::{Failure, From, Kind, Outcome, Served, Why};
use crate::oci::{ByteRange, Code, Digest, RangeSet, Registry, Selected, error_body};
use crate::policy::quota::Left;
use crate::telemetry::metrics::requests;
pub(super) use plain::{Figures, write_hit};

/// The answer to a request.
pub(super) type Answer = Response<PullBody>;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
pub(super) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const NAMESPACE: HeaderName = HeaderName::from_static("oci-namespace");
/// Headers of an answer, at most: room for them is made at once.
const MOST_HEADERS: usize = 16;
/// Longest reason in the first line of an answer, in bytes: what clients and proxies read as a line is a few thousand.
const MOST_OF_LINE: usize = 1024;
/// Bytes of a quoted sha512 digest.
const MOST_ETAG: usize = 137;
/// Longest If-None-Match read, in bytes; a longer one is ignored.
const MAX_CONDITION: usize = 8 * 1024;

/// When to ask again where nobody knows: 429 and 503 always say.
const RETRY_SOON: Duration = Duration::from_secs(5);

/// How a request wants its answer.
pub(super) struct Wishes<'a> {
    /// The request's headers: conditions and ranges.
    pub(super) headers: &'a HeaderMap,
    /// Headers only.
    pub(super) head: bool,
    /// `?ns=`, echoed so that clients know it was understood.
    pub(super) namespace: Option<&'a Registry>,
    /// Where files can be noted to be sent by the kernel.
    pub(super) runs: Option<Runs>,
}

/// Answers with content, or with the part of it that was asked for.
pub(super) fn serve(served: &Served, wishes: Wishes<'_>) -> Answer {
    let etag = Bytes::from(etag(&served.digest));
    let mut response = with_common(Response::new(PullBody::empty()), cache_status(served.outcome));
    describe(response.headers_mut(), served, &etag, wishes.namespace);
    if not_modified(wishes.headers, &etag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    let Some(length) = served.length else {
        // Nothing can be said about a part of what has no known end.
        if !wishes.head {
            *response.body_mut() = PullBody::whole(&served.body, None).with_runs(wishes.runs);
        }
        return response;
    };
    // A range means something to GET only (RFC 9110, section 14.2).
    let selected = if wishes.head {
        Selected::Whole
    } else {
        select(wishes.headers, &etag, length)
    };
    match selected {
        Selected::Whole => whole(response, served, length, wishes),
        Selected::One(range) => one(response, served, range, length, wishes.runs),
        Selected::Many(ranges) => many(response, served, &ranges, length, wishes.runs),
        Selected::Unsatisfiable => unsatisfiable(length),
    }
}

/// The headers that describe the content, whatever part of it follows.
fn describe(headers: &mut HeaderMap, served: &Served, etag: &Bytes, namespace: Option<&Registry>) {
    put(headers, header::CONTENT_TYPE, served.media_type.as_str());
    put_shared(headers, CONTENT_DIGEST, etag.slice(1..etag.len() - 1));
    put_shared(headers, header::ETAG, etag.clone());
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::AGE, HeaderValue::from(served.age.as_secs()));
    if let Outcome::Stale(why) = served.outcome {
        let warning = format!("299 - \"served stale: {}\"", why_words(why));
        put(headers, header::WARNING, &warning);
    }
    if let Some(namespace) = namespace {
        put(headers, NAMESPACE, namespace.as_str());
    }
}

fn whole(mut response: Answer, served: &Served, length: u64, wishes: Wishes<'_>) -> Answer {
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if !wishes.head {
        *response.body_mut() = PullBody::whole(&served.body, Some(length)).with_runs(wishes.runs);
    }
    response
}

fn one(mut response: Answer, served: &Served, range: ByteRange, total: u64, runs: Option<Runs>) -> Answer {
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let headers = response.headers_mut();
    let (start, end) = (range.start, range.end);
    put(
        headers,
        header::CONTENT_RANGE,
        &format!("bytes {start}-{end}/{total}"),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.len()));
    *response.body_mut() = PullBody::run(&served.body, range).with_runs(runs);
    response
}

fn many(
    mut response: Answer,
    served: &Served,
    ranges: &[ByteRange],
    total: u64,
    runs: Option<Runs>,
) -> Answer {
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let boundary = boundary();
    let (parts, closing) = parts(&boundary, served.media_type.as_str(), ranges, total);
    let sizes = parts.iter().map(|(head, range)| head.len() as u64 + range.len());
    let length = sizes.sum::<u64>() + closing.len() as u64;
    let headers = response.headers_mut();
    let kind = format!("multipart/byteranges; boundary={boundary}");
    put(headers, header::CONTENT_TYPE, &kind);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    *response.body_mut() = PullBody::parts(&served.body, parts, closing).with_runs(runs);
    response
}

fn unsatisfiable(total: u64) -> Answer {
    let message = format!("the content is {total} bytes long; the range asks for none of them");
    let mut response = error(StatusCode::RANGE_NOT_SATISFIABLE, Code::RangeInvalid, &message);
    let range = format!("bytes */{total}");
    put(response.headers_mut(), header::CONTENT_RANGE, &range);
    response
}

/// Answers that there is no content to give.
pub(super) fn fail(failure: &Failure) -> Answer {
    let status = match failure.kind {
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Denied => StatusCode::FORBIDDEN,
        Kind::Limited(_) | Kind::OverQuota(_) => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Kind::BadUpstream => StatusCode::BAD_GATEWAY,
    };
    let mut response = error(status, failure.code, &failure.public);
    let headers = response.headers_mut();
    let promised = matches!(failure.kind, Kind::Limited(_) | Kind::Unavailable).then_some(RETRY_SOON);
    let wait = failure.retry_after.or(promised);
    if let Some(wait) = wait.filter(|_| status != StatusCode::NOT_FOUND) {
        // Rounded up: who asks when it says so is not told to wait once more.
        let seconds = u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u64::MAX);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    match failure.kind {
        Kind::OverQuota(Some(left)) => put_left(headers, left),
        // What may be left of it is not for who asks.
        Kind::Limited(Some(reading)) => put_figures(headers, reading.limit, 0, reading.window),
        _ => {}
    }
    let status = match (failure.kind, failure.why) {
        (Kind::OverQuota(_), _) => "seawall; detail=over-quota".to_owned(),
        (_, Some(why)) => format!("seawall; fwd=miss; detail={}", why_word(why)),
        (_, None) => "seawall; fwd=miss".to_owned(),
    };
    put(headers, CACHE_STATUS, &status);
    if failure.kind == Kind::Denied {
        say_in_first_line(&mut response, &failure.public);
    }
    response
}

/// Says why something is refused in the first line as well: an answer to `HEAD` has no body, and containerd, which asks
/// by it, shows that line to whoever pulls; of a login that fails it shows nothing else.
pub(super) fn say_in_first_line(response: &mut Answer, why: &str) {
    let usual = response.status().canonical_reason().unwrap_or_default();
    let phrase = format!("{usual}: {why}");
    if phrase.is_ascii()
        && phrase.len() <= MOST_OF_LINE
        && let Ok(phrase) = ReasonPhrase::try_from(phrase)
    {
        response.extensions_mut().insert(phrase);
    }
}

/// Tells what is left of the client's quota.
pub(super) fn put_left(headers: &mut HeaderMap, left: Left) {
    let (limit, remaining) = (left.limit.into(), left.remaining.into());
    put_figures(headers, limit, remaining, Some(Duration::from_secs(60)));
}

/// Tells figures as Docker Hub does: another Seawall reads them as a budget.
fn put_figures(headers: &mut HeaderMap, limit: u64, remaining: u64, window: Option<Duration>) {
    let window = window.map_or(String::new(), |window| format!(";w={}", window.as_secs()));
    put_shared(headers, LIMIT, format!("{limit}{window}").into());
    put_shared(headers, REMAINING, format!("{remaining}{window}").into());
}

/// Answers with an error of our own.
pub(super) fn error(status: StatusCode, code: Code, message: &str) -> Answer {
    let mut response = json(error_body(code, message, None).into(), "seawall");
    *response.status_mut() = status;
    response
}

/// Answers with JSON of our own.
pub(super) fn json(body: Bytes, cache_status: &'static str) -> Answer {
    let length = body.len();
    let mut response = with_common(Response::new(PullBody::bytes(body)), cache_status);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

fn with_common(mut response: Answer, cache_status: &'static str) -> Answer {
    let headers = response.headers_mut();
    headers.reserve(MOST_HEADERS);
    headers.insert(VERSION, HeaderValue::from_static("registry/2.0"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(CACHE_STATUS, HeaderValue::from_static(cache_status));
    response
}

/// Sets a header without copying its value.
fn put_shared(headers: &mut HeaderMap, name: HeaderName, value: Bytes) {
    if let Ok(value) = HeaderValue::from_maybe_shared(value) {
        headers.insert(name, value);
    }
}

/// Sets a header. All our values are visible ASCII; one that is not would be left out.
pub(super) fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// `Cache-Status`, RFC 9211.
pub(super) const fn cache_status(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Hit => "seawall; hit",
        Outcome::Miss => "seawall; fwd=miss; stored",
        Outcome::Collapsed => "seawall; fwd=miss; collapsed",
        Outcome::Revalidated => "seawall; fwd=stale",
        Outcome::Locked => "seawall; hit; detail=locked",
        Outcome::Refreshing => "seawall; hit; detail=refreshing",
        Outcome::Bypass => "seawall; fwd=bypass",
        Outcome::Stale(Why::Limited) => "seawall; fwd=stale; detail=upstream-limited",
        Outcome::Stale(Why::Unreachable) => "seawall; fwd=stale; detail=upstream-unreachable",
        Outcome::Stale(Why::Failing) => "seawall; fwd=stale; detail=upstream-failing",
        Outcome::Stale(Why::Denied) => "seawall; fwd=stale; detail=upstream-denied",
        Outcome::Stale(Why::Unusable) => "seawall; fwd=stale; detail=upstream-unusable",
        Outcome::Stale(Why::Offline) => "seawall; hit; detail=offline",
        Outcome::Stale(Why::OverQuota) => "seawall; fwd=stale; detail=over-quota",
        Outcome::Stale(Why::Young) => "seawall; fwd=stale; detail=too-young",
    }
}

/// Where content came from, for metrics and logs.
pub(super) const fn from_word(from: From) -> requests::From {
    match from {
        From::Memory => requests::From::Memory,
        From::Disk => requests::From::Disk,
        From::Filling => requests::From::Filling,
        From::Shared => requests::From::Shared,
        From::Alternate => requests::From::Alternate,
        From::Upstream => requests::From::Upstream,
    }
}

/// How the cache came to its answer, for metrics and logs.
pub(super) const fn outcome_word(outcome: Outcome) -> requests::Outcome {
    match outcome {
        Outcome::Hit => requests::Outcome::Hit,
        Outcome::Miss => requests::Outcome::Miss,
        Outcome::Collapsed => requests::Outcome::Collapsed,
        Outcome::Revalidated => requests::Outcome::Revalidated,
        Outcome::Locked => requests::Outcome::Locked,
        Outcome::Refreshing => requests::Outcome::Refreshing,
        Outcome::Stale(_) => requests::Outcome::Stale,
        Outcome::Bypass => requests::Outcome::Bypass,
    }
}

/// The same for an answer without content.
pub(super) const fn failure_word(failure: &Failure) -> requests::Outcome {
    match failure.kind {
        Kind::NotFound => requests::Outcome::NotFound,
        Kind::Denied => requests::Outcome::Denied,
        Kind::Limited(_) => requests::Outcome::Limited,
        Kind::OverQuota(_) => requests::Outcome::OverQuota,
        Kind::Unavailable => requests::Outcome::Unavailable,
        Kind::Timeout => requests::Outcome::Timeout,
        Kind::BadUpstream => requests::Outcome::BadUpstream,
    }
}

const fn why_word(why: Why) -> &'static str {
    match why {
        Why::Limited => "upstream-limited",
        Why::Unreachable => "upstream-unreachable",
        Why::Failing => "upstream-failing",
        Why::Denied => "upstream-denied",
        Why::Unusable => "upstream-unusable",
        Why::Offline => "offline",
        Why::OverQuota => "over-quota",
        Why::Young => "too-young",
    }
}

const fn why_words(why: Why) -> &'static str {
    match why {
        Why::Limited => "the upstream limits us",
        Why::Unreachable => "the upstream cannot be reached",
        Why::Failing => "the upstream is failing",
        Why::Denied => "the upstream denies access",
        Why::Unusable => "the upstream's answer cannot be used",
        Why::Offline => "the upstream is not to be asked",
        Why::OverQuota => "this client has used up its own quota",
        Why::Young => "what the tag has moved to is too young",
    }
}

/// The strong entity tag of content: its digest in quotes.
fn etag(digest: &Digest) -> String {
    let mut etag = String::with_capacity(MOST_ETAG);
    etag.push('"');
    digest.append_to(&mut etag);
    etag.push('"');
    etag
}

fn not_modified(headers: &HeaderMap, etag: &[u8]) -> bool {
    headers.get_all(header::IF_NONE_MATCH).iter().any(|condition| {
        let Some(text) = condition.to_str().ok().filter(|text| text.len() <= MAX_CONDITION) else {
            return false;
        };
        text.split(',')
            .map(str::trim)
            .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag)
    })
}

fn select(headers: &HeaderMap, etag: &[u8], length: u64) -> Selected {
    let range = headers
        .get(header::RANGE)
        .and_then(|range| RangeSet::parse(range.to_str().ok()?));
    // Only our own strong tag is the same content; a date or a weak tag never is.
    let same = headers
        .get(header::IF_RANGE)
        .is_none_or(|condition| condition.as_bytes() == etag);
    match range.filter(|_| same) {
        Some(range) => range.select(length),
        None => Selected::Whole,
    }
}

fn parts(boundary: &str, kind: &str, ranges: &[ByteRange], total: u64) -> (Vec<(Bytes, ByteRange)>, Bytes) {
    let head = |range: &ByteRange| {
        let (start, end) = (range.start, range.end);
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: bytes {start}-{end}/{total}\r\n\r\n"
        );
        (Bytes::from(head), *range)
    };
    (
        ranges.iter().map(head).collect(),
        format!("\r\n--{boundary}--\r\n").into(),
    )
}

/// A line that does not occur in the content, as far as chance goes: it is new for each answer and cannot
/// be foreseen by who made the content.
fn boundary() -> String {
    format!("seawall-{:032x}", rand::random::<u128>())
}

#[cfg(test)]
mod tests;
