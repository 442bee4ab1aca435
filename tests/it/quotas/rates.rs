//! Bytes per second: of a client over all its connections, and of the tiers on one link.

use super::*;

/// Nothing in a Range header: all of it.
const WHOLE: &str = "";

/// Seconds that it takes to read these ranges, all at once; each must arrive whole and good.
async fn seconds(seawall: &Arc<Seawall>, asks: &[([u8; 4], &str, &'static str)]) -> f64 {
    let began = Instant::now();
    let all = asks.iter().map(|(address, path, range)| {
        let (seawall, address, path, range) = (seawall.clone(), *address, (*path).to_owned(), *range);
        tokio::spawn(async move {
            let range = [("range", range)];
            let answer = read(seawall.open_from(address, Method::GET, &path, &range).await).await;
            assert!(answer.is_good());
        })
    });
    for one in all.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    began.elapsed().as_secs_f64()
}

fn assert_near(found: f64, wanted: f64) {
    assert!(
        (found - wanted).abs() <= wanted * 0.05,
        "{found} s instead of {wanted} s"
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_arrives_at_its_clients_rate_whole_in_part_in_parts_and_while_it_fills() {
    let world = world(granting(bandwidth(1_000_000)));
    let held = blob_path(&held_blob(&world, 8 * MIB, 1).await);
    let mib = MIB as f64 / 1e6;
    assert_near(seconds(&world.seawall, &[(MINE, &held, WHOLE)]).await, 8.0 * mib);
    let part = "bytes=1048576-5242879";
    assert_near(seconds(&world.seawall, &[(MINE, &held, part)]).await, 4.0 * mib);
    let parts = "bytes=0-2097151,4194304-6291455";
    assert_near(seconds(&world.seawall, &[(MINE, &held, parts)]).await, 4.0 * mib);
    let filling = world.registry.blob("library/app", content(6 * MIB, 3));
    assert_near(
        seconds(&world.seawall, &[(MINE, &blob_path(&filling), WHOLE)]).await,
        6.0 * mib,
    );
    // While the upstream is the slower one nothing is saved up: its last piece, after 8 s, takes what it takes.
    let slow = world.registry.blob("library/app", content(4 * MIB, 5));
    world
        .registry
        .script(blob_path(&slow), Script::paced(Duration::from_secs(2)));
    assert_near(
        seconds(&world.seawall, &[(MINE, &blob_path(&slow), WHOLE)]).await,
        8.0 + mib,
    );
    let waits = world.seawall.metrics.exposition();
    assert!(
        !waits.contains(r#"seawall_paced_waits_total{tier="basic"} 0"#),
        "{waits}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_connections_of_a_client_share_its_rate_and_nobody_else_has_less() {
    let world = world(granting(bandwidth(2_000_000)));
    let path = blob_path(&held_blob(&world, 4 * MIB, 1).await);
    let mib = MIB as f64 / 1e6;
    let mine = [(MINE, path.as_str(), WHOLE); 5];
    let alike = [(ALIKE, path.as_str(), WHOLE); 1];
    let free = [(FREE, path.as_str(), WHOLE); 3];
    let (mine, alike, free) = tokio::join!(
        seconds(&world.seawall, &mine),
        seconds(&world.seawall, &alike),
        seconds(&world.seawall, &free),
    );
    assert_near(mine, 10.0 * mib);
    assert_near(alike, 2.0 * mib);
    assert!(free < 0.1, "{free}");
}

#[tokio::test(start_paused = true)]
async fn the_streams_of_an_http_2_connection_share_the_rate_too() {
    let world = world(granting(bandwidth(1_000_000)));
    let path = blob_path(&held_blob(&world, 2 * MIB, 1).await);
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .handshake(TokioIo::new(world.seawall.connect((MINE, 9).into())))
        .await
        .unwrap();
    tokio::spawn(connection);
    let began = Instant::now();
    let streams = (0..4).map(|_| {
        let (mut sender, uri) = (sender.clone(), format!("http://cache.test{path}"));
        tokio::spawn(async move {
            let request = Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
            let answer = sender.send_request(request).await.unwrap();
            answer.into_body().collect().await.unwrap().to_bytes().len()
        })
    });
    for stream in streams.collect::<Vec<_>>() {
        assert_eq!(stream.await.unwrap(), 2 * MIB);
    }
    assert_near(began.elapsed().as_secs_f64(), 8.0 * MIB as f64 / 1e6);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_waits_for_its_turn_is_not_taken_for_a_reader_that_stands_still() {
    // Each of a thousand connections has its turn every 65 s; a reader may stand still for 60.
    let world = world(granting(bandwidth(1_000_000)));
    let path = blob_path(&held_blob(&world, MIB / 4, 1).await);
    let asks = vec![(MINE, path.as_str(), WHOLE); 1000];
    assert_near(seconds(&world.seawall, &asks).await, 250.0 * MIB as f64 / 1e6);
}

#[tokio::test(start_paused = true)]
async fn what_a_reader_that_left_had_taken_is_given_back() {
    let world = world(granting(bandwidth(1_000_000)));
    let path = blob_path(&held_blob(&world, 2 * MIB, 1).await);
    // Two hundred that leave before their turn would have cost 13 s.
    for _ in 0..200 {
        let answer = world.seawall.open_from(MINE, Method::GET, &path, &[]).await;
        drop(answer);
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let took = seconds(&world.seawall, &[(MINE, &path, WHOLE)]).await;
    assert!(took < 2.0 * MIB as f64 / 1e6 + 8.0, "{took}");
}

/// Bytes that each address receives over these many connections in half a minute.
async fn received<const N: usize>(world: &World, path: &str, crowd: [([u8; 4], usize); N]) -> [f64; N] {
    let counts = crowd.map(|(address, connections)| {
        let count = Arc::new(std::sync::atomic::AtomicU64::new(0));
        for _ in 0..connections {
            let (seawall, path, count) = (world.seawall.clone(), path.to_owned(), count.clone());
            tokio::spawn(async move {
                loop {
                    let mut body = seawall
                        .open_from(address, Method::GET, &path, &[])
                        .await
                        .into_body();
                    while let Some(Ok(frame)) = body.frame().await {
                        let len = frame.data_ref().map_or(0, Bytes::len) as u64;
                        count.fetch_add(len, std::sync::atomic::Ordering::Relaxed);
                    }
                }
            });
        }
        count
    });
    tokio::time::sleep(Duration::from_secs(30)).await;
    counts.map(|count| count.load(std::sync::atomic::Ordering::Relaxed) as f64)
}

#[tokio::test(start_paused = true)]
async fn on_a_saturated_link_clients_of_a_tier_have_equal_shares_and_tiers_their_weights() {
    let choices = Choices {
        bandwidth: Some(20_000_000),
        ..granting(Quota::UNLIMITED)
    };
    let world = world(choices);
    let path = blob_path(&held_blob(&world, MIB, 1).await);
    let near = |found: f64, wanted: f64| {
        assert!(
            (found - wanted).abs() <= wanted * 0.07,
            "{found} instead of {wanted}"
        )
    };
    let [mine, alike, heavy] = received(&world, &path, [(MINE, 16), (ALIKE, 2), (HEAVY, 2)]).await;
    near(mine + alike + heavy, 600e6);
    near(heavy, 450e6);
    near(mine, 75e6);
    near(alike, 75e6);
}
