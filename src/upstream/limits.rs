//! What responses say of limits: the figures in their headers, and which of four refusals a 429 is.

use std::time::Duration;

use http::HeaderMap;
use http::header::HeaderName;

use super::LimitKind;
use super::body::text;
use crate::policy::budget::Reading;

/// Longest wait that a message may ask for in words.
const MAX_HINT: Duration = Duration::from_secs(15 * 60);

const LIMIT: [HeaderName; 2] = [
    HeaderName::from_static("ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-limit"),
];
const REMAINING: [HeaderName; 2] = [
    HeaderName::from_static("ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-remaining"),
];
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const SOURCE: HeaderName = HeaderName::from_static("docker-ratelimit-source");

/// How a Seawall says that it is its upstream that refuses.
const PASSED_ON: &str = "detail=upstream-limited";

/// Longest source believed, in bytes: an address or an account.
const MAX_SOURCE: usize = 128;

/// The figures of a response, if it has both.
pub(super) fn reading(headers: &HeaderMap) -> Option<Reading> {
    let find = |names: &[HeaderName; 2]| names.iter().find_map(|name| policy(text(headers, name.clone())?));
    let (limit, window) = find(&LIMIT)?;
    let (remaining, window_again) = find(&REMAINING)?;
    Some(Reading {
        limit,
        remaining,
        window: window.or(window_again).map(Duration::from_secs),
    })
}

/// Whom the upstream counts against, if it says.
pub(super) fn source(headers: &HeaderMap) -> Option<String> {
    let source = text(headers, SOURCE)?.trim();
    (!source.is_empty() && source.len() <= MAX_SOURCE).then(|| source.to_owned())
}

/// The first policy of a list: `100;w=3600`, `100 ; w=3600`, `100, 100;w=60`. Its figure (below zero counts as
/// zero) and its window in seconds, which of a list without one beside the figure is the next that has one
/// for the same figure.
fn policy(value: &str) -> Option<(u64, Option<u64>)> {
    let mut policies = value.split(',').map(|policy| {
        let mut parts = policy.split(';').map(str::trim);
        let figure = parts.next()?.parse::<i64>().ok()?;
        let window = parts.find_map(|part| part.strip_prefix("w=")?.trim().parse::<u64>().ok());
        Some((
            u64::try_from(figure).unwrap_or(0),
            window.filter(|window| *window > 0),
        ))
    });
    let (figure, window) = policies.next()??;
    let same = policies
        .flatten()
        .find(|(other, window)| *other == figure && window.is_some());
    Some((figure, window.or(same.and_then(|(_, window)| window))))
}

/// Which refusal a registry's 429 is: its allowance is used up if the body says so in the registry's own form
/// and figures stand beside it, or in words; or if there is no body, as after a HEAD, and the figures say so.
/// A Seawall that passes on what its own upstream refuses has no complaint either.
pub(super) fn kind(headers: &HeaderMap, body: &str) -> LimitKind {
    let figures = reading(headers);
    let own_form = body.contains("TOOMANYREQUESTS");
    let in_words = body.contains("pull rate limit");
    let in_figures = body.is_empty() && figures.is_some_and(|figures| figures.remaining == 0);
    match own_form && (in_words || figures.is_some()) || in_figures || is_passed_on(headers) {
        true => LimitKind::Pull,
        false => LimitKind::Abuse,
    }
}

/// True for the answer of a Seawall whose own upstream refuses.
pub(super) fn is_passed_on(headers: &HeaderMap) -> bool {
    text(headers, CACHE_STATUS).is_some_and(|status| status.contains(PASSED_ON))
}

/// True for the body of a token service's 429 that speaks of failed logins, which lock an account; any other
/// counts requests.
pub(super) fn is_lock(body: &str) -> bool {
    let body = body.to_ascii_lowercase();
    body.contains("failed login") || body.contains("too many failed")
}

