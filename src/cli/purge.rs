//! `seawall purge`: what goes, what stays and why, and then it goes.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::admin::Admin;
use super::colours::{Colours, Tone};
use super::words;
use super::{Asking, SOMETHING_WRONG, WRONG_ARGUMENTS, complain, print, refused};
use crate::cache::{GoesRow, PurgeReport, StaysRow};
use crate::config;
use crate::oci::Digest;

/// Most lines of what goes, and of what stays, that are drawn; `--json` has all.
const MOST_LINES: (usize, usize) = (200, 50);
/// Widest name that the columns behind it line up for.
const MOST_WIDTH: usize = 70;

#[derive(Debug, Args)]
pub(super) struct Purging {
    /// Tags, or manifests by digest, however new: docker.io/library/alpine:3.20, ghcr.io/team/app@sha256:…
    #[arg(value_name = "REF", required_unless_present_any = ["filter", "digest"])]
    references: Vec<String>,
    /// A manifest or blob wherever there is a copy of it, for what is damaged or must not be here: sha256:…
    #[arg(long, value_name = "DIGEST")]
    digest: Vec<Digest>,
    /// Tags by two regular expressions for whole names, the registry in front: 'ghcr.io/team/.*:dev-.*'
    #[arg(long, value_name = "REPOSITORY:TAG", conflicts_with_all = ["references", "digest"])]
    filter: Vec<String>,
    /// Only what was not pulled within this time, or if it never was, not stored: 7d
    #[arg(long, value_name = "DURATION", requires = "filter", value_parser = duration)]
    ago: Option<Duration>,
    /// Manifests as well that no tag points at
    #[arg(long, requires = "filter")]
    untagged: bool,
    /// Keep this many of the newest matching tags of each repository
    #[arg(long, value_name = "NUMBER", requires = "filter", default_value_t = 0)]
    keep: usize,
    /// Only show what would go, what stays and why
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do not ask for confirmation
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    asking: Asking,
}

fn duration(text: &str) -> Result<Duration, String> {
    config::duration(text).ok_or_else(|| "expected a duration with a unit, such as 12h or 7d".to_owned())
}

/// What is asked of `/api/v1/purge`.
#[derive(Clone, Debug, Serialize)]
struct Ask {
    filter: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ago: Option<u64>,
    untagged: bool,
    keep: usize,
    references: Vec<String>,
    dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
}

impl Purging {
    /// Shows the plan; then, if that is wanted, has it carried out.
    pub(super) fn run(&self) -> ExitCode {
        let asks = !self.dry_run && !self.yes;
        if asks && (self.asking.json || !std::io::stdin().is_terminal()) {
            complain(
                "error: nobody can be asked whether to purge: add --yes to purge, or --dry-run to see what would go",
            );
            return ExitCode::from(WRONG_ARGUMENTS);
        }
        self.asking.with(|admin| self.go(admin, asks))
    }

    fn go(&self, admin: &Admin, asks: bool) -> ExitCode {
        let plan = match self.post(admin, None) {
            Ok(plan) => plan,
            Err(code) => return code,
        };
        if self.dry_run || (plan.1.goes.is_empty() && !self.asking.json) {
            let code = self.show(&plan);
            return if self.dry_run {
                code
            } else {
                outcome(&plan.1, code)
            };
        }
        if !self.asking.json {
            self.show(&plan);
        }
        if asks && !confirmed(&plan.1) {
            complain("nothing was removed");
            return ExitCode::FAILURE;
        }
        match self.post(admin, Some(plan.1.fingerprint)) {
            Err(code) => code,
            Ok(done) if self.asking.json => outcome(&done.1, self.show(&done)),
            Ok((_, done)) => outcome(&done, print(&ending(&done, Colours::of_stdout()))),
        }
    }

