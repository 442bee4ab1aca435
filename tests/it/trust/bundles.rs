//! Bundles of those who sign without a key, each good or forged in one way: what the newer form adds to the older.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use seawall::clock::Time;
use seawall::oci::Digest;
use seawall::policy::trust::keyless::Signers;
use seawall::policy::trust::{Envelope, Flaw, Rule, Signed, judge};
use serde_json::{Value, json};

use super::keyless::choices;
use super::recorded::digest;
use super::signer::{Signer, attach_bundle, statement_of};
use super::sigstore::{ISSUER, SUBJECT, Sigstore, checkpoint, enveloped, name};
use super::{SOON, assert_refused, pull};
use crate::support::world::{image, world};

fn judged(signers: &Signers, bundle: &str) -> Result<Signed, Flaw> {
    let rule = Rule {
        keyless: Some(signers.clone()),
        ..Rule::default()
    };
    let now = Time::parse("2030-01-01T00:00:00Z").unwrap();
    judge(
        &rule,
        Envelope::Bundle(digest()),
        bundle.as_bytes(),
        &digest(),
        now,
    )
}

/// What is found of one that is changed after it was made.
fn found(change: impl FnOnce(&Sigstore, &mut Value)) -> Result<Signed, Flaw> {
    let sigstore = Sigstore::default();
    let mut bundle = sigstore.bundle(&digest());
    change(&sigstore, &mut bundle);
    judged(&sigstore.signers(SUBJECT), &bundle.to_string())
}

/// The only entry of a bundle.
fn entry(bundle: &mut Value) -> &mut Value {
    &mut bundle["verificationMaterial"]["tlogEntries"][0]
}

#[test]
fn a_bundle_of_somebody_who_is_meant_holds_with_its_promise_and_its_proof() {
    let signed = found(|_, _| {}).unwrap();
    assert_eq!(
        signed.by,
        format!("{SUBJECT} (issuer {ISSUER}), recorded at 2026-01-01T00:05:00.000Z")
    );
    // As it was before 0.3: a chain of certificates, a number in place of a text, no proof.
    let older = |_: &Sigstore, bundle: &mut Value| {
        let certificate = bundle["verificationMaterial"]["certificate"].take();
        bundle["verificationMaterial"]["x509CertificateChain"] = json!({ "certificates": [certificate] });
        entry(bundle)["logIndex"] = json!(7);
        entry(bundle).as_object_mut().unwrap().remove("inclusionProof");
    };
    assert!(found(older).is_ok());
    // One of several entries is enough.
    let several = |sigstore: &Sigstore, bundle: &mut Value| {
        let good = entry(bundle).clone();
        let mut other = entry(&mut sigstore.bundle(&digest())).clone();
        other["integratedTime"] = json!("5");
        bundle["verificationMaterial"]["tlogEntries"] = json!([other, good]);
    };
    assert!(found(several).is_ok());
}

#[test]
fn a_bundle_is_only_of_what_it_was_made_for() {
    let sigstore = Sigstore::default();
    let signers = sigstore.signers(SUBJECT);
    let other = sigstore.bundle(&Digest::sha256(b"another image")).to_string();
    assert_eq!(judged(&signers, &other), Err(Flaw::OtherDigest));
    let provenance = statement_of(&digest()).replace(
        "https://sigstore.dev/cosign/sign/v1",
        "https://slsa.dev/provenance/v1",
    );
    let provenance = enveloped(&sigstore, &sigstore.certifies(|_| {}), &provenance).to_string();
    assert_eq!(judged(&signers, &provenance), Err(Flaw::OtherKind));
    let stranger = sigstore.signers("https://github.com/other/.*");
    let found = judged(&stranger, &sigstore.bundle(&digest()).to_string());
    assert!(matches!(found, Err(Flaw::OtherIdentity(_))), "{found:?}");
    // Made with a key: there is nobody to name.
    let with_key = |_: &Sigstore, bundle: &mut Value| {
        bundle["verificationMaterial"] = json!({ "publicKey": { "hint": "x" } });
    };
    assert_eq!(self::found(with_key), Err(Flaw::OtherSigner));
}

#[test]
fn an_entry_of_another_envelope_is_none_of_this_one() {
    let of_another = |sigstore: &Sigstore, bundle: &mut Value| {
        *entry(bundle) = entry(&mut sigstore.bundle(&digest())).clone();
    };
    assert_eq!(found(of_another), Err(Flaw::OtherEntry));
    for (what, value) in [
        (
            "payloadHash",
            json!({ "algorithm": "sha256", "value": Digest::sha256(b"other").hex() }),
        ),
        ("signatures", json!([])),
    ] {
        let sigstore = Sigstore::default();
        let person = sigstore.certifies(|_| {});
        let mut made = super::sigstore::make_envelope(&sigstore, &person, &statement_of(&digest()));
        made.body["spec"][what] = value;
        let bundle = made.bundled_by(&sigstore.log, &statement_of(&digest()));
        let found = judged(&sigstore.signers(SUBJECT), &bundle.to_string());
        assert_eq!(found, Err(Flaw::OtherEntry), "{what}");
    }
    let two = |_: &Sigstore, bundle: &mut Value| {
        let one = bundle["dsseEnvelope"]["signatures"][0].clone();
        bundle["dsseEnvelope"]["signatures"] = json!([one, one]);
    };
    assert_eq!(found(two), Err(Flaw::Unreadable));
}

