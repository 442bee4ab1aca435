//! Is it alive, is it ready, what does it count, how do its upstreams stand.

use http::{Method, StatusCode};

use super::Inner;
use super::admin::{Ask, Reply};
use crate::cache::Status;

/// Brings every figure up to date that is not counted as it changes.
fn publish(inner: &Inner) {
    inner.cache.publish_upstreams();
    inner.cache.publish_space();
    if let Some(log) = &inner.telling.log {
        inner.metrics.log_dropped(log.lines.dropped());
    }
}

/// Answers what asks for that; `None` for anything else.
pub(super) fn answer(inner: &Inner, ask: &Ask) -> Option<Reply> {
    if ask.method == Method::POST {
        return None;
    }
    let draining = inner.draining.is_cancelled();
    Some(match ask.path.as_str() {
        "/livez" => Reply::text(StatusCode::OK, "alive\n"),
        "/readyz" if draining => Reply::text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        // A disk in trouble is no reason to send clients elsewhere: they are served.
        "/readyz" => match inner.cache.disk_in_words() {
            None => Reply::text(StatusCode::OK, "ready\n"),
            Some(trouble) => Reply::text(StatusCode::OK, format!("ready; {trouble}\n")),
        },
        "/metrics" => Reply::text(StatusCode::OK, inner.metrics.told(|| publish(inner))),
        "status" => Reply::json(&Status {
            issuers: inner.issuers.status(),
            ..inner.cache.status()
        }),
        _ => return None,
    })
}
