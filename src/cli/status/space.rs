//! What is held on the disk, and what is wrong with it.

use std::fmt::Write as _;
use std::time::Duration;

use super::GAUGE;
use crate::cache::{CacheStatus, DiskStatus, LastRun, PurgeStatus, ScheduledStatus};
use crate::cli::colours::{Colours, Tone};
use crate::cli::words::{age, clean, due, size, span};

/// Draws the cache, if anything was told of it.
pub(super) fn draw(out: &mut String, cache: &CacheStatus, now: u64, colours: Colours) {
    if cache.configured == 0 && cache.disk.since.is_none() {
        return;
    }
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(out, "{}", colours.paint(Tone::Name, "cache"));
    if cache.configured > 0 {
        draw_space(out, cache, colours);
        draw_scrub(out, cache, now, colours);
        draw_purges(out, cache, now, colours);
    }
    draw_trouble(out, &cache.disk, now, colours);
    out.push('\n');
}

/// Nothing, as long as nothing is wrong.
fn draw_trouble(out: &mut String, disk: &DiskStatus, now: u64, colours: Colours) {
    let Some(since) = disk.since else { return };
    let head = format!("{} for {}", disk.state, age(now, since));
    let _ = writeln!(out, "  disk         {}", colours.paint(Tone::Bad, &head));
    let _ = writeln!(
        out,
        "  meanwhile    pulls go on and are not kept; what is held is served"
    );
    for (what, text) in [("error", &disk.reason), ("to do", &disk.next_step)] {
        if let Some(text) = text {
            let _ = writeln!(out, "  {what:<12} {text}");
        }
    }
}

/// `█` held, `▒` set aside, `░` free.
fn draw_space(out: &mut String, cache: &CacheStatus, colours: Colours) {
    let capacity = cache.capacity.max(1);
    let cells = |bytes: u64| {
        let cells = u128::from(bytes.min(capacity)) * u128::from(GAUGE);
        usize::try_from(cells.div_ceil(u128::from(capacity))).unwrap_or_default()
    };
    let whole = cells(capacity);
    let held = cells(cache.held);
    let reserved = cells(cache.reserved).min(whole - held);
    let gauge = [
        colours.paint(Tone::Good, &"█".repeat(held)),
        colours.paint(Tone::Warning, &"▒".repeat(reserved)),
        colours.paint(Tone::Faint, &"░".repeat(whole - held - reserved)),
    ];
    let (held, capacity) = (size(cache.held), size(cache.capacity));
    let _ = writeln!(
        out,
        "  {}  {held} of {capacity} held, {} objects",
        gauge.concat(),
        cache.objects
    );
    if cache.reserved > 0 {
        let reserved = size(cache.reserved);
        let _ = writeln!(out, "  set aside ▒  {reserved} for downloads and damaged files");
    }
    let _ = writeln!(out, "  file system  {} free", size(cache.free));
    if cache.capacity < cache.configured {
        let line = format!("short of space: the capacity would be {}", size(cache.configured));
        let _ = writeln!(out, "  {}", colours.paint(Tone::Bad, &line));
    }
    if cache.rebuilding {
        let line = "finding out what is held: nothing new is kept until then";
        let _ = writeln!(out, "  {}", colours.paint(Tone::Warning, line));
    }
}

/// When everything was last hashed again, how far that is now, and what it found.
fn draw_scrub(out: &mut String, cache: &CacheStatus, now: u64, colours: Colours) {
    let scrub = &cache.scrub;
    if let Some(period) = scrub.period {
        let last = scrub.ended.map_or("no pass has ended yet".to_owned(), |ended| {
            format!("last pass ended {} ago", age(now, ended))
        });
        let (done, period) = (
            (scrub.progress * 100.0).floor(),
            span(Duration::from_secs(period)),
        );
        let _ = writeln!(
            out,
            "  scrub        {done} % of this pass, one in {period}; {last}"
        );
    }
    if cache.quarantined > 0 {
        let count = cache.quarantined;
        let line = format!("put aside    {count} damaged, each kept for 30 days at most: see the log");
        let _ = writeln!(out, "  {}", colours.paint(Tone::Warning, &line));
    }
}

/// How far purges are, and when the next ones come.
fn draw_purges(out: &mut String, cache: &CacheStatus, now: u64, colours: Colours) {
    for purge in &cache.purges {
        let line = under_way(purge, now);
        let _ = writeln!(out, "  purge        {}", colours.paint(Tone::Warning, &line));
    }
    for purge in &cache.scheduled {
        let _ = writeln!(out, "  scheduled    {}", scheduled(purge, now));
    }
}

fn under_way(purge: &PurgeStatus, now: u64) -> String {
    let how_far = purge.planned.map_or(String::new(), |planned| {
        let (won, of) = (size(purge.bytes), size(purge.of_bytes));
        format!(", {} of {planned} gone, {won} of {of} won", purge.done)
    });
    let (what, since) = (clean(&purge.what), age(now, purge.since));
    format!(
        "{what}: {} for {since}{how_far}, by the {}",
        purge.state, purge.by
    )
}

