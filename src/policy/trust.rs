//! Which content is believed: by whom it has to be signed, and for how long tags have to have pointed at it.
//!
//! A rule says whose signature the manifests of some repositories need. What is judged here are bytes that somebody
//! else has fetched: the objects that are attached to a manifest, and what stands in them. Whatever cannot be read,
//! speaks of another digest, or is signed by somebody else, is no signature; one that holds is enough.
//!
//! An index vouches for the manifests that it lists, since it names them by digest, and a manifest for its blobs.
//! What is attached to images (signatures, attestations, bills of materials) needs no signature of its own: it holds
//! nothing that a runtime would unpack, see [`is_attachment`].

pub mod age;
mod chain;
pub mod cosign;
mod flaw;
mod key;
pub mod keyless;
pub mod notation;
mod subject;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

pub use self::chain::{Authority, BadAuthority};
pub use self::flaw::{Flaw, Mismatch};
pub use self::key::{BadKey, Key};
pub use self::subject::{BadSubject, Subject};
use super::access::Scope;
use crate::clock::Time;
use crate::oci::{Digest, Repository};

/// Most objects attached to one manifest that are looked at for a signature: an upstream can list any number of them,
/// and each costs a request.
pub const MOST_ATTACHED: usize = 8;
/// Most signatures in one such object that are looked at.
pub const MOST_SIGNATURES: usize = 16;
/// Longest signed text or envelope that is read, in bytes.
pub const MOST_SIGNED: u64 = 1 << 20;

/// Media types of what is attached to images: nothing that is unpacked to be run.
const ATTACHED: [&str; 9] = [
    cosign::PAYLOAD,
    "application/vnd.dsse.envelope.v1+json",
    "application/vnd.in-toto+json",
    notation::JWS,
    notation::COSE,
    "application/spdx+json",
    "text/spdx",
    "application/vnd.cyclonedx+json",
    "application/vnd.cyclonedx+xml",
];

/// What every rule says together: the first that matches a repository is the one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules(Arc<[Rule]>);

/// What the content of some repositories needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// The repositories.
    pub repositories: Vec<Scope>,
    /// Whose cosign signature is enough; none if they are empty.
    pub keys: Vec<Key>,
    /// Whose cosign signature is enough without a key; nobody's if it is `None`.
    pub keyless: Option<keyless::Signers>,
    /// Whose Notation signature is enough; nobody's if it is `None`.
    pub notation: Option<notation::Signers>,
    /// How long what a tag points at has to have been seen; `None` or zero for not at all.
    pub minimum_age: Option<Duration>,
}

impl Rules {
    /// These rules, in this order.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules.into())
    }

    /// All of them.
    pub fn all(&self) -> &[Rule] {
        &self.0
    }

    /// The rule of a repository.
    pub fn of(&self, repository: &Repository) -> Option<&Rule> {
        let is_meant = |scope: &Scope| scope.matches(&repository.registry, &repository.path);
        self.0.iter().find(|rule| rule.repositories.iter().any(is_meant))
    }
}

impl Rule {
    /// True if content needs a signature.
    pub fn wants_signature(&self) -> bool {
        self.wants_cosign() || self.notation.is_some()
    }

    /// True if a signature of cosign's may be enough.
    pub fn wants_cosign(&self) -> bool {
        !self.keys.is_empty() || self.keyless.is_some()
    }

    /// A name for whom this rule believes: what was found under another one has to be judged anew.
    pub fn fingerprint(&self) -> String {
        let mut believed = String::new();
        for key in &self.keys {
            believed += &format!("cosign {}\n", Digest::sha256(key.der()));
        }
        if let Some(signers) = &self.keyless {
            believed += &signers.fingerprint();
        }
        if let Some(signers) = &self.notation {
            for authority in &signers.authorities {
                believed += &format!("notation {}\n", Digest::sha256(authority.der()));
            }
            for identity in &signers.identities {
                believed += &format!("of {identity}\n");
            }
        }
        Digest::sha256(believed.as_bytes()).hex()
    }
}

/// A signature that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Who made it, for the operator.
    pub by: String,
    /// When it ends to hold; `None` if it holds as long as its signer is believed.
    pub until: Option<Time>,
}

impl From<&Key> for Signed {
    fn from(key: &Key) -> Self {
        Self {
            by: key.name().to_owned(),
            until: None,
        }
    }
}

/// True for a manifest of what is attached to images: every layer is of a type that no runtime unpacks. An index is
/// none, nor is anything whose layers come from elsewhere.
pub fn is_attachment(manifest: &[u8]) -> bool {
    let Ok(manifest) = serde_json::from_slice::<Attachment>(manifest) else {
        return false;
    };
    let harmless = |layer: &Layer| {
        let known = ATTACHED.contains(&layer.media_type.as_str()) || cosign::is_bundle(&layer.media_type);
        known && layer.urls.is_empty()
    };
    let mut layers = manifest.layers.iter().chain(&manifest.blobs);
    let some = layers.clone().next().is_some();
    some && manifest.manifests.is_none() && manifest.fs_layers.is_none() && layers.all(harmless)
}

