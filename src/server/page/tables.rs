//! Budgets, downloads, refusals and repositories, row by row.

use std::fmt::Display;
use std::time::Duration;

use super::chart;
use super::html::Html;
use super::view::{View, percent};
use crate::cache::words::{age, count, due, size, span};
use crate::cache::{BucketStatus, UpstreamStatus};

/// Hex digits of a shortened digest.
const SHORT: usize = 12;

/// What the upstreams still allow.
pub(super) fn budgets(html: &mut Html, view: &View) {
    html.markup("<section id=\"budgets\" aria-labelledby=\"budgets-title\" data-live>");
    html.markup("<h2 id=\"budgets-title\">Budgets of the upstreams</h2>");
    let (unused, used): (Vec<_>, Vec<_>) = view
        .status
        .upstreams
        .iter()
        .partition(|upstream| upstream.state == "unused");
    if used.is_empty() {
        html.markup("<p class=\"quiet\">No upstream was asked for anything yet.</p>");
    }
    html.markup("<ul class=\"cards\">");
    for upstream in used {
        html.element("li", &[], |html| of_upstream(html, upstream, view.status.now));
    }
    html.markup("</ul>");
    if !unused.is_empty() {
        let names: Vec<&str> = unused.iter().map(|upstream| upstream.registry.as_str()).collect();
        html.put(
            "p",
            &[("class", &"quiet")],
            format_args!("Not used yet: {}.", names.join(", ")),
        );
    }
    html.markup("</section>");
}

fn of_upstream(html: &mut Html, upstream: &UpstreamStatus, now: u64) {
    html.put("h3", &[], &upstream.registry);
    match (upstream.state.as_str(), &upstream.reason) {
        ("used", _) => {}
        ("offline", _) => html.put("p", &[], "Offline: what is held is served, and nothing is asked."),
        (state, Some(reason)) => html.put("p", &[], format_args!("{state}: {reason}")),
        (state, None) => html.put("p", &[], state),
    }
    for bucket in &upstream.buckets {
        of_bucket(html, bucket, now);
    }
    for account in upstream.accounts.iter().filter(|account| account.state != "ok") {
        let why = account.why.as_ref().map(|why| format!(": {why}"));
        html.put(
            "p",
            &[],
            format_args!(
                "{}: {}{}{}",
                account.name,
                account.state,
                why.unwrap_or_default(),
                at(", tried again", account.until, now)
            ),
        );
    }
    let waiting = listed(upstream.waiting.iter());
    if !waiting.is_empty() {
        html.put("p", &[], format_args!("Waiting for their turn: {waiting}"));
    }
    let avoided: u64 = upstream.avoided.values().sum();
    if upstream.spent + avoided > 0 {
        let line = format!("{} spent, {avoided} not spent since the start", upstream.spent);
        html.put("p", &[("class", &"quiet")], line);
    }
}

fn of_bucket(html: &mut Html, bucket: &BucketStatus, now: u64) {
    let who = bucket.accounts.join(" + ");
    let source = match &bucket.source {
        Some(source) if *source != who => format!("{who} as {source}"),
        _ => who,
    };
    let words = match bucket.state.as_str() {
        "unlimited" => Some("not limited".to_owned()),
        "unknown" => Some("no budget named so far".to_owned()),
        state if bucket.limit == 0 => Some(format!("{state}{}", at(", asked again", bucket.until, now))),
        _ => None,
    };
    if let Some(words) = words {
        html.put("p", &[("class", &"quiet")], format_args!("{source}: {words}"));
        return;
    }
    let window = bucket.window.map_or(String::new(), |window| {
        format!(" per {}", span(Duration::from_secs(window)))
    });
    let label = format!("{} of {} requests left{window}", bucket.remaining, bucket.limit);
    let part = |requests: u64| requests as f64 / bucket.limit as f64;
    let reserved = bucket
        .reserved
        .values()
        .copied()
        .max()
        .unwrap_or(0)
        .min(bucket.remaining);
    html.element("p", &[], |html| {
        html.put("strong", &[], &label);
        html.text(format_args!(", {source}"));
    });
    let parts = [
        ("reserved", part(reserved)),
        ("saved", part(bucket.remaining.saturating_sub(reserved))),
    ];
    chart::gauge(html, &label, &parts);
    let mut facts = vec![format!("{} by us, {} by neighbours", bucket.own, bucket.foreign)];
    if bucket.state != "known" {
        facts.insert(
            0,
            format!("{}{}", bucket.state, at(", asked again", bucket.until, now)),
        );
    }
    if let Some(slot) = bucket.next_slot.filter(|_| bucket.remaining < bucket.limit) {
        facts.push(format!("next slot{}", at("", Some(slot), now)));
    }
    if reserved > 0 {
        facts.push(format!(
            "reserved (pale): out of reach for {}",
            listed(bucket.reserved.iter())
        ));
    }
    html.put("p", &[("class", &"quiet")], facts.join("; "));
}

fn listed<'a>(counts: impl Iterator<Item = (&'a String, &'a u64)>) -> String {
    let each: Vec<String> = counts.map(|(name, count)| format!("{name} {count}")).collect();
    each.join(", ")
}

/// Words, and when; nothing if that is not known.
fn at(words: &str, until: Option<u64>, now: u64) -> String {
    until.map_or_else(String::new, |until| format!("{words} {}", due(until, now)))
}

