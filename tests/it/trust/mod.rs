//! What has to be signed is served if it is, and refused in words if it is not.
//!
//! The registry is the tests' own, the signatures are real: made here, in the forms in which cosign attaches them.

mod age;
#[cfg(feature = "keyless")]
mod bundles;
#[cfg(feature = "keyless")]
mod certified;
mod envelopes;
#[cfg(feature = "keyless")]
mod keyless;
mod nearly;
mod notary;
mod notation;
#[cfg(feature = "keyless")]
mod recorded;
mod signer;
#[cfg(feature = "keyless")]
mod sigstore;
mod ways;

use std::time::Duration;

use http::{Method, StatusCode};
use seawall::oci::Digest;
use seawall::policy::access::Scope;
use seawall::policy::trust::{Key, Rule, Rules};

use self::signer::Signer;
use crate::support::registry::{Registry, Script};
use crate::support::seawall::{Answer, Choices, Seawall};
use crate::support::world::{
    OCI_INDEX, OCI_MANIFEST, World, blob_path, image, image_in, manifest_path, world,
};

/// Longer than "not signed" is repeated, and "not found".
const SOON: Duration = Duration::from_secs(31);
/// Longer than a tag is fresh.
const LATER: Duration = Duration::from_secs(301);

fn choices(keys: Vec<Key>) -> Choices {
    let rule = Rule {
        repositories: vec![Scope::parse("docker.io/library/app").unwrap()],
        keys,
        ..Rule::default()
    };
    Choices {
        trust: Rules::new(vec![rule]),
        ..Choices::default()
    }
}

/// A Seawall that wants `library/app` signed, and who is believed.
fn start() -> (World, Signer) {
    let signer = Signer::default();
    (world(choices(vec![signer.key()])), signer)
}

async fn pull(world: &World, reference: impl std::fmt::Display) -> Answer {
    world.seawall.get(&manifest_path(reference)).await
}

/// The same world, after a start with other choices.
async fn again(world: World, choices: Choices) -> World {
    let (registry, directory) = world.stop().await;
    let seawall = Seawall::start(directory.path(), &registry, choices).into();
    World {
        registry,
        seawall,
        directory,
    }
}

/// The request was refused, in words that say this.
fn assert_refused(answer: &Answer, why: &str) {
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{text}");
    assert!(
        text.contains("\"DENIED\"") && text.contains("is not signed as the operator"),
        "{text}"
    );
    assert!(text.contains(why), "{why} in {text}");
}

/// How often something was asked for.
fn asked(registry: &Registry, method: &Method, suffix: &str) -> usize {
    registry.seen(method, suffix).len()
}

