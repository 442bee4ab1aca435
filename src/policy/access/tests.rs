//! Who may pull, decided over tables and against a model.

use proptest::prelude::*;

use super::*;
use crate::policy::clients::{Matches, Rule};

fn scope(text: &str) -> Scope {
    Scope::parse(text).unwrap_or_else(|| panic!("{text}"))
}

fn repository(text: &str) -> Repository {
    let (registry, path) = text.split_once('/').unwrap();
    Repository {
        registry: registry.parse().unwrap(),
        path: path.parse().unwrap(),
    }
}

/// alice and bob have passwords; alice's team may have its own repositories but for one; the office is known by its
/// network; 10/8 needs no login.
fn clients() -> Clients {
    let user = |name: &str| User {
        name: name.to_owned(),
        hash: "$2y$05$x".into(),
    };
    let grant = Grant {
        allow: vec![scope("ghcr.io/team/**"), scope("docker.io/library/*")],
        deny: vec![scope("ghcr.io/team/secret")],
        ..Grant::default()
    };
    let team = Rule {
        name: "team".to_owned(),
        tier: 0,
        matches: Matches {
            users: vec!["alice".to_owned()],
            ..Matches::default()
        },
        grant: grant.clone(),
    };
    let office = Rule {
        grant,
        ..Rule::at("office", 0, vec!["192.0.2.0/24".parse().unwrap()])
    };
    Clients {
        rules: vec![team, office],
        access: Access {
            anonymous: Anonymous::From(vec!["10.0.0.0/8".parse().unwrap()]),
            denied: Denied::NotFound,
            users: vec![user("alice"), user("bob")],
            ..Access::default()
        },
        ..Clients::default()
    }
}

fn verdict(clients: &Clients, address: &str, user: Option<usize>, wanted: Option<&str>) -> Verdict {
    let address = address.parse().unwrap();
    let identity = clients.identify(&Evidence {
        user,
        ..Evidence::from(address)
    });
    let repository = wanted.map(repository);
    let wanted = repository.as_ref().map_or(Wanted::Base, Wanted::Repository);
    decide(clients, &identity, wanted, Judge::Cache)
}

#[test]
fn who_may_pull_what() {
    let (alice, bob, nobody) = (Some(0), Some(1), None);
    let denied = Verdict::Denied(Denied::NotFound);
    for (address, user, wanted, expected) in [
        // A stranger is asked to log in, whatever it wants.
        ("198.51.100.1", nobody, None, Verdict::Login),
        (
            "198.51.100.1",
            nobody,
            Some("docker.io/library/alpine"),
            Verdict::Login,
        ),
        // Who logs in has what its client may have, or everything if it is no client's.
        ("198.51.100.1", alice, None, Verdict::Granted),
        ("198.51.100.1", alice, Some("ghcr.io/team/app"), Verdict::Granted),
        ("198.51.100.1", alice, Some("ghcr.io/team/a/b"), Verdict::Granted),
        ("198.51.100.1", alice, Some("ghcr.io/team/secret"), denied),
        ("198.51.100.1", alice, Some("ghcr.io/other/app"), denied),
        ("198.51.100.1", alice, Some("quay.io/team/app"), denied),
        ("198.51.100.1", bob, Some("ghcr.io/team/secret"), Verdict::Granted),
        // A user that is no longer there is a stranger.
        ("198.51.100.1", Some(7), None, Verdict::Login),
        // By address, written either way. Who is denied as that may log in as somebody else.
        ("10.1.2.3", nobody, Some("quay.io/x"), Verdict::Granted),
        ("::ffff:10.1.2.3", nobody, Some("quay.io/x"), Verdict::Granted),
        (
            "192.0.2.9",
            nobody,
            Some("docker.io/library/alpine"),
            Verdict::Granted,
        ),
        ("192.0.2.9", nobody, Some("docker.io/team/app"), Verdict::Login),
        ("192.0.2.9", bob, Some("docker.io/team/app"), denied),
    ] {
        let found = verdict(&clients(), address, user, wanted);
        assert_eq!(found, expected, "{address} {user:?} {wanted:?}");
    }
}

