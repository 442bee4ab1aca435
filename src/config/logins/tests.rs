//! Who may pull, as it is written.

use std::net::IpAddr;

use crate::config::tests::{load_text, refused, settings};
use crate::config::{Settings, effective};
use crate::policy::access::{Denied, Evidence, Role};
use crate::policy::clients::Standing;

/// What bcrypt made of "secret", in a file.
fn htpasswd() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("htpasswd");
    let hash = bcrypt::hash("secret", 4).unwrap();
    std::fs::write(&path, format!("alice:{hash}\n")).unwrap();
    (directory, path.to_str().unwrap().to_owned())
}

fn may(settings: &Settings, address: &str) -> bool {
    let address: IpAddr = address.parse().unwrap();
    settings
        .server
        .clients
        .identify(&Evidence::from(address))
        .standing
        != Standing::Stranger
}

#[test]
fn nothing_said_is_open_on_loopback_and_closed_elsewhere_with_a_warning_that_says_what_to_write() {
    let own = load_text("", &[]).unwrap();
    assert!(may(&own.settings, "127.0.0.1") && may(&own.settings, "::1"));
    assert!(!may(&own.settings, "10.0.0.1") && own.warnings.is_empty());
    for listen in ["0.0.0.0:5000", "[::]:5000", "10.0.0.1:5000"] {
        let listen = format!("[server]\nlisten = \"{listen}\"\n");
        let silent = load_text(&listen, &[]).unwrap();
        for address in ["127.0.0.1", "::1", "10.0.0.1", "203.0.113.5"] {
            assert!(!may(&silent.settings, address), "{address}");
        }
        let [warning] = silent.warnings.as_slice() else {
            panic!("{:?}", silent.warnings)
        };
        assert!(warning.starts_with("nobody may pull from "), "{warning}");
        assert!(warning.contains("anonymous = \"private\""), "{warning}");
        for said in [
            "[access]\nanonymous = \"everyone\"",
            "[[client]]\nname = \"a\"\ntier = \"basic\"\nmatch = { cidr = [\"10.0.0.0/8\"] }",
        ] {
            let said = load_text(&format!("{listen}{said}\n"), &[]).unwrap();
            assert!(may(&said.settings, "10.0.0.1") && said.warnings.is_empty());
        }
    }
}

#[test]
fn who_need_not_log_in_is_said_by_a_word_or_by_networks() {
    for (word, yes, no) in [
        ("\"everyone\"", "203.0.113.5", ""),
        ("\"private\"", "192.168.1.1", "172.32.0.1"),
        ("\"private\"", "fd00::1", "2001:db8::1"),
        ("\"loopback\"", "127.9.9.9", "10.0.0.1"),
        ("[\"10.20.0.0/16\", \"192.0.2.1\"]", "192.0.2.1", "10.21.0.1"),
        ("[]", "", "127.0.0.1"),
        ("\"nobody\"", "", "127.0.0.1"),
    ] {
        let settings = settings(&format!("[access]\nanonymous = {word}\ndenied = \"forbidden\"\n"));
        assert!(yes.is_empty() || may(&settings, yes), "{word} {yes}");
        assert!(no.is_empty() || !may(&settings, no), "{word} {no}");
        let again = self::settings(&effective(&settings));
        assert_eq!(again.server.clients, settings.server.clients);
        assert_eq!(again.server.clients.access.denied, Denied::Forbidden);
    }
    let variables = [("SEAWALL_ACCESS__ANONYMOUS", "['10.0.0.0/8']")];
    assert!(may(&load_text("", &variables).unwrap().settings, "10.1.1.1"));
    let variables = [("SEAWALL_ACCESS__ANONYMOUS", "everyone")];
    assert!(may(&load_text("", &variables).unwrap().settings, "203.0.113.5"));
}

