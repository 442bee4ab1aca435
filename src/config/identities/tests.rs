//! Sources of credentials, as they are written, and as `config.json` has them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::config::tests::{load_text, refused, settings};
use crate::config::{Changes, effective};
use crate::upstream::{Account, Identity, Source};

fn entry(credentials: &str) -> String {
    format!("[[upstream]]\nregistry = \"quay.io\"\naccess = \"shared\"\ncredentials = [{credentials}]\n")
}

/// A `config.json` in a directory of its own.
fn docker_config(text: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    std::fs::write(&path, text).unwrap();
    let credentials = format!("{{ docker_config = {path:?}, env = {{ A = \"b\" }}, timeout = \"3s\" }}");
    (directory, entry(&credentials))
}

fn accounts(text: &str) -> Vec<Account> {
    settings(text).upstreams[0].credentials.clone()
}

#[test]
fn a_docker_config_becomes_an_account_for_each_path_that_it_has_something_for() {
    let auth = BASE64_STANDARD.encode("robot:canary-S033");
    let (_directory, text) = docker_config(&format!(
        r#"{{"auths":{{"quay.io":{{"auth":"{auth}"}},"ghcr.io":{{"auth":"{auth}"}}}},"credHelpers":{{"quay.io/team":"x"}}}}"#
    ));
    let accounts = accounts(&text);
    let names: Vec<String> = accounts.iter().map(Account::name).collect();
    assert_eq!(names, ["robot", "docker-credential-x (team)"]);
    assert_eq!(accounts[0].password().unwrap().password.expose(), "canary-S033");
    let Identity::Source(Source::Helper(helper)) = &accounts[1].identity else {
        panic!("{:?}", accounts[1])
    };
    assert_eq!((helper.timeout.as_secs(), helper.environment.len()), (3, 1));
    let loaded = load_text(&text, &[]).unwrap();
    assert_eq!(loaded.files.len(), 1, "it is followed: {:?}", loaded.files);
    let shown = effective(&loaded.settings);
    assert!(
        shown.contains("{ username = \"robot\", password = \"***\" }"),
        "{shown}"
    );
    let helper = "{ helper = \"x\", env = { A = \"***\" }, timeout = \"3s\", prefix = \"team\" }";
    assert!(shown.contains(helper), "{shown}");
    assert!(!shown.contains("canary"), "{shown}");
}

#[test]
fn a_docker_config_that_is_written_anew_is_told_by_the_account_that_has_another_password() {
    let auth = |word: &str| {
        let auth = BASE64_STANDARD.encode(format!("robot:{word}"));
        format!(r#"{{"auths":{{"quay.io":{{"auth":"{auth}"}}}}}}"#)
    };
    let (directory, text) = docker_config(&auth("one"));
    let before = settings(&text);
    std::fs::write(directory.path().join("config.json"), auth("two")).unwrap();
    let changes = Changes::between(&before, &settings(&text));
    let told: Vec<String> = changes.live.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["upstream \"quay.io\": the password of \"robot\" has new content"]
    );
}

#[test]
fn helpers_and_paths_are_read_and_shown_and_read_again() {
    let text = entry(
        "{ helper = \"docker-credential-pass\" }, { helper = \"x\", prefix = \"/team/\", timeout = \"1m\" }, \
         { plugin = \"/opt/bin/ecr-credential-provider\", args = [\"-v\", \"a b\"], prefix = \"mine\" }, \
         { username = \"u\", password = { env = \"HOME\" }, prefix = \"other\" }",
    );
    let names: Vec<String> = accounts(&text).iter().map(Account::name).collect();
    let wanted = [
        "docker-credential-pass",
        "docker-credential-x (team)",
        "ecr-credential-provider (mine)",
        "u (other)",
    ];
    assert_eq!(names, wanted);
    let shown = effective(&settings(&text));
    let again = shown.replace("password = \"***\"", "password = { env = \"HOME\" }");
    assert_eq!(accounts(&again), accounts(&text), "{shown}");
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_place_and_without_what_is_secret() {
    let (directory, nothing) = docker_config("{}");
    let path = directory.path().join("config.json");
    let wrong = format!("{}: ", path.display());
    for (text, what, hint) in [
        (
            nothing.clone(),
            format!("{wrong}it has nothing for quay.io"),
            "podman login quay.io",
        ),
        (
            entry("{ docker_config = \"/nowhere/config.json\" }"),
            "4:34   upstream \"quay.io\": credentials.docker_config: /nowhere/config.json: it cannot be read"
                .into(),
            "",
        ),
        (
            nothing.replace("timeout", "prefix = \"a\", timeout"),
            format!("{wrong}prefix is not for this source"),
            "quay.io/team",
        ),
        (
            entry("{ helper = \"../evil\" }"),
            "helper = \"../evil\": expected what follows".into(),
            "",
        ),
        (
            entry("{ helper = \"a\", prefix = \"Team\" }"),
            "prefix = \"Team\": expected a path".into(),
            "",
        ),
        (
            entry("{ helper = \"a\", timeout = \"0s\" }"),
            "expected a duration longer than zero".into(),
            "",
        ),
        (
            entry("{ helper = \"a\", env = { A = 1 } }"),
            "env.A is a number: expected a reference".into(),
            "",
        ),
        (
            entry("{ helper = \"a\", env = { \"A=B\" = \"x\" } }"),
            "env.A=B: expected the name of a variable".into(),
            "",
        ),
        (
            entry("{ plugin = \"bin/ecr\" }"),
            "plugin = \"bin/ecr\": expected the name of a program on the PATH, or its whole path".into(),
            "",
        ),
        (
            entry("{ plugin = \"a\", args = [1] }"),
            "args = 1: expected a text in quotes".into(),
            "",
        ),
        (
            entry("{ helper = \"a\", args = [\"x\"] }"),
            "args is for a plugin".into(),
            "",
        ),
        (
            entry("{ helper = \"a\", env = \"A\" }"),
            "env is a text: expected a table".into(),
            "",
        ),
        (
            entry("{ helper = \"a\", username = \"u\", password = { env = \"HOME\" } }"),
            "credentials: expected one of username, docker_config, helper, plugin, cloud".into(),
            "or name a source",
        ),
        (
            entry("{ }"),
            "credentials: expected one of username".into(),
            "or name a source",
        ),
        (
            entry("{ helpr = \"a\" }"),
            "helpr: unknown key".into(),
            "did you mean \"helper\"?",
        ),
    ] {
        let report = refused(&text);
        assert!(report.contains(&what) && report.contains(hint), "{report}");
    }
    std::fs::write(&path, r#"{"auths":{"quay.io":{"auth":"canary-S033"}}}"#).unwrap();
    let report = refused(&nothing);
    assert!(
        report.contains("what stands under \"quay.io\"") && !report.contains("canary"),
        "{report}"
    );
    std::fs::write(&path, vec![b' '; (1 << 20) + 1]).unwrap();
    assert!(refused(&nothing).contains("it is longer than 1048576 bytes"));
}
