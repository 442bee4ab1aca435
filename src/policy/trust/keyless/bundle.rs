//! What stands in a bundle beside a signed statement: the certificate of who signed, and what logs say of it.

use rustls_pki_types::CertificateDer;
use serde::Deserialize;

use super::entry::{Entry, decoded};
use super::proof::Proof;
use crate::oci::{Algorithm, Digest};
use crate::policy::trust::Flaw;

/// Most entries of logs that are looked at.
const MOST_ENTRIES: usize = 4;

/// A whole number, which is a text where JSON is made of protocol buffers.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(try_from = "Written")]
pub(super) struct Whole(pub(super) u64);

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Text(String),
}

impl TryFrom<Written> for Whole {
    type Error = std::num::ParseIntError;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        match written {
            Written::Number(number) => Ok(Self(number)),
            Written::Text(text) => text.parse().map(Self),
        }
    }
}

/// The certificate, and the entries.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Material {
    certificate: Option<Certificate>,
    /// As bundles had it before 0.3.
    x509_certificate_chain: Option<Chain>,
    #[serde(default)]
    tlog_entries: Vec<Recorded>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Certificate {
    raw_bytes: String,
}

#[derive(Deserialize)]
struct Chain {
    certificates: Vec<Certificate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recorded {
    #[serde(default)]
    log_index: Whole,
    log_id: Name,
    #[serde(default)]
    integrated_time: Whole,
    inclusion_promise: Option<Promise>,
    inclusion_proof: Option<Proof>,
    canonicalized_body: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Name {
    key_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Promise {
    signed_entry_timestamp: String,
}

impl Material {
    pub(super) fn parse(json: &str) -> Result<Self, Flaw> {
        serde_json::from_str(json).map_err(|_| Flaw::Unreadable)
    }

    /// The certificate of who signed. Others beside it are not needed: the root of trust has them.
    pub(super) fn certificate(&self) -> Result<CertificateDer<'static>, Flaw> {
        let of_chain = self
            .x509_certificate_chain
            .as_ref()
            .and_then(|chain| chain.certificates.first());
        // What comes without one was made with somebody's key.
        let certificate = self.certificate.as_ref().or(of_chain).ok_or(Flaw::OtherSigner)?;
        decoded(&certificate.raw_bytes).map(CertificateDer::from)
    }

    /// The entries; the first ones, if there are many.
    pub(super) fn entries(self) -> Result<Vec<Entry>, Flaw> {
        let entries = self.tlog_entries.into_iter().take(MOST_ENTRIES);
        entries.map(Recorded::read).collect()
    }
}

impl Recorded {
    fn read(self) -> Result<Entry, Flaw> {
        // Without a promise nobody says when it was recorded.
        let promise = self.inclusion_promise.ok_or(Flaw::Untimed)?;
        Ok(Entry {
            body: self.canonicalized_body,
            time: self.integrated_time.0,
            index: self.log_index.0,
            log: Digest::from_bytes(Algorithm::Sha256, &decoded(&self.log_id.key_id)?)
                .ok_or(Flaw::Unreadable)?,
            promise: decoded(&promise.signed_entry_timestamp)?,
            proof: self.inclusion_proof,
        })
    }
}
