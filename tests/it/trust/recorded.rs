//! Signatures without a key, each good or forged in one way: which are believed, by whom, and of what.

use std::sync::LazyLock;

use proptest::prelude::*;
use rcgen::{CertificateParams, SanType};
use seawall::oci::Digest;
use seawall::policy::trust::cosign::Attached;
use seawall::policy::trust::keyless::Signers;
use seawall::policy::trust::{Flaw, Rule, Signed, judge_text};
use serde_json::{Value, json};

use super::signer::{Signer, text_of};
use super::sigstore::{ISSUER, Made, RECORDED, SUBJECT, Sigstore, believed, issuer, name, old_issuer, pem};

pub(super) fn digest() -> Digest {
    Digest::sha256(b"an image")
}

pub(super) fn rule(signers: Signers) -> Rule {
    Rule {
        keyless: Some(signers),
        ..Rule::default()
    }
}

pub(super) fn judged(signers: &Signers, attached: &Attached) -> Result<Signed, Flaw> {
    judge_text(
        &rule(signers.clone()),
        attached,
        text_of(&digest()).as_bytes(),
        &digest(),
    )
}

/// What is found of a signature that is changed before it is recorded.
pub(super) fn found_when(change: impl FnOnce(&Sigstore, &mut Made)) -> Result<Signed, Flaw> {
    let sigstore = Sigstore::default();
    let mut made = sigstore.make(&sigstore.certifies(|_| {}), &digest());
    change(&sigstore, &mut made);
    judged(&sigstore.signers(SUBJECT), &sigstore.record(made))
}

/// What is found of one whose certificate is changed, by those who believe these.
pub(super) fn found_with(
    change: impl FnOnce(&mut CertificateParams),
    identities: &[(&str, &str)],
) -> Result<Signed, Flaw> {
    let sigstore = Sigstore::default();
    let made = sigstore.make(&sigstore.certifies(change), &digest());
    judged(
        &believed(&sigstore.root(), identities).unwrap(),
        &sigstore.record(made),
    )
}

/// What is found of a good one when the root of trust is changed.
pub(super) fn found_by(change: impl FnOnce(&mut Value)) -> Result<Signed, Flaw> {
    let sigstore = Sigstore::default();
    let mut root = sigstore.root();
    change(&mut root);
    let signers = believed(&root, &[(ISSUER, SUBJECT)]).unwrap();
    judged(&signers, &sigstore.sign(&digest()))
}

/// What is found of one whose entry is changed after it was promised.
pub(super) fn found_after(change: impl FnOnce(&mut Value)) -> Result<Signed, Flaw> {
    let sigstore = Sigstore::default();
    let mut attached = sigstore.sign(&digest());
    let mut entry: Value = serde_json::from_str(attached.material.entry.as_ref().unwrap()).unwrap();
    change(&mut entry);
    attached.material.entry = Some(entry.to_string());
    judged(&sigstore.signers(SUBJECT), &attached)
}

#[test]
fn what_somebody_who_is_meant_has_signed_holds_for_as_long_as_the_root_of_trust_is_believed() {
    let sigstore = Sigstore::default();
    let signed = judged(&sigstore.signers(SUBJECT), &sigstore.sign(&digest())).unwrap();
    let by = format!("{SUBJECT} (issuer {ISSUER}), recorded at 2026-01-01T00:05:00.000Z");
    assert_eq!((signed.by, signed.until), (by, None));
    // Any of those who are meant, by mail or by URI, and by whom a certificate of before says it.
    let mail = |params: &mut CertificateParams| {
        params.subject_alt_names = vec![SanType::Rfc822Name("a@team.test".try_into().unwrap())];
        params.custom_extensions = vec![old_issuer("https://mail.test")];
    };
    let identities = [(ISSUER, SUBJECT), ("https://mail.test", r".*@team\.test")];
    assert!(found_with(mail, &identities).is_ok());
    // Where both forms are there, the newer one says it.
    let both = |params: &mut CertificateParams| {
        params.custom_extensions = vec![old_issuer("https://evil.test"), issuer(ISSUER)];
    };
    assert!(found_with(both, &[(ISSUER, SUBJECT)]).is_ok());
    let found = found_with(both, &[("https://evil.test", SUBJECT)]);
    assert!(matches!(found, Err(Flaw::OtherIdentity(_))), "{found:?}");
}

