//! What signatures without a key come with: roots of trust, bundles, entries of logs, their proofs, certificates and the
//! answers of their logs. Whatever is written there, reading it ends, and nobody is made a signer whom no authority has
//! certified, no log has recorded, or who is not meant.
//!
//! What stands behind a signature is only read once that holds. So the authority and the logs that are believed here sign
//! whatever comes: the first byte says as what.
#![no_main]

use std::sync::LazyLock;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, SigningKey as _,
};
use seawall::clock::Time;
use seawall::oci::Digest;
use seawall::policy::trust::cosign::{self, Attached};
use seawall::policy::trust::keyless::{Identity, Material, Signers};
use seawall::policy::trust::{self, Envelope, Rule};
use serde_json::{Value, json};

const ISSUER: &str = "https://issuer.test";
const SUBJECT: &str = "https://subject.test/one";
/// 2026-01-01 and five minutes, in seconds since the Unix epoch.
const RECORDED: u64 = 1_767_225_900;
/// What stands before the seed of an Ed25519 key in PKCS #8, and before a key in its `SubjectPublicKeyInfo`.
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
/// The same algorithm, as certificates name it.
const ALGORITHM: [u8; 7] = [0x30, 5, 6, 3, 0x2b, 0x65, 0x70];

/// Everybody, each with a key that is the same in every run.
struct World {
    authority: KeyPair,
    log: Ed25519KeyPair,
    person: Ed25519KeyPair,
    /// A good certificate of the person, which no log of certificates has seen.
    certificate: Vec<u8>,
    /// Believed without such a log, and only with one.
    rules: [Rule; 2],
    text: String,
    digest: Digest,
    /// What mutations begin with.
    good: Vec<Vec<u8>>,
}

static WORLD: LazyLock<World> = LazyLock::new(World::new);

fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("any seed is one")
}

fn certifying(seed: u8) -> KeyPair {
    let pkcs8 = [&PKCS8[..], &[seed; 32]].concat();
    KeyPair::try_from(pkcs8.as_slice()).expect("it is a key")
}

fn spki(key: &Ed25519KeyPair) -> Vec<u8> {
    [&SPKI[..], key.public_key().as_ref()].concat()
}

fn element(tag: u8, inside: &[u8]) -> Vec<u8> {
    let length = u16::try_from(inside.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&[tag, 0x82, length[0], length[1]][..], inside].concat()
}

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
}

/// The part of a certificate that is signed: its first element.
fn signed_part(certificate: &[u8]) -> &[u8] {
    let length = usize::from(u16::from_be_bytes([certificate[6], certificate[7]]));
    &certificate[4..8 + length]
}

impl World {
    fn new() -> Self {
        let (authority, log, person) = (certifying(1), key(2), key(3));
        let mut params = CertificateParams::new(Vec::new()).expect("no names are names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        let authority_der = params.self_signed(&authority).expect("it signs").der().to_vec();
        let issuer = Issuer::new(params, &authority);
        let mut params = CertificateParams::new(Vec::new()).expect("no names are names");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        params.subject_alt_names = vec![SanType::URI(SUBJECT.try_into().expect("it is ASCII"))];
        let named = [&[0x0c, ISSUER.len() as u8], ISSUER.as_bytes()].concat();
        let oid = [1, 3, 6, 1, 4, 1, 57264, 1, 8];
        params.custom_extensions = vec![CustomExtension::from_oid_content(&oid, named)];
        // An answer of a log of certificates that nobody believes.
        let answer = [&[0; 45][..], &[4, 3, 0, 2, 0, 0]].concat();
        let counted = |inside: &[u8]| [&(inside.len() as u16).to_be_bytes()[..], inside].concat();
        let answers = counted(&counted(&answer));
        let answers = [&[4, answers.len() as u8], answers.as_slice()].concat();
        let oid = [1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];
        params.custom_extensions.push(CustomExtension::from_oid_content(&oid, answers));
        let certificate = params.signed_by(&certifying(3), &issuer).expect("it signs").der().to_vec();
        let digest = Digest::sha256(b"an image");
        let root = |witnesses: &[Value]| {
            let known = |key: &Ed25519KeyPair| json!({ "baseUrl": "", "publicKey": { "rawBytes": STANDARD.encode(spki(key)) } });
            json!({
                "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "tlogs": [known(&log)],
                "certificateAuthorities": [{
                    "certChain": { "certificates": [{ "rawBytes": STANDARD.encode(&authority_der) }] },
                    "validFor": { "start": "2025-01-01T00:00:00Z" },
                }],
                "ctlogs": witnesses,
            })
            .to_string()
        };
        let witness = json!({ "publicKey": { "rawBytes": STANDARD.encode(spki(&key(4))) } });
        let rules = [root(&[]), root(&[witness])].map(|root| Rule {
            keyless: Some(believed(root.as_bytes()).expect("it is a root of trust")),
            ..Rule::default()
        });
        let text = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":""}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"cosign container image signature"}},"optional":null}}"#
        );
        let mut world = Self {
            authority,
            log: key(2),
            person,
            certificate,
            rules,
            text,
            digest,
            good: Vec::new(),
        };
        let body = world.body(&world.certificate);
        let attached = world.recorded(&world.certificate, body.as_bytes());
        let manifest = json!({ "layers": [{
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "size": world.text.len(),
            "digest": attached.payload.to_string(),
            "annotations": {
                "dev.cosignproject.cosign/signature": STANDARD.encode(&attached.signature),
                "dev.sigstore.cosign/certificate": attached.material.certificate,
                "dev.sigstore.cosign/bundle": attached.material.entry,
            },
        }] });
        let proof = world.proof("log.test\n1\n", &[]);
        let parts = [
            root(&[]).into_bytes(),
            world.bundle(proof).to_string().into_bytes(),
            manifest.to_string().into_bytes(),
            body.into_bytes(),
            signed_part(&world.certificate).to_vec(),
            b"log.test\n1\nAAAA\n".to_vec(),
        ];
        world.good = (0..).zip(parts).map(|(kind, part)| [&[kind][..], &part].concat()).collect();
        world
    }

