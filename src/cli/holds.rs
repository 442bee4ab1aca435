//! `seawall lock`, `unlock`, `pin`, `unpin` and `holds`.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::colours::{Colours, Tone};
use super::{Asking, words};
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
        self.asking.tell(|admin| admin.post(&path, &self.ask()), draw)
    }

    fn ask(&self) -> serde_json::Value {
        serde_json::json!({ "references": self.references })
    }

    /// What is asked, for a capture.
    pub(super) fn asks(&self, verb: &str) -> String {
        format!("POST /api/v1/{verb} {}", self.ask())
    }
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
    if report.holds.is_empty() {
        return "nothing is locked or pinned\n".to_owned();
    }
    let widths = report
        .holds
        .iter()
        .map(|row| words::short(&row.name).chars().count());
    let width = widths.max().unwrap_or(0);
    let mut out = String::new();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::HoldRow;

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
        };
        let picture = [
            "locked  docker.io/library/alpine:3.20  sha256:abababababab  60 min ago",
            "pinned  ghcr.io/a/b:1                  sha256:abababababab  60 min ago",
            "",
        ];
        assert_eq!(draw(&report, Colours::None), picture.join("\n"));
    }
}
