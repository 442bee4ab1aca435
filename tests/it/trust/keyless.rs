//! What is signed without a key is served if it was by somebody who is meant, and refused by name if it was by another.

use seawall::policy::access::Scope;
use seawall::policy::trust::cosign::Attached;
use seawall::policy::trust::keyless::Signers;
use seawall::policy::trust::{Rule, Rules};
use serde_json::json;

use super::signer::{attach, text_of};
use super::sigstore::{ISSUER, SUBJECT, Sigstore};
use super::{SOON, again, asked, assert_refused, pull};
use crate::support::registry::Registry;
use crate::support::seawall::Choices;
use crate::support::world::{image, world};

pub(super) fn choices(signers: Signers) -> Choices {
    let rule = Rule {
        repositories: vec![Scope::parse("docker.io/library/app").unwrap()],
        keyless: Some(signers),
        ..Rule::default()
    };
    Choices {
        trust: Rules::new(vec![rule]),
        ..Choices::default()
    }
}

fn put(registry: &Registry, digest: &seawall::oci::Digest, attached: &Attached) {
    use base64::Engine as _;
    let annotations = json!({
        "dev.cosignproject.cosign/signature": base64::engine::general_purpose::STANDARD.encode(&attached.signature),
        "dev.sigstore.cosign/certificate": attached.material.certificate,
        "dev.sigstore.cosign/bundle": attached.material.entry,
    });
    attach(registry, digest, text_of(digest), &annotations);
}

#[tokio::test(start_paused = true)]
async fn what_is_signed_without_a_key_is_served_and_to_those_who_believe_another_it_is_not() {
    let sigstore = Sigstore::default();
    let meant = || choices(sigstore.signers(SUBJECT));
    let world = world(meant());
    let signed = image(&world.registry, Some("1"), 1).manifest;
    assert_refused(&pull(&world, "1").await, "no signature is attached to it");
    put(&world.registry, &signed, &sigstore.sign(&signed));
    tokio::time::sleep(SOON).await;
    assert!(pull(&world, "1").await.is_good());
    let looked = |registry: &Registry| asked(registry, &http::Method::HEAD, ".sig");
    let before = looked(&world.registry);

    // The verdict is on disk: certificates of minutes hold for as long as the root of trust does.
    let world = again(world, meant()).await;
    assert!(pull(&world, signed).await.is_good());
    assert_eq!(looked(&world.registry), before);
    // Somebody else is meant, and then another root of trust is believed.
    let world = again(world, choices(sigstore.signers("https://github.com/other/.*"))).await;
    let says =
        format!("it was made by {SUBJECT} (issuer {ISSUER}): expected one of https://github.com/other/.*");
    assert_refused(&pull(&world, signed).await, &says);
    let stranger = Sigstore::default().signers(SUBJECT);
    let world = again(world, choices(stranger)).await;
    let says = "no transparency log that is trusted for this has promised to have recorded it";
    assert_refused(&pull(&world, signed).await, says);
}

#[tokio::test(start_paused = true)]
async fn a_signature_of_another_image_without_a_key_is_none_of_this() {
    let sigstore = Sigstore::default();
    let world = world(choices(sigstore.signers(".*")));
    let [first, second] = [1, 2].map(|seed| image(&world.registry, Some(&seed.to_string()), seed).manifest);
    let of_first = sigstore.sign(&first);
    put(&world.registry, &first, &of_first);
    // Its own text with the signature of another, and the text of another.
    put(&world.registry, &second, &of_first);
    assert_refused(
        &pull(&world, "2").await,
        "what the transparency log has recorded is another signature",
    );
    assert!(pull(&world, "1").await.is_good());
}