#[test]
fn what_is_signed_is_the_image_and_by_the_key_of_the_certificate() {
    let sigstore = Sigstore::default();
    let signers = sigstore.signers(SUBJECT);
    let other = Digest::sha256(b"another image");
    let attached = sigstore.sign(&other);
    let of_other = judge_text(
        &rule(signers.clone()),
        &attached,
        text_of(&other).as_bytes(),
        &digest(),
    );
    assert_eq!(of_other, Err(Flaw::OtherDigest));
    let person = sigstore.certifies(|_| {});
    let text = text_of(&digest()).replace("cosign container", "atomic container");
    let attached = sigstore.record(person.makes(text.clone(), &sigstore.log));
    let kind = judge_text(&rule(signers), &attached, text.as_bytes(), &digest());
    assert_eq!(kind, Err(Flaw::OtherKind));
    // Recorded by a log that does not look: by somebody else's key, with the certificate of who is meant.
    let found = found_when(|sigstore, made| {
        let stranger = sigstore.make(&sigstore.certifies(|_| {}), &digest());
        let certificate = made.body["spec"]["signature"]["publicKey"].clone();
        made.body = stranger.body;
        made.body["spec"]["signature"]["publicKey"] = certificate;
        made.signature = stranger.signature;
    });
    assert_eq!(found, Err(Flaw::Altered));
}

#[test]
fn an_entry_that_records_another_signature_is_none_of_this_one() {
    let other = |sigstore: &Sigstore| sigstore.make(&sigstore.certifies(|_| {}), &digest());
    let found = found_when(|sigstore, made| {
        made.body["spec"]["signature"]["content"] =
            other(sigstore).body["spec"]["signature"]["content"].clone();
    });
    assert_eq!(found, Err(Flaw::OtherEntry), "another signature");
    let found = found_when(|sigstore, made| {
        made.body["spec"]["signature"]["publicKey"] =
            other(sigstore).body["spec"]["signature"]["publicKey"].clone();
    });
    assert_eq!(found, Err(Flaw::OtherEntry), "another certificate");
    for (algorithm, value) in [
        ("sha256", Digest::sha256(b"another text").hex()),
        ("sha512", Digest::sha256(text_of(&digest()).as_bytes()).hex()),
    ] {
        let hash = json!({ "algorithm": algorithm, "value": value });
        let found = found_when(|_, made| made.body["spec"]["data"]["hash"] = hash);
        assert_eq!(found, Err(Flaw::OtherEntry), "{algorithm}");
    }
    for (key, value) in [("kind", "rekord"), ("kind", "dsse"), ("apiVersion", "0.0.2")] {
        let found = found_when(|_, made| made.body[key] = json!(value));
        assert_eq!(found, Err(Flaw::NotUnderstood), "{key} {value}");
    }
    // That stands beside the signature is what is looked at, and what is recorded has to be it.
    let found = found_when(|sigstore, made| made.certificate = other(sigstore).certificate);
    assert_eq!(found, Err(Flaw::OtherEntry), "another certificate beside it");
}

#[test]
fn what_no_log_that_is_believed_has_promised_is_not_recorded() {
    let stranger = Signer::default();
    for claims_another in [false, true] {
        let sigstore = Sigstore::default();
        let mut made = sigstore.make(&sigstore.certifies(|_| {}), &digest());
        if claims_another {
            made.log = name(&stranger);
        }
        let found = judged(&sigstore.signers(SUBJECT), &made.recorded_by(&stranger));
        assert_eq!(found, Err(Flaw::Unlogged));
    }
    // Promised by one that is believed, in the name of another.
    let found = found_when(|_, made| made.log = name(&stranger));
    assert_eq!(found, Err(Flaw::Unlogged));
    // The log's own words, changed.
    for (key, value) in [
        ("integratedTime", json!(RECORDED + 1)),
        ("logIndex", json!(8)),
        ("logID", json!(name(&stranger))),
        ("body", json!("e30=")),
    ] {
        let found = found_after(|entry| entry["Payload"][key] = value);
        assert_eq!(found, Err(Flaw::Unlogged), "{key}");
    }
    let found = found_after(|entry| entry["SignedEntryTimestamp"] = json!(""));
    assert_eq!(found, Err(Flaw::Unlogged));
    // One that was believed before, or will be.
    for (from, until, is_good) in [
        ("2026-01-01T00:05:00Z", "2026-01-01T00:05:00Z", true),
        ("2026-01-01T00:05:00.001Z", "2027-01-01T00:00:00Z", false),
        ("2025-01-01T00:00:00Z", "2026-01-01T00:04:59.999Z", false),
    ] {
        let span = json!({ "start": from, "end": until });
        let found = found_by(|root| root["tlogs"][0]["publicKey"]["validFor"] = span);
        assert_eq!(found.is_ok(), is_good, "{from} {until}");
        assert!(is_good || found == Err(Flaw::Unlogged));
    }
}

