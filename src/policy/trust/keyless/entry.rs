//! What a transparency log says of a signature: what it has recorded, and when.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;

use super::root::Log;
use crate::clock::Time;
use crate::oci::{Algorithm, Digest};
use crate::policy::trust::Flaw;

/// An entry, and the log's promise that it is one.
#[derive(Debug)]
pub(super) struct Entry {
    /// What is recorded: JSON, in base64.
    body: String,
    /// When, in seconds since the Unix epoch.
    time: u64,
    /// As which of its entries.
    index: u64,
    /// The log's name.
    log: Digest,
    /// The log's signature of all that.
    promise: Vec<u8>,
}

/// A signature, as it has to be recorded.
pub(super) struct Recorded<'a> {
    pub(super) signature: &'a [u8],
    pub(super) certificate: &'a CertificateDer<'a>,
    /// What was signed.
    pub(super) text: &'a [u8],
}

impl Entry {
    /// The one that is attached to a signature of the older form.
    pub(super) fn attached(json: &str) -> Result<Self, Flaw> {
        let attached: Attached = serde_json::from_str(json).map_err(|_| Flaw::Unreadable)?;
        let Promised {
            body,
            integrated_time,
            log_index,
            log_id,
        } = attached.payload;
        Ok(Self {
            body,
            time: integrated_time,
            index: log_index,
            log: format!("{}:{log_id}", Algorithm::Sha256.name())
                .parse()
                .map_err(|_| Flaw::Unreadable)?,
            promise: decoded(&attached.promise)?,
        })
    }

    /// When one of these logs has recorded it.
    pub(super) fn time(&self, logs: &[Log]) -> Result<Time, Flaw> {
        // Base64 needs no escaping in JSON; what else there might be would.
        decoded(&self.body)?;
        let promised = format!(
            r#"{{"body":"{}","integratedTime":{},"logID":"{}","logIndex":{}}}"#,
            self.body,
            self.time,
            self.log.hex(),
            self.index
        );
        let time = Time::from_millis(self.time.saturating_mul(1000));
        let mut named = logs.iter().filter(|log| log.id == self.log);
        let has_promised =
            |log: &Log| log.span.has(time) && log.key.verifies(promised.as_bytes(), &self.promise);
        named.any(has_promised).then_some(time).ok_or(Flaw::Unlogged)
    }

    /// Whether what is recorded is this signature.
    pub(super) fn is_of(&self, made: &Recorded<'_>) -> Result<(), Flaw> {
        let body: Body = serde_json::from_slice(&decoded(&self.body)?).map_err(|_| Flaw::Unreadable)?;
        if (body.kind.as_str(), body.version.as_str()) != ("hashedrekord", "0.0.1") {
            return Err(Flaw::NotUnderstood);
        }
        let Spec { data, signature } = serde_json::from_str(body.spec.get()).map_err(|_| Flaw::Unreadable)?;
        let certificate = certificate(&decoded(&signature.public_key.content)?)?;
        let is_it = data.hash.is_of(made.text)
            && decoded(&signature.content)? == made.signature
            && certificate == *made.certificate;
        is_it.then_some(()).ok_or(Flaw::OtherEntry)
    }
}

/// The certificate in PEM.
pub(super) fn certificate(pem: &[u8]) -> Result<CertificateDer<'static>, Flaw> {
    CertificateDer::from_pem_slice(pem).map_err(|_| Flaw::Unreadable)
}

fn decoded(text: &str) -> Result<Vec<u8>, Flaw> {
    STANDARD.decode(text).map_err(|_| Flaw::Unreadable)
}

#[derive(Deserialize)]
struct Attached {
    #[serde(rename = "SignedEntryTimestamp")]
    promise: String,
    #[serde(rename = "Payload")]
    payload: Promised,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Promised {
    body: String,
    integrated_time: u64,
    log_index: u64,
    #[serde(rename = "logID")]
    log_id: String,
}

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "apiVersion")]
    version: String,
    kind: String,
    spec: Box<serde_json::value::RawValue>,
}

#[derive(Deserialize)]
struct Spec {
    data: Data,
    signature: Signature,
}

#[derive(Deserialize)]
struct Data {
    hash: Hash,
}

#[derive(Deserialize)]
struct Hash {
    algorithm: String,
    value: String,
}

impl Hash {
    /// True if it is the SHA-256 of these bytes; others are not recorded for what is signed with a certificate.
    fn is_of(&self, bytes: &[u8]) -> bool {
        self.algorithm == Algorithm::Sha256.name() && self.value == Digest::sha256(bytes).hex()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signature {
    content: String,
    public_key: PublicKey,
}

#[derive(Deserialize)]
struct PublicKey {
    content: String,
}
