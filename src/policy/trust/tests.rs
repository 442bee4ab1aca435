//! Signatures of every kind, made here: which are believed, and of what.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::cosign::{Bundle, attached, is_bundle, judge, judge_bundle};
use super::*;

fn digest() -> Digest {
    Digest::sha256(b"an image")
}

/// What signs, and its public half.
fn signer() -> (EcdsaKeyPair, Key) {
    let pair = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let der = pair.public_key().as_der().unwrap().as_ref().to_vec();
    (pair, Key::new("cosign.pub".to_owned(), der).unwrap())
}

fn sign(pair: &EcdsaKeyPair, message: &[u8]) -> Vec<u8> {
    pair.sign(&SystemRandom::new(), message)
        .unwrap()
        .as_ref()
        .to_vec()
}

fn payload(digest: &Digest) -> String {
    format!(
        r#"{{"critical":{{"identity":{{"docker-reference":"a/b"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"cosign container image signature"}},"optional":null}}"#
    )
}

fn statement(digest: &Digest) -> String {
    let hex = digest.hex();
    format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"name":"","digest":{{"sha256":"{hex}"}}}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{{}}}}"#
    )
}

fn enveloped(pair: &EcdsaKeyPair, kind: &str, statement: &str) -> String {
    let message = format!("DSSEv1 {} {kind} {} {statement}", kind.len(), statement.len());
    let signature = STANDARD.encode(sign(pair, message.as_bytes()));
    let payload = STANDARD.encode(statement);
    format!(
        r#"{{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{{"publicKey":{{"hint":"x"}}}},"dsseEnvelope":{{"payload":"{payload}","payloadType":"{kind}","signatures":[{{"sig":"{signature}"}}]}}}}"#
    )
}

const STATEMENT: &str = "application/vnd.in-toto+json";

