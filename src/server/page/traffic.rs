//! Bytes and hits over time, drawn; and the same as a table.

use std::time::Duration;

use super::chart;
use super::html::Html;
use super::tables::figure;
use super::view::{View, percent};
use crate::cache::words::size;
use crate::policy::history::Served;

/// How much of the past is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    Hour,
    SixHours,
    Day,
}

impl Window {
    const ALL: [Self; 3] = [Self::Hour, Self::SixHours, Self::Day];

    /// The one that was asked for, in hours; else the shortest that shows everything since the start.
    pub(super) fn chosen(hours: Option<&str>, up: Duration) -> Self {
        let asked = Self::ALL.into_iter().find(|window| hours == Some(window.hours()));
        asked.unwrap_or(match up.as_secs() / 3600 {
            0 => Self::Hour,
            1..6 => Self::SixHours,
            _ => Self::Day,
        })
    }

    const fn hours(self) -> &'static str {
        match self {
            Self::Hour => "1",
            Self::SixHours => "6",
            Self::Day => "24",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Hour => "last hour",
            Self::SixHours => "last 6 hours",
            Self::Day => "last 24 hours",
        }
    }

    /// How many spans it has, and how many minutes each of them.
    pub(super) const fn spans(self) -> (usize, u64) {
        match self {
            Self::Hour => (60, 1),
            Self::SixHours => (72, 5),
            Self::Day => (96, 15),
        }
    }
}

/// The section.
pub(super) fn section(html: &mut Html, view: &View) {
    let mut whole = Served::default();
    view.spans.iter().for_each(|span| whole += *span);
    html.markup("<section id=\"traffic\" aria-labelledby=\"traffic-title\" data-live><div class=\"head\">");
    html.put(
        "h2",
        &[("id", &"traffic-title")],
        format_args!("The {}", view.window.words()),
    );
    choice(html, view.window);
    html.markup("</div>");
    if whole.answers == 0 && whole.sent == 0 {
        nothing(html, view);
        html.markup("</section>");
        return;
    }
    html.markup("<div class=\"charts\">");
    bytes(html, view, whole);
    ratio(html, view, whole);
    html.markup("</div>");
    table(html, view);
    html.markup("</section>");
}

/// What is said where there is nothing to draw.
fn nothing(html: &mut Html, view: &View) {
    if view.served.answers > 0 {
        html.markup("<p class=\"quiet\">Nothing was pulled in this time.</p>");
        return;
    }
    html.markup("<p>Seawall is ready, and nobody has pulled through it yet.</p><p class=\"quiet\">");
    html.markup("<code>seawall mirror-config</code> prints what containerd, Docker, podman and others need to find it.</p>");
}

fn choice(html: &mut Html, chosen: Window) {
    html.markup("<nav aria-label=\"Time shown\"><ul>");
    for window in Window::ALL {
        let hours = window.hours();
        let href = format!("/?hours={hours}");
        html.markup("<li>");
        let link: super::html::Attributes<'_> = match window == chosen {
            true => &[("href", &href), ("aria-current", &"true")],
            false => &[("href", &href)],
        };
        html.put("a", link, format_args!("{hours} h"));
        html.markup("</li>");
    }
    html.markup("</ul></nav>");
}

fn bytes(html: &mut Html, view: &View, whole: Served) {
    let most = view.spans.iter().map(|span| span.sent).max().unwrap_or(0);
    let (_, minutes) = view.window.spans();
    let about = format!(
        "{} were sent to clients; {} of that ({}) did not have to come from upstreams.",
        size(whole.sent),
        size(whole.saved),
        percent(whole.saved, whole.sent)
    );
    html.markup("<figure><figcaption>");
    html.put("strong", &[], "Bytes sent");
    html.markup(" ");
    html.put("span", &[], &about);
    html.markup("</figcaption>");
    html.put(
        "p",
        &[("class", &"axis top")],
        format_args!("{} in {minutes} min", size(most)),
    );
    chart::bytes(html, &view.spans, "Bytes sent over time", &about);
    time_axis(html, view.window);
    html.markup("<ul class=\"legend\"><li class=\"saved\">saved (below)</li><li class=\"fetched\">from upstreams (above)</li></ul></figure>");
}

fn ratio(html: &mut Html, view: &View, whole: Served) {
    let about = format!(
        "{} of {} requests for manifests and blobs were answered from here ({}).",
        whole.hits,
        whole.answers,
        percent(whole.hits, whole.answers)
    );
    html.markup("<figure><figcaption>");
    html.put("strong", &[], "Hit ratio");
    html.markup(" ");
    html.put("span", &[], &about);
    html.markup("</figcaption><p class=\"axis top\">100 %</p>");
    chart::ratio(html, &view.spans, "Hit ratio over time", &about);
    time_axis(html, view.window);
    html.markup("<ul class=\"legend\"><li class=\"saved\">from here (below)</li><li class=\"missed\">from upstreams (above)</li></ul></figure>");
}

fn time_axis(html: &mut Html, window: Window) {
    html.markup("<p class=\"axis bottom\"><span>");
    html.text(format_args!("{} h ago", window.hours()));
    html.markup("</span><span>now</span></p>");
}

/// Rows of the table, at most; each is a part of the window.
const ROWS: usize = 12;

fn table(html: &mut Html, view: &View) {
    let (count, minutes) = view.window.spans();
    let each = count / ROWS;
    let step = each as u64 * minutes;
    html.markup("<details><summary>The same as a table</summary><div class=\"scroll rows\" tabindex=\"0\" role=\"region\" aria-label=\"Traffic as a table\"><table><thead><tr><th scope=\"col\">Minutes ago</th>");
    html.markup("<th scope=\"col\" class=\"number\">Sent</th><th scope=\"col\" class=\"number\">Saved</th><th scope=\"col\" class=\"number\">Requests</th><th scope=\"col\" class=\"number\">From here</th></tr></thead><tbody>");
    for (row, spans) in view.spans.chunks(each).rev().enumerate() {
        let mut sum = Served::default();
        spans.iter().for_each(|span| sum += *span);
        let from = row as u64 * step;
        html.markup("<tr>");
        html.put(
            "th",
            &[("scope", &"row"), ("data-column", &"Minutes ago")],
            format_args!("{from} to {}", from + step),
        );
        figure(html, "Sent", size(sum.sent));
        figure(html, "Saved", size(sum.saved));
        figure(html, "Requests", sum.answers);
        let ratio = sum.hit_ratio().map(|_| percent(sum.hits, sum.answers));
        figure(html, "From here", ratio.as_deref().unwrap_or("–"));
        html.markup("</tr>");
    }
    html.markup("</tbody></table></div></details>");
}
