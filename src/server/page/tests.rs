//! The page, from data.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::traffic::Window;
use super::view::{Certificate, View, document};
use crate::cache::{
    AccountStatus, BucketStatus, CacheStatus, FillStatus, FillsStatus, Status, UpstreamStatus,
};
use crate::clock::Time;
use crate::policy::history::Served;
use crate::policy::incidents::Incident;
use crate::policy::listing::{RepositoryRow, Usage};

const EVIL: &str = "x/<script>alert(1)</script>\"'&";
const NOW: u64 = 1_700_000_000_000;

fn now() -> Time {
    Time::from_millis(NOW)
}

/// A start a minute ago.
fn fresh() -> View {
    let cache = CacheStatus {
        capacity: 20 << 30,
        configured: 20 << 30,
        free: 50 << 30,
        ..CacheStatus::default()
    };
    let idle = UpstreamStatus {
        registry: "docker.io".to_owned(),
        state: "unused".to_owned(),
        ..UpstreamStatus::default()
    };
    View {
        now: now(),
        since: Time::from_millis(NOW - 60_000),
        status: Status {
            version: "0.1.0".to_owned(),
            now: NOW,
            cache,
            upstreams: vec![idle],
            issuers: Vec::new(),
        },
        is_draining: false,
        is_outdated: false,
        certificate: Certificate {
            until: None,
            is_failing: false,
        },
        window: Window::Hour,
        spans: vec![Served::default(); 60],
        served: Served::default(),
        spending: (0, 0),
        fills: FillsStatus::default(),
        usage: None,
        refusals: Vec::new(),
    }
}

/// One that is busy, and whose strangers choose evil names.
fn busy() -> View {
    let served = Served {
        answers: 40,
        hits: 30,
        sent: 4 << 30,
        saved: 3 << 30,
    };
    let bucket = BucketStatus {
        source: Some(EVIL.to_owned()),
        accounts: vec!["anonymous".to_owned()],
        state: "known".to_owned(),
        limit: 100,
        remaining: 50,
        own: 30,
        foreign: 20,
        reserved: BTreeMap::from([("basic".to_owned(), 40)]),
        window: Some(21_600),
        next_slot: Some(NOW + 61_000),
        ..BucketStatus::default()
    };
    let hub = UpstreamStatus {
        registry: "docker.io".to_owned(),
        state: "failing".to_owned(),
        reason: Some(format!("it said {EVIL}")),
        accounts: vec![AccountStatus {
            name: EVIL.to_owned(),
            state: "parked".to_owned(),
            until: Some(NOW + 5_000),
            why: Some(EVIL.to_owned()),
            ends: None,
        }],
        buckets: vec![bucket],
        ..UpstreamStatus::default()
    };
    let mut view = fresh();
    view.status.upstreams.push(hub);
    view.spans[59] = served;
    view.fills = FillsStatus {
        count: 3,
        fills: vec![FillStatus {
            repository: EVIL.to_owned(),
            digest: format!("sha256:{}", "a1".repeat(32)),
            done: 1 << 20,
            total: Some(4 << 20),
            readers: 7,
        }],
    };
    view.usage = Some(Arc::new(Usage {
        now: NOW - 9_000,
        repositories: vec![RepositoryRow {
            repository: EVIL.to_owned(),
            size: 3 << 30,
            used: Some(NOW - 60_000),
            ..RepositoryRow::default()
        }],
        repositories_total: 12,
        ..Usage::default()
    }));
    view.refusals = vec![Incident {
        kind: "not_found",
        name: EVIL.to_owned(),
        words: format!("nothing of {EVIL}"),
        count: 5,
        last: now(),
    }];
    View {
        served,
        spending: (31, 1200),
        ..view
    }
}

