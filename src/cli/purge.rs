//! `seawall purge`: what goes, what stays and why, and then it goes.

mod drawn;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use serde::Serialize;

use super::admin::{Admin, NoAnswer};
use super::colours::Colours;
use super::progress::Progress;
use super::words;
use super::{Asking, SOMETHING_WRONG, WRONG_ARGUMENTS, complain, print, refused};
use crate::cache::{PurgeReport, PurgeStatus, PurgesReport, StaysRow};
use crate::config;
use crate::oci::Digest;

pub(super) use drawn::drawn;
use drawn::{counts, draw, ending, step, stopping};

/// Where purges are asked for.
const PURGE: &str = "/api/v1/purge";

#[derive(Debug, Args)]
pub(super) struct Purging {
    /// Tags, or manifests by digest, however new: docker.io/library/alpine:3.20, ghcr.io/team/app@sha256:…
    #[arg(value_name = "REF", required_unless_present_any = ["filter", "digest", "stop"])]
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
    /// Stop the purges that wait or are under way, scheduled ones too: each ends the images it has begun with
    #[arg(long, conflicts_with_all = ["references", "digest", "filter", "dry_run", "yes"])]
    stop: bool,
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

/// What is asked of `/api/v1/purge/stop`.
#[derive(Clone, Debug, Default, Serialize)]
struct Stop {
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
}

impl Purging {
    /// Shows the plan; then, if that is wanted, has it carried out.
    pub(super) fn run(&self) -> ExitCode {
        if self.stop {
            let stop = |admin: &Admin| admin.post(&format!("{PURGE}/stop"), &Stop::default());
            return self
                .asking
                .tell(stop, |body| Ok(stopping(&serde_json::from_slice(body)?)));
        }
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
        let plan = match understood(admin.post(PURGE, &self.ask(None))) {
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
        match self.apply(admin, &plan.1.fingerprint) {
            Err(code) => code,
            Ok(done) if self.asking.json => outcome(&done.1, self.show(&done)),
            Ok((_, done)) => outcome(&done, print(&ending(&done, Colours::of_stdout()))),
        }
    }

    /// Carries out the plan of that name, and shows how far it is; Ctrl-C stops it.
    fn apply(&self, admin: &Admin, fingerprint: &str) -> Result<(Vec<u8>, PurgeReport), ExitCode> {
        let ask = self.ask(Some(fingerprint.to_owned()));
        let mut progress = Progress::on_stderr();
        let stop = Stop {
            fingerprint: Some(fingerprint.to_owned()),
        };
        let answered = admin.watched(PURGE, &ask, &stop, |body| {
            let report: PurgesReport = serde_json::from_slice(body).unwrap_or_default();
            let mut purges = report.purges.into_iter();
            let is_ours = |one: &PurgeStatus| one.fingerprint.as_deref() == Some(fingerprint);
            if let Some(ours) = purges.find(is_ours) {
                progress.moved("purge", &step(&ours), ours.bytes, ours.of_bytes);
            }
        });
        progress.end();
        understood(answered)
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
        format!("POST {PURGE} {ask}")
    }

    fn show(&self, (body, report): &(Vec<u8>, PurgeReport)) -> ExitCode {
        self.asking
            .print(body, |_| Ok(draw(report, Colours::of_stdout())))
    }
}

/// An answer as it came, and what it says.
fn understood(answered: Result<Bytes, NoAnswer>) -> Result<(Vec<u8>, PurgeReport), ExitCode> {
    let body = answered.map_err(|no| refused(&no))?;
    let report = serde_json::from_slice(&body).map_err(|error| {
        complain(format_args!(
            "error: the answer of the running Seawall is not understood: {error}"
        ));
        ExitCode::FAILURE
    })?;
    Ok((body.to_vec(), report))
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
    if report.left > 0 {
        complain("error: the purge was stopped before its end");
        return ExitCode::FAILURE;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The exit code of what ended so.
    fn code(report: &PurgeReport) -> String {
        format!("{:?}", outcome(report, ExitCode::SUCCESS))
    }

    #[test]
    fn scripts_are_told_by_the_exit_code_what_a_purge_came_to() {
        let is = |code: u8| format!("{:?}", ExitCode::from(code));
        let done = PurgeReport::default();
        assert_eq!(code(&done), is(0));
        let stays = |reason: &str| StaysRow {
            reason: reason.to_owned(),
            ..StaysRow::default()
        };
        for reason in ["locked", "pinned", "filling"] {
            let stays = vec![stays(reason)];
            let named = PurgeReport {
                stays: stays.clone(),
                ..done.clone()
            };
            assert_eq!(code(&named), is(4), "{reason}");
            let by_rules = PurgeReport {
                repositories: 1,
                stays,
                ..done.clone()
            };
            assert_eq!(code(&by_rules), is(0), "rules are kept: {reason}");
        }
        let spared = PurgeReport {
            spared: vec![stays("moved")],
            ..done.clone()
        };
        let failed = PurgeReport {
            failed: 1,
            ..done.clone()
        };
        assert_eq!((code(&spared), code(&failed)), (is(4), is(4)));
        let stopped = PurgeReport { left: 1, ..done };
        assert_eq!(code(&stopped), is(1));
    }
}
