//! What clients asked for, what they were given, and how long it took.
//!
//! Every request is counted, so its counters are looked up once and found by index from then on.

mod totals;

use std::sync::OnceLock;
use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

use super::book::{Book, label, words};
pub use totals::Totals;

label! {
    /// What was asked for.
    Route {
        /// `/v2/` itself.
        Base = "base",
        /// A manifest.
        Manifest = "manifest",
        /// A blob.
        Blob = "blob",
        /// The tags of a repository.
        Tags = "tags",
        /// What refers to a manifest.
        Referrers = "referrers",
        /// The repositories that are held.
        Catalog = "catalog",
        /// Nothing that there is.
        None = "none",
    }
}

label! {
    /// Where an answer's bytes come from.
    From {
        /// The memory shelf.
        Memory = "memory",
        /// The disk shelf.
        Disk = "disk",
        /// A download that somebody else had asked for.
        Filling = "filling",
        /// The shared shelf, for this request.
        Shared = "shared",
        /// An alternate source, for this request.
        Alternate = "alternate",
        /// The upstream, for this request.
        Upstream = "upstream",
        /// Memory or disk, though the upstream should have been asked first and did not answer.
        Stale = "stale",
        /// Nowhere: there is no content in the answer.
        None = "none",
    }
}

label! {
    /// How the cache came to its answer.
    Outcome {
        /// It was held.
        Hit = "hit",
        /// It was fetched for this request.
        Miss = "miss",
        /// It joined the fetch of another request.
        Collapsed = "collapsed",
        /// The upstream confirmed or replaced what was held.
        Revalidated = "revalidated",
        /// It was held, and the operator wants the tag to stay where it is.
        Locked = "locked",
        /// It was held, and is validated behind the client's back.
        Refreshing = "refreshing",
        /// It could not be validated.
        Stale = "stale",
        /// It was passed through and not stored.
        Bypass = "bypass",
        /// It does not exist, or cannot be had here.
        NotFound = "not_found",
        /// The upstream denies it.
        Denied = "denied",
        /// The upstream's budget does not allow it.
        Limited = "limited",
        /// The client has used up its quota.
        OverQuota = "over_quota",
        /// The upstream cannot be reached, or fails.
        Unavailable = "unavailable",
        /// The upstream did not answer in time.
        Timeout = "timeout",
        /// The upstream's answer must not be passed on.
        BadUpstream = "bad_upstream",
        /// The cache was not asked.
        None = "none",
    }
}

label! {
    /// The class of a status.
    Class {
        /// 2xx.
        Success = "2xx",
        /// 3xx.
        Redirect = "3xx",
        /// 4xx.
        Refused = "4xx",
        /// 5xx.
        Failed = "5xx",
    }
}

impl Class {
    const fn of(status: u16) -> Self {
        match status {
            200..=299 => Self::Success,
            300..=399 => Self::Redirect,
            400..=499 => Self::Refused,
            _ => Self::Failed,
        }
    }
}

label! {
    /// Why bytes did not have to come from the upstream.
    Saved {
        /// They were held.
        Held = "held",
        /// They came once for several requests.
        Collapsed = "collapsed",
        /// The shared shelf had them.
        Shared = "shared",
        /// An alternate source had them.
        Alternate = "alternate",
        /// They were held, and the upstream did not answer.
        Stale = "stale",
    }
}

impl Saved {
    const fn of(from: From) -> Option<Self> {
        match from {
            From::Memory | From::Disk => Some(Self::Held),
            From::Filling => Some(Self::Collapsed),
            From::Shared => Some(Self::Shared),
            From::Alternate => Some(Self::Alternate),
            From::Stale => Some(Self::Stale),
            From::Upstream | From::None => None,
        }
    }
}

/// Bounds of the time to a first byte, in seconds: from a hit in memory to the 25 s after which clients are told off.
const FIRST_BYTE: &[f64] = &[
    0.000_1, 0.000_25, 0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0,
];
/// Bounds of the time to the last byte, in seconds: a large layer over a slow line takes many minutes.
const TOTAL: &[f64] = &[
    0.000_25, 0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0,
];

