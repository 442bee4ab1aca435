//! What vouches for us at a cloud, and what that gives for it, is written down nowhere.

use seawall::upstream::Provider;

use super::amazon::{STATIC, aws, by_file};
use super::azure::{TENANT, azure};
use super::google::described;
use super::{account, pass, pull, shop, standing, write};
use crate::sim::journal::Role;
use crate::support::finest::Finest;

const TOKEN: &str = "pod.hidden.1";

#[tokio::test(start_paused = true)]
async fn what_is_shown_to_clouds_and_given_by_them_is_in_no_log_and_on_no_page() {
    // S032, S033
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), TOKEN);
    let [web, agent] = by_file(&file);
    let secret = [&TENANT[..], &[("AZURE_CLIENT_SECRET", "CANARY-secret")]].concat();
    let federated = [&TENANT[..], &[("AZURE_FEDERATED_TOKEN_FILE", file.as_str())]].concat();
    let described = described(directory.path(), &file, true);
    let google = |variables: &[(&str, &str)]| account(Provider::Google, variables);
    for (name, tenant, account) in [
        ("ecr-private", "", account(Provider::Aws, &STATIC)),
        ("ecr-private", "", aws(&web)),
        ("ecr-private", "", aws(&agent)),
        ("ecr-private", "", aws(&[])),
        ("acr", "tenant-1", azure(&secret)),
        ("acr", "tenant-1", azure(&federated)),
        ("acr", "", azure(&[])),
        (
            "gar",
            "",
            google(&[("GOOGLE_APPLICATION_CREDENTIALS", &described)]),
        ),
        ("gar", "", google(&[])),
    ] {
        let log = Finest::begin();
        let shop = shop(name, account);
        shop.sim.identities(|all| {
            (all.aws.agent_token, all.aws.web_token) = (TOKEN.to_owned(), TOKEN.to_owned());
            (all.azure.assertion, all.google.subject) = (TOKEN.to_owned(), TOKEN.to_owned());
            all.azure.tenant = tenant;
        });
        // Given, renewed, refused, and not to be had.
        assert!(pull(&shop, 1).await, "{name}: {:?}", standing(&shop));
        pass(13.0).await;
        assert!(pull(&shop, 2).await, "{name}: {:?}", standing(&shop));
        shop.sim.identities(|all| all.revoke());
        pull(&shop, 3).await;
        shop.sim.go_down(&[Role::Metadata, Role::Agent, Role::Cloud]);
        pass(26.0).await;
        assert!(!pull(&shop, 4).await, "{name}");
        let secrets = ["CANARY", "hidden", "issued-", "session"].map(str::to_owned);
        log.assert_hides(&secrets, &shop.seawall, "docker.io").await;
    }
}
