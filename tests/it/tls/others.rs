//! The hosts that an upstream names, each with a certificate of its own: its token service, and where its blobs are.

use std::net::{IpAddr, SocketAddr};

use http::StatusCode;

use super::*;
use crate::support::registry::Script;

/// The name of a host, what it serves, and the certificate that it shows.
type Host = (&'static str, Registry, TlsAcceptor);

/// Reaches several hosts through TLS, each at an address of its own.
fn dialer_of(hosts: Vec<Host>) -> Dialer {
    let hosts = Arc::new(hosts);
    let address = |at: usize| IpAddr::from([1, 2, 3, u8::try_from(at).unwrap()]);
    let named = hosts.clone();
    Dialer {
        proxies: Proxies::Never,
        resolve: Arc::new(move |host: String| {
            let at = named.iter().position(|(name, ..)| *name == host);
            let found = at.map(|at| vec![address(at)]);
            Box::pin(async move { found.ok_or_else(|| std::io::ErrorKind::NotFound.into()) })
        }),
        connect: Arc::new(move |to: SocketAddr| {
            let at = (0..hosts.len()).find(|at| address(*at) == to.ip()).unwrap();
            let (_, registry, acceptor) = &hosts[at];
            (dialer(registry, acceptor).connect)(to)
        }),
    }
}

/// What comes of a blob whose upstream says something before it gives it, where `host`, which it names, shows this
/// certificate; and what that host was asked.
async fn sent_to(
    host: &'static str,
    says: Script,
    ours: &Authority,
    shows: TlsAcceptor,
) -> (Result<usize, Refusal>, usize) {
    let (registry, other) = (Registry::default(), Registry::default());
    let bytes = content(1000, 3);
    let digest = registry.blob("app", bytes.clone());
    registry.script(format!("/v2/app/blobs/{digest}"), says);
    other.put(
        "/token".to_owned(),
        "application/json",
        r#"{"token":"given"}"#.into(),
    );
    other.put("/blob".to_owned(), "application/octet-stream", bytes);
    let dialer = dialer_of(vec![
        ("hub.test", registry, ours.server("hub.test", &[])),
        (host, other.clone(), shows),
    ]);
    (fetch(&dialer, &ours.der, &digest).await, other.journal().len())
}

#[tokio::test(start_paused = true)]
async fn s150_hosts_that_an_upstream_names_are_told_nothing_before_they_show_who_they_are() {
    let challenge = r#"Bearer realm="https://auth.hub.test/token",service="hub""#;
    let challenged = Script {
        status: Some(StatusCode::UNAUTHORIZED),
        headers: vec![("www-authenticate", challenge.to_owned())],
        ..Script::default()
    };
    let redirected = Script {
        status: Some(StatusCode::TEMPORARY_REDIRECT),
        headers: vec![("location", "https://blobs.hub.test/blob".to_owned())],
        ..Script::default()
    };
    let (ours, again) = (Authority::new(), Authority::new());
    for (host, says) in [("auth.hub.test", challenged), ("blobs.hub.test", redirected)] {
        let expired =
            |params: &mut rcgen::CertificateParams| params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        for (shows, why) in [
            (
                again.server(host, &[]),
                "its certificate is not from an authority that is trusted here",
            ),
            (ours.server("hub.test", &[]), "its certificate is not for"),
            (ours.server_by(host, &[], expired), "its certificate has expired"),
        ] {
            let (outcome, asked) = sent_to(host, says.clone(), &ours, shows).await;
            let refusal = outcome.unwrap_err().to_string();
            assert!(refusal.contains(host) && refusal.contains(why), "{refusal}");
            assert_eq!(asked, 0, "{host}");
        }
        // Whoever comes with a token is not challenged again.
        let once = Script {
            times: Some(1),
            ..says
        };
        let (outcome, asked) = sent_to(host, once, &ours, ours.server(host, &[])).await;
        assert_eq!((outcome, asked), (Ok(1000), 1), "{host}");
    }
}
