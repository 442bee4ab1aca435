//! Clients that show a certificate: by its names they are known, and one that is not good is as none.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Builder;
use http::{Method, Request, StatusCode};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use seawall::net::serving::{Serving, Unusable};
use seawall::policy::access::{Access, Anonymous, Grant, Role, Scope};
use seawall::policy::clients::{Clients, Matches, Rule};
use seawall::server::Operators;
use tokio::io::DuplexStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::access::{APP, STRANGER};
use super::support::configured::{Configured, hub};
use super::support::registry::Registry;
use super::support::seawall::{Choices, read};
use super::support::world::{World, bare_manifest, world};

const RUNNER: &str = "spiffe://cluster.test/ns/ci/sa/runner";

/// An authority, and what it has issued.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    /// A certificate and its key.
    fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

fn common(name: &str) -> impl FnOnce(&mut CertificateParams) {
    let name = name.to_owned();
    move |params| params.distinguished_name.push(DnType::CommonName, name)
}

/// Where node-1 and the runner may pull the team's, and nobody else anything.
struct House {
    world: World,
    server: CertificateDer<'static>,
    authority: Authority,
}

/// Writes the server's own certificate and its key into `folder`.
fn own_certificate(folder: &Path) -> rcgen::Certificate {
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["cache.test".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    std::fs::write(folder.join("tls.crt"), server.pem()).unwrap();
    std::fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
    server
}

fn house() -> House {
    let authority = Authority::new("clients");
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let server = own_certificate(directory.path());
    std::fs::write(at("ca.crt"), authority.certificate.pem()).unwrap();
    let rule = Rule {
        matches: Matches {
            certificates: vec!["node-1".to_owned(), RUNNER.to_owned()],
            ..Matches::default()
        },
        grant: Grant {
            role: Role::Operate,
            deny: vec![Scope::parse("docker.io/other/**").unwrap()],
            ..Grant::default()
        },
        ..Rule::at("nodes", 0, Vec::new())
    };
    let clients = Clients {
        rules: vec![rule],
        access: Access {
            anonymous: Anonymous::From(Vec::new()),
            ..Access::default()
        },
        ..Clients::default()
    };
    let serving = Serving::read(at("tls.crt"), at("tls.key"), Some(at("ca.crt"))).unwrap();
    let world = world(Choices {
        tls: Some(serving.clone()),
        operators: Operators {
            tls: Some(serving),
            ..Operators::default()
        },
        clients,
        ..Choices::default()
    });
    bare_manifest(&world.registry, "team/app");
    House {
        world,
        server: server.der().clone(),
        authority,
    }
}

impl House {
    /// The status of a pull with this certificate; `None` if the connection is refused.
    async fn pull(&self, shown: Option<&(rcgen::Certificate, KeyPair)>, path: &str) -> Option<StatusCode> {
        let near = self.world.seawall.connect((STRANGER, 9).into());
        let asked = Request::get(path).header("host", "cache.test");
        self.ask(near, shown, asked).await
    }

    /// The status of what an operator asks for with this certificate.
    async fn operate(
        &self,
        shown: Option<&(rcgen::Certificate, KeyPair)>,
        method: Method,
        path: &str,
    ) -> Option<StatusCode> {
        let near = self.world.seawall.connect_operator((STRANGER, 9).into());
        let asked = Request::builder().method(method).uri(path);
        let asked = asked
            .header("host", "cache.test")
            .header("content-type", "application/json");
        self.ask(near, shown, asked).await
    }

    async fn ask(
        &self,
        near: DuplexStream,
        shown: Option<&(rcgen::Certificate, KeyPair)>,
        asked: Builder,
    ) -> Option<StatusCode> {
        ask(near, &self.server, shown, asked).await
    }
}

/// The status of a request to this server with this certificate; `None` if the connection is refused.
async fn ask(
    near: DuplexStream,
    server: &CertificateDer<'static>,
    shown: Option<&(rcgen::Certificate, KeyPair)>,
    asked: Builder,
) -> Option<StatusCode> {
    let mut roots = RootCertStore::empty();
    roots.add(server.clone()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.unwrap().with_root_certificates(roots);
    let config = match shown {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
            config
                .with_client_auth_cert(vec![certificate.der().clone()], key)
                .unwrap()
        }
    };
    let name = "cache.test".try_into().unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, near)
        .await
        .ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .ok()?;
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let asked = asked.body(Empty::<Bytes>::new()).unwrap();
    Some(read(sender.send_request(asked).await.ok()?).await.status)
}

