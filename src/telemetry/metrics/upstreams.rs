//! What was asked of upstreams, what they answered, and how their credentials stand.
//!
//! The `upstream` label is the name of an entry of the configuration: the operator's, and few.

use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec};

use super::book::{Book, UPSTREAM, figure, label, words};

label! {
    /// What an upstream, its token service or its store answered.
    Answer {
        /// 2xx or 3xx.
        Success = "success",
        /// 401: it wants to know who asks, which is how most exchanges begin.
        Unauthorized = "unauthorized",
        /// 403.
        Denied = "denied",
        /// 404 or 410.
        NotFound = "not_found",
        /// 429.
        Limited = "limited",
        /// Any other 4xx.
        Refused = "refused",
        /// 5xx.
        Failing = "failing",
        /// Nothing: no connection, or no answer in time.
        Unreachable = "unreachable",
    }
}

impl Answer {
    /// What a status says.
    pub const fn of(status: u16) -> Self {
        match status {
            0..400 => Self::Success,
            401 => Self::Unauthorized,
            403 => Self::Denied,
            404 | 410 => Self::NotFound,
            429 => Self::Limited,
            402..500 => Self::Refused,
            400 => Self::Refused,
            _ => Self::Failing,
        }
    }
}

label! {
    /// How a token was come by, or not.
    Token {
        /// A token service gave one.
        Issued = "issued",
        /// It gave none.
        Failed = "failed",
    }
}

label! {
    /// How a credential stands.
    Credential {
        /// It is used.
        Ok = "ok",
        /// The upstream refused it, and it is not tried again for a while.
        Parked = "parked",
        /// Its source fails: it gives none, or no new one.
        Failing = "failing",
    }
}

label! {
    /// For whom an upstream was asked whether it shows a repository.
    Whom {
        /// For everybody at once, without any credential.
        Everybody = "everybody",
        /// For one client, with what it logs in with.
        Client = "client",
    }
}

label! {
    /// What it said.
    Verdict {
        /// It shows it.
        Shown = "shown",
        /// It does not.
        Hidden = "hidden",
        /// What is wanted of it is not there.
        Missing = "missing",
        /// It does not take the client's user and password.
        Login = "login",
        /// Nothing that tells.
        Unknown = "unknown",
    }
}

/// Bounds of the time to an answer's head, in seconds: a registry nearby answers in some ms, and none is waited
/// for longer than a client's 25 s.
const HEAD: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0,
];

/// The metrics of upstreams. Clones share everything.
#[derive(Clone, Debug)]
pub struct Upstreams {
    requests: IntCounterVec,
    times: HistogramVec,
    received: IntCounterVec,
    fetched: IntCounterVec,
    tokens: IntGaugeVec,
    credentials: IntGaugeVec,
    failing: IntGaugeVec,
    verdicts: IntCounterVec,
}

/// Metrics that nobody reads: for what is not told apart, and for tests.
impl Default for Upstreams {
    fn default() -> Self {
        Self::new(&Book::default())
    }
}

impl Upstreams {
    pub(super) fn new(book: &Book) -> Self {
        Self {
            requests: book.counters(
                "seawall_upstream_requests_total",
                "Requests sent to upstreams, their token services and their stores, by what was answered.",
                &[UPSTREAM, words("answer", Answer::WORDS)],
            ),
            times: book.histograms(
                "seawall_upstream_answer_seconds",
                "Time from a request to an upstream to the head of its answer.",
                &[UPSTREAM],
                HEAD,
            ),
            received: book.counters(
                "seawall_received_bytes_total",
                "Body bytes of manifests and blobs received from upstreams, and from their alternates.",
                &[UPSTREAM],
            ),
            fetched: book.counters(
                "seawall_token_requests_total",
                "Times a token was asked for, by what came of it.",
                &[UPSTREAM, words("outcome", Token::WORDS)],
            ),
            tokens: book.gauges("seawall_tokens", "Tokens that are held and valid.", &[UPSTREAM]),
            credentials: book.gauges(
                "seawall_credentials",
                "Accounts that an upstream is asked with (nobody's is one, too), by state.",
                &[UPSTREAM, words("state", Credential::WORDS)],
            ),
            failing: book.gauges(
                "seawall_upstream_failing",
                "1 while an upstream keeps failing and is left alone for a moment.",
                &[UPSTREAM],
            ),
            verdicts: book.counters(
                "seawall_access_verdicts_total",
                "Times an upstream was asked whether it shows a repository, by for whom and by what it said.",
                &[
                    UPSTREAM,
                    words("whom", Whom::WORDS),
                    words("verdict", Verdict::WORDS),
                ],
            ),
        }
    }

    /// The metrics of the upstream of this name.
    pub fn of(&self, upstream: &str) -> Upstream {
        let counter = |family: &IntCounterVec, word: &str| family.with_label_values(&[upstream, word]);
        Upstream {
            requests: Answer::WORDS
                .iter()
                .map(|word| counter(&self.requests, word))
                .collect(),
            time: self.times.with_label_values(&[upstream]),
            tokens: Token::WORDS
                .iter()
                .map(|word| counter(&self.fetched, word))
                .collect(),
        }
    }

    /// What counts the verdicts of the upstream of this name.
    pub fn verdicts(&self, upstream: &str) -> Verdicts {
        let counters = Whom::WORDS.iter().flat_map(|whom| {
            let counter = move |verdict| self.verdicts.with_label_values(&[upstream, whom, verdict]);
            Verdict::WORDS.iter().copied().map(counter)
        });
        Verdicts(counters.collect())
    }

