//! Routes: what is one, what is none, and that parsing undoes printing.

use proptest::prelude::*;

use super::*;

const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn digest() -> Digest {
    DIGEST.parse().unwrap()
}

fn target(path: &str) -> Target {
    Target {
        namespace: None,
        prefix: None,
        path: path.parse().unwrap(),
    }
}

fn tag(text: &str) -> Reference {
    Reference::Tag(text.parse().unwrap())
}

fn page(count: usize, asked: bool, last: Option<&str>) -> Page {
    Page {
        count,
        asked,
        last: last.map(str::to_owned),
    }
}

#[test]
fn s090_the_base_and_its_neighbours_are_told_apart() {
    for path in ["/v2", "/v2/"] {
        assert_eq!(Route::parse(path, None), Ok(Route::Base), "{path}");
    }
    assert_eq!(Route::parse("/v2/", Some("")), Ok(Route::Base));
    for path in [
        "/",
        "",
        "/V2/",
        "/v1/",
        "/v2x",
        "/v22/",
        "v2/",
        "//v2/",
        "/v2//",
        "/v2/a",
        "/v2/a/",
        "/v2/manifests/latest",
        "/v2/a/tags",
        "/v2/a/tags/all",
        "/v2/a/blobs/uploads/",
    ] {
        assert!(Route::parse(path, None).is_err(), "{path}");
    }
}

#[test]
fn every_endpoint_of_the_pull_side_is_understood() {
    for (path, query, expected) in [
        (
            "/v2/library/alpine/manifests/latest",
            None,
            Route::Manifest(target("library/alpine"), tag("latest")),
        ),
        (
            "/v2/a/manifests/sha256:DIGEST",
            None,
            Route::Manifest(target("a"), Reference::Digest(digest())),
        ),
        (
            "/v2/a/b/c/blobs/sha256:DIGEST",
            None,
            Route::Blob(target("a/b/c"), digest()),
        ),
        (
            "/v2/a/tags/list",
            Some("n=7&last=v1"),
            Route::Tags(target("a"), page(7, true, Some("v1"))),
        ),
        (
            "/v2/a/referrers/sha256:DIGEST",
            None,
            Route::Referrers(target("a"), digest(), None),
        ),
        (
            "/v2/a/referrers/sha256:DIGEST",
            Some("artifactType=application/spdx+json"),
            Route::Referrers(target("a"), digest(), Some("application/spdx+json".to_owned())),
        ),
        (
            "/v2/_catalog",
            None,
            Route::Catalog(None, page(MAX_PAGE, false, None)),
        ),
        (
            "/v2/_catalog",
            Some("ns=ghcr.io&n=0"),
            Route::Catalog("ghcr.io".parse().ok(), page(0, true, None)),
        ),
    ] {
        let path = path.replace("sha256:DIGEST", DIGEST);
        assert_eq!(Route::parse(&path, query), Ok(expected), "{path}");
    }
}

#[test]
fn repositories_named_like_endpoints_are_repositories() {
    for name in [
        "blobs/manifests",
        "manifests",
        "tags/list",
        "blobs",
        "a/referrers/b",
        "v2",
    ] {
        let manifest = Route::parse(&format!("/v2/{name}/manifests/list"), None);
        assert_eq!(manifest, Ok(Route::Manifest(target(name), tag("list"))), "{name}");
        let blob = Route::parse(&format!("/v2/{name}/blobs/{DIGEST}"), None);
        assert_eq!(blob, Ok(Route::Blob(target(name), digest())), "{name}");
        let tags = Route::parse(&format!("/v2/{name}/tags/list"), None);
        assert_eq!(
            tags,
            Ok(Route::Tags(target(name), page(MAX_PAGE, false, None))),
            "{name}"
        );
    }
}

#[test]
fn a_first_part_with_a_port_is_a_registry() {
    for (name, prefix, path) in [
        ("localhost:5000/app", Some("localhost:5000"), "app"),
        ("GHCR.IO/owner/app", Some("ghcr.io"), "owner/app"),
        ("[::1]:5000/app", Some("[::1]:5000"), "app"),
        ("ghcr.io/owner/app", None, "ghcr.io/owner/app"),
    ] {
        let Ok(Route::Manifest(target, _)) = Route::parse(&format!("/v2/{name}/manifests/t"), None) else {
            panic!("{name}");
        };
        assert_eq!(target.prefix.as_ref().map(Registry::as_str), prefix, "{name}");
        assert_eq!(target.path.as_str(), path);
    }
}

