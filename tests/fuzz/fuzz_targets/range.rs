//! Ranges: what is selected lies within the body, and never adds up to more than it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seawall::oci::{MAX_RANGES, RangeSet, Selected};

fuzz_target!(|input: (u64, &str)| {
    let (length, header) = input;
    for header in [header.to_owned(), format!("bytes={header}")] {
        let Some(set) = RangeSet::parse(&header) else {
            continue;
        };
        let ranges = match set.select(length) {
            Selected::One(range) => vec![range],
            Selected::Many(ranges) => ranges,
            Selected::Whole | Selected::Unsatisfiable => continue,
        };
        assert!(ranges.len() <= MAX_RANGES);
        let mut sum = 0u128;
        for range in ranges {
            assert!(range.start <= range.end && range.end < length);
            sum += u128::from(range.len());
        }
        assert!(sum <= u128::from(length));
    }
});
