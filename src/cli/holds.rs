//! `seawall lock`, `unlock`, `pin`, `unpin` and `holds`.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::colours::{Colours, Tone};
use super::{Asking, SOMETHING_WRONG, complain, refused, words};
use crate::cache::HoldsReport;

#[derive(Debug, Args)]
pub(super) struct Holding {
    /// Tags, or manifests by digest: docker.io/library/alpine:3.20, ghcr.io/team/app@sha256:…
    #[arg(value_name = "REF", required = true)]
    references: Vec<String>,
    #[command(flatten)]
    asking: Asking,
}

impl Holding {
    /// Asks for a change of what is held, `lock` for one, and shows what is held then.
    pub(super) fn run(&self, verb: &str) -> ExitCode {
        let path = format!("/api/v1/{verb}");
        let draw = |body: &[u8]| drawn(body, Colours::of_stdout());
        self.asking.with(|admin| match admin.post(&path, &self.ask()) {
            Ok(body) => ended(&body, self.asking.print(&body, draw)),
            Err(no_answer) => refused(&no_answer),
        })
    }

    fn ask(&self) -> serde_json::Value {
        serde_json::json!({ "references": self.references })
    }

    /// What is asked, for a capture.
    pub(super) fn asks(&self, verb: &str) -> String {
        format!("POST /api/v1/{verb} {}", self.ask())
    }
}

/// How a change ended: well only if it did for each reference. If it did for none, there is no such answer.
fn ended(body: &[u8], printed: ExitCode) -> ExitCode {
    let report: HoldsReport = serde_json::from_slice(body).unwrap_or_default();
    let failed = failures(&report).count();
    if failed == 0 {
        return printed;
    }
    let all = report.changes.len();
    complain(format_args!(
        "error: {failed} of {all} references could not be changed"
    ));
    ExitCode::from(SOMETHING_WRONG)
}

fn failures(report: &HoldsReport) -> impl Iterator<Item = &str> {
    let changes = report.changes.iter();
    changes.filter_map(|change| change.error.as_deref())
}

/// Shows what is held.
pub(super) fn list(asking: &Asking) -> ExitCode {
    asking.show("/api/v1/holds", |body| drawn(body, Colours::of_stdout()))
}

/// Draws the answer of the API.
pub(super) fn drawn(body: &[u8], colours: Colours) -> Result<String, serde_json::Error> {
    Ok(draw(&serde_json::from_slice(body)?, colours))
}

fn draw(report: &HoldsReport, colours: Colours) -> String {
    let mut out = draw_changes(report, colours);
    if report.holds.is_empty() {
        return out + "nothing is locked or pinned\n";
    }
    let widths = report
        .holds
        .iter()
        .map(|row| words::short(&row.name).chars().count());
    let width = widths.max().unwrap_or(0);
    for row in &report.holds {
        let tone = if row.kind == "locked" {
            Tone::Warning
        } else {
            Tone::Good
        };
        let kind = colours.paint(tone, &row.kind);
        let (name, digest) = (words::short(&row.name), words::short(&row.digest));
        let since = words::age(report.now, row.since);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{kind}  {name:<width$}  {digest}  {since} ago");
    }
    out
}

/// What came of each reference, unless all is done: then what is held says it.
fn draw_changes(report: &HoldsReport, colours: Colours) -> String {
    let mut out = String::new();
    if failures(report).next().is_none() {
        return out;
    }
    for change in &report.changes {
        // Writing to a String cannot fail.
        let _ = match &change.error {
            None => writeln!(
                out,
                "{}    {}",
                colours.paint(Tone::Good, "done"),
                words::short(&change.name)
            ),
            Some(why) => writeln!(
                out,
                "{}  {}",
                colours.paint(Tone::Warning, "failed"),
                words::short(why)
            ),
        };
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{ChangeRow, HoldRow};

    #[test]
    fn what_is_held_is_listed_with_what_is_kept_of_it() {
        assert_eq!(
            draw(&HoldsReport::default(), Colours::None),
            "nothing is locked or pinned\n"
        );
        let row = |kind: &str, name: &str| HoldRow {
            kind: kind.to_owned(),
            name: name.to_owned(),
            digest: format!("sha256:{}", "ab".repeat(32)),
            since: 0,
        };
        let report = HoldsReport {
            now: 3_600_000,
            holds: vec![
                row("locked", "docker.io/library/alpine:3.20"),
                row("pinned", "ghcr.io/a/b:1"),
            ],
            changes: Vec::new(),
        };
        let picture = [
            "locked  docker.io/library/alpine:3.20  sha256:abababababab  60 min ago",
            "pinned  ghcr.io/a/b:1                  sha256:abababababab  60 min ago",
            "",
        ];
        assert_eq!(draw(&report, Colours::None), picture.join("\n"));
    }

    #[test]
    fn what_came_of_each_reference_is_told_if_not_all_is_done() {
        let change = |name: &str, error: Option<&str>| ChangeRow {
            name: name.to_owned(),
            error: error.map(str::to_owned),
        };
        let mut report = HoldsReport {
            changes: vec![change("a.io/b:1", None), change("a.io/b:2", None)],
            ..HoldsReport::default()
        };
        assert_eq!(draw(&report, Colours::None), "nothing is locked or pinned\n");
        let end = |report: &HoldsReport| {
            let body = serde_json::to_vec(report).unwrap();
            format!("{:?}", ended(&body, ExitCode::SUCCESS))
        };
        assert_eq!(end(&report), format!("{:?}", ExitCode::SUCCESS));
        report.changes[0] = change("a.io/b:1", Some("a.io/b:1 is not held here: pull it"));
        let picture = [
            "failed  a.io/b:1 is not held here: pull it",
            "done    a.io/b:2",
            "",
            "nothing is locked or pinned",
            "",
        ];
        assert_eq!(draw(&report, Colours::None), picture.join("\n"));
        assert_eq!(end(&report), format!("{:?}", ExitCode::from(SOMETHING_WRONG)));
    }
}
