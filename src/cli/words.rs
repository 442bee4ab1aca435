//! Figures and names as people read them, and nothing that a terminal would obey.

pub(super) use crate::cache::words::{age, age_or_never, count, due, size, span, wait};

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
    fn parts_are_all_only_if_nothing_is_missing() {
        let parts = [(0, 9), (1, 1000), (62, 100), (999, 1000), (5, 5), (0, 0)];
        let words = parts.map(|(part, whole)| super::part(part, whole)).join(", ");
        assert_eq!(words, "none, 1 %, 62 %, 99 %, all, all");
    }
}