#[test]
fn s083_s084_tricks_with_paths_are_refused() {
    for trick in [
        "..",
        ".",
        "%2e%2e",
        "%252e%252e",
        "%2f",
        "..;",
        "a\\b",
        "%5c",
        "a%2fb",
        "\0",
        "\u{1}",
        "\r\n",
        "%zz",
        "\u{e9}",
        "\u{c0}\u{ae}",
        " ",
        "a b",
        "a?b",
        "A",
        "a;b",
        "",
    ] {
        for path in [
            format!("/v2/{trick}/manifests/t"),
            format!("/v2/a/{trick}/manifests/t"),
            format!("/v2/{trick}/a/manifests/t"),
        ] {
            assert!(Route::parse(&path, None).is_err(), "{path:?}");
        }
        if trick != "A" {
            let path = format!("/v2/a/manifests/{trick}");
            assert!(Route::parse(&path, None).is_err(), "{path:?}");
        }
    }
}

#[test]
fn s086_tricks_with_digests_are_refused() {
    let hex = &DIGEST[7..];
    for text in [
        format!("sha256:../{}", &hex[3..]),
        format!("sha256:%2f{}", &hex[3..]),
        format!("sha256%3A{hex}"),
        format!("sha256:{hex}%00"),
        format!("sha256:{}/x", &hex[2..]),
        format!("SHA256:{hex}"),
        "latest".to_owned(),
        String::new(),
    ] {
        for kind in ["blobs", "referrers"] {
            assert!(
                Route::parse(&format!("/v2/a/{kind}/{text}"), None).is_err(),
                "{kind} {text}"
            );
        }
    }
    let wrong = Route::parse("/v2/a/manifests/sha256:abc", None);
    assert_eq!(
        wrong,
        Err(RouteError::Digest(DigestError::Length)),
        "a colon never makes a tag"
    );
}

#[test]
fn s006_the_namespace_is_one_registry_or_an_error() {
    let parse = |query: &str| Route::parse("/v2/a/manifests/t", Some(query));
    let named = |query: &str| parse(query).unwrap().target().unwrap().namespace.clone();
    for query in [
        "ns=docker.io",
        "ns=DOCKER.io",
        "ns=docker.io%3A443",
        "x=1&ns=docker.io&",
        "&&ns=index.docker.io",
    ] {
        assert_eq!(named(query).unwrap().as_str(), "docker.io", "{query}");
    }
    // Keys are case-sensitive, and `;` separates nothing: these name no registry.
    for query in [
        "",
        "NS=evil.test",
        ";ns=evil.test",
        "x=1;ns=evil.test",
        "n%73=evil.test",
    ] {
        assert_eq!(named(query), None, "{query}");
    }
    for query in [
        "ns=",
        "ns",
        "ns=docker.io&ns=evil.test",
        "ns=docker.io&ns=docker.io",
        "ns=docker.io;ns=evil.test",
        "ns=docker.io@127.0.0.1:5000",
        "ns=docker.io/..",
        "ns=docker.io%2f..",
        "ns=docker.io%0d%0aX: y",
        "ns=docker.io%00",
        "ns=docker.io%20",
        "ns=docker.io%23",
        "ns=%ff",
        "ns=%zz",
        "ns=https://docker.io",
    ] {
        assert_eq!(parse(query), Err(RouteError::Namespace), "{query}");
    }
}

#[test]
fn pages_are_bounded() {
    let parse = |query: &str| Route::parse("/v2/a/tags/list", Some(query));
    for (query, count) in [
        ("n=1000", 1000),
        ("n=1001", 1000),
        ("n=99999999999999999999999", 1000),
        ("n=00", 0),
    ] {
        assert_eq!(
            parse(query),
            Ok(Route::Tags(target("a"), page(count, true, None))),
            "{query}"
        );
    }
    for query in ["n=", "n", "n=-1", "n=+1", "n=1.5", "n=a", "n=%31"] {
        assert_eq!(parse(query), Err(RouteError::Page), "{query}");
    }
    assert_eq!(
        parse("last=a%0ab"),
        Ok(Route::Tags(target("a"), page(MAX_PAGE, false, None)))
    );
}

