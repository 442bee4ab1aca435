//! TLS: what all of it computes with; towards upstreams, the machine's roots or the operator's; and certificates in
//! files.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CertificateError, ClientConfig, ConfigBuilder, OtherError, RootCertStore};

/// What TLS computes with, towards clients and upstreams: aws-lc-rs, whose key exchange also withstands quantum
/// computers.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The configuration of a client that trusts the certificates of `ca` (DER) and no other, or, if there are
/// none, the machine's roots, or, if it has none either, Mozilla's.
///
/// Reads the machine's certificates from disk: call it at start, not per request. A certificate that cannot
/// be read is logged and left out, which makes connections fail rather than trust more.
pub fn client_config(ca: &[Vec<u8>]) -> Arc<ClientConfig> {
    Arc::new(trusting(ca).with_no_client_auth())
}

/// As [`client_config`], of a client that shows the certificates of a PEM file, which belong to the key of another.
/// Blocks on the disk.
///
/// # Errors
/// What is wrong with a file, in words that name it.
pub fn identified_config(
    ca: &[Vec<u8>],
    certificate: &Path,
    key: &Path,
) -> Result<Arc<ClientConfig>, String> {
    let chain = certificates(certificate).map_err(|why| format!("{}: {why}", certificate.display()))?;
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", key.display());
    let pem = std::fs::read(key).map_err(|error| wrong(&error))?;
    let private = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| wrong(&"there is no unencrypted private key in PEM in it"))?;
    let config = trusting(ca).with_client_auth_cert(chain, private);
    config.map(Arc::new).map_err(|error| wrong(&error))
}

fn trusting(ca: &[Vec<u8>]) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let roots = if ca.is_empty() {
        machine_roots()
    } else {
        own_roots(ca)
    };
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider offers cipher suites for the default versions")
        .with_root_certificates(roots)
}

/// Why a connection by TLS failed: what is wrong with its certificate in words for who has to mend it, if that is why.
pub fn why(error: &(dyn Error + 'static)) -> String {
    let told = error.downcast_ref::<rustls::Error>();
    told.and_then(in_words).unwrap_or_else(|| error.to_string())
}

fn in_words(error: &rustls::Error) -> Option<String> {
    let rustls::Error::InvalidCertificate(wrong) = error else {
        return None;
    };
    Some(match wrong {
        // By another of the same name: one that was made anew.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is not from an authority that is trusted here".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            // Each is told as `DnsName("a.example")`.
            let plain = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
            let presented: Vec<String> = presented.iter().map(plain).collect();
            let (expected, presented) = (expected.to_str(), presented.join(", "));
            format!("its certificate is not for {expected}, but for {presented}")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet, by the clock of this machine".to_owned()
        }
        CertificateError::Other(OtherError(other))
            if matches!(other.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity)) =>
        {
            "its certificate is that of an authority, which no server may show: make one with \
             basicConstraints=CA:FALSE"
                .to_owned()
        }
        _ => return None,
    })
}

/// The certificates in a PEM file; at least one. Blocks on the disk.
///
/// # Errors
/// What is wrong with the file, in words that follow its name.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = std::fs::read(path).map_err(|error| format!("it cannot be read: {error}"))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = read.map_err(|_| "it holds something that is not PEM".to_owned())?;
    match certificates.is_empty() {
        true => Err("there is no certificate in it".to_owned()),
        false => Ok(certificates),
    }
}

fn own_roots(ca: &[Vec<u8>]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for der in ca {
        if let Err(error) = roots.add(CertificateDer::from(der.clone())) {
            tracing::error!(%error, "a certificate of an upstream's `ca` is unusable and not trusted");
        }
    }
    roots
}

fn machine_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::info!("the machine has no root certificates; those of Mozilla are used");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    } else {
        tracing::debug!(added, ignored, "loaded the machine's root certificates");
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    // S151
    #[test]
    fn an_own_root_replaces_the_machines() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["r.example".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        assert_eq!(own_roots(&[certificate.der().to_vec()]).len(), 1);
        assert_eq!(own_roots(&[b"no certificate".to_vec()]).len(), 0);
        assert!(!machine_roots().is_empty());
    }
}
