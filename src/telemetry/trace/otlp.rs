//! Spans as OTLP writes them in JSON: `ExportTraceServiceRequest`, for `POST …/v1/traces`; and what is answered.
//!
//! Ids are hexadecimal and 64-bit numbers are texts there, unlike in other JSON of protocol buffers. The official
//! SDK would bring an HTTP client and threads of its own for these hundred lines.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::{Side, Span, Value};

/// What collectors call kinds of spans (`Span.SpanKind`).
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
/// What they call an error (`Status.StatusCode`).
const ERROR: u8 = 2;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_state: Option<&'a str>,
    name: &'a str,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<Json>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<Json>,
    status: Json,
}

/// The request that hands these spans of `service` over.
pub fn request(service: &str, spans: &[Span]) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let spans: Vec<Written<'_>> = spans.iter().map(written).collect();
    let request = json!({ "resourceSpans": [{
        "resource": { "attributes": [
            attribute("service.name", &service.to_owned().into()),
            attribute("service.version", &version.into()),
        ] },
        "scopeSpans": [{ "scope": { "name": "seawall", "version": version }, "spans": spans }],
    }] });
    serde_json::to_vec(&request).expect("names and numbers always serialise")
}

fn written(span: &Span) -> Written<'_> {
    let done = &span.done;
    let link = |trace: u128, span: u64| json!({ "traceId": trace_id(trace), "spanId": span_id(span) });
    Written {
        trace_id: trace_id(span.trace),
        span_id: span_id(span.span),
        parent_span_id: span.parent.map(span_id),
        trace_state: span.state.as_deref(),
        name: &done.name,
        kind: match done.side {
            Side::Internal => INTERNAL,
            Side::Server => SERVER,
            Side::Client => CLIENT,
        },
        start_time_unix_nano: done.began.to_string(),
        end_time_unix_nano: done.ended.to_string(),
        attributes: done
            .attributes
            .iter()
            .map(|(name, value)| attribute(name, value))
            .collect(),
        links: span
            .links
            .iter()
            .map(|other| link(other.trace, other.span))
            .collect(),
        status: match done.failed {
            true => json!({ "code": ERROR }),
            false => json!({}),
        },
    }
}

fn trace_id(id: u128) -> String {
    format!("{id:032x}")
}

fn span_id(id: u64) -> String {
    format!("{id:016x}")
}

fn attribute(name: &str, value: &Value) -> Json {
    let value = match value {
        Value::Text(text) => json!({ "stringValue": text }),
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        Value::Flag(flag) => json!({ "boolValue": flag }),
        Value::Millis(time) => json!({ "doubleValue": time.as_secs_f64() * 1000.0 }),
    };
    json!({ "key": name, "value": value })
}

/// What a collector did not take of a request that it answered with success, and why.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// How many spans.
    pub spans: u64,
    /// Its words.
    pub why: String,
}

impl Rejected {
    /// Reads what was answered (`ExportTraceServiceResponse`); anything else than JSON says that all was taken.
    pub fn read(answer: &[u8]) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Answer {
            partial_success: Option<Partial>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Partial {
            rejected_spans: Json,
            error_message: String,
        }
        let answer: Answer = serde_json::from_slice(answer).unwrap_or_default();
        let Partial {
            rejected_spans,
            error_message,
        } = answer.partial_success.unwrap_or_default();
        let written = rejected_spans.as_str().and_then(|text| text.parse().ok());
        Self {
            spans: written.or_else(|| rejected_spans.as_u64()).unwrap_or(0),
            why: error_message,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Done, Link};
    use super::*;

    #[test]
    fn a_span_is_written_as_the_protocol_has_it() {
        let span = Span {
            trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
            span: 1,
            parent: Some(2),
            state: Some("a=1".into()),
            links: vec![Link { trace: 3, span: 4 }],
            done: Done {
                name: "GET manifest".into(),
                side: Side::Server,
                began: 1_700_000_000_000_000_001,
                ended: 1_700_000_000_000_000_002,
                failed: true,
                attributes: vec![
                    ("http.response.status_code", Value::Number(502)),
                    ("seawall.spent", Value::Flag(false)),
                    ("seawall.ttfb_ms", Value::Millis(Duration::from_micros(1500))),
                ],
            },
        };
        let request: Json = serde_json::from_slice(&request("cache-1", &[span])).unwrap();
        let resource = &request["resourceSpans"][0];
        assert_eq!(
            resource["resource"]["attributes"][0],
            json!({ "key": "service.name", "value": { "stringValue": "cache-1" } })
        );
        let expected = json!({
            "traceId": "0af7651916cd43dd8448eb211c80319c",
            "spanId": "0000000000000001",
            "parentSpanId": "0000000000000002",
            "traceState": "a=1",
            "name": "GET manifest",
            "kind": 2,
            "startTimeUnixNano": "1700000000000000001",
            "endTimeUnixNano": "1700000000000000002",
            "attributes": [
                { "key": "http.response.status_code", "value": { "intValue": "502" } },
                { "key": "seawall.spent", "value": { "boolValue": false } },
                { "key": "seawall.ttfb_ms", "value": { "doubleValue": 1.5 } },
            ],
            "links": [{ "traceId": "00000000000000000000000000000003", "spanId": "0000000000000004" }],
            "status": { "code": 2 },
        });
        assert_eq!(resource["scopeSpans"][0]["spans"], json!([expected]));
    }

    #[test]
    fn what_a_collector_did_not_take_is_read_in_both_spellings() {
        for text in [
            r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too old"}}"#,
            r#"{"partialSuccess":{"rejectedSpans":3,"errorMessage":"too old"}}"#,
        ] {
            let rejected = Rejected {
                spans: 3,
                why: "too old".to_owned(),
            };
            assert_eq!(Rejected::read(text.as_bytes()), rejected);
        }
        for all in ["", "{}", "[]", r#"{"partialSuccess":{}}"#, "<html>"] {
            assert_eq!(Rejected::read(all.as_bytes()), Rejected::default(), "{all}");
        }
    }
}
