//! Signatures, certificates and what they are attached by that are right but for one small thing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose,
};
use seawall::clock::Time;
use seawall::oci::Digest;
use seawall::policy::trust::notation::{Signers, judge};
use seawall::policy::trust::{
    Envelope, Flaw, MOST_SIGNATURES, MOST_SIGNED, Rule, Signed, candidates, cosign, is_attachment,
};
use serde_json::{Value, json};

use super::notary::{Authority, Notary, WAYS};
use super::signer::{Signer, bundle_of, statement_of};

fn digest() -> Digest {
    Digest::sha256(b"an image")
}

fn judged(signers: &Signers, envelope: &Value) -> Result<Signed, Flaw> {
    let now = Time::parse("2026-01-01T00:00:00Z").unwrap();
    judge(signers, envelope.to_string().as_bytes(), &digest(), now)
}

/// An extension that does not have to be understood: the use of a key, in one byte of bits.
fn lax_usage(bits: u8) -> CustomExtension {
    CustomExtension::from_oid_content(&[2, 5, 29, 15], vec![3, 2, 0, bits])
}

#[test]
fn a_signer_who_is_believed_himself_is_looked_at_as_closely_as_another() {
    let found = |change: fn(&mut CertificateParams)| {
        let (notary, signers) = Notary::alone(change);
        judged(&signers, &notary.envelope(&digest()))
    };
    assert!(found(|_| {}).is_ok());
    let authority: fn(&mut CertificateParams) =
        |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(found(authority), Err(Flaw::OtherUse));
    assert_eq!(
        found(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning]),
        Err(Flaw::OtherUse)
    );
    for other in [
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::EmailProtection,
    ] {
        let (notary, signers) = Notary::alone(|params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning, other]
        });
        assert_eq!(judged(&signers, &notary.envelope(&digest())), Err(Flaw::OtherUse));
    }
    let lax: fn(&mut CertificateParams) = |params| {
        params.key_usages.clear();
        params.custom_extensions = vec![lax_usage(0x80)];
    };
    assert_eq!(found(lax), Err(Flaw::OtherUse));
}

#[test]
fn an_authority_whose_right_to_issue_need_not_be_understood_has_none() {
    let root = Authority::new("root");
    let found = |change: fn(&mut CertificateParams)| {
        let notary = root.below("issuing", change).certifies(&WAYS[0], |_| {});
        judged(&root.signers(&[]), &notary.envelope(&digest()))
    };
    assert!(found(|_| {}).is_ok());
    assert_eq!(
        found(|params| {
            params.key_usages.clear();
            params.custom_extensions = vec![lax_usage(0x06)];
        }),
        Err(Flaw::OtherUse)
    );
    assert_eq!(
        found(|params| {
            params.is_ca = IsCa::NoCa;
            let constraints = vec![0x30, 3, 1, 1, 0xff];
            params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 19], constraints)];
        }),
        Err(Flaw::OtherUse)
    );
    assert!(found(|params| params.key_usages = vec![KeyUsagePurpose::CrlSign]).is_err());
}

#[test]
fn a_chain_is_whole_and_in_order_and_of_certificates_alone() {
    let root = Authority::new("root");
    let signers = root.signers(&[]);
    let mut notary = root.below("issuing", |_| {}).certifies(&WAYS[0], |_| {});
    let good = notary.chain.clone();
    assert!(judged(&signers, &notary.envelope(&digest())).is_ok());
    // Without the one that is believed, which has to be among them.
    notary.chain = good[..2].to_vec();
    assert_eq!(
        judged(&signers, &notary.envelope(&digest())),
        Err(Flaw::OtherSigner)
    );
    // With one that has nothing to do with the others.
    let other = Authority::new("other").chain;
    notary.chain = [&good[..], &other[..]].concat();
    assert_eq!(
        judged(&signers, &notary.envelope(&digest())),
        Err(Flaw::Unreadable)
    );
    // With more than is read, each the issuer of the one before.
    notary.chain = [&good[..], &vec![good[2].clone(); 6][..]].concat();
    assert_eq!(
        judged(&signers, &notary.envelope(&digest())),
        Err(Flaw::Unreadable)
    );
    // With something behind a certificate.
    notary.chain = good;
    notary.chain[0].push(0);
    assert_eq!(
        judged(&signers, &notary.envelope(&digest())),
        Err(Flaw::Unreadable)
    );
}