#[test]
fn what_comes_without_a_promise_has_no_time_and_without_an_entry_no_log() {
    let no_promise = |_: &Sigstore, bundle: &mut Value| {
        entry(bundle).as_object_mut().unwrap().remove("inclusionPromise");
    };
    assert_eq!(found(no_promise), Err(Flaw::Untimed));
    let no_entry =
        |_: &Sigstore, bundle: &mut Value| bundle["verificationMaterial"]["tlogEntries"] = json!([]);
    assert_eq!(found(no_entry), Err(Flaw::Unlogged));
    let forged = |_: &Sigstore, bundle: &mut Value| {
        entry(bundle)["inclusionPromise"]["signedEntryTimestamp"] = json!("AAAA");
    };
    assert_eq!(found(forged), Err(Flaw::Unlogged));
}

#[test]
fn a_proof_that_is_there_has_to_hold() {
    let changed = |change: &dyn Fn(&Sigstore, &mut Value)| {
        found(|sigstore, bundle| change(sigstore, &mut entry(bundle)["inclusionProof"]))
    };
    assert!(changed(&|_, _| {}).is_ok());
    for (key, value) in [
        ("logIndex", json!("0")),
        ("treeSize", json!("4")),
        ("hashes", json!([])),
        ("hashes", json!(vec![STANDARD.encode([0; 32]); 2])),
    ] {
        let found = changed(&|_, proof| proof[key] = value.clone());
        assert_eq!(found, Err(Flaw::Unlogged), "{key} {value}");
    }
    // A head that somebody else has signed, of another tree, or that is named as the log's.
    let envelope = |proof: &Value| proof["checkpoint"]["envelope"].as_str().unwrap().to_owned();
    let by_another = |_: &Sigstore, proof: &mut Value| {
        let text = envelope(proof);
        let text = text.split_once("\n\n").unwrap().0;
        proof["checkpoint"]["envelope"] = json!(checkpoint(&Signer::default(), &format!("{text}\n")));
    };
    assert_eq!(changed(&by_another), Err(Flaw::Unlogged));
    let named = |sigstore: &Sigstore, proof: &mut Value| {
        let hint = |log: &Signer| STANDARD.encode(Digest::sha256(log.key().der()).as_bytes());
        assert_ne!(hint(&sigstore.log), name(&sigstore.log));
        let text = envelope(proof).replacen("\n3\n", "\n03\n", 1);
        proof["checkpoint"]["envelope"] = json!(text);
    };
    assert_eq!(changed(&named), Err(Flaw::Unlogged));
    let other_tree = |sigstore: &Sigstore, proof: &mut Value| {
        let root = STANDARD.encode([1; 32]);
        proof["checkpoint"]["envelope"] = json!(checkpoint(&sigstore.log, &format!("log.test\n3\n{root}\n")));
    };
    assert_eq!(changed(&other_tree), Err(Flaw::Unlogged));
    for text in ["", "\n\n", "log.test\n3\n\n\u{2014} log.test AAAA\n"] {
        let found = changed(&|_, proof| proof["checkpoint"]["envelope"] = json!(text));
        assert_eq!(found, Err(Flaw::Unlogged), "{text:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bundle_without_a_key_is_found_among_the_referrers() {
    let sigstore = Sigstore::default();
    let world = world(choices(sigstore.signers(SUBJECT)));
    let [first, second] = [1, 2].map(|seed| image(&world.registry, Some(&seed.to_string()), seed).manifest);
    let bundle = sigstore.bundle(&first).to_string();
    attach_bundle(&world.registry, &first, bundle.clone());
    attach_bundle(&world.registry, &second, bundle);
    assert!(pull(&world, "1").await.is_good());
    assert_refused(&pull(&world, "2").await, "it was made for another digest");
    attach_bundle(&world.registry, &second, sigstore.bundle(&second).to_string());
    tokio::time::sleep(SOON).await;
    assert!(pull(&world, "2").await.is_good());
}

/// Made once: what is changed in it is what matters.
static GOOD: LazyLock<(Signers, String)> = LazyLock::new(|| {
    let sigstore = Sigstore::default();
    (sigstore.signers(SUBJECT), sigstore.bundle(&digest()).to_string())
});

proptest! {
    #[test]
    fn no_bundle_with_a_letter_changed_says_anything_else(
        at in any::<prop::sample::Index>(), letter in "[a-zA-Z0-9+/=\"{}:-]",
    ) {
        let (signers, good) = &*GOOD;
        let at = at.index(good.len());
        let mut changed = good.clone();
        if changed.is_char_boundary(at) && changed.is_char_boundary(at + 1) {
            changed.replace_range(at..=at, &letter);
        }
        // What nobody looks at may be anything: the names of what is not asked for, say.
        let whole = judged(signers, good).unwrap();
        let found = judged(signers, &changed);
        prop_assert!(found.as_ref().map_or(true, |signed| *signed == whole), "{at}: {found:?}");
    }
}
