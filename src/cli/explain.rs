//! `seawall explain`: how a pull would be answered now, step by step.

mod client;

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use self::client::{access, before_a_look, client, tier};
use super::colours::Tone;
use super::look::Look;
use super::words::{age, clean, count, digest, size, span, wait};
use super::{Asking, SOMETHING_WRONG, refused};
use crate::cache::{
    Explained, ExplainedContent, ExplainedFreshness, ExplainedParts, ExplainedTrust, ExplainedYoung,
    UpstreamStatus,
};
use crate::clock::Time;
use crate::server::Explanation;
use crate::store::SharedStatus;

#[derive(Debug, Args)]
pub(super) struct Explaining {
    /// What would be pulled: alpine:3.20, docker.io/library/alpine, ghcr.io/owner/app@sha256:…
    reference: String,
    /// The address that the pull would come from; without it, this machine's own
    #[arg(long, value_name = "ADDRESS")]
    client: Option<IpAddr>,
    /// The user that would have logged in
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// A name in the certificate that it would have shown
    #[arg(long, value_name = "NAME")]
    certificate_name: Vec<String>,
    /// The [[issuer]] whose token it would have shown
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// What that token says: a claim and its value, such as ref=refs/heads/main
    #[arg(long, value_name = "NAME=VALUE", requires = "issuer")]
    claim: Vec<String>,
    /// Digests in full
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    asking: Asking,
}

impl Explaining {
    /// Asks, and tells. What would be refused exits as something that is wrong.
    pub(super) fn run(&self) -> ExitCode {
        self.asking.with(|admin| match admin.get(&self.asks()) {
            Ok(body) => {
                let printed = self
                    .asking
                    .print(&body, |body| self.drawn(body, Look::of_stdout()));
                let explanation: Result<Explanation, _> = serde_json::from_slice(&body);
                match explanation.is_ok_and(|explanation| is_refused(&explanation)) {
                    true if printed == ExitCode::SUCCESS => ExitCode::from(SOMETHING_WRONG),
                    _ => printed,
                }
            }
            Err(no_answer) => refused(&no_answer),
        })
    }

    /// The path that is asked.
    pub(super) fn asks(&self) -> String {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let client = self.client.map(|address| address.to_string());
        let given = client.iter().map(|text| ("client", text));
        let given = given.chain(self.user.iter().map(|text| ("user", text)));
        let given = given.chain(self.certificate_name.iter().map(|text| ("certificate", text)));
        let given = given.chain(self.issuer.iter().map(|text| ("issuer", text)));
        let given = given.chain(self.claim.iter().map(|text| ("claim", text)));
        let more: String = given
            .map(|(key, text)| format!("&{key}={}", encode(text)))
            .collect();
        format!("/api/v1/explain?reference={}{more}", encode(&self.reference))
    }

    /// The answer for people.
    pub(super) fn drawn(&self, body: &[u8], look: Look) -> Result<String, serde_json::Error> {
        Ok(draw(&serde_json::from_slice(body)?, self.full, look))
    }
}

fn is_refused(explanation: &Explanation) -> bool {
    explanation
        .pull
        .as_ref()
        .is_none_or(|pull| pull.outlook == "refused")
}

