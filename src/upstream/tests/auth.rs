//! Who gets a credential, and where the client never goes.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_token_is_fetched_once_and_used_for_all() {
    let world = world(
        |_, line, head| match line {
            line if line.starts_with("GET /token") => {
                answer("200 OK", "", r#"{"token":"t1","expires_in":300}"#)
            }
            _ if head.contains("authorization: Bearer t1") => answer("200 OK", "", "{}"),
            _ => challenge("/token"),
        },
        |_| {},
    );
    let (path, tag) = (path(), tag());
    let one = || world.upstream.manifest(&path, &tag, 0);
    let (a, b, c) = tokio::join!(one(), one(), one());
    assert_eq!(a.and(b).and(c).unwrap().bytes, "{}");
    assert_eq!(one().await.unwrap().bytes, "{}");
    assert_eq!(
        world.count("GET /token?service=r&scope=repository%3Aa%2Fb%3Apull"),
        1
    );
    assert_eq!(
        world.count("authorization: Basic"),
        1,
        "the password goes to the token service only"
    );
    // Past 80 % of its life it is renewed.
    tokio::time::advance(Duration::from_secs(250)).await;
    one().await.unwrap();
    assert_eq!(world.count("GET /token"), 2);
}

// F033
#[tokio::test(start_paused = true)]
async fn a_token_that_is_never_accepted_ends_in_a_denial() {
    let world = world(
        |_, line, _| match line {
            line if line.starts_with("GET /token") => answer("200 OK", "", r#"{"token":"t1"}"#),
            _ => challenge("/token"),
        },
        |_| {},
    );
    for _ in 0..2 {
        let denied = world.upstream.manifest(&path(), &tag(), 0).await;
        assert_eq!(denied.unwrap_err(), Refusal::Denied(401));
    }
    assert!(world.count("GET /token") <= 3, "{}", world.count("GET /token"));
}

#[tokio::test(start_paused = true)]
async fn a_refused_credential_is_parked() {
    let world = world(
        |_, line, _| match line {
            line if line.starts_with("GET /token") => answer("401 Unauthorized", "", ""),
            _ => challenge("/token"),
        },
        |_| {},
    );
    for _ in 0..5 {
        let denied = world.upstream.manifest(&path(), &tag(), 0).await;
        assert_eq!(denied.unwrap_err(), Refusal::Denied(401));
    }
    assert_eq!(world.count("GET /token"), 1);
    tokio::time::advance(Duration::from_secs(61)).await;
    assert!(world.upstream.manifest(&path(), &tag(), 0).await.is_err());
    assert_eq!(world.count("GET /token"), 2);
}

// S024
#[tokio::test(start_paused = true)]
async fn a_realm_elsewhere_is_refused_and_gets_no_credential() {
    let world = world(|_, _, _| challenge("http://evil.test/token?x=secret"), |_| {});
    let text = unusable(world.upstream.manifest(&path(), &tag(), 0).await);
    assert!(
        text.contains("evil.test") && text.contains("token_hosts"),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
    assert_eq!(world.count("evil.test"), 0);
    assert_eq!(world.count("authorization"), 0);
}

// S029
#[tokio::test(start_paused = true)]
async fn a_basic_challenge_is_met_only_with_a_credential() {
    let script: Script = |_, _, head| match head.contains("authorization: Basic cm9ib3Q6aHVudGVyMg==") {
        true => answer("200 OK", "", "{}"),
        false => answer("401 Unauthorized", "www-authenticate: Basic realm=\"r\"\r\n", ""),
    };
    assert!(
        world(script, |_| {})
            .upstream
            .manifest(&path(), &tag(), 0)
            .await
            .is_ok()
    );
    let anonymous = world(script, |options| options.credentials.clear());
    let denied = anonymous.upstream.manifest(&path(), &tag(), 0).await;
    assert_eq!(denied.unwrap_err(), Refusal::Denied(401));
}

// S022, S023
#[tokio::test(start_paused = true)]
async fn a_redirect_to_another_origin_carries_no_credential() {
    let world = world(
        |host, _, head| match host {
            "cdn.example" | "r.example:81" => answer("200 OK", "", "0123456789"),
            _ if !head.contains("authorization") => {
                answer("401 Unauthorized", "www-authenticate: Basic\r\n", "")
            }
            _ if head.contains("range: bytes=1-") => to("http://r.example:81/blob"),
            _ => to("http://cdn.example/blob?signature=1"),
        },
        |_| {},
    );
    assert_eq!(world.read(Want::From(0)).await.unwrap().1, b"0123456789");
    assert_eq!(world.read(Want::From(1)).await.unwrap().1, b"0123456789");
    let seen = world.seen.lock().unwrap();
    let foreign: Vec<_> = seen
        .iter()
        .filter(|head| !head.starts_with("r.example "))
        .collect();
    assert_eq!(foreign.len(), 2);
    assert!(
        foreign.iter().all(|head| !head.contains("authorization")),
        "{foreign:?}"
    );
}

// S014, S015, S017, S018
#[tokio::test(start_paused = true)]
async fn a_redirect_into_the_operators_network_is_never_connected_to() {
    let script: Script = |_, _, head| {
        let target = ["169.254.169.254", "inside.example", "mapped.example", "[::1]"]
            .into_iter()
            .zip(1..)
            .find(|(_, number)| head.contains(&format!("range: bytes={number}-")))
            .unwrap()
            .0;
        to(&format!("http://{target}/latest/meta-data?secret"))
    };
    for number in 1..=4 {
        let world = world(script, |_| {});
        let text = unusable(world.read(Want::From(number)).await);
        assert!(
            text.contains("allow_addresses") && !text.contains("secret"),
            "{text}"
        );
        assert!(
            world
                .dialled
                .lock()
                .unwrap()
                .iter()
                .all(|ip| ip.to_string() == "9.9.9.9")
        );
    }
}

// S021
#[tokio::test(start_paused = true)]
async fn a_private_upstream_is_reached_only_if_the_operator_named_it() {
    let script: Script = |_, _, _| answer("200 OK", "", "{}");
    let named = world(script, |options| {
        options.url = Some(http::Uri::from_static("http://inside.example"))
    });
    assert!(named.upstream.manifest(&path(), &tag(), 0).await.is_ok());
    let dialer = Dialer {
        resolve: Arc::new(|_| Box::pin(std::future::ready(Ok(vec![address_of("inside.example")])))),
        connect: Arc::new(|_| panic!("a private address was dialled")),
        proxies: Proxies::Never,
    };
    let mut options = named.options;
    (options.registry, options.url) = (Pattern::Any, None);
    let any = Upstreams::new(vec![options], Budgets::default(), &dialer, Clock::start()).get(&chosen());
    assert!(unusable(any.manifest(&path(), &tag(), 0).await).contains("allow_addresses"));
}

#[tokio::test(start_paused = true)]
async fn a_challenge_after_a_redirect_is_met_anonymously() {
    let world = world(
        |host, line, head| match host {
            "r.example" => to("http://mirror.test/v2/x/manifests/latest"),
            _ if line.starts_with("GET /token") => answer("200 OK", "", r#"{"token":"theirs"}"#),
            _ if head.contains("authorization: Bearer theirs") => answer("200 OK", "", "{}"),
            _ => challenge("http://mirror.test/token"),
        },
        |_| {},
    );
    assert!(world.upstream.manifest(&path(), &tag(), 0).await.is_ok());
    assert_eq!(world.count("Basic"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_does_not_say_what_it_wants_is_asked_at_its_root() {
    let world = world(
        |_, line, head| match line {
            line if line.starts_with("GET /token") => answer("200 OK", "", r#"{"token":"t1"}"#),
            "GET /v2/" => challenge("/token"),
            _ if head.contains("authorization: Bearer t1") => answer("200 OK", "", "{}"),
            _ => answer("401 Unauthorized", "", ""),
        },
        |_| {},
    );
    assert!(world.upstream.manifest(&path(), &tag(), 0).await.is_ok());
    assert_eq!(world.count("GET /v2/ "), 1);
}
