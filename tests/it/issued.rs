//! A certificate that comes from an authority: what clients are shown before there is one and afterwards, and who is
//! shown a proof.

use std::io;
use std::sync::Arc;

use seawall::net::acme::{Acme, Kept, write_kept};
use seawall::net::serving::Serving;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime,
};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

/// Believes every certificate: it is looked at afterwards.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What a client is shown that asks for `name` and offers these protocols; and whether it is served then.
async fn shown(serving: &Serving, name: &'static str, protocols: &[&str]) -> io::Result<(Vec<u8>, bool)> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let mut config = config
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|each| each.as_bytes().to_vec()).collect();
    let (near, far) = tokio::io::duplex(1 << 16);
    let connector = TlsConnector::from(Arc::new(config));
    let (served, connected) = tokio::join!(
        serving.accept(far),
        connector.connect(name.try_into().unwrap(), near)
    );
    let stream = connected?;
    let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    Ok((certificate, served.is_ok()))
}

/// A certificate of its own, and its key, in PEM.
fn certificate(name: &str) -> (rcgen::Certificate, rcgen::KeyPair) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.self_signed(&key).unwrap(), key)
}

fn acme(store: &std::path::Path) -> Acme {
    Acme {
        directory: "https://ca.test/directory".parse().unwrap(),
        ca: None,
        roots: Vec::new(),
        domains: vec!["cache.test".to_owned()],
        contact: Vec::new(),
        store: store.to_owned(),
    }
}

#[tokio::test]
async fn a_certificate_is_shown_from_when_it_is_kept_and_the_next_to_whoever_comes_next() {
    let store = tempfile::tempdir().unwrap();
    let serving = Serving::issued(acme(store.path()), None).unwrap();
    assert!(serving.life().is_none());
    let none = shown(&serving, "cache.test", &["h2"]).await;
    assert!(none.is_err(), "nothing is kept, and something was shown");
    assert!(serving.take_new().is_err());
    for _ in 0..2 {
        let (certificate, key) = certificate("cache.test");
        let text = format!("{}{}", certificate.pem(), key.serialize_pem());
        write_kept(store.path(), Kept::Certificate, &text).unwrap();
        serving.take_new().unwrap();
        let (seen, is_served) = shown(&serving, "cache.test", &["h2"]).await.unwrap();
        assert!(seen == certificate.der().to_vec() && is_served);
        assert_eq!(
            serving.life().unwrap().2,
            ["rcgen self signed cert", "cache.test"]
        );
    }
    write_kept(store.path(), Kept::Certificate, "nothing of use").unwrap();
    assert!(serving.take_new().is_err());
    assert!(
        shown(&serving, "cache.test", &["h2"]).await.is_ok(),
        "what cannot be used took away what can"
    );
}

#[tokio::test]
async fn a_proof_is_shown_to_who_asks_for_nothing_else_and_nothing_is_served_with_it() {
    let store = tempfile::tempdir().unwrap();
    let (present, key) = certificate("cache.test");
    let text = format!("{}{}", present.pem(), key.serialize_pem());
    write_kept(store.path(), Kept::Certificate, &text).unwrap();
    let serving = Serving::issued(acme(store.path()), None).unwrap();
    let unproved = shown(&serving, "cache.test", &["acme-tls/1"]).await;
    assert!(unproved.is_err(), "nothing was to be proved");

    let (proof, key) = certificate("cache.test");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let proved = CertifiedKey::from_der(vec![proof.der().clone()], key, &aws_lc_rs::default_provider());
    serving.shown().prove("cache.test", proved.unwrap());
    let (seen, is_served) = shown(&serving, "cache.test", &["acme-tls/1"]).await.unwrap();
    assert!(seen == proof.der().to_vec() && !is_served);
    for protocols in [
        &["acme-tls/1", "h2"][..],
        &["h2", "acme-tls/1"],
        &["http/1.1"],
        &[],
    ] {
        let (seen, _) = shown(&serving, "cache.test", protocols).await.unwrap();
        assert_eq!(seen, present.der().to_vec(), "{protocols:?}");
    }
    assert!(shown(&serving, "other.test", &["acme-tls/1"]).await.is_err());
    serving.shown().forget_proofs();
    assert!(shown(&serving, "cache.test", &["acme-tls/1"]).await.is_err());
}
