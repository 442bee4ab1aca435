//! `seawall status`: the cache and every upstream at a glance.

mod space;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::colours::{Colours, Tone};
use super::words::{self, due, span};
use crate::cache::{AccountStatus, BucketStatus, IssuerStatus, Status, UpstreamStatus};

/// Characters of a gauge.
const GAUGE: u64 = 30;

/// Draws the status.
pub(super) fn draw(status: &Status, colours: Colours) -> String {
    let mut out = String::new();
    let (unused, used): (Vec<_>, Vec<_>) = status
        .upstreams
        .iter()
        .partition(|upstream| upstream.state == "unused");
    space::draw(&mut out, &status.cache, status.now, colours);
    for upstream in used {
        draw_upstream(&mut out, upstream, status.now, colours);
    }
    for issuer in &status.issuers {
        draw_issuer(&mut out, issuer, status.now, colours);
    }
    if !unused.is_empty() {
        let names: Vec<&str> = unused.iter().map(|upstream| upstream.registry.as_str()).collect();
        let line = format!("not used yet: {}", names.join(" "));
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(out, "{}", colours.paint(Tone::Faint, &line));
    }
    out
}

fn draw_upstream(out: &mut String, upstream: &UpstreamStatus, now: u64, colours: Colours) {
    let state = match (&upstream.reason, upstream.state.as_str()) {
        (Some(reason), state) => format!("  {state}: {reason}"),
        (None, "offline") => "  offline: what is held is served, and nothing is asked".to_owned(),
        (None, _) => String::new(),
    };
    let name = colours.paint(Tone::Name, &upstream.registry);
    let _ = writeln!(out, "{name}{}", colours.paint(Tone::Bad, &state));
    for bucket in &upstream.buckets {
        draw_bucket(out, bucket, now, colours);
    }
    let accounts = upstream.accounts.iter();
    let accounts: Vec<String> = accounts
        .map(|account| draw_account(account, now, colours))
        .collect();
    if !accounts.is_empty() {
        let _ = writeln!(out, "  credentials  {}", accounts.join("; "));
    }
    if upstream.waiting.values().any(|count| *count > 0) {
        let waiting = colours.paint(Tone::Warning, &counts(&upstream.waiting));
        let _ = writeln!(out, "  waiting      {waiting}");
    }
    if upstream.spent > 0 {
        let _ = writeln!(out, "  spent        {} since the start", upstream.spent);
    }
    let avoided: u64 = upstream.avoided.values().sum();
    if avoided > 0 {
        let _ = writeln!(out, "  avoided      {avoided}: {}", counts(&upstream.avoided));
    }
    out.push('\n');
}

fn draw_issuer(out: &mut String, issuer: &IssuerStatus, now: u64, colours: Colours) {
    let name = colours.paint(Tone::Name, &issuer.name);
    let keys = words::count(issuer.keys, "key", "keys");
    let read = match (issuer.read, issuer.usable) {
        (Some(read), _) => format!(", read {} ago", words::age(now, read)),
        (None, true) => " of its file".to_owned(),
        (None, false) => ", never read".to_owned(),
    };
    let _ = writeln!(out, "{name}  issuer: {keys}{read}");
    if let Some(error) = &issuer.error {
        let until = match issuer.usable {
            true => "still believed",
            false => "nobody it vouches for can pull",
        };
        let line = format!("{until}: {error}");
        let _ = writeln!(out, "  {}", colours.paint(Tone::Bad, &line));
    }
    out.push('\n');
}

fn draw_account(account: &AccountStatus, now: u64, colours: Colours) -> String {
    let until = account
        .until
        .map(|until| format!(", tried again {}", due(until, now)));
    let why = account.why.as_ref().map(|why| format!(": {why}"));
    let ends = account
        .ends
        .filter(|ends| *ends > now)
        .map(|ends| match account.state.as_str() {
            "ok" => format!(", ends {}", due(ends, now)),
            _ => format!("; what is held ends {}", due(ends, now)),
        });
    let state = [Some(account.state.clone()), until, why, ends];
    let state: String = state.into_iter().flatten().collect();
    let tone = if account.state == "ok" {
        Tone::Good
    } else {
        Tone::Bad
    };
    format!("{} {}", account.name, colours.paint(tone, &state))
}

