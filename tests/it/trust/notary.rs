//! Somebody who signs images as Notation does, well or badly.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, RsaEncoding, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, RsaKeySize,
};
use seawall::oci::Digest;
use seawall::policy::trust::notation::Signers;
use seawall::policy::trust::{self, Subject};
use serde_json::{Value, json};

use super::signer::listing;
use crate::support::registry::Registry;
use crate::support::world::{OCI_INDEX, OCI_MANIFEST};

/// What a referrer says it is.
pub(crate) const ARTIFACT: &str = "application/vnd.cncf.notary.signature";
/// The media type of an envelope.
pub(crate) const JWS: &str = "application/jose+json";

/// Who issues certificates: itself, and what it issues is issued by.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, and those above it.
    pub(crate) chain: Vec<Vec<u8>>,
}

impl Authority {
    /// One that nobody else has certified.
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    /// The same, changed in some way.
    pub(crate) fn with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (params, key) = (authority_of(name, change), KeyPair::generate().unwrap());
        let chain = vec![params.self_signed(&key).unwrap().der().to_vec()];
        Self {
            issuer: Issuer::new(params, key),
            chain,
        }
    }

    /// One that this has certified, changed in some way.
    pub(crate) fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (params, key) = (authority_of(name, change), KeyPair::generate().unwrap());
        let certificate = self.issue(&params, &key);
        Self {
            issuer: Issuer::new(params, key),
            chain: std::iter::once(certificate).chain(self.chain.clone()).collect(),
        }
    }

    /// A certificate of its.
    pub(crate) fn issue(&self, params: &CertificateParams, key: &KeyPair) -> Vec<u8> {
        params.signed_by(key, &self.issuer).unwrap().der().to_vec()
    }

    /// The signers whom it has certified, and of those one of whom this is said.
    pub(crate) fn signers(&self, identities: &[&str]) -> Signers {
        Signers {
            path: "notation.pem".to_owned(),
            authorities: vec![trust::Authority::new(self.chain.last().unwrap().clone()).unwrap()],
            identities: identities
                .iter()
                .map(|text| Subject::parse(text).unwrap())
                .collect(),
        }
    }

    /// A signer with a certificate of its, changed in some way.
    pub(crate) fn certifies(&self, way: &Way, change: impl FnOnce(&mut CertificateParams)) -> Notary {
        let (key, params) = (way.key(), signer_of(change));
        let chain = std::iter::once(self.issue(&params, &key)).chain(self.chain.clone());
        Notary {
            way: *way,
            pkcs8: key.serialize_der(),
            chain: chain.collect(),
        }
    }
}

fn authority_of(name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    change(&mut params);
    params
}

fn signer_of(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CountryName, "DE");
    params.distinguished_name.push(DnType::OrganizationName, "team");
    params.distinguished_name.push(DnType::CommonName, "builder");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    change(&mut params);
    params
}

/// A way of signing: its name, and the kind of its keys.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    Curve(
        &'static str,
        &'static rcgen::SignatureAlgorithm,
        &'static EcdsaSigningAlgorithm,
    ),
    Rsa(&'static str, RsaKeySize, &'static dyn RsaEncoding),
}

/// Every way there is; the first is the quickest.
pub(crate) const WAYS: [Way; 6] = [
    Way::Curve(
        "ES256",
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
    ),
    Way::Curve(
        "ES384",
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
    ),
    Way::Curve(
        "ES512",
        &rcgen::PKCS_ECDSA_P521_SHA512,
        &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
    ),
    Way::Rsa("PS256", RsaKeySize::_2048, &signature::RSA_PSS_SHA256),
    Way::Rsa("PS384", RsaKeySize::_3072, &signature::RSA_PSS_SHA384),
    Way::Rsa("PS512", RsaKeySize::_4096, &signature::RSA_PSS_SHA512),
];

impl Way {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Curve(name, ..) | Self::Rsa(name, ..) => name,
        }
    }

    fn key(&self) -> KeyPair {
        match self {
            Self::Curve(_, kind, _) => KeyPair::generate_for(kind).unwrap(),
            Self::Rsa(_, size, _) => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, *size).unwrap(),
        }
    }
}

/// Somebody with a key and a chain of certificates.
pub(crate) struct Notary {
    way: Way,
    pkcs8: Vec<u8>,
    /// The certificates that are put beside what is signed.
    pub(crate) chain: Vec<Vec<u8>>,
}

