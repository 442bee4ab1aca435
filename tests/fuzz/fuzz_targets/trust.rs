//! What is attached to images: whatever a registry sends in place of a signature, reading it ends, no more is looked at
//! than is bounded, and nothing makes anybody a signer who has signed nothing.
#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;
use seawall::clock::Time;
use seawall::oci::Digest;
use seawall::policy::trust::notation::Signers;
use seawall::policy::trust::{self, Authority, Envelope, Key, Rule, cosign};

/// What stands before an Ed25519 key in its `SubjectPublicKeyInfo`.
const ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A rule that believes a key of which nobody has the other half.
static RULE: LazyLock<Rule> = LazyLock::new(|| Rule {
    keys: vec![Key::new("nobody's".to_owned(), [&ED25519[..], &[7; 32]].concat()).expect("it is a key")],
    notation: Some(Signers::default()),
    ..Rule::default()
});

fuzz_target!(|data: &[u8]| {
    let (digest, now) = (Digest::sha256(b"an image"), Time::from_millis(1_800_000_000_000));
    assert!(trust::candidates(data, &RULE).len() <= trust::MOST_ATTACHED);
    assert!(cosign::attached(data).len() <= trust::MOST_SIGNATURES);
    let _ = (trust::is_attachment(data), trust::envelope(data, &digest));
    assert!(cosign::judge(&RULE.keys, data, data, &digest).is_err());
    for envelope in [Envelope::Bundle(digest), Envelope::Jws(digest)] {
        assert!(trust::judge(&RULE, envelope, data, &digest, now).is_err());
    }
    // As a certificate: of a stranger, and of one who is believed but has signed nothing.
    let header = URL_SAFE_NO_PAD.encode(
        r#"{"alg":"ES256","cty":"application/vnd.cncf.notary.payload.v1+json","crit":[],"io.cncf.notary.signingScheme":"notary.x509"}"#,
    );
    let made = STANDARD.encode(data);
    let jws = format!(r#"{{"payload":"e30","protected":"{header}","header":{{"x5c":["{made}"]}},"signature":"AAAA"}}"#);
    let believed = Authority::new(data.to_vec()).into_iter().collect();
    for authorities in [Vec::new(), believed] {
        let rule = Rule {
            notation: Some(Signers { authorities, ..Signers::default() }),
            ..Rule::default()
        };
        let judged = trust::judge(&rule, Envelope::Jws(digest), jws.as_bytes(), &digest, now);
        assert!(judged.is_err());
    }
});
