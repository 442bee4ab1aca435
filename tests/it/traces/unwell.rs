//! A collector that is not well costs spans, which are counted, and nobody's time.

use super::*;

/// How long a pull takes, whose spans are collected so.
async fn time_to_pull(mood: Option<Mood>) -> (Duration, Traced) {
    let world = traced("", &by_clients());
    match mood {
        Some(mood) => world.collector.feels(mood),
        None => world.collector.0.lock().unwrap().down = true,
    }
    let image = image(&world.registry, Some("1"), 7);
    world
        .registry
        .script(blob_path(&image.layer), Script::paced(Duration::from_secs(3)));
    let began = Instant::now();
    for _ in 0..3 {
        world.get(&manifest_path("1"), &[("traceparent", PARENT)]).await;
        world
            .get(&blob_path(&image.layer), &[("traceparent", PARENT)])
            .await;
        sleep(Duration::from_secs(1)).await;
    }
    (began.elapsed(), world)
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_is_down_hangs_or_is_slow_delays_no_pull() {
    let (usual, world) = time_to_pull(Some(Mood::Takes)).await;
    sleep(Duration::from_secs(2)).await;
    assert!(world.counted("exported") >= 9 && world.counted("failed") == 0);
    for mood in [
        None,
        Some(Mood::Hangs),
        Some(Mood::After(Duration::from_secs(9))),
        Some(Mood::Status(503)),
    ] {
        let (time, _world) = time_to_pull(mood).await;
        assert_eq!(time, usual);
    }
}

#[tokio::test(start_paused = true)]
async fn spans_are_tried_again_where_that_may_help_and_lost_ones_are_counted() {
    let world = traced("", &by_clients());
    let digest = world.registry.blob("library/app", content(MIB, 3));
    let path = blob_path(&digest);
    let headers = [("traceparent", PARENT)];
    world.get(&path, &headers).await;
    world
        .collector
        .0
        .lock()
        .unwrap()
        .moods
        .extend([Mood::Status(503), Mood::Status(429)]);
    sleep(Duration::from_secs(10)).await;
    assert_eq!((world.collector.requests(), world.counted("exported")), (3, 3));
    // It says that nothing helps.
    world.collector.feels(Mood::Status(400));
    world.get(&path, &headers).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!((world.collector.requests(), world.counted("failed")), (4, 1));
    world.collector.feels(Mood::Hangs);
    world.get(&path, &headers).await;
    sleep(Duration::from_secs(90)).await;
    assert_eq!((world.collector.requests(), world.counted("failed")), (8, 2));
    world.collector.feels(Mood::Rejects(1));
    world.get(&path, &headers).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!((world.counted("exported"), world.counted("failed")), (3, 3));
    world.collector.feels(Mood::Takes);
    world.get(&path, &headers).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(world.counted("exported"), 4);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_collector_that_hangs_is_bounded_and_the_rest_is_counted() {
    const SENT: usize = MOST_WAITING + 2000;
    let world = traced("", &trace_to("collector.test", ""));
    world.collector.feels(Mood::Hangs);
    let mut near = world.seawall().connect(([127, 0, 0, 1], 9).into());
    let last = "GET /v2/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let requests = "GET /v2/ HTTP/1.1\r\nhost: a\r\n\r\n".repeat(SENT - 1) + last;
    let (mut reading, mut writing) = tokio::io::split(&mut near);
    let mut answers = String::new();
    let (sent, read) = tokio::join!(
        writing.write_all(requests.as_bytes()),
        reading.read_to_string(&mut answers)
    );
    sent.unwrap();
    read.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200").count(), SENT);
    let dropped = world.counted("dropped") as usize;
    // Besides what waits, one batch is under way.
    assert!((1000..=2000).contains(&dropped), "{dropped}");
}