impl Notary {
    /// Whom nobody has certified but himself, changed in some way; and who believes him.
    pub(crate) fn alone(change: impl FnOnce(&mut CertificateParams)) -> (Self, Signers) {
        let (key, params) = (KeyPair::generate().unwrap(), signer_of(change));
        let der = params.self_signed(&key).unwrap().der().to_vec();
        let signers = Signers {
            authorities: vec![trust::Authority::new(der.clone()).unwrap()],
            ..Signers::default()
        };
        let notary = Self {
            way: WAYS[0],
            pkcs8: key.serialize_der(),
            chain: vec![der],
        };
        (notary, signers)
    }

    /// What is said of how an image is signed.
    pub(crate) fn protected(&self) -> Value {
        json!({
            "alg": self.way.name(),
            "cty": "application/vnd.cncf.notary.payload.v1+json",
            "crit": ["io.cncf.notary.signingScheme"],
            "io.cncf.notary.signingScheme": "notary.x509",
            "io.cncf.notary.signingTime": "2025-06-01T12:00:00Z",
        })
    }

    /// Signs an image as one should.
    pub(crate) fn envelope(&self, digest: &Digest) -> Value {
        self.signed(&self.protected(), &payload(digest))
    }

    /// The same, until some time.
    pub(crate) fn envelope_until(&self, digest: &Digest, expiry: &str) -> Value {
        let mut protected = self.protected();
        protected["io.cncf.notary.expiry"] = json!(expiry);
        protected["crit"] = json!(["io.cncf.notary.signingScheme", "io.cncf.notary.expiry"]);
        self.signed(&protected, &payload(digest))
    }

    /// Signs what is said.
    pub(crate) fn signed(&self, protected: &Value, payload: &Value) -> Value {
        let [protected, payload] = [protected, payload].map(encoded);
        let made = self.made(format!("{protected}.{payload}").as_bytes());
        let chain: Vec<String> = self.chain.iter().map(|der| STANDARD.encode(der)).collect();
        json!({
            "payload": payload,
            "protected": protected,
            "header": { "x5c": chain, "io.cncf.notary.signingAgent": "tests" },
            "signature": URL_SAFE_NO_PAD.encode(made),
        })
    }

    fn made(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self.way {
            Way::Curve(_, _, way) => {
                let pair = EcdsaKeyPair::from_pkcs8(way, &self.pkcs8).unwrap();
                pair.sign(&random, message).unwrap().as_ref().to_vec()
            }
            Way::Rsa(_, _, way) => {
                let pair = RsaKeyPair::from_pkcs8(&self.pkcs8).unwrap();
                let mut made = vec![0; pair.public_modulus_len()];
                pair.sign(way, &random, message, &mut made).unwrap();
                made
            }
        }
    }
}

/// What is signed of an image.
pub(crate) fn payload(digest: &Digest) -> Value {
    json!({"targetArtifact": {"mediaType": OCI_MANIFEST, "digest": digest.to_string(), "size": 7}})
}

/// A part of an envelope.
pub(crate) fn encoded(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

/// Attaches an envelope to an image of `library/app`, in a registry that lists referrers or in one that does not.
pub(crate) fn attach(registry: &Registry, digest: &Digest, kind: &str, envelope: &Value, is_listed: bool) {
    let envelope = envelope.to_string();
    let (size, blob) = (envelope.len(), registry.blob("library/app", envelope));
    let config = registry.blob("library/app", "{}");
    let body = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": { "mediaType": ARTIFACT, "digest": config.to_string(), "size": 2 },
        "layers": [{ "mediaType": kind, "digest": blob.to_string(), "size": size }],
        "subject": { "mediaType": OCI_MANIFEST, "digest": digest.to_string(), "size": 7 },
    });
    let referrer = registry.manifest("library/app", None, OCI_MANIFEST, &body.to_string());
    let path = format!("/v2/library/app/referrers/{digest}");
    let listed = listing(registry.content_at(&path).as_deref(), &referrer, ARTIFACT);
    if is_listed {
        registry.put(path, OCI_INDEX, listed.into());
    } else {
        let tag = format!("sha256-{}", digest.hex());
        registry.manifest("library/app", Some(&tag), OCI_INDEX, &listed);
    }
}
