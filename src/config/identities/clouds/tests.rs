//! Clouds, as they are written, and what they take from the environment.

use crate::config::effective;
use crate::config::tests::load_text;
use crate::upstream::{Account, Cloud, Identity, Source};

const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

fn entry(registry: &str, credential: &str) -> String {
    format!("[[upstream]]\nregistry = \"{registry}\"\naccess = \"shared\"\ncredentials = [{credential}]\n")
}

fn cloud(account: &Account) -> &Cloud {
    match &account.identity {
        Identity::Source(Source::Cloud(cloud)) => cloud,
        other => panic!("{other:?}"),
    }
}

/// Its variables, with what they are set to.
fn set(account: &Account) -> Vec<(&str, &str)> {
    let variables = cloud(account).variables.0.iter();
    variables
        .map(|(name, value)| (name.as_str(), value.expose()))
        .collect()
}

#[test]
fn a_cloud_goes_by_the_environment_and_by_what_stands_beside_it_before_that() {
    let environment = [
        ("AWS_ROLE_ARN", "arn:pod"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token"),
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_SECRET_ACCESS_KEY", "CANARY"),
        ("UNRELATED", "CANARY"),
    ];
    let text = entry(
        ECR,
        "{ cloud = \"aws\", timeout = \"3s\", prefix = \"team\", env = { AWS_ROLE_ARN = \"arn:team\", AWS_ACCESS_KEY_ID = \"\" } }",
    );
    let loaded = load_text(&text, &environment).unwrap();
    let account = &loaded.settings.upstreams[0].credentials[0];
    assert_eq!(
        (account.name().as_str(), cloud(account).timeout.as_secs()),
        ("aws (team)", 3)
    );
    assert_eq!(
        set(account),
        [
            ("AWS_ACCESS_KEY_ID", ""),
            ("AWS_SECRET_ACCESS_KEY", "CANARY"),
            ("AWS_ROLE_ARN", "arn:team"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token"),
        ]
    );
    let shown = effective(&loaded.settings);
    let line = "{ cloud = \"aws\", env = { AWS_ACCESS_KEY_ID = \"***\", AWS_SECRET_ACCESS_KEY = \"***\", \
                AWS_ROLE_ARN = \"***\", AWS_WEB_IDENTITY_TOKEN_FILE = \"***\" }, timeout = \"3s\", prefix = \"team\" }";
    assert!(shown.contains(line) && !shown.contains("CANARY"), "{shown}");
}

#[test]
fn the_host_of_the_url_tells_the_region_and_one_that_does_not_needs_the_variable() {
    let text = entry("images.example", "{ cloud = \"aws\" }");
    let with_url = format!("{text}url = \"https://{ECR}\"\n");
    assert!(load_text(&with_url, &[]).is_ok());
    assert!(load_text(&text, &[("AWS_REGION", "eu-west-1")]).is_ok());
}

#[test]
fn what_cannot_work_is_refused_before_the_start() {
    for (text, environment, what, hint) in [
        (
            entry(ECR, "{ cloud = \"amazon\" }"),
            &[][..],
            "credentials.cloud = \"amazon\": expected one of \"aws\", \"azure\", \"google\"",
            "",
        ),
        (
            entry(ECR, "{ cloud = \"aws\", env = { AWS_REGOIN = \"x\" } }"),
            &[],
            "credentials.env.AWS_REGOIN is no variable that aws goes by",
            "they are AWS_REGION, AWS_DEFAULT_REGION",
        ),
        (
            entry("images.example", "{ cloud = \"aws\" }"),
            &[],
            "cloud = \"aws\": images.example is no name of ECR that tells its region: set AWS_REGION",
            "variables come from the environment",
        ),
        (
            entry(ECR, "{ cloud = \"aws\" }"),
            &[("AWS_WEB_IDENTITY_TOKEN_FILE", "/t")],
            "AWS_WEB_IDENTITY_TOKEN_FILE is set and AWS_ROLE_ARN is not: set both",
            "",
        ),
        (
            entry(ECR, "{ cloud = \"aws\", args = [] }"),
            &[],
            "args is for a plugin",
            "",
        ),
    ] {
        let report = load_text(&text, environment)
            .err()
            .unwrap_or_else(|| panic!("{text}"))
            .to_string();
        assert!(report.contains(what) && report.contains(hint), "{report}");
    }
}

#[test]
fn two_accounts_that_would_have_one_name_are_refused_and_told_how_to_differ() {
    let cloud = |more: &str| format!("{{ cloud = \"aws\"{more} }}");
    let two = |first: &str, second: &str| entry(ECR, &format!("{}, {}", cloud(first), cloud(second)));
    let other = ", env = { AWS_ROLE_ARN = \"arn:other\" }";
    for (first, second) in [("", other), (", prefix = \"team\"", ", prefix = \"team\"")] {
        let report = load_text(&two(first, second), &[]).unwrap_err().to_string();
        assert!(
            report.contains("twice") && report.contains("prefix = \"team\""),
            "{report}"
        );
    }
    assert!(load_text(&two("", ", prefix = \"team\""), &[]).is_ok());
}
