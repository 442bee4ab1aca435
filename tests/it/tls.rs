//! TLS towards upstreams, with real handshakes: whom we believe, and what we speak.

mod given_back;
mod others;

use std::sync::Arc;
use std::time::Duration;

use http::Version;
use seawall::clock::Clock;
use seawall::net::dial::{Dialer, Io, Proxies};
use seawall::oci::{Digest, Repository};
use seawall::policy::access::visibility::Sharing;
use seawall::policy::naming::{Chosen, Pattern};
use seawall::upstream::{Budgets, Options, Refusal, Timeouts, Upstreams, Want};
use tokio::io::DuplexStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::server::TlsStream;

use crate::support::registry::{ADDRESS, Bounds, Registry};
use crate::support::world::{MIB, content};

fn is_authority() -> rcgen::IsCa {
    rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained)
}

/// A certificate authority of the test's own.
pub(crate) struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    der: Vec<u8>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::of("Ours")
    }

    /// One of this name.
    fn of(name: &str) -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = is_authority();
        let key = rcgen::KeyPair::generate().unwrap();
        let own = params.self_signed(&key).unwrap();
        Self {
            issuer: rcgen::Issuer::new(params, key),
            der: own.der().to_vec(),
            pem: own.pem(),
        }
    }

    /// A server that shows a certificate for `name` and speaks these protocols.
    pub(crate) fn server(&self, name: &str, protocols: &[&str]) -> TlsAcceptor {
        self.server_by(name, protocols, |_| ())
    }

    /// The same with something about its certificate changed.
    fn server_by(
        &self,
        name: &str,
        protocols: &[&str],
        change: impl Fn(&mut rcgen::CertificateParams),
    ) -> TlsAcceptor {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = versions.unwrap().with_no_client_auth();
        let mut config = config
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = protocols
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        Arc::new(config).into()
    }
}

/// Reaches `registry` through TLS, whatever the name.
pub(crate) fn dialer(registry: &Registry, acceptor: &TlsAcceptor) -> Dialer {
    let registry = registry.clone();
    dialer_by(acceptor, move |stream| registry.clone().serve(stream))
}

/// Reaches what is served by `serve` through TLS, whatever the name.
fn dialer_by<F>(
    acceptor: &TlsAcceptor,
    serve: impl Fn(TlsStream<DuplexStream>) -> F + Clone + Send + Sync + 'static,
) -> Dialer
where
    F: Future<Output = ()> + Send + 'static,
{
    let acceptor = acceptor.clone();
    Dialer {
        proxies: Proxies::Never,
        resolve: Arc::new(|_| Box::pin(async { Ok(vec![ADDRESS]) })),
        connect: Arc::new(move |_| {
            let (serve, acceptor) = (serve.clone(), acceptor.clone());
            Box::pin(async move {
                let (near, far) = tokio::io::duplex(256 * 1024);
                tokio::spawn(async move {
                    // A client that refuses our certificate ends the handshake with an error.
                    if let Ok(stream) = acceptor.accept(far).await {
                        serve(stream).await;
                    }
                });
                Ok(Box::new(near) as Box<dyn Io>)
            })
        }),
    }
}

/// `https://hub.test`, trusting `ca`.
fn hub(dialer: &Dialer, ca: &[u8]) -> Upstreams {
    let pattern = Pattern::Exact("hub.test".parse().unwrap());
    let options = Options {
        registry: pattern,
        url: Some("https://hub.test".parse().unwrap()),
        credentials: Vec::new(),
        sharing: Sharing::Shared,
        access_ttl: Duration::from_secs(300),
        alternates: Vec::new(),
        token_hosts: vec!["auth.hub.test".to_owned()],
        lanes: None,
        allow_addresses: Vec::new(),
        ca: vec![ca.to_vec()],
        manifest_limit: 4 << 20,
        negative_ttl: Duration::ZERO,
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            headers: Duration::from_secs(20),
            idle: Duration::from_secs(30),
        },
    };
    Upstreams::new(vec![options], Budgets::default(), dialer, Clock::start())
}

/// The repository `app` there.
fn chosen() -> Chosen {
    let repository = Repository {
        registry: "hub.test".parse().unwrap(),
        path: "app".parse().unwrap(),
    };
    Chosen { entry: 0, repository }
}

/// Asks for a blob; returns how much of it came.
async fn blob(hub: &Upstreams, digest: &Digest) -> Result<usize, Refusal> {
    let chosen = chosen();
    let upstream = hub.get(&chosen);
    let mut incoming = upstream
        .blob(&chosen.repository.path, digest, Want::From(0))
        .await?;
    let mut len = 0;
    while let Some(bytes) = incoming.chunk().await? {
        len += bytes.len();
    }
    Ok(len)
}

