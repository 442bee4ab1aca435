//! ACR, by every identity that Azure's directory knows.

use seawall::upstream::{Account, Provider};

use super::super::super::identities::CLOUD;
use super::super::super::journal::Role;
use super::{Turn, account, asked, fails, pass, pull, shop, standing, write};

fn azure(more: &[(&str, &str)]) -> Account {
    account(Provider::Azure, more)
}

const TENANT: [(&str, &str); 3] = [
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
