//! Envelopes of Notation, each good or forged in one way: which are believed, by whom, of what, and until when.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use seawall::clock::Time;
use seawall::oci::Digest;
use seawall::policy::trust::notation::{Signers, judge};
use seawall::policy::trust::{Flaw, Signed};
use serde_json::{Value, json};

use super::notary::{Authority, Notary, WAYS, encoded, payload};

const SCHEME: &str = "io.cncf.notary.signingScheme";
const EXPIRY: &str = "io.cncf.notary.expiry";

fn digest() -> Digest {
    Digest::sha256(b"an image")
}

fn time(text: &str) -> Time {
    Time::parse(text).unwrap()
}

fn now() -> Time {
    time("2026-01-01T00:00:00Z")
}

fn judged(signers: &Signers, envelope: &Value) -> Result<Signed, Flaw> {
    judge(signers, envelope.to_string().as_bytes(), &digest(), now())
}

/// Until when an envelope holds.
fn until(signers: &Signers, envelope: &Value) -> Result<Time, Flaw> {
    judged(signers, envelope).map(|signed| signed.until.unwrap())
}

/// An authority with another below it, and a signer whom that has certified.
fn usual() -> (Signers, Notary) {
    let root = Authority::new("root");
    let notary = root.below("issuing", |_| {}).certifies(&WAYS[0], |_| {});
    (root.signers(&[]), notary)
}

/// A signer with a certificate that is changed in some way; whose it is, and what is found of it.
fn with_certificate(change: impl FnOnce(&mut CertificateParams)) -> Result<Signed, Flaw> {
    let root = Authority::new("root");
    let notary = root.certifies(&WAYS[0], change);
    judged(&root.signers(&[]), &notary.envelope(&digest()))
}

#[test]
fn every_way_of_signing_holds_with_its_own_kind_of_key_and_under_no_other_name() {
    let root = Authority::new("root");
    let signers = root.signers(&[]);
    for way in &WAYS {
        let notary = root.certifies(way, |_| {});
        let good = notary.envelope(&digest());
        let signed = judged(&signers, &good).unwrap();
        assert!(signed.by.contains("CN=builder"), "{}", signed.by);
        for other in WAYS.iter().map(super::notary::Way::name) {
            let mut protected = notary.protected();
            protected["alg"] = json!(other);
            let named = judged(&signers, &notary.signed(&protected, &payload(&digest())));
            assert_eq!(named.is_ok(), other == way.name(), "{} as {other}", way.name());
        }
    }
}

#[test]
fn an_envelope_without_a_way_of_signing_or_with_one_of_secrets_is_none() {
    let (signers, notary) = usual();
    for name in ["none", "None", "", "HS256", "RS256", "EdDSA"] {
        let mut protected = notary.protected();
        protected["alg"] = json!(name);
        let mut envelope = notary.signed(&protected, &payload(&digest()));
        assert_eq!(judged(&signers, &envelope), Err(Flaw::Altered), "{name}");
        envelope["signature"] = json!("");
        assert_eq!(judged(&signers, &envelope), Err(Flaw::Altered), "{name}");
    }
}

#[test]
fn an_envelope_about_another_image_is_none_of_this() {
    let (signers, notary) = usual();
    let other = notary.envelope(&Digest::sha256(b"another image"));
    assert_eq!(judged(&signers, &other), Err(Flaw::OtherDigest));
    let kind = notary.signed(&notary.protected(), &json!({"digest": digest().to_string()}));
    assert_eq!(judged(&signers, &kind), Err(Flaw::Unreadable));
    let mut protected = notary.protected();
    protected["cty"] = json!("application/vnd.in-toto+json");
    let other_kind = notary.signed(&protected, &payload(&digest()));
    assert_eq!(judged(&signers, &other_kind), Err(Flaw::OtherKind));
}

#[test]
fn a_signature_holds_until_it_expires_or_the_first_of_its_certificates_does() {
    let (signers, notary) = usual();
    let expired = notary.envelope_until(&digest(), "2025-12-31T23:59:59Z");
    assert_eq!(judged(&signers, &expired), Err(Flaw::Expired));
    let ends_now = notary.envelope_until(&digest(), "2026-01-01T00:00:00Z");
    assert_eq!(judged(&signers, &ends_now), Err(Flaw::Expired));
    let soon = notary.envelope_until(&digest(), "2026-01-01T00:00:01Z");
    assert_eq!(until(&signers, &soon), Ok(time("2026-01-01T00:00:01Z")));

    let year = |year| rcgen::date_time_ymd(year, 1, 2);
    let past: fn(&mut CertificateParams) = |params| params.not_after = rcgen::date_time_ymd(2025, 1, 2);
    let future: fn(&mut CertificateParams) = |params| params.not_before = rcgen::date_time_ymd(2026, 1, 2);
    assert_eq!(with_certificate(past), Err(Flaw::Expired));
    assert_eq!(with_certificate(future), Err(Flaw::Expired));
    for change in [past, future] {
        // Of the authority in between, and of the one that is believed.
        let root = Authority::new("root");
        let notary = root.below("issuing", change).certifies(&WAYS[0], |_| {});
        let found = judged(&root.signers(&[]), &notary.envelope(&digest()));
        assert_eq!(found, Err(Flaw::Expired));
        let root = Authority::with("root", change);
        let notary = root.certifies(&WAYS[0], |_| {});
        let found = judged(&root.signers(&[]), &notary.envelope(&digest()));
        assert_eq!(found, Err(Flaw::Expired));
    }
    let root = Authority::with("root", |params| params.not_after = year(2027));
    let below = root.below("issuing", |params| params.not_after = year(2028));
    let notary = below.certifies(&WAYS[0], |params| params.not_after = year(2029));
    let last = until(&root.signers(&[]), &notary.envelope(&digest()));
    assert_eq!(last, Ok(time("2027-01-02T00:00:01Z")));
}

