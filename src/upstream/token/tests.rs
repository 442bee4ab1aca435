//! What token services say, and what is asked of them.

use super::*;

// S031
#[test]
fn strange_lifetimes_are_clamped() {
    let end = |json: &str| {
        let issued = issued(&Bytes::copy_from_slice(json.as_bytes()), Time::from_millis(0))?;
        Some((issued.refresh.as_millis() / 1000, issued.end.as_millis() / 1000))
    };
    assert_eq!(end(r#"{"token":"a","expires_in":300}"#), Some((240, 300)));
    assert_eq!(end(r#"{"token":"a","expires_in":100}"#), Some((70, 100)));
    for short in [
        r#","expires_in":0"#,
        r#","expires_in":-1"#,
        r#","expires_in":"x""#,
        r#","expires_in":null"#,
        "",
    ] {
        assert_eq!(
            end(&format!(r#"{{"token":"a"{short}}}"#)),
            Some((30, 60)),
            "{short}"
        );
    }
    assert_eq!(
        end(r#"{"token":"a","expires_in":9223372036854775808}"#)
            .unwrap()
            .1,
        86400
    );
    assert_eq!(end(r#"{"token":"a","expires_in":"300"}"#), Some((240, 300)));
    for junk in [
        "",
        "[]",
        "{}",
        r#"{"token":""}"#,
        r#"{"token":"a b"}"#,
        r#"{"token":"a\nb"}"#,
    ] {
        assert_eq!(end(junk), None, "{junk}");
    }
}

#[test]
fn access_token_wins_over_token() {
    let body = Bytes::from_static(br#"{"token":"a","access_token":"b"}"#);
    assert_eq!(issued(&body, Time::from_millis(0)).unwrap().secret.expose(), "b");
}

#[test]
fn the_query_is_appended_to_the_realms_own() {
    let key = Key {
        realm: Url::parse("https://h.example/t?x=1").unwrap(),
        service: String::new(),
        scope: "repository:a/b:pull *".to_owned(),
        named: false,
    };
    assert_eq!(
        key.url().unwrap().query(),
        Some("x=1&scope=repository%3Aa%2Fb%3Apull&scope=%2A")
    );
}
