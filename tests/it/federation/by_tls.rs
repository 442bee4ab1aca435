//! Keys of issuers come by TLS from who shows that it is the issuer.

use std::sync::Arc;

use seawall::net::dial::Dialer;

use super::*;
use crate::tls::{Authority, dialer};

/// Reaches the registry as it is, and the issuer, at the port for that, by TLS.
fn beside(registry: &Registry, issuer: Dialer) -> Dialer {
    let plain = registry.dialer();
    let connect = plain.connect.clone();
    Dialer {
        connect: Arc::new(move |to| match to.port() {
            443 => (issuer.connect)(to),
            _ => connect(to),
        }),
        ..plain
    }
}

#[tokio::test(start_paused = true)]
async fn s150_an_issuer_whose_certificate_is_another_authoritys_vouches_for_nobody() {
    let (theirs, another) = (Authority::new(), Authority::new());
    for (ca, is_good) in [(&theirs, true), (&another, false)] {
        let (registry, key) = (Registry::default(), SigningKey::ec("one"));
        content(&registry);
        let issuer = Issuer::beside(&registry, &[&key]);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.crt");
        std::fs::write(&file, &ca.pem).unwrap();
        let by_tls =
            format!("url = \"https://issuer.test\"\njwks = \"https://issuer.test/keys\"\nca = {file:?}\n");
        let text = locked(&CI.replace("url = \"http://issuer.test\"\ninsecure = true\n", &by_tls));
        assert!(text.contains(&by_tls));
        let shown = dialer(&issuer.host, &theirs.server("issuer.test", &["http/1.1"]));
        let configured = Configured::start(&beside(&registry, shown), &text);
        let mut says = main_branch();
        says["iss"] = json!("https://issuer.test");
        let token = key.token(&issuer.claims(300, &says));
        let answer = with(&configured.seawall, &token, APP).await;
        assert_eq!(
            answer.is_good(),
            is_good,
            "{} {}",
            answer.status,
            text_of(&answer)
        );
        assert_eq!(issuer.asked(), usize::from(is_good));
        let error = status_of(&configured.seawall).await["error"].clone();
        let said = error.as_str().is_some_and(|error| error.contains("certificate"));
        assert_eq!(said, !is_good, "{error}");
    }
}