#[test]
fn what_is_too_long_is_not_read() {
    let long = format!("/v2/{}", "a/".repeat(MAX_TARGET));
    assert_eq!(Route::parse(&long, None), Err(RouteError::TooLong));
    assert_eq!(
        Route::parse("/v2/", Some(&"&".repeat(MAX_TARGET))),
        Err(RouteError::TooLong)
    );
}

/// Writes a route as a client would.
fn render(route: &Route) -> (String, String) {
    let name = |target: &Target| match &target.prefix {
        Some(prefix) => format!("/v2/{prefix}/{}", target.path),
        None => format!("/v2/{}", target.path),
    };
    let path = match route {
        Route::Base => "/v2/".to_owned(),
        Route::Manifest(target, reference) => format!("{}/manifests/{reference}", name(target)),
        Route::Blob(target, digest) => format!("{}/blobs/{digest}", name(target)),
        Route::Tags(target, _) => format!("{}/tags/list", name(target)),
        Route::Referrers(target, digest, _) => format!("{}/referrers/{digest}", name(target)),
        Route::Catalog(..) => "/v2/_catalog".to_owned(),
    };
    let mut query = Vec::new();
    let namespace = match route {
        Route::Catalog(registry, _) => registry.as_ref(),
        other => other.target().and_then(|target| target.namespace.as_ref()),
    };
    query.extend(namespace.map(|registry| format!("ns={registry}")));
    if let Route::Tags(_, page) | Route::Catalog(_, page) = route {
        query.extend(page.asked.then(|| format!("n={}", page.count)));
        query.extend(page.last.as_ref().map(|last| format!("last={last}")));
    }
    if let Route::Referrers(_, _, Some(kind)) = route {
        query.push(format!("artifactType={kind}"));
    }
    (path, query.join("&"))
}

fn any_route() -> impl Strategy<Value = Route> {
    let registry =
        || prop::option::of("[a-z]{1,5}\\.io(:5000)?".prop_map(|text| text.parse::<Registry>().unwrap()));
    let prefix = prop::option::of(Just("localhost:5000".parse::<Registry>().unwrap()));
    let part = "[a-z0-9]{1,3}|blobs|manifests|tags|list|referrers|ghcr\\.io";
    let path = prop::collection::vec(part, 1..5).prop_map(|parts| parts.join("/").parse().unwrap());
    let target = (registry(), prefix, path).prop_map(|(namespace, prefix, path)| Target {
        namespace,
        prefix,
        path,
    });
    let hash = any::<[u8; 4]>().prop_map(|bytes| Digest::sha256(&bytes));
    let page = (
        prop::option::of(0..=MAX_PAGE),
        prop::option::of("[a-z0-9./+-]{1,9}"),
    )
        .prop_map(|(count, last)| Page {
            count: count.unwrap_or(MAX_PAGE),
            asked: count.is_some(),
            last,
        });
    let kind = prop::option::of("[a-z]{1,5}/[a-z+.]{1,9}");
    (
        target,
        hash,
        page,
        kind,
        registry(),
        "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,9}",
        0..7,
    )
        .prop_map(|(target, hash, page, kind, registry, tag, which)| match which {
            0 => Route::Base,
            1 => Route::Manifest(target, Reference::Tag(tag.parse().unwrap())),
            2 => Route::Manifest(target, Reference::Digest(hash)),
            3 => Route::Blob(target, hash),
            4 => Route::Tags(target, page),
            5 => Route::Referrers(target, hash, kind),
            _ => Route::Catalog(registry, page),
        })
}

proptest! {
    #[test]
    fn parsing_undoes_printing(route in any_route()) {
        let (path, query) = render(&route);
        prop_assert_eq!(Route::parse(&path, Some(&query)), Ok(route));
    }

    #[test]
    fn what_is_understood_prints_to_what_is_understood_the_same(
        path in "/v2/([a-z.:0-9/-]|blobs|manifests|tags/list){0,12}/(manifests|tags)/[a-zA-Z:.]{1,6}",
        query in "(ns=[a-zA-Z.]{1,9}&)?(n=[0-9]{1,5}&)?",
    ) {
        if let Ok(route) = Route::parse(&path, Some(&query)) {
            let (path, query) = render(&route);
            prop_assert_eq!(Route::parse(&path, Some(&query)), Ok(route));
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(path: String, query: String) {
        let _ = Route::parse(&path, Some(&query));
        let _ = Route::parse(&format!("/v2/{path}/manifests/{query}"), Some(&path));
    }
}
