//! One manifest with all that belongs to it, drawn as a tree.

use std::fmt::Write as _;

use crate::cache::{Shown, ShownNode};
use crate::cli::colours::Tone;
use crate::cli::look::Look;
use crate::cli::words::{age, age_or_never, clean, count, digest, kind, size};

/// A line of the tree: what is drawn in front, and the node.
type Line<'a> = (String, &'a ShownNode);

/// Draws a manifest.
pub(super) fn draw(shown: &Shown, full: bool, look: Look) -> String {
    let mut out = format!("{}\n", look.colours.paint(Tone::Name, &clean(&shown.name)));
    // Writing to a String cannot fail, here and below.
    for (title, text) in facts(shown) {
        let _ = writeln!(out, "  {title:<8}  {}", clean(&text));
    }
    let (mut lines, mut referrers) = (Vec::new(), Vec::new());
    branch(&shown.tree, "", "", &mut lines);
    boughs(&shown.referrers, "", &mut referrers);
    let widest = lines
        .iter()
        .chain(&referrers)
        .map(|line| width(line, full))
        .max()
        .unwrap_or(0);
    out.push('\n');
    out += &draw_lines(&lines, widest, full, look);
    if !referrers.is_empty() {
        out += "\nwhat refers to it\n";
        out += &draw_lines(&referrers, widest, full, look);
    }
    out.push('\n');
    if shown.cut {
        out += "the tree is larger than what is shown of it\n";
    }
    out += &look.colours.paint(Tone::Faint, "● held  ○ missing");
    out.push('\n');
    out
}

fn facts(shown: &Shown) -> Vec<(&'static str, String)> {
    let (manifest, now) = (&shown.manifest, shown.now);
    let last = match manifest.used {
        Some(_) => format!(", the last {} ago", age_or_never(now, manifest.used)),
        None => String::new(),
    };
    let held = match (
        manifest.lists_held < manifest.lists,
        manifest.held >= manifest.size,
    ) {
        (true, _) => format!(
            "{} held of {} of the {} manifests it lists",
            size(manifest.held),
            manifest.lists_held,
            manifest.lists
        ),
        (false, true) => format!("{}, all of it held", size(manifest.size)),
        (false, false) => format!("{}, {} of it held", size(manifest.size), size(manifest.held)),
    };
    let mut facts = vec![
        ("digest", manifest.digest.clone()),
        (
            "type",
            format!("{} ({})", kind(&manifest.media_type), manifest.media_type),
        ),
        ("size", held),
        (
            "created",
            match manifest.created {
                Some(created) => format!("{} ago", age(now, created)),
                None => "its configuration does not say".to_owned(),
            },
        ),
        (
            "from",
            format!("{}, {} ago", manifest.source, age(now, manifest.stored)),
        ),
        ("pulls", format!("{}{last}", manifest.pulls)),
    ];
    if let Some(tag) = &shown.tag {
        facts.push((
            "tag",
            format!("{} checked {} ago", tag.tag, age(now, tag.validated)),
        ));
    }
    if let Some(subject) = &manifest.subject {
        facts.push(("subject", subject.clone()));
    }
    let others = manifest.tags.iter();
    let others = others.filter(|name| shown.tag.as_ref().is_none_or(|tag| tag.tag != **name));
    let others: Vec<&str> = others.map(String::as_str).collect();
    if !others.is_empty() {
        let title = count(others.len() as u64, "other tag", "other tags");
        facts.push(("tags", format!("{}: {}", title, others.join(" "))));
    }
    facts
}

fn branch<'a>(node: &'a ShownNode, before: &str, below: &str, lines: &mut Vec<Line<'a>>) {
    lines.push((before.to_owned(), node));
    boughs(&node.children, below, lines);
}

fn boughs<'a>(nodes: &'a [ShownNode], below: &str, lines: &mut Vec<Line<'a>>) {
    for (place, node) in nodes.iter().enumerate() {
        let last = place + 1 == nodes.len();
        let (fork, rail) = if last {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        branch(node, &format!("{below}{fork}"), &format!("{below}{rail}"), lines);
    }
}

/// Letters in front of the size.
fn width((before, node): &Line<'_>, full: bool) -> usize {
    let (kind, rest) = words(node, full);
    before.chars().count() + kind.chars().count() + rest.chars().count()
}

/// Draws lines with their sizes below each other.
fn draw_lines(lines: &[Line<'_>], widest: usize, full: bool, look: Look) -> String {
    let mut out = String::new();
    for line in lines {
        let fill = " ".repeat(widest - width(line, full));
        let (before, node) = line;
        let (dot, tone) = if node.held {
            ("●", Tone::Good)
        } else {
            ("○", Tone::Bad)
        };
        let (kind, rest) = words(node, full);
        let colours = look.colours;
        let _ = writeln!(
            out,
            "{}{} {kind}{}{fill}  {:>9}",
            colours.paint(Tone::Faint, before),
            colours.paint(tone, dot),
            colours.paint(Tone::Faint, &rest),
            size(node.size),
        );
    }
    out
}

/// What a line says: what it is, and its digest.
fn words(node: &ShownNode, full: bool) -> (String, String) {
    let name = node.name.as_ref().map(|name| format!(" {name}"));
    let kind = clean(&format!("{}{}", node.kind, name.unwrap_or_default()));
    (kind, clean(&format!(" {}", digest(&node.digest, full))))
}
