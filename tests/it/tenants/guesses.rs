//! Whoever guesses what somebody logs in with at the registry is slowed down, by the address the guesses come from.

use std::time::Duration;

use http::{Method, StatusCode};
use seawall::policy::access::visibility::Sharing;

use super::{alice, basic, get, start};
use crate::support::seawall::{Answer, read};
use crate::support::world::World;

const PATH: &str = "/v2/team/app/manifests/1";
/// Another address than everybody else's.
const ELSEWHERE: [u8; 4] = [203, 0, 113, 9];

fn guess(number: usize) -> String {
    basic("alice", &format!("guess-{number}"))
}

/// How many guesses the registry has seen.
fn seen(world: &World) -> usize {
    let known = [alice(), basic("robot", "CANARY-robot")];
    let all = world.registry.journal();
    let logins = all.iter().filter_map(|seen| seen.headers.get("authorization"));
    logins
        .filter(|login| !known.iter().any(|known| *login == known))
        .count()
}

async fn from(world: &World, address: [u8; 4], login: &str) -> Answer {
    let headers = [("authorization", login)];
    read(
        world
            .seawall
            .open_from(address, Method::GET, PATH, &headers)
            .await,
    )
    .await
}

#[tokio::test(start_paused = true)]
async fn ten_guesses_are_asked_about_at_once_and_one_more_every_ten_seconds() {
    let (world, _) = start(Sharing::PerClient);
    let seawall = &world.seawall;
    assert!(get(seawall, Some(&alice()), PATH).await.is_good());
    for number in 0..10 {
        // The same again is no other guess.
        for _ in 0..2 {
            let answer = get(seawall, Some(&guess(number)), PATH).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{number}");
        }
    }
    for path in [PATH, "/v2/"] {
        let answer = get(seawall, Some(&guess(10)), path).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{path}");
        assert_eq!(answer.header("retry-after"), "10");
    }
    assert_eq!(seen(&world), 10);
    // Who is known goes on, and so does who comes from elsewhere.
    for path in [PATH, "/v2/team/app/tags/list", "/v2/"] {
        assert!(get(seawall, Some(&alice()), path).await.is_good(), "{path}");
    }
    assert!(get(seawall, None, "/v2/library/open/manifests/1").await.is_good());
    assert_eq!(from(&world, ELSEWHERE, &guess(11)).await.status, 401);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(get(seawall, Some(&guess(12)), PATH).await.status, 401);
    assert_eq!(get(seawall, Some(&guess(13)), PATH).await.status, 429);
    assert_eq!(seen(&world), 12);
}

#[tokio::test(start_paused = true)]
async fn where_the_registry_does_not_look_at_a_login_a_guess_is_still_one() {
    let (world, _) = start(Sharing::PerClient);
    for number in 0..12 {
        for path in ["/v2/library/open/manifests/1", "/v2/"] {
            let open = get(&world.seawall, Some(&guess(number)), path).await;
            assert!(open.is_good() || number >= 10, "{number} {path} {}", open.status);
        }
        let status = get(&world.seawall, Some(&guess(number)), PATH).await.status;
        assert_eq!(status, if number < 10 { 401 } else { 429 }, "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_hundred_guesses_at_once_a_few_are_asked_about() {
    let (world, _) = start(Sharing::PerClient);
    world.registry.take(Duration::from_millis(80));
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..100 {
        let seawall = world.seawall.clone();
        asking.spawn(async move { get(&seawall, Some(&guess(number)), PATH).await });
    }
    let answers = asking.join_all().await;
    for answer in &answers {
        assert!(matches!(answer.status.as_u16(), 401 | 429), "{}", answer.status);
    }
    assert!((10..=26).contains(&seen(&world)), "{}", seen(&world));
}
