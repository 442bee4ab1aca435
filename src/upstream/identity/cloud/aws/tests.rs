//! What is asked of Amazon by which variables, and answers in every form.

use bytes::Bytes;

use super::keys::{within, written};
use super::*;

const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

fn variables(pairs: &[(&str, &str)]) -> Variables {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), Secret::new((*value).to_owned()));
    Variables(pairs.iter().map(pair).collect())
}

fn answer(status: u16, body: &str) -> Answer {
    Answer {
        status,
        body: Bytes::from(body.to_owned()),
        date: None,
    }
}

/// The way that these variables set up, in words.
fn way(pairs: &[(&str, &str)]) -> Result<String, String> {
    let method = Method::of(&variables(pairs), "eu-west-1")?;
    Ok(match method {
        Method::Static(keys) => format!("keys {}, session {}", keys.id, keys.session.is_some()),
        Method::WebIdentity {
            sts, role, session, ..
        } => format!("{role} as {session} of {sts}"),
        Method::Agent { url, authorization } => format!("{url}, authorization {}", authorization.is_some()),
        Method::Instance { base } => format!("instance {base}"),
    })
}

#[test]
fn the_first_way_that_is_set_up_is_taken() {
    let id = ("AWS_ACCESS_KEY_ID", "AKID");
    let secret = ("AWS_SECRET_ACCESS_KEY", "CANARY");
    let web = ("AWS_WEB_IDENTITY_TOKEN_FILE", "/t");
    let role = ("AWS_ROLE_ARN", "arn:r");
    let full = (
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "http://169.254.170.23/v1/credentials",
    );
    for (pairs, expected) in [
        (&[id, secret, web, role, full][..], Ok("keys AKID, session false")),
        (
            &[id, secret, ("AWS_SESSION_TOKEN", "s")],
            Ok("keys AKID, session true"),
        ),
        // What is set to nothing is not set.
        (
            &[("AWS_ACCESS_KEY_ID", ""), web, role, full],
            Ok("arn:r as seawall of https://sts.eu-west-1.amazonaws.com/"),
        ),
        (
            &[
                web,
                role,
                ("AWS_REGION", "cn-north-1"),
                ("AWS_ROLE_SESSION_NAME", "me"),
            ],
            Ok("arn:r as me of https://sts.cn-north-1.amazonaws.com.cn/"),
        ),
        (
            &[full, ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "t")],
            Ok("http://169.254.170.23/v1/credentials, authorization true"),
        ),
        (
            &[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x")],
            Ok("http://169.254.170.2/v2/x, authorization false"),
        ),
        (&[], Ok("instance http://169.254.169.254/")),
        (
            &[("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6")],
            Ok("instance http://[fd00:ec2::254]/"),
        ),
        (
            &[id],
            Err("AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not: set both"),
        ),
        (
            &[web],
            Err("AWS_WEB_IDENTITY_TOKEN_FILE is set and AWS_ROLE_ARN is not: set both"),
        ),
        (
            &[web, role, ("AWS_REGION", "evil.example/")],
            Err("AWS_REGION = \"evil.example/\": expected a region"),
        ),
        (
            &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://agent.example/")],
            Err("AWS_CONTAINER_CREDENTIALS_FULL_URI: http://agent.example/: expected https://"),
        ),
        (
            &[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@evil.example/")],
            Err("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: expected a path"),
        ),
        (
            &[("AWS_EC2_METADATA_DISABLED", "true")],
            Err("there are no keys of Amazon"),
        ),
    ] {
        match (way(pairs), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(found), Err(expected)) => assert!(found.starts_with(expected), "{found}"),
            (found, _) => panic!("{pairs:?}: {found:?}"),
        }
    }
}

#[test]
fn the_service_is_that_of_the_registrys_region_unless_a_variable_says_where() {
    let place = |host: &str, pairs: &[(&str, &str)]| {
        let variables = variables(pairs);
        registry(&variables, host)
            .and_then(|registry| endpoint(&variables, &registry).map(|url| url.to_string()))
    };
    let other = ("AWS_ENDPOINT_URL_ECR", "https://vpce.example");
    let every = ("AWS_ENDPOINT_URL", "https://every.example");
    let public = ("AWS_ENDPOINT_URL_ECR_PUBLIC", "https://public.example");
    for (host, pairs, expected) in [
        (
            HOST,
            &[("AWS_REGION", "us-east-1")][..],
            "https://api.ecr.eu-west-1.amazonaws.com/",
        ),
        (HOST, &[other, every, public], "https://vpce.example/"),
        (
            "public.ecr.aws",
            &[other, every, public],
            "https://public.example/",
        ),
        ("public.ecr.aws", &[other, every], "https://every.example/"),
        (
            "cache.internal",
            &[("AWS_DEFAULT_REGION", "eu-west-3")],
            "https://api.ecr.eu-west-3.amazonaws.com/",
        ),
    ] {
        assert_eq!(place(host, pairs).as_deref(), Ok(expected), "{host} {pairs:?}");
    }
    assert_eq!(
        check(&Variables::default(), "cache.internal"),
        Err("cache.internal is no name of ECR that tells its region: set AWS_REGION".to_owned())
    );
    let plain = check(
        &variables(&[("AWS_ENDPOINT_URL_ECR", "http://vpce.example")]),
        HOST,
    );
    assert!(plain.is_err_and(|why| why.starts_with("AWS_ENDPOINT_URL_ECR: ")));
}

