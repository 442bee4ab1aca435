//! `[cache] scrub`: within which time everything held is hashed again.

use std::time::Duration;

use super::file::Node;
use super::section::{Wrong, duration, text};
use super::units::{A_DURATION, show_duration};

/// For never.
const OFF: &str = "off";
/// Shortest period: a pass over a million objects has to open one every 4 ms.
const SHORTEST: Duration = Duration::from_secs(3600);

pub(super) fn period(node: &Node) -> Result<Option<Duration>, Wrong> {
    if text(node).is_ok_and(|text| text == OFF) {
        return Ok(None);
    }
    let wrong = || {
        Wrong::expected(format!("{A_DURATION}, of 1h at least"))
            .or(OFF)
            .hint("`seawall verify --all` hashes everything now")
    };
    let period = duration(node).ok().filter(|period| *period >= SHORTEST);
    period.map(Some).ok_or_else(wrong)
}

pub(super) fn show(period: Option<Duration>) -> String {
    period.map_or_else(|| OFF.to_owned(), show_duration)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::effective;
    use super::super::tests::{refused, settings};

    #[test]
    fn the_period_of_the_scrub_is_read_and_shown() {
        for (text, period) in [
            ("", Some(7 * 86_400)),
            ("[cache]\nscrub = \"1h\"\n", Some(3600)),
            ("[cache]\nscrub = \"30d\"\n", Some(30 * 86_400)),
            ("[cache]\nscrub = \"off\"\n", None),
        ] {
            let read = settings(text);
            assert_eq!(read.cache.scrub, period.map(Duration::from_secs), "{text}");
            assert_eq!(
                settings(&effective(&read)).cache.scrub,
                read.cache.scrub,
                "{text}"
            );
        }
    }

    #[test]
    fn a_period_that_cannot_be_meant_is_refused() {
        for wrong in ["\"59m\"", "\"never\"", "7", "\"7\""] {
            let report = refused(&format!("[cache]\nscrub = {wrong}\n"));
            let expected = format!("cache.scrub = {wrong}: expected a duration with a unit");
            assert!(report.contains(&expected), "{report}");
            assert!(report.contains("of 1h at least, or \"off\""), "{report}");
        }
    }
}