#[test]
fn of_a_part_that_a_subject_has_twice_both_have_to_be_meant() {
    let root = Authority::new("root");
    let notary = root.certifies(&WAYS[0], |params| {
        params
            .distinguished_name
            .push(DnType::CustomDnType(vec![2, 5, 4, 10]), "other");
    });
    let found = judged(&root.signers(&["O=team"]), &notary.envelope(&digest()));
    assert!(matches!(found, Err(Flaw::OtherIdentity(_))), "{found:?}");
    assert!(judged(&root.signers(&["CN=builder"]), &notary.envelope(&digest())).is_ok());
}

#[test]
fn a_rule_that_believes_others_has_another_name() {
    let (root, other) = (Authority::new("root"), Authority::new("other"));
    let of = |signers: Signers| {
        let rule = Rule {
            notation: Some(signers),
            ..Rule::default()
        };
        rule.fingerprint()
    };
    let name = of(root.signers(&["O=team"]));
    assert_eq!(of(root.signers(&["O=team"])), name);
    assert_ne!(of(other.signers(&["O=team"])), name);
    assert_ne!(of(root.signers(&["O=other"])), name);
    assert_ne!(of(root.signers(&[])), name);
}

#[test]
fn a_statement_of_another_kind_and_a_signature_behind_many_are_none() {
    let signer = Signer::default();
    let judged = |bundle: &Value| {
        let rule = Rule {
            keys: vec![signer.key()],
            ..Rule::default()
        };
        let (bytes, now) = (bundle.to_string(), Time::from_millis(0));
        let envelope = Envelope::Bundle(digest());
        seawall::policy::trust::judge(&rule, envelope, bytes.as_bytes(), &digest(), now)
            .map(|signed| signed.by)
    };
    let good = bundle_of(&signer, &statement_of(&digest()));
    assert_eq!(judged(&good), Ok("cosign.pub".to_owned()));
    let other =
        statement_of(&digest()).replace("https://in-toto.io/Statement/", "https://example.com/Statement/");
    assert_eq!(judged(&bundle_of(&signer, &other)), Err(Flaw::OtherKind));
    let mut many = good.clone();
    let one = good["dsseEnvelope"]["signatures"][0].clone();
    let mut signatures = vec![json!({ "sig": "AAAA" }); MOST_SIGNATURES - 1];
    signatures.push(one);
    many["dsseEnvelope"]["signatures"] = json!(signatures);
    assert!(judged(&many).is_ok());
    signatures.insert(0, json!({ "sig": "AAAA" }));
    many["dsseEnvelope"]["signatures"] = json!(signatures);
    assert_eq!(judged(&many), Err(Flaw::OtherSigner));
}

#[test]
fn what_is_attached_in_another_way_is_no_signature_and_needs_one() {
    let layer = |kind: &str, size: u64| {
        json!({
            "mediaType": kind, "digest": digest().to_string(), "size": size,
            "annotations": { "dev.cosignproject.cosign/signature": STANDARD.encode("made") },
        })
    };
    let attached = |layer: Value| cosign::attached(json!({ "layers": [layer] }).to_string().as_bytes()).len();
    assert_eq!(attached(layer(cosign::PAYLOAD, MOST_SIGNED)), 1);
    assert_eq!(attached(layer(cosign::PAYLOAD, MOST_SIGNED + 1)), 0);
    assert_eq!(attached(layer("application/json", 7)), 0);
    // An image of the first version says so in another place.
    let plain = json!({ "layers": [layer(cosign::PAYLOAD, 7)] });
    assert!(is_attachment(plain.to_string().as_bytes()));
    let mut first = plain;
    first["fsLayers"] = json!([]);
    assert!(!is_attachment(first.to_string().as_bytes()));

    let kinds = [
        "application/vnd.dev.sigstore.bundle.v0.3+json",
        "application/vnd.cncf.notary.signature",
        "application/spdx+json",
    ];
    let digests = kinds.map(|kind| Digest::sha256(kind.as_bytes()));
    let listed: Vec<Value> = kinds
        .iter()
        .zip(&digests)
        .map(|(kind, digest)| json!({ "artifactType": kind, "digest": digest.to_string() }))
        .collect();
    let listed = json!({ "manifests": listed }).to_string();
    let by_key = Rule {
        keys: vec![Signer::default().key()],
        ..Rule::default()
    };
    let by_certificate = Rule {
        notation: Some(Signers::default()),
        ..Rule::default()
    };
    assert_eq!(candidates(listed.as_bytes(), &by_key), [digests[0]]);
    assert_eq!(candidates(listed.as_bytes(), &by_certificate), [digests[1]]);
}
