//! What a tag moves to is served once it has been seen for as long as the operator wants, and not a second earlier.

use std::time::Duration;

use http::{Method, StatusCode};
use seawall::oci::Digest;
use seawall::policy::access::Scope;
use seawall::policy::trust::{Rule, Rules};
use serde_json::{Value, json};

use super::signer::Signer;
use super::{LATER, again, asked, pull};
use crate::support::seawall::{Answer, Choices, read};
use crate::support::world::{World, image, image_in, manifest_path, world};

const HOUR: Duration = Duration::from_secs(3600);
/// What the rule wants.
const AGE: Duration = Duration::from_secs(72 * 3600);

fn rule(repositories: &str, age: Duration) -> Rule {
    Rule {
        repositories: vec![Scope::parse(repositories).unwrap()],
        minimum_age: Some(age),
        ..Rule::default()
    }
}

fn choices() -> Choices {
    Choices {
        trust: Rules::new(vec![rule("docker.io/library/*", AGE)]),
        ..Choices::default()
    }
}

/// The digest that is served, and how the cache came to it.
fn told(answer: &Answer) -> (String, &str) {
    assert!(answer.is_good(), "{}", String::from_utf8_lossy(&answer.body));
    let digest = answer.header("docker-content-digest").to_owned();
    (digest, answer.header("cache-status"))
}

async fn served(world: &World, tag: &str) -> String {
    told(&pull(world, tag).await).0
}

/// The tag is refused, in words that say what it points at.
async fn assert_too_young(world: &World, tag: &str, digest: &Digest) {
    let answer = pull(world, tag).await;
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{text}");
    assert_eq!(
        answer.header("cache-status"),
        "seawall; fwd=miss; detail=too-young"
    );
    let says = |words: &str| text.contains(words);
    assert!(
        says("\"DENIED\"") && says("too young for this cache") && says(&digest.to_string()),
        "{text}"
    );
}

/// A world in which an image is served under the tag `1` already, pulled when no rule was there.
async fn settled() -> (World, Digest) {
    let world = world(Choices::default());
    let old = image(&world.registry, Some("1"), 1).manifest;
    assert_eq!(served(&world, "1").await, old.to_string());
    (again(world, choices()).await, old)
}