/// Downloads under way.
pub(super) fn fills(html: &mut Html, view: &View) {
    html.markup("<section id=\"fills\" aria-labelledby=\"fills-title\" data-live>");
    html.markup("<h2 id=\"fills-title\">Downloads under way</h2>");
    let shown = &view.fills.fills;
    if shown.is_empty() {
        html.markup("<p class=\"quiet\">None at the moment.</p></section>");
        return;
    }
    table(
        html,
        "Downloads under way",
        &["What", "Progress", "#Readers"],
        |html| {
            for fill in shown {
                html.markup("<tr><th scope=\"row\">");
                html.put("span", &[("class", &"name")], &fill.repository);
                html.markup(" ");
                html.put("code", &[("title", &fill.digest)], short(&fill.digest));
                html.markup("</th><td>");
                match fill.total {
                    Some(total) => {
                        let label = format!(
                            "{} of {}, {}",
                            size(fill.done),
                            size(total),
                            percent(fill.done, total)
                        );
                        chart::gauge(html, &label, &[("saved", fill.done as f64 / total.max(1) as f64)]);
                        html.put("span", &[("class", &"nowrap")], &label);
                    }
                    None => html.put("span", &[], format_args!("{}, length unknown", size(fill.done))),
                }
                html.markup("</td>");
                figure(html, "Readers", fill.readers);
                html.markup("</tr>");
            }
        },
    );
    let more = view.fills.count.saturating_sub(shown.len() as u64);
    if more > 0 {
        html.put("p", &[("class", &"quiet")], format_args!("And {more} more."));
    }
    html.markup("</section>");
}

/// The latest refusals.
pub(super) fn refusals(html: &mut Html, view: &View) {
    html.markup("<section id=\"refusals\" aria-labelledby=\"refusals-title\" data-live>");
    html.markup("<h2 id=\"refusals-title\">Refused lately</h2>");
    if view.refusals.is_empty() {
        html.markup("<p class=\"quiet\">No client was refused anything since the start.</p></section>");
        return;
    }
    table(
        html,
        "Refused lately",
        &["What", "Why", "#Times", "#Last"],
        |html| {
            let now = view.now.as_millis();
            for refusal in &view.refusals {
                html.markup("<tr>");
                html.put("th", &[("scope", &"row"), ("class", &"name")], &refusal.name);
                html.element("td", &[], |html| {
                    html.put("span", &[("class", &"word")], refusal.kind.replace('_', " "));
                    html.markup(" ");
                    html.put("span", &[], &refusal.words);
                });
                figure(html, "Times", refusal.count);
                let last = age(now, refusal.last.as_millis());
                figure(html, "Last", format_args!("{last} ago"));
                html.markup("</tr>");
            }
        },
    );
    html.markup("</section>");
}

/// What takes most of the disk.
pub(super) fn repositories(html: &mut Html, view: &View) {
    html.markup("<section id=\"repositories\" aria-labelledby=\"repositories-title\" data-live>");
    html.markup("<h2 id=\"repositories-title\">Largest repositories</h2>");
    let Some(usage) = &view.usage else {
        html.markup("<p class=\"quiet\">What is held is being counted; it is shown here when that is done.</p></section>");
        return;
    };
    if usage.repositories.is_empty() {
        html.markup("<p class=\"quiet\">Nothing is held yet.</p></section>");
        return;
    }
    let now = view.now.as_millis();
    let columns = ["Repository", "#Size", "#Tags", "#Pulls", "#Pulled last"];
    table(html, "Largest repositories", &columns, |html| {
        for row in &usage.repositories {
            html.markup("<tr>");
            html.put("th", &[("scope", &"row"), ("class", &"name")], &row.repository);
            figure(html, "Size", size(row.size));
            figure(html, "Tags", row.tags);
            figure(html, "Pulls", row.pulls);
            match row.used {
                Some(used) => figure(html, "Pulled last", format_args!("{} ago", age(now, used))),
                None => figure(html, "Pulled last", "never"),
            }
            html.markup("</tr>");
        }
    });
    html.put(
        "p",
        &[("class", &"quiet")],
        format_args!(
            "Of {}, counted {} ago. What several share is in the size of each.",
            count(usage.repositories_total, "repository", "repositories"),
            age(now, usage.now)
        ),
    );
    html.markup("</section>");
}

/// A table with its columns; `#` in front of a name says that it holds figures.
fn table(html: &mut Html, label: &'static str, columns: &[&'static str], rows: impl FnOnce(&mut Html)) {
    let attributes: super::html::Attributes<'_> = &[
        ("class", &"scroll rows"),
        ("tabindex", &0),
        ("role", &"region"),
        ("aria-label", &label),
    ];
    html.element("div", attributes, |html| {
        html.markup("<table><thead><tr>");
        for column in columns {
            match column.strip_prefix('#') {
                Some(name) => html.put("th", &[("scope", &"col"), ("class", &"number")], name),
                None => html.put("th", &[("scope", &"col")], column),
            }
        }
        html.markup("</tr></thead><tbody>");
        rows(html);
        html.markup("</tbody></table>");
    });
}

/// A figure in a row, with the name of its column for where rows are shown one below the other.
pub(super) fn figure(html: &mut Html, column: &'static str, figure: impl Display) {
    html.put("td", &[("class", &"number"), ("data-column", &column)], figure);
}

fn short(digest: &str) -> &str {
    let end = digest.find(':').map_or(0, |colon| colon + 1) + SHORT;
    digest.get(..end).unwrap_or(digest)
}
