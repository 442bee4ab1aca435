//! Certificates of those who sign without a key, and who vouches for them: which are believed, when, and of whom.

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType};
use seawall::policy::trust::Flaw;
use serde_json::{Value, json};

use super::notary::Authority;
use super::recorded::{digest, found_by, found_when, found_with, judged};
use super::signer::Signer;
use super::sigstore::{ISSUER, START, SUBJECT, Sigstore, answers, believed, issuer};

#[test]
fn somebody_who_is_certified_and_not_meant_is_named_beside_those_who_are() {
    let told = |identities: &[(&str, &str)]| match found_with(|_| {}, identities) {
        Ok(signed) => panic!("{}", signed.by),
        Err(flaw) => flaw.to_string(),
    };
    let expected = "https://github.com/other/.* (issuer https://token.actions.githubusercontent.com)";
    assert_eq!(
        told(&[(ISSUER, "https://github.com/other/.*")]),
        format!("it was made by {SUBJECT} (issuer {ISSUER}): expected one of {expected}")
    );
    // Another issuer may say the same of somebody else, and a part of a name is not the name.
    for (issuer, subject) in [
        ("https://token.actions.githubusercontent.com.evil.test", SUBJECT),
        ("https://token.actions.githubusercontent.co", SUBJECT),
        (ISSUER, "https://github.com/team"),
        (ISSUER, "team/app"),
        (ISSUER, "x|https://github.com/team/"),
    ] {
        assert!(
            told(&[(issuer, subject)]).contains("expected one of"),
            "{subject}"
        );
    }
    // Nobody is anybody.
    assert!(told(&[]).ends_with("expected one of "));
    let many = [(ISSUER, "a"); 9];
    assert!(told(&many).ends_with(", …"));
}

#[test]
fn a_certificate_that_does_not_name_one_person_names_nobody() {
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let meant = [(ISSUER, SUBJECT)];
    let two = |params: &mut CertificateParams| params.subject_alt_names.push(uri("https://evil.test"));
    assert_eq!(found_with(two, &meant), Err(Flaw::NotUnderstood));
    let host = |params: &mut CertificateParams| {
        params.subject_alt_names = vec![SanType::DnsName(SUBJECT.try_into().unwrap())];
    };
    assert_eq!(found_with(host, &meant), Err(Flaw::NotUnderstood));
    let none = |params: &mut CertificateParams| params.subject_alt_names.clear();
    assert_eq!(found_with(none, &meant), Err(Flaw::Unreadable));
    for extensions in [Vec::new(), vec![issuer(ISSUER), issuer("https://evil.test")]] {
        let found = found_with(|params| params.custom_extensions = extensions, &meant);
        assert_eq!(found, Err(Flaw::Unreadable));
    }
}

#[test]
fn a_certificate_is_good_when_the_log_has_recorded_it_and_not_before_or_after() {
    for (time, is_good) in [
        (START - 1, false),
        (START, true),
        (START + 600, true),
        (START + 601, false),
        (START + 86400, false),
    ] {
        let found = found_when(|_, made| made.time = time);
        assert_eq!(found.is_ok(), is_good, "{time}");
        assert!(is_good || found == Err(Flaw::OtherTime), "{time}: {found:?}");
    }
    // The authority has to be good as well, by what the root of trust says, and by its own certificate.
    for (from, until, is_good) in [
        ("2026-01-01T00:05:00Z", "2026-01-01T00:05:00Z", true),
        ("2026-01-01T00:05:00.001Z", "2027-01-01T00:00:00Z", false),
        ("2025-01-01T00:00:00Z", "2026-01-01T00:04:59.999Z", false),
    ] {
        let span = json!({ "start": from, "end": until });
        let found = found_by(|root| root["certificateAuthorities"][0]["validFor"] = span);
        assert_eq!(found.is_ok(), is_good, "{from} {until}");
        assert!(is_good || found == Err(Flaw::OtherTime));
    }
    let past = |params: &mut CertificateParams| params.not_after = rcgen::date_time_ymd(2025, 1, 1);
    for authority in [
        Authority::with("root", past).below("issuing", |_| {}),
        Authority::new("root").below("issuing", past),
    ] {
        let sigstore = Sigstore {
            authority,
            ..Sigstore::default()
        };
        let found = judged(&sigstore.signers(SUBJECT), &sigstore.sign(&digest()));
        assert_eq!(found, Err(Flaw::OtherTime));
    }
}

#[test]
fn an_authority_that_is_not_believed_certifies_nobody() {
    let (sigstore, other) = (Sigstore::default(), Sigstore::default());
    // Of the same names, and with the same logs.
    let stranger = Sigstore {
        authority: other.authority,
        ..Sigstore::default()
    };
    let mut root = sigstore.root();
    for key in ["tlogs", "ctlogs"] {
        root[key] = stranger.root()[key].clone();
    }
    let signers = believed(&root, &[(ISSUER, SUBJECT)]).unwrap();
    let attached = stranger.sign(&digest());
    assert_eq!(judged(&signers, &attached), Err(Flaw::OtherSigner));
    // One of several is enough, wherever it stands.
    let authorities = [&root, &stranger.root()].map(|root| root["certificateAuthorities"][0].clone());
    for order in [[0, 1], [1, 0]] {
        root["certificateAuthorities"] = json!(order.map(|at| authorities[at].clone()));
        let signers = believed(&root, &[(ISSUER, SUBJECT)]).unwrap();
        assert!(judged(&signers, &attached).is_ok(), "{order:?}");
    }
}

