//! Ranges: the table of RFC 9110, and a slow reference that marks bytes one by one.

use proptest::prelude::*;

use super::*;

fn select(header: &str, length: u64) -> Option<Selected> {
    RangeSet::parse(header).map(|set| set.select(length))
}

fn one(start: u64, end: u64) -> Option<Selected> {
    Some(Selected::One(ByteRange { start, end }))
}

#[test]
fn s117_single_ranges_follow_the_rfc() {
    let none = Some(Selected::Unsatisfiable);
    for (header, length, expected) in [
        ("bytes=0-0", 10, one(0, 0)),
        ("bytes=0-9", 10, one(0, 9)),
        ("bytes=0-", 10, one(0, 9)),
        ("bytes=9-", 10, one(9, 9)),
        ("bytes=4-99", 10, one(4, 9)),
        ("bytes=-1", 10, one(9, 9)),
        ("bytes=-99", 10, one(0, 9)),
        ("bytes=10-", 10, none.clone()),
        ("bytes=10-20", 10, none.clone()),
        ("bytes=-0", 10, none.clone()),
        ("bytes=0-", 0, none.clone()),
        ("bytes=-0", 0, none.clone()),
        ("bytes=-5", 0, Some(Selected::Whole)),
        ("bytes=0-18446744073709551615", 10, one(0, 9)),
        ("bytes=0-18446744073709551615", u64::MAX, one(0, u64::MAX - 1)),
        ("bytes=-18446744073709551615", u64::MAX, one(0, u64::MAX - 1)),
        ("bytes=-18446744073709551616", 10, one(0, 9)),
        ("bytes=18446744073709551615-", u64::MAX, none.clone()),
        ("bytes=18446744073709551616-", 10, none),
        ("bytes=0-99999999999999999999999999", 10, one(0, 9)),
        ("BYTES=0-1", 10, one(0, 1)),
        ("bytes= 0-1 , ", 10, one(0, 1)),
        ("bytes=,,0-1", 10, one(0, 1)),
        ("bytes=0-1,20-30", 10, one(0, 1)),
    ] {
        assert_eq!(select(header, length), expected, "{header} of {length}");
    }
}

#[test]
fn s117_what_is_malformed_is_ignored() {
    for header in [
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=a",
        "bytes=5",
        "bytes=5-4",
        "bytes=0-1-2",
        "bytes=--1",
        "bytes=+0-1",
        "bytes=0x0-1",
        "bytes=0 - 1",
        "bytes=0-1;2-3",
        "bytes=0-1,x",
        "lines=0-1",
        "=0-1",
        "bytes:0-1",
        "bytes=18446744073709551616-5",
        "bytes=\u{661}-",
    ] {
        assert_eq!(RangeSet::parse(header), None, "{header}");
    }
}

#[test]
fn s116_many_ranges_never_cost_more_than_one_body() {
    let thousand: Vec<String> = (0..1000).map(|at| format!("{}-{}", at * 2, at * 2)).collect();
    let most: Vec<String> = thousand[..MAX_RANGES].to_vec();
    let over: Vec<String> = thousand[..=MAX_RANGES].to_vec();
    let bytes = |list: &[String]| format!("bytes={}", list.join(","));
    assert_eq!(select(&bytes(&thousand), 10_000), Some(Selected::Whole));
    assert_eq!(select(&bytes(&over), 10_000), Some(Selected::Whole));
    assert!(matches!(select(&bytes(&most), 10_000), Some(Selected::Many(list)) if list.len() == MAX_RANGES));
    assert_eq!(select("bytes=0-,0-,0-", 10), Some(Selected::Whole));
    assert_eq!(select("bytes=0-5,5-9", 10), Some(Selected::Whole));
    assert_eq!(select("bytes=-3,-2", 10), Some(Selected::Whole));
    assert_eq!(
        select(&format!("bytes={}", "0-,".repeat(2_700)), 10),
        Some(Selected::Whole)
    );
    let descending = vec![ByteRange { start: 8, end: 9 }, ByteRange { start: 0, end: 1 }];
    assert_eq!(select("bytes=8-9,0-1", 10), Some(Selected::Many(descending)));
}

#[test]
fn only_a_single_open_range_has_an_open_start() {
    let open = |header| RangeSet::parse(header).and_then(|set| set.open_start());
    assert_eq!(open("bytes=7-"), Some(7));
    for header in ["bytes=7-8", "bytes=-7", "bytes=7-,9-"] {
        assert_eq!(open(header), None, "{header}");
    }
}

/// Marks byte by byte what an element asks for.
fn marked(first: Option<u64>, last: Option<u64>, length: u64) -> Vec<u64> {
    let wanted = |at: &u64| match (first, last) {
        (Some(first), Some(last)) => first <= *at && *at <= last,
        (Some(first), None) => first <= *at,
        (None, Some(count)) => *at + count >= length,
        (None, None) => false,
    };
    (0..length).filter(wanted).collect()
}

/// One element: both numbers in order, or one of them.
fn element() -> impl Strategy<Value = (Option<u64>, Option<u64>)> {
    prop_oneof![
        (0u64..40, 0u64..40).prop_map(|(a, b)| (Some(a.min(b)), Some(a.max(b)))),
        (0u64..40).prop_map(|first| (Some(first), None)),
        (0u64..40).prop_map(|count| (None, Some(count))),
    ]
}

proptest! {
    #[test]
    fn ranges_select_what_marking_bytes_selects(
        elements in prop::collection::vec(element(), 1..20),
        length in 1u64..40,
    ) {
        let print = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        let list: Vec<String> = elements.iter().map(|(a, b)| format!("{}-{}", print(*a), print(*b))).collect();
        let runs: Vec<Vec<u64>> = elements
            .iter()
            .map(|(first, last)| marked(*first, *last, length))
            .filter(|run| !run.is_empty())
            .collect();
        let asked: usize = runs.iter().map(Vec::len).sum();
        let mut distinct: Vec<u64> = runs.concat();
        distinct.sort_unstable();
        distinct.dedup();
        let spans = |list: &[ByteRange]| -> Vec<Vec<u64>> {
            list.iter().map(|range| (range.start..=range.end).collect()).collect()
        };
        match select(&format!("bytes={}", list.join(", ")), length) {
            Some(Selected::Whole) => prop_assert!(elements.len() > MAX_RANGES || asked > distinct.len()),
            Some(Selected::One(range)) => prop_assert_eq!(spans(&[range]), runs),
            Some(Selected::Many(ranges)) => {
                prop_assert_eq!(asked, distinct.len());
                prop_assert_eq!(spans(&ranges), runs);
            }
            Some(Selected::Unsatisfiable) => prop_assert!(runs.is_empty()),
            None => prop_assert!(false, "{list:?} was not understood"),
        }
    }

    #[test]
    fn whatever_is_selected_lies_within_the_body(header in "bytes=[0-9,-]{0,60}", length: u64) {
        let ranges = match select(&header, length) {
            Some(Selected::One(range)) => vec![range],
            Some(Selected::Many(ranges)) => ranges,
            Some(Selected::Whole | Selected::Unsatisfiable) | None => Vec::new(),
        };
        let mut sum = 0u128;
        for range in ranges {
            prop_assert!(range.start <= range.end && range.end < length);
            sum += u128::from(range.len());
        }
        prop_assert!(sum <= u128::from(length));
    }

    #[test]
    fn no_text_makes_the_parser_panic(header: String, length: u64) {
        let _ = select(&header, length);
    }
}
