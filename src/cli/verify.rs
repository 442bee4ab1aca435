//! `seawall verify`: hash what is held again, and show what is damaged.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::admin::Admin;
use super::colours::Tone;
use super::look::Look;
use super::progress::Progress;
use super::table::{Column, Table};
use super::words::{clean, json_line, size};
use super::{Asking, SOMETHING_WRONG, WRONG_ARGUMENTS, complain, print, summary_of};
use crate::cache::{DamagedObject, Mended, VerifyEvent, VerifyProgress, VerifySummary};
use crate::config;
use crate::oci::Digest;

/// Where things are verified.
const VERIFY: &str = "/api/v1/verify";

#[derive(Debug, Args)]
pub(super) struct Verifying {
    /// What is held of these: alpine:3.20, ghcr.io/owner/app@sha256:…
    #[arg(value_name = "REF")]
    references: Vec<String>,
    /// A manifest or blob, wherever it stands; also one that was put aside: sha256:…
    #[arg(long, value_name = "DIGEST")]
    digest: Vec<Digest>,
    /// Everything that is held
    #[arg(long, conflicts_with_all = ["references", "digest"])]
    all: bool,
    /// Only a part, drawn by lot: 10%
    #[arg(long, value_name = "PERCENT", value_parser = part)]
    sample: Option<f64>,
    /// The part that another run drew, by the seed that it printed
    #[arg(long, value_name = "NUMBER", requires = "sample")]
    seed: Option<u64>,
    /// Most bytes read per second [default: 200MB/s]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    rate: Option<u64>,
    /// Fetch what is damaged again
    #[arg(long)]
    refetch: bool,
    #[command(flatten)]
    asking: Asking,
}

fn rate(text: &str) -> Result<u64, String> {
    let rate = config::rate(text).filter(|rate| *rate > 0);
    rate.ok_or_else(|| "expected a rate with a unit, such as 200MB/s or 1Gbit/s".to_owned())
}

fn part(text: &str) -> Result<f64, String> {
    let percent = text
        .strip_suffix('%')
        .and_then(|number| number.parse::<f64>().ok());
    let percent = percent.filter(|percent| *percent > 0.0 && *percent <= 100.0);
    percent
        .map(|percent| percent / 100.0)
        .ok_or_else(|| "expected a part from above 0% to 100%, such as 10%".to_owned())
}

/// Verifies what is named, and shows how it goes.
pub(super) fn run(verifying: &Verifying) -> ExitCode {
    if verifying.references.is_empty() && verifying.digest.is_empty() && !verifying.all {
        complain("error: nothing is named: give references, --digest, or --all for everything that is held");
        return ExitCode::from(WRONG_ARGUMENTS);
    }
    let (request, json) = (verifying.request(), verifying.asking.json);
    verifying.asking.with(|admin| follow(admin, &request, json))
}

impl Verifying {
    fn request(&self) -> serde_json::Value {
        json!({
            "references": self.references,
            "digests": self.digest.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "all": self.all,
            "sample": self.sample,
            "seed": self.seed,
            "rate": self.rate,
            "refetch": self.refetch,
        })
    }

    /// What is asked, as a capture asks it.
    pub(super) fn asks(&self) -> String {
        format!("POST {VERIFY} {}", self.request())
    }
}

/// What is told to a pipe, going by the lines of an answer.
pub(super) fn drawn(answer: &[u8]) -> Result<String, serde_json::Error> {
    let (mut damaged, mut out) = (Vec::new(), String::new());
    for line in answer
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        match serde_json::from_slice(line)? {
            VerifyEvent::Progress(_) => {}
            VerifyEvent::Damaged(object) => damaged.push(object),
            VerifyEvent::Summary(summary) => out = draw(&damaged, &summary, Look::plain()),
        }
    }
    Ok(out)
}

fn follow(admin: &Admin, request: &serde_json::Value, json: bool) -> ExitCode {
    let mut damaged = Vec::new();
    let mut summary = None;
    let mut under_way = Progress::on_stderr();
    let followed = admin.follow(VERIFY, request, |line| {
        if json {
            // A script that has read enough is no reason to stop.
            let _ = print(&json_line(line));
        }
        match serde_json::from_slice(line) {
            Ok(VerifyEvent::Progress(progress)) => under_way.say(&progress_line(&progress)),
            Ok(VerifyEvent::Damaged(object)) => damaged.push(object),
            Ok(VerifyEvent::Summary(told)) => summary = Some(told),
            Err(_) => {}
        }
    });
    under_way.end();
    let summary = match summary_of(followed, summary) {
        Ok(summary) => summary,
        Err(code) => return code,
    };
    if !json {
        let _ = print(&draw(&damaged, &summary, Look::of_stdout()));
    }
    match summary.damaged == 0 && summary.unreadable.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(SOMETHING_WRONG),
    }
}

fn progress_line(progress: &VerifyProgress) -> String {
    let found = match progress.damaged {
        0 => String::new(),
        damaged => format!(", {damaged} damaged"),
    };
    format!(
        "{} of {} objects, {} of {}, {}/s{found}",
        progress.objects,
        progress.of_objects,
        size(progress.bytes),
        size(progress.of_bytes),
        size(progress.rate),
    )
}