/// The wait that a message asks for: `retry-after: 880.092µs`, in the units of Go.
pub(super) fn hint(body: &str) -> Option<Duration> {
    let (_, rest) = body.split_once("retry-after: ")?;
    let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
    let (figure, unit) = rest.split_at(end);
    let figure: f64 = figure.parse().ok()?;
    let units = [
        ("ns", 1e-9),
        ("µs", 1e-6),
        ("us", 1e-6),
        ("μs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
    ];
    let (_, scale) = units.into_iter().find(|(name, _)| unit.starts_with(name))?;
    let seconds = (figure * scale).clamp(0.0, MAX_HINT.as_secs_f64());
    Some(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            )
        });
        pairs.collect()
    }

    fn figures(limit: &str, remaining: &str) -> Option<(u64, u64, Option<u64>)> {
        let headers = headers(&[("ratelimit-limit", limit), ("ratelimit-remaining", remaining)]);
        let reading = reading(&headers)?;
        Some((
            reading.limit,
            reading.remaining,
            reading.window.map(|window| window.as_secs()),
        ))
    }

    #[test]
    fn figures_are_read_in_every_form_that_was_seen() {
        assert_eq!(figures("100;w=21600", "76;w=21600"), Some((100, 76, Some(21600))));
        assert_eq!(figures("100 ; w=3600", "0"), Some((100, 0, Some(3600))));
        assert_eq!(
            figures("100, 100;w=60, 5000;w=21600", "7"),
            Some((100, 7, Some(60)))
        );
        assert_eq!(figures("200", "-534"), Some((200, 0, None)));
        assert_eq!(figures("200;w=0", "1;w=abc"), Some((200, 1, None)));
        for nonsense in ["", "many", ";w=60", "1e9"] {
            assert_eq!(figures(nonsense, "1"), None, "{nonsense}");
        }
        let other = headers(&[
            ("x-ratelimit-limit", "200;w=3600"),
            ("x-ratelimit-remaining", "150"),
        ]);
        assert_eq!(reading(&other).unwrap().remaining, 150);
        assert_eq!(reading(&headers(&[("ratelimit-limit", "100")])), None);
    }

    #[test]
    fn an_empty_allowance_is_told_from_abuse() {
        let limited = headers(&[("ratelimit-limit", "100;w=60"), ("ratelimit-remaining", "0;w=60")]);
        let json = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"no"}]}"#;
        assert_eq!(kind(&limited, json), LimitKind::Pull);
        assert_eq!(kind(&HeaderMap::new(), json), LimitKind::Abuse);
        let words = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"your pull rate limit."}]}"#;
        assert_eq!(kind(&HeaderMap::new(), words), LimitKind::Pull);
        assert_eq!(kind(&limited, "Too Many Requests (HAP429).\n"), LimitKind::Abuse);
        assert_eq!(kind(&limited, ""), LimitKind::Pull, "as after a HEAD");
        let left = headers(&[("ratelimit-limit", "100;w=60"), ("ratelimit-remaining", "7;w=60")]);
        assert_eq!(kind(&left, ""), LimitKind::Abuse);
        let passed_on = headers(&[("cache-status", "seawall; fwd=miss; detail=upstream-limited")]);
        assert_eq!(kind(&passed_on, ""), LimitKind::Pull);
        let its_own = headers(&[("cache-status", "seawall; detail=over-quota")]);
        assert_eq!(kind(&its_own, ""), LimitKind::Abuse);
    }

    #[test]
    fn a_wait_in_words_is_read_in_the_units_of_go() {
        let wait = |text: &str| hint(&format!("retry-after: {text}, allowed: 44000/minute"));
        assert_eq!(wait("880.092µs"), Some(Duration::from_nanos(880_092)));
        assert_eq!(wait("12ms"), Some(Duration::from_millis(12)));
        assert_eq!(wait("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(wait("99999999s"), Some(MAX_HINT));
        for nonsense in ["soon", "1", "1.2.3s", "1 parsec"] {
            assert_eq!(wait(nonsense), None, "{nonsense}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_readers(text in "\\PC{0,60}") {
            let _ = (policy(&text), hint(&text), kind(&HeaderMap::new(), &text));
        }
    }
}
