//! Who may use the operator's pages from other machines, by what they show.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use seawall::policy::access::Role;
use seawall::server::{Operator, Operators};
use seawall::upstream::Secret;

use crate::support::paper::Paper;
use crate::support::seawall::{Answer, Choices, Seawall, read};
use crate::support::world::{World, world};

const ELSEWHERE: [u8; 4] = [192, 0, 2, 9];
const HERE: [u8; 4] = [127, 0, 0, 1];
const JSON: (&str, &str) = ("content-type", "application/json");

fn token(role: Role) -> String {
    format!("the-token-of-{}-0123456789abcdef", role.name())
}

fn bearer(role: Role) -> String {
    format!("Bearer {}", token(role))
}

fn operators() -> Operators {
    let operator = |role: Role| Operator {
        name: format!("who may {}", role.name()),
        role,
        secret: Secret::new(token(role)),
    };
    Operators {
        tokens: [Role::Read, Role::Operate, Role::Admin].map(operator).into(),
        ..Operators::default()
    }
}

fn tokens() -> World {
    world(Choices {
        operators: operators(),
        ..Choices::default()
    })
}

async fn ask(
    seawall: &Seawall,
    from: [u8; 4],
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let body = if method == Method::POST { "{}" } else { "" };
    read(seawall.operate_from(from, method, path, headers, body).await).await
}

#[tokio::test(start_paused = true)]
async fn each_token_allows_what_its_role_says_and_no_more() {
    // S072
    let world = tokens();
    let (get, post) = (Method::GET, Method::POST);
    for (method, path, least) in [
        (&get, "/", Role::Read),
        (&get, "/page/style.css", Role::Read),
        (&get, "/metrics", Role::Read),
        (&get, "/api/v1/status", Role::Read),
        (&post, "/api/v1/lock", Role::Operate),
        (&post, "/api/v1/purge", Role::Admin),
        (&post, "/api/v1/reload", Role::Admin),
    ] {
        let asked = async |headers: &[(&str, &str)]| {
            ask(&world.seawall, ELSEWHERE, method.clone(), path, headers)
                .await
                .status
        };
        assert_eq!(asked(&[JSON]).await, StatusCode::UNAUTHORIZED, "{path}");
        let wrong = ("authorization", "Bearer the-token-of-nobody-0123456789abcdef");
        assert_eq!(asked(&[JSON, wrong]).await, StatusCode::UNAUTHORIZED, "{path}");
        for role in [Role::Read, Role::Operate, Role::Admin] {
            let status = asked(&[JSON, ("authorization", &bearer(role))]).await;
            let is_refused = status == StatusCode::FORBIDDEN || status == StatusCode::UNAUTHORIZED;
            assert_eq!(is_refused, role < least, "{method} {path} by {role:?}: {status}");
        }
    }
    for path in ["/livez", "/readyz"] {
        assert!(
            ask(&world.seawall, ELSEWHERE, Method::GET, path, &[])
                .await
                .is_good()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_browser_is_asked_for_a_password_and_the_token_is_it() {
    let world = tokens();
    let refused = ask(&world.seawall, ELSEWHERE, Method::GET, "/", &[]).await;
    let challenge = refused.headers["www-authenticate"].to_str().unwrap();
    assert!(challenge.starts_with("Basic realm="), "{challenge}");
    let basic = format!("Basic {}", STANDARD.encode(format!("me:{}", token(Role::Read))));
    // By any name: the token proves who it is.
    let headers = [("authorization", basic.as_str()), ("sec-fetch-site", "none")];
    let page = ask(&world.seawall, ELSEWHERE, Method::GET, "/", &headers).await;
    assert!(page.is_good());
    assert!(!String::from_utf8_lossy(&page.body).contains(&token(Role::Read)));
}

#[tokio::test(start_paused = true)]
async fn what_changes_something_is_not_asked_by_a_page_of_another_site() {
    // S075: not even with a token, which a browser sends along.
    let world = tokens();
    let admin = bearer(Role::Admin);
    let authorization = ("authorization", admin.as_str());
    for headers in [
        vec![authorization, ("content-type", "text/plain")],
        vec![
            authorization,
            ("content-type", "application/x-www-form-urlencoded"),
        ],
        vec![authorization, JSON, ("origin", "https://evil.example")],
        vec![authorization, JSON, ("sec-fetch-site", "cross-site")],
    ] {
        let status = ask(&world.seawall, ELSEWHERE, Method::POST, "/api/v1/purge", &headers)
            .await
            .status;
        assert_eq!(status, StatusCode::FORBIDDEN, "{headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_stands_behind_a_proxy_is_not_on_this_machine() {
    let world = tokens();
    for name in ["x-forwarded-for", "forwarded", "via", "x-real-ip"] {
        let header = (name, "198.51.100.7");
        let status = ask(&world.seawall, HERE, Method::GET, "/api/v1/status", &[header])
            .await
            .status;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{name}");
        let known = [header, ("authorization", &bearer(Role::Read))];
        assert!(
            ask(&world.seawall, HERE, Method::GET, "/api/v1/status", &known)
                .await
                .is_good()
        );
    }
    // Whoever says who they are is that, on this machine too.
    let reader = [JSON, ("authorization", &bearer(Role::Read))];
    let status = ask(&world.seawall, HERE, Method::POST, "/api/v1/purge", &reader)
        .await
        .status;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

#[tokio::test(start_paused = true)]
async fn every_change_is_logged_with_who_asked_for_it_and_no_token_is() {
    let (paper, world) = (Paper::default(), tokens());
    let sink = paper.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || sink.clone())
        .finish();
    let logging = tracing::subscriber::set_default(subscriber);
    let operator = bearer(Role::Operate);
    let headers = [JSON, ("authorization", operator.as_str())];
    for (method, path) in [
        (Method::GET, "/api/v1/status"),
        (Method::POST, "/api/v1/lock"),
        (Method::POST, "/api/v1/purge"),
    ] {
        ask(&world.seawall, ELSEWHERE, method, path, &headers).await;
    }
    ask(&world.seawall, HERE, Method::POST, "/api/v1/lock", &[JSON]).await;
    drop(logging);
    let log = paper.text();
    let changes: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("change something"))
        .collect();
    // What a role does not allow has changed nothing.
    let [by_token, from_here] = changes[..] else {
        panic!("{log}")
    };
    for part in ["by=\"who may operate\"", "192.0.2.9", "/api/v1/lock", "status="] {
        assert!(by_token.contains(part), "{part} is not in {by_token}");
    }
    assert!(
        from_here.contains("127.0.0.1") && from_here.contains("by="),
        "{from_here}"
    );
    assert!(!log.contains(&token(Role::Operate)), "{log}");
}
