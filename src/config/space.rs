//! `[cache]`: how much of the disk may be taken.

use super::defaults;
use super::file::Node;
use super::problem::Problems;
use super::section::{Section, Wrong, size};
use super::tiers::percent;
use super::units::A_SIZE;
use crate::store::Space;

/// Least capacity: nothing longer than half of it is kept, and most layers are shorter than 32 MiB.
const LEAST_CAPACITY: u64 = 64 << 20;

pub(super) fn read(cache: &Section<'_>, problems: &mut Problems) -> Space {
    let usual = defaults::SPACE;
    let space = Space {
        capacity: cache.read("capacity", usual.capacity, capacity, problems),
        high: cache.read("high_watermark", usual.high, part, problems),
        low: cache.read("low_watermark", usual.low, part, problems),
        min_free: cache.read("min_free", usual.min_free, size, problems),
    };
    if space.low >= space.high {
        let keys = ["low_watermark", "high_watermark"];
        let place = keys.iter().find_map(|key| cache.node(key));
        let what = format!(
            "cache.low_watermark is {} and cache.high_watermark is {}: expected the low one below the high one",
            show(space.low),
            show(space.high),
        );
        let hint = "room is made from the high watermark down to the low one: write both".to_owned();
        problems.add(place.map_or(&cache.place, |node| &node.place), what, Some(hint));
        return Space {
            capacity: space.capacity,
            min_free: space.min_free,
            ..usual
        };
    }
    space
}

/// A part as the configuration has it, with its quotes.
pub(super) fn show(part: f64) -> String {
    // Three digits are more than anybody writes, and less than binary fractions show.
    format!("\"{}%\"", (part * 100_000.0).round() / 1000.0)
}

fn capacity(node: &Node) -> Result<u64, Wrong> {
    let wrong = || {
        Wrong::expected(format!("{A_SIZE}, of 64MiB at least"))
            .hint("what is longer than half the capacity is passed on without being kept")
    };
    size(node)
        .ok()
        .filter(|bytes| *bytes >= LEAST_CAPACITY)
        .ok_or_else(wrong)
}

fn part(node: &Node) -> Result<f64, Wrong> {
    let wrong = || Wrong::expected("a part of the capacity from \"1%\" to \"100%\"");
    percent(node).ok().filter(|part| *part >= 0.01).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::super::effective;
    use super::super::tests::{refused, settings};

    #[test]
    fn the_space_is_read_and_shown() {
        let text = "[cache]\ncapacity = \"3TiB\"\nhigh_watermark = \"80%\"\nlow_watermark = \"72.5%\"\n\
                    min_free = \"0B\"\n";
        let space = settings(text).cache.space;
        assert_eq!((space.capacity, space.min_free), (3 << 40, 0));
        assert_eq!((space.high, space.low), (0.8, 0.725));
        assert_eq!(settings(&effective(&settings(text))).cache.space, space);
    }

    #[test]
    fn space_that_cannot_be_meant_is_refused() {
        for (text, what) in [
            (
                "capacity = \"63MiB\"",
                "cache.capacity = \"63MiB\": expected a size with a unit",
            ),
            ("capacity = \"20\"", "of 64MiB at least"),
            (
                "high_watermark = \"101%\"",
                "expected a part of the capacity from \"1%\" to \"100%\"",
            ),
            (
                "low_watermark = \"0%\"",
                "expected a part of the capacity from \"1%\" to \"100%\"",
            ),
            (
                "high_watermark = \"80%\"",
                "cache.low_watermark is \"90%\" and cache.high_watermark is \"80%\"",
            ),
            (
                "low_watermark = \"95%\"",
                "expected the low one below the high one",
            ),
            ("min_free = 5", "cache.min_free = 5: expected a size with a unit"),
        ] {
            let report = refused(&format!("[cache]\n{text}\n"));
            assert!(report.starts_with("error: 1 problem "), "{report}");
            assert!(report.contains(what), "{what} is not in\n{report}");
        }
    }
}