#[test]
fn nobody_is_challenged_who_could_not_log_in() {
    let mut clients = clients();
    clients.access.users.clear();
    clients.access.denied = Denied::Forbidden;
    assert_eq!(verdict(&clients, "198.51.100.1", None, None), Verdict::Closed);
    let denied = verdict(&clients, "192.0.2.9", None, Some("quay.io/x"));
    assert_eq!(denied, Verdict::Denied(Denied::Forbidden));
}

#[test]
fn nobody_is_asked_for_a_login_of_ours_where_the_registry_judges_it() {
    let mut clients = clients();
    clients.access.denied = Denied::Forbidden;
    for (address, wanted, expected) in [
        ("198.51.100.1", "quay.io/x", Verdict::Closed),
        ("10.1.2.3", "quay.io/x", Verdict::Granted),
        (
            "192.0.2.9",
            "docker.io/team/app",
            Verdict::Denied(Denied::Forbidden),
        ),
        ("192.0.2.9", "docker.io/library/alpine", Verdict::Granted),
    ] {
        let who = clients.identify(&Evidence::from(address.parse().unwrap()));
        let repository = repository(wanted);
        let found = decide(&clients, &who, Wanted::Repository(&repository), Judge::Registry);
        assert_eq!(found, expected, "{address} {wanted}");
    }
}

#[test]
fn a_client_has_to_match_in_every_respect_that_is_named() {
    let mut clients = clients();
    clients.rules[0].matches.networks = vec!["203.0.113.0/24".parse().unwrap()];
    let client = |address: &str, user| {
        let address = address.parse().unwrap();
        clients.name_of(
            clients
                .identify(&Evidence {
                    user,
                    ..Evidence::from(address)
                })
                .client,
        )
    };
    assert_eq!(client("203.0.113.5", Some(0)), "team");
    assert_eq!(client("203.0.113.5", None), "203.0.113.5");
    assert_eq!(client("198.51.100.1", Some(0)), "alice");
    assert_eq!(client("203.0.113.5", Some(1)), "bob");
    clients.rules[0].matches = Matches::default();
    assert_eq!(
        clients
            .identify(&Evidence::from("198.51.100.1".parse().unwrap()))
            .standing,
        Standing::Stranger
    );
}

#[test]
fn scopes_mean_whole_names() {
    for (written, yes, no) in [
        ("docker.io", "docker.io/library/alpine", "ghcr.io/library/alpine"),
        (
            "docker.io/**",
            "docker.io/library/alpine",
            "docker.iox/library/alpine",
        ),
        (
            "docker.io/library/*",
            "docker.io/library/alpine",
            "docker.io/library/a/b",
        ),
        (
            "docker.io/library/*",
            "docker.io/library/alpine",
            "docker.io/xlibrary/alpine",
        ),
        ("ghcr.io/team/**", "ghcr.io/team/a/b", "ghcr.io/team"),
        ("ghcr.io/team", "ghcr.io/team", "ghcr.io/team/a"),
        ("ghcr.io/te.m/app", "ghcr.io/te.m/app", "ghcr.io/team/app"),
        ("ghcr.io/**/prod-*", "ghcr.io/a/b/prod-x", "ghcr.io/a/b/xprod-x"),
        ("*.azurecr.io", "a.azurecr.io/x", "azurecr.io/x"),
        ("*/team/app", "quay.io/team/app", "quay.io/team/apps"),
        (
            "index.docker.io/library/*",
            "docker.io/library/alpine",
            "docker.io/team/app",
        ),
    ] {
        let means = |name| {
            let repository = repository(name);
            scope(written).matches(&repository.registry, &repository.path)
        };
        assert!(means(yes), "{written} {yes}");
        assert!(!means(no), "{written} {no}");
    }
    for wrong in [
        "",
        "/",
        "docker.io/",
        "docker.io//a",
        "docker.io/Library",
        "docker.io/a:b",
        "docker.io/a**",
        "a b",
        "docker.io/a/",
        "*/",
        "docker.io/[a-z]",
        "*docker.io/a",
        &"a".repeat(600),
    ] {
        assert!(Scope::parse(wrong).is_none(), "{wrong}");
    }
}

