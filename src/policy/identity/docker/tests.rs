//! What is read of files as Docker, Podman, Kubernetes and the clouds' tools write them.

use super::*;

fn found(text: &str, registry: &str) -> Result<Vec<String>, Unusable> {
    let entries = read(text, &registry.parse().unwrap())?;
    let word = |entry: &Entry| match &entry.found {
        Found::Login { username, password } => format!("{}={username}:{password}", entry.prefix),
        Found::Helper(name) => format!("{}={name}", entry.prefix),
    };
    Ok(entries.iter().map(word).collect())
}

#[test]
fn every_spelling_of_a_registry_is_understood_and_no_other_registry_is() {
    let auth = BASE64_STANDARD.encode("robot:pass:word");
    for (key, registry) in [
        ("ghcr.io", "ghcr.io"),
        ("https://ghcr.io", "ghcr.io"),
        ("https://ghcr.io/v2/", "ghcr.io"),
        ("GHCR.io", "ghcr.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("localhost:5000", "localhost:5000"),
    ] {
        let text = format!(r#"{{"auths":{{"{key}":{{"auth":"{auth}","email":"x"}}}},"HttpHeaders":{{}}}}"#);
        assert_eq!(
            found(&text, registry),
            Ok(vec!["=robot:pass:word".to_owned()]),
            "{key}"
        );
        // S027: what is for one registry is shown to no other.
        assert_eq!(found(&text, "evil.example"), Ok(Vec::new()), "{key}");
        assert_eq!(found(&text, "ghcr.io.evil.example"), Ok(Vec::new()), "{key}");
    }
}

#[test]
fn a_helper_of_its_own_goes_before_the_helper_for_all_and_that_before_what_the_file_holds() {
    let auth = BASE64_STANDARD.encode("robot:word");
    let auths = format!(r#""auths":{{"a.io":{{"auth":"{auth}"}},"b.io":{{}}}}"#);
    let plain = format!("{{{auths}}}");
    let store = format!(r#"{{{auths},"credsStore":"desktop"}}"#);
    let own = format!(r#"{{{auths},"credsStore":"desktop","credHelpers":{{"a.io":"ecr-login"}}}}"#);
    assert_eq!(found(&plain, "a.io"), Ok(vec!["=robot:word".to_owned()]));
    assert_eq!(found(&plain, "b.io"), Ok(Vec::new()));
    assert_eq!(found(&store, "a.io"), Ok(vec!["=desktop".to_owned()]));
    assert_eq!(found(&store, "b.io"), Ok(vec!["=desktop".to_owned()]));
    assert_eq!(found(&own, "a.io"), Ok(vec!["=ecr-login".to_owned()]));
    assert_eq!(found(&own, "b.io"), Ok(vec!["=desktop".to_owned()]));
}

#[test]
fn paths_have_credentials_of_their_own_and_the_plainest_spelling_counts() {
    let [one, two] = ["one:1", "two:2"].map(|pair| BASE64_STANDARD.encode(pair));
    let text = format!(
        r#"{{"auths":{{"quay.io/team":{{"auth":"{two}"}},"https://quay.io":{{"auth":"{two}"}},
        "quay.io":{{"auth":"{one}"}},"quay.io/Not-A-Path":{{"auth":"{one}"}}}},"credHelpers":{{"quay.io/team/app":"x"}}}}"#
    );
    let wanted = ["=one:1", "team=two:2", "team/app=x"].map(str::to_owned).to_vec();
    assert_eq!(found(&text, "quay.io"), Ok(wanted));
    let registry = "quay.io".parse().unwrap();
    assert_eq!(server(&registry, &Prefix::parse("team").unwrap()), "quay.io/team");
    assert_eq!(server(&"docker.io".parse().unwrap(), &Prefix::ALL), HUB);
}

#[test]
fn logins_come_as_base64_as_two_fields_and_as_identity_tokens() {
    let padded = BASE64_STANDARD.encode("robot:word\0\0");
    for (entry, wanted) in [
        (format!(r#"{{"auth":"{padded}"}}"#), "=robot:word"),
        (
            r#"{"username":"robot","password":"word"}"#.to_owned(),
            "=robot:word",
        ),
        (
            format!(
                r#"{{"auth":"{}","identitytoken":"t"}}"#,
                BASE64_STANDARD.encode("0-0:")
            ),
            "=<token>:t",
        ),
    ] {
        let text = format!(r#"{{"auths":{{"a.io":{entry}}}}}"#);
        assert_eq!(found(&text, "a.io"), Ok(vec![wanted.to_owned()]), "{entry}");
    }
}

#[test]
fn what_cannot_be_used_is_named_by_its_key_and_never_quoted() {
    for (text, wanted) in [
        ("", "it is no config.json of Docker (line 1, column 0)"),
        ("[]", "it is no config.json"),
        (
            r#"{"auths":{"a.io":{"auth":"Q0FOQVJZ"}}}"#,
            "what stands under \"a.io\"",
        ),
        (
            r#"{"auths":{"a.io":{"auth":"CANARY!"}}}"#,
            "what stands under \"a.io\"",
        ),
        (
            r#"{"auths":{"a.io":{"username":"CANARY"}}}"#,
            "what stands under \"a.io\"",
        ),
        (
            r#"{"auths":{"a.io":{"registrytoken":"CANARY"}}}"#,
            "registrytoken",
        ),
        (
            r#"{"credHelpers":{"a.io":"../CANARY"}}"#,
            "the helper of \"a.io\"",
        ),
        (r#"{"credsStore":"a b"}"#, "the helper of \"credsStore\""),
    ] {
        let why = found(text, "a.io").unwrap_err().to_string();
        assert!(
            why.contains(wanted) && !why.contains("CANARY") && !why.contains("Q0FO"),
            "{why}"
        );
    }
    let many: Vec<String> = (0..65).map(|number| format!(r#""a.io/p{number}":"x""#)).collect();
    let many = format!(r#"{{"credHelpers":{{{}}}}}"#, many.join(","));
    assert_eq!(found(&many, "a.io"), Err(Unusable::Many));
    assert_eq!(
        found(r#"{"auths":{"b.io":{"auth":"!"}}}"#, "a.io"),
        Ok(Vec::new())
    );
}
