//! What is hidden and what is not there look the same from without: the same answers, after the same requests to the
//! registry, in the same time.

use std::time::Duration;

use http::Method;
use seawall::policy::access::visibility::Sharing;
use tokio::time::Instant;

use super::{MINUTE, alice, asked, basic, bob, get, paths, said, start};
use crate::support::seawall::Answer;
use crate::support::world::{Image, World};

/// The time that the registry takes for an answer.
const LATENCY: Duration = Duration::from_millis(80);

/// All that somebody outside can see of a request: the answer, the time it took, and what was asked of the registry for
/// it, which takes time in the world.
async fn look(
    world: &World,
    login: Option<&str>,
    method: Method,
    path: &str,
) -> (Answer, Duration, Vec<String>) {
    let before = world.registry.journal().len();
    let began = Instant::now();
    let login: Vec<(&str, &str)> = login.map(|login| ("authorization", login)).into_iter().collect();
    let answer = asked(&world.seawall, method, path, &login).await;
    let took = began.elapsed();
    let asked = world.registry.journal().split_off(before).into_iter();
    let asked = asked.map(|seen| {
        let range = seen
            .headers
            .get("range")
            .map_or("", |range| range.to_str().unwrap());
        format!("{} {} {range}", seen.method, seen.path)
    });
    (answer, took, asked.collect())
}

/// Two paths look the same to whoever asks for both, time and again.
async fn assert_alike(world: &World, login: Option<&str>, rounds: usize, paths: [&str; 2], names: [&str; 2]) {
    for round in 0..rounds {
        for method in [Method::HEAD, Method::GET] {
            // Each is first now and then.
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            let mut looks = Vec::new();
            for which in order {
                let (answer, took, asked) = look(world, login, method.clone(), paths[which]).await;
                let asked: Vec<String> = asked
                    .iter()
                    .map(|asked| asked.replace(names[which], "…"))
                    .collect();
                let (status, headers, body) = said(&answer);
                looks.push((
                    status,
                    headers,
                    body.replace(names[which], "…").replace(names[0], "…"),
                    took,
                    asked,
                ));
            }
            assert_eq!(looks[0], looks[1], "{round} {method} {paths:?}");
            assert!(!looks[0].0.is_success(), "{method} {paths:?}");
        }
        // Shorter and longer than all that is remembered.
        let pauses = [0, 1, 400, 2_000, 11_000, 61_000, 400_000];
        tokio::time::sleep(Duration::from_millis(pauses[round % pauses.len()])).await;
    }
}

/// A registry that answers slowly, and for `team/none`, which is not there, as for what it hides.
fn slow(sharing: Sharing) -> (World, Image) {
    let (world, image) = start(sharing);
    let robot = basic("robot", "CANARY-robot");
    world.registry.close("team/none", &[&robot, &alice()]);
    world.registry.take(LATENCY);
    (world, image)
}

#[tokio::test(start_paused = true)]
async fn s066_a_hidden_repository_and_none_look_the_same_in_a_thousand_requests() {
    let (world, image) = slow(Sharing::PerClient);
    // It is held, all of it.
    for path in paths(&image) {
        get(&world.seawall, Some(&alice()), &path).await;
    }
    tokio::time::sleep(MINUTE).await;
    for login in [Some(bob()), None] {
        for path in paths(&image) {
            let missing = path.replace("team/app", "team/none");
            let names = ["team/app", "team/none"];
            assert_alike(&world, login.as_deref(), 15, [&path, &missing], names).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s066_what_is_hidden_from_everybody_and_what_is_not_there_look_the_same() {
    let (world, image) = slow(Sharing::Public);
    for path in paths(&image) {
        let missing = path.replace("team/app", "team/none");
        assert_alike(&world, None, 15, [&path, &missing], ["team/app", "team/none"]).await;
    }
}
