//! The admin listener: is it alive, is it ready, what does it count.

use std::convert::Infallible;

use http::header::HeaderValue;
use http::{Method, Request, Response, StatusCode, header};

use super::Inner;
use super::body::PullBody;
use super::http::Tracked;

/// Answers a request of the operator.
pub(super) fn answer<B>(inner: &Inner, request: &Request<B>) -> Result<Response<Tracked>, Infallible> {
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
    let mut response = Response::new(Tracked::untracked(PullBody::bytes(text.into())));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}
