//! What a request says of its trace: `traceparent` and `tracestate`, as W3C Trace Context has them.

use std::sync::Arc;

use http::HeaderMap;

/// The header that says which trace a request belongs to.
pub const TRACEPARENT: &str = "traceparent";
/// The header that says what the client's systems add.
const TRACESTATE: &str = "tracestate";
/// Bit of the flags that says that the trace is collected.
pub(super) const SAMPLED: u8 = 1;
/// Bytes of a `tracestate` that everybody has to take; what is longer may be left out.
const LONGEST_STATE: usize = 512;

/// What a `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Came {
    pub(super) trace: u128,
    pub(super) span: u64,
    pub(super) flags: u8,
}

impl Came {
    /// What the headers say; `None` if they say nothing, or nothing that can be believed.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let parent = parents.next()?;
        // Two of them contradict each other.
        match parents.next() {
            None => Self::parse(parent.as_bytes()),
            Some(_) => None,
        }
    }

    /// Reads `00-<32 hex>-<16 hex>-<2 hex>`, and what later versions put behind it; `None` for anything else.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (head, more) = text.split_at_checked(55)?;
        let mut parts = head.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let fits = [(version, 2), (trace, 32), (span, 16), (flags, 2)];
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_whole = fits
            .iter()
            .all(|(part, length)| part.len() == *length && part.bytes().all(is_hex));
        let may_go_on = more.is_empty() || (version != "00" && more.starts_with('-'));
        if !is_whole || parts.next().is_some() || !may_go_on || version == "ff" {
            return None;
        }
        let came = Self {
            trace: u128::from_str_radix(trace, 16).ok()?,
            span: u64::from_str_radix(span, 16).ok()?,
            flags: u8::from_str_radix(flags, 16).ok()?,
        };
        (came.trace != 0 && came.span != 0).then_some(came)
    }
}

/// The `tracestate` of a request, all of its headers in one; `None` if there is none, or one that is too long.
pub(super) fn state(headers: &HeaderMap) -> Option<Arc<str>> {
    let all: Option<Vec<&str>> = headers
        .get_all(TRACESTATE)
        .iter()
        .map(|state| state.to_str().ok())
        .collect();
    let state = all?.join(",");
    (1..=LONGEST_STATE).contains(&state.len()).then(|| state.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn what_is_no_traceparent_is_ignored() {
        for wrong in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0\u{e9}",
        ] {
            assert_eq!(Came::parse(wrong.as_bytes()), None, "{wrong}");
        }
        let later = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more";
        assert_eq!(Came::parse(later.as_bytes()), Came::parse(PARENT.as_bytes()));
    }

    #[test]
    fn two_parents_are_none() {
        assert!(Came::read(&headers(&[(TRACEPARENT, PARENT)])).is_some());
        let twice = headers(&[(TRACEPARENT, PARENT), (TRACEPARENT, PARENT)]);
        assert_eq!(Came::read(&twice), None);
    }

    #[test]
    fn a_state_is_taken_whole_or_not_at_all() {
        let two = headers(&[(TRACESTATE, "a=1"), (TRACESTATE, "b=2")]);
        assert_eq!(state(&two).as_deref(), Some("a=1,b=2"));
        assert_eq!(state(&HeaderMap::new()), None);
        let long = format!("a={}", "x".repeat(LONGEST_STATE - 2));
        assert_eq!(state(&headers(&[(TRACESTATE, &long)])).as_deref(), Some(&*long));
        assert_eq!(state(&headers(&[(TRACESTATE, &long), (TRACESTATE, "")])), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused_and_what_is_written_is_read(
            bytes: Vec<u8>, trace in 1u128.., span in 1u64.., flags: u8
        ) {
            let _ = Came::parse(&bytes);
            let text = format!("00-{trace:032x}-{span:016x}-{flags:02x}");
            prop_assert_eq!(Came::parse(text.as_bytes()), Some(Came { trace, span, flags }));
        }
    }
}
