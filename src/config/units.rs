//! Sizes and durations as people write them: a whole number and a unit, `20GiB` or `90s`; and rates, which may
//! have a fraction, `7.5MB/s`.
//!
//! A number without a unit is refused: nobody can tell whether `256` means bytes or mebibytes.

use std::time::Duration;

/// Units of sizes, largest first. Binary and decimal, so that a disk's label and a page's size both fit.
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

/// Units of durations in milliseconds, largest first.
const DURATIONS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Units of rates in bytes per second, largest first. Eight bits are a byte; sellers of lines count in the one,
/// those of disks in the other.
const RATES: [(&str, u64); 10] = [
    ("GiB/s", 1 << 30),
    ("GB/s", 1_000_000_000),
    ("Gbit/s", 125_000_000),
    ("MiB/s", 1 << 20),
    ("MB/s", 1_000_000),
    ("Mbit/s", 125_000),
    ("KiB/s", 1 << 10),
    ("KB/s", 1_000),
    ("Kbit/s", 125),
    ("B/s", 1),
];

/// Longest duration taken, ten years: far beyond any use, and safe to add to any moment.
const LONGEST_MILLIS: u64 = 3650 * 86_400_000;

/// Largest size taken, 2^63 - 1 bytes: what file offsets and TOML integers can say.
const LARGEST_BYTES: u64 = i64::MAX as u64;

/// What is expected of a size, for people.
pub(super) const A_SIZE: &str = "a size with a unit, such as \"20GiB\" or \"512KiB\"";

/// What is expected of a duration, for people.
pub(super) const A_DURATION: &str = "a duration with a unit, such as \"500ms\", \"90s\", \"5m\" or \"7d\"";

/// What is expected of a rate, for people.
pub(super) const A_RATE: &str = "a rate with a unit, such as \"60Mbit/s\", \"60MB/s\" or \"7.5MiB/s\"";

/// Reads `256MiB` as bytes. `None` unless it is a whole number directly followed by a unit of [`SIZES`].
pub(super) fn size(text: &str) -> Option<u64> {
    scaled(text, &SIZES).filter(|bytes| *bytes <= LARGEST_BYTES)
}

/// Reads `90s`. `None` unless it is a whole number directly followed by `ms`, `s`, `m`, `h` or `d`, and at
/// most ten years.
pub(super) fn duration(text: &str) -> Option<Duration> {
    scaled(text, &DURATIONS)
        .filter(|millis| *millis <= LONGEST_MILLIS)
        .map(Duration::from_millis)
}

/// Reads `60Mbit/s` as bytes per second. `None` unless it is a number with at most three digits behind its point,
/// directly followed by a unit of [`RATES`].
pub(super) fn rate(text: &str) -> Option<u64> {
    let Some((whole, rest)) = text.split_once('.') else {
        return scaled(text, &RATES).filter(|bytes| *bytes <= LARGEST_BYTES);
    };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (fraction, unit) = rest.split_at(digits);
    if !(1..=3).contains(&digits) {
        return None;
    }
    let thousandths = scaled(&format!("{whole}{fraction:0<3}{unit}"), &RATES)?;
    Some(thousandths / 1000).filter(|_| !whole.is_empty())
}

/// Writes bytes per second so that [`rate`] reads the same, in the largest unit of lines that divides them.
pub(super) fn show_rate(bytes: u64) -> String {
    let lines = |unit: &str| unit.contains("bit") || unit == "B/s";
    show(bytes, RATES.iter().filter(|(unit, _)| lines(unit)))
}

/// Writes bytes so that [`size`] reads the same, in the largest binary unit that divides them.
pub(super) fn show_size(bytes: u64) -> String {
    show(bytes, SIZES.iter().filter(|(unit, _)| unit.len() != 2))
}

/// Writes a duration so that [`duration`] reads the same, in the largest unit that divides it.
pub(super) fn show_duration(duration: Duration) -> String {
    show(
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        DURATIONS.iter(),
    )
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*scale)
}

fn show<'a>(amount: u64, mut units: impl DoubleEndedIterator<Item = &'a (&'a str, u64)> + Clone) -> String {
    let smallest = units.clone().next_back();
    let fitting = units.find(|(_, scale)| amount != 0 && amount.is_multiple_of(*scale));
    match fitting.or(smallest) {
        Some((unit, scale)) => format!("{}{unit}", amount / scale),
        None => amount.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_and_durations_need_a_whole_number_and_a_known_unit() {
        assert_eq!(size("20GiB"), Some(20 << 30));
        assert_eq!(size("50MB"), Some(50_000_000));
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("7d"), Some(Duration::from_secs(7 * 86_400)));
        for wrong in [
            "",
            "20",
            "GiB",
            "1.5GiB",
            "-1GiB",
            "20 GiB",
            "20gib",
            "99999999999TiB",
        ] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
        for wrong in ["", "90", "s", "1h30m", "-5s", "5 m", "5min", "99999999d"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn rates_are_in_bits_or_bytes_and_say_which() {
        for (text, bytes) in [
            ("60Mbit/s", 7_500_000),
            ("60MB/s", 60_000_000),
            ("7.5MiB/s", 7_864_320),
            ("0.125Gbit/s", 15_625_000),
            ("1B/s", 1),
        ] {
            assert_eq!(rate(text), Some(bytes), "{text}");
        }
        for wrong in [
            "60",
            "60M",
            "60MB",
            "60Mbps",
            ".5MB/s",
            "5.MB/s",
            "1.2345MB/s",
            "1.2.3MB/s",
            "-1MB/s",
            "9999999999GiB/s",
            "",
        ] {
            assert_eq!(rate(wrong), None, "{wrong}");
        }
        assert_eq!(show_rate(7_500_000), "60Mbit/s");
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back_as_the_same_amount(bytes in 0..=LARGEST_BYTES, millis in 0..=LONGEST_MILLIS) {
            prop_assert_eq!(size(&show_size(bytes)), Some(bytes));
            prop_assert_eq!(rate(&show_rate(bytes)), Some(bytes));
            let length = Duration::from_millis(millis);
            prop_assert_eq!(duration(&show_duration(length)), Some(length));
        }
    }
}
