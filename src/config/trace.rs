//! `[trace]`: whether and where spans of requests are collected.

use http::{HeaderName, HeaderValue, Uri};

use super::environment::Environment;
use super::file::{Node, Value};
use super::problem::Problems;
use super::section::{Section, Wrong, boolean, text};
use super::show::quoted;
use super::{defaults, secret, space, tiers, values};
use crate::upstream::Secret;

/// Where a collector takes spans, if the endpoint does not say.
const PATH: &str = "/v1/traces";
/// Most characters of the name that collectors know this server by.
const LONGEST_NAME: usize = 128;
/// Most headers that are sent with spans.
const MOST_HEADERS: usize = 16;

/// Whether and where spans are collected.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceOptions {
    /// Where they are posted (OTLP over HTTP, in JSON); `None`: they are not collected.
    pub endpoint: Option<Uri>,
    /// What is sent along, such as what proves us.
    pub headers: Vec<(HeaderName, Secret)>,
    /// The part (0 to 1) of the requests without a context of their own that begin a trace.
    pub ratio: f64,
    /// What collectors call this server.
    pub service: String,
    /// Whether registries are told which trace a request belongs to.
    pub pass_on: bool,
}

/// Reads `[trace]`.
pub(super) fn read(top: &Section<'_>, environment: &Environment, problems: &mut Problems) -> TraceOptions {
    let keys = ["endpoint", "headers", "ratio", "service", "pass_on"];
    let trace = top.section("trace", &keys, problems);
    TraceOptions {
        endpoint: trace.read("endpoint", None, |node| endpoint(node).map(Some), problems),
        headers: headers(&trace, environment, problems),
        ratio: trace.read("ratio", defaults::TRACED, tiers::percent, problems),
        service: trace.read("service", defaults::SERVICE.to_owned(), service, problems),
        pass_on: trace.read("pass_on", true, boolean, problems),
    }
}

fn endpoint(node: &Node) -> Result<Uri, Wrong> {
    if text(node)?.contains('@') {
        let wrong = Wrong::expected("a URL without user and password").secret();
        return Err(wrong.hint("send them in trace.headers: { authorization = { file = \"PATH\" } }"));
    }
    let wrong = || Wrong::expected("the URL of a collector, such as \"http://127.0.0.1:4318/v1/traces\"");
    let url = values::url(node).map_err(|_| wrong())?;
    if url.path() != "/" {
        return Ok(url);
    }
    let mut parts = url.into_parts();
    parts.path_and_query = PATH.parse().ok();
    Uri::from_parts(parts).map_err(|_| wrong())
}

fn service(node: &Node) -> Result<String, Wrong> {
    let name = text(node)?;
    let fits = (1..=LONGEST_NAME).contains(&name.len()) && !name.contains(char::is_control);
    fits.then_some(name)
        .ok_or_else(|| Wrong::expected(format!("a name of at most {LONGEST_NAME} characters")))
}

/// What is sent along: each a text, or a reference to a secret.
fn headers(
    trace: &Section<'_>,
    environment: &Environment,
    problems: &mut Problems,
) -> Vec<(HeaderName, Secret)> {
    let node = trace.node("headers");
    let Some(Value::Table(table)) = node.map(|node| &node.value) else {
        // What is no table is told by whoever opens it.
        if node.is_some() {
            trace.section("headers", &[], problems);
        }
        return Vec::new();
    };
    let names: Vec<&str> = table.0.keys().map(String::as_str).collect();
    let headers = trace.section("headers", &names, problems);
    let mut read = Vec::new();
    for name in names {
        let mut wrong = |what: String| problems.add(&headers.place, what, None);
        let Ok(header) = name.parse::<HeaderName>() else {
            wrong(format!("{}{name}: expected the name of a header", headers.name));
            continue;
        };
        if read.len() == MOST_HEADERS {
            wrong(format!(
                "{}{name}: expected at most {MOST_HEADERS} headers",
                headers.name
            ));
            break;
        }
        let value = match headers.node(name).map(|node| &node.value) {
            Some(Value::Text(text) | Value::Raw(text)) => Some(Secret::new(text.clone())),
            _ => secret::read(&headers, name, environment, problems),
        };
        let Some(value) = value else { continue };
        match HeaderValue::try_from(value.expose()) {
            Ok(_) => read.push((header, value)),
            Err(_) => problems.add(
                &headers.place,
                format!(
                    "{}{name}: what it refers to is no value of a header",
                    headers.name
                ),
                Some("it has to be one line".to_owned()),
            ),
        }
    }
    read
}

/// What an operator should know although it is no mistake.
pub(super) fn warnings(trace: &TraceOptions) -> Option<String> {
    let endpoint = trace.endpoint.as_ref()?;
    (values::is_bare(endpoint) && !trace.headers.is_empty()).then(|| {
        let host = endpoint.host().unwrap_or_default();
        format!("trace.headers are sent to {host} without encryption: whoever is on the way can read them; use https")
    })
}

