//! People who sign without a key of theirs, and who vouches for them: an authority, a transparency log, and a log of
//! certificates. Each works well, or is told to work badly in one way.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PublicKeyData as _, SanType,
};
use seawall::oci::Digest;
use seawall::policy::trust::Key;
use seawall::policy::trust::cosign::Attached;
use seawall::policy::trust::keyless::{Identity, Material, Signers};
use serde_json::{Value, json};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::notary::Authority;
use super::signer::{STATEMENT, Signer, message_of, statement_of, text_of};

/// Who vouches for people.
pub(crate) const ISSUER: &str = "https://token.actions.githubusercontent.com";
/// As whom.
pub(crate) const SUBJECT: &str = "https://github.com/team/app/.github/workflows/release.yml@refs/tags/v1";
/// 2026-01-01, in seconds since the Unix epoch: certificates are good for ten minutes from then on.
pub(crate) const START: u64 = 1_767_225_600;
/// When signatures are recorded.
pub(crate) const RECORDED: u64 = START + 300;

/// The extension with the issuer, as a text.
const ISSUER_OID: [u64; 9] = [1, 3, 6, 1, 4, 1, 57264, 1, 8];
/// The same in its older form.
const OLD_ISSUER_OID: [u64; 9] = [1, 3, 6, 1, 4, 1, 57264, 1, 1];
/// The extension with the answers of logs of certificates.
const ANSWERS_OID: [u64; 10] = [1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];

pub(crate) struct Sigstore {
    pub(crate) authority: Authority,
    pub(crate) log: Signer,
    pub(crate) witness: Signer,
}

impl Default for Sigstore {
    fn default() -> Self {
        Self {
            authority: Authority::new("root").below("issuing", |_| {}),
            log: Signer::default(),
            witness: Signer::default(),
        }
    }
}

/// Somebody with a key and a certificate.
pub(crate) struct Person {
    key: KeyPair,
    pub(crate) certificate: Vec<u8>,
}

/// A signature, and what is to be recorded of it.
pub(crate) struct Made {
    pub(crate) text: String,
    pub(crate) signature: Vec<u8>,
    /// The one that stands beside it.
    pub(crate) certificate: Vec<u8>,
    /// What the log records.
    pub(crate) body: Value,
    pub(crate) time: u64,
    /// The log that is named.
    pub(crate) log: String,
}

impl Sigstore {
    /// The root of trust.
    pub(crate) fn root(&self) -> Value {
        let raw = |der: &Vec<u8>| json!({ "rawBytes": STANDARD.encode(der) });
        let log = |log: &Signer| {
            json!({
                "baseUrl": "https://log.test", "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": STANDARD.encode(log.key().der()), "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "validFor": { "start": "2025-01-01T00:00:00Z" },
                },
            })
        };
        let chain: Vec<Value> = self.authority.chain.iter().map(raw).collect();
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(&self.log)],
            "certificateAuthorities": [{
                "subject": { "commonName": "issuing" }, "uri": "https://authority.test",
                "certChain": { "certificates": chain },
                "validFor": { "start": "2025-01-01T00:00:00Z" },
            }],
            "ctlogs": [log(&self.witness)],
            "timestampAuthorities": [],
        })
    }

    /// Those of this issuer with this subject.
    pub(crate) fn signers(&self, subject: &str) -> Signers {
        believed(&self.root(), &[(ISSUER, subject)]).unwrap()
    }

    /// Somebody with a certificate, changed in some way, which the log of certificates has seen.
    pub(crate) fn certifies(&self, change: impl FnOnce(&mut CertificateParams)) -> Person {
        self.certifies_seen(change, |shown| {
            answers(&self.witness, START * 1000, &self.authority, shown)
        })
    }

    /// The same, with this in the place of the log's answers, if there is anything.
    pub(crate) fn certifies_seen(
        &self,
        change: impl FnOnce(&mut CertificateParams),
        answer: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> Person {
        let key = KeyPair::generate().unwrap();
        let mut params = person();
        change(&mut params);
        let before = self.authority.issue(&params, &key);
        let answers = answer(signed_part(&before));
        if !answers.is_empty() {
            params
                .custom_extensions
                .push(CustomExtension::from_oid_content(&ANSWERS_OID, answers));
        }
        let certificate = self.authority.issue(&params, &key);
        Person { key, certificate }
    }

    /// Records what was made.
    pub(crate) fn record(&self, made: Made) -> Attached {
        made.recorded_by(&self.log)
    }

    /// A good signature of an image.
    pub(crate) fn sign(&self, digest: &Digest) -> Attached {
        self.record(self.make(&self.certifies(|_| {}), digest))
    }

    /// A good bundle of an image.
    pub(crate) fn bundle(&self, digest: &Digest) -> Value {
        enveloped(self, &self.certifies(|_| {}), &statement_of(digest))
    }

    /// The same, not recorded yet.
    pub(crate) fn make(&self, person: &Person, digest: &Digest) -> Made {
        person.makes(text_of(digest), &self.log)
    }
}