#[test]
fn users_and_what_clients_may_are_read_and_shown_without_a_hash() {
    let (_directory, path) = htpasswd();
    let text = format!(
        "[access]\nhtpasswd = '{path}'\n[[client]]\nname = \"a\"\ntier = \"basic\"\nmatch = {{ user = [\"alice\"] }}\n\
         role = \"operate\"\nallow = [\"docker.io/library/*\"]\ndeny = [\"docker.io/library/secret\"]\n"
    );
    let settings = settings(&text);
    let rule = &settings.server.clients.rules[0];
    assert_eq!(rule.matches.users, ["alice"]);
    assert_eq!(rule.grant.role, Role::Operate);
    let shown = effective(&settings);
    assert_eq!(
        self::settings(&shown).server.clients,
        settings.server.clients,
        "{shown}"
    );
    assert!(
        !shown.contains("$2") && !format!("{settings:?}").contains("$2b"),
        "{settings:?}"
    );
    let open = text.replace("[access]", "[server]\nlisten = \"0.0.0.0:5000\"\n[access]");
    let warnings = load_text(&open, &[]).unwrap().warnings;
    assert!(
        warnings.len() == 1 && warnings[0].contains("in the clear"),
        "{warnings:?}"
    );
}

#[test]
fn tokens_have_two_keys_at_most_which_nobody_is_shown() {
    let long = "CANARY".repeat(6);
    let variables = [
        ("NOW", long.as_str()),
        ("BEFORE", &long[1..]),
        ("SHORT", "CANARY"),
    ];
    let text = "[access]\ntoken_key = { env = \"NOW\" }\nprevious_token_key = { env = \"BEFORE\" }\n\
                url = \"https://cache.test/\"\nchallenge = \"basic\"\n";
    let settings = load_text(text, &variables).unwrap().settings;
    assert_eq!(settings.server.token_keys.len(), 2);
    assert_eq!(
        settings.server.clients.access.url.as_deref(),
        Some("https://cache.test")
    );
    let shown = effective(&settings) + &format!("{settings:?}");
    assert!(
        !shown.contains("CANARY") && shown.contains("challenge = \"basic\""),
        "{shown}"
    );
    for (text, what) in [
        ("token_key = { env = \"SHORT\" }", "access.token_key is too short"),
        (
            "previous_token_key = { env = \"NOW\" }",
            "expected token_key beside it",
        ),
        ("token_key = \"CANARY\"", "expected a reference"),
    ] {
        let report = load_text(&format!("[access]\n{text}\n"), &variables)
            .unwrap_err()
            .to_string();
        assert!(report.contains(what) && !report.contains("CANARY"), "{report}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_a_hint() {
    let (_directory, path) = htpasswd();
    let client = |keys: &str| {
        format!("[access]\nhtpasswd = '{path}'\n[[client]]\nname = \"a\"\ntier = \"basic\"\n{keys}\n")
    };
    for (text, what, hint) in [
        (
            "[access]\nanonymous = \"all\"\n".to_owned(),
            "2:13   access.anonymous = \"all\": expected one of",
            "list of networks",
        ),
        (
            "[access]\nanonymous = [\"lan\"]\n".to_owned(),
            "access.anonymous = \"lan\": expected a network",
            "",
        ),
        (
            "[access]\nhtpasswd = \"/nowhere\"\n".to_owned(),
            "2:12   access.htpasswd: /nowhere: it cannot be read",
            "htpasswd -B",
        ),
        (
            client("match = { user = [\"alcie\"] }"),
            "= \"alcie\": expected a user of the htpasswd file",
            "did you mean \"alice\"?",
        ),
        (
            client("match = { user = [] }"),
            "client \"a\": match is met by nobody",
            "networks, users or certificates",
        ),
        (client("match = {}"), "client \"a\": match is met by nobody", ""),
        (
            client("match = { cidr = [\"10.0.0.0/8\"] }\nrole = \"root\""),
            "role = \"root\": expected one of \"pull\"",
            "",
        ),
        (
            client("match = { cidr = [\"10.0.0.0/8\"] }\nallow = [\"docker.io/Library\"]"),
            "allow = \"docker.io/Library\": expected repositories",
            "** any number",
        ),
    ] {
        let report = refused(&text);
        assert!(report.starts_with("error: 1 problem "), "{report}");
        assert!(report.contains(what) && report.contains(hint), "{report}");
    }
}
