//! Who a pull would be from, by what that is known, and which line of the configuration lets it or keeps it away.
//!
//! What is told is drawn by the command, and held against what the same request then comes to.

use http::StatusCode;
use serde_json::json;

use super::explained;
use crate::access::{APP, OFFICE, OTHER, SECRET, STRANGER, ask, basic};
use crate::captures::printed;
use crate::support::configured::{Configured, hub};
use crate::support::issuer::Issuer;
use crate::support::registry::Registry;
use crate::support::seawall::Seawall;
use crate::support::signing::SigningKey;
use crate::support::world::bare_manifest;
use seawall::cli::Capture;

/// alice, the office and a CI may pull what is the team's; whoever logs in besides may pull everything.
const CLIENTS: &str = "[tier.team]\nread_ops_per_minute = 3\n\
    [[issuer]]\nname = \"ci\"\nurl = \"http://issuer.test\"\ninsecure = true\naudience = \"https://cache.example.com\"\n\
    [[client]]\nname = \"alice-at-work\"\ntier = \"team\"\nmatch = { user = [\"alice\"], cidr = [\"192.0.2.0/24\"] }\n\
    [[client]]\nname = \"team\"\ntier = \"standard\"\nallow = [\"docker.io/team/**\"]\ndeny = [\"docker.io/team/secret\"]\n\
    match = { user = [\"bob\", \"alice\"] }\n\
    [[client]]\nname = \"node\"\ntier = \"standard\"\nallow = [\"docker.io/team/*\"]\nmatch = { certificate = [\"node-1\"] }\n\
    [[client]]\nname = \"office\"\ntier = \"basic\"\ndeny = [\"docker.io/other/**\"]\nmatch = { cidr = [\"192.0.2.0/24\"] }\n\
    [[client]]\nname = \"lab\"\ntier = \"basic\"\nallow = [\"docker.io/team/*\"]\nmatch = { cidr = [\"198.51.100.0/24\"] }\n\
    [[client]]\nname = \"main\"\ntier = \"standard\"\nallow = [\"docker.io/team/**\"]\n\
    match = { issuer = \"ci\", claims = { owner = \"acme\", ref = \"refs/heads/.*\" } }\n";

/// A registry, an issuer whose key is given back, and a Seawall for these clients.
fn scene() -> (Configured, Issuer, SigningKey) {
    let registry = Registry::default();
    for repository in ["team/app", "team/secret", "other/app"] {
        bare_manifest(&registry, repository);
    }
    let key = SigningKey::ec("one");
    let issuer = Issuer::beside(&registry, &[&key]);
    let folder = crate::support::world::in_memory();
    let users = folder.path().join("htpasswd");
    let hash = bcrypt::hash("right", 4).unwrap();
    std::fs::write(&users, format!("alice:{hash}\nbob:{hash}\ncarol:{hash}\n")).unwrap();
    let access = format!(
        "[access]\nanonymous = [\"10.0.0.0/8\"]\nhtpasswd = '{}'\n",
        users.display()
    );
    let configured = Configured::start(&registry.dialer(), &format!("{}{access}{CLIENTS}", hub("")));
    (configured, issuer, key)
}

/// What the command prints.
pub(super) async fn told(seawall: &Seawall, line: &str) -> String {
    let arguments: Vec<&str> = line.split(' ').collect();
    match printed(seawall, &arguments).await {
        Capture::Text(text) => text,
        other => panic!("{line}: {other:?}"),
    }
}

fn reference(path: &str) -> String {
    let path = path.trim_start_matches("/v2/");
    path.replace("/manifests/", ":")
}

