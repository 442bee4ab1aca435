//! Which registry a request means: the order of precedence, row by row.

use super::*;
use crate::oci::Route;

fn registry(text: &str) -> Registry {
    text.parse().unwrap()
}

fn entry(pattern: &str, hosts: &[&str], default: bool) -> Entry {
    Entry {
        pattern: Pattern::parse(pattern).unwrap(),
        hosts: hosts.iter().map(|host| registry(host)).collect(),
        default,
        offer: Offer::default(),
    }
}

/// Docker Hub by default, two others, and a pattern.
fn names() -> Names {
    Names::new(vec![
        entry("docker.io", &["hub.mirror.internal:5000"], true),
        entry("ghcr.io", &["ghcr.mirror.internal"], false),
        entry("localhost:5000", &[], false),
        entry("*.azurecr.io", &[], false),
        entry("special.azurecr.io", &[], false),
    ])
}

/// What a request for `/v2/<name>/manifests/t` means, as `entry:repository`.
fn choose(names: &Names, name: &str, query: &str, host: &str) -> Result<String, String> {
    let route = Route::parse(&format!("/v2/{name}/manifests/t"), Some(query)).unwrap();
    let host: Option<Registry> = host.parse().ok();
    match names.choose(route.target().unwrap(), host.as_ref()) {
        Ok(chosen) => Ok(format!("{}:{}", chosen.entry, chosen.repository)),
        Err(unknown) => Err(unknown.to_string()),
    }
}

#[test]
fn namespace_then_host_then_first_part_then_default() {
    for (name, query, host, expected) in [
        ("alpine", "", "", "0:docker.io/library/alpine"),
        ("alpine", "", "mirror.internal:5000", "0:docker.io/library/alpine"),
        ("owner/app", "", "", "0:docker.io/owner/app"),
        ("library/alpine", "", "", "0:docker.io/library/alpine"),
        ("a/b/c", "", "", "0:docker.io/a/b/c"),
        // The first part.
        ("docker.io/alpine", "", "", "0:docker.io/library/alpine"),
        ("docker.io/library/alpine", "", "", "0:docker.io/library/alpine"),
        ("index.docker.io/alpine", "", "", "0:docker.io/library/alpine"),
        ("ghcr.io/owner/app", "", "", "1:ghcr.io/owner/app"),
        ("ghcr.io/app", "", "", "1:ghcr.io/app"),
        ("GHCR.io/app", "", "", "1:ghcr.io/app"),
        ("localhost:5000/app", "", "", "2:localhost:5000/app"),
        ("team.azurecr.io/app", "", "", "3:team.azurecr.io/app"),
        ("special.azurecr.io/app", "", "", "4:special.azurecr.io/app"),
        ("ghcr/app", "", "", "0:docker.io/ghcr/app"),
        // The host goes before the first part.
        ("owner/app", "", "ghcr.io", "1:ghcr.io/owner/app"),
        ("owner/app", "", "GHCR.IO:443", "1:ghcr.io/owner/app"),
        ("app", "", "ghcr.mirror.internal", "1:ghcr.io/app"),
        ("app", "", "hub.mirror.internal:5000", "0:docker.io/library/app"),
        ("docker.io/app", "", "ghcr.io", "1:ghcr.io/docker.io/app"),
        // The namespace goes before both.
        ("owner/app", "ns=ghcr.io", "docker.io", "1:ghcr.io/owner/app"),
        ("app", "ns=docker.io", "ghcr.io", "0:docker.io/library/app"),
        ("docker.io/app", "ns=ghcr.io", "", "1:ghcr.io/docker.io/app"),
        ("app", "ns=team.azurecr.io", "", "3:team.azurecr.io/app"),
    ] {
        let chosen = choose(&names(), name, query, host);
        assert_eq!(chosen.as_deref(), Ok(expected), "{name}?{query} at {host}");
    }
}

#[test]
fn s001_s002_s003_an_unknown_registry_is_refused() {
    for unknown in [
        "evil.test",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "metadata.google.internal",
        "100.100.100.200",
        "127.0.0.1:5000",
        "localhost",
        "[::1]",
        "docker.io:80",
        "ghcr.io:8443",
        "azurecr.io",
        "azurecr.io.evil.test",
        "evilazurecr.io",
        "team.azurecr.io:444",
    ] {
        let expected = Err(format!("the registry `{unknown}` is not configured here"));
        assert_eq!(
            choose(&names(), "x", &format!("ns={unknown}"), "docker.io"),
            expected,
            "ns={unknown}"
        );
        assert_eq!(
            choose(&names(), &format!("{unknown}/x"), "", ""),
            expected,
            "{unknown}/x"
        );
    }
}