    /// What a log records of the signature that the person has made, with this certificate.
    fn body(&self, certificate: &[u8]) -> String {
        json!({
            "apiVersion": "0.0.1", "kind": "hashedrekord",
            "spec": {
                "data": { "hash": { "algorithm": "sha256", "value": Digest::sha256(self.text.as_bytes()).hex() } },
                "signature": {
                    "content": STANDARD.encode(self.person.sign(self.text.as_bytes())),
                    "publicKey": { "content": STANDARD.encode(pem(certificate)) },
                },
            },
        })
        .to_string()
    }

    fn promise(&self, body: &str) -> String {
        let log = Digest::sha256(&spki(&self.log)).hex();
        let promised = format!(r#"{{"body":"{body}","integratedTime":{RECORDED},"logID":"{log}","logIndex":7}}"#);
        STANDARD.encode(self.log.sign(promised.as_bytes()))
    }

    /// The person's signature, with this certificate and the log's promise that it has recorded this.
    fn recorded(&self, certificate: &[u8], body: &[u8]) -> Attached {
        let body = STANDARD.encode(body);
        let entry = json!({
            "SignedEntryTimestamp": self.promise(&body),
            "Payload": {
                "body": body, "integratedTime": RECORDED, "logIndex": 7,
                "logID": Digest::sha256(&spki(&self.log)).hex(),
            },
        });
        Attached {
            payload: Digest::sha256(self.text.as_bytes()),
            signature: self.person.sign(self.text.as_bytes()).as_ref().to_vec(),
            material: Material { certificate: Some(pem(certificate)), entry: Some(entry.to_string()) },
        }
    }

    /// A proof by a head of which the log says this.
    fn proof(&self, head: &str, hashes: &[u8]) -> Value {
        let signed = [&Digest::sha256(&spki(&self.log)).as_bytes()[..4], self.log.sign(head.as_bytes()).as_ref()].concat();
        let hashes: Vec<String> = hashes.chunks(32).map(|hash| STANDARD.encode(hash)).collect();
        json!({
            "logIndex": "0", "treeSize": "1", "hashes": hashes,
            "checkpoint": { "envelope": format!("{head}\n\u{2014} log.test {}\n", STANDARD.encode(signed)) },
        })
    }

    fn bundle(&self, proof: Value) -> Value {
        let body = STANDARD.encode("{}");
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": { "rawBytes": STANDARD.encode(&self.certificate) },
                "tlogEntries": [{
                    "logIndex": "7", "integratedTime": RECORDED.to_string(),
                    "logId": { "keyId": STANDARD.encode(Digest::sha256(&spki(&self.log)).as_bytes()) },
                    "inclusionPromise": { "signedEntryTimestamp": self.promise(&body) },
                    "inclusionProof": proof, "canonicalizedBody": body,
                }],
            },
            "dsseEnvelope": {
                "payload": "e30=", "payloadType": "application/vnd.in-toto+json", "signatures": [{ "sig": "AAAA" }],
            },
        })
    }

    fn judge(&self, rule: &Rule, attached: &Attached) -> bool {
        trust::judge_text(rule, attached, self.text.as_bytes(), &self.digest).is_ok()
    }

    fn judge_bundle(&self, bundle: &[u8]) -> bool {
        let now = Time::from_millis(RECORDED * 1000);
        trust::judge(&self.rules[0], Envelope::Bundle(self.digest), bundle, &self.digest, now).is_ok()
    }
}

