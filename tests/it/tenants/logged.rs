//! What a client logs in with for an upstream is written down nowhere.

use http::StatusCode;
use seawall::policy::access::visibility::Sharing;

use super::{MINUTE, alice, bob, get, paths, start};
use crate::access::basic;
use crate::support::finest::Finest;
use crate::support::registry::Script;

#[tokio::test(start_paused = true)]
async fn what_clients_log_in_with_for_an_upstream_is_in_no_log_and_on_no_page() {
    // S032, S033
    let log = Finest::begin();
    let (world, image) = start(Sharing::PerClient);
    let (seawall, registry) = (&world.seawall, &world.registry);
    let logins = [alice(), bob(), basic("alice", "CANARY-wrong")];
    let pull = async || {
        for login in &logins {
            get(seawall, Some(login), "/v2/").await;
            for path in paths(&image) {
                get(seawall, Some(login), &path).await;
            }
        }
    };
    pull().await;
    assert!(get(seawall, Some(&alice()), &paths(&image)[0]).await.is_good());
    // The registry trades a login for a token of its own.
    let open = "/v2/library/open/manifests/1";
    let challenge = r#"Bearer realm="http://hub.test/token",service="hub""#.to_owned();
    let trades = Script {
        status: Some(StatusCode::UNAUTHORIZED),
        headers: vec![("www-authenticate", challenge)],
        ..Script::default()
    };
    registry.script(open, trades);
    let token = r#"{"token":"CANARY-token"}"#;
    registry.put("/token".to_owned(), "application/json", token.into());
    get(seawall, Some(&alice()), open).await;
    let shown = |path: &str, login: &str| {
        let seen = registry.journal();
        let mut seen = seen.iter().filter(|seen| seen.path == path);
        seen.any(|seen| {
            seen.headers
                .get("authorization")
                .is_some_and(|shown| *shown == login)
        })
    };
    assert!(shown("/token", &alice()) && shown(open, "Bearer CANARY-token"));
    // It is down, and what was known is over.
    registry.go_down();
    tokio::time::sleep(10 * MINUTE).await;
    pull().await;

    let mut secrets = vec!["CANARY".to_owned()];
    secrets.extend(logins.iter().map(|login| login.replace("Basic ", "")));
    log.assert_hides(&secrets, seawall, "hub.test").await;
}