#[tokio::test(start_paused = true)]
async fn who_a_request_is_from_is_told_by_what_makes_it_so_and_which_line_lets_it() {
    let (configured, issuer, key) = scene();
    let seawall = &configured.seawall;
    let (alice, carol) = (basic("alice", "right"), basic("carol", "right"));
    let branch = json!({ "owner": "acme", "ref": "refs/heads/next" });
    let token = format!("Bearer {}", key.token(&issuer.claims(300, &branch)));
    let fork = json!({ "owner": "mallory", "ref": "refs/heads/main" });
    let fork = format!("Bearer {}", key.token(&issuer.claims(300, &fork)));
    let claims = "--issuer ci --claim owner=acme --claim ref=refs/heads/next";
    let team = "team, known by its login as alice, from 203.0.113.5";
    let allowed = "may pull this: `allow` of its [[client]] has docker.io/team/**";
    for (options, from, said, path, client, access, status) in [
        ("--user alice", STRANGER, Some(&alice), APP, team, allowed, 200),
        (
            "--user alice",
            STRANGER,
            Some(&alice),
            SECRET,
            team,
            "may pull, but not this: `deny` of its [[client]] has docker.io/team/secret",
            404,
        ),
        (
            "--user alice",
            STRANGER,
            Some(&alice),
            OTHER,
            team,
            "may pull, but not this: `allow` of its [[client]] does not have it",
            404,
        ),
        (
            "--user alice",
            OFFICE,
            Some(&alice),
            APP,
            "alice-at-work, known by its login as alice and its network 192.0.2.0/24, from 192.0.2.7",
            "may pull everything: its [[client]] has no `allow` and no `deny`",
            200,
        ),
        (
            "--user carol",
            STRANGER,
            Some(&carol),
            OTHER,
            "carol, which no [[client]] names, known by its login as carol, from 203.0.113.5",
            "may pull everything: [access] lets it",
            200,
        ),
        (
            claims,
            STRANGER,
            Some(&token),
            APP,
            "main, known by a token of ci with owner=acme, ref=refs/heads/next, from 203.0.113.5",
            allowed,
            200,
        ),
        (
            "--issuer ci --claim owner=mallory --claim ref=refs/heads/main",
            STRANGER,
            Some(&fork),
            APP,
            "203.0.113.5, which no [[client]] names, known by a token of ci",
            "may not pull: a token alone opens nothing, and no [[client]] wants what it says",
            401,
        ),
        (
            "",
            OFFICE,
            None,
            OTHER,
            "office, known by its network 192.0.2.0/24, from 192.0.2.7",
            "may pull, but not this: `deny` of its [[client]] has docker.io/other/**",
            401,
        ),
        (
            "",
            [198, 51, 100, 7],
            None,
            OTHER,
            "lab, known by its network 198.51.100.0/24, from 198.51.100.7",
            "may pull, but not this: `allow` of its [[client]] does not have it",
            401,
        ),
        (
            "--user alice",
            STRANGER,
            Some(&alice),
            "/v2/unknown.test/app/manifests/1",
            team,
            "may pull, but not this: `allow` of its [[client]] does not have it",
            404,
        ),
        (
            "",
            [10, 1, 2, 3],
            None,
            OTHER,
            "10.1.2.3, which no [[client]] names, known by its network 10.0.0.0/8",
            "may pull everything: [access] lets it",
            200,
        ),
        (
            "",
            STRANGER,
            None,
            APP,
            "203.0.113.5, which no [[client]] names",
            "may not pull before it says who it is: [access] lets nobody in from there",
            401,
        ),
    ] {
        let address = std::net::Ipv4Addr::from(from);
        let line = format!("explain {} --client {address} {options}", reference(path));
        let text = told(seawall, line.trim()).await;
        for expected in [
            format!("  client     {client}\n"),
            format!("  access     {access}\n"),
        ] {
            assert!(
                text.contains(&expected),
                "{line}: expected {expected:?} in\n{text}"
            );
        }
        let headers: Vec<_> = said.iter().map(|said| ("authorization", said.as_str())).collect();
        let answer = ask(seawall, from, path, &headers).await;
        assert_eq!(answer.status.as_u16(), status, "{line}\n{text}");
        assert_eq!(text.contains("→ refused"), status != 200, "{line}\n{text}");
        assert_eq!(
            text.contains("→ refused with 401, "),
            status == 401,
            "{line}\n{text}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_in_a_certificate_makes_its_client() {
    let (configured, ..) = scene();
    let line = "explain team/app:1 --client 203.0.113.5 --certificate-name node-1.example.com --certificate-name node-1";
    let text = told(&configured.seawall, line).await;
    let client = "  client     node, known by its certificate of node-1, from 203.0.113.5\n";
    assert!(text.contains(client), "{text}");
    let text = told(
        &configured.seawall,
        "explain team/app:1 --client 203.0.113.5 --certificate-name other",
    )
    .await;
    assert!(
        text.contains("which no [[client]] names, known by its certificate of other"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn who_has_used_up_its_own_requests_is_told_so_and_until_when() {
    let (configured, ..) = scene();
    let seawall = &configured.seawall;
    let alice = basic("alice", "right");
    let line = "explain team/app:1 --client 192.0.2.7 --user alice";
    let query = "reference=team/app:1&client=192.0.2.7&user=alice";
    // Explaining takes nothing: as often as one likes.
    for _ in 0..10 {
        let text = told(seawall, line).await;
        assert!(
            text.contains("  tier       team: 3 requests a minute\n"),
            "{text}"
        );
        assert!(!text.contains("refused"), "{text}");
    }
    let get = async || ask(seawall, OFFICE, APP, &[("authorization", &alice)]).await;
    for _ in 0..3 {
        assert_eq!(get().await.status, StatusCode::OK);
    }
    let text = told(seawall, line).await;
    assert!(text.contains("; its requests are used up for "), "{text}");
    assert!(
        text.ends_with("→ refused for now: this client has used up its own requests\n"),
        "{text}"
    );
    let (_, explained) = explained(seawall, query).await;
    assert_eq!(explained["pull"]["outlook"], "refused", "{explained}");
    let refused = get().await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    let until = explained["client"]["used_up"]["until"].as_u64().unwrap();
    let seconds = (until - explained["client"]["used_up"]["now"].as_u64().unwrap()).div_ceil(1000);
    assert_eq!(refused.header("retry-after"), seconds.to_string());
    tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
    assert!(told(seawall, line).await.contains("→ served from"), "it is over");
    assert_eq!(get().await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn where_nobody_can_log_in_and_what_nobody_may_have_is_told_with_the_line_that_says_so() {
    let registry = Registry::default();
    let text = hub("deny = [\"team/secret\"]") + "[access]\nanonymous = [\"10.0.0.0/8\"]\n";
    let configured = Configured::start(&registry.dialer(), &text);
    let closed = "may not pull: [access] lets nobody in from there, and there is no way to log in";
    let unoffered = "nobody may pull this: `allow` and `deny` of its [[upstream]] say so";
    for (from, access, status) in [(STRANGER, closed, 403), ([10, 1, 2, 3], unoffered, 404)] {
        let address = std::net::Ipv4Addr::from(from);
        let line = format!("explain {} --client {address}", reference(SECRET));
        let text = told(&configured.seawall, &line).await;
        assert!(text.contains(&format!("  access     {access}\n")), "{text}");
        assert!(
            text.ends_with("→ refused before anything is looked up, whether that exists or not\n"),
            "{text}"
        );
        let answer = ask(&configured.seawall, from, SECRET, &[]).await;
        assert_eq!(answer.status.as_u16(), status, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_who_would_ask_is_named_with_what_is_right() {
    let (configured, ..) = scene();
    for (more, named) in [
        ("user=nobody", "whom the htpasswd file does not name"),
        (
            "issuer=cj",
            "`issuer` is `cj`, which is no [[issuer]]; expected one of ci",
        ),
        (
            "issuer=ci&claim=owner",
            "`claim` is `owner`; a name and a value are expected",
        ),
        (
            "claim=owner%3Dacme",
            "`claim` is `owner=acme`, and no `issuer` says so",
        ),
    ] {
        let query = format!("reference=team/app:1&{more}");
        let (status, error) = explained(&configured.seawall, &query).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        let error = error["error"].as_str().unwrap();
        assert!(error.contains(named), "{query}: {error}");
    }
}
