//! The admin listener: is it alive, is it ready, what does it count.

use std::convert::Infallible;
use std::sync::Arc;

use http::header::HeaderValue;
use http::{Method, Request, Response, StatusCode, header};

use super::Inner;
use super::body::PullBody;
use super::http::{Tracked, headers_only};
use super::watch::Signs;

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
        "/metrics" => (StatusCode::OK, inner.metrics.exposition()),
        _ => (
            StatusCode::NOT_FOUND,
            "here are /livez, /readyz and /metrics\n".to_owned(),
        ),
    };
    let length = HeaderValue::from(text.len());
    let mut response = Response::new(PullBody::bytes(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_LENGTH, length);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    let (parts, body) = headers_only(request.method(), response).into_parts();
    Ok(Response::from_parts(parts, Tracked::unlogged(body, signs)))
}