#[test]
fn the_public_registry_is_asked_by_its_own_operation_and_the_host_is_signed_as_it_is_sent() {
    let keys = Keys {
        id: "AKID".to_owned(),
        secret: Secret::new("CANARY".to_owned()),
        session: Some(Secret::new("session".to_owned())),
    };
    let public = Ecr::of("public.ecr.aws").unwrap();
    let url = Url::parse(&public.endpoint()).unwrap();
    let sent = message(&public, &url, &keys, Time::parse("2026-01-02T03:04:05Z").unwrap());
    let header = |name: &str| {
        sent.headers
            .iter()
            .find(|(each, _)| *each == name)
            .map(|(_, value)| &**value)
    };
    assert_eq!(
        header("x-amz-target"),
        Some("SpencerFrontendService.GetAuthorizationToken")
    );
    assert_eq!(header("x-amz-security-token"), Some("session"));
    assert_eq!(header("host"), None);
    let signed = header("authorization").unwrap_or_default();
    let start = "AWS4-HMAC-SHA256 Credential=AKID/20260102/us-east-1/ecr-public/aws4_request, \
                 SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, Signature=";
    assert!(signed.starts_with(start), "{signed}");
    for (url, expected) in [
        ("https://a.example:443/", "a.example"),
        ("https://a.example:4566/", "a.example:4566"),
        ("http://127.0.0.1:80/", "127.0.0.1"),
        ("http://[::1]:4566/", "[::1]:4566"),
    ] {
        assert_eq!(host(&Url::parse(url).unwrap()), expected);
    }
}

#[test]
fn a_token_is_read_in_both_forms_with_its_life_and_what_is_none_is_not_quoted() {
    let token = BASE64_STANDARD.encode("AWS:CANARY");
    let now = Time::from_millis(1_000_000_000_000);
    let body = |token: &str, list: bool| {
        let data = format!(
            r#"{{"authorizationToken":"{token}","expiresAt":1.0000432E9,"proxyEndpoint":"https://x"}}"#
        );
        let data = if list { format!("[{data}]") } else { data };
        format!(r#"{{"authorizationData":{data}}}"#)
    };
    for list in [true, false] {
        let (credential, life) = granted(&answer(200, &body(&token, list)), now).unwrap();
        assert_eq!(credential.unwrap().password.expose(), "CANARY");
        assert_eq!(life, Life::of(Duration::from_secs(43_200)));
    }
    let for_ever = body(&token, true).replace("1.0000432E9", "9e9");
    let (_, life) = granted(&answer(200, &for_ever), now).unwrap();
    assert_eq!(life, Life::of(LONGEST));
    for (text, why) in [
        (body("CANARY!", true), "that is no user and password"),
        (
            body(&BASE64_STANDARD.encode("CANARY"), true),
            "that is no user and password",
        ),
        (
            r#"{"authorizationData":[]}"#.to_owned(),
            "answered without an authorizationToken",
        ),
        (
            r#"{"CANARY":1}"#.to_owned(),
            "answered without an authorizationToken",
        ),
        (
            "CANARY".to_owned(),
            "answered without an authorizationToken (line 1, column 1)",
        ),
    ] {
        let told = granted(&answer(200, &text), now).unwrap_err();
        assert!(
            told.starts_with("ECR ") && told.contains(why) && !told.contains("CANARY"),
            "{told}"
        );
    }
    let denied = r#"{"__type":"AccessDeniedException","Message":"User: arn:aws:sts::1:assumed-role/a/b is not authorized"}"#;
    let told = granted(&answer(400, denied), now).unwrap_err();
    assert_eq!(
        told,
        "ECR answered with status 400: AccessDeniedException User: *** is not authorized; allow its role \
         ecr:GetAuthorizationToken, and what pulls need"
    );
}

#[test]
fn keys_without_a_session_are_used_without_one() {
    let public = Ecr::of("public.ecr.aws").unwrap();
    let url = Url::parse(&public.endpoint()).unwrap();
    for (token, session) in [
        (r#","Token":"CANARY""#, Some("CANARY")),
        (r#","Token":"""#, None),
        (r#","Token":null"#, None),
        ("", None),
    ] {
        let body = format!(r#"{{"AccessKeyId":"AKID","SecretAccessKey":"CANARY"{token}}}"#);
        let keys = written(&answer(200, &body), "it").unwrap();
        let sent = message(&public, &url, &keys, Time::from_millis(0));
        let header = |name: &str| {
            let found = sent.headers.iter().find(|(each, _)| *each == name);
            found.map(|(_, value)| &**value)
        };
        assert_eq!(header("x-amz-security-token"), session, "{token}");
        let signed = header("authorization").unwrap();
        assert_eq!(
            signed.contains("x-amz-security-token"),
            session.is_some(),
            "{token}"
        );
    }
}

#[test]
fn what_sts_writes_is_read_as_it_was_meant() {
    for (xml, text) in [
        ("<A>plain</A>", Some("plain")),
        ("<B>other</B><A>\n  first </A><A>second</A>", Some("first")),
        ("<A>&quot;a&apos; &lt;b&gt; &amp;c</A>", Some("\"a' <b> &c")),
        // What was written so itself.
        ("<A>&amp;lt;&amp;amp;</A>", Some("&lt;&amp;")),
        ("<A> </A>", None),
        ("<A></A>", None),
        ("<A>no end", None),
        ("<AB>other</AB>", None),
    ] {
        assert_eq!(within(xml, "A").as_deref(), text, "{xml}");
    }
}