/// The manifests in a list of referrers that may hold a signature by this rule; the first ones, if there are many.
pub fn candidates(referrers: &[u8], rule: &Rule) -> Vec<Digest> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Referrer {
        artifact_type: Option<String>,
        digest: String,
    }
    #[derive(Deserialize)]
    struct Index {
        manifests: Vec<Referrer>,
    }
    let Ok(index) = serde_json::from_slice::<Index>(referrers) else {
        return Vec::new();
    };
    let may_sign = |each: &&Referrer| {
        let kind = each.artifact_type.as_deref().unwrap_or_default();
        (rule.wants_cosign() && cosign::is_bundle(kind))
            || (rule.notation.is_some() && kind == notation::ARTIFACT)
    };
    let named = index.manifests.iter().filter(may_sign);
    let digests = named.filter_map(|each| each.digest.parse().ok());
    digests.take(MOST_ATTACHED).collect()
}

/// What a manifest that refers to another holds of it: a blob in one of these forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// A bundle of cosign's.
    Bundle(Digest),
    /// A JWS of Notation's.
    Jws(Digest),
}

/// The envelope in a referrer of this digest.
///
/// # Errors
/// [`Flaw::OtherForm`] for one that is not read here, [`Flaw::Unreadable`] for what is none or refers to another digest.
pub fn envelope(manifest: &[u8], subject: &Digest) -> Result<Envelope, Flaw> {
    let manifest: Attachment = serde_json::from_slice(manifest).map_err(|_| Flaw::Unreadable)?;
    let refers = manifest
        .subject
        .is_some_and(|found| found.digest == subject.to_string());
    let layer = manifest
        .layers
        .first()
        .filter(|_| refers)
        .ok_or(Flaw::Unreadable)?;
    let blob = || layer.digest.parse().map_err(|_| Flaw::Unreadable);
    match layer.media_type.as_str() {
        notation::JWS => Ok(Envelope::Jws(blob()?)),
        notation::COSE => Err(Flaw::OtherForm),
        kind if cosign::is_bundle(kind) => Ok(Envelope::Bundle(blob()?)),
        _ => Err(Flaw::Unreadable),
    }
}

/// Who signed a text that names this digest, if the rule believes them.
///
/// # Errors
/// The [`Flaw`] of what is no such signature.
pub fn judge_text(
    rule: &Rule,
    attached: &cosign::Attached,
    text: &[u8],
    digest: &Digest,
) -> Result<Signed, Flaw> {
    let by_key = || cosign::judge(&rule.keys, text, &attached.signature, digest).map(Signed::from);
    let keyless = |signers: &keyless::Signers| signers.judge(attached, text, digest);
    let by_key = (!rule.keys.is_empty()).then(by_key);
    either(by_key, || rule.keyless.as_ref().map(keyless))
}

/// Who signed the statement in a bundle, if the rule believes them.
fn judge_bundle(rule: &Rule, bundle: &cosign::Bundle, digest: &Digest) -> Result<Signed, Flaw> {
    let by_key = || cosign::judge_bundle(&rule.keys, bundle, digest).map(Signed::from);
    let keyless = |signers: &keyless::Signers| signers.judge_bundle(bundle, digest);
    let by_key = (!rule.keys.is_empty()).then(by_key);
    either(by_key, || rule.keyless.as_ref().map(keyless))
}

/// The first of two judgements that believes somebody, or else the flaw of the one that comes closest; nobody is
/// believed where there is none.
fn either(
    first: Option<Result<Signed, Flaw>>,
    second: impl FnOnce() -> Option<Result<Signed, Flaw>>,
) -> Result<Signed, Flaw> {
    match first {
        Some(Ok(signed)) => Ok(signed),
        Some(Err(flaw)) => second().map_or_else(
            || Err(flaw.clone()),
            |second| second.map_err(|other| other.max(flaw.clone())),
        ),
        None => second().unwrap_or(Err(Flaw::OtherSigner)),
    }
}

/// Who signed what stands in an envelope, if it is this digest and the rule believes them.
///
/// # Errors
/// The [`Flaw`] of what is no such signature.
pub fn judge(
    rule: &Rule,
    envelope: Envelope,
    bytes: &[u8],
    digest: &Digest,
    now: Time,
) -> Result<Signed, Flaw> {
    match (envelope, &rule.notation) {
        (Envelope::Bundle(_), _) => judge_bundle(rule, &cosign::Bundle::parse(bytes)?, digest),
        (Envelope::Jws(_), Some(signers)) => notation::judge(signers, bytes, digest, now),
        (Envelope::Jws(_), None) => Err(Flaw::OtherSigner),
    }
}

impl Envelope {
    /// The blob that it is.
    pub fn blob(&self) -> &Digest {
        match self {
            Self::Bundle(blob) | Self::Jws(blob) => blob,
        }
    }
}

/// What is read of a manifest that may be attached to another.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attachment {
    #[serde(default)]
    layers: Vec<Layer>,
    /// Of an artifact manifest.
    #[serde(default)]
    blobs: Vec<Layer>,
    manifests: Option<serde::de::IgnoredAny>,
    fs_layers: Option<serde::de::IgnoredAny>,
    subject: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    digest: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    annotations: std::collections::HashMap<String, String>,
    #[serde(default)]
    urls: Vec<String>,
}
