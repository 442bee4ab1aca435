//! Figures as people read them, in commands and on the operator's page.

use std::time::Duration;

use crate::clock::Time;

/// Bytes, in the unit that leaves few digits.
pub fn size(bytes: u64) -> String {
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
pub fn span(span: Duration) -> String {
    in_units(span.as_secs(), |seconds, unit| seconds / unit)
}

/// A span that is to be waited for; rounded up, so that it is over by then.
pub fn wait(span: Duration) -> String {
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
pub fn age(now: u64, then: u64) -> String {
    span(Time::from_millis(now).since(Time::from_millis(then)))
}

/// How long ago something was, if it ever was.
pub fn age_or_never(now: u64, then: Option<u64>) -> String {
    then.map_or_else(|| "never".to_owned(), |then| age(now, then))
}

/// When something will be: `now`, or `in 5 min`.
pub fn due(until: u64, now: u64) -> String {
    match Time::from_millis(until).since(Time::from_millis(now)) {
        Duration::ZERO => "now".to_owned(),
        left => format!("in {}", wait(left)),
    }
}

/// A number and what it counts: `1 tag`, `2 tags`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number of days, in milliseconds.
    const fn days(days: u64) -> u64 {
        days * 86_400_000
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
}