/// What one request was, for its metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// What was asked for.
    pub route: Route,
    /// The status of the answer.
    pub status: u16,
    /// Where its bytes come from.
    pub from: From,
    /// How the cache came to it.
    pub outcome: Outcome,
}

impl Answered {
    /// What the metrics say about where the bytes come from: that they are stale matters more than their shelf.
    const fn source(self) -> From {
        match self.outcome {
            Outcome::Stale => From::Stale,
            _ => self.from,
        }
    }
}

/// The metrics of requests.
#[derive(Debug)]
pub struct Requests {
    counts: Children<IntCounterVec, IntCounter>,
    first_byte: Children<HistogramVec, Histogram>,
    total: Children<HistogramVec, Histogram>,
    sent: Vec<IntCounter>,
    saved: Vec<IntCounter>,
}

impl Requests {
    pub(super) fn new(book: &Book) -> Self {
        let counts = book.counters(
            "seawall_requests_total",
            "Requests answered.",
            &[
                words("route", Route::WORDS),
                words("class", Class::WORDS),
                words("from", From::WORDS),
                words("outcome", Outcome::WORDS),
            ],
        );
        let first_byte = book.histograms(
            "seawall_request_first_byte_seconds",
            "Time from a request to the head of its answer.",
            &[words("route", Route::WORDS), words("from", From::WORDS)],
            FIRST_BYTE,
        );
        let total = book.histograms(
            "seawall_request_seconds",
            "Time from a request to the end of its answer.",
            &[words("route", Route::WORDS), words("from", From::WORDS)],
            TOTAL,
        );
        let sent = book.counters(
            "seawall_sent_bytes_total",
            "Body bytes sent to clients.",
            &[words("from", From::WORDS)],
        );
        let saved = book.counters(
            "seawall_saved_bytes_total",
            "Body bytes sent to clients that did not have to come from the upstream for them.",
            &[words("reason", Saved::WORDS)],
        );
        let each = |family: &IntCounterVec, words: &[&str]| {
            let words = words.iter();
            words.map(|word| family.with_label_values(&[word])).collect()
        };
        let requests = Self {
            counts: Children::new(
                counts,
                Route::ALL.len() * Class::ALL.len() * From::ALL.len() * Outcome::ALL.len(),
            ),
            first_byte: Children::new(first_byte, Route::ALL.len() * From::ALL.len()),
            total: Children::new(total, Route::ALL.len() * From::ALL.len()),
            sent: each(&sent, From::WORDS),
            saved: each(&saved, Saved::WORDS),
        };
        requests.begin();
        requests
    }

    /// Has the usual series begin at zero: a rate knows nothing of a series before its second value.
    fn begin(&self) {
        for (from, outcome, status) in [
            (From::Memory, Outcome::Hit, 200),
            (From::Disk, Outcome::Hit, 200),
            (From::Filling, Outcome::Collapsed, 200),
            (From::Upstream, Outcome::Miss, 200),
            (From::Disk, Outcome::Stale, 200),
            (From::None, Outcome::Limited, 429),
            (From::None, Outcome::Unavailable, 503),
        ] {
            for route in [Route::Manifest, Route::Blob] {
                self.count(Answered {
                    route,
                    status,
                    from,
                    outcome,
                });
            }
        }
    }

    fn count(&self, answered: Answered) -> &IntCounter {
        let (class, from) = (Class::of(answered.status), answered.source());
        let (route, outcome) = (answered.route, answered.outcome);
        self.counts.get(index(route, class, from, outcome), |family| {
            family.with_label_values(&[route.word(), class.word(), from.word(), outcome.word()])
        })
    }

    /// The head of an answer is ready, so long after its request came.
    pub fn answered(&self, answered: Answered, after: Duration) {
        self.count(answered).inc();
        observe(&self.first_byte, answered, after);
    }

    /// An answer has ended, so long after its request came, and with so many bytes of body.
    pub fn ended(&self, answered: Answered, after: Duration, bytes: u64) {
        observe(&self.total, answered, after);
        let from = answered.source();
        self.sent[from as usize].inc_by(bytes);
        if let Some(saved) = Saved::of(from) {
            self.saved[saved as usize].inc_by(bytes);
        }
    }
}