    /// What counts the bytes that come from this upstream.
    pub fn received(&self, upstream: &str) -> IntCounter {
        self.received.with_label_values(&[upstream])
    }

    /// How an upstream stands.
    pub fn stands(&self, upstream: &str, standing: Standing) {
        let Standing {
            failing,
            tokens,
            ok,
            parked,
            sourceless,
        } = standing;
        self.failing
            .with_label_values(&[upstream])
            .set(i64::from(failing));
        self.tokens.with_label_values(&[upstream]).set(figure(tokens));
        for (state, count) in [
            (Credential::Ok, ok),
            (Credential::Parked, parked),
            (Credential::Failing, sourceless),
        ] {
            let gauge = self.credentials.with_label_values(&[upstream, state.word()]);
            gauge.set(figure(count));
        }
    }
}

/// What an upstream said of who may see what.
#[derive(Clone, Debug)]
pub struct Verdicts(Box<[IntCounter]>);

impl Verdicts {
    /// It said this.
    pub fn said(&self, whom: Whom, verdict: Verdict) {
        self.0[whom as usize * Verdict::WORDS.len() + verdict as usize].inc();
    }
}

/// How an upstream, or all of a pattern, stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether one of them keeps failing.
    pub failing: bool,
    /// Tokens that are held.
    pub tokens: u64,
    /// Accounts in use.
    pub ok: u64,
    /// Accounts that are parked.
    pub parked: u64,
    /// Accounts whose credentials cannot be had, or renewed.
    pub sourceless: u64,
}

/// The metrics of one upstream.
#[derive(Clone, Debug)]
pub struct Upstream {
    requests: Box<[IntCounter]>,
    time: Histogram,
    tokens: Box<[IntCounter]>,
}

/// As [`Upstreams::default`].
impl Default for Upstream {
    fn default() -> Self {
        Upstreams::default().of("")
    }
}

impl Upstream {
    /// A request was answered, or not, after this time.
    pub fn answered(&self, answer: Answer, after: Duration) {
        self.requests[answer as usize].inc();
        if answer != Answer::Unreachable {
            self.time.observe(after.as_secs_f64());
        }
    }

    /// A token was asked for.
    pub fn token(&self, token: Token) {
        self.tokens[token as usize].inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_answered_is_counted_and_what_was_not_has_no_time() {
        let book = Book::default();
        let upstream = Upstreams::new(&book).of("docker.io");
        upstream.answered(Answer::of(200), Duration::from_millis(7));
        upstream.answered(Answer::of(429), Duration::from_millis(7));
        upstream.answered(Answer::Unreachable, Duration::from_secs(10));
        upstream.token(Token::Failed);
        for line in [
            r#"seawall_upstream_requests_total{answer="success",upstream="docker.io"} 1"#,
            r#"seawall_upstream_requests_total{answer="limited",upstream="docker.io"} 1"#,
            r#"seawall_upstream_requests_total{answer="unreachable",upstream="docker.io"} 1"#,
            r#"seawall_upstream_answer_seconds_count{upstream="docker.io"} 2"#,
            r#"seawall_token_requests_total{outcome="failed",upstream="docker.io"} 1"#,
        ] {
            book.expect(line);
        }
    }

    #[test]
    fn verdicts_are_counted_by_for_whom() {
        let book = Book::default();
        let verdicts = Upstreams::new(&book).verdicts("ghcr.io");
        verdicts.said(Whom::Client, Verdict::Login);
        verdicts.said(Whom::Everybody, Verdict::Shown);
        for line in [
            r#"seawall_access_verdicts_total{upstream="ghcr.io",verdict="login",whom="client"} 1"#,
            r#"seawall_access_verdicts_total{upstream="ghcr.io",verdict="login",whom="everybody"} 0"#,
            r#"seawall_access_verdicts_total{upstream="ghcr.io",verdict="shown",whom="everybody"} 1"#,
        ] {
            book.expect(line);
        }
    }

    #[test]
    fn every_status_is_one_answer() {
        for (status, word) in [
            (200, "success"),
            (307, "success"),
            (400, "refused"),
            (401, "unauthorized"),
            (403, "denied"),
            (404, "not_found"),
            (410, "not_found"),
            (416, "refused"),
            (429, "limited"),
            (500, "failing"),
            (599, "failing"),
        ] {
            assert_eq!(Answer::of(status).word(), word, "{status}");
        }
    }

    #[test]
    fn how_it_stands_is_told_anew_each_time() {
        let book = Book::default();
        let upstreams = Upstreams::new(&book);
        let standing = Standing {
            failing: true,
            tokens: 3,
            ok: 1,
            parked: 1,
            sourceless: 2,
        };
        upstreams.stands("ghcr.io", standing);
        book.expect(r#"seawall_credentials{state="parked",upstream="ghcr.io"} 1"#);
        book.expect(r#"seawall_credentials{state="failing",upstream="ghcr.io"} 2"#);
        book.expect(r#"seawall_tokens{upstream="ghcr.io"} 3"#);
        upstreams.stands("ghcr.io", Standing::default());
        book.expect(r#"seawall_credentials{state="parked",upstream="ghcr.io"} 0"#);
        book.expect(r#"seawall_upstream_failing{upstream="ghcr.io"} 0"#);
    }
}
