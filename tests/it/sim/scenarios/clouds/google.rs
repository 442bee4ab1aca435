//! Artifact Registry, by the account of a machine or pod, and by a pool's.

use std::path::Path;

use seawall::upstream::Provider;

use super::super::super::identities::CLOUD;
use super::super::super::journal::Role;
use super::{Turn, account, asked, fails, pass, pull, shop, standing, write};

/// What is written for a pool: with an account to take, or without.
pub(super) fn described(directory: &Path, token: &str, impersonate: bool) -> String {
    use super::super::super::identities::google::{ACCOUNT, AUDIENCE};
    let account = match impersonate {
        true => format!(r#""service_account_impersonation_url":"{CLOUD}{ACCOUNT}","#),
        false => String::new(),
    };
    let text = format!(
        r#"{{"type":"external_account","audience":"{AUDIENCE}",{account}
            "subject_token_type":"urn:ietf:params:oauth:token-type:jwt","token_url":"{CLOUD}/v1/token",
            "credential_source":{{"file":"{token}"}}}}"#
    );
    let path = directory.join("google.json");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn every_identity_of_google_is_a_token_that_is_renewed_at_half_of_its_life_through_outages() {
    let directory = tempfile::tempdir().unwrap();
    let token = write(directory.path(), "ci.jwt.1");
    for (impersonate, questions) in [(None, 1), (Some(false), 1), (Some(true), 2)] {
        let file = impersonate.map(|impersonate| described(directory.path(), &token, impersonate));
        let variables: Vec<(&str, &str)> = file
            .iter()
            .map(|file| ("GOOGLE_APPLICATION_CREDENTIALS", file.as_str()))
            .collect();
        let shop = shop("gar", account(Provider::Google, &variables));
        shop.sim
            .identities(|all| all.google.subject = "ci.jwt.1".to_owned());
        for tenth in 0..40 {
            assert!(pull(&shop, tenth).await, "{tenth}: {:?}", standing(&shop));
            pass(0.05).await;
        }
        let identity = asked(&shop, Role::Metadata) + asked(&shop, Role::Cloud);
        assert_eq!(
            identity,
            4 * questions,
            "{impersonate:?}: a token is good for an hour"
        );
        shop.sim.go_down(&[Role::Metadata, Role::Cloud]);
        for tenth in 40..48 {
            assert!(pull(&shop, tenth).await, "{tenth}: {:?}", standing(&shop));
            pass(0.05).await;
        }
        let standing = standing(&shop);
        assert_eq!(
            (standing.name.as_str(), standing.state.as_str()),
            ("google", "failing")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_google_refuses_is_told_with_the_next_step() {
    let directory = tempfile::tempdir().unwrap();
    let token = write(directory.path(), "CANARY.jwt");
    let federated = described(directory.path(), &token, true);
    let person = directory.path().join("person.json");
    std::fs::write(&person, r#"{"type":"authorized_user","refresh_token":"CANARY"}"#).unwrap();
    let person = person.to_str().unwrap().to_owned();
    let file = |path: &str| vec![("GOOGLE_APPLICATION_CREDENTIALS".to_owned(), path.to_owned())];
    let no_account: Turn = |all| all.google.no_account = true;
    let denied: Turn = |all| {
        all.google.subject = "CANARY.jwt".to_owned();
        all.google.denied = true;
    };
    for (variables, turn, why) in [
        (Vec::new(), no_account, "knows no service account"),
        (file(&federated), |_: &mut _| (), "whether the token is renewed"),
        (file(&federated), denied, "roles/iam.workloadIdentityUser"),
        (
            file(&person),
            |_: &mut _| (),
            "describes neither an external_account nor a service_account",
        ),
        (
            file("/nowhere"),
            |_: &mut _| (),
            "GOOGLE_APPLICATION_CREDENTIALS: /nowhere cannot be read",
        ),
    ] {
        let pairs: Vec<(&str, &str)> = variables
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        let shop = shop("gar", account(Provider::Google, &pairs));
        shop.sim.identities(turn);
        fails(&shop, why).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_file_of_googles_leads_to_in_the_clear_is_sent_nothing() {
    const FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
    let directory = tempfile::tempdir().unwrap();
    let token = write(directory.path(), "CANARY.jwt");
    let path = described(directory.path(), &token, true);
    let good = std::fs::read_to_string(&path).unwrap();
    let source = format!("\"file\":\"{token}\"");
    for (from, to, why) in [
        (
            &format!("\"token_url\":\"{CLOUD}"),
            "\"token_url\":\"http://ci.example",
            "token_url: http://ci.example/v1/token: expected https://",
        ),
        (
            &format!("impersonation_url\":\"{CLOUD}"),
            "impersonation_url\":\"http://ci.example",
            "service_account_impersonation_url: http://ci.example",
        ),
        (
            &source,
            "\"url\":\"http://ci.example/token\"",
            "credential_source.url: http://ci.example/token: expected https://",
        ),
    ] {
        let text = good.replace(from, to);
        assert_ne!(text, good);
        std::fs::write(&path, text).unwrap();
        let shop = shop("gar", account(Provider::Google, &[(FILE, &path)]));
        shop.sim
            .identities(|all| all.google.subject = "CANARY.jwt".to_owned());
        fails(&shop, why).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_token_of_a_job_is_asked_for_with_the_headers_that_its_file_names() {
    use super::super::super::identities::google::{OPENS, SUBJECT};
    const FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
    let directory = tempfile::tempdir().unwrap();
    let path = described(directory.path(), "/nowhere", true);
    let by_file = std::fs::read_to_string(&path).unwrap();
    let (name, value) = OPENS;
    let url = |headers: &str, field: &str| {
        format!(
            r#""url":"{CLOUD}{SUBJECT}",{headers}"format":{{"type":"json","subject_token_field_name":"{field}"}}"#
        )
    };
    let headers = format!(r#""headers":{{"accept":"application/json","{name}":"{value}"}},"#);
    for (source, why) in [
        (url(&headers, "value"), None),
        (
            url("", "value"),
            Some("the service of credential_source answered with status 403"),
        ),
        (
            url(&headers, "other"),
            Some("there is no \"other\" in what it leads to"),
        ),
    ] {
        std::fs::write(&path, by_file.replace(r#""file":"/nowhere""#, &source)).unwrap();
        let shop = shop("gar", account(Provider::Google, &[(FILE, &path)]));
        shop.sim
            .identities(|all| all.google.subject = "ci.jwt.1".to_owned());
        match why {
            None => assert!(pull(&shop, 0).await, "{:?}", standing(&shop)),
            Some(why) => fails(&shop, why).await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_metadata_service_that_fails_is_told_as_failing_and_not_as_one_without_an_account() {
    let shop = shop("gar", account(Provider::Google, &[]));
    shop.sim
        .identities(|all| all.refused = Some(("/default/token", 503)));
    fails(&shop, "the metadata service answered with status 503").await;
    let told = standing(&shop).why.unwrap();
    assert!(!told.contains("service account"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn the_token_in_googles_file_is_read_anew_each_time_and_an_old_one_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let token = write(directory.path(), "ci.jwt.1");
    let file = described(directory.path(), &token, true);
    let shop = shop(
        "gar",
        account(Provider::Google, &[("GOOGLE_APPLICATION_CREDENTIALS", &file)]),
    );
    let turn = |subject: &str| {
        shop.sim.identities(|all| all.google.subject = subject.to_owned());
    };
    turn("ci.jwt.1");
    assert!(pull(&shop, 0).await, "{:?}", standing(&shop));
    turn("ci.jwt.2");
    // It is renewed at half of its hour, behind everybody's back.
    pass(0.51).await;
    assert!(pull(&shop, 1).await, "{:?}", standing(&shop));
    pass(0.01).await;
    let told = standing(&shop);
    let why = told.why.as_deref().unwrap_or_default();
    assert!(why.contains("whether the token is renewed"), "{told:?}");
    assert!(!format!("{told:?}").contains("ci.jwt"), "{told:?}");
    write(directory.path(), "ci.jwt.2");
    pass(0.1).await;
    assert!(pull(&shop, 2).await, "{:?}", standing(&shop));
    pass(0.01).await;
    assert_eq!(standing(&shop).state, "ok");
}
