//! What is held on the disk, and what is wrong with it.

use std::fmt::Write as _;

use super::{GAUGE, span};
use crate::cache::{CacheStatus, DiskStatus};
use crate::cli::colours::{Colours, Tone};
use crate::clock::Time;

/// Draws the cache, if anything was told of it.
pub(super) fn draw(out: &mut String, cache: &CacheStatus, now: u64, colours: Colours) {
    if cache.configured == 0 && cache.disk.since.is_none() {
        return;
    }
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(out, "{}", colours.paint(Tone::Name, "cache"));
    if cache.configured > 0 {
        draw_space(out, cache, colours);
    }
    draw_trouble(out, &cache.disk, now, colours);
    out.push('\n');
}

/// Nothing, as long as nothing is wrong.
fn draw_trouble(out: &mut String, disk: &DiskStatus, now: u64, colours: Colours) {
    let Some(since) = disk.since else { return };
    let lasted = Time::from_millis(now).since(Time::from_millis(since));
    let head = format!("{} for {}", disk.state, span(lasted.as_secs()));
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
    let (held, capacity) = (bytes(cache.held), bytes(cache.capacity));
    let _ = writeln!(
        out,
        "  {}  {held} of {capacity} held, {} objects",
        gauge.concat(),
        cache.objects
    );
    if cache.reserved > 0 {
        let reserved = bytes(cache.reserved);
        let _ = writeln!(out, "  set aside ▒  {reserved} for downloads and damaged files");
    }
    let _ = writeln!(out, "  file system  {} free", bytes(cache.free));
    if cache.capacity < cache.configured {
        let line = format!(
            "short of space: the capacity would be {}",
            bytes(cache.configured)
        );
        let _ = writeln!(out, "  {}", colours.paint(Tone::Bad, &line));
    }
    if cache.rebuilding {
        let line = "finding out what is held: nothing new is kept until then";
        let _ = writeln!(out, "  {}", colours.paint(Tone::Warning, line));
    }
}

/// Bytes, as people say them.
fn bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut figure = bytes as f64;
    let mut unit = 0;
    while figure >= 1024.0 && unit + 1 < units.len() {
        figure /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{figure:.1} {}", units[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        };
        let picture = [
            "cache",
            "  ████████████▒▒▒░░░░░░░░░░░░░░░  6.0 GiB of 15.0 GiB held, 1200 objects",
            "  set aside ▒  1.5 GiB for downloads and damaged files",
            "  file system  1.0 GiB free",
            "  short of space: the capacity would be 20.0 GiB",
            "  finding out what is held: nothing new is kept until then",
            "  disk         read-only for 5 min",
            "  meanwhile    pulls go on and are not kept; what is held is served",
            "  error        Read-only file system (os error 30)",
            "  to do        mount it read-write again",
            "",
            "",
        ];
        assert_eq!(drawn(&cache), picture.join("\n"));
        assert_eq!([bytes(0), bytes(1023), bytes(1536)], ["0 B", "1023 B", "1.5 KiB"]);
    }

    #[test]
    fn a_cache_that_tells_nothing_is_not_drawn() {
        assert_eq!(drawn(&CacheStatus::default()), "");
    }
}