/// Those who are believed by a root of trust.
pub(crate) fn believed(
    root: &Value,
    identities: &[(&str, &str)],
) -> Result<Signers, seawall::policy::trust::keyless::BadRoot> {
    let identity = |(issuer, subject): &(&str, &str)| {
        Identity::new((*issuer).to_owned(), (*subject).to_owned()).unwrap()
    };
    let identities = identities.iter().map(identity).collect();
    Signers::new(
        "trusted_root.json".to_owned(),
        root.to_string().as_bytes(),
        identities,
    )
}

/// What is said in the certificate of somebody.
fn person() -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = params.not_before + Duration::from_secs(600);
    params.subject_alt_names = vec![SanType::URI(SUBJECT.try_into().unwrap())];
    params.custom_extensions = vec![issuer(ISSUER)];
    params
}

/// The extension that names an issuer.
pub(crate) fn issuer(name: &str) -> CustomExtension {
    CustomExtension::from_oid_content(&ISSUER_OID, element(0x0c, name.as_bytes()))
}

/// The same in its older form.
pub(crate) fn old_issuer(name: &str) -> CustomExtension {
    CustomExtension::from_oid_content(&OLD_ISSUER_OID, name.as_bytes().to_vec())
}

/// A short element of DER.
pub(crate) fn element(tag: u8, inside: &[u8]) -> Vec<u8> {
    let length = u8::try_from(inside.len()).unwrap();
    let head = if length < 0x80 {
        vec![tag, length]
    } else {
        vec![tag, 0x81, length]
    };
    [head, inside.to_vec()].concat()
}

/// What is signed of a certificate.
pub(crate) fn signed_part(certificate: &[u8]) -> &[u8] {
    let whole = X509Certificate::from_der(certificate).unwrap().1;
    let part = whole.tbs_certificate.as_ref();
    let at = certificate
        .windows(part.len())
        .position(|window| window == part)
        .unwrap();
    &certificate[at..at + part.len()]
}

/// What a log of certificates answers when it is shown one that an authority is about to issue.
pub(crate) fn answers(log: &Signer, millis: u64, authority: &Authority, shown: &[u8]) -> Vec<u8> {
    let above = X509Certificate::from_der(&authority.chain[0]).unwrap().1;
    let length = u32::try_from(shown.len()).unwrap().to_be_bytes();
    let (issuer, id) = (
        Digest::sha256(above.public_key().raw),
        Digest::sha256(log.key().der()),
    );
    let (time, none) = (millis.to_be_bytes(), [0, 0]);
    let text: [&[u8]; 7] = [
        &none,
        &time,
        &[0, 1],
        issuer.as_bytes(),
        &length[1..],
        shown,
        &none,
    ];
    let made = STANDARD.decode(log.made(&text.concat())).unwrap();
    let made = counted(&made);
    let answer: [&[u8]; 6] = [&[0], id.as_bytes(), &time, &none, &[4, 3], &made];
    element(4, &counted(&counted(&answer.concat())))
}

/// Bytes behind their count.
fn counted(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

pub(crate) fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// The name of a log.
pub(crate) fn name(log: &Signer) -> String {
    Digest::sha256(log.key().der()).hex()
}

impl Person {
    /// Signs a text, to be recorded in this log.
    pub(crate) fn makes(&self, text: String, log: &Signer) -> Made {
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &self.key.serialize_der()).unwrap();
        let signature = pair
            .sign(&SystemRandom::new(), text.as_bytes())
            .unwrap()
            .as_ref()
            .to_vec();
        let body = json!({
            "apiVersion": "0.0.1", "kind": "hashedrekord",
            "spec": {
                "data": { "hash": { "algorithm": "sha256", "value": Digest::sha256(text.as_bytes()).hex() } },
                "signature": {
                    "content": STANDARD.encode(&signature),
                    "publicKey": { "content": STANDARD.encode(pem(&self.certificate)) },
                },
            },
        });
        Made {
            text,
            signature,
            certificate: self.certificate.clone(),
            body,
            time: RECORDED,
            log: name(log),
        }
    }

    /// The key of it.
    pub(crate) fn key(&self) -> Key {
        Key::new("somebody's".to_owned(), self.key.subject_public_key_info()).unwrap()
    }
}