/// Asks it for a blob, on connections of their own.
async fn fetch(dialer: &Dialer, ca: &[u8], digest: &Digest) -> Result<usize, Refusal> {
    blob(&hub(dialer, ca), digest).await
}

#[tokio::test(start_paused = true)]
async fn an_upstream_is_believed_by_the_operators_own_authority() {
    for (protocols, version) in [
        (&["h2", "http/1.1"][..], Version::HTTP_2),
        (&["http/1.1"][..], Version::HTTP_11),
        (&[][..], Version::HTTP_11),
    ] {
        let (registry, authority) = (Registry::default(), Authority::new());
        let digest = registry.blob("app", content(3 * MIB, 1));
        let dialer = dialer(&registry, &authority.server("hub.test", protocols));
        assert_eq!(fetch(&dialer, &authority.der, &digest).await, Ok(3 * MIB));
        assert_eq!(registry.journal()[0].version, version);
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_shows_another_certificate_is_not_asked() {
    // F027, S150, S151: an authority we do not know, a name that is not the upstream's, a time that is over.
    let (ours, ours_again, other) = (Authority::new(), Authority::new(), Authority::of("Other"));
    for (acceptor, why) in [
        (
            ours_again.server("hub.test", &[]),
            "its certificate is not from an authority that is trusted here",
        ),
        (
            other.server("hub.test", &[]),
            "its certificate is not from an authority that is trusted here",
        ),
        (
            ours.server("evil.test", &[]),
            "its certificate is not for hub.test, but for evil.test",
        ),
        (
            ours.server_by("hub.test", &[], |params| {
                params.not_after = rcgen::date_time_ymd(2020, 1, 1);
            }),
            "its certificate has expired",
        ),
        (
            ours.server_by("hub.test", &[], |params| params.is_ca = is_authority()),
            "its certificate is that of an authority, which no server may show: make one with \
             basicConstraints=CA:FALSE",
        ),
    ] {
        let registry = Registry::default();
        let digest = registry.blob("app", content(1000, 2));
        let outcome = fetch(&dialer(&registry, &acceptor), &ours.der, &digest).await;
        let told = format!("the connection to hub.test failed: {why}");
        assert_eq!(outcome, Err(Refusal::Unreachable(told)));
        assert!(registry.journal().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_is_never_answered_is_given_up() {
    // F028: the connection is taken, and nothing comes.
    let ends: Arc<std::sync::Mutex<Vec<tokio::io::DuplexStream>>> = Arc::default();
    let silent = ends.clone();
    let dialer = Dialer {
        proxies: Proxies::Never,
        resolve: Arc::new(|_| Box::pin(async { Ok(vec![ADDRESS]) })),
        connect: Arc::new(move |_| {
            let (near, far) = tokio::io::duplex(256 * 1024);
            silent.lock().unwrap().push(far);
            Box::pin(async move { Ok(Box::new(near) as Box<dyn Io>) })
        }),
    };
    let asked = tokio::time::Instant::now();
    let digest = Digest::sha256(b"anything");
    let outcome = fetch(&dialer, &Authority::new().der, &digest).await;
    assert!(matches!(outcome, Err(Refusal::Unreachable(_))), "{outcome:?}");
    assert!(
        asked.elapsed() <= Duration::from_secs(21),
        "{:?}",
        asked.elapsed()
    );
    // Nor is a connection left open for it.
    let ends = std::mem::take(&mut *ends.lock().unwrap());
    for mut end in ends {
        tokio::io::AsyncReadExt::read_to_end(&mut end, &mut Vec::new())
            .await
            .unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn f042_a_registry_that_sends_connections_away_all_the_time_is_pulled_from_all_the_same() {
    const BLOBS: u64 = 60;
    for requests in [1, 2, 7] {
        let (registry, authority) = (Registry::default(), Authority::new());
        let digests = (0..BLOBS).map(|seed| registry.blob("app", content(40_000, seed)));
        let digests: Vec<Digest> = digests.collect();
        let serving = registry.clone();
        let bounds = Bounds {
            requests,
            ..Bounds::default()
        };
        let dialer = dialer_by(&authority.server("hub.test", &["h2"]), move |stream| {
            serving.clone().serve_some(stream, bounds)
        });
        let hub = Arc::new(hub(&dialer, &authority.der));
        let mut pulls = tokio::task::JoinSet::new();
        for digest in digests {
            let hub = hub.clone();
            pulls.spawn(async move { blob(&hub, &digest).await });
        }
        while let Some(pulled) = pulls.join_next().await {
            assert_eq!(pulled.unwrap(), Ok(40_000), "sent away after {requests}");
        }
        let journal = registry.journal();
        assert!(journal.iter().all(|request| request.version == Version::HTTP_2));
        // What was sent away unanswered was not begun there.
        assert_eq!(journal.len() as u64, BLOBS, "sent away after {requests}");
    }
}
