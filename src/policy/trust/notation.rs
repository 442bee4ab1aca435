//! What Notation attaches to a manifest, and whether it was made by a certificate that is believed.
//!
//! It is a referrer whose layer is an envelope: a flattened JWS about a descriptor, whose protected header says how it
//! was signed and until when that holds, and whose other header has the certificates. The scheme is `notary.x509`:
//! without a time stamp of somebody else's, a signature holds as long as all of the certificates do.

use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls_pki_types::CertificateDer;
use serde::Deserialize;
use x509_parser::oid_registry::{OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::chain::{self, Authority};
use super::subject::Subject;
use super::{Flaw, Mismatch, Signed};
use crate::clock::Time;
use crate::oci::Digest;

/// What referrers that hold a signature say they are.
pub const ARTIFACT: &str = "application/vnd.cncf.notary.signature";
/// The media type of an envelope in JSON.
pub const JWS: &str = "application/jose+json";
/// The media type of an envelope in CBOR, which is not read.
pub const COSE: &str = "application/cose";
/// What the payload of an envelope is.
const PAYLOAD: &str = "application/vnd.cncf.notary.payload.v1+json";
const SCHEME: &str = "notary.x509";
/// The headers that are understood here, and so may be said to be critical.
const UNDERSTOOD: [&str; 2] = ["io.cncf.notary.signingScheme", "io.cncf.notary.expiry"];

/// Whose Notation signatures are believed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Signers {
    /// Where the authorities stand, for the operator.
    pub path: String,
    /// Those to one of which the certificate of a signer has to lead.
    pub authorities: Vec<Authority>,
    /// One of these the subject of that has to match; any may if they are empty.
    pub identities: Vec<Subject>,
}

/// Who signed the payload of an envelope, which names this digest.
///
/// # Errors
/// The [`Flaw`] of what is no signature of it by any of these signers.
pub fn judge(signers: &Signers, envelope: &[u8], digest: &Digest, now: Time) -> Result<Signed, Flaw> {
    let envelope: Envelope = serde_json::from_slice(envelope).map_err(|_| Flaw::Unreadable)?;
    let protected: Protected = read_part(&envelope.protected)?;
    let ders: Vec<CertificateDer<'_>> = envelope
        .header
        .x5c
        .iter()
        .map(|text| STANDARD.decode(text).map(CertificateDer::from))
        .collect::<Result<_, _>>()
        .map_err(|_| Flaw::Unreadable)?;
    let leaf = chain::read(ders.first().ok_or(Flaw::Unreadable)?)?;
    let mut until = chain::holds(&ders, &signers.authorities, now)?;
    let is_meant = |identity: &Subject| identity.means(leaf.subject());
    if !signers.identities.is_empty() && !signers.identities.iter().any(is_meant) {
        let mismatch = Mismatch::new(chain::name(&leaf), &signers.identities);
        return Err(Flaw::OtherIdentity(mismatch));
    }
    if !envelope.is_signed_by(leaf.public_key(), &protected.alg) {
        return Err(Flaw::Altered);
    }
    // From here on it is the signer who speaks.
    protected.is_understood()?;
    if let Some(expiry) = &protected.expiry {
        let expiry = Time::parse(expiry).ok_or(Flaw::Unreadable)?;
        if expiry <= now {
            return Err(Flaw::Expired);
        }
        until = until.min(expiry);
    }
    let payload: Payload = read_part(&envelope.payload)?;
    if payload.target_artifact.digest != digest.to_string() {
        return Err(Flaw::OtherDigest);
    }
    Ok(Signed {
        by: format!("a certificate for {}, until {until:#}", chain::name(&leaf)),
        until: Some(until),
    })
}

fn read_part<T: serde::de::DeserializeOwned>(part: &str) -> Result<T, Flaw> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Flaw::Unreadable)?;
    serde_json::from_slice(&bytes).map_err(|_| Flaw::Unreadable)
}

/// The one way in which a key signs: its kind and size say it, so that nobody can choose a weaker one.
fn way(key: &SubjectPublicKeyInfo<'_>) -> Option<(&'static str, &'static dyn VerificationAlgorithm)> {
    match key.parsed().ok()? {
        PublicKey::RSA(rsa) => match rsa.key_size() {
            2048 => Some(("PS256", &signature::RSA_PSS_2048_8192_SHA256)),
            3072 => Some(("PS384", &signature::RSA_PSS_2048_8192_SHA384)),
            4096 => Some(("PS512", &signature::RSA_PSS_2048_8192_SHA512)),
            _ => None,
        },
        PublicKey::EC(_) => {
            let curve = key.algorithm.parameters.as_ref()?.as_oid().ok()?;
            let ways: [(_, (_, &'static dyn VerificationAlgorithm)); 3] = [
                (OID_EC_P256, ("ES256", &signature::ECDSA_P256_SHA256_FIXED)),
                (OID_NIST_EC_P384, ("ES384", &signature::ECDSA_P384_SHA384_FIXED)),
                (OID_NIST_EC_P521, ("ES512", &signature::ECDSA_P521_SHA512_FIXED)),
            ];
            let found = ways.into_iter().find(|(known, _)| *known == curve);
            found.map(|(_, way)| way)
        }
        _ => None,
    }
}

/// A JWS in its flattened form, and nothing beside that.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    payload: String,
    protected: String,
    header: Header,
    signature: String,
}

impl Envelope {
    fn is_signed_by(&self, key: &SubjectPublicKeyInfo<'_>, algorithm: &str) -> bool {
        let Some((name, way)) = way(key) else {
            return false;
        };
        let message = format!("{}.{}", self.protected, self.payload);
        let key = ParsedPublicKey::new(way, key.raw);
        let made = URL_SAFE_NO_PAD.decode(&self.signature);
        let (Ok(key), Ok(made)) = (key, made) else {
            return false;
        };
        name == algorithm && key.verify_sig(message.as_bytes(), &made).is_ok()
    }
}

#[derive(Deserialize)]
struct Header {
    x5c: Vec<String>,
}

#[derive(Deserialize)]
struct Protected {
    alg: String,
    cty: String,
    crit: Vec<String>,
    #[serde(rename = "io.cncf.notary.signingScheme")]
    scheme: String,
    #[serde(rename = "io.cncf.notary.signingTime")]
    time: Option<String>,
    #[serde(rename = "io.cncf.notary.expiry")]
    expiry: Option<String>,
    /// Somebody who would have to be asked as well.
    #[serde(rename = "io.cncf.notary.verificationPlugin")]
    plugin: Option<serde::de::IgnoredAny>,
}

impl Protected {
    /// Whether everything that has to be understood is, and everything that has to be there.
    fn is_understood(&self) -> Result<(), Flaw> {
        if self.cty != PAYLOAD {
            return Err(Flaw::OtherKind);
        }
        let [scheme, expiry] = UNDERSTOOD;
        let is_known = |name: &String| name == scheme || (name == expiry && self.expiry.is_some());
        if self.scheme != SCHEME || self.plugin.is_some() || !self.crit.iter().all(is_known) {
            return Err(Flaw::NotUnderstood);
        }
        let is_critical = |name: &str| self.crit.iter().any(|critical| critical == name);
        let is_whole = is_critical(scheme)
            && (self.expiry.is_none() || is_critical(expiry))
            && self.time.as_deref().and_then(Time::parse).is_some();
        is_whole.then_some(()).ok_or(Flaw::Unreadable)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    target_artifact: Target,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    digest: String,
}