/// What stands in base64 anywhere in a text of JSON.
fn strings(value: &Value, found: &mut Vec<Vec<u8>>) {
    match value {
        Value::String(text) => found.extend(STANDARD.decode(text)),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(members) => members.values().for_each(|item| strings(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn believed(root: &[u8]) -> Option<Signers> {
    let meant = Identity::new(ISSUER.to_owned(), SUBJECT.replace('.', r"\.")).expect("it is an expression");
    Signers::new("root.json".to_owned(), root, vec![meant]).ok()
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let good = &WORLD.good;
    let mut size = size;
    if size < 2 || seed % 61 == 0 {
        let chosen = &good[seed as usize / 61 % good.len()];
        size = chosen.len().min(max_size);
        data[..size].copy_from_slice(&chosen[..size]);
    }
    let kind = data[0];
    let size = fuzzer_mutate(data, size, max_size);
    // What it is stays mostly.
    if size > 0 && seed % 7 != 0 {
        data[0] = kind;
    }
    size
});

fuzz_target!(|data: &[u8]| {
    let world = &*WORLD;
    let [without, with] = &world.rules;
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 6 {
        // A root believes nobody whose key is not in it. What else a certificate in it says is the operator's word.
        0 => {
            if let Some(signers) = believed(data) {
                let rule = Rule { keyless: Some(signers), ..Rule::default() };
                let good = world.recorded(&world.certificate, world.body(&world.certificate).as_bytes());
                let log = Digest::sha256(&spki(&world.log));
                let mut parts = Vec::new();
                // What is passed over may hold bytes that are no text.
                let Ok(written) = serde_json::from_slice(data) else { return };
                strings(&written, &mut parts);
                let has = |part: &[u8]| parts.iter().any(|each| each.windows(part.len()).any(|window| window == part));
                let is_known = has(&spki(&key(1))) && parts.iter().any(|each| Digest::sha256(each) == log);
                assert!(!world.judge(&rule, &good) || is_known);
            }
        }
        1 => assert!(!world.judge_bundle(data)),
        2 => {
            // Any text about another image, whatever stands beside it.
            let other = Digest::sha256(b"another image");
            for attached in cosign::attached(data) {
                for rule in &world.rules {
                    assert!(trust::judge_text(rule, &attached, world.text.as_bytes(), &other).is_err());
                }
                assert!(!world.judge(with, &attached));
            }
        }
        // An entry of anything: what holds is one of this text, and no certificate without an answer is believed where
        // one is needed.
        3 => {
            let recorded = world.recorded(&world.certificate, data);
            let hash = Digest::sha256(world.text.as_bytes()).hex();
            let has = |part: &str| data.windows(part.len()).any(|window| window == part.as_bytes());
            assert!(!world.judge(without, &recorded) || has(&hash) || data.contains(&b'\\'));
            assert!(!world.judge(with, &recorded));
        }
        // A certificate of anything, which the authority has signed and the log recorded.
        4 => {
            let signed = world.authority.sign(data).expect("it signs");
            let parts = [data, &ALGORITHM, &element(3, &[&[0], signed.as_slice()].concat())].concat();
            let certificate = element(0x30, &parts);
            let recorded = world.recorded(&certificate, world.body(&certificate).as_bytes());
            let has = |part: &str| data.windows(part.len()).any(|window| window == part.as_bytes());
            assert!(!world.judge(without, &recorded) || (has(SUBJECT) && has(ISSUER)));
            assert!(!world.judge(with, &recorded));
        }
        // A head of anything, which the log has signed.
        _ => {
            let at = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
            let head = String::from_utf8_lossy(&data[..at]);
            assert!(!world.judge_bundle(world.bundle(world.proof(&head, &data[at..])).to_string().as_bytes()));
        }
    }
});