#[tokio::test(start_paused = true)]
async fn a_certificate_says_whose_client_it_is() {
    let house = house();
    let node = house.authority.issue(common("node-1"));
    let runner = house.authority.issue(|params| {
        params
            .subject_alt_names
            .push(SanType::URI(RUNNER.try_into().unwrap()))
    });
    for shown in [&node, &runner] {
        assert_eq!(house.pull(Some(shown), APP).await, Some(StatusCode::OK));
        assert_eq!(
            house.pull(Some(shown), "/v2/other/app/manifests/1").await,
            Some(StatusCode::NOT_FOUND)
        );
    }
    // Without one, a client may come by other ways, of which there is none here.
    assert_eq!(house.pull(None, APP).await, Some(StatusCode::FORBIDDEN));
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_not_good_is_refused_at_the_handshake() {
    // S081
    let house = house();
    let other = Authority::new("clients");
    let foreign = other.issue(common("node-1"));
    let past = house.authority.issue(|params| {
        common("node-1")(params);
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    let server = house.authority.issue(|params| {
        common("node-1")(params);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    for (why, shown) in [("foreign", &foreign), ("past", &past), ("another use", &server)] {
        assert_eq!(house.pull(Some(shown), APP).await, None, "{why}");
    }
    assert_eq!(house.world.registry.journal().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_lets_an_operator_in_as_far_as_the_role_of_its_client_goes() {
    let house = house();
    let node = house.authority.issue(common("node-1"));
    let stranger = house.authority.issue(common("node-2"));
    let (get, post) = (Method::GET, Method::POST);
    // By a name, too: whoever proves who they are need not name an address.
    for path in ["/", "/metrics", "/api/v1/status"] {
        assert_eq!(
            house.operate(Some(&node), get.clone(), path).await,
            Some(StatusCode::OK)
        );
        assert_eq!(
            house.operate(Some(&stranger), get.clone(), path).await,
            Some(StatusCode::FORBIDDEN)
        );
        assert_eq!(
            house.operate(None, get.clone(), path).await,
            Some(StatusCode::FORBIDDEN)
        );
    }
    assert_eq!(
        house.operate(Some(&node), post, "/api/v1/purge").await,
        Some(StatusCode::FORBIDDEN)
    );
    assert_eq!(house.operate(None, get, "/readyz").await, Some(StatusCode::OK));
}

#[tokio::test(start_paused = true)]
async fn another_authority_in_its_file_is_followed_and_one_that_is_gone_is_told_and_stays() {
    // S081
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let server = own_certificate(folder.path()).der().clone();
    std::fs::write(at("ca.crt"), old.certificate.pem()).unwrap();
    let registry = Registry::default();
    bare_manifest(&registry, "team/app");
    let text = format!(
        "{}[access]\nanonymous = \"nobody\"\n[server]\n\
         tls = {{ certificate = {:?}, key = {:?}, client_ca = {:?} }}\n\
         [[client]]\nname = \"nodes\"\ntier = \"basic\"\nmatch = {{ certificate = [\"node-1\"] }}\n",
        hub(""),
        at("tls.crt"),
        at("tls.key"),
        at("ca.crt")
    );
    let mut configured = Configured::start(&registry.dialer(), &text);
    let nodes = [&old, &new].map(|authority| authority.issue(common("node-1")));
    let statuses = async |configured: &Configured| {
        let pull = async |node| {
            let near = configured.seawall.connect((STRANGER, 9).into());
            let asked = Request::get(APP).header("host", "cache.test");
            ask(near, &server, Some(node), asked).await
        };
        [pull(&nodes[0]).await, pull(&nodes[1]).await]
    };
    assert_eq!(statuses(&configured).await, [Some(StatusCode::OK), None]);
    let Configured { running, source, .. } = &mut configured;
    let swap = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        std::fs::write(at("ca.crt"), new.certificate.pem()).unwrap();
    };
    let (reload, ()) = tokio::join!(running.follow_files(source), swap);
    assert_eq!(reload.changed, ["server.tls has new content"]);
    assert_eq!(statuses(&configured).await, [None, Some(StatusCode::OK)]);
    std::fs::remove_file(at("ca.crt")).unwrap();
    let reload = configured.change(&text).await;
    assert!(!reload.applied && reload.problems.len() == 1, "{reload:?}");
    let told = format!("the authorities in {}: ", at("ca.crt").display());
    assert!(reload.problems[0].contains(&told), "{reload:?}");
    assert_eq!(statuses(&configured).await, [None, Some(StatusCode::OK)]);
}

#[test]
fn authorities_that_cannot_be_read_stop_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    own_certificate(directory.path());
    std::fs::write(at("empty"), "").unwrap();
    for name in ["none", "empty", "tls.key"] {
        let read = Serving::read(at("tls.crt"), at("tls.key"), Some(at(name)));
        let Err(Unusable::Authority { path, .. }) = read else {
            panic!("{name} was taken")
        };
        assert_eq!(path.file_name(), Path::new(name).file_name());
    }
}
