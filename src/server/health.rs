//! The admin listener: is it alive, is it ready, what does it count.

use std::convert::Infallible;
use std::sync::Arc;

use http::header::HeaderValue;
use http::{Method, Request, Response, StatusCode, header};

use super::Inner;
use super::body::PullBody;
use super::http::{Tracked, headers_only};
use super::watch::Signs;

/// What `seawall status` asks.
const STATUS: &str = "/api/v1/status";

fn status_json(inner: &Inner) -> String {
    serde_json::to_string(&inner.cache.status()).expect("strings and numbers always serialise")
}

/// Answers a request of the operator. Nothing of `/v2/` is served here.
pub(super) fn answer<B>(
    inner: &Inner,
    request: &Request<B>,
    signs: Arc<Signs>,
) -> Result<Response<Tracked>, Infallible> {
    let draining = inner.draining.is_cancelled();
    let read = request.method() == Method::GET || request.method() == Method::HEAD;
    let (status, text) = match request.uri().path() {
        _ if !read => (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned()),
        "/livez" => (StatusCode::OK, "alive\n".to_owned()),
        "/readyz" if draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned()),
        "/readyz" => (StatusCode::OK, "ready\n".to_owned()),
        "/metrics" => {
            inner.cache.publish_budgets();
            (StatusCode::OK, inner.metrics.exposition())
        }
        STATUS => (StatusCode::OK, status_json(inner)),
        _ => (
            StatusCode::NOT_FOUND,
            "here are /livez, /readyz, /metrics and /api/v1/status\n".to_owned(),
        ),
    };
    let length = HeaderValue::from(text.len());
    let mut response = Response::new(PullBody::bytes(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static(match request.uri().path() {
        STATUS => "application/json",
        _ => "text/plain; version=0.0.4; charset=utf-8",
    });
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_LENGTH, length);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    let (parts, body) = headers_only(request.method(), response).into_parts();
    Ok(Response::from_parts(parts, Tracked::unlogged(body, signs)))
}