fn scheduled(purge: &ScheduledStatus, now: u64) -> String {
    let next = purge.next.map_or("now".to_owned(), |next| due(next, now));
    let last = match &purge.last {
        None => String::new(),
        Some(LastRun {
            ended,
            error: Some(error),
            ..
        }) => format!("; {} ago it failed: {}", age(now, *ended), clean(error)),
        Some(last) => {
            let counts = [
                (last.spared, "spared"),
                (last.failed, "not removed"),
                (last.left, "left"),
            ];
            let counts = counts.iter().filter(|(count, _)| *count > 0);
            let counts: String = counts.map(|(count, word)| format!(", {count} {word}")).collect();
            let (ended, won) = (age(now, last.ended), size(last.bytes));
            format!("; {ended} ago {} gone, {won} won{counts}", last.removed)
        }
    };
    let what = clean(&purge.filters.join(" "));
    format!("purge of {what}: {next}, at {}{last}", purge.schedule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::ScrubStatus;

    fn drawn(cache: &CacheStatus) -> String {
        let mut out = String::new();
        draw(&mut out, cache, 300_000, Colours::None);
        out
    }

    fn ailing() -> DiskStatus {
        DiskStatus {
            state: "read-only".to_owned(),
            reason: Some("Read-only file system (os error 30)".to_owned()),
            since: Some(1000),
            next_step: Some("mount it read-write again".to_owned()),
        }
    }

    #[test]
    fn f064_a_cache_is_drawn_with_what_is_wrong_with_it_and_what_to_do() {
        let cache = CacheStatus {
            capacity: 15 << 30,
            configured: 20 << 30,
            held: 6 << 30,
            objects: 1200,
            reserved: 3 << 29,
            free: 1 << 30,
            rebuilding: true,
            disk: ailing(),
            quarantined: 2,
            scrub: ScrubStatus {
                period: Some(7 * 86_400),
                progress: 0.4299,
                damaged: 2,
                ended: Some(60_000),
            },
            ..CacheStatus::default()
        };
        let picture = [
            "cache",
            "  ████████████▒▒▒░░░░░░░░░░░░░░░  6.0 GiB of 15.0 GiB held, 1200 objects",
            "  set aside ▒  1.5 GiB for downloads and damaged files",
            "  file system  1.0 GiB free",
            "  short of space: the capacity would be 20.0 GiB",
            "  finding out what is held: nothing new is kept until then",
            "  scrub        42 % of this pass, one in 7 d; last pass ended 4 min ago",
            "  put aside    2 damaged, each kept for 30 days at most: see the log",
            "  disk         read-only for 4 min",
            "  meanwhile    pulls go on and are not kept; what is held is served",
            "  error        Read-only file system (os error 30)",
            "  to do        mount it read-write again",
            "",
            "",
        ];
        assert_eq!(drawn(&cache), picture.join("\n"));
    }

    #[test]
    fn purges_are_drawn_with_how_far_they_are_when_they_come_and_what_came_of_them() {
        let purge = |state: &str, planned| PurgeStatus {
            by: "operator".to_owned(),
            what: "ghcr.io/team/.*:dev-.*".to_owned(),
            state: state.to_owned(),
            since: 290_000,
            planned,
            done: 300,
            of_bytes: 8 << 30,
            bytes: 3 << 30,
            ..PurgeStatus::default()
        };
        let scheduled = |next, last| ScheduledStatus {
            filters: vec!["quay.io/.*:pr-.*".to_owned()],
            schedule: "30 3 * * * Europe/Berlin".to_owned(),
            next,
            last,
        };
        let last = LastRun {
            ended: 60_000,
            removed: 12,
            bytes: 1 << 20,
            spared: 2,
            ..LastRun::default()
        };
        let went = last.clone();
        let failed = LastRun {
            error: Some("the cache directory cannot be read".to_owned()),
            ..last
        };
        let cache = CacheStatus {
            purges: vec![purge("removing", Some(1200)), purge("waiting", None)],
            scheduled: vec![
                scheduled(Some(360_000), None),
                scheduled(None, Some(went)),
                scheduled(Some(360_000), Some(failed)),
            ],
            ..CacheStatus::default()
        };
        let mut out = String::new();
        draw_purges(&mut out, &cache, 300_000, Colours::None);
        let picture = [
            "  purge        ghcr.io/team/.*:dev-.*: removing for 10 s, 300 of 1200 gone, 3.0 GiB of 8.0 GiB won, by the operator",
            "  purge        ghcr.io/team/.*:dev-.*: waiting for 10 s, by the operator",
            "  scheduled    purge of quay.io/.*:pr-.*: in 60 s, at 30 3 * * * Europe/Berlin",
            "  scheduled    purge of quay.io/.*:pr-.*: now, at 30 3 * * * Europe/Berlin; 4 min ago 12 gone, 1.0 MiB won, 2 spared",
            "  scheduled    purge of quay.io/.*:pr-.*: in 60 s, at 30 3 * * * Europe/Berlin; 4 min ago it failed: the cache directory cannot be read",
            "",
        ];
        assert_eq!(out, picture.join("\n"));
    }

    #[test]
    fn a_cache_that_tells_nothing_is_not_drawn() {
        assert_eq!(drawn(&CacheStatus::default()), "");
    }
}
