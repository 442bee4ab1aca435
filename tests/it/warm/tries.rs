//! What fails is tried again: while that may help, a few times, and told as what it was.

use super::*;
use crate::support::seawall::read;

#[tokio::test(start_paused = true)]
async fn a_warm_waits_as_long_as_it_is_told_and_no_longer_than_it_may() {
    let busy = |wait: &str| Script {
        status: Some(StatusCode::TOO_MANY_REQUESTS),
        headers: vec![("retry-after", wait.to_owned())],
        times: Some(1),
        ..Script::default()
    };
    let world = world(Choices::default());
    image(&world.registry, Some("1"), 1);
    world.registry.script(manifest_path("1"), busy("30"));
    let request = json!({"references": ["app:1"], "wait": 60});
    let answer = world.seawall.post("/api/v1/warm", &request).await;
    let events = lines(&answer);
    assert!(
        events.iter().any(|event| event["state"] == "waiting"),
        "{events:?}"
    );
    assert_eq!(events.last().unwrap()["missed"], json!([]));

    image(&world.registry, Some("2"), 2);
    world.registry.script(manifest_path("2"), busy("3000"));
    let begun = tokio::time::Instant::now();
    let summary = warm(&world.seawall, json!({"references": ["app:2"], "wait": 60})).await;
    assert!(begun.elapsed() < Duration::from_secs(60));
    let missed = &summary["missed"][0];
    assert!(missed["again"].as_u64().is_some(), "{missed}");
}

#[tokio::test(start_paused = true)]
async fn a_warm_gives_up_after_three_tries_what_fails_for_no_limit() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 1);
    let failing = Script {
        status: Some(StatusCode::INTERNAL_SERVER_ERROR),
        ..Script::default()
    };
    world.registry.script(blob_path(&image.layer), failing);
    let begun = tokio::time::Instant::now();
    let summary = warm(&world.seawall, json!({"references": ["app:1"], "wait": 3600})).await;
    assert_eq!(summary["missed"][0]["image"], "app:1", "{summary}");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn bytes_that_came_twice_are_told_once() {
    let world = world(Choices::default());
    let layer = world.registry.blob("library/app", content(8 * MIB, 3));
    heavy(&world, &layer, 8 * MIB);
    // The first time it is found wrong at its end.
    let wrong = Script {
        flip: Some(MIB),
        times: Some(1),
        ..Script::paced(Duration::from_millis(100))
    };
    world.registry.script(blob_path(&layer), wrong);
    let request = json!({"references": ["app:1"], "wait": 60});
    let events = lines(&world.seawall.post("/api/v1/warm", &request).await);
    let summary = events.last().unwrap();
    assert_eq!(world.registry.seen(&Method::GET, &blob_path(&layer)).len(), 2);
    assert_eq!(summary["missed"], json!([]));
    assert_eq!(summary["fetched"], json!(8 * MIB + 2));
    for image in events.iter().filter(|event| event["event"] == "image") {
        assert!(image["done"].as_u64() <= Some(8 * MIB as u64 + 2), "{image}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_is_fetching_is_not_told_as_fetched() {
    let world = world(Choices::default());
    let layer = world.registry.blob("library/app", content(8 * MIB, 3));
    heavy(&world, &layer, 8 * MIB);
    let slow = Script::paced(Duration::from_secs(1));
    world.registry.script(blob_path(&layer), slow);
    let client = world.seawall.open(Method::GET, &blob_path(&layer), &[]).await;
    let reading = tokio::spawn(read(client));
    let summary = warm(&world.seawall, json!({"references": ["app:1"]})).await;
    assert_eq!(
        (&summary["fetched"], &summary["held"]),
        (&json!(2), &json!(8 * MIB)),
        "{summary}"
    );
    assert!(reading.await.unwrap().is_good());
}