#[tokio::test(start_paused = true)]
async fn a_new_tag_is_refused_until_it_is_old_enough_and_its_digest_is_not() {
    let world = world(choices());
    let new = image(&world.registry, Some("1"), 1).manifest;
    assert_too_young(&world, "1", &new).await;
    let head = world.seawall.ask(Method::HEAD, &manifest_path("1"), &[]).await;
    assert_eq!(head.status, StatusCode::FORBIDDEN);
    // Who asks again at once is told from memory.
    assert_too_young(&world, "1", &new).await;
    assert_eq!(asked(&world.registry, &Method::HEAD, "/manifests/1"), 1);
    assert_eq!(asked(&world.registry, &Method::GET, "/manifests/1"), 0);
    assert!(pull(&world, new).await.is_good());

    tokio::time::sleep(AGE - HOUR).await;
    assert_too_young(&world, "1", &new).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(served(&world, "1").await, new.to_string());
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_moves_is_served_as_before_until_what_it_moved_to_is_old_enough() {
    let (world, old) = settled().await;
    let new = image(&world.registry, Some("1"), 2).manifest;
    tokio::time::sleep(LATER).await;
    let answer = pull(&world, "1").await;
    assert_eq!(
        told(&answer),
        (old.to_string(), "seawall; fwd=stale; detail=too-young")
    );
    assert!(
        answer
            .header("warning")
            .contains("what the tag has moved to is too young")
    );
    // Its upstream was asked, so that it is fresh.
    let before = world.registry.journal().len();
    assert_eq!(told(&pull(&world, "1").await), (old.to_string(), "seawall; hit"));
    assert_eq!(world.registry.journal().len(), before);
    for _ in 0..71 {
        tokio::time::sleep(HOUR).await;
        assert_eq!(served(&world, "1").await, old.to_string());
    }
    // Nothing of what is not served was paid for.
    assert_eq!(asked(&world.registry, &Method::GET, &new.to_string()), 0);
    tokio::time::sleep(HOUR).await;
    assert_eq!(
        told(&pull(&world, "1").await),
        (new.to_string(), "seawall; fwd=stale")
    );
}

#[tokio::test(start_paused = true)]
async fn a_restart_begins_no_waiting_anew() {
    let (world, old) = settled().await;
    let new = image(&world.registry, Some("1"), 2).manifest;
    let fresh = image(&world.registry, Some("2"), 3).manifest;
    tokio::time::sleep(LATER).await;
    assert_eq!(served(&world, "1").await, old.to_string());
    assert_too_young(&world, "2", &fresh).await;
    // The wall clock is the machine's own again after it. Nobody asks in all that time: what waits from then on only is
    // still too young at the end.
    let world = again(world, choices()).await;
    tokio::time::sleep(AGE + 2 * LATER).await;
    assert_eq!(served(&world, "1").await, new.to_string());
    assert_eq!(served(&world, "2").await, fresh.to_string());
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_back_is_never_served_and_each_new_one_waits_for_itself() {
    let (world, old) = settled().await;
    let bad = image(&world.registry, Some("1"), 2).manifest;
    tokio::time::sleep(LATER).await;
    assert_eq!(served(&world, "1").await, old.to_string());
    let good = image(&world.registry, Some("1"), 3).manifest;
    tokio::time::sleep(AGE - HOUR).await;
    assert_eq!(served(&world, "1").await, old.to_string());
    // The bad one would be old enough, were it still what the tag points at.
    tokio::time::sleep(HOUR).await;
    assert_eq!(served(&world, "1").await, old.to_string());
    // A tag that goes back needs no patience.
    image(&world.registry, Some("1"), 1);
    tokio::time::sleep(LATER).await;
    assert_eq!(
        told(&pull(&world, "1").await),
        (old.to_string(), "seawall; fwd=stale")
    );
    image(&world.registry, Some("1"), 3);
    tokio::time::sleep(AGE).await;
    assert_eq!(served(&world, "1").await, good.to_string());
    assert_eq!(asked(&world.registry, &Method::GET, &bad.to_string()), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_known_here_for_long_is_not_new_under_another_tag_but_in_another_repository() {
    let world = world(choices());
    let image = image(&world.registry, None, 1).manifest;
    // By its digest it may be had, and is seen.
    assert!(pull(&world, image).await.is_good());
    // A stop waits until it is written down.
    let world = again(world, choices()).await;
    tokio::time::sleep(AGE + LATER).await;
    for name in ["library/app", "library/other"] {
        image_in(&world.registry, name, Some("1"), 1);
    }
    assert_eq!(served(&world, "1").await, image.to_string());
    let other = world.seawall.get("/v2/library/other/manifests/1").await;
    assert_eq!(other.status, StatusCode::FORBIDDEN);
}

#[tokio::test(start_paused = true)]
async fn a_warm_waits_as_its_clients_do() {
    let (world, old) = settled().await;
    let new = image(&world.registry, Some("1"), 2).manifest;
    let fresh = image(&world.registry, Some("2"), 3).manifest;
    tokio::time::sleep(LATER).await;
    let request = json!({"references": ["library/app:1", "library/app:2"]});
    let answer = world.seawall.post("/api/v1/warm", &request).await;
    let text = String::from_utf8_lossy(&answer.body);
    assert!(text.contains("too young for this cache"), "{text}");
    assert_eq!(served(&world, "1").await, old.to_string());
    assert_too_young(&world, "2", &fresh).await;
    assert_eq!(asked(&world.registry, &Method::GET, &new.to_string()), 0);
    // A warm begins the waiting as well.
    tokio::time::sleep(AGE).await;
    assert!(world.seawall.post("/api/v1/warm", &request).await.is_good());
    assert_eq!(served(&world, "2").await, fresh.to_string());
}

#[tokio::test(start_paused = true)]
async fn what_is_attached_to_images_does_not_wait_nor_what_is_excepted() {
    let excepted = rule("docker.io/library/open", Duration::ZERO);
    let world = world(Choices {
        trust: Rules::new(vec![excepted, rule("docker.io/library/*", AGE)]),
        ..Choices::default()
    });
    let image = image(&world.registry, Some("1"), 1).manifest;
    Signer::default().sign_by_tag(&world.registry, &image);
    assert_too_young(&world, "1", &image).await;
    let signature = format!("sha256-{}.sig", image.hex());
    assert!(pull(&world, signature).await.is_good());
    image_in(&world.registry, "library/open", Some("1"), 1);
    assert!(world.seawall.get("/v2/library/open/manifests/1").await.is_good());
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_what_is_explained_and_counted() {
    let (world, old) = settled().await;
    let new = image(&world.registry, Some("1"), 2).manifest;
    let fresh = image(&world.registry, Some("2"), 3).manifest;
    tokio::time::sleep(LATER).await;
    assert_eq!(served(&world, "1").await, old.to_string());
    assert_too_young(&world, "2", &fresh).await;
    let explained = async |tag: &str| {
        let path = format!("/api/v1/explain?reference=library/app:{tag}");
        let answer = read(world.seawall.operate(Method::GET, &path, &[], "").await).await;
        serde_json::from_slice::<Value>(&answer.body).unwrap()["pull"].clone()
    };
    let span = u64::try_from(AGE.as_millis()).unwrap();
    for (tag, digest, outlook) in [("1", &new, "served"), ("2", &fresh, "refused")] {
        let told = explained(tag).await;
        assert_eq!(
            (&told["young"]["digest"], &told["outlook"]),
            (&json!(digest.to_string()), &json!(outlook))
        );
        let [first, until] = ["first", "until"].map(|key| told["young"][key].as_u64().unwrap());
        assert_eq!(until - first, span, "{told}");
    }
    tokio::time::sleep(AGE).await;
    assert_eq!(served(&world, "1").await, new.to_string());
    assert_eq!(explained("1").await["young"], Value::Null);
    let counted = world.seawall.metrics.exposition();
    for served in ["older", "refused", "released"] {
        let line = format!("seawall_young_tags_total{{served=\"{served}\"}} 1\n");
        assert!(counted.contains(&line), "{line} in {counted}");
    }
}