fn draw_bucket(out: &mut String, bucket: &BucketStatus, now: u64, colours: Colours) {
    let who = bucket.accounts.join(" + ");
    let source = match &bucket.source {
        Some(source) if *source != who => format!(" as {source}"),
        _ => String::new(),
    };
    let again = bucket
        .until
        .map_or(String::new(), |until| format!("asked again {}", due(until, now)));
    let words = match bucket.state.as_str() {
        "unknown" => "no budget named so far".to_owned(),
        "unlimited" => "not limited".to_owned(),
        // It named no figures before it wanted to be left alone.
        state if bucket.limit == 0 => colours.paint(Tone::Bad, &format!("{state}: {again}")),
        _ => return draw_figures(out, bucket, &format!("{who}{source}"), &again, now, colours),
    };
    let _ = writeln!(out, "  {who}{source}: {words}");
}

fn draw_figures(out: &mut String, bucket: &BucketStatus, who: &str, again: &str, now: u64, colours: Colours) {
    let window = bucket.window.map_or(String::new(), |window| {
        format!(" per {}", span(Duration::from_secs(window)))
    });
    let (gauge, left, limit) = (gauge(bucket, colours), bucket.remaining, bucket.limit);
    let _ = writeln!(out, "  {gauge}  {left} of {limit}{window} left, {who}");
    if bucket.state != "known" {
        let state = format!("{}: {again}", bucket.state);
        let _ = writeln!(out, "  {}", colours.paint(Tone::Bad, &state));
    }
    let slot = bucket.next_slot.filter(|_| left < limit);
    let slot = slot.map_or(String::new(), |slot| format!("; next slot {}", due(slot, now)));
    let _ = writeln!(
        out,
        "  in window    {} by us, {} by neighbours{slot}",
        bucket.own, bucket.foreign
    );
    if !bucket.reserved.is_empty() {
        let reserved = counts(&bucket.reserved);
        let _ = writeln!(out, "  reserved ▒   out of reach for {reserved}");
    }
}