const fn index(route: Route, class: Class, from: From, outcome: Outcome) -> usize {
    let index = route as usize * Class::ALL.len() + class as usize;
    (index * From::ALL.len() + from as usize) * Outcome::ALL.len() + outcome as usize
}

fn observe(times: &Children<HistogramVec, Histogram>, answered: Answered, after: Duration) {
    let (route, from) = (answered.route, answered.source());
    let index = route as usize * From::ALL.len() + from as usize;
    let time = times.get(index, |family| {
        family.with_label_values(&[route.word(), from.word()])
    });
    time.observe(after.as_secs_f64());
}

/// The series of one metric, by the index of their labels; made when they are first needed.
#[derive(Debug)]
struct Children<F, C> {
    family: F,
    made: Box<[OnceLock<C>]>,
}

impl<F, C> Children<F, C> {
    fn new(family: F, count: usize) -> Self {
        Self {
            family,
            made: (0..count).map(|_| OnceLock::new()).collect(),
        }
    }

    fn get(&self, index: usize, make: impl FnOnce(&F) -> C) -> &C {
        self.made[index].get_or_init(|| make(&self.family))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIT: Answered = Answered {
        route: Route::Blob,
        status: 206,
        from: From::Disk,
        outcome: Outcome::Hit,
    };

    #[test]
    fn a_request_is_counted_by_what_it_was_and_its_bytes_by_where_they_came_from() {
        let book = Book::default();
        let requests = Requests::new(&book);
        for _ in 0..2 {
            requests.answered(HIT, Duration::from_millis(2));
        }
        requests.ended(HIT, Duration::from_secs(2), 7);
        for line in [
            r#"seawall_requests_total{class="2xx",from="disk",outcome="hit",route="blob"} 2"#,
            r#"seawall_requests_total{class="2xx",from="upstream",outcome="miss",route="manifest"} 0"#,
            r#"seawall_request_first_byte_seconds_bucket{from="disk",route="blob",le="0.001"} 0"#,
            r#"seawall_request_first_byte_seconds_bucket{from="disk",route="blob",le="0.005"} 2"#,
            r#"seawall_request_seconds_sum{from="disk",route="blob"} 2"#,
            r#"seawall_sent_bytes_total{from="disk"} 7"#,
            r#"seawall_saved_bytes_total{reason="held"} 7"#,
        ] {
            book.expect(line);
        }
    }

    #[test]
    fn what_is_served_stale_says_so_wherever_it_stood() {
        let book = Book::default();
        let requests = Requests::new(&book);
        let stale = Answered {
            outcome: Outcome::Stale,
            ..HIT
        };
        requests.answered(stale, Duration::ZERO);
        requests.ended(stale, Duration::ZERO, 5);
        book.expect(r#"seawall_requests_total{class="2xx",from="stale",outcome="stale",route="blob"} 1"#);
        book.expect(r#"seawall_saved_bytes_total{reason="stale"} 5"#);
        book.expect(r#"seawall_sent_bytes_total{from="disk"} 0"#);
    }

    #[test]
    fn what_an_upstream_sent_for_a_request_saved_nothing() {
        let book = Book::default();
        let miss = Answered {
            from: From::Upstream,
            outcome: Outcome::Miss,
            ..HIT
        };
        Requests::new(&book).ended(miss, Duration::ZERO, 5);
        book.expect(r#"seawall_sent_bytes_total{from="upstream"} 5"#);
        for reason in Saved::WORDS {
            book.expect(&format!(r#"seawall_saved_bytes_total{{reason="{reason}"}} 0"#));
        }
    }

    #[test]
    fn no_two_requests_that_differ_share_a_counter() {
        let book = Book::default();
        let requests = Requests::new(&book);
        let mut seen = std::collections::HashSet::new();
        for route in Route::ALL {
            for status in [200, 302, 404, 503] {
                for from in From::ALL {
                    for outcome in Outcome::ALL.iter().filter(|outcome| **outcome != Outcome::Stale) {
                        let count = requests.count(Answered {
                            route: *route,
                            status,
                            from: *from,
                            outcome: *outcome,
                        });
                        assert!(seen.insert(std::ptr::from_ref(count)));
                    }
                }
            }
        }
    }
}