#[test]
fn what_comes_without_a_certificate_or_without_an_entry_is_none() {
    let sigstore = Sigstore::default();
    let signers = sigstore.signers(SUBJECT);
    let good = sigstore.sign(&digest());
    let changed = |change: &dyn Fn(&mut Attached)| {
        let mut attached = good.clone();
        change(&mut attached);
        judged(&signers, &attached)
    };
    assert!(changed(&|_| {}).is_ok());
    assert_eq!(
        changed(&|it| it.material.certificate = None),
        Err(Flaw::OtherSigner)
    );
    assert_eq!(changed(&|it| it.material.entry = None), Err(Flaw::Unlogged));
    for unreadable in ["", "{}", "[]", "nothing"] {
        let text = || Some(unreadable.to_owned());
        assert_eq!(
            changed(&|it| it.material.certificate = text()),
            Err(Flaw::Unreadable)
        );
        assert_eq!(changed(&|it| it.material.entry = text()), Err(Flaw::Unreadable));
    }
    let no_certificate = |it: &mut Attached| it.material.certificate = Some(pem(b"no certificate"));
    assert!(changed(&no_certificate).is_err());
}

#[test]
fn where_a_key_is_believed_as_well_each_is_enough() {
    let sigstore = Sigstore::default();
    let person = sigstore.certifies(|_| {});
    let good = sigstore.record(sigstore.make(&person, &digest()));
    let text = text_of(&digest());
    let judged = |rule: &Rule| judge_text(rule, &good, text.as_bytes(), &digest());
    let other = sigstore.signers("somebody else");
    let by = |keys, keyless| {
        let rule = Rule {
            keys,
            keyless,
            ..Rule::default()
        };
        judged(&rule)
    };
    let stranger = || vec![Signer::default().key()];
    assert_eq!(
        by(vec![person.key()], Some(other.clone())).unwrap().by,
        "somebody's"
    );
    assert!(by(stranger(), Some(sigstore.signers(SUBJECT))).is_ok());
    let neither = by(stranger(), Some(other));
    assert!(matches!(neither, Err(Flaw::OtherIdentity(_))), "{neither:?}");
    assert_eq!(by(Vec::new(), None), Err(Flaw::OtherSigner));
}

/// Made once: what is changed in it is what matters.
static GOOD: LazyLock<(Signers, Attached)> = LazyLock::new(|| {
    let sigstore = Sigstore::default();
    (sigstore.signers(SUBJECT), sigstore.sign(&digest()))
});

proptest! {
    #[test]
    fn no_entry_and_no_certificate_with_a_letter_changed_holds(
        at in any::<prop::sample::Index>(), letter in "[a-zA-Z0-9+/=\"{}:-]", in_entry in any::<bool>(),
    ) {
        let (signers, good) = &*GOOD;
        let mut changed = good.clone();
        let material = &mut changed.material;
        let part = if in_entry { &mut material.entry } else { &mut material.certificate };
        let part = part.as_mut().unwrap();
        let at = at.index(part.len());
        // The lines around a certificate may be longer, or none of it: what they hold is what counts.
        let is_frame = !in_entry && (at < 28 || at + 28 > part.len());
        part.replace_range(at..=at, &letter);
        prop_assume!(changed != *good);
        let found = judged(signers, &changed);
        prop_assert!(found.is_err() || is_frame, "{at}: {changed:?}");
    }

    #[test]
    fn no_signature_with_a_bit_changed_holds(at in any::<prop::sample::Index>(), bit in 0_u32..8) {
        let (signers, good) = &*GOOD;
        let mut changed = good.clone();
        let at = at.index(changed.signature.len());
        changed.signature[at] ^= 1_u8 << bit;
        prop_assert!(judged(signers, &changed).is_err());
    }
}