#[test]
fn every_kind_of_key_verifies_what_it_signed_and_nothing_else() {
    let random = SystemRandom::new();
    let mut cases: Vec<(Vec<u8>, Vec<u8>, &str)> = Vec::new();
    for (way, name) in [
        (&signature::ECDSA_P256_SHA256_ASN1_SIGNING, "P-256"),
        (&signature::ECDSA_P384_SHA384_ASN1_SIGNING, "P-384"),
        (&signature::ECDSA_P521_SHA512_ASN1_SIGNING, "P-521"),
    ] {
        let pair = EcdsaKeyPair::generate(way).unwrap();
        let der = pair.public_key().as_der().unwrap().as_ref().to_vec();
        cases.push((der, sign(&pair, b"text"), name));
    }
    let pair = Ed25519KeyPair::generate().unwrap();
    let der = pair.public_key().as_der().unwrap().as_ref().to_vec();
    cases.push((der, pair.sign(b"text").as_ref().to_vec(), "Ed25519"));
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let ways: [&'static dyn RsaEncoding; 2] = [&signature::RSA_PKCS1_SHA256, &signature::RSA_PSS_SHA256];
    for (way, name) in ways.into_iter().zip(["RSA PKCS#1", "RSA-PSS"]) {
        let mut made = vec![0; pair.public_modulus_len()];
        pair.sign(way, &random, b"text", &mut made).unwrap();
        let der = pair.public_key().as_der().unwrap().as_ref().to_vec();
        cases.push((der, made, name));
    }
    for (der, made, name) in &cases {
        let key = Key::new((*name).to_owned(), der.clone()).unwrap();
        assert!(key.verifies(b"text", made), "{name}");
        assert!(!key.verifies(b"texts", made), "{name}");
        let mut wrong = made.clone();
        *wrong.last_mut().unwrap() ^= 1;
        assert!(
            !key.verifies(b"text", &wrong) && !key.verifies(b"text", b""),
            "{name}"
        );
        let others = cases.iter().filter(|(other, ..)| other != der);
        for (_, made, other) in others {
            assert!(!key.verifies(b"text", made), "{name} took one of {other}");
        }
    }
    assert_eq!(Key::new(String::new(), b"no key".to_vec()), Err(BadKey));
    // A short one, of a kind that is broken in a weekend.
    let short = STANDARD
        .decode("MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf9Cnzj4p4WGeKLs1Pt8QuKUpRKfFLfRYC9AIKjbJTWit+CqvjWYzvQwECAwEAAQ==")
        .unwrap();
    assert_eq!(Key::new(String::new(), short), Err(BadKey));
}

#[test]
fn a_signed_text_is_believed_by_its_key_its_kind_and_the_digest_it_names() {
    let ((pair, key), (_, other)) = (signer(), signer());
    let keys = [other.clone(), key.clone()];
    let text = payload(&digest());
    let made = sign(&pair, text.as_bytes());
    assert_eq!(judge(&keys, text.as_bytes(), &made, &digest()), Ok(&key));
    assert_eq!(
        judge(&[other], text.as_bytes(), &made, &digest()),
        Err(Flaw::OtherSigner)
    );
    let another = Digest::sha256(b"another image");
    assert_eq!(
        judge(&keys, text.as_bytes(), &made, &another),
        Err(Flaw::OtherDigest)
    );
    let altered = payload(&another);
    assert_eq!(
        judge(&keys, altered.as_bytes(), &made, &another),
        Err(Flaw::OtherSigner)
    );
    let kind = text.replace("cosign container", "atomic container");
    let made = sign(&pair, kind.as_bytes());
    assert_eq!(
        judge(&keys, kind.as_bytes(), &made, &digest()),
        Err(Flaw::OtherKind)
    );
    let made = sign(&pair, b"{}");
    assert_eq!(judge(&keys, b"{}", &made, &digest()), Err(Flaw::Unreadable));
}

#[test]
fn a_bundle_is_believed_by_its_key_its_statement_and_the_digest_it_names() {
    let ((pair, key), (_, other)) = (signer(), signer());
    let keys = std::slice::from_ref(&key);
    let judged = |bundle: &str, digest: &Digest| {
        Bundle::parse(bundle.as_bytes())
            .and_then(|bundle| judge_bundle(keys, &bundle, digest).map(|key| key.name().to_owned()))
    };
    let good = enveloped(&pair, STATEMENT, &statement(&digest()));
    assert_eq!(judged(&good, &digest()), Ok("cosign.pub".to_owned()));
    assert_eq!(
        judge_bundle(&[other], &Bundle::parse(good.as_bytes()).unwrap(), &digest()),
        Err(Flaw::OtherSigner)
    );
    let another = Digest::sha256(b"another image");
    assert_eq!(judged(&good, &another), Err(Flaw::OtherDigest));
    // An attestation by the same key says something, but not that the image is signed.
    let provenance = statement(&digest()).replace(
        "https://sigstore.dev/cosign/sign/v1",
        "https://slsa.dev/provenance/v1",
    );
    let provenance = enveloped(&pair, STATEMENT, &provenance);
    assert_eq!(judged(&provenance, &digest()), Err(Flaw::OtherKind));
    let other_type = enveloped(&pair, "text/plain", &statement(&digest()));
    assert_eq!(judged(&other_type, &digest()), Err(Flaw::OtherKind));
    // The type is signed as well.
    let relabelled = other_type.replace("text/plain", STATEMENT);
    assert_eq!(judged(&relabelled, &digest()), Err(Flaw::OtherSigner));
    let unsigned = good.replace("dsseEnvelope", "messageSignature");
    assert_eq!(judged(&unsigned, &digest()), Err(Flaw::OtherKind));
    assert_eq!(judged("{", &digest()), Err(Flaw::Unreadable));
}

#[test]
fn signatures_are_read_from_what_is_attached_and_only_the_first_of_many() {
    let blob = Digest::sha256(b"payload");
    let layer = |signature: &str| {
        format!(
            r#"{{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","digest":"{blob}","size":7,"annotations":{{"dev.cosignproject.cosign/signature":"{signature}"}}}}"#
        )
    };
    let manifest = |layers: &[String]| format!(r#"{{"schemaVersion":2,"layers":[{}]}}"#, layers.join(","));
    let found = attached(manifest(&[layer("AAE="), layer("not base64")]).as_bytes());
    let one = cosign::Attached {
        payload: blob,
        signature: vec![0, 1],
        material: keyless::Material::default(),
    };
    assert_eq!(found, [one]);
    // Cosign read them all, however many there were (CVE-2023-46737).
    let many = vec![layer("AAE="); 10_000];
    assert_eq!(attached(manifest(&many).as_bytes()).len(), MOST_SIGNATURES);
    assert_eq!(attached(b"[]"), []);

    let referrer = |subject: &Digest| {
        format!(
            r#"{{"schemaVersion":2,"layers":[{{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","digest":"{blob}","size":7}}],"subject":{{"digest":"{subject}"}}}}"#
        )
    };
    let found = envelope(referrer(&digest()).as_bytes(), &digest());
    assert_eq!(found, Ok(Envelope::Bundle(blob)));
    assert_eq!(
        envelope(referrer(&blob).as_bytes(), &digest()),
        Err(Flaw::Unreadable)
    );
    assert!(is_bundle("application/vnd.dev.sigstore.bundle+json;version=0.2"));
    assert!(!is_bundle("application/vnd.dev.sigstore.bundles"));
}

#[test]
fn only_what_no_runtime_unpacks_goes_without_a_signature() {
    let manifest = |kind: &str, more: &str| {
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{0}","size":2}},"layers":[{{"mediaType":"{kind}","digest":"{0}","size":2{more}}}],"subject":{{"digest":"{0}"}}}}"#,
            digest()
        )
    };
    let judged = |text: String| is_attachment(text.as_bytes());
    assert!(judged(manifest(cosign::PAYLOAD, "")));
    assert!(judged(manifest(
        "application/vnd.dev.sigstore.bundle.v0.3+json",
        ""
    )));
    // An image that says it refers to something is still an image.
    assert!(!judged(manifest(
        "application/vnd.oci.image.layer.v1.tar+gzip",
        ""
    )));
    assert!(!judged(manifest(
        cosign::PAYLOAD,
        r#","urls":["https://evil.example/"]"#
    )));
    let two = manifest(
        cosign::PAYLOAD,
        r#"},{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"x""#,
    );
    assert!(!judged(two));
    for text in ["", "{}", r#"{"layers":[]}"#, r#"{"manifests":[]}"#] {
        assert!(!judged(text.to_owned()), "{text}");
    }
    let index = manifest(cosign::PAYLOAD, "").replace("\"subject\"", "\"manifests\":[],\"subject\"");
    assert!(!judged(index));
}

#[test]
fn the_first_rule_that_means_a_repository_is_its_rule() {
    let scope = |text: &str| Scope::parse(text).unwrap();
    let (_, key) = signer();
    let rules = Rules::new(vec![
        Rule {
            repositories: vec![scope("ghcr.io/team/open")],
            ..Rule::default()
        },
        Rule {
            repositories: vec![scope("quay.io"), scope("ghcr.io/team/**")],
            keys: vec![key.clone()],
            ..Rule::default()
        },
    ]);
    let of = |registry: &str, path: &str| {
        let repository = Repository {
            registry: registry.parse().unwrap(),
            path: path.parse().unwrap(),
        };
        rules.of(&repository).map(Rule::wants_signature)
    };
    assert_eq!(of("ghcr.io", "team/open"), Some(false));
    assert_eq!(of("ghcr.io", "team/app"), Some(true));
    assert_eq!(of("quay.io", "any/thing"), Some(true));
    assert_eq!(of("ghcr.io", "other/app"), None);
    let [open, closed] = rules.all() else { panic!() };
    let (_, other) = signer();
    let changed = Rule {
        keys: vec![other],
        ..closed.clone()
    };
    let names = [open, closed, &changed].map(Rule::fingerprint);
    assert!(names[0] != names[1] && names[1] != names[2] && names[0] != names[2]);
    // Where a key stands says nothing of it.
    let moved = Rule {
        keys: vec![Key::new("elsewhere".to_owned(), key.der().to_vec()).unwrap()],
        ..closed.clone()
    };
    assert_eq!(moved.fingerprint(), names[1]);
}
