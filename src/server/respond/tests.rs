//! What HTTP says about content: whole, in parts, unchanged, or not at all.

use http_body_util::BodyExt;

use super::*;
use crate::cache::{Body, From};
use crate::oci::{Digest, MediaType};

const TEXT: &[u8] = b"0123456789abcdefghij";

fn content() -> Served {
    Served {
        media_type: MediaType::OCI_MANIFEST,
        digest: Digest::sha256(TEXT),
        length: Some(TEXT.len() as u64),
        body: Body::Memory(Bytes::from_static(TEXT)),
        from: From::Memory,
        outcome: Outcome::Hit,
        age: Duration::from_secs(7),
    }
}

fn etag() -> String {
    format!("\"{}\"", Digest::sha256(TEXT))
}

fn ask(served: &Served, head: bool, headers: &[(HeaderName, &str)]) -> Answer {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(name, HeaderValue::from_str(value).unwrap());
    }
    let wishes = Wishes {
        headers: &map,
        head,
        namespace: None,
        runs: None,
    };
    serve(served, wishes)
}

fn get(headers: &[(HeaderName, &str)]) -> Answer {
    ask(&content(), false, headers)
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

async fn body(answer: Answer) -> Bytes {
    let announced: usize = header(&answer, "content-length").parse().unwrap();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(bytes.len(), announced, "Content-Length is not the length");
    bytes
}

#[tokio::test]
async fn content_is_described_by_every_header_clients_rely_on() {
    let answer = get(&[]);
    assert_eq!(answer.status(), 200);
    for (name, value) in [
        ("content-type", MediaType::OCI_MANIFEST.as_str()),
        ("docker-content-digest", &Digest::sha256(TEXT).to_string()),
        ("etag", &etag()),
        ("accept-ranges", "bytes"),
        ("age", "7"),
        ("cache-status", "seawall; hit"),
        ("docker-distribution-api-version", "registry/2.0"),
        ("x-content-type-options", "nosniff"),
        ("content-encoding", ""),
        ("warning", ""),
        ("oci-namespace", ""),
    ] {
        assert_eq!(header(&answer, name), value, "{name}");
    }
    assert_eq!(body(answer).await, TEXT);
}

#[tokio::test]
async fn a_range_is_cut_out_exactly() {
    // S117
    for (range, found) in [
        ("bytes=0-0", "0-0"),
        ("bytes=5-", "5-19"),
        ("bytes=-3", "17-19"),
        ("bytes=-300", "0-19"),
        ("bytes=10-18446744073709551615", "10-19"),
    ] {
        let answer = get(&[(header::RANGE, range)]);
        assert_eq!(answer.status(), 206, "{range}");
        assert_eq!(header(&answer, "content-range"), format!("bytes {found}/20"));
        let (start, end) = found.split_once('-').unwrap();
        let wanted = &TEXT[start.parse().unwrap()..=end.parse().unwrap()];
        assert_eq!(body(answer).await, wanted, "{range}");
    }
}

#[tokio::test]
async fn a_range_that_selects_nothing_is_answered_with_the_length() {
    // S117
    for range in ["bytes=20-", "bytes=-0", "bytes=18446744073709551616-"] {
        let answer = get(&[(header::RANGE, range)]);
        assert_eq!(answer.status(), 416, "{range}");
        assert_eq!(header(&answer, "content-range"), "bytes */20");
        assert_eq!(header(&answer, "content-type"), "application/json");
    }
}

#[tokio::test]
async fn a_range_that_is_malformed_or_costs_more_than_the_whole_is_ignored() {
    // S116, S117
    for range in ["bytes=", "bytes=5-4", "lines=1-2", "bytes=0-,0-,0-", "bytes=a-b"] {
        let answer = get(&[(header::RANGE, range)]);
        assert_eq!(answer.status(), 200, "{range}");
        assert_eq!(body(answer).await, TEXT);
    }
}

#[tokio::test]
async fn several_ranges_come_as_parts_in_the_order_asked() {
    let answer = get(&[(header::RANGE, "bytes=10-12, 0-1")]);
    assert_eq!(answer.status(), 206);
    let kind = header(&answer, "content-type").to_owned();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let media = MediaType::OCI_MANIFEST;
    let wanted = format!(
        "\r\n--{boundary}\r\nContent-Type: {0}\r\nContent-Range: bytes 10-12/20\r\n\r\nabc\
         \r\n--{boundary}\r\nContent-Type: {0}\r\nContent-Range: bytes 0-1/20\r\n\r\n01\
         \r\n--{boundary}--\r\n",
        media.as_str()
    );
    assert_eq!(body(answer).await, wanted.as_bytes());
}

#[test]
fn no_two_answers_share_a_boundary() {
    assert_ne!(boundary(), boundary());
}

#[tokio::test]
async fn a_part_is_only_added_to_the_same_content() {
    // S118
    let weak = format!("W/{}", etag());
    let range = (header::RANGE, "bytes=1-2");
    for (condition, status) in [
        (etag().as_str(), 206),
        (weak.as_str(), 200),
        ("\"another\"", 200),
        ("Tue, 24 Nov 2026 00:00:00 GMT", 200),
    ] {
        let answer = get(&[range.clone(), (header::IF_RANGE, condition)]);
        assert_eq!(answer.status(), status, "{condition}");
    }
}

#[tokio::test]
async fn what_a_client_holds_is_not_sent_again() {
    // S118
    let (strong, weak) = (etag(), format!("W/{}", etag()));
    let list = format!("\"a\", {weak} ,\"b\"");
    for condition in ["*", &strong, &weak, &list] {
        let answer = get(&[(header::IF_NONE_MATCH, condition), (header::RANGE, "bytes=0-1")]);
        assert_eq!(answer.status(), 304, "{condition}");
        assert_eq!(header(&answer, "etag"), etag());
        assert_eq!(
            header(&answer, "docker-content-digest"),
            Digest::sha256(TEXT).to_string()
        );
        assert_eq!(header(&answer, "content-type"), MediaType::OCI_MANIFEST.as_str());
        assert_eq!(header(&answer, "content-length"), "");
        assert!(answer.into_body().collect().await.unwrap().to_bytes().is_empty());
    }
    let endless = "\"x\",".repeat(10_000) + &strong;
    for condition in ["\"another\"", &endless] {
        assert_eq!(get(&[(header::IF_NONE_MATCH, condition)]).status(), 200);
    }
}

#[tokio::test]
async fn a_head_says_what_a_get_would_and_ranges_mean_nothing_to_it() {
    let full = get(&[]);
    let answer = ask(&content(), true, &[(header::RANGE, "bytes=0-1")]);
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers(), full.headers());
    assert!(answer.into_body().collect().await.unwrap().to_bytes().is_empty());
}

