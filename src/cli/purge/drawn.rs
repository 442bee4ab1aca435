//! How a purge is drawn for people: its plan, how far it is, and how it ended.

use std::fmt::Write as _;

use crate::cache::{GoesRow, PurgeReport, PurgeStatus, PurgesReport, StaysRow};
use crate::cli::colours::{Colours, Tone};
use crate::cli::words;

/// Most lines of what goes, and of what stays, that are drawn; `--json` has all.
const MOST_LINES: (usize, usize) = (200, 50);
/// Widest name that the columns behind it line up for.
const MOST_WIDTH: usize = 70;

pub(super) fn counts(report: &PurgeReport) -> String {
    let count = |count: usize, noun: &str| match count {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    };
    let [tags, manifests, blobs] = [
        count(report.tags, "tag"),
        count(report.manifests, "manifest"),
        count(report.blobs, "blob"),
    ];
    match report.leftovers {
        0 => format!("{tags}, {manifests} and {blobs}"),
        1 => format!("{tags}, {manifests}, {blobs} and 1 other copy"),
        others => format!("{tags}, {manifests}, {blobs} and {others} other copies"),
    }
}

fn headline(report: &PurgeReport) -> String {
    let (counts, bytes) = (counts(report), words::size(report.bytes));
    match (report.dry_run, report.goes.is_empty()) {
        (false, true) if report.spared_count > 0 => "nothing was removed".to_owned(),
        (_, true) => "nothing goes".to_owned(),
        (true, false) => format!(
            "{counts} would go, {bytes} would be won; plan {}",
            report.fingerprint
        ),
        (false, false) => format!("{counts} removed, {bytes} won"),
    }
}

/// Draws how a purge ended: what stayed that was to go, how much went, and how much is left if it was stopped.
pub(super) fn ending(report: &PurgeReport, colours: Colours) -> String {
    let mut out = String::new();
    if report.spared_count > 0 {
        let title = colours.paint(Tone::Name, "stayed after all, wanted since the plan was made");
        let _ = writeln!(out, "{title}");
    }
    let spared = || report.spared.iter().take(MOST_LINES.1);
    let width = width_of(spared().map(|row| &row.name));
    for row in spared() {
        let why = colours.paint(Tone::Warning, &why(row, report.now));
        draw_row(&mut out, &row.kind, &row.name, width, &why);
    }
    draw_rest(&mut out, report.spared_count, MOST_LINES.1);
    let _ = writeln!(out, "{}", headline(report));
    if report.left > 0 {
        let line = format!(
            "stopped: {} more would have gone; ask again to purge them",
            report.left
        );
        let _ = writeln!(out, "{}", colours.paint(Tone::Warning, &line));
    }
    out
}

/// How far a purge is: what is said beside its bytes.
pub(super) fn step(status: &PurgeStatus) -> String {
    match status.planned {
        Some(planned) => format!("{} {} of {planned}", status.state, status.done),
        None => status.state.clone(),
    }
}

/// The purges that shall stop.
pub(super) fn stopping(report: &PurgesReport) -> String {
    let mut out = String::new();
    for one in &report.purges {
        let _ = writeln!(
            out,
            "{} of {}, by the {}",
            step(one),
            words::clean(&one.what),
            one.by
        );
    }
    out
}

/// How wide the column of these names is.
fn width_of<'a>(names: impl Iterator<Item = &'a String>) -> usize {
    let widths = names.map(|name| words::short(name).chars().count());
    widths.filter(|width| *width <= MOST_WIDTH).max().unwrap_or(0)
}

/// Draws the answer of the API.
pub(in crate::cli) fn drawn(body: &[u8], colours: Colours) -> Result<String, serde_json::Error> {
    Ok(draw(&serde_json::from_slice(body)?, colours))
}

/// Draws a plan.
pub(super) fn draw(report: &PurgeReport, colours: Colours) -> String {
    let mut out = String::new();
    let names = report.goes.iter().take(MOST_LINES.0).map(|row| &row.name);
    let names = names.chain(report.stays.iter().take(MOST_LINES.1).map(|row| &row.name));
    let width = width_of(names);
    let gone = report.tags + report.manifests + report.blobs + report.leftovers;
    if gone > 0 {
        let _ = writeln!(out, "{}", colours.paint(Tone::Name, "goes"));
    }
    for row in report.goes.iter().take(MOST_LINES.0) {
        draw_row(&mut out, &row.kind, &row.name, width, &won(row));
    }
    draw_rest(&mut out, gone, MOST_LINES.0);
    if report.kept > 0 {
        let _ = writeln!(out, "{}", colours.paint(Tone::Name, "stays"));
    }
    for row in report.stays.iter().take(MOST_LINES.1) {
        let why = colours.paint(Tone::Warning, &why(row, report.now));
        draw_row(&mut out, &row.kind, &row.name, width, &why);
    }
    draw_rest(&mut out, report.kept, MOST_LINES.1);
    let _ = writeln!(out, "{}", headline(report));
    if report.repositories == 0 && report.kept == 0 && gone == 0 {
        out.push_str(
            "no repository matches: filters are for whole names, such as docker.io/library/alpine:.*\n",
        );
    }
    out
}

