//! TLS towards clients: a certificate of the operator's, modern protocols, HTTP/2 for those who ask for it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::acme::Acme;
use super::shown::{PROOF, Shown};
use super::{identity, tls};
use crate::clock::Time;
use crate::oci::Digest;

/// Bytes that rustls may hold encrypted and unsent: as much as one read of a file brings.
const BUFFER: usize = 512 * 1024;

/// What is wrong with a certificate or its key, in words that name the file.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The file of certificates.
    #[error("the certificates in {}: {why}", path.display())]
    Certificate {
        /// Where they stand.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The file of those who issue the certificates of clients.
    #[error("the authorities in {}: {why}", path.display())]
    Authority {
        /// Where they stand.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The file of the key.
    #[error("the key in {}: {why}", path.display())]
    Key {
        /// Where it stands.
        path: PathBuf,
        /// What is wrong; says nothing of what is in the file.
        why: String,
    },
}

/// A certificate and its key, ready to serve with. Clones share them.
#[derive(Clone)]
pub struct Serving {
    /// PEM file of the certificates: the server's own first, then those between it and a root.
    pub certificate: PathBuf,
    /// PEM file of the key.
    pub key: PathBuf,
    /// Tells what stands in the files from anything else.
    content: Digest,
    /// PEM file of those who issue the certificates of clients, if clients may show any.
    pub client_ca: Option<PathBuf>,
    /// How the certificate comes from an authority, if it does.
    pub acme: Option<Arc<Acme>>,
    shown: Arc<Shown>,
    acceptor: TlsAcceptor,
}

impl fmt::Debug for Serving {
    /// Without the key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Serving")
            .field("certificate", &self.certificate)
            .field("key", &self.key)
            .field("client_ca", &self.client_ca)
            .field("acme", &self.acme)
            .finish_non_exhaustive()
    }
}

impl Serving {
    /// Reads the files. A client that shows a certificate must show one that comes from `client_ca`; it need not
    /// show any. Blocks on the disk.
    ///
    /// # Errors
    /// [`Unusable`] if one cannot be read, or the key is not that of the first certificate.
    pub fn read(certificate: PathBuf, key: PathBuf, client_ca: Option<PathBuf>) -> Result<Self, Unusable> {
        let mut content = Vec::new();
        let shown = Arc::new(Shown::default());
        shown.change(certified(&certificate, &key, &mut content)?);
        Self::showing(shown, (certificate, key), client_ca, None, content)
    }

    /// As [`Self::read`], with the certificate that an authority gives. If none is kept, or none that can be used,
    /// clients are shown none until [`Self::take_new`]. Blocks on the disk.
    ///
    /// # Errors
    /// [`Unusable`] if the issuers of the certificates of clients cannot be read.
    pub fn issued(acme: Acme, client_ca: Option<PathBuf>) -> Result<Self, Unusable> {
        let (shown, file) = (Arc::new(Shown::default()), acme.certificate());
        // What it is, is not the operator's doing: nothing is another because it was renewed.
        match certified(&file, &file, &mut Vec::new()) {
            Ok(certificate) => shown.change(certificate),
            Err(unusable) => tracing::debug!(%unusable, "no certificate is kept"),
        }
        let content = acme.roots.concat();
        Self::showing(
            shown,
            (file.clone(), file),
            client_ca,
            Some(Arc::new(acme)),
            content,
        )
    }

    fn showing(
        shown: Arc<Shown>,
        (certificate, key): (PathBuf, PathBuf),
        client_ca: Option<PathBuf>,
        acme: Option<Arc<Acme>>,
        mut content: Vec<u8>,
    ) -> Result<Self, Unusable> {
        let authorities = client_ca
            .as_ref()
            .map(|path| authorities(path, &mut content))
            .transpose()?;
        let config = config(Arc::clone(&shown), authorities, acme.is_some());
        Ok(Self {
            content: Digest::sha256(&content),
            acceptor: Arc::new(config).into(),
            certificate,
            key,
            client_ca,
            acme,
            shown,
        })
    }

    /// Shows the certificate that is in the files now, to every client that comes from now on. Blocks on the disk.
    ///
    /// # Errors
    /// [`Unusable`] if it cannot be used; what was shown before still is.
    pub fn take_new(&self) -> Result<(), Unusable> {
        self.shown
            .change(certified(&self.certificate, &self.key, &mut Vec::new())?);
        Ok(())
    }

