//! What Notation has signed is served for as long as that holds, and nothing else is.

use std::time::Duration;

use http::Method;
use seawall::clock::Clock;
use seawall::policy::access::Scope;
use seawall::policy::trust::notation::Signers;
use seawall::policy::trust::{Key, Rule, Rules};
use serde_json::Value;

use super::notary::{Authority, JWS, Notary, WAYS, attach};
use super::signer::Signer;
use super::{LATER, SOON, again, asked, assert_refused, index, pull};
use crate::support::seawall::{Choices, read};
use crate::support::world::{World, image, world};

const HOUR: Duration = Duration::from_secs(3600);

fn choices(signers: &Signers, keys: Vec<Key>) -> Choices {
    let rule = Rule {
        repositories: vec![Scope::parse("docker.io/library/app").unwrap()],
        keys,
        notation: Some(signers.clone()),
        ..Rule::default()
    };
    Choices {
        trust: Rules::new(vec![rule]),
        ..Choices::default()
    }
}

/// A Seawall that wants `library/app` signed by whom an authority has certified, and one of those.
fn start() -> (World, Notary, Signers) {
    let root = Authority::new("root");
    let notary = root.certifies(&WAYS[0], |_| {});
    let signers = root.signers(&[]);
    (world(choices(&signers, Vec::new())), notary, signers)
}

/// So long from now, as signers write it.
fn in_time(wait: Duration) -> String {
    format!("{:#}", Clock::start().now() + wait)
}

#[tokio::test(start_paused = true)]
async fn what_notation_has_signed_is_served_from_a_list_and_from_a_tag_and_nothing_else_is() {
    let (world, notary, _) = start();
    for (seed, is_listed) in [(1, true), (2, false)] {
        let tag = seed.to_string();
        let image = image(&world.registry, Some(&tag), seed).manifest;
        attach(&world.registry, &image, JWS, &notary.envelope(&image), is_listed);
        assert!(pull(&world, &tag).await.is_good(), "{is_listed}");
        assert!(pull(&world, image).await.is_good());
    }
    image(&world.registry, Some("3"), 3);
    assert_refused(&pull(&world, "3").await, "no signature is attached to it");
    let stranger = Authority::new("root").certifies(&WAYS[0], |_| {});
    let fourth = image(&world.registry, Some("4"), 4).manifest;
    attach(&world.registry, &fourth, JWS, &stranger.envelope(&fourth), false);
    assert_refused(
        &pull(&world, "4").await,
        "nobody who is trusted for this has made it",
    );
    // Keys of cosign's are not believed here, and where they sign is not looked.
    let fifth = image(&world.registry, Some("5"), 5).manifest;
    Signer::default().sign_by_referrer_tag(&world.registry, &fifth);
    assert_refused(&pull(&world, "5").await, "no signature is attached to it");
    assert_eq!(asked(&world.registry, &Method::HEAD, ".sig"), 0);
}

#[tokio::test(start_paused = true)]
async fn where_a_key_and_an_authority_are_believed_each_is_enough() {
    let (_, notary, signers) = start();
    let signer = Signer::default();
    let world = world(choices(&signers, vec![signer.key()]));
    let [by_key, by_certificate, by_nobody] =
        [1, 2, 3].map(|seed| image(&world.registry, Some(&seed.to_string()), seed).manifest);
    signer.sign_by_tag(&world.registry, &by_key);
    // The one that holds is not the first.
    Signer::default().sign_by_referrer(&world.registry, &by_certificate);
    let envelope = notary.envelope(&by_certificate);
    attach(&world.registry, &by_certificate, JWS, &envelope, true);
    attach(&world.registry, &by_nobody, JWS, &envelope, true);
    assert!(pull(&world, "1").await.is_good());
    assert!(pull(&world, "2").await.is_good());
    assert_refused(&pull(&world, "3").await, "it was made for another digest");
}

#[tokio::test(start_paused = true)]
async fn what_holds_until_a_time_is_served_until_then_and_through_a_restart_no_longer() {
    for is_restarted in [false, true] {
        let (mut world, notary, signers) = start();
        let (index, children) = index(&world.registry, "1");
        let envelope = notary.envelope_until(&index, &in_time(2 * HOUR));
        attach(&world.registry, &index, JWS, &envelope, true);
        assert!(pull(&world, "1").await.is_good());
        if is_restarted {
            world = again(world, choices(&signers, Vec::new())).await;
        }
        tokio::time::sleep(HOUR).await;
        let before = asked(&world.registry, &Method::GET, "/referrers/");
        for reference in [index, children[0], children[1]] {
            assert!(pull(&world, reference).await.is_good(), "{is_restarted}");
        }
        assert_eq!(asked(&world.registry, &Method::GET, "/referrers/"), before);
        tokio::time::sleep(HOUR + LATER).await;
        let words = "it, or a certificate it was made with, is not good at this time";
        for reference in ["1".to_owned(), index.to_string()] {
            assert_refused(&pull(&world, reference).await, words);
        }
        // What the index has vouched for is not signed by itself.
        assert_refused(&pull(&world, children[0]).await, "no signature is attached to it");
        // Somebody signs it anew, where the registry is known by now to list no referrers.
        attach(&world.registry, &index, JWS, &notary.envelope(&index), false);
        tokio::time::sleep(SOON).await;
        assert!(pull(&world, "1").await.is_good());
        assert!(pull(&world, children[0]).await.is_good());
    }
}

#[tokio::test(start_paused = true)]
async fn an_envelope_in_the_other_form_is_refused_with_the_way_out() {
    let (world, notary, _) = start();
    let image = image(&world.registry, Some("1"), 1).manifest;
    let kind = "application/cose";
    attach(&world.registry, &image, kind, &notary.envelope(&image), true);
    assert_refused(&pull(&world, "1").await, "notation sign --signature-format jws");
    // One of each: that which can be read counts.
    attach(&world.registry, &image, JWS, &notary.envelope(&image), true);
    tokio::time::sleep(SOON).await;
    assert!(pull(&world, "1").await.is_good());
}

#[tokio::test(start_paused = true)]
async fn who_signed_and_until_when_is_explained() {
    let (world, notary, _) = start();
    let image = image(&world.registry, Some("1"), 1).manifest;
    let expiry = in_time(2 * HOUR);
    attach(
        &world.registry,
        &image,
        JWS,
        &notary.envelope_until(&image, &expiry),
        true,
    );
    assert!(pull(&world, "1").await.is_good());
    let path = "/api/v1/explain?reference=library/app:1";
    let answer = read(world.seawall.operate(Method::GET, path, &[], "").await).await;
    let told: Value = serde_json::from_slice(&answer.body).unwrap();
    let because = told["pull"]["trust"]["because"].as_str().unwrap();
    assert!(
        because.contains("O=team") && because.contains(&expiry),
        "{because}"
    );
}
