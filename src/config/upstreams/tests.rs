//! What `[[upstream]]` entries promise: which are accepted, and that their secrets are never seen.

use super::super::effective;
use super::super::tests::{HOME, load_text, refused, settings};
use crate::policy::access::visibility::Sharing;
use crate::upstream::Guard;

/// Stands for a secret; must never be seen (S033).
const CANARY: &str = "canary-S033";

#[test]
fn plain_http_is_accepted_for_this_machine_and_elsewhere_only_if_insisted_upon() {
    let entry = |url: &str, more: &str| {
        format!("[[upstream]]\nregistry = \"r.example.com\"\nurl = \"{url}\"\n{more}\n")
    };
    for url in [
        "http://localhost:5000",
        "http://127.0.0.7",
        "http://[::1]:80",
        "https://r.example.com/base",
    ] {
        settings(&entry(url, ""));
    }
    let report = refused(&entry("http://r.example.com", ""));
    assert!(
        report.contains("3:7 ") && report.contains("an http:// url beyond this machine"),
        "{report}"
    );
    assert!(report.contains("set insecure = true to accept this"), "{report}");
    refused(&entry("http://localhost.example.com", ""));
    settings(&entry("http://r.example.com", "insecure = true"));
    let with = "access = \"shared\"\ncredentials = [{ username = \"u\", password = { env = \"HOME\" } }]";
    let report = refused(&entry("http://r.example.com", with));
    assert!(
        report.contains("\"r.example.com\": credentials over http://"),
        "{report}"
    );
    let report = refused(&entry("https://r.example.com", "insecure = true"));
    assert!(report.contains("name them in `ca`"), "{report}");
}

#[test]
fn a_url_is_absolute_and_holds_no_secret() {
    for url in [
        "r.example.com",
        "ftp://r.example.com",
        "https://",
        "https://r.example.com?token=canary-S033",
        "https://robot:canary-S033@r.example.com",
    ] {
        let report = refused(&format!(
            "[[upstream]]\nregistry = \"r.example.com\"\nurl = \"{url}\"\n"
        ));
        assert!(report.contains("upstream \"r.example.com\": url"), "{report}");
        assert!(!report.contains(CANARY), "{report}");
    }
}

#[test]
fn credentials_raise_the_budget_only_unless_more_is_meant() {
    let credentials = "credentials = [{ username = \"u\", password = { env = \"HOME\" } }]";
    let entry = |more: &str| format!("[[upstream]]\nregistry = \"ghcr.io\"\n{more}\n");
    for (access, sharing, guard) in [
        ("", Sharing::Public, Guard::Everybody),
        ("access = \"public\"", Sharing::Public, Guard::Everybody),
        ("access = \"shared\"", Sharing::Shared, Guard::Nobody),
        ("access = \"per_client\"", Sharing::PerClient, Guard::Client),
    ] {
        let settings = settings(&entry(&format!("{credentials}\n{access}")));
        let options = &settings.upstreams[0];
        assert_eq!(
            options.credentials[0].password().unwrap().password.expose(),
            HOME.1
        );
        assert_eq!((options.sharing, options.guard()), (sharing, guard));
    }
    let plain = settings(&entry(""));
    assert_eq!(plain.upstreams[0].guard(), Guard::Nobody);
}

#[test]
fn what_is_checked_for_each_client_has_to_be_fetched_by_somebody_who_sees_it() {
    let entry = "[[upstream]]\nregistry = \"ghcr.io\"\naccess = \"per_client\"\n";
    let report = refused(entry);
    assert!(
        report.contains("access = \"per_client\" without credentials"),
        "{report}"
    );
    assert!(
        report.contains("give credentials that can see all of it"),
        "{report}"
    );
    assert!(report.starts_with("error: 1 problem "), "{report}");
}

