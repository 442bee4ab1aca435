//! What cosign attaches to a manifest, and whether it was made with a key that is believed.
//!
//! There are two forms. The older one is a manifest under the tag `sha256-….sig`, each layer of which is a signed
//! text that names the digest, with the signature in an annotation. The newer one is a referrer whose layer is a
//! bundle: an in-toto statement about the digest in an envelope (DSSE) that is signed. Where a key is what is believed,
//! no transparency log has to know the signature; what is signed without one is judged in [`keyless`](super::keyless).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::keyless::Material;
use super::{Attachment, Flaw, Key, Layer, MOST_SIGNATURES, MOST_SIGNED};
use crate::oci::Digest;

/// The media type of a signed text.
pub const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation that holds the signature of a text, in base64.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// What a signed text says it is.
const KIND: &str = "cosign container image signature";
/// What the media types of bundles begin with, whatever their version.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
/// What the payload of an envelope is.
const STATEMENT: &str = "application/vnd.in-toto+json";
/// What a statement says of an image that is signed, and of nothing else: an attestation is no signature.
const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";

/// A signed text, and its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The text: a blob.
    pub payload: Digest,
    /// The signature of it.
    pub signature: Vec<u8>,
    /// What stands beside it where no key is known by which it could be judged.
    pub material: Material,
}

/// True for the media type of a bundle; of a referrer, its artifact type.
pub fn is_bundle(media_type: &str) -> bool {
    let rest = media_type.strip_prefix(BUNDLE);
    rest.is_some_and(|rest| rest.starts_with(['.', '+', ';']))
}

/// The signatures in a manifest of the older form; the first ones, if there are many.
pub fn attached(manifest: &[u8]) -> Vec<Attached> {
    let Ok(manifest) = serde_json::from_slice::<Attachment>(manifest) else {
        return Vec::new();
    };
    let read = |layer: &Layer| {
        let signature = layer.annotations.get(SIGNATURE)?;
        (layer.media_type == PAYLOAD && layer.size <= MOST_SIGNED).then_some(())?;
        Some(Attached {
            payload: layer.digest.parse().ok()?,
            signature: STANDARD.decode(signature.trim()).ok()?,
            material: Material::of(&layer.annotations),
        })
    };
    let layers = manifest.layers.iter().filter_map(read);
    layers.take(MOST_SIGNATURES).collect()
}

/// Whose key signed a text that names this digest.
///
/// # Errors
/// The [`Flaw`] of what is no signature of it by any of these keys.
pub fn judge<'a>(
    keys: &'a [Key],
    payload: &[u8],
    signature: &[u8],
    digest: &Digest,
) -> Result<&'a Key, Flaw> {
    // What nobody believed has signed is not read.
    let key = keys.iter().find(|key| key.verifies(payload, signature));
    let key = key.ok_or(Flaw::OtherSigner)?;
    names(payload, digest).map(|()| key)
}

/// Whether a text says of this digest that it is signed.
pub(super) fn names(payload: &[u8], digest: &Digest) -> Result<(), Flaw> {
    let payload: Payload = serde_json::from_slice(payload).map_err(|_| Flaw::Unreadable)?;
    let Critical { image, kind } = payload.critical;
    match (kind == KIND, image.digest == digest.to_string()) {
        (false, _) => Err(Flaw::OtherKind),
        (true, false) => Err(Flaw::OtherDigest),
        (true, true) => Ok(()),
    }
}

/// A statement in an envelope, and the signatures of that.
pub struct Bundle {
    kind: String,
    payload: Vec<u8>,
    message: Vec<u8>,
    signatures: Vec<Vec<u8>>,
    material: Option<Box<RawValue>>,
}

impl Bundle {
    /// Reads a bundle; the first signatures, if there are many.
    ///
    /// # Errors
    /// [`Flaw::Unreadable`] for what is none, [`Flaw::OtherKind`] for one with something else than a statement in it.
    pub fn parse(bundle: &[u8]) -> Result<Self, Flaw> {
        let written: Written = serde_json::from_slice(bundle).map_err(|_| Flaw::Unreadable)?;
        let envelope = written.envelope.ok_or(Flaw::OtherKind)?;
        let payload = STANDARD.decode(&envelope.payload).map_err(|_| Flaw::Unreadable)?;
        let signatures = envelope.signatures.iter().take(MOST_SIGNATURES);
        Ok(Self {
            message: pre_authenticated(&envelope.payload_type, &payload),
            signatures: signatures
                .filter_map(|signature| STANDARD.decode(&signature.sig).ok())
                .collect(),
            kind: envelope.payload_type,
            payload,
            material: written.material,
        })
    }

    /// What was signed.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The statement.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The signatures.
    pub fn signatures(&self) -> &[Vec<u8>] {
        &self.signatures
    }

    /// What stands beside it and says who signed, in JSON.
    pub fn material(&self) -> Option<&str> {
        self.material.as_deref().map(RawValue::get)
    }

    /// Whether the statement says of this digest that it is signed.
    pub(super) fn names(&self, digest: &Digest) -> Result<(), Flaw> {
        if self.kind != STATEMENT {
            return Err(Flaw::OtherKind);
        }
        let statement: Statement = serde_json::from_slice(&self.payload).map_err(|_| Flaw::Unreadable)?;
        if !statement.kind.starts_with("https://in-toto.io/Statement/") || statement.predicate_type != SIGNED
        {
            return Err(Flaw::OtherKind);
        }
        let is_it = |subject: &StatementSubject| {
            let hex = subject.digest.get(digest.algorithm().name());
            hex.is_some_and(|hex| *hex == digest.hex())
        };
        let named = statement.subject.iter().any(is_it);
        named.then_some(()).ok_or(Flaw::OtherDigest)
    }
}

/// Whose key signed the statement in a bundle, which says of this digest that it is signed.
///
/// # Errors
/// The [`Flaw`] of what is no signature of it by any of these keys.
pub fn judge_bundle<'a>(keys: &'a [Key], bundle: &Bundle, digest: &Digest) -> Result<&'a Key, Flaw> {
    let made = |key: &&Key| {
        let mut signatures = bundle.signatures.iter();
        signatures.any(|signature| key.verifies(&bundle.message, signature))
    };
    let key = keys.iter().find(made).ok_or(Flaw::OtherSigner)?;
    bundle.names(digest).map(|()| key)
}

/// What is signed of an envelope: its payload and what that is, each with its length, so that neither can be taken
/// for a part of the other.
fn pre_authenticated(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest", alias = "Docker-manifest-digest")]
    digest: String,
}

#[derive(Deserialize)]
struct Written {
    #[serde(rename = "dsseEnvelope")]
    envelope: Option<Envelope>,
    #[serde(rename = "verificationMaterial")]
    material: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    predicate_type: String,
    subject: Vec<StatementSubject>,
}

#[derive(Deserialize)]
struct StatementSubject {
    digest: std::collections::HashMap<String, String>,
}
