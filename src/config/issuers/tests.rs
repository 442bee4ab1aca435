//! Issuers as they are written, and what is said of wrong ones.

use crate::config::effective;
use crate::config::tests::{refused, settings};
use crate::server::issuers::Place;

const GITHUB: &str = "[[issuer]]\nname = \"github\"\nurl = \"https://token.actions.githubusercontent.com\"\n\
    audience = \"https://cache.example.com\"\n";

#[test]
fn an_issuer_and_whom_it_vouches_for_are_read_and_shown() {
    let client = "[[client]]\nname = \"acme\"\ntier = \"basic\"\n\
        match = { issuer = \"github\", claims = { repository_owner = \"acme\", \"a/b\" = '^x.*$' } }\n";
    let text = format!(
        "{GITHUB}[[issuer]]\nname = \"k8s\"\nurl = \"cluster\"\naudience = [\"a\", \"b\"]\nalgorithms = [\"EdDSA\"]\n\
         jwks = \"http://10.0.0.1/keys\"\ninsecure = true\n{client}"
    );
    let read = settings(&text);
    let issuers = &read.server.clients.access.issuers;
    assert_eq!(issuers[0].claims, ["a/b", "repository_owner"]);
    assert!(issuers[1].claims.is_empty() && issuers[1].audiences == ["a", "b"]);
    assert_eq!(read.server.issuers[0].keys, Place::Discovered);
    assert!(matches!(&read.server.issuers[1].keys, Place::At(url) if url.path() == "/keys"));
    let shown = effective(&read);
    let again = settings(&shown);
    assert_eq!(
        format!("{:?}", again.server),
        format!("{:?}", read.server),
        "{shown}"
    );
}

#[test]
fn what_is_wrong_with_an_issuer_is_said_with_the_next_step() {
    let client = |matches: &str| {
        format!("{GITHUB}[[client]]\nname = \"x\"\ntier = \"basic\"\nmatch = {{ {matches} }}\n")
    };
    for (text, what) in [
        (
            "[[issuer]]\nname = \"x\"\nurl = \"https://x.test\"\n".to_owned(),
            "`audience` is missing",
        ),
        (
            format!("{GITHUB}algorithms = [\"HS256\"]\n"),
            "an algorithm with a shared secret is none",
        ),
        (
            format!("{GITHUB}algorithms = [\"none\"]\n"),
            "algorithms = \"none\": expected one of",
        ),
        (format!("{GITHUB}algorithms = []\n"), "algorithms is empty"),
        (
            GITHUB.replace("https://token", "http://token"),
            "set insecure = true to accept this",
        ),
        (
            GITHUB.replace("https://token.actions.githubusercontent.com", "cluster"),
            "say where they are: jwks",
        ),
        (
            GITHUB.replace("\"https://cache.example.com\"", "[]"),
            "audience is empty",
        ),
        (
            GITHUB.replace("\"https://cache.example.com\"", "\"\""),
            "letter for letter",
        ),
        (
            format!("{GITHUB}jwks = {{ file = \"/nowhere/keys\" }}\n"),
            "/nowhere/keys: it cannot be read",
        ),
        (format!("{GITHUB}jwks = {{ }}\n"), "jwks.file is missing"),
        (format!("{GITHUB}jwks = \"keys\"\n"), "begin with https://"),
        (
            format!("{GITHUB}token = \"secret\"\n"),
            "token is a text: expected a reference",
        ),
        (
            format!("{GITHUB}{}", GITHUB.replace("\"github\"", "\"other\"")),
            "url is that of another [[issuer]]",
        ),
        (client("issuer = \"githb\""), "did you mean \"github\"?"),
        (
            client("claims = { ref = \"x\" }"),
            "claims: expected issuer beside it",
        ),
        (
            client("issuer = \"github\", claims = { ref = \"(\" }"),
            "claims.ref = \"(\": expected a regular expression",
        ),
        (
            client("issuer = \"github\", claims = \"ref\""),
            "claims is a text: expected a table",
        ),
    ] {
        let report = refused(&text);
        assert!(report.contains(what), "{what} is not in\n{report}");
        assert!(report.starts_with("error: 1 problem "), "{report}");
    }
}