#[tokio::test]
async fn a_body_without_a_known_length_is_sent_whole() {
    let served = Served {
        length: None,
        ..content()
    };
    let answer = ask(&served, false, &[(header::RANGE, "bytes=0-1")]);
    assert_eq!(answer.status(), 200);
    assert_eq!(header(&answer, "content-length"), "");
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), TEXT);
}

#[test]
fn what_is_stale_says_so_and_why() {
    let served = Served {
        outcome: Outcome::Stale(Why::Limited),
        ..content()
    };
    let answer = ask(&served, false, &[]);
    assert!(header(&answer, "cache-status").ends_with("fwd=stale; detail=upstream-limited"));
    assert_eq!(
        header(&answer, "warning"),
        "299 - \"served stale: the upstream limits us\""
    );
}

#[test]
fn the_registry_that_was_named_is_named_back() {
    let namespace = "quay.io".parse().unwrap();
    let wishes = Wishes {
        headers: &HeaderMap::new(),
        head: false,
        namespace: Some(&namespace),
        runs: None,
    };
    assert_eq!(header(&serve(&content(), wishes), "oci-namespace"), "quay.io");
}

#[test]
fn a_failure_has_its_status_and_says_when_to_ask_again() {
    for (kind, status, again) in [
        (Kind::NotFound, 404, ""),
        (Kind::Denied, 403, ""),
        (Kind::Limited(None), 429, "5"),
        (Kind::Unavailable, 503, "5"),
        (Kind::Timeout, 504, ""),
        (Kind::BadUpstream, 502, ""),
    ] {
        let failure = Failure {
            kind,
            code: Code::ManifestUnknown,
            public: "because".into(),
            retry_after: None,
            why: Some(Why::Limited),
        };
        let answer = fail(&failure);
        assert_eq!(answer.status(), status);
        assert_eq!(header(&answer, "retry-after"), again, "{kind:?}");
        assert_eq!(header(&answer, "content-type"), "application/json");
        assert_eq!(
            header(&answer, "cache-status"),
            "seawall; fwd=miss; detail=upstream-limited"
        );
    }
}

#[test]
fn who_is_refused_is_told_why_in_the_first_line_too_unless_that_would_break_it() {
    let line = |kind, why: &str| {
        let failure = Failure {
            kind,
            code: Code::Denied,
            public: why.to_owned().into(),
            retry_after: None,
            why: None,
        };
        let answer = fail(&failure);
        let phrase = answer.extensions().get::<ReasonPhrase>();
        phrase.map(|phrase| String::from_utf8(phrase.as_bytes().to_vec()).unwrap())
    };
    assert_eq!(
        line(Kind::Denied, "it is not signed"),
        Some("Forbidden: it is not signed".to_owned())
    );
    assert_eq!(line(Kind::NotFound, "it is not there"), None);
    for bad in ["a\r\nset-cookie: b", "a\u{e9}", &"a".repeat(2000)] {
        assert_eq!(line(Kind::Denied, bad), None, "{bad}");
    }
}
