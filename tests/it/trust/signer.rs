//! Somebody who signs images as cosign does.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use seawall::oci::Digest;
use seawall::policy::trust::Key;
use serde_json::{Value, json};

use crate::support::registry::Registry;
use crate::support::world::{OCI_INDEX, OCI_MANIFEST};

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// What stands in an envelope.
pub(crate) const STATEMENT: &str = "application/vnd.in-toto+json";

pub(crate) struct Signer(EcdsaKeyPair);

impl Default for Signer {
    fn default() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }
}

impl Signer {
    /// The public half.
    pub(crate) fn key(&self) -> Key {
        let der = self.0.public_key().as_der().unwrap().as_ref().to_vec();
        Key::new("cosign.pub".to_owned(), der).unwrap()
    }

    /// A signature of hers, in base64.
    pub(crate) fn made(&self, message: &[u8]) -> String {
        let made = self.0.sign(&SystemRandom::new(), message).unwrap();
        STANDARD.encode(made.as_ref())
    }

    /// Signs an image of `library/app`, in the older form or the newer one.
    pub(crate) fn sign(&self, registry: &Registry, digest: &Digest, by_tag: bool) {
        match by_tag {
            true => self.sign_by_tag(registry, digest),
            false => self.sign_by_referrer(registry, digest),
        };
    }

    /// In the older form, under a tag; the digest of what is attached.
    pub(crate) fn sign_by_tag(&self, registry: &Registry, digest: &Digest) -> Digest {
        self.sign_as(registry, digest, digest)
    }

    /// Signs one digest, and attaches that to another.
    pub(crate) fn sign_as(&self, registry: &Registry, attached: &Digest, digest: &Digest) -> Digest {
        let text = text_of(digest);
        let made = self.made(text.as_bytes());
        let annotations = json!({ "dev.cosignproject.cosign/signature": made });
        attach(registry, attached, text, &annotations)
    }

    /// In the newer form, among the referrers; the digest of what is attached.
    pub(crate) fn sign_by_referrer(&self, registry: &Registry, digest: &Digest) -> Digest {
        attach_bundle(
            registry,
            digest,
            bundle_of(self, &statement_of(digest)).to_string(),
        )
    }

    /// The same in a registry without a list of referrers.
    pub(crate) fn sign_by_referrer_tag(&self, registry: &Registry, digest: &Digest) {
        let referrer = put_bundle(
            registry,
            digest,
            bundle_of(self, &statement_of(digest)).to_string(),
        );
        let tag = format!("sha256-{}", digest.hex());
        let listed = listing(None, &referrer, BUNDLE);
        registry.manifest("library/app", Some(&tag), OCI_INDEX, &listed);
    }
}

/// Attaches a bundle to an image of `library/app`, among its referrers; the digest of what is attached.
pub(crate) fn attach_bundle(registry: &Registry, digest: &Digest, bundle: String) -> Digest {
    let referrer = put_bundle(registry, digest, bundle);
    let path = format!("/v2/library/app/referrers/{digest}");
    let listed = registry.content_at(&path);
    let body = listing(listed.as_deref(), &referrer, BUNDLE);
    registry.put(path, OCI_INDEX, body.into());
    referrer
}

fn put_bundle(registry: &Registry, digest: &Digest, bundle: String) -> Digest {
    let (size, blob) = (bundle.len(), registry.blob("library/app", bundle));
    let config = registry.blob("library/app", "{}");
    let body = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","artifactType":"{BUNDLE}","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{config}","size":2}},"layers":[{{"mediaType":"{BUNDLE}","digest":"{blob}","size":{size}}}],"subject":{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":7}}}}"#
    );
    registry.manifest("library/app", None, OCI_MANIFEST, &body)
}

/// What is signed of an image in the newer form.
pub(crate) fn statement_of(digest: &Digest) -> String {
    let hex = digest.hex();
    format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":{{"sha256":"{hex}"}}}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{{}}}}"#
    )
}

/// What is signed of a statement in an envelope.
pub(crate) fn message_of(statement: &str) -> String {
    format!(
        "DSSEv1 {} {STATEMENT} {} {statement}",
        STATEMENT.len(),
        statement.len()
    )
}

/// A bundle with a statement that is signed with a key.
pub(crate) fn bundle_of(signer: &Signer, statement: &str) -> Value {
    json!({
        "mediaType": BUNDLE,
        "verificationMaterial": { "publicKey": { "hint": "k" } },
        "dsseEnvelope": {
            "payload": STANDARD.encode(statement), "payloadType": STATEMENT,
            "signatures": [{ "sig": signer.made(message_of(statement).as_bytes()) }],
        },
    })
}

/// What is signed of an image.
pub(crate) fn text_of(digest: &Digest) -> String {
    format!(
        r#"{{"critical":{{"identity":{{"docker-reference":"docker.io/library/app"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"cosign container image signature"}},"optional":null}}"#
    )
}

/// Attaches a signed text to an image of `library/app`, in the older form; the digest of what is attached.
pub(crate) fn attach(registry: &Registry, digest: &Digest, text: String, annotations: &Value) -> Digest {
    let (size, blob) = (text.len(), registry.blob("library/app", text));
    let config = registry.blob("library/app", "{}");
    let body = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.to_string(), "size": 2 },
        "layers": [{
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
            "digest": blob.to_string(), "size": size, "annotations": annotations,
        }],
    });
    let tag = format!("sha256-{}.sig", digest.hex());
    registry.manifest("library/app", Some(&tag), OCI_MANIFEST, &body.to_string())
}

/// A list of referrers with one more, of this kind.
pub(crate) fn listing(listed: Option<&[u8]>, referrer: &Digest, kind: &str) -> String {
    let more =
        format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{referrer}","size":7,"artifactType":"{kind}"}}"#);
    let none = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[]}}"#);
    let listed = listed.map_or(none, |listed| String::from_utf8(listed.to_vec()).unwrap());
    let comma = if listed.contains("[]") { "" } else { "," };
    listed.replacen("]}", &format!("{comma}{more}]}}"), 1)
}
