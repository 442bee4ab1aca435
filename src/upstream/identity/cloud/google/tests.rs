//! Files of Google's in every form, and answers that are none.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::clock::Clock;
use crate::net::dial::{Dialer, Proxies};
use crate::net::tls;
use crate::upstream::identity::Reach;

fn answer(status: u16, body: &str) -> Answer {
    Answer {
        status,
        body: Bytes::from(body.to_owned()),
        date: None,
    }
}

#[test]
fn tokens_are_read_with_their_lives_and_what_is_none_is_not_quoted() {
    let now = Time::parse("2026-01-02T03:00:00Z").unwrap();
    let plain = issued(
        &answer(
            200,
            r#"{"access_token":"CANARY","expires_in":3599,"token_type":"Bearer"}"#,
        ),
        STS,
    );
    let taken = impersonated(
        &answer(
            200,
            r#"{"accessToken":"CANARY","expireTime":"2026-01-02T03:30:00Z"}"#,
        ),
        now,
    );
    for (given, seconds) in [(plain, 3599), (taken, 1800)] {
        let (credential, life) = given.unwrap();
        let credential = credential.unwrap();
        assert_eq!(
            (credential.username.as_str(), credential.password.expose()),
            (TOKEN_USER, "CANARY")
        );
        assert_eq!(life, Life::of(Duration::from_secs(seconds)));
    }
    for text in [
        r#"{"CANARY":1}"#,
        "CANARY",
        r#"{"accessToken":"CANARY","expireTime":"CANARY"}"#,
    ] {
        let told = [
            issued(&answer(200, text), STS),
            impersonated(&answer(200, text), now),
        ];
        for told in told.map(Result::unwrap_err) {
            assert!(
                told.contains("answered with") && !told.contains("CANARY"),
                "{told}"
            );
        }
    }
}

#[test]
fn no_life_is_believed_beyond_half_a_day_and_the_clock_of_who_issued_it_counts() {
    let life = |given: Result<Given, String>| given.unwrap().1;
    let plain = |seconds: &str| {
        let body = format!(r#"{{"access_token":"t","expires_in":{seconds}}}"#);
        life(issued(&answer(200, &body), STS))
    };
    assert_eq!(plain("1e12"), Life::of(LONGEST));
    assert_eq!(plain("-5"), Life::of(Duration::ZERO));
    let taken = |end: &str| {
        let body = format!(r#"{{"accessToken":"t","expireTime":"{end}"}}"#);
        let there = Time::parse("2026-01-02T04:00:00Z");
        let answer = Answer {
            date: there,
            ..answer(200, &body)
        };
        // An hour behind.
        life(impersonated(
            &answer,
            Time::parse("2026-01-02T03:00:00Z").unwrap(),
        ))
    };
    assert_eq!(taken("2026-01-02T04:30:00Z"), Life::of(Duration::from_secs(1800)));
    assert_eq!(taken("2027-01-02T04:30:00Z"), Life::of(LONGEST));
}

#[test]
fn the_metadata_service_is_where_the_variable_says() {
    let place = |host: Option<&str>| {
        let pair = |host: &str| ("GCE_METADATA_HOST".to_owned(), Secret::new(host.to_owned()));
        metadata(&Variables(host.map(pair).into_iter().collect())).map(|url| url.to_string())
    };
    let path = "/computeMetadata/v1/instance/service-accounts/default/token";
    assert_eq!(place(None), Ok(format!("http://169.254.169.254{path}")));
    assert_eq!(
        place(Some("127.0.0.1:988")),
        Ok(format!("http://127.0.0.1:988{path}"))
    );
    assert!(place(Some("a b")).is_err_and(|why| why.starts_with("GCE_METADATA_HOST: ")));
}

#[test]
fn a_description_may_name_a_file_or_a_url_with_headers_and_a_field() {
    let text = r#"{"type":"external_account","audience":"a","subject_token_type":"t","token_url":"https://sts.googleapis.com/v1/token",
        "credential_source":{"url":"https://ci.example/token","headers":{"Authorization":"bearer CANARY"},
        "format":{"type":"json","subject_token_field_name":"value"}}}"#;
    let described: Described = serde_json::from_str(text).unwrap();
    assert_eq!(
        described.credential_source.url.as_deref(),
        Some("https://ci.example/token")
    );
    assert_eq!(described.credential_source.headers.len(), 1);
    assert_eq!(
        described.credential_source.format.subject_token_field_name,
        "value"
    );
    let bare: Described =
        serde_json::from_str(r#"{"type":"service_account","private_key":"CANARY"}"#).unwrap();
    assert_eq!(bare.kind, "service_account");
}

#[tokio::test]
async fn a_key_is_a_password_that_is_read_again_after_a_quarter_of_an_hour() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.json");
    let key = r#"{"type":"service_account","private_key":"CANARY"}"#;
    std::fs::write(&path, key).unwrap();
    let dialer = Dialer {
        resolve: Arc::new(|_| panic!("nobody is asked")),
        connect: Arc::new(|_| panic!("nobody is asked")),
        proxies: Proxies::Never,
    };
    let reach = Reach::new(&dialer, &tls::client_config(&[]));
    let web = Web {
        reach: &reach,
        clock: Clock::start(),
    };
    let path = Secret::new(path.to_str().unwrap().to_owned());
    let given = ask(&web, &Variables(vec![(FILE.to_owned(), path)])).await;
    let (credential, life) = given.unwrap();
    let credential = credential.unwrap();
    assert_eq!(
        (credential.username.as_str(), credential.password.expose()),
        ("_json_key", key)
    );
    assert_eq!(life, Life::untold(Duration::from_secs(900)));
}
