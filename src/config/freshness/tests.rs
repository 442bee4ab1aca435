//! What `freshness` and `freshness_for` promise.

use std::time::Duration;

use super::super::effective;
use super::super::tests::{refused, settings};

const ENTRY: &str = r#"
[[upstream]]
registry = "ghcr.io"
freshness = { ttl = "1m", immutable = ['^v\d+$'], negative_ttl = "3s" }
freshness_for = [
  { repository = '^team/', tag = '^latest$', ttl = "10s" },
  { repository = '^team/', offline = true },
]
"#;

#[test]
fn an_exception_has_what_it_does_not_say_from_the_usual_rules() {
    let settings = settings(ENTRY);
    let policy = &settings.cache.freshness[0];
    let [latest, team] = policy.exceptions.as_slice() else {
        panic!("{policy:?}");
    };
    assert_eq!(latest.rules.ttl, Duration::from_secs(10));
    assert_eq!(latest.rules.immutable, policy.usual.immutable);
    assert_eq!(team.rules.ttl, Duration::from_secs(60));
    assert!(team.rules.offline && !policy.usual.offline);
    assert_eq!(settings.upstreams[0].negative_ttl, Duration::from_secs(3));
}

#[test]
fn what_is_shown_reads_back_as_the_same() {
    let written = settings(ENTRY);
    let again = settings(&effective(&written));
    assert_eq!(again.cache.freshness[0], written.cache.freshness[0]);
    assert_eq!(again.upstreams[0].negative_ttl, written.upstreams[0].negative_ttl);
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    let entry = |keys: &str| refused(&format!("[[upstream]]\nregistry = \"ghcr.io\"\n{keys}\n"));
    for (keys, words) in [
        (
            "freshness = { immutable = ['v('] }",
            "freshness.immutable = \"v(\": expected a regular expression",
        ),
        (
            "freshness = { immutable = 'v' }",
            "freshness.immutable is a text: expected a list",
        ),
        (
            "freshness_for = [{ ttl = \"1m\" }]",
            "`repository` and `tag` are missing",
        ),
        (
            "freshness_for = [{ tag = 'a', negative_ttl = \"1m\" }]",
            "negative_ttl: unknown key",
        ),
        (
            "freshness_for = [{ tag = 'a', offline = true }]",
            "offline is for repositories, not for tags",
        ),
        (
            "freshness = { stale_while_revalidate = 5 }",
            "expected a duration with a unit",
        ),
    ] {
        let report = entry(keys);
        assert!(report.contains(words), "{words} is not in {report}");
    }
}
