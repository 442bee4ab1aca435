//! The grammars of names, row by row.

use proptest::prelude::*;

use super::*;

fn registry(text: &str) -> Result<String, NameError> {
    text.parse()
        .map(|registry: Registry| registry.as_str().to_owned())
}

#[test]
fn s007_every_spelling_of_a_registry_is_one_registry() {
    for (spelling, canonical) in [
        ("docker.io", "docker.io"),
        ("DOCKER.IO", "docker.io"),
        ("docker.io.", "docker.io"),
        ("docker.io:443", "docker.io"),
        ("Docker.io.:443", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("registry-1.docker.io:443", "docker.io"),
        ("index.docker.io:5000", "index.docker.io:5000"),
        ("localhost:5000", "localhost:5000"),
        ("localhost:05000", "localhost:5000"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("10.0.0.1:5000", "10.0.0.1:5000"),
        ("[::1]", "[::1]"),
        ("[::1]:5000", "[::1]:5000"),
        ("[0:0:0:0:0:0:0:1]:443", "[::1]"),
        ("[FE80::A]", "[fe80::a]"),
    ] {
        assert_eq!(registry(spelling).as_deref(), Ok(canonical), "{spelling}");
    }
}

#[test]
fn what_is_no_registry_is_refused() {
    let long = format!("{}.io", "a.".repeat(126));
    let label = format!("{}.io", "a".repeat(64));
    for text in [
        // S004, S005
        "docker.io@127.0.0.1:5000",
        "docker.io/..",
        "docker.io?x",
        "docker.io#",
        "docker.io\r\nX: y",
        "docker.io%0d%0aX",
        "docker .io",
        "docker.io\0",
        "https://docker.io",
        // S007: full-width letters and dots, and names that are not ASCII
        "docker\u{ff0e}io",
        "docker\u{3002}io",
        "\u{ff44}ocker.io",
        "b\u{fc}cher.example",
        "\u{212a}ube.io",
        // S008: numbers that some resolvers read as addresses
        "2130706433",
        "0",
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "0X7F.0.0.1",
        "0177.0.0.1",
        "127.0.0.1.5",
        "256.1.1.1",
        "::1",
        "::ffff:127.0.0.1",
        // form
        "",
        ".",
        "a..b",
        "docker.io..",
        ".docker.io",
        "-a.io",
        "a-.io",
        "a_b.io",
        "*.io",
        "a:",
        "a:0",
        "a:65536",
        "a:+1",
        "a:b",
        "a:1:2",
        "[::1",
        "[::1].",
        "[::1]x",
        "[::1]:",
        "[fe80::1%eth0]",
        "[127.0.0.1]",
        "[]",
        &long,
        &label,
    ] {
        assert_eq!(registry(text), Err(NameError::Registry), "{text:?}");
    }
}

#[test]
fn the_host_is_what_stands_before_the_port() {
    for (text, host) in [
        ("docker.io", "docker.io"),
        ("a:5000", "a"),
        ("[::1]:5000", "[::1]"),
        ("[::1]", "[::1]"),
    ] {
        assert_eq!(text.parse::<Registry>().unwrap().host(), host);
    }
}

#[test]
fn clients_tell_registries_from_repositories_by_dot_port_and_localhost() {
    for text in ["ghcr.io", "a:1", "localhost", "[::1]:5000"] {
        assert!(Registry::stands_first(text), "{text}");
    }
    for text in ["library", "localhosts", "a-b", ""] {
        assert!(!Registry::stands_first(text), "{text}");
    }
}

#[test]
fn s085_repository_names_follow_the_specification() {
    let longest = "a".repeat(255);
    let deep = vec!["a"; 100].join("/");
    for text in [
        "a",
        "0",
        "library/alpine",
        "a.b",
        "a_b",
        "a__b",
        "a-b",
        "a--b",
        "a---b",
        "a/b/c",
        "0-0",
        "blobs",
        "manifests",
        "tags/list",
        "a.b/c_d/e__f/g-h",
        &longest,
        &deep,
    ] {
        assert!(text.parse::<RepositoryPath>().is_ok(), "{text}");
    }
    let too_long = "a".repeat(256);
    for text in [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        "A",
        "aB",
        "-x",
        "x-",
        "_a",
        "a_",
        ".a",
        "a.",
        "a..b",
        "a___b",
        "a._b",
        "a-_b",
        "a.-b",
        "..",
        "a/../b",
        "a/./b",
        "a b",
        "a%2fb",
        "a\\b",
        "a\0",
        "a\nb",
        "caf\u{e9}",
        "_catalog",
        "a:b",
        "a@b",
        "a+b",
        "a;b",
        &too_long,
    ] {
        assert_eq!(
            text.parse::<RepositoryPath>(),
            Err(NameError::Repository),
            "{text:?}"
        );
    }
}

#[test]
fn s085_tags_follow_the_specification() {
    let longest = "t".repeat(128);
    for text in [
        "latest", "v1.2.3", "_x", "A", "0", "a..b", "a-.-b", "a_", &longest,
    ] {
        assert!(text.parse::<Tag>().is_ok(), "{text}");
    }
    let too_long = "t".repeat(129);
    for text in [
        "", ".a", "-a", "..", "a b", "a/b", "a:b", "a%2e", "a+b", "\u{e9}", "a\0", "a\n", &too_long,
    ] {
        assert_eq!(text.parse::<Tag>(), Err(NameError::Tag), "{text:?}");
    }
}

#[test]
fn the_referrers_tag_is_the_digest_with_a_dash_cut_to_64_digits() {
    let short = Digest::sha256(b"abc");
    assert_eq!(
        Tag::of_referrers(&short).as_str(),
        format!("sha256-{}", short.hex())
    );
    let long = Digest::of(crate::oci::Algorithm::Sha512, b"abc");
    assert_eq!(
        Tag::of_referrers(&long).as_str(),
        format!("sha512-{}", &long.hex()[..64])
    );
    assert!(Tag::of_referrers(&long).as_str().parse::<Tag>().is_ok());
}

#[test]
fn the_first_part_is_split_off() {
    let path: RepositoryPath = "ghcr.io/owner/app".parse().unwrap();
    let (first, rest) = path.split_first().unwrap();
    assert_eq!((first, rest.as_str()), ("ghcr.io", "owner/app"));
    assert!(rest.split_first().unwrap().1.split_first().is_none());
}

#[test]
fn a_registry_with_a_port_is_taken_off_a_name() {
    let (registry, rest) = RepositoryPath::parse_with_registry("localhost:5000/a/b").unwrap();
    assert_eq!((registry, rest.as_str()), ("localhost:5000", "a/b"));
    for text in [
        "localhost:5000",
        "localhost:5000/",
        "library/alpine",
        "localhost:5000/A",
        "a:1/../b",
    ] {
        assert!(RepositoryPath::parse_with_registry(text).is_none(), "{text}");
    }
}

proptest! {
    #[test]
    fn names_are_the_language_of_the_specification(text in "[ab0A._-]{0,8}(/[ab0A._-]{0,5})?") {
        let grammar = regex::Regex::new(
            r"^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$",
        ).unwrap();
        prop_assert_eq!(text.parse::<RepositoryPath>().is_ok(), grammar.is_match(&text));
    }

    #[test]
    fn tags_are_the_language_of_the_specification(text in "[aZ0._/ -]{0,6}") {
        let grammar = regex::Regex::new(r"^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$").unwrap();
        prop_assert_eq!(text.parse::<Tag>().is_ok(), grammar.is_match(&text));
    }

    #[test]
    fn a_canonical_registry_is_its_own_canonical_form(text in "\\[?[a-fA-Fx0-9.:-]{1,20}\\]?(:[0-9]{1,5})?") {
        if let Ok(registry) = text.parse::<Registry>() {
            prop_assert_eq!(registry.as_str().parse::<Registry>(), Ok(registry));
        }
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text: String) {
        let _ = (text.parse::<Registry>(), text.parse::<RepositoryPath>(), text.parse::<Tag>());
        let _ = RepositoryPath::parse_with_registry(&text);
    }
}

#[test]
fn what_stands_beside_an_image_has_the_name_of_its_digest() {
    let digest: Digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
    let list = Tag::of_referrers(&digest);
    let signatures: Vec<Tag> = Tag::of_signatures(&digest).collect();
    let names: Vec<&str> = signatures.iter().map(Tag::as_str).collect();
    let hex = "ab".repeat(32);
    let expected = ["sig", "att", "sbom"].map(|kind| format!("sha256-{hex}.{kind}"));
    assert_eq!(names, expected);
    assert!(signatures.iter().chain([&list]).all(Tag::stands_beside));
    for other in [
        "latest",
        "sha256-ab",
        &format!("md5-{hex}"),
        &format!("sha256-{hex}0"),
        &format!("v-{hex}.sig"),
    ] {
        assert!(!other.parse::<Tag>().unwrap().stands_beside(), "{other}");
    }
}
