//! The picture: four panels in SVG, one style for light and dark.

use std::fmt::Write as _;

/// Lines over the same axes.
pub(crate) struct Panel {
    /// What is done.
    pub(crate) title: &'static str,
    /// What the vertical axis counts; it begins at nothing.
    pub(crate) unit: &'static str,
    /// What the horizontal axis counts.
    pub(crate) against: &'static str,
    /// Whether the horizontal axis is.
    pub(crate) logarithmic: bool,
    /// One for each server.
    pub(crate) lines: Vec<Line>,
}

/// The figures of one server.
pub(crate) struct Line {
    /// Whose they are.
    pub(crate) name: &'static str,
    /// From left to right.
    pub(crate) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 800.0;
/// Of a panel's plot, without its words.
const PLOT: (f64, f64) = (380.0, 220.0);
/// Left top corners of the plots.
const CORNERS: [(f64, f64); 4] = [(80.0, 160.0), (570.0, 160.0), (80.0, 490.0), (570.0, 490.0)];
/// Room between the first and last point and the frame.
const INSET: f64 = 28.0;
/// Horizontal lines, the one at nothing left out.
const STEPS: f64 = 4.0;

const STYLE: &str = "\
svg { --paper: #ffffff; --ink: #1b2733; --soft: #66727f; --grid: #e3e8ed; --a: #0b7a8f; --b: #b5651d; }\n\
@media (prefers-color-scheme: dark) {\n\
  svg { --paper: #12181f; --ink: #e6edf3; --soft: #95a2af; --grid: #28323d; --a: #4fd1e5; --b: #f0a35e; }\n\
}\n\
text { font: 13px system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: var(--soft); }\n\
.title { font-size: 15px; font-weight: 600; fill: var(--ink); }\n\
.head { font-size: 21px; font-weight: 600; fill: var(--ink); }\n\
.right { text-anchor: end; } .middle { text-anchor: middle; }\n\
.paper { fill: var(--paper); } .grid { stroke: var(--grid); }\n\
.line { fill: none; stroke-width: 2.5; stroke-linejoin: round; stroke-linecap: round; }\n\
.a.line, .a.dot { stroke: var(--a); } .b.line, .b.dot { stroke: var(--b); } .b.line { stroke-dasharray: 7 5; }\n\
.dot { fill: var(--paper); stroke-width: 2.5; }\n";

/// The classes of the lines, in their order.
const CLASSES: [&str; 2] = ["a", "b"];

/// The whole picture, with a note at its foot.
pub(crate) fn draw(panels: &[Panel; 4], note: &str) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         role=\"img\" aria-label=\"Throughput of cached pulls against cores, connections and objects\">\n\
         <style>\n{STYLE}</style>\n<rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n"
    );
    put(&mut svg, "head", 80.0, 48.0, "How cached pulls scale");
    legend(&mut svg, &panels[0]);
    for (panel, corner) in panels.iter().zip(CORNERS) {
        draw_panel(&mut svg, panel, corner);
    }
    put(&mut svg, "", 80.0, HEIGHT - 18.0, note);
    svg.push_str("</svg>\n");
    svg
}

fn legend(svg: &mut String, panel: &Panel) {
    let mut left = 80.0;
    for (line, class) in panel.lines.iter().zip(CLASSES) {
        let _ = writeln!(
            svg,
            "<path class=\"{class} line\" d=\"M{left} 76h34\"/><circle class=\"{class} dot\" cx=\"{}\" cy=\"76\" r=\"3.5\"/>",
            left + 17.0
        );
        put(svg, "", left + 44.0, 80.5, line.name);
        left += 130.0;
    }
}

fn draw_panel(svg: &mut String, panel: &Panel, (left, top): (f64, f64)) {
    let points = || panel.lines.iter().flat_map(|line| &line.points);
    let most = points().map(|(_, y)| *y).fold(0.0, f64::max);
    let step = round_up(most / STEPS);
    let last = points().map(|(x, _)| *x).fold(1.0, f64::max);
    let first = points().map(|(x, _)| *x).fold(last, f64::min);
    let (width, height) = PLOT;
    let along = |x: f64| {
        let part = if last <= first {
            0.5
        } else if panel.logarithmic {
            (x / first).ln() / (last / first).ln()
        } else {
            (x - first) / (last - first)
        };
        left + INSET + part * (width - 2.0 * INSET)
    };
    let up = |y: f64| top + height - y / (step * STEPS) * height;
    put(svg, "title", left, top - 30.0, panel.title);
    put(svg, "", left, top - 12.0, panel.unit);
    for number in 0..=STEPS as usize {
        let y = number as f64 * step;
        let at = up(y);
        let _ = writeln!(svg, "<path class=\"grid\" d=\"M{left:.1} {at:.1}h{width}\"/>");
        put(svg, "right", left - 9.0, at + 4.5, &short(y));
    }
    for (x, _) in panel.lines.first().map_or(&[][..], |line| line.points.as_slice()) {
        put(svg, "middle", along(*x), top + height + 20.0, &short(*x));
    }
    let middle = left + width / 2.0;
    put(svg, "middle", middle, top + height + 40.0, panel.against);
    for (line, class) in panel.lines.iter().zip(CLASSES).rev() {
        let mut path = String::new();
        for (number, (x, y)) in line.points.iter().enumerate() {
            let letter = if number == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{:.1} {:.1}", along(*x), up(*y));
        }
        let _ = writeln!(svg, "<path class=\"{class} line\" d=\"{path}\"/>");
        for (x, y) in &line.points {
            let (x_at, y_at) = (along(*x), up(*y));
            let _ = writeln!(
                svg,
                "<circle class=\"{class} dot\" cx=\"{x_at:.1}\" cy=\"{y_at:.1}\" r=\"3.5\"><title>{}: {y:.2} {} at {} {}</title></circle>",
                line.name,
                panel.unit,
                short(*x),
                panel.against
            );
        }
    }
}

fn put(svg: &mut String, class: &str, x: f64, y: f64, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{words}</text>"
    );
}

/// The next of a few round figures times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(1e-9).log10().floor());
    let steps = [1.0, 2.0, 2.5, 4.0, 5.0, 8.0, 10.0].map(|step| step * power);
    steps.into_iter().find(|step| *step >= value).unwrap_or(value)
}

/// A number as an axis shows it: 0.5, 16, 4,096, 1 M.
fn short(value: f64) -> String {
    if value >= 1e6 {
        return format!("{} M", value / 1e6);
    }
    if value < 1000.0 {
        return format!("{}", (value * 1e3).round() / 1e3);
    }
    let (thousands, rest) = ((value / 1000.0).floor(), value % 1000.0);
    format!("{thousands},{rest:03}")
}