/// What was found, for people.
fn draw(damaged: &[DamagedObject], summary: &VerifySummary, look: Look) -> String {
    let colours = look.colours;
    let mut out = table_of(damaged).draw(look);
    if !damaged.is_empty() {
        out.push('\n');
    }
    // Writing to a String cannot fail, here and below.
    for why in &summary.unreadable {
        let _ = writeln!(out, "{}", colours.paint(Tone::Bad, &clean(why)));
    }
    if let (Some(part), Some(seed)) = (summary.part, summary.seed) {
        let percent = (part * 100_000.0).round() / 1000.0;
        let _ = writeln!(
            out,
            "a sample of {percent}%; the same again: --sample {percent}% --seed {seed}"
        );
    }
    let verdict = match summary.damaged {
        0 => colours.paint(Tone::Good, "none is damaged"),
        count => colours.paint(
            Tone::Bad,
            &format!("{count} damaged, {} of them mended", summary.mended),
        ),
    };
    let _ = writeln!(
        out,
        "{} {} of {} in {:.1} s: {verdict}",
        summary.objects,
        if summary.objects == 1 { "object" } else { "objects" },
        size(summary.bytes),
        summary.seconds
    );
    if summary.fetched > 0 || summary.counted > 0 {
        let _ = writeln!(
            out,
            "fetched {}; spent {} requests of the upstreams' budgets",
            size(summary.fetched),
            summary.counted
        );
    }
    let left = damaged
        .iter()
        .find(|object| matches!(object.mended, Mended::Aside | Mended::Failed));
    if let Some(object) = left {
        let digest = &object.digest;
        let _ = writeln!(
            out,
            "fetched again when they are pulled next, or now by: seawall verify --digest {digest} --refetch"
        );
    }
    out
}

fn table_of(damaged: &[DamagedObject]) -> Table {
    let mut table = Table::new(&[
        Column::left("DAMAGED"),
        Column::left("KIND").spare(2),
        Column::right("SIZE").spare(3),
        Column::left("WHY").spare(1),
        Column::left("NAMED BY"),
        Column::left("DONE"),
    ]);
    for object in damaged {
        let done = match (object.mended, &object.failed) {
            (Mended::Aside, _) => "put aside".to_owned(),
            (Mended::Restored, _) => "written anew from memory".to_owned(),
            (Mended::Fetched, _) => "fetched again".to_owned(),
            (Mended::Failed, why) => {
                format!("put aside, not fetched: {}", why.as_deref().unwrap_or("unknown"))
            }
        };
        let named = match object.named_by.is_empty() {
            true => "nobody known".to_owned(),
            false => object.named_by.join(", "),
        };
        table.row([
            object.digest.clone(),
            object.kind.clone(),
            size(object.size),
            object.why.clone(),
            named,
            done,
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn damaged(mended: Mended, failed: Option<&str>) -> DamagedObject {
        DamagedObject {
            digest: "sha256:ab".to_owned(),
            kind: "blob".to_owned(),
            size: 3 << 20,
            why: "does not hash to its name".to_owned(),
            named_by: vec!["docker.io/library/app".to_owned()],
            mended,
            failed: failed.map(str::to_owned),
        }
    }

    #[test]
    fn what_is_damaged_is_a_table_with_the_next_step() {
        let summary = VerifySummary {
            objects: 7,
            bytes: 5 << 20,
            seconds: 1.25,
            damaged: 2,
            mended: 1,
            fetched: 3 << 20,
            part: Some(0.1),
            seed: Some(42),
            ..VerifySummary::default()
        };
        let rows = [
            damaged(Mended::Fetched, None),
            damaged(Mended::Failed, Some("it is down")),
        ];
        let picture = [
            "DAMAGED    KIND     SIZE  WHY                        NAMED BY               DONE",
            "sha256:ab  blob  3.0 MiB  does not hash to its name  docker.io/library/app  fetched again",
            "sha256:ab  blob  3.0 MiB  does not hash to its name  docker.io/library/app  put aside, not fetched: it is down",
            "",
            "a sample of 10%; the same again: --sample 10% --seed 42",
            "7 objects of 5.0 MiB in 1.2 s: 2 damaged, 1 of them mended",
            "fetched 3.0 MiB; spent 0 requests of the upstreams' budgets",
            "fetched again when they are pulled next, or now by: seawall verify --digest sha256:ab --refetch",
            "",
        ];
        assert_eq!(draw(&rows, &summary, Look::plain()), picture.join("\n"));
    }

    #[test]
    fn a_sound_cache_is_one_line() {
        let summary = VerifySummary {
            objects: 2,
            ..VerifySummary::default()
        };
        assert_eq!(
            draw(&[], &summary, Look::plain()),
            "2 objects of 0 B in 0.0 s: none is damaged\n"
        );
    }

    #[test]
    fn parts_and_rates_need_their_units() {
        assert_eq!(part("10%"), Ok(0.1));
        assert_eq!(rate("200MB/s"), Ok(200_000_000));
        for wrong in ["10", "0%", "101%", "x%", ""] {
            assert!(part(wrong).is_err(), "{wrong}");
        }
        for wrong in ["200", "200MB", "0MB/s", ""] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