#[test]
fn s009_a_host_nobody_configured_selects_nothing() {
    for host in [
        "evil.test",
        "127.0.0.1:5000",
        "team.azurecr.io",
        "not a host",
        "docker.io:5000",
    ] {
        let chosen = choose(&names(), "owner/app", "", host);
        assert_eq!(chosen.as_deref(), Ok("0:docker.io/owner/app"), "{host}");
        let chosen = choose(&names(), "owner/app", "ns=ghcr.io", host);
        assert_eq!(chosen.as_deref(), Ok("1:ghcr.io/owner/app"), "{host}");
    }
}

#[test]
fn a_registry_with_a_port_beside_a_namespace_is_no_repository() {
    let expected = Err("the registry `localhost:5000` is not configured here".to_owned());
    assert_eq!(choose(&names(), "localhost:5000/app", "ns=ghcr.io", ""), expected);
    assert_eq!(choose(&names(), "localhost:5000/app", "", "ghcr.io"), expected);
}

#[test]
fn without_a_default_a_registry_must_be_named() {
    let names = Names::new(vec![entry("ghcr.io", &[], false), entry("*", &[], true)]);
    let expected = Err("the request names no registry, and no default is configured".to_owned());
    assert_eq!(choose(&names, "owner/app", "", ""), expected);
    assert_eq!(
        choose(&names, "ghcr.io/app", "", "").as_deref(),
        Ok("0:ghcr.io/app")
    );
    assert_eq!(
        choose(&names, "any.test/app", "", "").as_deref(),
        Ok("1:any.test/app")
    );
}

#[test]
fn a_default_that_is_not_docker_hub_may_have_names_with_dots() {
    let names = Names::new(vec![entry("quay.test", &[], true), entry("ghcr.io", &[], false)]);
    assert_eq!(
        choose(&names, "my.team/app", "", "").as_deref(),
        Ok("0:quay.test/my.team/app")
    );
    assert_eq!(
        choose(&names, "ghcr.io/app", "", "").as_deref(),
        Ok("1:ghcr.io/app")
    );
    assert_eq!(
        choose(&names, "alpine", "", "").as_deref(),
        Ok("0:quay.test/alpine"),
        "only Docker Hub has library/"
    );
}

#[test]
fn where_two_entries_match_the_exact_one_wins_then_the_earlier() {
    let names = Names::new(vec![
        entry("*", &[], false),
        entry("*.b.test", &[], false),
        entry("*.c.b.test", &[], false),
        entry("a.b.test", &[], false),
    ]);
    for (text, expected) in [
        ("a.b.test", 3),
        ("x.c.b.test", 1),
        ("x.b.test", 1),
        ("ghcr.io", 0),
        ("x.b.test:5000", 0),
    ] {
        assert_eq!(names.entry(&registry(text)), Some(expected), "{text}");
    }
}

#[test]
fn a_name_of_its_own_is_never_taken_and_the_earlier_claim_holds() {
    let names = Names::new(vec![
        entry("ghcr.io", &[], true),
        entry("a.test", &["ghcr.io", "shared.internal"], true),
        entry("b.test", &["shared.internal"], false),
    ]);
    assert_eq!(
        choose(&names, "x/y", "", "ghcr.io").as_deref(),
        Ok("0:ghcr.io/x/y")
    );
    assert_eq!(
        choose(&names, "x/y", "", "shared.internal").as_deref(),
        Ok("1:a.test/x/y")
    );
    assert_eq!(choose(&names, "x/y", "", "").as_deref(), Ok("0:ghcr.io/x/y"));
}

#[test]
fn patterns_are_exact_names_suffixes_or_everything() {
    assert_eq!(Pattern::parse("*"), Some(Pattern::Any));
    assert_eq!(
        Pattern::parse("GHCR.io"),
        Some(Pattern::Exact(registry("ghcr.io")))
    );
    assert_eq!(
        Pattern::parse("*.AzureCR.io"),
        Some(Pattern::Suffix(".azurecr.io".to_owned()))
    );
    for text in [
        "",
        "**",
        "*io",
        "*.",
        "*.io",
        "*.azurecr.io:5000",
        "a.*.io",
        "*.*.io",
        "*.[::1]",
        "*..io",
        "*.a b.io",
    ] {
        assert_eq!(Pattern::parse(text), None, "{text}");
    }
}

#[test]
fn a_name_that_has_no_room_for_library_stays_as_it_is() {
    let long = "a".repeat(255);
    assert_eq!(choose(&names(), &long, "", ""), Ok(format!("0:docker.io/{long}")));
}