    /// Plans, or carries out the plan of that name.
    fn post(&self, admin: &Admin, fingerprint: Option<String>) -> Result<(Vec<u8>, PurgeReport), ExitCode> {
        let ask = self.ask(fingerprint);
        let body = admin.post("/api/v1/purge", &ask).map_err(|no| refused(&no))?;
        let report = serde_json::from_slice(&body).map_err(|error| {
            complain(format_args!(
                "error: the answer of the running Seawall is not understood: {error}"
            ));
            ExitCode::FAILURE
        })?;
        Ok((body.to_vec(), report))
    }

    fn ask(&self, fingerprint: Option<String>) -> Ask {
        let digests = self.digest.iter().map(Digest::to_string);
        Ask {
            filter: self.filter.clone(),
            ago: self.ago.map(|ago| ago.as_secs()),
            untagged: self.untagged,
            keep: self.keep,
            references: self.references.iter().cloned().chain(digests).collect(),
            dry_run: fingerprint.is_none(),
            fingerprint,
        }
    }

    /// What a dry run asks, for a capture.
    pub(super) fn asks(&self) -> String {
        let ask = serde_json::to_string(&self.ask(None)).expect("names and numbers always serialise");
        format!("POST /api/v1/purge {ask}")
    }

    fn show(&self, (body, report): &(Vec<u8>, PurgeReport)) -> ExitCode {
        self.asking
            .print(body, |_| Ok(draw(report, Colours::of_stdout())))
    }
}

/// How it ended: what was asked for by name and is held is still there, and what could not be removed as well.
fn outcome(report: &PurgeReport, printed: ExitCode) -> ExitCode {
    let by_name = report.repositories == 0;
    let held = |stays: &&StaysRow| stays.reason == "locked" || stays.reason == "pinned";
    if by_name && let Some(stays) = report.stays.iter().find(held) {
        let undo = if stays.reason == "locked" {
            "unlock"
        } else {
            "unpin"
        };
        complain(format_args!(
            "error: {} is {} and stays; `seawall holds` shows what holds it, `seawall {undo}` lets it go",
            stays.name, stays.reason
        ));
        return ExitCode::from(SOMETHING_WRONG);
    }
    if by_name && let Some(stays) = report.stays.iter().find(|stays| stays.reason == "filling") {
        complain(format_args!(
            "error: {} is being downloaded: purge it again when that is over",
            stays.name
        ));
        return ExitCode::from(SOMETHING_WRONG);
    }
    if by_name && let Some(spared) = report.spared.first() {
        complain(format_args!(
            "error: {} stays although it was to go: {}; ask again to purge what it is now",
            spared.name, spared.detail
        ));
        return ExitCode::from(SOMETHING_WRONG);
    }
    if report.failed > 0 {
        complain(format_args!(
            "error: {} tags or files could not be removed; the log of the running Seawall says why",
            report.failed
        ));
        return ExitCode::from(SOMETHING_WRONG);
    }
    printed
}

fn confirmed(report: &PurgeReport) -> bool {
    let question = format!(
        "Remove {} and win {}? [y/N] ",
        counts(report),
        words::size(report.bytes)
    );
    let mut err = std::io::stderr();
    if err
        .write_all(question.as_bytes())
        .and_then(|()| err.flush())
        .is_err()
    {
        return false;
    }
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

fn counts(report: &PurgeReport) -> String {
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

/// Draws how a purge ended: what stayed that was to go, and how much went.
fn ending(report: &PurgeReport, colours: Colours) -> String {
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
    out
}

/// How wide the column of these names is.
fn width_of<'a>(names: impl Iterator<Item = &'a String>) -> usize {
    let widths = names.map(|name| words::short(name).chars().count());
    widths.filter(|width| *width <= MOST_WIDTH).max().unwrap_or(0)
}

/// Draws the answer of the API.
pub(super) fn drawn(body: &[u8], colours: Colours) -> Result<String, serde_json::Error> {
    Ok(draw(&serde_json::from_slice(body)?, colours))
}

/// Draws a plan.
fn draw(report: &PurgeReport, colours: Colours) -> String {
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
