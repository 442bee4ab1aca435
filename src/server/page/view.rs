//! The document: what is wrong, what is saved, and then the details.

use std::sync::Arc;
use std::time::Duration;

use super::html::Html;
use super::traffic::{self, Window};
use super::{chart, tables};
use crate::cache::words::{size, span};
use crate::cache::{FillsStatus, Gravity, Status, Trouble};
use crate::clock::Time;
use crate::policy::history::Served;
use crate::policy::incidents::Incident;
use crate::policy::listing::Usage;

/// Everything the page shows.
pub(super) struct View {
    pub(super) now: Time,
    /// When Seawall started.
    pub(super) since: Time,
    pub(super) status: Status,
    pub(super) is_draining: bool,
    /// True if the configuration was read again and refused.
    pub(super) is_outdated: bool,
    pub(super) certificate: Certificate,
    pub(super) window: Window,
    /// What was served in each span of the window.
    pub(super) spans: Vec<Served>,
    /// What was served since the start.
    pub(super) served: Served,
    /// Counted requests sent since the start, and those not needed.
    pub(super) spending: (u64, u64),
    pub(super) fills: FillsStatus,
    pub(super) usage: Option<Arc<Usage>>,
    pub(super) refusals: Vec<Incident>,
}

/// The certificate that clients are shown.
pub(super) struct Certificate {
    /// Until when it is good, if there is one.
    pub(super) until: Option<Time>,
    /// True if it could not be renewed when that was last tried.
    pub(super) is_failing: bool,
}

/// From when on a certificate that cannot be renewed is no longer only watched.
const SOON: Duration = Duration::from_secs(86_400);

/// The page.
pub(super) fn document(view: &View) -> String {
    let troubles = troubles(view);
    let mut html = Html::default();
    html.markup("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    html.markup("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    html.markup(
        "<meta name=\"color-scheme\" content=\"light dark\"><meta name=\"robots\" content=\"noindex\">",
    );
    html.put("title", &[], title(&troubles));
    html.markup(
        "<link rel=\"icon\" href=\"/page/icon.svg\"><link rel=\"stylesheet\" href=\"/page/style.css\">",
    );
    html.markup("<script src=\"/page/live.js\" defer></script></head><body>");
    html.markup("<a class=\"skip\" href=\"#main\">To the content</a>");
    header(&mut html, view);
    html.markup("<main id=\"main\">");
    told(&mut html, &troubles);
    saved(&mut html, view);
    traffic::section(&mut html, view);
    tables::budgets(&mut html, view);
    tables::refusals(&mut html, view);
    tables::fills(&mut html, view);
    tables::repositories(&mut html, view);
    html.markup("</main>");
    footer(&mut html, view);
    html.markup("</body></html>\n");
    html.finish()
}

fn title(troubles: &[Trouble]) -> String {
    match wrong(troubles) {
        0 => "Seawall".to_owned(),
        count => format!("({count}) Seawall"),
    }
}

fn wrong(troubles: &[Trouble]) -> usize {
    let wrong = |trouble: &&Trouble| trouble.gravity == Gravity::Wrong;
    troubles.iter().filter(wrong).count()
}

fn header(html: &mut Html, view: &View) {
    html.element("header", &[], |html| {
        html.markup("<h1><img src=\"/page/icon.svg\" alt=\"\" width=\"28\" height=\"28\"> Seawall</h1>");
        html.element(
            "p",
            &[("id", &"when"), ("class", &"quiet"), ("data-live", &"")],
            |html| {
                html.text(format_args!(
                    "{} · up {} · as of ",
                    view.status.version,
                    span(view.now.since(view.since))
                ));
                let moment = format!("{:#}", view.now);
                let short = moment.get(..19).unwrap_or(&moment).replace('T', " ");
                html.put("time", &[("datetime", &moment)], format_args!("{short} UTC"));
            },
        );
        html.markup("<p id=\"live\" class=\"quiet\"><a href=\"\">Refresh</a></p>");
    });
}

/// What is wrong with everything, and with this process.
fn troubles(view: &View) -> Vec<Trouble> {
    let mut troubles = view.status.troubles();
    if view.is_outdated {
        troubles.push(Trouble {
            gravity: Gravity::Watch,
            what: "The configuration was changed and has mistakes: the one before it still holds.".to_owned(),
            next: "`seawall check --config FILE` names each mistake; correct them, and the file is read again by itself."
                .to_owned(),
        });
    }
    troubles.extend(certificate(view));
    if view.is_draining {
        troubles.push(Trouble {
            gravity: Gravity::Watch,
            what: "Seawall is stopping: clients finish what they asked for, and new ones are not taken."
                .to_owned(),
            next: "Nothing, if that was wanted.".to_owned(),
        });
    }
    troubles
}

/// What is wrong with the certificate that clients are shown.
fn certificate(view: &View) -> Option<Trouble> {
    let Certificate { until, is_failing } = view.certificate;
    let left = until.map(|until| until.since(view.now));
    let (gravity, what) = match (is_failing, left) {
        (false, None) => return None,
        (true, None) => (
            Gravity::Wrong,
            "There is no certificate: no client can connect.".to_owned(),
        ),
        (_, Some(Duration::ZERO)) => (
            Gravity::Wrong,
            "The certificate that clients are shown has expired.".to_owned(),
        ),
        (false, Some(_)) => return None,
        (true, Some(left)) => {
            let gravity = match left < SOON {
                true => Gravity::Wrong,
                false => Gravity::Watch,
            };
            let what = format!(
                "The certificate could not be renewed; it is good for {}.",
                span(left)
            );
            (gravity, what)
        }
    };
    let next = match is_failing {
        true => "The log says what the authority said. Does port 443 of each name lead here?",
        false => "Put another in its place: the files are read again by themselves.",
    };
    Some(Trouble {
        gravity,
        what,
        next: next.to_owned(),
    })
}

fn told(html: &mut Html, troubles: &[Trouble]) {
    let wrong = wrong(troubles);
    let class = match (wrong, troubles.is_empty()) {
        (1.., _) => "state wrong",
        (0, false) => "state watch",
        (0, true) => "state well",
    };
    let attributes: super::html::Attributes<'_> = &[
        ("id", &"state"),
        ("class", &class),
        ("aria-labelledby", &"state-title"),
        ("aria-live", &"polite"),
        ("data-live", &""),
    ];
    html.element("section", attributes, |html| {
        let head = match (wrong, troubles.len()) {
            (0, 0) => "All is well".to_owned(),
            (0, 1) => "One thing to watch".to_owned(),
            (0, count) => format!("{count} things to watch"),
            (1, _) => "Something is wrong".to_owned(),
            (count, _) => format!("{count} things are wrong"),
        };
        html.put("h2", &[("id", &"state-title")], head);
        if troubles.is_empty() {
            html.markup("<p>Clients are served, upstreams answer, the disk takes what is pulled.</p>");
            return;
        }
        html.element("ul", &[], |html| {
            for trouble in troubles {
                html.element("li", &[], |html| {
                    let word = match trouble.gravity {
                        Gravity::Wrong => "Wrong",
                        Gravity::Watch => "Watch",
                    };
                    html.put("span", &[("class", &"word")], word);
                    html.markup(" ");
                    html.put("strong", &[], &trouble.what);
                    html.markup(" ");
                    html.put("span", &[("class", &"next")], &trouble.next);
                });
            }
        });
    });
}

