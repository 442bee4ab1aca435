//! `seawall status`: every upstream at a glance.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::cache::{BucketStatus, Status, UpstreamStatus};
use crate::clock::Time;

/// Characters of a gauge.
const GAUGE: u64 = 30;

/// Draws the status for a terminal.
pub(super) fn draw(status: &Status) -> String {
    let mut out = String::new();
    let (used, unused): (Vec<_>, Vec<_>) = status
        .upstreams
        .iter()
        .partition(|upstream| upstream.state != "unused");
    for upstream in used {
        draw_upstream(&mut out, upstream, status.now);
    }
    if !unused.is_empty() {
        let names: Vec<&str> = unused.iter().map(|upstream| upstream.registry.as_str()).collect();
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(out, "not used yet: {}", names.join(" "));
    }
    out
}

fn draw_upstream(out: &mut String, upstream: &UpstreamStatus, now: u64) {
    let _ = match (&upstream.reason, upstream.state.as_str()) {
        (Some(reason), state) => writeln!(out, "{}: {state}: {reason}", upstream.registry),
        (None, state @ ("offline" | "failing")) => writeln!(out, "{}: {state}", upstream.registry),
        (None, _) => writeln!(out, "{}", upstream.registry),
    };
    for bucket in &upstream.buckets {
        draw_bucket(out, bucket, now);
    }
    for account in upstream.accounts.iter().filter(|account| account.state != "ok") {
        let until = account.until.map_or(String::new(), |until| {
            format!(", tried again {}", in_time(until, now))
        });
        let _ = writeln!(out, "  account {}: {}{until}", account.name, account.state);
    }
    if upstream.waiting.values().any(|count| *count > 0) {
        let _ = writeln!(out, "  waiting: {}", counts(&upstream.waiting));
    }
    let avoided: u64 = upstream.avoided.values().sum();
    if upstream.spent > 0 || avoided > 0 {
        let _ = write!(out, "  spent {}, avoided {avoided}", upstream.spent);
        let reasons = if avoided > 0 {
            format!(" ({})", counts(&upstream.avoided))
        } else {
            String::new()
        };
        let _ = writeln!(out, "{reasons}");
    }
    out.push('\n');
}

fn draw_bucket(out: &mut String, bucket: &BucketStatus, now: u64) {
    let who = bucket.accounts.join(" + ");
    let source = match &bucket.source {
        Some(source) if *source != who => format!(" as {source}"),
        _ => String::new(),
    };
    let until = bucket.until.map(|until| in_time(until, now)).unwrap_or_default();
    match bucket.state.as_str() {
        "unknown" => {
            let _ = writeln!(out, "  {who}{source}: no budget named so far");
        }
        "unlimited" => {
            let _ = writeln!(out, "  {who}{source}: not limited");
        }
        state => {
            let window = bucket
                .window
                .map_or(String::new(), |window| format!(" per {}", span(window)));
            let _ = writeln!(
                out,
                "  {who}{source}\n  {}  {} of {}{window} left; spent: {} by us, {} by neighbours",
                gauge(bucket),
                bucket.remaining,
                bucket.limit,
                bucket.own,
                bucket.foreign,
            );
            if state != "known" {
                let _ = writeln!(out, "  {state}: asked again {until}");
            }
            if !bucket.reserved.is_empty() {
                let _ = writeln!(
                    out,
                    "  reserved (▒), out of reach for: {}",
                    counts(&bucket.reserved)
                );
            }
            if let Some(slot) = bucket.next_slot.filter(|_| bucket.remaining < bucket.limit) {
                let _ = writeln!(out, "  next slot {}", in_time(slot, now));
            }
        }
    }
}

/// `█` free for every tier, `▒` left but reserved, `░` spent.
fn gauge(bucket: &BucketStatus) -> String {
    let limit = bucket.limit.max(1);
    let cells = |count: u64| (count.min(limit) * GAUGE).div_ceil(limit);
    let left = cells(bucket.remaining);
    let reserved = cells(bucket.reserved.values().copied().max().unwrap_or(0)).min(left);
    let draw = |symbol: &str, count: u64| symbol.repeat(usize::try_from(count).unwrap_or_default());
    draw("▒", reserved) + &draw("█", left - reserved) + &draw("░", GAUGE - left)
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    let each = counts.iter().filter(|(_, count)| **count > 0);
    let each: Vec<String> = each.map(|(name, count)| format!("{name} {count}")).collect();
    each.join(", ")
}

fn in_time(until: u64, now: u64) -> String {
    let wait = Time::from_millis(until).since(Time::from_millis(now));
    match wait {
        Duration::ZERO => "now".to_owned(),
        wait => format!("in {}", span(wait.as_secs().max(1))),
    }
}

/// Seconds, as people say them.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds.div_ceil(60)),
        7200..172_800 => format!("{} h", seconds.div_ceil(3600)),
        _ => format!("{} d", seconds.div_ceil(86_400)),
    }
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

    #[test]
    fn a_gauge_shows_what_is_free_reserved_and_spent() {
        assert_eq!(gauge(&bucket()), "▒▒▒▒▒▒▒▒▒▒▒▒███░░░░░░░░░░░░░░░");
        let empty = BucketStatus {
            remaining: 0,
            ..bucket()
        };
        assert_eq!(gauge(&empty), "░".repeat(30));
        let strange = BucketStatus {
            limit: 0,
            remaining: 7,
            ..bucket()
        };
        assert_eq!(gauge(&strange).chars().count(), 30);
    }

    #[test]
    fn a_status_reads_as_sentences() {
        let hub = UpstreamStatus {
            registry: "docker.io".to_owned(),
            state: "used".to_owned(),
            buckets: vec![bucket()],
            waiting: BTreeMap::from([("basic".to_owned(), 3), ("premium".to_owned(), 0)]),
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
        assert_eq!(
            draw(&status),
            "docker.io\n  anonymous as 192.0.2.7\n  \
             ▒▒▒▒▒▒▒▒▒▒▒▒███░░░░░░░░░░░░░░░  50 of 100 per 60 min left; spent: 30 by us, 20 by neighbours\n  \
             reserved (▒), out of reach for: basic 40, standard 20\n  next slot in 60 s\n  waiting: basic 3\n  \
             spent 31, avoided 1200 (held 1200)\n\nnot used yet: ghcr.io\n"
        );
    }

    #[test]
    fn spans_are_rounded_up_to_what_people_say() {
        assert_eq!(
            [span(0), span(119), span(121), span(7200), span(172_800)].join(", "),
            "0 s, 119 s, 3 min, 2 h, 2 d"
        );
    }
}
