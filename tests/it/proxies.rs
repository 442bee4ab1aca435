//! A client's rank follows its real address: what a trusted proxy says about it counts, and nothing else.

use std::net::SocketAddr;

use http::{Method, StatusCode};
use seawall::policy::clients::{Clients, Rule, Tier};
use seawall::policy::proxies::Proxies;
use seawall::policy::quota::Quota;

use super::support::registry::Script;
use super::support::seawall::{Choices, Seawall, read};
use super::support::world::{World, image, manifest_path, world};

/// The proxy, and a machine that is neither a proxy nor a named client.
const PROXY: [u8; 4] = [10, 0, 0, 1];
const STRANGER: [u8; 4] = [203, 0, 113, 5];

/// Clients in 192.0.2.0/24 may not touch the last half of the budget; proxies are in 10.0.0.0/8.
fn choices(protocol: bool) -> Choices {
    let tier = |name: &str, reserve| Tier {
        name: name.to_owned(),
        reserve,
        quota: Quota::UNLIMITED,
    };
    Choices {
        clients: Clients {
            tiers: vec![tier("unlimited", 0.0), tier("basic", 0.5)],
            rules: vec![Rule::at("ci", 1, vec!["192.0.2.0/24".parse().unwrap()])],
            ..Clients::default()
        },
        proxies: Proxies {
            trusted: vec!["10.0.0.0/8".parse().unwrap()],
            protocol,
        },
        ..Choices::default()
    }
}

/// The status of a pull that costs one of 20 requests left of 100: 429 for the client `ci`, 200 for others.
async fn pull(
    choices: Choices,
    peer: [u8; 4],
    preface: &[u8],
    headers: &[(&str, &str)],
) -> Option<StatusCode> {
    let World {
        registry, seawall, ..
    } = world(choices);
    image(&registry, Some("app"), 1);
    let left = Script {
        headers: vec![
            ("ratelimit-limit", "100;w=3600".to_owned()),
            ("ratelimit-remaining", "20;w=3600".to_owned()),
        ],
        ..Script::default()
    };
    registry.script(manifest_path("app"), left);
    let mut near = seawall.connect(SocketAddr::from((peer, 9)));
    tokio::io::AsyncWriteExt::write_all(&mut near, preface)
        .await
        .unwrap();
    let answer = Seawall::send(near, Method::GET, &manifest_path("app"), headers).await;
    Some(read(answer.ok()?).await.status)
}

const REFUSED: Option<StatusCode> = Some(StatusCode::TOO_MANY_REQUESTS);
const SERVED: Option<StatusCode> = Some(StatusCode::OK);

#[tokio::test(start_paused = true)]
async fn a_client_behind_a_proxy_has_its_own_rank_and_not_the_proxys() {
    // S082
    for (header, value) in [
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-for", "203.0.113.9, 192.0.2.1, 10.0.0.2"),
        ("forwarded", "for=203.0.113.9, for=\"192.0.2.1:4711\";proto=https"),
    ] {
        let found = pull(choices(false), PROXY, b"", &[(header, value)]).await;
        assert_eq!(found, REFUSED, "{header}: {value}");
    }
    assert_eq!(pull(choices(false), PROXY, b"", &[]).await, SERVED);
    let escaped = [("x-forwarded-for", "192.0.2.1, 203.0.113.9")];
    assert_eq!(pull(choices(false), PROXY, b"", &escaped).await, SERVED);
    let preface = b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n";
    assert_eq!(pull(choices(true), PROXY, preface, &[]).await, REFUSED);
}

#[tokio::test(start_paused = true)]
async fn nobody_changes_rank_by_claiming_to_be_somebody_else() {
    // S082
    let claims = [
        ("x-forwarded-for", "203.0.113.9"),
        ("x-real-ip", "203.0.113.9"),
        ("forwarded", "for=203.0.113.9"),
        ("via", "1.1 10.0.0.1"),
        ("user-agent", "PROXY TCP4 203.0.113.9 10.0.0.1 1 2"),
    ];
    for protocol in [false, true] {
        for claim in claims {
            let found = pull(choices(protocol), [192, 0, 2, 1], b"", &[claim]).await;
            assert_eq!(found, REFUSED, "{claim:?}");
            let preface = b"PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\n";
            let found = pull(choices(protocol), [192, 0, 2, 1], preface, &[claim]).await;
            // A 400, which its client may take for the end of the connection.
            assert_ne!(found, SERVED, "{claim:?}");
        }
    }
    // Nor does anybody lower somebody else's by naming them.
    let claim = [("x-forwarded-for", "192.0.2.1")];
    assert_eq!(pull(choices(false), STRANGER, b"", &claim).await, SERVED);
    // What a proxy did not write does not count beside what it did.
    let both = [("forwarded", "for=203.0.113.9"), ("x-forwarded-for", "192.0.2.1")];
    assert_eq!(
        pull(choices(false), PROXY, b"", &both).await,
        Some(StatusCode::BAD_REQUEST)
    );
}

#[tokio::test(start_paused = true)]
async fn a_trusted_proxy_that_forgets_its_header_gets_no_answer() {
    assert_eq!(pull(choices(true), PROXY, b"", &[]).await, None);
    assert_eq!(pull(choices(true), STRANGER, b"", &[]).await, SERVED);
}