impl Made {
    /// As a log records it, and promises to have.
    pub(crate) fn recorded_by(self, log: &Signer) -> Attached {
        let body = STANDARD.encode(self.body.to_string());
        let (time, name) = (self.time, self.log);
        let promised =
            format!(r#"{{"body":"{body}","integratedTime":{time},"logID":"{name}","logIndex":7}}"#);
        let entry = json!({
            "SignedEntryTimestamp": log.made(promised.as_bytes()),
            "Payload": { "body": body, "integratedTime": time, "logIndex": 7, "logID": name },
        });
        Attached {
            payload: Digest::sha256(self.text.as_bytes()),
            signature: self.signature,
            material: Material {
                certificate: Some(pem(&self.certificate)),
                entry: Some(entry.to_string()),
            },
        }
    }
}

/// Signs a statement in an envelope, to be recorded.
pub(crate) fn make_envelope(sigstore: &Sigstore, person: &Person, statement: &str) -> Made {
    let mut made = person.makes(message_of(statement), &sigstore.log);
    made.body = json!({
        "apiVersion": "0.0.1", "kind": "dsse",
        "spec": {
            "envelopeHash": { "algorithm": "sha256", "value": Digest::sha256(b"an envelope").hex() },
            "payloadHash": { "algorithm": "sha256", "value": Digest::sha256(statement.as_bytes()).hex() },
            "signatures": [{
                "signature": STANDARD.encode(&made.signature),
                "verifier": STANDARD.encode(pem(&made.certificate)),
            }],
        },
    });
    made
}

/// A bundle with a statement that somebody has signed.
pub(crate) fn enveloped(sigstore: &Sigstore, person: &Person, statement: &str) -> Value {
    make_envelope(sigstore, person, statement).bundled_by(&sigstore.log, statement)
}

/// What a log says of itself, with its signature.
pub(crate) fn checkpoint(log: &Signer, text: &str) -> String {
    let made = STANDARD.decode(log.made(text.as_bytes())).unwrap();
    let id = Digest::sha256(log.key().der());
    let signature = STANDARD.encode([&id.as_bytes()[..4], &made].concat());
    format!("{text}\n\u{2014} log.test {signature}\n")
}

impl Made {
    /// In a bundle, as the second of three entries of a log.
    pub(crate) fn bundled_by(self, log: &Signer, statement: &str) -> Value {
        let body = self.body.to_string();
        let hash = |parts: &[&[u8]]| Digest::sha256(&parts.concat());
        let leaves = [&b"before"[..], body.as_bytes(), b"after"].map(|entry| hash(&[&[0], entry]));
        let left = hash(&[&[1], leaves[0].as_bytes(), leaves[1].as_bytes()]);
        let root = STANDARD.encode(hash(&[&[1], left.as_bytes(), leaves[2].as_bytes()]).as_bytes());
        let beside = [&leaves[0], &leaves[2]].map(|hash| STANDARD.encode(hash.as_bytes()));
        let (signature, certificate) = (
            STANDARD.encode(&self.signature),
            STANDARD.encode(&self.certificate),
        );
        let (time, attached) = (self.time, self.recorded_by(log));
        let entry: Value = serde_json::from_str(attached.material.entry.as_ref().unwrap()).unwrap();
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": { "rawBytes": certificate },
                "tlogEntries": [{
                    "logIndex": "7", "integratedTime": time.to_string(),
                    "logId": { "keyId": STANDARD.encode(Digest::sha256(log.key().der()).as_bytes()) },
                    "kindVersion": { "kind": "dsse", "version": "0.0.1" },
                    "inclusionPromise": { "signedEntryTimestamp": entry["SignedEntryTimestamp"] },
                    "inclusionProof": {
                        "logIndex": "1", "treeSize": "3", "rootHash": root, "hashes": beside,
                        "checkpoint": { "envelope": checkpoint(log, &format!("log.test\n3\n{root}\n")) },
                    },
                    "canonicalizedBody": entry["Payload"]["body"],
                }],
            },
            "dsseEnvelope": {
                "payload": STANDARD.encode(statement), "payloadType": STATEMENT,
                "signatures": [{ "sig": signature }],
            },
        })
    }
}