/// What a scope's path means, told the slow way.
fn means(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), Some((_, left))) => means(rest, left) || means(pattern, left),
        (Some((part, rest)), Some((first, left))) => {
            fn is(part: &[u8], text: &[u8]) -> bool {
                match (part, text) {
                    ([], []) => true,
                    ([b'*', rest @ ..], _) => is(rest, text) || (!text.is_empty() && is(part, &text[1..])),
                    ([a, rest @ ..], [b, left @ ..]) => a == b && is(rest, left),
                    _ => false,
                }
            }
            is(part.as_bytes(), first.as_bytes()) && means(rest, left)
        }
        _ => false,
    }
}

proptest! {
    #[test]
    fn a_scope_means_what_its_stars_say(
        pattern in "(\\*\\*|[ab]\\*?|\\*[ab]|\\*)(/(\\*\\*|[ab]\\*?|\\*[ab]|\\*)){0,3}",
        path in "[ab]{1,2}(/[ab]{1,2}){0,4}",
    ) {
        let found = scope(&format!("a.io/{pattern}")).matches(&"a.io".parse().unwrap(), &path.parse().unwrap());
        let (pattern, path): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), path.split('/').collect());
        prop_assert_eq!(found, means(&pattern, &path));
    }

    /// Whatever a grant says: denying more never opens, and nothing is open that is denied.
    #[test]
    fn deny_has_the_last_word(
        allow in proptest::collection::vec("a\\.io(/(\\*\\*|[ab]))?", 0..3),
        deny in proptest::collection::vec("a\\.io(/(\\*\\*|[ab]))?", 0..3),
        path in "[ab]",
    ) {
        let scopes = |list: &[String]| list.iter().map(|text| scope(text)).collect::<Vec<_>>();
        let (registry, path) = ("a.io".parse().unwrap(), path.parse().unwrap());
        let grant = Grant { allow: scopes(&allow), deny: scopes(&deny), ..Grant::default() };
        let open = Grant { deny: Vec::new(), ..grant.clone() };
        let is_denied = grant.deny.iter().any(|scope| scope.matches(&registry, &path));
        prop_assert_eq!(grant.covers(&registry, &path), open.covers(&registry, &path) && !is_denied);
    }
}

#[test]
fn a_certificate_is_a_client_s_by_any_of_its_names() {
    let mut clients = clients();
    clients.rules[0].matches = Matches {
        certificates: vec![
            "spiffe://cluster.test/ns/ci/sa/runner".to_owned(),
            "node-1".to_owned(),
        ],
        ..Matches::default()
    };
    let with = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let evidence = Evidence {
            certificate: &names,
            ..Evidence::from("198.51.100.1".parse().unwrap())
        };
        let identity = clients.identify(&evidence);
        (
            clients.name_of(identity.client),
            identity.standing,
            identity.proven,
        )
    };
    for names in [&["x", "node-1"][..], &["spiffe://cluster.test/ns/ci/sa/runner"]] {
        assert_eq!(with(names), ("team".to_owned(), Standing::Named(0), true));
    }
    // Whoever has a certificate of the authority's may pull, as whoever has a password.
    for names in [
        &["node-10"][..],
        &["spiffe://cluster.test/ns/ci/sa/runner/x"],
        &["x.node-1"],
    ] {
        assert_eq!(
            with(names),
            ("198.51.100.1".to_owned(), Standing::Admitted, true),
            "{names:?}"
        );
    }
    assert_eq!(with(&[]).1, Standing::Stranger);
}