fn draw_row(out: &mut String, kind: &str, name: &str, width: usize, rest: &str) {
    let line = format!("  {kind:<8}  {:<width$}  {rest}", words::short(name));
    // Writing to a String cannot fail, here and above.
    let _ = writeln!(out, "{}", line.trim_end());
}

fn draw_rest(out: &mut String, all: usize, drawn: usize) {
    if all > drawn {
        let _ = writeln!(out, "  … and {} more: --json lists them", all - drawn);
    }
}

fn won(row: &GoesRow) -> String {
    match (row.kind.as_str(), row.bytes) {
        ("tag" | "memory", _) => String::new(),
        (_, 0) => "another repository has it too".to_owned(),
        (_, bytes) => words::size(bytes),
    }
}

fn why(row: &StaysRow, now: u64) -> String {
    match row.used {
        Some(used) => format!("used {} ago", words::age(now, used)),
        None => words::short(&row.detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> PurgeReport {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let goes = |kind: &str, name: &str, bytes| GoesRow {
            kind: kind.to_owned(),
            name: name.to_owned(),
            bytes,
        };
        let stays = |name: &str, reason: &str, detail: &str, used| StaysRow {
            kind: "tag".to_owned(),
            name: name.to_owned(),
            reason: reason.to_owned(),
            detail: detail.to_owned(),
            used,
        };
        PurgeReport {
            now: 3 * 86_400_000,
            dry_run: true,
            fingerprint: "0123456789abcdef".to_owned(),
            repositories: 1,
            tags: 1,
            manifests: 1,
            blobs: 1,
            leftovers: 0,
            bytes: 5 << 20,
            goes: vec![
                goes("tag", "ghcr.io/team/app:dev-1", 0),
                goes("manifest", &format!("ghcr.io/team/app@{digest}"), 0),
                goes("blob", &digest, 5 << 20),
            ],
            kept: 2,
            stays: vec![
                stays("ghcr.io/team/app:dev-2", "newest", "one of the newest", None),
                stays("ghcr.io/team/app:dev-3", "used", "used Sun, …", Some(86_400_000)),
            ],
            failed: 0,
            spared_count: 0,
            spared: Vec::new(),
            left: 0,
        }
    }

    #[test]
    fn a_plan_says_what_goes_what_stays_and_why() {
        let picture = [
            "goes",
            "  tag       ghcr.io/team/app:dev-1",
            "  manifest  ghcr.io/team/app@sha256:abababababab  another repository has it too",
            "  blob      sha256:abababababab                   5.0 MiB",
            "stays",
            "  tag       ghcr.io/team/app:dev-2                one of the newest",
            "  tag       ghcr.io/team/app:dev-3                used 2 d ago",
            "1 tag, 1 manifest and 1 blob would go, 5.0 MiB would be won; plan 0123456789abcdef",
            "",
        ];
        assert_eq!(draw(&report(), Colours::None), picture.join("\n"));
    }

    #[test]
    fn the_end_says_what_stayed_after_all_and_why() {
        let done = PurgeReport {
            dry_run: false,
            spared_count: 1,
            spared: vec![StaysRow {
                kind: "tag".to_owned(),
                name: "ghcr.io/team/app:dev-2".to_owned(),
                reason: "moved".to_owned(),
                detail: format!("it points at sha256:{} by now", "cd".repeat(32)),
                used: None,
            }],
            ..report()
        };
        let picture = [
            "stayed after all, wanted since the plan was made",
            "  tag       ghcr.io/team/app:dev-2  it points at sha256:cdcdcdcdcdcd by now",
            "1 tag, 1 manifest and 1 blob removed, 5.0 MiB won",
            "",
        ];
        assert_eq!(ending(&done, Colours::None), picture.join("\n"));
        let nothing = PurgeReport {
            goes: Vec::new(),
            ..done
        };
        assert!(ending(&nothing, Colours::None).ends_with("\nnothing was removed\n"));
    }

    #[test]
    fn the_end_of_a_purge_that_was_stopped_says_how_much_is_left() {
        let stopped = PurgeReport {
            dry_run: false,
            left: 12,
            ..report()
        };
        let told = ending(&stopped, Colours::None);
        let last = "5.0 MiB won\nstopped: 12 more would have gone; ask again to purge them\n";
        assert!(told.ends_with(last), "{told}");
        assert!(!ending(&report(), Colours::None).contains("stopped"));
    }

    #[test]
    fn a_long_plan_is_cut_and_says_so() {
        let row = report().goes[0].clone();
        let long = PurgeReport {
            tags: 1000,
            goes: vec![row; 1000],
            ..report()
        };
        let drawn = draw(&long, Colours::None);
        assert!(drawn.contains("  … and 802 more: --json lists them\n"), "{drawn}");
    }

    #[test]
    fn a_filter_that_matches_nothing_says_what_names_look_like() {
        let drawn = draw(&PurgeReport::default(), Colours::None);
        assert!(drawn.contains("no repository matches"), "{drawn}");
    }
}
