//! Sizes and durations as people write them: a whole number and a unit, `20GiB` or `90s`.
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

/// Longest duration taken, ten years: far beyond any use, and safe to add to any moment.
const LONGEST_MILLIS: u64 = 3650 * 86_400_000;

/// Largest size taken, 2^63 - 1 bytes: what file offsets and TOML integers can say.
const LARGEST_BYTES: u64 = i64::MAX as u64;

/// What is expected of a size, for people.
pub(super) const A_SIZE: &str = "a size with a unit, such as \"20GiB\" or \"512KiB\"";

/// What is expected of a duration, for people.
pub(super) const A_DURATION: &str = "a duration with a unit, such as \"500ms\", \"90s\", \"5m\" or \"7d\"";

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

    proptest! {
        #[test]
        fn what_is_shown_reads_back_as_the_same_amount(bytes in 0..=LARGEST_BYTES, millis in 0..=LONGEST_MILLIS) {
            prop_assert_eq!(size(&show_size(bytes)), Some(bytes));
            let length = Duration::from_millis(millis);
            prop_assert_eq!(duration(&show_duration(length)), Some(length));
        }
    }
}
