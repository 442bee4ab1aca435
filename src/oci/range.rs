//! `Range` requests on a body of known length (RFC 9110, section 14).
//!
//! ```text
//! header ── RangeSet::parse ──> RangeSet ── select(length) ──> Selected::{Whole, One, Many, Unsatisfiable}
//! ```
//! A header that is malformed or of another unit is ignored, as the RFC asks. More than
//! [`MAX_RANGES`] ranges, or ranges that overlap or ask for more than the body, are answered with the
//! whole body: one request never costs more than one body.

/// Most ranges served as `multipart/byteranges`. zstd:chunked and stargz clients ask for a handful.
pub const MAX_RANGES: usize = 16;

/// A run of bytes within a body: `start <= end`, both inclusive, as in `Content-Range`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte.
    pub start: u64,
    /// Last byte.
    pub end: u64,
}

impl ByteRange {
    /// Number of bytes; at least one.
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub fn len(&self) -> u64 {
        self.end - self.start + 1
    }
}

/// What one element of the header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spec {
    From(u64),
    Between(u64, u64),
    Last(u64),
}

/// A well-formed `Range` header of unit `bytes`, not yet held against a length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeSet(Vec<Spec>);

/// What a [`RangeSet`] selects of a body of some length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selected {
    /// Serve the whole body with 200.
    Whole,
    /// Serve one run with 206 and `Content-Range`.
    One(ByteRange),
    /// Serve several runs with 206 and `multipart/byteranges`, in the order asked.
    Many(Vec<ByteRange>),
    /// 416: no element overlaps the body.
    Unsatisfiable,
}

impl RangeSet {
    /// Parses the header's value. Returns `None` where the RFC says to ignore it: another unit, a
    /// malformed element, or an impossible one such as `5-4`.
    pub fn parse(header: &str) -> Option<Self> {
        let (unit, list) = header.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let mut specs = Vec::new();
        for element in list.split(',') {
            let element = element.trim_matches([' ', '\t']);
            if element.is_empty() {
                continue;
            }
            // Remembering one more than the bound is enough to know that it was exceeded.
            if specs.len() <= MAX_RANGES {
                specs.push(Spec::parse(element)?);
            }
        }
        (!specs.is_empty()).then_some(Self(specs))
    }

    /// The offset of the only range, if there is one range and it is open-ended (`bytes=N-`).
    pub fn open_start(&self) -> Option<u64> {
        match self.0.as_slice() {
            [Spec::From(start)] => Some(*start),
            _ => None,
        }
    }

    /// Holds the set against a body of `length` bytes.
    pub fn select(&self, length: u64) -> Selected {
        if self.0.len() > MAX_RANGES {
            return Selected::Whole;
        }
        let ranges: Vec<ByteRange> = self.0.iter().filter_map(|spec| spec.resolve(length)).collect();
        match ranges.as_slice() {
            // The end of an empty body is all of it, and no `Content-Range` can say so.
            [] if length == 0 && self.asks_for_an_end() => Selected::Whole,
            [] => Selected::Unsatisfiable,
            [one] => Selected::One(*one),
            many if amplifies(many) => Selected::Whole,
            _ => Selected::Many(ranges),
        }
    }

    fn asks_for_an_end(&self) -> bool {
        self.0
            .iter()
            .any(|spec| matches!(spec, Spec::Last(count) if *count > 0))
    }
}

/// True if two of the ranges share a byte.
fn amplifies(ranges: &[ByteRange]) -> bool {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable_by_key(|range| range.start);
    sorted.windows(2).any(|pair| pair[1].start <= pair[0].end)
}

impl Spec {
    fn parse(element: &str) -> Option<Self> {
        let (first, last) = element.split_once('-')?;
        match (first, last) {
            ("", "") => None,
            ("", suffix) => Some(Self::Last(number(suffix)?)),
            (start, "") => Some(Self::From(number(start)?)),
            (start, end) => {
                let (start, end) = (number(start)?, number(end)?);
                (start <= end).then_some(Self::Between(start, end))
            }
        }
    }

    fn resolve(self, length: u64) -> Option<ByteRange> {
        let last = length.checked_sub(1)?;
        match self {
            Self::From(start) => (start <= last).then_some(ByteRange { start, end: last }),
            Self::Between(start, end) => (start <= last).then_some(ByteRange {
                start,
                end: end.min(last),
            }),
            Self::Last(0) => None,
            Self::Last(count) => Some(ByteRange {
                start: length.saturating_sub(count),
                end: last,
            }),
        }
    }
}

/// Digits only; a number beyond 64 bits lies beyond any body and saturates.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
