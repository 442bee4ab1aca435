//! `seawall warm`: fetch images before anybody asks for them.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::admin::Admin;
use super::colours::Tone;
use super::images;
use super::progress::Progress;
use super::words::{clean, count, json_line, size, wait};
use super::{Asking, SOMETHING_WRONG, complain, print, summary_of};
use crate::cache::{Missed, WarmEvent, WarmImage, WarmState, WarmSummary};
use crate::clock::{Clock, Time};

/// Where images are warmed.
const WARM: &str = "/api/v1/warm";

#[derive(Debug, Args)]
pub(super) struct Warming {
    /// Images: alpine:3.20, ghcr.io/owner/app@sha256:…
    #[arg(value_name = "REF")]
    references: Vec<String>,
    /// A list (one image a line) or Kubernetes manifests, YAML or JSON; `-` for standard input
    #[arg(long, value_name = "FILE")]
    from: Vec<PathBuf>,
    /// The platforms to fetch, such as linux/amd64,linux/arm64, or `all`; without it, the one Seawall runs on
    #[arg(long, value_name = "LIST")]
    platform: Option<String>,
    /// Fetch signatures, attestations and whatever else refers to the images
    #[arg(long)]
    referrers: bool,
    /// Spend as this tier may; without it, only what would expire unused
    #[arg(long, value_name = "NAME")]
    tier: Option<String>,
    /// The longest that an image waits for a budget, such as 10m; without it, a minute
    #[arg(long, value_name = "TIME", value_parser = duration)]
    wait: Option<Duration>,
    #[command(flatten)]
    asking: Asking,
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::config::duration(text).ok_or_else(|| "a duration has a unit, such as 90s, 5m or 2h".to_owned())
}

/// Warms what is named, and shows how it goes.
pub(super) fn run(warming: &Warming) -> ExitCode {
    let references = match gather(warming) {
        Ok(references) => references,
        Err(why) => {
            complain(format_args!("error: {why}"));
            return ExitCode::FAILURE;
        }
    };
    if references.is_empty() {
        complain("error: no image is named; give references, or a file with --from");
        return ExitCode::from(2);
    }
    let request = warming.request(&references);
    warming
        .asking
        .with(|admin| follow(admin, &request, warming.asking.json))
}

impl Warming {
    /// What the running Seawall is asked for these images.
    fn request(&self, references: &BTreeSet<String>) -> serde_json::Value {
        json!({
            "references": references,
            "platform": self.platform,
            "referrers": self.referrers,
            "tier": self.tier,
            "wait": self.wait.map(|wait| wait.as_secs()),
        })
    }

    /// What is asked where no file is read, as a capture asks it.
    pub(super) fn asks(&self) -> String {
        let references = self.references.iter().cloned().collect();
        format!("POST {WARM} {}", self.request(&references))
    }
}

/// What is told to a pipe, going by the lines of an answer.
pub(super) fn drawn(answer: &[u8], now: Time) -> Result<String, serde_json::Error> {
    let mut out = String::new();
    for line in answer
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        match serde_json::from_slice(line)? {
            WarmEvent::Image(image) => {
                out.extend(is_over(&image).map(|(_, text)| format!("{text}\n")));
            }
            WarmEvent::Summary(summary) => out += &told(&summary, now),
        }
    }
    Ok(out)
}

/// Everything that arguments and files name, each once.
fn gather(warming: &Warming) -> Result<BTreeSet<String>, String> {
    let mut all: BTreeSet<String> = warming.references.iter().cloned().collect();
    for path in &warming.from {
        let text = text_of(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let found = images::read(&text).map_err(|why| format!("{}: {why}", path.display()))?;
        for template in found.skipped {
            complain(format_args!(
                "warning: {}: skipped the template `{template}`; render it first (helm template … | seawall warm --from -)",
                path.display()
            ));
        }
        all.extend(found.images);
    }
    Ok(all)
}

fn text_of(path: &Path) -> std::io::Result<String> {
    if path != Path::new("-") {
        return std::fs::read_to_string(path);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

fn follow(admin: &Admin, request: &serde_json::Value, json: bool) -> ExitCode {
    let mut progress = Progress::on_stderr();
    let mut summary = None;
    let followed = admin.follow(WARM, request, |line| {
        let event = serde_json::from_slice(line);
        if json {
            // A script that has read enough is no reason to stop.
            let _ = print(&json_line(line));
        }
        match event {
            Ok(WarmEvent::Image(image)) if !json => show(&mut progress, &image),
            Ok(WarmEvent::Summary(told)) => summary = Some(told),
            Ok(WarmEvent::Image(_)) | Err(_) => {}
        }
    });
    progress.end();
    let summary = match summary_of(followed, summary) {
        Ok(summary) => summary,
        Err(code) => return code,
    };
    if !json {
        let _ = print(&told(&summary, Clock::start().now()));
    }
    match summary.missed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(SOMETHING_WRONG),
    }
}

fn show(progress: &mut Progress, image: &WarmImage) {
    if let Some((tone, text)) = is_over(image) {
        return progress.over(&image.image, tone, &text);
    }
    let word = match image.state {
        WarmState::Resolving => "asking",
        WarmState::Fetching => "fetching",
        WarmState::Waiting => "waiting for its upstream",
        WarmState::Queued | WarmState::Held | WarmState::Missed => return,
    };
    progress.moved(&image.image, word, image.done, image.total);
}

/// The line that stays when an image is done with.
fn is_over(image: &WarmImage) -> Option<(Tone, String)> {
    match image.state {
        WarmState::Held => {
            let text = format!("held    {}  {}", image.image, size(image.total));
            Some((Tone::Good, text))
        }
        WarmState::Missed => Some((Tone::Bad, format!("missed  {}", image.image))),
        WarmState::Queued | WarmState::Resolving | WarmState::Fetching | WarmState::Waiting => None,
    }
}

/// What it came to, for people.
fn told(summary: &WarmSummary, now: Time) -> String {
    let missed = summary.missed.len();
    let mut out = format!(
        "{} of {} held; fetched {}, had {} already; spent {} and {}\n",
        summary.images - missed.min(summary.images),
        count(summary.images as u64, "image", "images"),
        size(summary.fetched),
        size(summary.held),
        count(summary.counted, "counted request", "counted requests"),
        count(summary.free, "free one", "free ones"),
    );
    for Missed { image, why, again } in &summary.missed {
        let again = again.map(|at| Time::from_millis(at).since(now));
        let again = again.map_or(String::new(), |until| format!("; try again in {}", wait(until)));
        out.push_str(&clean(&format!("missed {image}: {why}{again}")));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_what_it_cost_and_what_is_missing_until_when() {
        let summary = WarmSummary {
            images: 3,
            counted: 2,
            free: 9,
            fetched: 5 << 20,
            held: 0,
            missed: vec![Missed {
                image: "alpine".to_owned(),
                why: "nothing is left".to_owned(),
                again: Some(3_600_000),
            }],
        };
        let text = told(&summary, Time::from_millis(0));
        assert!(
            text.starts_with("2 of 3 images held; fetched 5.0 MiB, had 0 B already; spent 2 counted"),
            "{text}"
        );
        assert!(
            text.contains("missed alpine: nothing is left; try again in 60 min"),
            "{text}"
        );
    }
}
