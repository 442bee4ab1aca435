//! Where HEAD is of no use: a manifest must be fetched to know whether it is another, which a quota may not allow.

use super::*;

/// A tag that is asked about by GET, which takes a write: HEAD is of no use there.
fn without_head(world: &World, tag: &str, seed: u64) {
    image(&world.registry, Some(tag), seed);
    let refuse = Script {
        without: vec!["docker-content-digest"],
        ..Script::default()
    };
    world.registry.script(manifest_path(tag), refuse);
}

/// Two tags that HEAD tells nothing of, when the first has been pulled.
async fn after_the_first(choices: Choices) -> World {
    let world = world(choices);
    for (seed, tag) in (1..).zip(["first", "second"]) {
        without_head(&world, tag, seed);
    }
    let first = get_from(&world.seawall, MINE, &manifest_path("first")).await;
    assert!(first.is_good());
    world
}

#[tokio::test(start_paused = true)]
async fn where_head_is_of_no_use_a_quota_that_is_used_up_is_not_blamed_on_the_upstream() {
    for on_exhausted in [OnExhausted::Refuse, OnExhausted::FallThrough] {
        let choices = Choices {
            on_exhausted,
            ..granting(writes(1))
        };
        let world = after_the_first(choices).await;
        let refused = get_from(&world.seawall, MINE, &manifest_path("second")).await;
        let wait = told(&refused);
        for words in ["this Seawall allows", "client mine", "1 objects per minute"] {
            assert!(text(&refused).contains(words), "{}", text(&refused));
        }
        assert_eq!(refused.header("cache-status"), "seawall; detail=over-quota");
        assert_eq!(refused.header("ratelimit-limit"), "1;w=60");
        assert_eq!(refused.header("ratelimit-remaining"), "0;w=60");
        tokio::time::sleep(wait).await;
        assert!(
            get_from(&world.seawall, MINE, &manifest_path("second"))
                .await
                .is_good()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn where_head_is_of_no_use_a_quota_that_is_used_up_serves_stale_and_says_so() {
    let world = world(granting(writes(1)));
    let held = image(&world.registry, Some("held"), 1);
    for path in [
        manifest_path("held"),
        blob_path(&held.config),
        blob_path(&held.layer),
    ] {
        assert!(world.seawall.get(&path).await.is_good());
    }
    for (seed, tag) in [(1, "held"), (2, "other")] {
        without_head(&world, tag, seed);
    }
    tokio::time::sleep(Duration::from_secs(400)).await;
    assert!(
        get_from(&world.seawall, MINE, &manifest_path("other"))
            .await
            .is_good()
    );
    let stale = get_from(&world.seawall, MINE, &manifest_path("held")).await;
    assert_eq!(stale.status, StatusCode::OK);
    assert_eq!(
        stale.header("cache-status"),
        "seawall; fwd=stale; detail=over-quota"
    );
}

#[tokio::test(start_paused = true)]
async fn where_head_is_of_no_use_nobody_is_refused_for_anothers_quota() {
    let world = after_the_first(granting(writes(1))).await;
    let slow = Script {
        delay: Duration::from_millis(200),
        without: vec!["docker-content-digest"],
        ..Script::default()
    };
    world.registry.script(manifest_path("second"), slow);
    let ask = |address| {
        let seawall = world.seawall.clone();
        tokio::spawn(async move { get_from(&seawall, address, &manifest_path("second")).await })
    };
    let mine = ask(MINE);
    // Whoever comes first opens the fetch, and is the one that pays for it.
    while world.registry.seen(&Method::HEAD, "second").is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let [_, alike, free] = [MINE, ALIKE, FREE].map(ask);
    told(&mine.await.unwrap());
    for other in [alike, free] {
        assert!(other.await.unwrap().is_good());
    }
}