/// What is read of a page: its markup taken away.
fn words(html: &str) -> String {
    let mut words = String::new();
    for part in html.split('<').skip(1) {
        words.push_str(part.split_once('>').unwrap().1);
        words.push(' ');
    }
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every element that is opened is closed, in the order in which they were.
fn is_balanced(html: &str) -> bool {
    const VOID: [&str; 4] = ["!doctype", "meta", "link", "img"];
    let mut open = Vec::new();
    for part in html.split('<').skip(1) {
        let tag = part.split(['>', ' ']).next().unwrap();
        match tag.strip_prefix('/') {
            Some(tag) if open.pop() != Some(tag) => return false,
            None if !VOID.contains(&tag) => open.push(tag),
            _ => {}
        }
    }
    open.is_empty()
}

#[test]
fn what_strangers_chose_is_shown_and_never_obeyed() {
    // S036
    let page = document(&busy());
    assert_eq!(page.matches("<script").count(), 1, "our own only");
    assert!(!page.contains("alert(1)</script>"));
    assert!(page.matches("&lt;script&gt;alert(1)").count() >= 7, "{page}");
    assert!(is_balanced(&page) && is_balanced(&document(&fresh())));
}

#[test]
fn what_is_wrong_comes_first_and_says_what_to_do() {
    let read = words(&document(&busy()));
    let place = |text: &str| read.find(text).unwrap_or_else(|| panic!("{text}: {read}"));
    assert!(place("2 things are wrong") < place("Saved since the start"));
    assert!(place("docker.io does not answer") < place("What is held goes on being served"));
    for text in [
        "(2) Seawall",
        "3.0 GiB",
        "75 % of 4.0 GiB sent",
        "50 of 100 requests left per 6 h",
        "30 by us, 20 by neighbours; next slot in 61 s",
        "out of reach for basic 40",
        "1.0 MiB of 4.0 MiB, 25 %",
        "And 2 more.",
        ": parked: ",
        "0 to 5 4.0 GiB 3.0 GiB 40 75 %",
        "60 s ago",
        "Of 12 repositories, counted 9 s ago",
        "30 of 40 requests for manifests and blobs were answered from here (75 %).",
        "Not used yet: docker.io.",
    ] {
        assert!(read.contains(text), "{text}: {read}");
    }
}

#[test]
fn what_is_left_of_a_budget_is_drawn_with_what_of_it_is_reserved() {
    let drawn = |remaining: u64| {
        let mut view = busy();
        view.status.upstreams[1].buckets[0].remaining = remaining;
        document(&view)
    };
    for (remaining, reserved, free) in [
        (50, "40.00", "10.00"),
        (30, "30.00", "0.00"),
        (100, "40.00", "60.00"),
    ] {
        let page = drawn(remaining);
        let part = |class: &str, at: &str, width: &str| {
            let rect = format!(r#"<rect class="{class}" x="{at}" y="0" width="{width}""#);
            assert!(page.contains(&rect), "{rect}: {page}");
        };
        part("reserved", "0.00", reserved);
        part("saved", reserved, free);
        // Nothing is waited for where nothing is missing.
        assert_eq!(page.contains("next slot in 61 s"), remaining < 100, "{remaining}");
    }
}

#[test]
fn no_part_of_anything_is_more_than_the_whole() {
    for (part, whole, words) in [
        (0, 0, "0 %"),
        (5, 4, "100 %"),
        (999, 1000, "99 %"),
        (u64::MAX, u64::MAX, "100 %"),
    ] {
        assert_eq!(super::view::percent(part, whole), words, "{part} of {whole}");
    }
}

#[test]
fn a_fresh_start_says_that_it_is_ready_and_what_comes_next() {
    let read = words(&document(&fresh()));
    for text in [
        "All is well",
        "nobody has pulled through it yet",
        "seawall mirror-config",
        "No upstream was asked for anything yet.",
        "None at the moment.",
        "No client was refused anything",
    ] {
        assert!(read.contains(text), "{text}: {read}");
    }
}

#[test]
fn a_configuration_that_was_refused_and_a_stop_are_told() {
    let view = View {
        is_outdated: true,
        is_draining: true,
        ..fresh()
    };
    let read = words(&document(&view));
    assert!(
        read.contains("2 things to watch") && read.contains("has mistakes"),
        "{read}"
    );
    assert!(read.contains("Seawall is stopping"), "{read}");
}

#[test]
fn the_window_is_the_one_asked_for_or_the_shortest_that_shows_everything() {
    let hour = Duration::from_secs(3600);
    for (asked, up, window) in [
        (None, Duration::ZERO, Window::Hour),
        (None, hour, Window::SixHours),
        (None, hour * 6, Window::Day),
        (None, hour * 999, Window::Day),
        (Some("1"), hour * 999, Window::Hour),
        (Some("24"), Duration::ZERO, Window::Day),
        (Some("7"), Duration::ZERO, Window::Hour),
    ] {
        assert_eq!(Window::chosen(asked, up), window, "{asked:?} {up:?}");
    }
}

#[test]
fn everything_is_named_for_those_who_do_not_see_it() {
    let page = document(&busy());
    for part in page.split("<svg ").skip(1) {
        let tag = part.split_once('>').unwrap().0;
        assert!(
            tag.contains("role=\"img\"") && tag.contains("aria-label"),
            "{tag}"
        );
    }
    for part in page.split("<section ").skip(1) {
        let id = part
            .split("aria-labelledby=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
    }
    assert!(page.matches("<th scope=").count() > 10 && !page.contains("<th>"));
    assert_eq!(page.matches("<h1>").count(), 1);
}

#[test]
fn the_page_brings_everything_along_and_has_no_style_or_script_inside() {
    let page = document(&busy());
    assert!(
        !page.contains("style=") && !page.contains("<style"),
        "the policy would refuse it"
    );
    for part in page.split(['"', '\'']) {
        assert!(!part.starts_with("http") && !part.starts_with("//"), "{part}");
    }
}

#[test]
fn a_certificate_that_cannot_be_renewed_is_told_with_the_time_that_is_left() {
    let told = |until: Option<u64>, is_failing| {
        let mut view = fresh();
        let until = until.map(|left| view.now + Duration::from_secs(left));
        view.certificate = Certificate { until, is_failing };
        document(&view)
    };
    let day = 86_400;
    for (until, is_failing, class, words) in [
        (
            Some(20 * day),
            true,
            "state watch",
            "could not be renewed; it is good for 20 d",
        ),
        (
            Some(day / 2),
            true,
            "state wrong",
            "could not be renewed; it is good for 12 h",
        ),
        (Some(0), false, "state wrong", "has expired"),
        (None, true, "state wrong", "no client can connect"),
        (Some(20 * day), false, "state well", "All is well"),
        (None, false, "state well", "All is well"),
    ] {
        let page = told(until, is_failing);
        assert!(page.contains(class) && page.contains(words), "{words}: {page}");
    }
}
