//! The operator's page: what is saved and what is wrong, within one screen.
//!
//! Written whole by the server and readable without JavaScript; a small script asks for it again now and then and
//! replaces what has changed. Its cost does not depend on what is held: everything on it is counted already, but for
//! the largest repositories, which are looked for now and then ([`seen`]).

mod chart;
mod html;
mod seen;
mod tables;
#[cfg(test)]
mod tests;
mod traffic;
mod view;

use std::sync::Arc;

use http::StatusCode;

pub(super) use self::seen::{NOTE_EVERY, Seen};
use self::traffic::Window;
use self::view::{Certificate, View};
use super::Inner;
use super::admin::{Ask, Reply};
use crate::clock::Time;
use crate::policy::history::Served;

/// Downloads shown.
const FILLS: usize = 10;
/// Refusals shown.
const REFUSALS: usize = 12;

/// Answers what asks for the page or a part of it; `None` for anything else. What would change something does not come
/// here.
pub(super) async fn answer(inner: &Arc<Inner>, ask: &Ask) -> Option<Reply> {
    Some(match ask.path.as_str() {
        "/" => page(inner, ask).await,
        "/page/style.css" => Reply::asset("text/css; charset=utf-8", include_str!("style.css")),
        "/page/live.js" => Reply::asset("text/javascript; charset=utf-8", include_str!("live.js")),
        "/page/icon.svg" => Reply::asset("image/svg+xml", include_str!("icon.svg")),
        _ => return None,
    })
}

async fn page(inner: &Arc<Inner>, ask: &Ask) -> Reply {
    let usage = seen::largest(inner).await;
    let (now, served) = (inner.clock.now(), served(inner));
    inner.seen.note(served, now);
    let window = Window::chosen(ask.value("hours"), now.since(inner.seen.since));
    let (count, minutes) = window.spans();
    let metrics = &inner.metrics;
    let view = View {
        now,
        since: inner.seen.since,
        status: inner.cache.status(),
        is_draining: inner.draining.is_cancelled(),
        is_outdated: !metrics.config.holds_newest(),
        certificate: Certificate {
            until: metrics.certificate.good_until().map(Time::from_millis),
            is_failing: metrics.certificate.is_failing(),
        },
        window,
        spans: inner.seen.spans(count, minutes, now),
        served,
        spending: metrics.spending.totals(),
        fills: inner.cache.fills(FILLS),
        usage,
        refusals: inner.seen.refusals(REFUSALS),
    };
    Reply::page(StatusCode::OK, view::document(&view))
}

/// Notes what has been served so far.
pub(super) fn note(inner: &Inner) {
    inner.seen.note(served(inner), inner.clock.now());
}

fn served(inner: &Inner) -> Served {
    let totals = inner.metrics.requests.totals();
    Served {
        answers: totals.answers,
        hits: totals.hits,
        sent: totals.sent,
        saved: totals.saved,
    }
}