#[tokio::test(start_paused = true)]
async fn what_is_not_signed_is_refused_by_tag_and_digest_and_is_not_looked_into_at_every_request() {
    let (world, _) = start();
    let image = image(&world.registry, Some("1"), 1);
    assert_refused(&pull(&world, "1").await, "no signature is attached to it");
    let asked = world.registry.journal().len();
    assert_refused(
        &pull(&world, image.manifest).await,
        "no signature is attached to it",
    );
    assert_refused(&pull(&world, "1").await, "no signature is attached to it");
    for reference in ["1".to_owned(), image.manifest.to_string()] {
        let head = world
            .seawall
            .ask(Method::HEAD, &manifest_path(reference), &[])
            .await;
        assert_eq!(head.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(world.registry.journal().len(), asked);
}

#[tokio::test(start_paused = true)]
async fn what_is_signed_is_served_and_the_signature_is_looked_at_once() {
    let (world, signer) = start();
    let image = image(&world.registry, Some("1"), 1);
    signer.sign_by_tag(&world.registry, &image.manifest);
    assert!(pull(&world, "1").await.is_good());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = world.registry.journal().len();
    for _ in 0..3 {
        let again = pull(&world, "1").await;
        assert_eq!(
            (again.is_good(), again.header("cache-status")),
            (true, "seawall; hit")
        );
        assert!(pull(&world, image.manifest).await.is_good());
    }
    tokio::time::sleep(SOON).await;
    assert!(pull(&world, image.manifest).await.is_good());
    assert_eq!(world.registry.journal().len(), before);

    // The verdict is on disk, and the rule is the same: nobody looks for it.
    let world = again(world, choices(vec![signer.key()])).await;
    let looked = |world: &World| asked(&world.registry, &Method::HEAD, ".sig");
    assert!(pull(&world, image.manifest).await.is_good());
    assert_eq!(looked(&world), 1);
    // Another rule believes somebody else.
    let world = again(world, choices(vec![Signer::default().key()])).await;
    let answer = pull(&world, image.manifest).await;
    assert_refused(&answer, "nobody who is trusted for this has made it");
    assert_eq!(looked(&world), 2);
}

#[tokio::test(start_paused = true)]
async fn a_signature_by_another_key_or_of_another_image_is_none() {
    let (world, signer) = start();
    let first = image(&world.registry, Some("1"), 1);
    Signer::default().sign_by_tag(&world.registry, &first.manifest);
    assert_refused(
        &pull(&world, "1").await,
        "but nobody who is trusted for this has made it",
    );
    let second = image(&world.registry, Some("2"), 2);
    signer.sign_as(&world.registry, &second.manifest, &first.manifest);
    assert_refused(&pull(&world, "2").await, "but it was made for another digest");
    // In a registry that lists referrers.
    let (world, _) = start();
    let third = image(&world.registry, Some("3"), 3);
    Signer::default().sign_by_referrer(&world.registry, &third.manifest);
    assert_refused(
        &pull(&world, "3").await,
        "but nobody who is trusted for this has made it",
    );
}

#[tokio::test(start_paused = true)]
async fn a_referrer_is_a_signature_as_well_and_so_is_one_that_is_listed_under_a_tag() {
    let (world, signer) = start();
    let first = image(&world.registry, Some("1"), 1);
    signer.sign_by_referrer(&world.registry, &first.manifest);
    assert!(pull(&world, "1").await.is_good());
    let second = image(&world.registry, Some("2"), 2);
    signer.sign_by_referrer_tag(&world.registry, &second.manifest);
    assert!(pull(&world, "2").await.is_good());
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_moves_to_what_is_not_signed_is_refused_from_then_on() {
    let (world, signer) = start();
    let signed = image(&world.registry, Some("1"), 1);
    signer.sign_by_tag(&world.registry, &signed.manifest);
    assert!(pull(&world, "1").await.is_good());
    image(&world.registry, Some("1"), 2);
    tokio::time::sleep(LATER).await;
    assert_refused(&pull(&world, "1").await, "no signature is attached to it");
    assert!(pull(&world, signed.manifest).await.is_good());
}

#[tokio::test(start_paused = true)]
async fn a_signature_that_follows_its_image_is_found_soon() {
    for by_tag in [true, false] {
        let (world, signer) = start();
        let image = image(&world.registry, Some("1"), 1);
        // An earlier signature, by somebody else, is remembered with its tag or list.
        Signer::default().sign(&world.registry, &image.manifest, by_tag);
        assert_refused(
            &pull(&world, "1").await,
            "nobody who is trusted for this has made it",
        );
        signer.sign(&world.registry, &image.manifest, by_tag);
        assert_refused(
            &pull(&world, "1").await,
            "nobody who is trusted for this has made it",
        );
        tokio::time::sleep(SOON).await;
        assert!(pull(&world, "1").await.is_good(), "{by_tag}");
    }
}

/// Puts an index of two images; its digest, and theirs.
fn index(registry: &Registry, tag: &str) -> (Digest, [Digest; 2]) {
    let children = [1, 2].map(|seed| image(registry, None, seed).manifest);
    let size = |child: &Digest| registry.bytes_of(&manifest_path(child)).len();
    let items = children.map(|child| {
        let size = size(&child);
        format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{child}","size":{size}}}"#)
    });
    let body = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#,
        items.join(",")
    );
    (
        registry.manifest("library/app", Some(tag), OCI_INDEX, &body),
        children,
    )
}

#[tokio::test(start_paused = true)]
async fn an_index_that_is_signed_vouches_for_what_it_lists() {
    let (world, signer) = start();
    let (index, children) = index(&world.registry, "1");
    // Nobody has vouched for it yet.
    assert_refused(&pull(&world, children[1]).await, "no signature is attached to it");
    signer.sign_by_tag(&world.registry, &index);
    assert!(pull(&world, "1").await.is_good());
    for child in children {
        assert!(pull(&world, child).await.is_good());
        assert_eq!(
            asked(&world.registry, &Method::HEAD, &format!("{}.sig", child.hex())),
            usize::from(child == children[1])
        );
    }
    let world = again(world, choices(vec![signer.key()])).await;
    for child in children {
        assert!(pull(&world, child).await.is_good());
    }
    // Only of the one that was refused.
    assert_eq!(
        asked(
            &world.registry,
            &Method::GET,
            &format!("/referrers/{}", children[0])
        ),
        0
    );
    assert_eq!(
        asked(
            &world.registry,
            &Method::GET,
            &format!("/referrers/{}", children[1])
        ),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn while_nobody_can_tell_whether_it_is_signed_clients_are_to_ask_again() {
    let (world, signer) = start();
    let image = image(&world.registry, Some("1"), 1);
    signer.sign_by_tag(&world.registry, &image.manifest);
    let tag = manifest_path(format!("sha256-{}.sig", image.manifest.hex()));
    for (status, expected) in [(500, 503), (403, 503), (429, 429)] {
        let failing = Script {
            status: StatusCode::from_u16(status).ok(),
            ..Script::default()
        };
        world.registry.script(tag.clone(), failing);
        let answer = pull(&world, "1").await;
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status.as_u16(), expected, "{status}: {text}");
        assert!(text.contains("is signed cannot be told now"), "{text}");
        assert!(!answer.header("retry-after").is_empty(), "{status}");
        world.registry.heal();
        tokio::time::sleep(Duration::from_secs(120)).await;
    }
    assert!(pull(&world, "1").await.is_good());
    // From here on nobody has to be asked.
    world.registry.go_down();
    assert!(pull(&world, image.manifest).await.is_good());
}

#[tokio::test(start_paused = true)]
async fn what_is_attached_to_an_image_needs_no_signature_but_an_image_that_says_so_does() {
    let (world, signer) = start();
    let first = image(&world.registry, Some("1"), 1);
    let signature = signer.sign_by_tag(&world.registry, &first.manifest);
    let bundle = signer.sign_by_referrer(&world.registry, &first.manifest);
    for reference in [
        format!("sha256-{}.sig", first.manifest.hex()),
        signature.to_string(),
        bundle.to_string(),
    ] {
        assert!(pull(&world, reference).await.is_good());
    }
    let referrers = format!("/v2/library/app/referrers/{}", first.manifest);
    assert!(world.seawall.get(&referrers).await.is_good());

    // An image that refers to another, and one under a name that signatures have.
    let text = String::from_utf8(world.registry.bytes_of(&manifest_path("1")).to_vec()).unwrap();
    let refers = text.replacen(
        '{',
        &format!(
            r#"{{"subject":{{"mediaType":"{OCI_MANIFEST}","digest":"{}","size":7}},"#,
            first.manifest
        ),
        1,
    );
    let tag = format!("sha256-{}.sig", Digest::sha256(b"other").hex());
    let digest = world
        .registry
        .manifest("library/app", Some(&tag), OCI_MANIFEST, &refers);
    assert_refused(&pull(&world, digest).await, "no signature is attached");
    assert_refused(&pull(&world, &tag).await, "no signature is attached");
}

#[tokio::test(start_paused = true)]
async fn other_repositories_and_blobs_are_served_as_ever() {
    let (world, _) = start();
    let open = image_in(&world.registry, "library/open", Some("1"), 5);
    let answer = world.seawall.get("/v2/library/open/manifests/1").await;
    assert!(answer.is_good());
    let closed = image(&world.registry, Some("1"), 6);
    assert!(world.seawall.get(&blob_path(&closed.config)).await.is_good());
    let signatures =
        |seen: &crate::support::registry::Seen| seen.path.contains(".sig") || seen.path.contains("referrers");
    assert!(!world.registry.journal().iter().any(signatures));
    // By digest, under the name that needs no signature, where the registry has it.
    assert!(
        world
            .seawall
            .get(&format!("/v2/library/open/manifests/{}", open.manifest))
            .await
            .is_good()
    );
    assert!(!pull(&world, open.manifest).await.is_good());
}

#[tokio::test(start_paused = true)]
async fn clients_that_ask_at_once_wait_for_one_verdict() {
    let (world, signer) = start();
    let image = image(&world.registry, Some("1"), 1);
    signer.sign_by_tag(&world.registry, &image.manifest);
    let tag = manifest_path(format!("sha256-{}.sig", image.manifest.hex()));
    let slow = Script {
        delay: Duration::from_secs(2),
        ..Script::default()
    };
    world.registry.script(tag, slow);
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let seawall = world.seawall.clone();
            tokio::spawn(async move { seawall.get(&manifest_path("1")).await.is_good() })
        })
        .collect();
    for client in clients {
        assert!(client.await.unwrap());
    }
    assert_eq!(asked(&world.registry, &Method::HEAD, ".sig"), 1);
    let signature = |seen: &crate::support::registry::Seen| {
        seen.method == Method::GET && seen.path.contains("/manifests/")
    };
    // The image, and its signature.
    assert_eq!(
        world
            .registry
            .journal()
            .iter()
            .filter(|seen| signature(seen))
            .count(),
        2
    );
}

#[tokio::test(start_paused = true)]
async fn no_more_than_a_few_of_what_refers_to_an_image_is_fetched() {
    let (world, _) = start();
    let image = image(&world.registry, Some("1"), 1);
    // A registry may list any number of signatures (S059, CVE-2023-33957).
    let stranger = Signer::default();
    for _ in 0..100 {
        stranger.sign_by_referrer(&world.registry, &image.manifest);
    }
    let before = world.registry.journal().len();
    assert_refused(
        &pull(&world, "1").await,
        "8 signatures are attached to it, and none holds",
    );
    // The tag and its manifest, the tag of signatures, the list, and two for each of eight.
    assert!(world.registry.journal().len() - before <= 4 + 2 * 8 + 1);
}