    /// What clients are shown.
    pub fn shown(&self) -> &Arc<Shown> {
        &self.shown
    }

    /// Since when and until when the certificate that is shown is good, and the names that it is for; `None`: none is
    /// shown, or it cannot be understood.
    pub fn life(&self) -> Option<(Time, Time, Vec<String>)> {
        let shown = self.shown.present()?;
        let first = shown.cert.first()?;
        let (from, until) = identity::life(first)?;
        Some((from, until, identity::names(first)))
    }

    /// True if `other` shows clients the same certificates, with the same key, and takes theirs from the same authorities.
    pub fn is_same(&self, other: &Self) -> bool {
        self.content == other.content
    }

    /// Shakes hands with a client.
    ///
    /// Not cancel-safe: a handshake that is dropped is lost, and so is its connection.
    ///
    /// # Errors
    /// Why the connection or the handshake failed.
    pub async fn accept<I>(&self, io: I) -> io::Result<TlsStream<I>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let bounded = |connection: &mut rustls::ServerConnection| connection.set_buffer_limit(Some(BUFFER));
        let stream = self.acceptor.accept_with(io, bounded).await?;
        match stream.get_ref().1.alpn_protocol() {
            Some(PROOF) => Err(io::Error::other(
                "an authority was shown a proof: it has nothing else to ask",
            )),
            Some(_) | None => Ok(stream),
        }
    }
}

/// The certificates in one file and the key in another. What tells them from others is added to `content`.
fn certified(certificate: &Path, key: &Path, content: &mut Vec<u8>) -> Result<CertifiedKey, Unusable> {
    let wrong_certificate = |why: String| Unusable::Certificate {
        path: certificate.to_owned(),
        why,
    };
    let chain = tls::certificates(certificate).map_err(wrong_certificate)?;
    content.extend(chain.iter().flat_map(|each| each.iter().copied()));
    let wrong_key = |why: String| Unusable::Key {
        path: key.to_owned(),
        why,
    };
    let pem = std::fs::read(key).map_err(|error| wrong_key(error.to_string()))?;
    content.extend_from_slice(&pem);
    let private = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| wrong_key("there is no unencrypted private key in PEM in it".to_owned()))?;
    CertifiedKey::from_der(chain, private, &tls::provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            wrong_key(format!("it is not the key of {}", certificate.display()))
        }
        rustls::Error::InvalidCertificate(why) => wrong_certificate(format!("not usable: {why:?}")),
        other => wrong_key(format!("not usable: {other}")),
    })
}

/// What verifies the certificates of clients. Their issuers are added to `content`.
fn authorities(path: &Path, content: &mut Vec<u8>) -> Result<Arc<dyn ClientCertVerifier>, Unusable> {
    let wrong = |why: String| Unusable::Authority {
        path: path.to_owned(),
        why,
    };
    let mut roots = RootCertStore::empty();
    for certificate in tls::certificates(path).map_err(wrong)? {
        content.extend_from_slice(&certificate);
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), tls::provider())
        .allow_unauthenticated()
        .build();
    verifier.map_err(|error| wrong(error.to_string()))
}

/// The names in the certificate that a client has shown and that was found good; none if it has shown none.
pub fn names<I>(stream: &TlsStream<I>) -> Arc<[String]> {
    let shown = stream.get_ref().1.peer_certificates();
    let first = shown.and_then(<[CertificateDer<'_>]>::first);
    first
        .map(|certificate| identity::names(certificate))
        .unwrap_or_default()
        .into()
}

fn config(
    shown: Arc<Shown>,
    authorities: Option<Arc<dyn ClientCertVerifier>>,
    is_issued: bool,
) -> ServerConfig {
    let config = ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .expect("the provider offers cipher suites for the default versions");
    let config = match authorities {
        Some(authorities) => config.with_client_cert_verifier(authorities),
        None => config.with_no_client_auth(),
    };
    let mut config = config.with_cert_resolver(shown);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if is_issued {
        config.alpn_protocols.push(PROOF.to_vec());
    }
    config
}
