//! Drawings: bars over time, and gauges. Shapes only, in SVG that stretches; their words stand beside them in HTML.

use super::html::Html;
use crate::policy::history::Served;

/// Height of a drawing, in units of its own.
const HEIGHT: f64 = 100.0;
/// Width of a span's place, in the same units.
const PLACE: f64 = 10.0;
/// Width of a bar in it.
const BAR: f64 = 8.0;

/// Bytes sent in each span: what was saved at the bottom, what came from upstreams on top of it.
pub(super) fn bytes(html: &mut Html, spans: &[Served], title: &str, about: &str) {
    let most = spans.iter().map(|span| span.sent).max().unwrap_or(0).max(1) as f64;
    drawing(html, "bytes", spans.len(), (title, about), |html| {
        for (place, span) in spans.iter().enumerate().filter(|(_, span)| span.sent > 0) {
            let saved = span.saved.min(span.sent) as f64 / most * HEIGHT;
            let whole = span.sent as f64 / most * HEIGHT;
            bar(html, "saved", place, (0.0, saved));
            bar(html, "fetched", place, (saved, whole));
        }
    });
}

/// The part of the requests in each span that was held. Spans without requests have none.
pub(super) fn ratio(html: &mut Html, spans: &[Served], title: &str, about: &str) {
    drawing(html, "ratio", spans.len(), (title, about), |html| {
        for (place, span) in spans.iter().enumerate() {
            if let Some(ratio) = span.hit_ratio() {
                bar(html, "missed", place, (0.0, HEIGHT));
                bar(html, "saved", place, (0.0, ratio * HEIGHT));
            }
        }
    });
}

fn drawing(
    html: &mut Html,
    name: &'static str,
    places: usize,
    (title, about): (&str, &str),
    fill: impl FnOnce(&mut Html),
) {
    let (width, height) = (places as f64 * PLACE, HEIGHT);
    let (title_id, about_id) = (format!("{name}-title"), format!("{name}-about"));
    let labels = format!("{title_id} {about_id}");
    html.element(
        "svg",
        &[
            ("class", &"chart"),
            ("viewBox", &format_args!("0 0 {width} {height}")),
            ("preserveAspectRatio", &"none"),
            ("role", &"img"),
            ("aria-labelledby", &labels),
        ],
        |html| {
            html.put("title", &[("id", &title_id)], title);
            html.put("desc", &[("id", &about_id)], about);
            fill(html);
        },
    );
}

/// A bar from one height to another; none if there is nothing between them.
fn bar(html: &mut Html, class: &'static str, place: usize, (from, to): (f64, f64)) {
    let height = to - from;
    if height <= 0.0 {
        return;
    }
    let (x, y) = (place as f64 * PLACE + (PLACE - BAR) / 2.0, HEIGHT - to);
    html.open(
        "rect",
        &[
            ("class", &class),
            ("x", &x),
            ("y", &format_args!("{y:.2}")),
            ("width", &BAR),
            ("height", &format_args!("{height:.2}")),
        ],
    );
    html.close("rect");
}

/// A gauge: parts of a whole (0 to 1 each), one after the other, each with its class.
pub(super) fn gauge(html: &mut Html, label: &str, parts: &[(&'static str, f64)]) {
    html.element(
        "svg",
        &[
            ("class", &"gauge"),
            ("viewBox", &"0 0 100 10"),
            ("preserveAspectRatio", &"none"),
            ("role", &"img"),
            ("aria-label", &label),
        ],
        |html| {
            html.put("title", &[], label);
            let mut at = 0.0;
            for (class, part) in parts {
                let width = (part * 100.0).clamp(0.0, 100.0 - at);
                html.open(
                    "rect",
                    &[
                        ("class", class),
                        ("x", &format_args!("{at:.2}")),
                        ("y", &0),
                        ("width", &format_args!("{width:.2}")),
                        ("height", &10),
                    ],
                );
                html.close("rect");
                at += width;
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_high_as_its_part_of_the_highest_and_nothing_has_none() {
        let spans = [
            Served::default(),
            Served {
                answers: 4,
                hits: 1,
                sent: 200,
                saved: 50,
            },
        ];
        let mut html = Html::default();
        bytes(&mut html, &spans, "<t>", "a");
        let drawn = html.finish();
        assert!(drawn.contains("viewBox=\"0 0 20 100\""), "{drawn}");
        assert!(
            drawn.contains(r#"class="saved" x="11" y="75.00" width="8" height="25.00""#),
            "{drawn}"
        );
        assert!(
            drawn.contains(r#"class="fetched" x="11" y="0.00" width="8" height="75.00""#),
            "{drawn}"
        );
        assert!(
            drawn.contains("&lt;t&gt;") && drawn.matches("<rect").count() == 2,
            "{drawn}"
        );
    }

    #[test]
    fn no_more_is_drawn_as_saved_than_was_sent() {
        let span = Served {
            answers: 1,
            hits: 1,
            sent: 100,
            saved: 300,
        };
        let mut html = Html::default();
        bytes(&mut html, &[span], "t", "a");
        let drawn = html.finish();
        assert!(
            drawn.contains(r#"class="saved" x="1" y="0.00" width="8" height="100.00""#),
            "{drawn}"
        );
        assert!(!drawn.contains("fetched"), "{drawn}");
    }

    #[test]
    fn a_gauge_is_never_wider_than_whole() {
        let mut html = Html::default();
        gauge(
            &mut html,
            "x",
            &[("reserved", 0.4), ("free", 3.0), ("spent", 1.0)],
        );
        let drawn = html.finish();
        assert!(
            drawn.contains(r#"class="free" x="40.00" y="0" width="60.00""#),
            "{drawn}"
        );
        assert!(
            drawn.contains(r#"class="spent" x="100.00" y="0" width="0.00""#),
            "{drawn}"
        );
    }
}