#[test]
fn a_certificate_for_something_else_signs_no_image() {
    use ExtendedKeyUsagePurpose as Purpose;
    let meant = [(ISSUER, SUBJECT)];
    for purposes in [
        Vec::new(),
        vec![Purpose::ServerAuth],
        vec![Purpose::CodeSigning, Purpose::ServerAuth],
    ] {
        let found = found_with(|params| params.extended_key_usages = purposes.clone(), &meant);
        assert_eq!(found, Err(Flaw::OtherUse), "{purposes:?}");
    }
    let usage = |params: &mut CertificateParams| params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    assert_eq!(found_with(usage, &meant), Err(Flaw::OtherUse));
}

#[test]
fn a_certificate_that_no_log_has_seen_is_not_believed_where_one_has_to() {
    let found = |answer: &dyn Fn(&Sigstore, &[u8]) -> Vec<u8>, change: &dyn Fn(&mut Value)| {
        let sigstore = Sigstore::default();
        let person = sigstore.certifies_seen(|_| {}, |shown| answer(&sigstore, shown));
        let mut root = sigstore.root();
        change(&mut root);
        let signers = believed(&root, &[(ISSUER, SUBJECT)]).unwrap();
        judged(&signers, &sigstore.record(sigstore.make(&person, &digest())))
    };
    let seen = |sigstore: &Sigstore, shown: &[u8]| {
        answers(&sigstore.witness, START * 1000, &sigstore.authority, shown)
    };
    let none = |_: &Sigstore, _: &[u8]| Vec::new();
    let is_as_ever = |_: &mut Value| {};
    assert!(found(&seen, &is_as_ever).is_ok());
    assert_eq!(found(&none, &is_as_ever), Err(Flaw::Unwitnessed));
    // Where no log has to, none is asked for.
    assert!(found(&none, &|root| root["ctlogs"] = json!([])).is_ok());
    let stranger = Signer::default();
    let by_another =
        |sigstore: &Sigstore, shown: &[u8]| answers(&stranger, START * 1000, &sigstore.authority, shown);
    assert_eq!(found(&by_another, &is_as_ever), Err(Flaw::Unwitnessed));
    // The answer of another certificate, and of one that another authority was about to issue.
    let of_another = |sigstore: &Sigstore, shown: &[u8]| {
        let mut other = shown.to_vec();
        *other.last_mut().unwrap() ^= 1;
        answers(&sigstore.witness, START * 1000, &sigstore.authority, &other)
    };
    assert_eq!(found(&of_another, &is_as_ever), Err(Flaw::Unwitnessed));
    let to_another = |sigstore: &Sigstore, shown: &[u8]| {
        answers(&sigstore.witness, START * 1000, &Authority::new("issuing"), shown)
    };
    assert_eq!(found(&to_another, &is_as_ever), Err(Flaw::Unwitnessed));
    // An answer of another version, and one that names another log.
    for (at, change) in [(6, 1), (7, 0xff)] {
        let changed = |sigstore: &Sigstore, shown: &[u8]| {
            let mut answers = seen(sigstore, shown);
            answers[at] ^= change;
            answers
        };
        assert_eq!(found(&changed, &is_as_ever), Err(Flaw::Unwitnessed), "{at}");
    }
    for (from, until, is_good) in [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", true),
        ("2026-01-01T00:00:00.001Z", "2027-01-01T00:00:00Z", false),
        ("2025-01-01T00:00:00Z", "2025-12-31T23:59:59.999Z", false),
    ] {
        let span = json!({ "start": from, "end": until });
        let found = found(&seen, &|root| {
            root["ctlogs"][0]["publicKey"]["validFor"] = span.clone()
        });
        assert_eq!(found.is_ok(), is_good, "{from} {until}");
    }
}

#[test]
fn a_file_that_is_no_root_of_trust_is_refused_with_the_part_that_is_not() {
    let root = Sigstore::default().root();
    let refused = |change: &dyn Fn(&mut Value), says: &str| {
        let mut changed = root.clone();
        change(&mut changed);
        let told = believed(&changed, &[(ISSUER, SUBJECT)]).unwrap_err().to_string();
        assert!(told.contains(says), "{says} in {told}");
    };
    refused(&|root| *root = json!([]), "invalid length");
    refused(
        &|root| root["mediaType"] = json!("text/plain"),
        "its mediaType is \"text/plain\"",
    );
    refused(&|root| root["tlogs"] = json!([]), "there are no tlogs");
    refused(
        &|root| root["certificateAuthorities"] = json!([]),
        "there are no certificateAuthorities",
    );
    let many = |root: &mut Value| root["ctlogs"] = json!(vec![root["ctlogs"][0].clone(); 33]);
    refused(&many, "more than 32 ctlogs");
    refused(
        &|root| root["ctlogs"][0]["publicKey"]["rawBytes"] = json!("!"),
        "ctlogs[0]: rawBytes is no base64",
    );
    refused(
        &|root| root["tlogs"][0]["publicKey"]["rawBytes"] = json!("AAAA"),
        "tlogs[0]: it is no public key",
    );
    let span = json!({ "start": "yesterday" });
    refused(
        &|root| root["tlogs"][0]["publicKey"]["validFor"] = span.clone(),
        "tlogs[0]: validFor",
    );
    let chain = |certificates: Value| {
        move |root: &mut Value| {
            root["certificateAuthorities"][0]["certChain"]["certificates"] = certificates.clone()
        }
    };
    refused(&chain(json!([])), "certificateAuthorities[0]: certChain is empty");
    refused(
        &chain(json!([{ "rawBytes": "AAAA" }])),
        "something else than certificates",
    );
    let first = root["certificateAuthorities"][0]["certChain"]["certificates"][0].clone();
    refused(&chain(json!(vec![first; 8])), "more than 7 certificates");
}