fn saved(html: &mut Html, view: &View) {
    let served = view.served;
    html.markup("<section id=\"saved\" aria-labelledby=\"saved-title\" data-live>");
    html.markup("<h2 id=\"saved-title\">Saved since the start</h2><dl class=\"tiles\">");
    let part = match served.sent {
        0 => "nothing was sent yet".to_owned(),
        sent => format!("{} of {} sent", percent(served.saved, sent), size(sent)),
    };
    tile(html, "Bytes not fetched", &size(served.saved), &part);
    let (spent, avoided) = view.spending;
    tile(
        html,
        "Budget not spent",
        &avoided.to_string(),
        &format!("requests; {spent} were spent"),
    );
    let ratio = match served.answers {
        0 => "–".to_owned(),
        answers => percent(served.hits, answers),
    };
    tile(
        html,
        "Answered from here",
        &ratio,
        &format!("of {} manifests and blobs", served.answers),
    );
    let cache = &view.status.cache;
    html.markup("<div><dt>Cache</dt><dd><span class=\"figure\">");
    html.text(size(cache.held));
    html.markup("</span> ");
    let capacity = cache.capacity.max(1) as f64;
    let parts = [
        ("saved", cache.held as f64 / capacity),
        ("reserved", cache.reserved as f64 / capacity),
    ];
    let label = format!("{} of the cache is filled", percent(cache.held, cache.capacity));
    chart::gauge(html, &label, &parts);
    html.put(
        "span",
        &[("class", &"quiet")],
        format_args!("of {}; {} objects", size(cache.capacity), cache.objects),
    );
    html.markup("</dd></div></dl></section>");
}

fn tile(html: &mut Html, name: &'static str, figure: &str, more: &str) {
    html.element("div", &[], |html| {
        html.put("dt", &[], name);
        html.element("dd", &[], |html| {
            html.put("span", &[("class", &"figure")], figure);
            html.markup(" ");
            html.put("span", &[("class", &"quiet")], more);
        });
    });
}

/// A part of a whole, rounded down: 100 % is all of it.
pub(super) fn percent(part: u64, whole: u64) -> String {
    let percent = u128::from(part.min(whole)) * 100 / u128::from(whole.max(1));
    format!("{percent} %")
}

fn footer(html: &mut Html, view: &View) {
    html.element(
        "footer",
        &[("id", &"footer"), ("class", &"quiet"), ("data-live", &"")],
        |html| {
            let cache = &view.status.cache;
            let scrub = match cache.scrub.period {
                None => String::new(),
                Some(_) => format!(
                    " {:.0} % hashed again in this pass.",
                    (cache.scrub.progress * 100.0).floor()
                ),
            };
            html.text(format_args!(
                "Disk: {}; {} free on its file system.{scrub} ",
                cache.disk.state,
                size(cache.free)
            ));
            html.markup("Also here: <a href=\"/metrics\">metrics</a>, <a href=\"/readyz\">readiness</a>, ");
            html.markup("<a href=\"/api/v1/status\">this state as JSON</a>.");
        },
    );
}