#[test]
fn a_chain_that_leads_to_a_stranger_or_is_put_together_from_two_is_refused() {
    let root = Authority::new("root");
    let signers = root.signers(&[]);
    let good = root.below("issuing", |_| {}).certifies(&WAYS[0], |_| {});
    assert!(judged(&signers, &good.envelope(&digest())).is_ok());
    // Named as those that are believed.
    let stranger = Authority::new("root").below("issuing", |_| {});
    let mut forged = stranger.certifies(&WAYS[0], |_| {});
    assert_eq!(
        judged(&signers, &forged.envelope(&digest())),
        Err(Flaw::OtherSigner)
    );
    let own = forged.chain.clone();
    for believed in [&good.chain[2..], &good.chain[1..]] {
        let kept = own.len() - believed.len();
        forged.chain = own[..kept].iter().chain(believed).cloned().collect();
        let found = judged(&signers, &forged.envelope(&digest()));
        assert_eq!(found, Err(Flaw::OtherSigner), "{kept}");
    }
    // The certificates of somebody else, over what was signed with another key.
    forged.chain = good.chain.clone();
    assert_eq!(judged(&signers, &forged.envelope(&digest())), Err(Flaw::Altered));
    // Certificates that have nothing to do with it, and none at all.
    let unrelated = [good.chain.clone(), own].concat();
    for chain in [
        unrelated,
        good.chain[..2].to_vec(),
        good.chain[1..].to_vec(),
        Vec::new(),
    ] {
        forged.chain = chain;
        assert!(judged(&signers, &forged.envelope(&digest())).is_err());
    }
}

#[test]
fn a_certificate_that_is_for_something_else_signs_nothing() {
    use ExtendedKeyUsagePurpose as Purpose;
    assert!(with_certificate(|_| {}).is_ok());
    assert!(with_certificate(|params| params.extended_key_usages.clear()).is_ok());
    for purposes in [
        vec![Purpose::ServerAuth],
        vec![Purpose::CodeSigning, Purpose::ClientAuth],
        vec![Purpose::CodeSigning, Purpose::Any],
        vec![Purpose::CodeSigning, Purpose::TimeStamping],
        vec![Purpose::OcspSigning],
    ] {
        let found = with_certificate(|params| params.extended_key_usages = purposes.clone());
        assert_eq!(found, Err(Flaw::OtherUse), "{purposes:?}");
    }
    for usages in [
        Vec::new(),
        vec![KeyUsagePurpose::ContentCommitment],
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign],
        vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ],
    ] {
        let found = with_certificate(|params| params.key_usages = usages.clone());
        assert_eq!(found, Err(Flaw::OtherUse), "{usages:?}");
    }
    let authority = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(with_certificate(authority), Err(Flaw::OtherUse));
    // A signer who certifies others, and an authority that may not.
    let root = Authority::new("root");
    let found = |between: Authority| {
        let notary = between.certifies(&WAYS[0], |_| {});
        judged(&root.signers(&[]), &notary.envelope(&digest()))
    };
    let signer = root.below("signer", |params| {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    });
    assert_eq!(found(signer), Err(Flaw::OtherUse));
    let idle = root.below("idle", |params| {
        params.key_usages = vec![KeyUsagePurpose::CrlSign]
    });
    assert_eq!(found(idle), Err(Flaw::OtherUse));
    let last = root.below("last", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))
    });
    assert_eq!(found(last.below("beyond", |_| {})), Err(Flaw::OtherUse));
}

#[test]
fn a_protected_header_that_was_changed_after_signing_is_not_believed() {
    let (signers, notary) = usual();
    let mut revived = notary.envelope_until(&digest(), "2025-01-01T00:00:00Z");
    revived["protected"] = json!(encoded(&notary.protected()));
    assert_eq!(judged(&signers, &revived), Err(Flaw::Altered));
    let mut moved = notary.envelope(&Digest::sha256(b"another image"));
    moved["payload"] = json!(encoded(&payload(&digest())));
    assert_eq!(judged(&signers, &moved), Err(Flaw::Altered));
}

