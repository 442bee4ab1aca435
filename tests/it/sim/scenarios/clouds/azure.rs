//! ACR, by every identity that Azure's directory knows.

use http::StatusCode;
use seawall::upstream::{Account, Provider};

use super::super::super::identities::CLOUD;
use super::super::super::journal::Role;
use super::super::over::put;
use super::{Turn, account, asked, fails, pass, pull, shop, standing, write};

pub(super) fn azure(more: &[(&str, &str)]) -> Account {
    account(Provider::Azure, more)
}

pub(super) const TENANT: [(&str, &str); 3] = [
    ("AZURE_TENANT_ID", "tenant-1"),
    ("AZURE_CLIENT_ID", "client-1"),
    ("AZURE_AUTHORITY_HOST", CLOUD),
];

#[tokio::test(start_paused = true)]
async fn every_identity_of_azure_is_exchanged_at_the_registry_once_in_half_of_its_life() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "pod.jwt.1");
    let secret = [&TENANT[..], &[("AZURE_CLIENT_SECRET", "CANARY-secret")]].concat();
    let federated = [&TENANT[..], &[("AZURE_FEDERATED_TOKEN_FILE", file.as_str())]].concat();
    // Whoever names a tenant means the registry's as well.
    for (variables, tenant) in [(secret, "tenant-1"), (federated, "tenant-1"), (Vec::new(), "")] {
        let shop = shop("acr", azure(&variables));
        shop.sim.identities(|all| {
            all.azure.assertion = "pod.jwt.1".to_owned();
            all.azure.tenant = tenant;
        });
        for tenth in 0..60 {
            assert!(pull(&shop, tenth).await, "{tenth}: {:?}", standing(&shop));
            pass(0.1).await;
        }
        let journal = shop.sim.journal();
        let exchanges = journal
            .iter()
            .filter(|entry| entry.path == "/oauth2/exchange")
            .count();
        let identity = asked(&shop, Role::Metadata) + asked(&shop, Role::Cloud);
        assert_eq!(
            (exchanges, identity),
            (4, 4),
            "a refresh token is good for three hours"
        );
        let standing = standing(&shop);
        assert_eq!((standing.name.as_str(), standing.state.as_str()), ("azure", "ok"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_exchange_that_is_throttled_is_lived_through_and_what_azure_refuses_is_told_with_the_next_step() {
    let shop = shop("acr", azure(&[]));
    assert!(pull(&shop, 0).await);
    pass(1.6).await;
    shop.sim.identities(|all| all.azure.throttled = 3);
    for number in 1..60 {
        assert!(pull(&shop, number).await, "{:?}", standing(&shop));
        pass(0.01).await;
    }
    assert_eq!(standing(&shop).state, "ok");
    let exchanges = shop
        .sim
        .journal()
        .iter()
        .filter(|entry| entry.path == "/oauth2/exchange")
        .count();
    assert_eq!(exchanges, 5);
    let unassigned: Turn = |all| all.azure.unassigned = true;
    let denied: Turn = |all| all.azure.denied = true;
    let wrong = [&TENANT[..], &[("AZURE_CLIENT_SECRET", "CANARY-old")]].concat();
    for (variables, turn, why) in [
        (Vec::new(), unassigned, "assign an identity to this machine"),
        (Vec::new(), denied, "give the identity the role AcrPull"),
        (wrong, |_: &mut _| (), "AADSTS7000215"),
        (
            Vec::new(),
            |all| all.azure.empty = true,
            "registry.example.com answered without a refresh_token",
        ),
    ] {
        let shop = super::shop("acr", azure(&variables));
        shop.sim.identities(turn);
        fails(&shop, why).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_told_as_failing_and_not_as_refused() {
    for (path, status, why, advice) in [
        (
            "/oauth2/token",
            503,
            "metadata service answered with status 503",
            "assign an identity",
        ),
        (
            "/oauth2/exchange",
            500,
            "it does not exchange the token",
            "AcrPull",
        ),
    ] {
        let shop = shop("acr", azure(&[]));
        shop.sim.identities(|all| all.refused = Some((path, status)));
        fails(&shop, why).await;
        let told = standing(&shop).why.unwrap();
        assert!(!told.contains(advice), "{path}: {told}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_token_in_azures_file_is_read_anew_each_time_and_an_old_one_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "pod.jwt.1");
    let federated = [&TENANT[..], &[("AZURE_FEDERATED_TOKEN_FILE", file.as_str())]].concat();
    let shop = shop("acr", azure(&federated));
    let turn = |assertion: &str| {
        shop.sim.identities(|all| {
            all.azure.assertion = assertion.to_owned();
            all.azure.tenant = "tenant-1";
        });
    };
    turn("pod.jwt.1");
    assert!(pull(&shop, 0).await, "{:?}", standing(&shop));
    turn("pod.jwt.2");
    // It is renewed at half of its three hours, behind everybody's back.
    pass(1.6).await;
    assert!(pull(&shop, 1).await, "{:?}", standing(&shop));
    pass(0.01).await;
    let told = standing(&shop);
    assert_eq!(told.state, "failing");
    let why = told.why.as_deref().unwrap_or_default();
    assert!(
        why.contains("see whether the file of AZURE_FEDERATED_TOKEN_FILE is renewed"),
        "{told:?}"
    );
    assert!(!format!("{told:?}").contains("pod.jwt"), "{told:?}");
    write(directory.path(), "pod.jwt.2");
    pass(0.1).await;
    assert!(pull(&shop, 2).await, "{:?}", standing(&shop));
    pass(0.01).await;
    assert_eq!(standing(&shop).state, "ok");
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_azure_is_lived_through_to_the_end_of_the_token_and_told() {
    let shop = shop("acr", azure(&[]));
    assert!(pull(&shop, 0).await);
    pass(1.0).await;
    shop.sim.go_down(&[Role::Metadata]);
    for number in 1..8 {
        pass(0.25).await;
        assert!(pull(&shop, number).await, "{number}: {:?}", standing(&shop));
    }
    assert_eq!(standing(&shop).state, "failing");
    pass(0.5).await;
    let path = put(&shop, "team/late", 99);
    let answer = shop.curt().get(&path).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    shop.sim.heal();
    pass(0.1).await;
    assert!(pull(&shop, 100).await, "{:?}", standing(&shop));
    assert_eq!(standing(&shop).state, "ok");
}