/// `█` free for every tier, `▒` left but reserved, `░` spent.
fn gauge(bucket: &BucketStatus, colours: Colours) -> String {
    let limit = bucket.limit.max(1);
    let cells = |count: u64| (count.min(limit) * GAUGE).div_ceil(limit);
    let left = cells(bucket.remaining);
    let reserved = cells(bucket.reserved.values().copied().max().unwrap_or(0)).min(left);
    let draw = |symbol: &str, count: u64, tone| {
        let cells = symbol.repeat(usize::try_from(count).unwrap_or_default());
        colours.paint(tone, &cells)
    };
    let parts = [
        draw("▒", reserved, Tone::Warning),
        draw("█", left - reserved, Tone::Good),
        draw("░", GAUGE - left, Tone::Faint),
    ];
    parts.concat()
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    let each = counts.iter().filter(|(_, count)| **count > 0);
    let each: Vec<String> = each.map(|(name, count)| format!("{name} {count}")).collect();
    each.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket() -> BucketStatus {
        BucketStatus {
            source: Some("192.0.2.7".to_owned()),
            accounts: vec!["anonymous".to_owned()],
            state: "known".to_owned(),
            limit: 100,
            remaining: 50,
            own: 30,
            foreign: 20,
            reserved: BTreeMap::from([("basic".to_owned(), 40), ("standard".to_owned(), 20)]),
            window: Some(3600),
            next_slot: Some(61_000),
            ..BucketStatus::default()
        }
    }

    fn account(name: &str, state: &str, until: Option<u64>) -> AccountStatus {
        AccountStatus {
            name: name.to_owned(),
            state: state.to_owned(),
            until,
            ..AccountStatus::default()
        }
    }

    #[test]
    fn a_gauge_shows_what_is_free_reserved_and_spent() {
        assert_eq!(gauge(&bucket(), Colours::None), "▒▒▒▒▒▒▒▒▒▒▒▒███░░░░░░░░░░░░░░░");
        let empty = BucketStatus {
            remaining: 0,
            ..bucket()
        };
        assert_eq!(gauge(&empty, Colours::None), "░".repeat(30));
        let strange = BucketStatus {
            limit: 0,
            remaining: 7,
            ..bucket()
        };
        assert_eq!(gauge(&strange, Colours::None).chars().count(), 30);
    }

    #[test]
    fn a_status_reads_as_sentences() {
        let hub = UpstreamStatus {
            registry: "docker.io".to_owned(),
            state: "used".to_owned(),
            buckets: vec![bucket()],
            waiting: BTreeMap::from([("basic".to_owned(), 3), ("premium".to_owned(), 0)]),
            accounts: vec![
                account("robot", "ok", None),
                account("old", "parked", Some(241_000)),
            ],
            spent: 31,
            avoided: BTreeMap::from([("held".to_owned(), 1200)]),
            ..UpstreamStatus::default()
        };
        let idle = UpstreamStatus {
            registry: "ghcr.io".to_owned(),
            state: "unused".to_owned(),
            ..UpstreamStatus::default()
        };
        let status = Status {
            now: 1000,
            upstreams: vec![hub, idle],
            ..Status::default()
        };
        let picture = [
            "docker.io",
            "  ▒▒▒▒▒▒▒▒▒▒▒▒███░░░░░░░░░░░░░░░  50 of 100 per 60 min left, anonymous as 192.0.2.7",
            "  in window    30 by us, 20 by neighbours; next slot in 60 s",
            "  reserved ▒   out of reach for basic 40, standard 20",
            "  credentials  robot ok; old parked, tried again in 4 min",
            "  waiting      basic 3",
            "  spent        31 since the start",
            "  avoided      1200: held 1200",
            "",
            "not used yet: ghcr.io",
            "",
        ];
        assert_eq!(draw(&status, Colours::None), picture.join("\n"));
        let coloured = draw(&status, Colours::Ansi);
        assert!(
            coloured.contains("\x1b[31mparked, tried again in 4 min\x1b[0m"),
            "{coloured}"
        );
    }

    #[test]
    fn an_issuer_tells_its_keys_how_old_they_are_and_what_is_in_the_way() {
        let issuer = |read, usable, error: Option<&str>| IssuerStatus {
            name: "ci".to_owned(),
            keys: 2,
            read,
            usable,
            error: error.map(str::to_owned),
            ..IssuerStatus::default()
        };
        for (issuer, drawn) in [
            (issuer(None, true, None), "ci  issuer: 2 keys of its file\n\n"),
            (
                issuer(Some(1000), true, Some("it is down")),
                "ci  issuer: 2 keys, read 10 min ago\n  still believed: it is down\n\n",
            ),
            (
                issuer(None, false, Some("it is down")),
                "ci  issuer: 2 keys, never read\n  nobody it vouches for can pull: it is down\n\n",
            ),
        ] {
            let mut out = String::new();
            draw_issuer(&mut out, &issuer, 601_000, Colours::None);
            assert_eq!(out, drawn);
        }
    }

    #[test]
    fn an_account_tells_why_its_source_fails_and_when_what_it_gave_ends() {
        let mut aws = account("aws", "ok", None);
        aws.ends = Some(41_000_000);
        let drawn = |aws: &AccountStatus| draw_account(aws, 1_000, Colours::None);
        assert_eq!(drawn(&aws), "aws ok, ends in 12 h");
        (aws.state, aws.why) = ("failing".to_owned(), Some("ECR: late".to_owned()));
        assert_eq!(drawn(&aws), "aws failing: ECR: late; what is held ends in 12 h");
        aws.ends = Some(1_000);
        assert_eq!(drawn(&aws), "aws failing: ECR: late");
    }

    #[test]
    fn a_failing_and_an_offline_upstream_say_so_beside_their_names() {
        let upstream = |registry: &str, state: &str, reason: Option<&str>| UpstreamStatus {
            registry: registry.to_owned(),
            state: state.to_owned(),
            reason: reason.map(str::to_owned),
            ..UpstreamStatus::default()
        };
        let status = Status {
            upstreams: vec![
                upstream("ghcr.io", "failing", Some("unreachable: no route")),
                upstream("quay.io", "offline", None),
            ],
            ..Status::default()
        };
        let drawn = draw(&status, Colours::None);
        assert!(
            drawn.starts_with("ghcr.io  failing: unreachable: no route\n"),
            "{drawn}"
        );
        assert!(drawn.contains("quay.io  offline: "), "{drawn}");
    }
}