#[test]
fn what_is_critical_and_not_known_here_makes_it_no_signature() {
    let (signers, notary) = usual();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut protected = notary.protected();
        change(&mut protected);
        judged(&signers, &notary.signed(&protected, &payload(&digest())))
    };
    for name in [
        "com.example.only",
        "b64",
        "alg",
        EXPIRY,
        "io.cncf.notary.authenticSigningTime",
    ] {
        let found = changed(&|protected| protected["crit"] = json!([SCHEME, name]));
        assert_eq!(found, Err(Flaw::NotUnderstood), "{name}");
    }
    let plugin = |protected: &mut Value| protected["io.cncf.notary.verificationPlugin"] = json!("x");
    assert_eq!(changed(&plugin), Err(Flaw::NotUnderstood));
    let scheme = |protected: &mut Value| protected[SCHEME] = json!("notary.x509.signingAuthority");
    assert_eq!(changed(&scheme), Err(Flaw::NotUnderstood));
    // What has to be critical is.
    let lax = |protected: &mut Value| protected["crit"] = json!([]);
    assert_eq!(changed(&lax), Err(Flaw::Unreadable));
    let lax = |protected: &mut Value| protected[EXPIRY] = json!("2030-01-01T00:00:00Z");
    assert_eq!(changed(&lax), Err(Flaw::Unreadable));
    // What is not critical need not be known.
    let harmless = |protected: &mut Value| protected["com.example.note"] = json!("x");
    assert!(changed(&harmless).is_ok());
    for missing in ["alg", "cty", "crit", SCHEME, "io.cncf.notary.signingTime"] {
        let found = changed(&|protected| drop(protected.as_object_mut().unwrap().remove(missing)));
        assert_eq!(found, Err(Flaw::Unreadable), "{missing}");
    }
}

#[test]
fn of_those_an_authority_has_certified_only_who_is_meant_is_believed() {
    let root = Authority::new("root");
    let notary = root.certifies(&WAYS[0], |_| {});
    let envelope = notary.envelope(&digest());
    for (identities, is_meant) in [
        (&["C=DE, O=team"][..], true),
        (&["x509.subject: CN=builder"], true),
        (&["O=other", "O=team"], true),
        (&["O=other"], false),
        (&["O=team, OU=release"], false),
        (&["O=team, CN=builde"], false),
        (&["O=Team"], false),
    ] {
        let found = judged(&root.signers(identities), &envelope);
        assert_eq!(found.is_ok(), is_meant, "{identities:?}");
        let told = found.map_or_else(|flaw| flaw.to_string(), |_| String::new());
        let says = format!(
            "it was made by CN=builder, C=DE, O=team: expected one of {}",
            identities.join(", ")
        );
        assert!(is_meant || told == says, "{told}");
    }
}

#[test]
fn a_signer_who_is_believed_himself_needs_no_authority() {
    let (notary, signers) = Notary::alone(|_| {});
    assert!(judged(&signers, &notary.envelope(&digest())).is_ok());
    let (other, _) = Notary::alone(|_| {});
    let found = judged(&signers, &other.envelope(&digest()));
    assert_eq!(found, Err(Flaw::OtherSigner));
    let (server, signers) = Notary::alone(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let found = judged(&signers, &server.envelope(&digest()));
    assert_eq!(found, Err(Flaw::OtherUse));
}

#[test]
fn what_is_no_flattened_envelope_is_none() {
    let (signers, notary) = usual();
    let good = notary.envelope(&digest());
    let unreadable = |envelope: Value| assert_eq!(judged(&signers, &envelope), Err(Flaw::Unreadable));
    let changed = |key: &str, value: Value| {
        let mut envelope = good.clone();
        envelope[key] = value;
        envelope
    };
    unreadable(changed("signatures", json!([])));
    unreadable(changed("protected", json!("!")));
    unreadable(changed("header", json!({})));
    unreadable(changed("header", json!({"x5c": ["!"]})));
    unreadable(changed(
        "header",
        json!({"x5c": [STANDARD.encode(b"no certificate")]}),
    ));
    // More certificates than anybody needs (CVE-2023-46737 was of the same kind).
    let many = vec![STANDARD.encode(&notary.chain[2]); 10_000];
    unreadable(changed("header", json!({"x5c": many})));
    unreadable(json!([]));
    unreadable(json!({"payload": "", "signatures": [good]}));
}

/// Made once: what is changed in it is what matters.
static GOOD: LazyLock<(Signers, String)> = LazyLock::new(|| {
    let (signers, notary) = usual();
    let mut envelope = notary.envelope_until(&digest(), "2030-01-01T00:00:00Z");
    // What made it says what it likes.
    envelope["header"]
        .as_object_mut()
        .unwrap()
        .remove("io.cncf.notary.signingAgent");
    (signers, envelope.to_string())
});

proptest! {
    #[test]
    fn no_envelope_with_a_letter_changed_holds(at in any::<prop::sample::Index>(), letter in "[a-zA-Z0-9_+/=-]") {
        let (signers, good) = &*GOOD;
        let at = at.index(good.len());
        let changed = format!("{}{letter}{}", &good[..at], &good[at + 1..]);
        prop_assume!(changed != *good);
        let found = judge(signers, changed.as_bytes(), &digest(), now());
        prop_assert!(found.is_err(), "{at}: {changed}");
    }
}
