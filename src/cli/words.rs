//! Figures and names as people read them, and nothing that a terminal would obey.

use std::time::Duration;

use crate::clock::Time;

/// Hex digits of a shortened digest: as many as docker shows.
const SHORT: usize = 12;

/// Text for a terminal: what would move its cursor, change its colours or turn the direction of writing around
/// is replaced.
pub(super) fn clean(text: &str) -> String {
    let turns = |letter: char| matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    text.chars()
        .map(|letter| match letter.is_control() || turns(letter) {
            true => '\u{fffd}',
            false => letter,
        })
        .collect()
}

/// JSON for a terminal: what JSON lets stand in texts and a terminal would obey is escaped.
pub(super) fn clean_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter {
            '\u{7f}'..='\u{9f}' => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
            _ => out.push(letter),
        }
    }
    out
}

/// One line of an answer that comes line by line, for scripts; harmless on a terminal.
pub(super) fn json_line(line: &[u8]) -> String {
    format!("{}\n", clean_json(&String::from_utf8_lossy(line)))
}

/// Bytes, in the unit that leaves few digits.
pub(super) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1000.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    match value < 99.95 && unit != "B" {
        true => format!("{value:.1} {unit}"),
        false => format!("{value:.0} {unit}"),
    }
}

/// A span of time, in the unit that leaves few digits; rounded down.
pub(super) fn span(span: Duration) -> String {
    in_units(span.as_secs(), |seconds, unit| seconds / unit)
}

/// A span that is to be waited for; rounded up, so that it is over by then.
pub(super) fn wait(span: Duration) -> String {
    let seconds = span.as_millis().div_ceil(1000);
    in_units(u64::try_from(seconds).unwrap_or(u64::MAX), u64::div_ceil)
}

fn in_units(seconds: u64, divide: impl Fn(u64, u64) -> u64) -> String {
    let (unit, word) = match seconds {
        0..120 => (1, "s"),
        120..7200 => (60, "min"),
        7200..172_800 => (3600, "h"),
        172_800..63_072_000 => (86_400, "d"),
        _ => (31_536_000, "y"),
    };
    format!("{} {word}", divide(seconds, unit))
}

/// How long ago something was.
pub(super) fn age(now: u64, then: u64) -> String {
    span(Time::from_millis(now).since(Time::from_millis(then)))
}

/// How long ago something was, if it ever was.
pub(super) fn age_or_never(now: u64, then: Option<u64>) -> String {
    then.map_or_else(|| "never".to_owned(), |then| age(now, then))
}

/// A number and what it counts: `1 tag`, `2 tags`.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A digest, shortened unless it is wanted in full. It still names what it names, as far as one cache goes.
pub(super) fn digest(digest: &str, full: bool) -> String {
    match digest.split_once(':') {
        Some((algorithm, hex)) if !full => {
            format!("{algorithm}:{}", hex.chars().take(SHORT).collect::<String>())
        }
        Some(_) | None => digest.to_owned(),
    }
}

/// A text with the digests in it shortened.
pub(super) fn short(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = ["sha256:", "sha512:"]
        .iter()
        .filter_map(|name| rest.find(name))
        .min()
    {
        let start = at + "sha256:".len();
        let is_hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        let hex = rest.as_bytes()[start..]
            .iter()
            .take_while(|byte| is_hex(byte))
            .count();
        let shown = if hex >= 64 { SHORT } else { hex };
        out.push_str(&rest[..start + shown]);
        rest = &rest[start + hex..];
    }
    out + rest
}

/// A media type in a word or two.
pub(super) fn kind(media_type: &str) -> &str {
    match media_type {
        "application/vnd.oci.image.index.v1+json" => "index",
        "application/vnd.oci.image.manifest.v1+json" => "image",
        "application/vnd.docker.distribution.manifest.list.v2+json" => "docker list",
        "application/vnd.docker.distribution.manifest.v2+json" => "docker image",
        "application/vnd.docker.distribution.manifest.v1+prettyjws" => "schema 1",
        "application/vnd.oci.artifact.manifest.v1+json" => "artifact",
        other => other,
    }
}

/// The text, or as much of its beginning as there is room for.
pub(super) fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let kept = text.chars().take(room.saturating_sub(1));
    kept.chain(['…']).take(room).collect()
}

/// A part of a whole: `all`, `62 %`, `none`.
pub(super) fn part(part: u64, whole: u64) -> String {
    match part {
        0 if whole > 0 => "none".to_owned(),
        part if part >= whole => "all".to_owned(),
        part => format!(
            "{} %",
            (part as f64 * 100.0 / whole as f64).clamp(1.0, 99.0).floor()
        ),
    }
}

/// A number of days, in milliseconds.
#[cfg(test)]
pub(super) const fn days(days: u64) -> u64 {
    days * 86_400_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_would_obey_is_left() {
        let hostile = "a\u{1b}[2J\r\nb\u{9b}31mc\u{7}\u{202e}d";
        let cleaned = clean(hostile);
        assert!(!cleaned.contains(char::is_control), "{cleaned:?}");
        assert!(!cleaned.contains('\u{202e}'));
        assert!(cleaned.starts_with("a\u{fffd}[2J"));
        assert_eq!(clean("docker.io/a ●"), "docker.io/a ●");
        assert_eq!(clean_json("{\"a\":\"\u{9b}31m\"}"), r#"{"a":"\u009b31m"}"#);
    }

    #[test]
    fn digests_are_shortened_wherever_they_stand() {
        let (one, two) = (
            format!("sha256:{}", "a1".repeat(32)),
            format!("sha512:{}", "b2".repeat(64)),
        );
        let text = format!("x@{one} and {two}, sha256:abc");
        assert_eq!(
            short(&text),
            "x@sha256:a1a1a1a1a1a1 and sha512:b2b2b2b2b2b2, sha256:abc"
        );
    }

    #[test]
    fn sizes_have_few_digits() {
        let sizes = [0, 999, 1000, 10_240, 102_400, 1 << 20, 1 << 30, 5 << 40];
        let words = "0 B, 999 B, 1.0 KiB, 10.0 KiB, 100 KiB, 1.0 MiB, 1.0 GiB, 5.0 TiB";
        assert_eq!(sizes.map(size).join(", "), words);
    }

    #[test]
    fn what_is_waited_for_is_over_when_it_is_said_to_be() {
        let waits = [0, 1, 119_000, 119_001, 121_000, 7_200_000, days(2), days(730)];
        let words = "0 s, 1 s, 119 s, 2 min, 3 min, 2 h, 2 d, 2 y";
        assert_eq!(
            waits.map(|millis| wait(Duration::from_millis(millis))).join(", "),
            words
        );
    }

    #[test]
    fn ages_are_rounded_down() {
        let now = days(4000);
        let ages = [0, 119_999, 120_000, 7_200_000, days(2), days(800)];
        let words = "0 s, 119 s, 2 min, 2 h, 2 d, 2 y";
        assert_eq!(ages.map(|past| age(now, now - past)).join(", "), words);
        assert_eq!(age_or_never(now, None), "never");
    }

    #[test]
    fn parts_are_all_only_if_nothing_is_missing() {
        let parts = [(0, 9), (1, 1000), (62, 100), (999, 1000), (5, 5), (0, 0)];
        let words = parts.map(|(part, whole)| super::part(part, whole)).join(", ");
        assert_eq!(words, "none, 1 %, 62 %, 99 %, all, all");
    }
}