#[test]
fn secrets_come_by_reference_and_are_never_seen_s033() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{CANARY}-file\n")).unwrap();
    let text = format!(
        "[[upstream]]\nregistry = \"ghcr.io\"\naccess = \"shared\"\ncredentials = [\n\
         {{ username = \"a\", password = {{ env = \"TOKEN\" }} }},\n\
         {{ username = \"b\", password = {{ file = {:?} }} }},\n]\n",
        file.path()
    );
    let loaded = load_text(&text, &[("TOKEN", "canary-S033-env\n")]).unwrap();
    let credentials = &loaded.settings.upstreams[0].credentials;
    assert_eq!(
        credentials[0].password().unwrap().password.expose(),
        "canary-S033-env"
    );
    assert_eq!(
        credentials[1].password().unwrap().password.expose(),
        "canary-S033-file"
    );
    let shown = effective(&loaded.settings);
    assert!(
        shown.contains("{ username = \"a\", password = \"***\" }"),
        "{shown}"
    );
    assert!(!shown.contains(CANARY), "{shown}");
    assert!(!format!("{loaded:?}").contains(CANARY));
}

#[test]
fn a_secret_that_is_not_a_reference_is_refused_without_being_repeated_s033() {
    for wrong in [
        "credentials = [{ username = \"u\", password = \"canary-S033\" }]",
        "credentials = [{ username = \"u\", password = { env = \"TOKEN\", file = \"canary-S033\" } }]",
        "credentials = [{ username = \"u\", password = { value = \"canary-S033\" } }]",
        "credentials = [{ username = \"u:canary-S033\", password = { env = \"HOME\" } }]",
        "credentials = \"u:canary-S033\"",
        "credentials = [\"u:canary-S033\"]",
        "password = \"canary-S033\"",
        "credentials = [{ username = \"u\", password = canary-S033 }]",
    ] {
        let report = refused(&format!(
            "[[upstream]]\nregistry = \"ghcr.io\"\naccess = \"shared\"\n{wrong}\n"
        ));
        assert!(!report.contains(CANARY), "{report}");
    }
    let plain = "[[upstream]]\nregistry = \"ghcr.io\"\naccess = \"shared\"\n\
        credentials = [{ username = \"u\", password = \"canary-S033\" }]\n";
    assert!(refused(plain).contains("hint: keep it out of the configuration: write { env = \"NAME\" }"));
}

#[test]
fn a_reference_to_nothing_says_what_is_missing() {
    for (reference, why) in [
        (
            "{ env = \"NOT_SET\" }",
            "the environment variable \"NOT_SET\" is not set",
        ),
        (
            "{ file = \"/does/not/exist\" }",
            "the file \"/does/not/exist\" cannot be read",
        ),
        ("{}", "expected either `env` or `file`"),
    ] {
        let text = format!(
            "[[upstream]]\nregistry = \"ghcr.io\"\naccess = \"shared\"\n\
             credentials = [{{ username = \"u\", password = {reference} }}]\n"
        );
        let report = refused(&text);
        assert!(report.contains(why), "{report}");
    }
}

#[test]
fn own_upstreams_come_first_and_replace_the_built_in_of_the_same_name() {
    let built_in = settings("");
    let settings =
        settings("[[upstream]]\nregistry = \"r.example.com\"\n[[upstream]]\nregistry = \"quay.io\"\n");
    let names: Vec<String> = settings
        .names
        .iter()
        .map(|name| name.pattern.to_string())
        .collect();
    assert_eq!(names[..3], ["r.example.com", "quay.io", "docker.io"]);
    assert_eq!(names.len(), built_in.names.len() + 1);
    assert_eq!(settings.upstreams.len(), names.len());
    assert_eq!(settings.cache.freshness.len(), names.len());
}

