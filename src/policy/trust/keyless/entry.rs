//! What a transparency log says of a signature: what it has recorded, and when.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::proof::Proof;
use super::root::Log;
use crate::clock::Time;
use crate::oci::{Algorithm, Digest};
use crate::policy::trust::Flaw;

/// An entry, and the log's promise that it is one.
pub(super) struct Entry {
    /// What is recorded: JSON, in base64.
    pub(super) body: String,
    /// When, in seconds since the Unix epoch.
    pub(super) time: u64,
    /// As which of its entries.
    pub(super) index: u64,
    /// The log's name.
    pub(super) log: Digest,
    /// The log's signature of all that.
    pub(super) promise: Vec<u8>,
    /// That the log has kept its promise, where that comes along.
    pub(super) proof: Option<Proof>,
}

/// What is recorded of a signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The hash of what was signed.
    Text,
    /// The hash of what stands in an envelope.
    Envelope,
}

impl Kind {
    /// What an entry says that it is, and in which version.
    const fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::Text => ("hashedrekord", "0.0.1"),
            Self::Envelope => ("dsse", "0.0.1"),
        }
    }
}

/// A signature, as it has to be recorded.
pub(super) struct Recorded<'a> {
    pub(super) signature: &'a [u8],
    pub(super) certificate: &'a CertificateDer<'a>,
    pub(super) kind: Kind,
    /// Of what there is a hash.
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
            proof: None,
        })
    }

    /// When one of these logs has recorded it.
    pub(super) fn time(&self, logs: &[Log]) -> Result<Time, Flaw> {
        // Base64 needs no escaping in JSON; what else there might be would.
        let body = decoded(&self.body)?;
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
        let log = named.find(|log| has_promised(log)).ok_or(Flaw::Unlogged)?;
        if let Some(proof) = &self.proof {
            proof.holds(&body, log)?;
        }
        Ok(time)
    }

    /// Whether what is recorded is this signature.
    pub(super) fn is_of(&self, made: &Recorded<'_>) -> Result<(), Flaw> {
        let body: Body = serde_json::from_slice(&decoded(&self.body)?).map_err(|_| Flaw::Unreadable)?;
        if (body.kind.as_str(), body.version.as_str()) != made.kind.name() {
            return Err(Flaw::NotUnderstood);
        }
        let found = match made.kind {
            Kind::Text => read::<TextSpec>(&body.spec)?.found(),
            Kind::Envelope => read::<EnvelopeSpec>(&body.spec)?.found()?,
        };
        let is_it = found.hash.is_of(made.text)
            && decoded(&found.signature)? == made.signature
            && certificate(&decoded(&found.certificate)?)? == *made.certificate;
        is_it.then_some(()).ok_or(Flaw::OtherEntry)
    }
}

fn read<'a, T: Deserialize<'a>>(spec: &'a RawValue) -> Result<T, Flaw> {
    serde_json::from_str(spec.get()).map_err(|_| Flaw::Unreadable)
}

/// The certificate in PEM.
pub(super) fn certificate(pem: &[u8]) -> Result<CertificateDer<'static>, Flaw> {
    CertificateDer::from_pem_slice(pem).map_err(|_| Flaw::Unreadable)
}

pub(super) fn decoded(text: &str) -> Result<Vec<u8>, Flaw> {
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
    spec: Box<RawValue>,
}

/// What an entry of any kind says of a signature.
struct Found {
    hash: Hash,
    /// In base64, as the certificate, which is in PEM below that.
    signature: String,
    certificate: String,
}

/// Of the kind `hashedrekord`.
#[derive(Deserialize)]
struct TextSpec {
    data: Data,
    signature: Signature,
}

impl TextSpec {
    fn found(self) -> Found {
        Found {
            hash: self.data.hash,
            signature: self.signature.content,
            certificate: self.signature.public_key.content,
        }
    }
}

/// Of the kind `dsse`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EnvelopeSpec {
    payload_hash: Hash,
    signatures: Vec<Verified>,
}

#[derive(Deserialize)]
struct Verified {
    signature: String,
    verifier: String,
}

impl EnvelopeSpec {
    fn found(self) -> Result<Found, Flaw> {
        // More than one is another envelope than one with a single signature.
        let [Verified { signature, verifier }]: [Verified; 1] =
            self.signatures.try_into().map_err(|_| Flaw::OtherEntry)?;
        Ok(Found {
            hash: self.payload_hash,
            signature,
            certificate: verifier,
        })
    }
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