/// A step: what is looked at, and what is found.
type Step = (&'static str, String);

fn draw(explanation: &Explanation, full: bool, look: Look) -> String {
    let mut steps = vec![
        ("registry", registry(explanation)),
        ("client", client(&explanation.client)),
        ("tier", tier(&explanation.client)),
        ("access", access(explanation)),
    ];
    if let Some(pull) = &explanation.pull {
        steps.extend(shown(pull, &explanation.registry).map(|found| ("shown", found)));
        of_pull(pull, full, &mut steps);
    }
    let name = look.colours.paint(Tone::Name, &clean(&explanation.name));
    let lines = steps
        .iter()
        .map(|(what, found)| format!("  {what:<10} {}\n", clean(found)));
    let (tone, ending) = ending(explanation);
    let ending = look.colours.paint(tone, &clean(&ending));
    format!("{name}\n{}→ {ending}\n", lines.collect::<String>())
}

fn registry(explanation: &Explanation) -> String {
    let name = &explanation.registry;
    match (
        explanation.configured,
        explanation.pull.as_ref().map(|pull| &pull.upstream),
    ) {
        (false, _) => format!("{name} is none that is configured here"),
        (true, None) => format!("{name} is configured here"),
        (true, Some(upstream)) => match (upstream.state.as_str(), &upstream.reason) {
            ("offline", _) => format!("{name} is not to be asked: it is offline by the configuration"),
            (_, Some(reason)) => format!("{name} is not asked for now: {reason}"),
            (_, None) => format!("{name} may be asked"),
        },
    }
}

/// Whether the registry shows it, where that is a question.
fn shown(pull: &Explained, registry: &str) -> Option<String> {
    Some(match pull.visibility.as_str() {
        "shown" => format!("{registry} shows it to everybody, as it said of late"),
        "hidden" => format!("{registry} does not show it to everybody, as it said of late"),
        "asked" => format!("{registry} is asked first, for free, whether it shows it to everybody"),
        "login" => {
            format!("{registry} does not show it to everybody, and is asked for each client that logs in")
        }
        _ => return None,
    })
}

fn of_pull(pull: &Explained, full: bool, steps: &mut Vec<Step>) {
    if let Some(record) = &pull.record {
        let points = format!("points at {}", digest(&record.digest, full));
        let found = match record.locked {
            true => format!("{points}, where it is locked"),
            false => format!("{points}, confirmed {} ago", age(pull.now, record.validated)),
        };
        steps.push(("tag", found));
    } else if pull.freshness.is_some() {
        steps.push(("tag", "nothing is known of it".to_owned()));
    }
    if let Some(young) = &pull.young {
        steps.push(("age", of_young(young, pull.now, full)));
    }
    if let Some(freshness) = &pull.freshness {
        let validated = pull.record.as_ref().map(|record| record.validated);
        steps.push(("freshness", of_freshness(freshness, validated, pull.now)));
    }
    if let Some(content) = &pull.content {
        steps.push(("content", of_content(content)));
    }
    if let Some(trust) = &pull.trust {
        steps.push(("trust", of_trust(trust)));
    }
    if let Some(shared) = &pull.shared {
        steps.push(("shared", of_shared(shared, pull.now)));
    }
    steps.push(("budget", budget(pull)));
}

/// Whether the shared shelf would be asked for what is not held.
fn of_shared(shared: &SharedStatus, now: u64) -> String {
    let bucket = &shared.bucket;
    match (shared.resting_until, &shared.why) {
        (Some(until), why) => format!(
            "{bucket} is left alone for another {}: {}",
            wait(Time::from_millis(until).since(Time::from_millis(now))),
            why.as_deref().unwrap_or("it failed")
        ),
        (None, _) => format!("{bucket} is asked first for what is not held"),
    }
}

fn of_freshness(freshness: &ExplainedFreshness, validated: Option<u64>, now: u64) -> String {
    let left = |seconds: u64| {
        let ends = Time::from_millis(validated.unwrap_or(0)) + Duration::from_secs(seconds);
        ends.since(Time::from_millis(now))
    };
    let after = |seconds: &[u64]| wait(left(seconds.iter().sum()));
    let (ttl, soon) = (freshness.ttl, freshness.stale_while_revalidate);
    let spans = |seconds| span(Duration::from_secs(seconds));
    match freshness.verdict.as_str() {
        "fresh" if freshness.immutable => "fresh: its pattern is immutable, so it never moves".to_owned(),
        "fresh" => format!("fresh for another {}, of a ttl of {}", after(&[ttl]), spans(ttl)),
        "refresh" => format!(
            "stale, and still served for another {} while it is asked about",
            after(&[ttl, soon])
        ),
        "offline" => "served as it is known, however old: the upstream is offline".to_owned(),
        _ if validated.is_none() => "has to be asked about".to_owned(),
        _ => {
            let without = match left(freshness.stale_if_error) {
                Duration::ZERO => "it is too old to be served without an answer".to_owned(),
                left => format!("without an answer it may be served for another {}", wait(left)),
            };
            format!(
                "stale, since its ttl is {}: has to be asked about; {without}",
                spans(ttl)
            )
        }
    }
}

fn of_content(content: &ExplainedContent) -> String {
    let manifest = match content.manifest.as_str() {
        "nowhere" => return "the manifest is not held".to_owned(),
        place => format!(
            "the manifest is {} {place}",
            if place == "disk" { "on" } else { "in" }
        ),
    };
    let part = |parts: &ExplainedParts, many: &str| {
        let all = format!("{} of {} {many}", parts.held, parts.count);
        format!(", {all} held ({} of {})", size(parts.held_size), size(parts.size))
    };
    let blobs = if content.blobs.count > 0 {
        part(&content.blobs, "blobs")
    } else {
        String::new()
    };
    let listed = match content.manifests.count {
        0 => String::new(),
        listed => format!(
            ", {} of {} held",
            content.manifests.held,
            count(listed, "listed manifest", "listed manifests")
        ),
    };
    manifest + &blobs + &listed
}

fn of_young(young: &ExplainedYoung, now: u64, full: bool) -> String {
    let left = Time::from_millis(young.until).since(Time::from_millis(now));
    format!(
        "points at {} by now, first seen {} ago, which is not served for another {}: minimum_age of [[trust]]",
        digest(&young.digest, full),
        age(now, young.first),
        wait(left)
    )
}

fn of_trust(trust: &ExplainedTrust) -> String {
    let because = &trust.because;
    match trust.verdict.as_str() {
        "trusted" => format!("signed as [[trust]] requires, by {because}"),
        "refused" => format!("not signed as [[trust]] requires: {because}"),
        _ => "[[trust]] requires a signature, which would be looked for".to_owned(),
    }
}

fn budget(pull: &Explained) -> String {
    let figures = figures(&pull.upstream);
    match &pull.withheld {
        None => format!("{figures}a manifest could be bought now"),
        Some(withheld) => {
            let until = wait(Time::from_millis(withheld.until).since(Time::from_millis(pull.now)));
            let why = match withheld.because.as_str() {
                "exhausted" => "it is used up",
                "reserved" => "what is left is reserved for other tiers",
                "paced" => "its tier spends no faster than that",
                "parked" => "the registry has refused the credentials",
                "queued" => "others have waited longer",
                other => other,
            };
            format!("{figures}none can be bought for this client for {until}: {why}")
        }
    }
}

/// What is left of the allowances that are known.
fn figures(upstream: &UpstreamStatus) -> String {
    let known = upstream.buckets.iter().filter(|bucket| bucket.limit > 0);
    let each = known.map(|bucket| format!("{} of {} left; ", bucket.remaining, bucket.limit));
    let each: String = each.collect();
    match each.is_empty() {
        true => "no limit is known; ".to_owned(),
        false => each,
    }
}

fn ending(explanation: &Explanation) -> (Tone, String) {
    let registry = &explanation.registry;
    let Some(pull) = &explanation.pull else {
        return (Tone::Bad, before_a_look(explanation));
    };
    if let Some(quota) = &explanation.client.used_up
        && quota.quota == "reads"
    {
        return (
            Tone::Bad,
            "refused for now: this client has used up its own requests".to_owned(),
        );
    }
    let place = match pull.content.as_ref().map(|content| content.manifest.as_str()) {
        Some("memory") => "memory",
        _ => "disk",
    };
    match pull.outlook.as_str() {
        "served" => (
            Tone::Good,
            format!("served from {place}; {registry} is not asked"),
        ),
        "refreshing" => (
            Tone::Good,
            format!("served from {place} at once; {registry} is asked behind its back, for free"),
        ),
        "validated" => (
            Tone::Good,
            match pull.withheld {
                None => format!(
                    "{registry} is asked for free; served from {place} if the tag has not moved, else fetched"
                ),
                Some(_) => {
                    format!("{registry} is asked for free; if the tag has not moved, served from {place}")
                }
            },
        ),
        "fetched" => (
            Tone::Warning,
            format!("fetched from {registry}: one manifest of its budget, where it counts them"),
        ),
        "stale" => (
            Tone::Warning,
            format!("served from {place}, and said to be stale: {registry} cannot be asked"),
        ),
        _ => (Tone::Bad, refusal(pull, registry)),
    }
}

fn refusal(pull: &Explained, registry: &str) -> String {
    if pull.young.is_some() && pull.record.is_none() {
        return "refused: what it points at is too young, by minimum_age of [[trust]]".to_owned();
    }
    let is_unsigned = |trust: &ExplainedTrust| trust.verdict == "refused";
    match pull.visibility.as_str() {
        "hidden" => {
            return format!("refused: what {registry} does not show to everybody is served to nobody");
        }
        "login" => return format!("refused before it logs in, with what {registry} itself takes"),
        _ if pull.trust.as_ref().is_some_and(is_unsigned) => {
            return "refused: it is not signed as [[trust]] requires".to_owned();
        }
        _ => {}
    }
    match (&pull.withheld, pull.upstream.state.as_str()) {
        (_, "offline") => format!("refused: what is held is not enough, and {registry} is offline"),
        (_, "failing") => {
            format!("refused for now: {registry} does not answer, and nothing that is held may be served")
        }
        (Some(_), _) => {
            format!("refused for now: the budget of {registry} allows nothing, and it is not held")
        }
        (None, _) => format!("refused for now: {registry} wants to be left alone"),
    }
}