#[test]
fn docker_hub_is_the_default_until_another_entry_or_itself_says_otherwise() {
    let default = |text: &str| {
        let names = settings(text).names;
        let default = names.iter().find(|name| name.default);
        default.map(|name| name.pattern.to_string())
    };
    let other = "[[upstream]]\nregistry = \"ghcr.io\"\n";
    assert_eq!(default(""), Some("docker.io".into()));
    assert_eq!(default(other), Some("docker.io".into()));
    assert_eq!(
        default(&format!("{other}default = true\n")),
        Some("ghcr.io".into())
    );
    assert_eq!(
        default("[[upstream]]\nregistry = \"docker.io\"\n"),
        Some("docker.io".into())
    );
    assert_eq!(
        default("[[upstream]]\nregistry = \"docker.io\"\ndefault = false\n"),
        None
    );
}

#[test]
fn docker_hub_keeps_its_url_when_its_entry_names_none() {
    let settings = settings("[[upstream]]\nregistry = \"index.docker.io\"\n");
    let url = settings.upstreams[0].url.clone().unwrap();
    assert_eq!(url.host(), Some("registry-1.docker.io"));
}

#[test]
fn entries_that_contradict_each_other_are_refused() {
    for (text, why) in [
        (
            "registry = \"a.io\"\n[[upstream]]\nregistry = \"A.io:443\"",
            "\"a.io\" is configured 2 times",
        ),
        (
            "registry = \"a.io\"\ndefault = true\n[[upstream]]\nregistry = \"b.io\"\ndefault = true",
            "a second upstream says `default = true`",
        ),
        (
            "registry = \"a.io\"\nhosts = [\"x.io\"]\n[[upstream]]\nregistry = \"b.io\"\nhosts = [\"x.io\"]",
            "which means \"a.io\" already",
        ),
        (
            "registry = \"a.io\"\n[[upstream]]\nregistry = \"b.io\"\nhosts = [\"a.io\"]",
            "which means \"a.io\" already",
        ),
    ] {
        let report = refused(&format!("[[upstream]]\n{text}\n"));
        assert!(report.contains(why), "{report}");
        assert!(report.starts_with("error: 1 problem "), "{report}");
    }
}

#[test]
fn a_pattern_takes_no_credentials_since_anybody_may_own_a_name_under_it() {
    let report = refused(
        "[[upstream]]\nregistry = \"*.azurecr.io\"\naccess = \"shared\"\n\
         credentials = [{ username = \"u\", password = { env = \"HOME\" } }]\n",
    );
    assert!(
        report.contains("credentials is for one registry, not for a pattern"),
        "{report}"
    );
}

#[test]
fn certificates_are_read_and_a_file_without_any_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = format!("[[upstream]]\nregistry = \"ghcr.io\"\nca = {:?}\n", file.path());
    assert!(refused(&text).contains("there is no certificate in it"));
    let own = rcgen::generate_simple_self_signed(["ghcr.io".to_owned()]).unwrap();
    std::fs::write(file.path(), own.cert.pem()).unwrap();
    assert_eq!(settings(&text).upstreams[0].ca, [own.cert.der().to_vec()]);
}

#[test]
fn lanes_are_as_written_or_as_the_registry_bears_them() {
    let lanes = |registry: &str, more: &str| {
        let entry = format!("[[upstream]]\nregistry = \"{registry}\"\n{more}\n");
        settings(&entry).upstreams[0].lanes
    };
    for (registry, more, expected) in [
        ("docker.io", "", Some(8)),
        ("r.example.com", "", Some(6)),
        ("r.example.com", "lanes = 3", Some(3)),
        // Every request counts there.
        ("team.azurecr.io", "", Some(1)),
        ("*.azurecr.io", "", Some(1)),
        ("team.azurecr.io", "lanes = 2", Some(2)),
        ("*", "", None),
    ] {
        assert_eq!(lanes(registry, more), expected, "{registry} {more}");
    }
    for wrong in ["0", "13", "\"many\""] {
        let report = refused(&format!(
            "[[upstream]]\nregistry = \"r.example.com\"\nlanes = {wrong}\n"
        ));
        assert!(report.contains("a whole number from 1 to 12"), "{report}");
    }
}