/// What `read` reads back, but for what the headers say.
pub(super) fn show(trace: &TraceOptions) -> String {
    let mut lines = Vec::new();
    if let Some(endpoint) = &trace.endpoint {
        lines.push(format!("endpoint = {}", quoted(&endpoint.to_string())));
    }
    let headers: Vec<String> = trace
        .headers
        .iter()
        .map(|(name, _)| format!("{} = \"***\"", quoted(name.as_str())))
        .collect();
    match headers.is_empty() {
        true => lines.push("headers = {}".to_owned()),
        false => lines.push(format!("headers = {{ {} }}", headers.join(", "))),
    }
    lines.push(format!("ratio = {}", space::show(trace.ratio)));
    lines.push(format!("service = {}", quoted(&trace.service)));
    lines.push(format!("pass_on = {}", trace.pass_on));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{load_text, refused, settings};
    use super::super::{Changes, effective};

    #[test]
    fn where_spans_go_is_read_and_shown() {
        let usual = settings("").trace;
        assert_eq!((usual.endpoint, usual.ratio, usual.pass_on), (None, 1.0, true));
        let text = "[trace]\nendpoint = \"http://127.0.0.1:4318\"\nratio = \"2.5%\"\nservice = \"edge-1\"\n\
                    pass_on = false\nheaders = { X-Scope-OrgID = \"team\" }\n";
        let read = settings(text).trace;
        let endpoint = read.endpoint.as_ref().unwrap().to_string();
        assert_eq!(endpoint, "http://127.0.0.1:4318/v1/traces");
        assert_eq!(
            (read.ratio, &*read.service, read.pass_on),
            (0.025, "edge-1", false)
        );
        assert_eq!(read.headers[0].0, "x-scope-orgid");
        let shown = effective(&settings(text));
        assert!(!shown.contains("team"), "{shown}");
        let again = settings(&shown).trace;
        assert_eq!((again.endpoint, again.ratio), (read.endpoint, read.ratio));
        let own = settings("[trace]\nendpoint = \"https://a.test/otlp/v1/traces\"\n").trace;
        assert_eq!(own.endpoint.unwrap().path(), "/otlp/v1/traces");
    }

    #[test]
    fn spans_that_cannot_be_sent_anywhere_are_refused() {
        for (text, what) in [
            (
                "endpoint = \"collector:4317\"",
                "trace.endpoint = \"collector:4317\": expected the URL of a collector",
            ),
            (
                "endpoint = \"http://me:canary@collector\"",
                "expected a URL without user and password",
            ),
            ("ratio = \"101%\"", "trace.ratio = \"101%\": expected a part"),
            ("service = \"\"", "trace.service = \"\": expected a name"),
            ("headers = \"a\"", "trace.headers is a text: expected a table"),
            (
                "headers = { \"a b\" = \"c\" }",
                "trace.headers.a b: expected the name of a header",
            ),
            (
                "headers = { a = 5 }",
                "trace.headers.a is a number: expected a reference",
            ),
            (
                "headers = { a = \"b\\nc\" }",
                "trace.headers.a: what it refers to is no value",
            ),
            ("endpont = \"x\"", "did you mean \"endpoint\"?"),
        ] {
            let report = refused(&format!("[trace]\n{text}\n"));
            assert!(report.contains(what), "{what} is not in\n{report}");
            assert!(!report.contains("canary"), "{report}");
        }
    }

    #[test]
    fn another_secret_header_is_told_and_not_shown_and_everything_holds_at_once() {
        let text =
            "[trace]\nendpoint = \"https://a.test\"\nheaders = { authorization = { env = \"KEY\" } }\n";
        let with = |key: &str, text: &str| load_text(text, &[("KEY", key)]).unwrap();
        let (one, other) = (
            with("canary-one", text),
            with("canary-two", &text.replace("a.test", "b.test")),
        );
        assert!(one.warnings.is_empty());
        let changes = Changes::between(&one.settings, &other.settings);
        let told: Vec<String> = changes.live.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "trace.endpoint from \"https://a.test/v1/traces\" to \"https://b.test/v1/traces\"",
                "trace.headers has new content"
            ]
        );
        assert!(changes.restart.is_empty() && !format!("{changes:?}").contains("canary"));
    }

    #[test]
    fn a_secret_that_goes_in_the_clear_is_warned_of() {
        let with = |url: &str| {
            let text = format!("[trace]\nendpoint = \"{url}\"\nheaders = {{ authorization = \"x\" }}\n");
            load_text(&text, &[]).unwrap().warnings
        };
        assert!(with("http://collector.test:4318")[0].contains("without encryption"));
        for fine in ["https://collector.test", "http://127.0.0.1:4318"] {
            assert!(with(fine).is_empty(), "{fine}");
        }
    }
}
